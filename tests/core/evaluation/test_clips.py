"""Clips of a folder: what counts as one, which frames are taken, what is said of those that cannot be read."""

import numpy as np
import pytest
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.evaluation.clips import Clip, ClipReader, find_clips, shuffled
from cinemo_pack.cinemo_core.media.errors import BadMedia
from cinemo_pack.tests.links import link
from PIL import Image

from .conftest import SIZE, random_clips, write_frames, write_video


def numbered(count: int, size: int = SIZE) -> np.ndarray:
    """Frame i is plain grey 10 i."""
    return np.stack([np.full((size, size, 3), 10 * i, np.uint8) for i in range(count)])


def grey(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean()) / 10) for frame in frames]


def reader(frames: int, **options) -> ClipReader:
    return ClipReader(**{"frames": frames, "width": SIZE, "height": SIZE, "resize": "cover", **options})


def test_videos_and_frame_folders_anywhere_below(tmp_path):
    write_frames(tmp_path, {"b/one": numbered(2)})
    write_video(tmp_path / "a" / "two.mkv", numbered(2))
    (tmp_path / "a" / "captions.csv").write_text("video,caption\n")
    assert [clip.name for clip in find_clips(tmp_path)] == ["a/two", "b/one"]


@pytest.mark.parametrize("kind", ["video", "frames"])
def test_pixels_come_back_as_they_were(tmp_path, kind):
    clips = random_clips(1, 1)
    write_frames(tmp_path, clips) if kind == "frames" else write_video(tmp_path / "clip_0.mkv", clips["clip_0"])
    assert np.array_equal(reader(4).read(find_clips(tmp_path)[0]), clips["clip_0"])


@pytest.mark.parametrize("name", ["x.mp4", "x.avi", "x.mov"])
def test_usual_containers(tmp_path, name):
    path = write_video(tmp_path / name, numbered(9), codec="mpeg4")
    assert grey(reader(9).read(Clip("x", path))) == list(range(9))


def test_frame_files_are_sorted_as_numbers(tmp_path):
    (tmp_path / "x").mkdir()
    for number, frame in enumerate(numbered(12)):
        Image.fromarray(frame).save(tmp_path / "x" / f"frame_{number}.png")
    assert grey(reader(12).read(find_clips(tmp_path)[0])) == list(range(12))


class TestWindow:
    def read(self, tmp_path, length, frames, **options):
        return grey(reader(frames, **options).read(Clip("x", write_video(tmp_path / "x.mkv", numbered(length)))))

    def test_from_the_first_frame(self, tmp_path):
        assert self.read(tmp_path, 20, 4) == [0, 1, 2, 3]

    def test_stride(self, tmp_path):
        assert self.read(tmp_path, 20, 4, stride=6) == [0, 6, 12, 18]

    def test_random_starts_hang_on_seed_and_name(self, tmp_path):
        starts = {self.read(tmp_path, 20, 4, stride=2, random_start=True, seed=seed)[0] for seed in range(40)}
        assert starts <= set(range(14)) and len(starts) > 7
        path = tmp_path / "x.mkv"
        read = [reader(4, random_start=True, seed=3).read(Clip(name, path)) for name in ("x", "x", "y", "z", "w")]
        assert np.array_equal(read[0], read[1])
        assert len({grey(frames)[0] for frames in read}) > 1


def test_frames_are_brought_to_one_size(tmp_path):
    wide = np.zeros((2, 20, 60, 3), np.uint8)
    wide[:, :, 20:40] = 200  # the square in the middle is what "cover" keeps
    path = write_video(tmp_path / "x.mkv", wide)
    frames = reader(2).read(Clip("x", path))
    assert frames.shape == (2, SIZE, SIZE, 3) and frames.dtype == np.uint8 and (frames[:, :, 2:-2] >= 195).all()


class TestBadClips:
    def reason(self, path, frames=4):
        with pytest.raises(BadMedia) as caught:
            reader(frames).read(Clip("x", path))
        assert caught.value.path == path
        return caught.value.reason

    def test_too_short(self, tmp_path):
        assert self.reason(write_video(tmp_path / "x.mkv", numbered(3))) == "has 3 frames, 4 are needed"
        assert self.reason(write_frames(tmp_path / "y", {"z": numbered(2)}) / "z") == "has 2 frames, 4 are needed"

    def test_not_a_video(self, tmp_path):
        (tmp_path / "x.mp4").write_bytes(b"no video" * 99)
        assert self.reason(tmp_path / "x.mp4").startswith("cannot be read (")

    def test_missing(self, tmp_path):
        assert self.reason(tmp_path / "x.mp4") == "does not exist, or is a link that leads nowhere"

    def test_frames_that_are_no_images(self, tmp_path):
        (tmp_path / "x").mkdir()
        for number in range(4):
            (tmp_path / "x" / f"{number}.png").write_bytes(b"no image")
        assert "holds 0.png, which cannot be read (cannot identify image file" in self.reason(tmp_path / "x")

    def test_a_damaged_image(self, tmp_path):
        folder = write_frames(tmp_path, {"x": numbered(4)}) / "x"
        file = folder / "2.png"
        file.write_bytes(file.read_bytes().replace(b"IDAT", b"IDAT\xff", 1))
        assert self.reason(folder).startswith("holds 2.png, which cannot be read (")

    def test_an_image_like_a_decompression_bomb(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)
        assert "decompression bomb" in self.reason(write_frames(tmp_path, {"x": numbered(4)}) / "x")

    def test_sound_only(self, tmp_path):
        import av

        with av.open(str(tmp_path / "x.mp4"), "w") as container:
            stream = container.add_stream("aac", rate=8000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        assert self.reason(tmp_path / "x.mp4") == "holds no video"

    def test_cut_off(self, tmp_path):
        whole = write_video(tmp_path / "x.avi", random_clips(2, 1)["clip_0"].repeat(8, 0), codec="mpeg4").read_bytes()
        (tmp_path / "y.avi").write_bytes(whole[: len(whole) // 3])
        assert self.reason(tmp_path / "y.avi", frames=32)


def test_a_title_that_is_no_utf8_does_not_matter(tmp_path):
    import av

    path = tmp_path / "x.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLE"
        stream = container.add_stream("mpeg4", rate=8, options={"qscale": "2"})
        stream.height, stream.width, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for frame in numbered(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"TITLE", b"T\xff\xfeLE"))
    assert grey(reader(4).read(Clip("x", path))) == [0, 1, 2, 3]


class TestOrder:
    def test_takes_names_that_are_no_utf8(self):
        assert len(shuffled([Clip("a\udcff", None), Clip("b", None)], 1)) == 2

    def test_hangs_on_the_seed(self):
        clips = [Clip(str(number), None) for number in range(50)]
        assert shuffled(clips, 1) == shuffled(reversed(clips), 1) != shuffled(clips, 2)
        assert sorted(shuffled(clips, 1), key=lambda clip: int(clip.name)) == clips

    def test_of_the_others_stays_when_one_goes(self):
        clips = [Clip(str(number), None) for number in range(50)]
        without = [clip for clip in shuffled(clips, 1) if clip.name != "7"]
        assert shuffled([clip for clip in clips if clip.name != "7"], 1) == without


class TestBadFolders:
    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match="is not a folder, or cannot be reached; give one with videos"):
            find_clips(tmp_path / "x")

    def test_empty(self, tmp_path):
        Image.new("RGB", (8, 8)).save(tmp_path / "loose.png")  # images next to one another are not a clip
        with pytest.raises(InputError, match=r"holds no clips; expected video files \(.3gp, .avi, "):
            find_clips(tmp_path)

    def test_two_of_one_name(self, tmp_path):
        for name in ("x.mp4", "x.avi"):
            (tmp_path / name).touch()
        with pytest.raises(InputError, match=r"x.mp4 and .*x.avi have the same name"):
            find_clips(tmp_path)


def test_a_folder_with_links_and_leftovers(tmp_path):
    """A dangling link is one bad clip, linked folders are followed, leftovers of operating systems are no clips."""
    write_video(tmp_path / "elsewhere" / "a.mkv", numbered(4))
    write_frames(tmp_path / "elsewhere", {"frames": numbered(4)})
    folder = tmp_path / "clips"
    folder.mkdir()
    link(folder / "linked", tmp_path / "elsewhere")
    link(folder / "gone.mp4", "nowhere.mp4")
    link(folder / "unreachable", "x" * 300)
    for name in ("._a.mkv", "linked/frames/._0.png", "linked/frames/Thumbs.db"):
        (folder / name).write_bytes(b"leftover")
    clips = {clip.name: clip for clip in find_clips(folder)}
    assert clips.keys() == {"gone", "linked/a", "linked/frames"}
    assert grey(reader(4).read(clips["linked/a"])) == grey(reader(4).read(clips["linked/frames"])) == [0, 1, 2, 3]
    with pytest.raises(BadMedia, match="does not exist, or is a link that leads nowhere"):
        reader(4).read(clips["gone"])
