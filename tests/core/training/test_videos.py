"""Clips out of real video files: which frames are taken, how lists are read, what happens to bad files."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.media.errors import BadMedia
from cinemo_pack.cinemo_core.training.clips import BadClips
from cinemo_pack.cinemo_core.training.config import Data
from cinemo_pack.cinemo_core.training.sources import draw_clip
from cinemo_pack.cinemo_core.training.videos import Videos, choose_frames, read_clip
from cinemo_pack.tests.links import link

from .conftest import write_video


def data(path: Path, **options) -> Data:
    return Data("videos", options.pop("width", 32), options.pop("height", 32), str(path), frames=options.pop("frames", 4), **options)


def numbered(frames: int) -> np.ndarray:
    """Frame i shows the number i: a white column for each bit that is set, of eight."""
    numbers = np.arange(frames)[:, None] >> np.arange(8) & 1
    return np.broadcast_to(np.repeat(numbers, 6, axis=1)[:, None, :, None] * 255, (frames, 48, 48, 3)).astype(np.uint8)


def read_numbers(clip: torch.Tensor) -> list[int]:
    bits = clip.float().mean((1, 2)).unflatten(1, (8, -1)).mean(2) > 127
    return (bits.long() << torch.arange(8)).sum(1).tolist()


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("mkv", "ffv1", {}),
        ("mp4", "mpeg4", {"bf": "2", "g": "12"}),
        ("mp4", "libx264", {"g": "12"}),
        ("webm", "libvpx", {}),
        ("avi", "mpeg4", {"bf": "2", "g": "12"}),
    ],
)
def test_the_frames_taken_are_those_chosen(tmp_path, suffix, codec, options):
    """Whatever the container, and however its frames depend on each other."""
    path = tmp_path / f"a.{suffix}"
    write_video(path, numbered(60), codec, **options)
    settings = data(tmp_path)
    seen = set()
    for draw in range(12):
        chosen = choose_frames(60, settings, draw, path)
        assert read_numbers(read_clip(path, settings, draw)) == list(chosen)
        seen.add((chosen.step, chosen.start))
    assert len(seen) > 8


def test_intervals_and_starts_cover_all_that_fits():
    settings = data(Path("x"))
    drawn = [choose_frames(25, settings, draw, Path("x")) for draw in range(3000)]
    assert {len(r) for r in drawn} == {4}
    assert {r.step for r in drawn} == set(range(3, 9))  # 3 * 8 + 1 frames are 25
    assert {r.start for r in drawn if r.step == 3} == set(range(16))
    assert all(r[-1] < 25 for r in drawn)
    with pytest.raises(BadMedia, match="has 9 frames, too few for 4 at an interval of 3"):
        choose_frames(9, settings, 0, Path("x"))


def test_intervals_are_drawn_evenly():
    drawn = [choose_frames(1000, data(Path("x")), draw, Path("x")).step for draw in range(4000)]
    counts = [drawn.count(step) for step in range(3, 11)]
    assert sum(counts) == 4000
    assert min(counts) > 400


def test_lists_and_folders_name_the_same_clips(videos, tmp_path):
    rows = [(f"{i}.mkv", f"a square moves, number {i}") for i in range(5)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"path": str(videos / p), "caption": c}) + "\n\n" for p, c in rows))
    (tmp_path / "a.csv").write_text("caption,path\n" + "".join(f'"{c}",{videos / p}\n' for p, c in rows))
    sources = [Videos(data(path)) for path in (videos, tmp_path / "a.jsonl", tmp_path / "a.csv")]
    for index in range(5):
        clips = [source.clip(index, 7) for source in sources]
        assert all(torch.equal(clips[0].frames, clip.frames) for clip in clips)
        assert {clip.caption for clip in clips} == {f"a square moves, number {index}"}
    assert len({source.identity() for source in sources[1:]}) == 1


def test_paths_in_a_list_are_relative_to_it(videos):
    listing = videos / "list.jsonl"
    listing.write_text('{"path": "2.mkv", "caption": "two"}\n{"path": "1.mkv"}\n')
    source = Videos(data(listing))
    assert (source.clip(0, 0).caption, source.clip(1, 0).caption) == ("two", "")
    listing.unlink()


def test_a_source_survives_the_way_to_a_worker(videos):
    source = Videos(data(videos))
    copy = pickle.loads(pickle.dumps(source))
    assert torch.equal(copy.clip(3, 1).frames, source.clip(3, 1).frames)


@pytest.fixture
def mixed(videos, tmp_path) -> Path:
    """A list of two good videos and every kind of bad one."""
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    whole = tmp_path / "whole.mp4"
    write_video(whole, numbered(200), "mpeg4")
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    write_video(tmp_path / "short.mkv", numbered(5))
    names = ["text.mp4", "empty.mp4", "cut.mp4", "short.mkv", "gone.mp4", str(videos / "0.mkv"), str(videos / "1.mkv")]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps({"path": name, "caption": name}) + "\n" for name in names))
    return tmp_path / "list.jsonl"


def test_bad_files_say_why(mixed):
    source = Videos(data(mixed))
    reasons = []
    for index in range(5):
        with pytest.raises(BadMedia) as error:
            source.clip(index, 0)
        reasons.append(str(error.value))
    assert "text.mp4 cannot be read" in reasons[0]
    assert "empty.mp4 cannot be read" in reasons[1]
    assert "cut.mp4 cannot be read" in reasons[2]
    assert "short.mkv has 5 frames, too few" in reasons[3]
    assert "gone.mp4 does not exist" in reasons[4]


def test_another_clip_takes_a_bad_ones_place(mixed, tmp_path):
    source, bad = Videos(data(mixed)), BadClips(tmp_path / "out" / "bad.jsonl")
    captions = {draw_clip(source, 3, draw, bad).caption for draw in range(20)}
    assert captions == {row for row in captions if row.endswith((".mkv",)) and "short" not in row}
    assert len(captions) == 2
    assert bad.count() == 5
    assert torch.equal(draw_clip(source, 3, 4, bad).frames, draw_clip(source, 3, 4, bad).frames)


def test_nothing_but_bad_files(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(InputError, match="100 clips in a row could not be used, the last because .*a.mp4 cannot be read"):
        draw_clip(Videos(data(tmp_path)), 0, 0, BadClips(tmp_path / "bad.jsonl"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none", None, "does not exist or cannot be reached; give a folder of videos"),
        ("a.txt", "x", r"a\.txt is neither a \.csv nor a \.jsonl list"),
        ("a.csv", "path,caption\n", "names no videos"),
        ("a.jsonl", '{"path": "a"}\n{"caption": "b"}\n', r"Line 2 of .*a\.jsonl has no path"),
    ],
)
def test_lists_that_cannot_be_read(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        Videos(data(tmp_path / name))


def test_a_caption_in_another_encoding(videos, tmp_path):
    shutil.copy(videos / "0.mkv", tmp_path)
    (tmp_path / "0.txt").write_text("un château", encoding="cp1252")
    with pytest.raises(InputError, match=r"0\.txt is not UTF-8"):
        Videos(data(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_caption_is_its_text_alone(videos, tmp_path, encoding):
    shutil.copy(videos / "0.mkv", tmp_path)
    (tmp_path / "0.txt").write_text("un château\n", encoding=encoding)
    assert Videos(data(tmp_path)).clip(0, 0).caption == "un château"


def test_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match="names no videos"):
        Videos(data(tmp_path))


def test_a_folder_with_links_and_leftovers(videos, tmp_path):
    """A dangling link is one bad clip, linked folders are followed, leftovers of operating systems are no clips."""
    link(tmp_path / "linked", videos)
    link(tmp_path / "gone.mp4", "nowhere.mp4")
    link(tmp_path / "unreachable", "x" * 300)
    for name in ("._0.mkv", "Thumbs.db", ".0.mkv.part"):
        (tmp_path / name).write_bytes(b"leftover")
    source, bad = Videos(data(tmp_path)), BadClips(tmp_path / "out" / "bad.jsonl")
    assert len(source) == 6
    captions = {draw_clip(source, index, draw, bad).caption for index in range(6) for draw in range(4)}
    assert captions == {f"a square moves, number {index}" for index in range(5)}
    assert bad.count() == 1
    assert "gone.mp4 does not exist, or is a link that leads nowhere" in bad.path.read_text()
