"""Captions and input images of the generated clips."""

import pytest
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.evaluation.captions import check_images, find_images, for_clips, read_captions
from cinemo_pack.cinemo_core.evaluation.clips import Clip
from PIL import Image


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.csv", 'video,caption,more\na/one.mp4,"a cat, asleep",1\nframes.v2,a dog ,2\n'),
        ("c.csv", '\ufeffcaption,video\r\n"a cat, asleep",a/one\r\na dog,frames.v2\r\n'),
        ("c.jsonl", '{"video": "a/one.avi", "caption": "a cat, asleep"}\n\n{"video": "frames.v2", "caption": "a dog", "n": 3}\n'),
    ],
)
def test_both_forms(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_captions(tmp_path / name) == {"a/one": "a cat, asleep", "frames.v2": "a dog"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "file,caption\na,b\n", r"c\.csv has the columns file, caption; its first line must name video and caption"),
        ("c.csv", "video,caption\na,b\nc,\n", r"Line 3 of .*c\.csv has no caption; every row needs video and caption"),
        ("c.csv", "video,caption\na.mp4,x\na,x\na.avi,y\n", r"Line 4 of .*c\.csv gives a another caption than a line before"),
        (None, "", "does not exist; give a CSV or JSONL file"),
    ],
)
def test_bad_files(tmp_path, name, text, message):
    if name:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_captions(tmp_path / (name or "absent.csv"))


def test_images_are_known_by_the_names_of_their_clips(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/one.png", "two.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert find_images(tmp_path) == {"a/one": tmp_path / "a/one.png", "two": tmp_path / "two.jpg"}


def test_no_images(tmp_path):
    with pytest.raises(InputError, match="holds no images; give the folder of the input images"):
        find_images(tmp_path / "absent")


def test_two_images_of_one_clip(tmp_path):
    for name in ("one.png", "one.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    with pytest.raises(InputError, match=r"one\.jpg and .*one\.png belong to the same clip; remove one"):
        find_images(tmp_path)


@pytest.mark.parametrize("content", [b"no image", None])
def test_a_damaged_image_is_reported_before_anything_is_measured(tmp_path, content):
    Image.new("RGB", (8, 8), (200, 10, 10)).save(tmp_path / "one.png")
    check_images([tmp_path / "one.png"])
    whole = (tmp_path / "one.png").read_bytes()
    (tmp_path / "one.png").write_bytes(content or whole.replace(b"IDAT", b"IDAT\xff", 1))
    with pytest.raises(InputError, match=r"input image .*one\.png cannot be read \(.*; replace it\."):
        check_images([tmp_path / "one.png"])


def test_clips_without_a_caption_are_named(tmp_path):
    clips = [Clip(name, tmp_path / name) for name in "abcde"]
    assert for_clips(clips[:2], {"a": "x", "b": "y", "z": "other"}, "caption", tmp_path) == {"a": "x", "b": "y"}
    with pytest.raises(InputError, match=r"4 generated clips have no caption in .*: b, c, d, \.\.\.; add them"):
        for_clips(clips, {"a": "x"}, "caption", tmp_path)
