"""Frames of videos, animated pictures and folders of pictures: which are taken, which way up, and what is said of bad ones."""

import shutil

import numpy as np
import pytest
from cinemo_pack.cinemo_core.evaluation.clips import Clip, ClipReader
from cinemo_pack.cinemo_core.media.errors import BadMedia
from cinemo_pack.cinemo_core.media.videos import is_picture, is_video, read_frames
from cinemo_pack.cinemo_core.training.config import Data
from cinemo_pack.cinemo_core.training.videos import Videos
from cinemo_pack.tests.links import link
from PIL import Image

SIZE = 16


def numbered(count: int) -> list[np.ndarray]:
    """Frame i is plain grey 10 i."""
    return [np.full((SIZE, SIZE, 3), 10 * number, np.uint8) for number in range(count)]


def write_animation(path, frames, **options):
    first, *others = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=others, duration=100, **options)
    return path


def write_video(path, frames, rotation=0):
    """An H.264 file that asks to be shown turned counterclockwise."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8, options={"qp": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_folder(path, frames):
    path.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"{number}.png")
    return path


WRITERS = {"a.mp4": write_video, "a.webp": write_animation, "a.gif": write_animation, "folder": write_folder}


def greys(frames) -> list[int]:
    return [round(float(np.asarray(frame).mean()) / 10) for frame in frames]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("wanted", [range(12), range(2, 11, 4), range(11, 12)])
def test_the_frames_asked_for_come_in_order(tmp_path, name, wanted):
    path = WRITERS[name](tmp_path / name, numbered(12))
    counts = []
    frames = list(read_frames(path, lambda count: counts.append(count) or wanted))
    assert counts == [12]
    assert greys(frames) == list(wanted)
    assert {(frame.mode, frame.size) for frame in frames} == {("RGB", (SIZE, SIZE))}


def test_an_animated_webp_is_a_video_and_a_still_one_a_picture(tmp_path):
    moving = write_animation(tmp_path / "moving.webp", numbered(3), lossless=True)
    still = tmp_path / "still.WEBP"
    Image.new("RGBA", (4, 4), (9, 9, 9, 9)).save(still, format="WEBP")
    link(tmp_path / "gone.webp", "nowhere")
    assert [is_video(path) for path in (moving, still, tmp_path / "gone.webp")] == [True, False, False]
    assert [is_picture(path) for path in (moving, still, tmp_path / "gone.webp")] == [False, True, True]
    with pytest.raises(BadMedia, match=r"still\.WEBP has 1 frames, 3 are needed"):
        ClipReader(3, SIZE, SIZE, "cover").read(Clip("still", still))


def test_frames_that_webp_leaves_alone_are_shown(tmp_path):
    """An animation stores of each frame only what changed."""
    frames = numbered(1) * 3
    frames[1] = frames[1].copy()
    frames[1][4:8, 4:8] = 250
    frames[2] = frames[1].copy()
    frames[2][8:12, 8:12] = 120
    path = write_animation(tmp_path / "a.webp", frames, lossless=True)
    assert all(np.array_equal(read, frame) for read, frame in zip(read_frames(path, range), frames, strict=True))


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_turned_videos_come_upright_to_training_and_evaluation(tmp_path, rotation):
    stored = np.zeros((32, 64, 3), np.uint8)
    stored[:16, :32] = 250  # the top left quarter
    path = write_video(tmp_path / "a.mp4", [stored] * 4, rotation)
    shown = np.rot90(stored, rotation // 90)
    height, width = shown.shape[:2]
    trained = Videos(Data("videos", width, height, str(tmp_path), frames=2)).clip(0, 0).frames[0].permute(1, 2, 0).numpy()
    evaluated = ClipReader(2, width, height, "cover").read(Clip("a", path))[0]
    for frame in (trained, evaluated):
        assert frame.shape == shown.shape
        assert np.abs(frame.astype(int) - shown).mean() < 3


def test_training_takes_animations_and_folders_of_frames(tmp_path):
    write_animation(tmp_path / "a.webp", numbered(12), lossless=True)
    (tmp_path / "a.txt").write_text("it brightens")
    clip = Videos(Data("videos", SIZE, SIZE, str(tmp_path), frames=3)).clip(0, 5)
    assert clip.caption == "it brightens"
    steps = np.diff(greys(clip.frames))
    assert steps[0] == steps[1] and 3 <= steps[0] <= 5

    write_folder(tmp_path / "frames", numbered(12))
    (tmp_path / "list.csv").write_text("path,caption\nframes,in a folder\n")
    clip = Videos(Data("videos", SIZE, SIZE, str(tmp_path / "list.csv"), frames=3)).clip(0, 5)
    assert greys(clip.frames) == greys(Videos(Data("videos", SIZE, SIZE, str(tmp_path), frames=3)).clip(0, 5).frames)


@pytest.mark.parametrize("name", WRITERS)
def test_damage_anywhere_is_a_bad_clip(tmp_path, name):
    """Cut at every tenth, or with bytes changed there: read as a clip, or refused with its name, never another error."""
    noise = np.random.default_rng(1).integers(0, 99, (9, SIZE, SIZE, 3), np.uint8)
    path = WRITERS[name](tmp_path / name, list(noise))
    file = path / "4.png" if path.is_dir() else path
    whole = file.read_bytes()
    refused = []
    for tenth in range(10):
        place = tenth * len(whole) // 10
        for damaged in (whole[:place], whole[:place] + b"\xff\x00\xa5" * 5 + whole[place + 15 :]):
            file.write_bytes(damaged)
            try:
                list(read_frames(path, range))
            except BadMedia as error:
                refused.append(error)
    assert len(refused) > 3
    assert {error.path for error in refused} == {path}
    assert all(error.reason.startswith(("cannot be read (", "breaks off: only", "holds 4.png, which")) for error in refused)


def test_a_link_that_leads_nowhere_is_a_bad_clip(tmp_path):
    for target in ("nowhere.mp4", "x" * 300, "loop.mp4"):
        link(tmp_path / "loop.mp4", target)
        with pytest.raises(BadMedia, match=r"loop\.mp4 (does not exist, or is a link that leads nowhere|cannot be read \()"):
            list(read_frames(tmp_path / "loop.mp4", range))
        (tmp_path / "loop.mp4").unlink()


def test_a_picture_that_is_missing_from_a_folder_is_named(tmp_path):
    folder = write_folder(tmp_path / "x", numbered(4))
    (folder / "2.png").unlink()
    link(folder / "2.png", "nowhere")
    with pytest.raises(BadMedia, match=r"x holds 2\.png, which does not exist, or is a link that leads nowhere"):
        list(read_frames(folder, range))
    shutil.rmtree(folder)
    with pytest.raises(BadMedia, match="x does not exist"):
        list(read_frames(folder, range))
