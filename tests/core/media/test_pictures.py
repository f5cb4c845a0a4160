"""Pictures come upright and in RGB, whoever reads them."""

import numpy as np
import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.evaluation.captions import read_input_image
from cinemo_pack.cinemo_core.evaluation.claims.cases import square
from cinemo_pack.cinemo_core.evaluation.clips import Clip, ClipReader
from cinemo_pack.cinemo_core.media.errors import BadMedia
from cinemo_pack.cinemo_core.media.pictures import check_picture, cover, read_picture
from cinemo_pack.cinemo_core.training.config import Case, Config, parse
from cinemo_pack.cinemo_core.training.nano.procedural.textures import read_photographs
from cinemo_pack.cinemo_core.training.validation import read_case
from cinemo_pack.tests.links import link
from PIL import Image

ORIENTATION = 0x0112
# What a camera stored, for each value of the EXIF tag, of a scene that is UPRIGHT (EXIF 2.32, section 4.6.5).
UPRIGHT = np.array([[10, 90], [170, 250]], np.uint8)
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].T,
    8: np.rot90(UPRIGHT, -1),
}


def write_turned(path, orientation=6, cell=16):
    """A PNG of four grey squares, stored as a camera held that way stores it."""
    picture = Image.fromarray(np.kron(STORED[orientation], np.ones((cell, cell), np.uint8)))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture.save(path, exif=exif)
    return path


def read_validation_case(path):
    data = {"source": "procedural", "width": 32, "height": 32, "clips": 1}
    table = {"data": data, "model": {"vae": "x"}, "run": {"output": "x", "steps": 1, "batch": 1}}
    return read_case(Case(image=str(path)), parse(Config, table, "", path.parent))


def corners(picture) -> np.ndarray:
    """The four squares of a picture, uint8 [h, w, 3]."""
    array = np.asarray(picture)
    height, width = array.shape[:2]
    return array[height // 4 :: height // 2, width // 4 :: width // 2, 0]


@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_comes_out_upright(tmp_path, orientation):
    picture = read_picture(write_turned(tmp_path / "a.png", orientation))
    assert picture.mode == "RGB"
    assert np.array_equal(corners(picture), UPRIGHT)


def test_every_reader_honours_orientation(tmp_path):
    path = write_turned(tmp_path / "a.png")
    frames = ClipReader(1, 32, 32, "cover").read(Clip("x", tmp_path))
    read = {
        "an input image of the evaluation": read_input_image(path),
        "a folder of frames": frames[0],
        "a case of the claims": square(path, 32),
        "a case of validation": read_validation_case(path).image.permute(1, 2, 0).numpy(),
        "a photograph": (read_photographs(tmp_path)[0] * 255).round().byte().permute(1, 2, 0).numpy(),
    }
    assert {name: corners(picture).tolist() for name, picture in read.items()} == dict.fromkeys(read, UPRIGHT.tolist())


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_any_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / "a.tif"
    Image.new("L", (4, 4), 255).convert(mode).save(path)
    assert np.array_equal(np.asarray(read_picture(path)), np.full((4, 4, 3), 255))


@pytest.mark.parametrize(("name", "dtype"), [("a.png", np.uint16), ("a.tif", np.uint16), ("a.tif", np.int32)])
def test_sixteen_bits_keep_their_greys(tmp_path, name, dtype):
    greys = np.arange(256, dtype=dtype).reshape(16, 16)
    Image.fromarray(greys * 257).save(tmp_path / name)
    assert np.array_equal(np.asarray(read_picture(tmp_path / name))[..., 0], greys)


def test_cover_fills_and_centres():
    picture = np.zeros((20, 60, 3), np.uint8)
    picture[:, 20:40] = 255
    assert (cover(Image.fromarray(picture), 20, 20) == 255).all()
    assert cover(Image.fromarray(picture), 30, 50).shape == (3, 50, 30)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist, or is a link that leads nowhere"),
        (b"", "cannot be read (cannot identify image file"),
        (b"no picture", "cannot be read (cannot identify image file"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x01IHDR\x00", "cannot be read ("),
        (b"II*\x00\x08\x00\x00\x00\xff\xff", "cannot be read ("),
        (b"RIFF\xff\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02", "cannot be read ("),
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_what_cannot_be_read_says_why(tmp_path, content, reason):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    for read in (read_picture, check_picture):
        with pytest.raises(BadMedia) as caught:
            read(path)
        assert caught.value.reason.startswith(reason)
        assert str(caught.value).startswith(f"{path} {reason}")


def test_a_damaged_picture_among_the_photographs_is_left_out_and_named(tmp_path, caplog):
    whole = write_turned(tmp_path / "b.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    link(tmp_path / "c.jpg", "nowhere.jpg")
    (tmp_path / "Thumbs.db").write_bytes(b"thumbnails")
    (tmp_path / "._b.png").write_bytes(b"resource fork")
    (photograph,) = read_photographs(tmp_path)
    assert photograph.shape == (3, 32, 32) and torch.equal(photograph[0], photograph[1])
    assert [record.args[0].path.name for record in caplog.records] == ["a.png", "c.jpg"]


def test_a_broken_case_is_one_sentence(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"validation\.cases names a picture, but .*a\.png cannot be read \(.*\); give another\.$"):
        read_validation_case(tmp_path / "a.png")
