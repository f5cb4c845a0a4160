"""What nano learns from: template pictures and their held-out part, shots, views that match, exact camera moves."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cinemo_pack.cinemo_core.errors import CheckpointError
from cinemo_pack.cinemo_core.models.temporal_vae.keys import VAEConfig
from cinemo_pack.cinemo_core.training.nano import library, templates
from cinemo_pack.cinemo_core.training.nano.autoencoder.network import make_vae
from cinemo_pack.cinemo_core.training.nano.camera_clips import Still, clip_of, draw_clip
from cinemo_pack.cinemo_core.training.nano.grow import grow
from cinemo_pack.cinemo_core.training.nano.library import Item, Library
from cinemo_pack.cinemo_core.training.nano.moves import WAYS, Move, latent_clip, place_view
from cinemo_pack.cinemo_core.training.nano.procedural.dice import Dice
from cinemo_pack.cinemo_core.training.nano.shots import Shot, find_cuts, find_shots, small_frames
from cinemo_pack.cinemo_core.training.nano.views import ViewBatches
from PIL import Image

SIDE = 200


def scenery(seed: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """A smooth coloured picture, uint8 [h, w, 3]."""
    field = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return (F.interpolate(field, size=(height, width), mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)


def names(held_out: bool) -> list[str]:
    return [name for name in (f"{i}.webp" for i in range(60)) if templates.is_held_out(name) == held_out]


@pytest.fixture
def media(tmp_path, monkeypatch):
    """A folder of pictures in place of the template packages."""
    folder = tmp_path / "media"
    folder.mkdir()

    def find() -> list[templates.Media]:
        return [templates.measure(path) for path in sorted(folder.iterdir())]

    monkeypatch.setattr(library, "find_templates", find)
    return folder


def test_the_held_out_fifth_is_known_by_name_alone():
    """By CRC-32, with a name whose sum is known (3421780262 for the digits, the check value of the standard): about a fifth."""
    assert not templates.is_held_out("123456789")  # ends in 2
    share = sum(templates.is_held_out(f"{i}.webp") for i in range(2000)) / 2000
    assert share == pytest.approx(0.2, abs=0.03)


def test_the_installed_packages_are_found():
    found = templates.find_templates()
    assert len({m.name for m in found}) == len(found) > 500
    assert sum(m.frames > 1 for m in found) > 200
    assert 0.1 < sum(m.held_out for m in found) / len(found) < 0.3


def test_a_library_holds_every_frame_and_trains_on_nothing_held_out(tmp_path, media):
    train, out = names(False), names(True)
    frames = [Image.fromarray(scenery(i)) for i in range(3)]
    frames[0].save(media / train[0], save_all=True, append_images=frames[1:], lossless=True)
    Image.fromarray(scenery(10)).save(media / out[0], lossless=True)
    Image.fromarray(scenery(10)[::-1].copy()[::-1]).save(media / train[1], lossless=True)  # the held-out one under another name
    Image.fromarray(scenery(11)).save(media / train[2], lossless=True)
    Image.fromarray(scenery(12, 40, 40)).save(media / train[3], lossless=True)  # an icon
    found = Library(tmp_path / "decoded")
    assert {item.name for item in found.training} == {train[0], train[2]}
    assert found.alike == {train[1]: out[0]}
    assert [item.name for item in found.held_out_stills] == [out[0]]
    clip = next(item for item in found.items if item.name == train[0])
    assert np.array_equal(clip.pixels, np.stack([scenery(i) for i in range(3)]))
    assert [item.name for item in Library(tmp_path / "decoded").items] == [item.name for item in found.items]


@pytest.mark.parametrize(("most", "kept"), [(1, [0]), (2, [0, 4]), (3, [0, 2, 4]), (9, [0, 1, 2, 3, 4])])
def test_a_library_may_keep_some_frames_of_a_clip(tmp_path, media, most, kept):
    frames = [scenery(i) for i in range(5)]
    first, *others = map(Image.fromarray, frames)
    first.save(media / names(False)[0], save_all=True, append_images=others, lossless=True)
    Image.fromarray(scenery(10)).save(media / names(True)[0], lossless=True)
    (clip,) = Library(tmp_path / "decoded", most).training
    assert np.array_equal(clip.pixels, np.stack([frames[i] for i in kept]))
    assert clip.frames == len(kept)


def panning(frames: int, seed: int, speed: int = 2) -> np.ndarray:
    wide = scenery(seed, SIDE, SIDE + frames * speed)
    return np.stack([wide[:, i * speed : i * speed + SIDE] for i in range(frames)])


def test_shots_end_at_cuts_and_the_rest_is_named():
    parts = [panning(20, 1), panning(5, 2), np.repeat(scenery(3)[None], 20, axis=0), panning(30, 4)]
    small = small_frames(np.concatenate(parts))
    assert find_cuts(small) == [20, 25, 45]
    kept, skipped = find_shots(small)
    assert kept == [Shot(0, 20), Shot(45, 75)]
    assert [(s.shot.start, s.reason) for s in skipped] == [(20, "short"), (25, "still")]


def test_a_montage_is_left_out_whole():
    kept, skipped = find_shots(small_frames(np.concatenate([panning(20, i) for i in range(8)])))
    assert not kept
    assert {s.reason for s in skipped} == {"montage"}


def test_a_fast_pan_is_no_cut():
    assert find_cuts(small_frames(panning(40, 5, speed=20))) == []


@pytest.fixture
def items(tmp_path) -> list[Item]:
    rows = []
    for name, frames in (("still", 1), ("clip", 4)):
        path = tmp_path / f"{name}.npy"
        np.save(path, np.stack([scenery(i, 300, 280) for i in range(frames)]))
        rows.append(Item(name, path, frames, 280, 300))
    return rows


def test_a_view_s_grid_leads_from_what_is_encoded_to_what_is_wanted(items):
    """Patches read along the grid are the patches of the wanted view, however it is moved, scaled or mirrored."""
    batches = ViewBatches(items, 3 * 128 * 128, seed=0)
    moved = 0
    for step in range(60):
        views = batches[step]
        assert views.noise.shape[2:] == torch.Size(side // 8 for side in views.wanted.shape[2:])
        patches, wanted = (F.avg_pool2d(part.float(), 8) for part in (views.pictures, views.wanted))
        if views.grid is not None:
            moved += 1
            patches = F.grid_sample(patches, views.grid, mode="bicubic", padding_mode="border", align_corners=False)
        assert (patches - wanted).abs().mean() < 3
    assert 15 < moved < 45


@pytest.mark.parametrize("kept", [0, 1], ids=["stills", "clips"])
def test_one_kind_of_picture_is_enough(items, kept):
    batches = ViewBatches(items[kept : kept + 1], 96 * 96, seed=0)
    assert all(len(batches[step].pictures) for step in range(12))


def test_a_batch_belongs_to_its_number(items):
    first, again, other = (ViewBatches(items, 40000, seed=0)[step] for step in (7, 7, 8))
    assert torch.equal(first.pictures, again.pictures) and torch.equal(first.noise, again.noise)
    assert first.pictures.shape != other.pictures.shape or not torch.equal(first.pictures, other.pictures)


@torch.no_grad()
def test_a_grown_vae_does_what_the_smaller_one_did():
    small, large = (make_vae(VAEConfig(widths, 1, temporal=False), 0).eval() for widths in ((32, 32, 32, 32), (32, 32, 64, 128)))
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = small.encode(picture).latent_dist.mean
    grow(large, small.state_dict(), torch.Generator().manual_seed(1), noise=0.0)
    torch.testing.assert_close(large.encode(picture).latent_dist.mean, before, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(large.decode(before).sample, small.decode(before).sample, rtol=1e-3, atol=1e-3)
    grow(large, small.state_dict(), torch.Generator().manual_seed(1))
    assert 0 < (large.encode(picture).latent_dist.mean - before).abs().max() < 0.3 * before.std()


@pytest.mark.parametrize("caption", WAYS)
def test_a_move_stays_in_the_picture_and_goes_as_far_as_it_says(caption):
    move = Move(caption, 0.3)
    view = place_view(Dice(3), move, 0.4, 0.5)
    assert view is not None
    boxes = move.boxes(view, 16)
    torch.testing.assert_close(boxes[0], torch.tensor(view))
    assert boxes.min() >= -1e-6 and boxes.max() <= 1 + 1e-6
    width, height = boxes[-1, 2] - boxes[-1, 0], boxes[-1, 3] - boxes[-1, 1]
    right, down, nearer = WAYS[caption]
    assert width == pytest.approx(0.4 * math.exp(-0.3 * nearer), rel=1e-5)
    assert height == pytest.approx(0.5 * math.exp(-0.3 * nearer), rel=1e-5)
    middle = (boxes[-1, :2] + boxes[-1, 2:] - boxes[0, :2] - boxes[0, 2:]) / 2
    assert middle.tolist() == pytest.approx([0.3 * right * 0.4, 0.3 * down * 0.5], abs=1e-6)


def test_a_move_without_room_has_no_view():
    assert place_view(Dice(0), Move("the camera pans left", 0.5), 0.8, 0.8) is None


def test_a_pan_by_whole_latents_shows_the_picture_s_own_latents():
    latent = torch.randn(4, 20, 30, generator=torch.Generator().manual_seed(0))
    boxes = Move("the camera pans right", 0.5).boxes((0.1, 0.2, 0.5, 0.6), 7)  # 12 x 8 latents, one latent a frame
    clip = latent_clip(latent, boxes, 12, 8)
    expected = torch.stack([latent[:, 4:12, 3 + i : 15 + i] for i in range(7)])
    torch.testing.assert_close(clip, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def still() -> Still:
    picture = torch.from_numpy(scenery(6, 240, 320)).permute(2, 0, 1)
    return Still("a", F.avg_pool2d(picture[None].float() / 64, 8)[0].half().repeat(2, 1, 1)[:4], picture)


def test_more_of_a_move_is_more_motion(still):
    scores = [clip_of(Dice(1), still, Move("the camera tilts up", amount), 12, 12, 16).ssim for amount in (0.05, 0.2, 0.6)]
    assert 1 > scores[0] > scores[1] > scores[2]


def test_clips_are_drawn_with_their_captions(still):
    clips = [draw_clip(Dice(seed), [still], 14, 10, 16) for seed in range(12)]
    assert all(clip.latents.shape == (16, 4, 10, 14) and clip.caption in WAYS and 0 < clip.ssim <= 1 for clip in clips)
    assert len({clip.caption for clip in clips}) > 3


def test_weights_of_another_kind_are_not_grown():
    small, deeper = (make_vae(VAEConfig((32, 32, 32, 32), blocks, temporal=False), 0) for blocks in (1, 2))
    with pytest.raises(CheckpointError, match=r"resnets\.1.* as many levels and blocks"):
        grow(deeper, small.state_dict(), torch.Generator())
