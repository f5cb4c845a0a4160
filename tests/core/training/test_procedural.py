"""The clips that the project draws: the same for a seed, moving as their caption says, as much as was drawn."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.evaluation.claims.cases import changing
from cinemo_pack.cinemo_core.evaluation.claims.direction import direction_of, read_direction
from cinemo_pack.cinemo_core.motion.buckets import bucket_of_motion_id, motion_id_of_ssim
from cinemo_pack.cinemo_core.training.latents import mean_ssim
from cinemo_pack.cinemo_core.training.nano.procedural import render_clip, render_stills
from cinemo_pack.cinemo_core.training.nano.procedural.clip import END, find_strength, score, to_uint8
from cinemo_pack.cinemo_core.training.nano.procedural.dice import Dice
from cinemo_pack.cinemo_core.training.nano.procedural.scenes import CAMERA, SCENES, Setting, camera, drifting_clouds, moving_thing
from cinemo_pack.cinemo_core.training.nano.procedural.textures import canvas_size, read_photographs

SIZE = 64


def setting(seed: int, width: int = SIZE, height: int = SIZE, photographs=()) -> Setting:
    return Setting(Dice(seed), width, height, photographs)


def test_a_seed_gives_one_clip():
    first, caption = render_clip(7, 48, 40, 5)
    again, same_caption = render_clip(7, 48, 40, 5)
    other, _ = render_clip(8, 48, 40, 5)
    assert first.shape == (5, 3, 40, 48) and first.dtype == torch.uint8
    assert torch.equal(first, again) and caption == same_caption
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", [kind for kind, _ in SCENES], ids=lambda kind: kind.__name__)
def test_every_scene_starts_from_one_picture_and_then_moves(kind):
    for seed in range(3):
        scene = kind(setting(seed))
        still, moving = scene.paint(torch.arange(8.0), 0.0), scene.paint(torch.arange(8.0), 1.0)
        assert still.shape == (8, 3, SIZE, SIZE) and still.isfinite().all()
        assert torch.allclose(still[0], moving[0], atol=1e-5)
        assert (still - still[:1]).abs().max() < 1e-5
        assert (moving[1:] - moving[:1]).abs().amax(dim=(1, 2, 3)).max() > 0.05
        assert scene.caption.startswith("the ") and scene.caption.islower()


@pytest.mark.parametrize("caption", CAMERA)
def test_the_camera_goes_where_its_caption_says(caption):
    right = 0
    seeds = [seed for seed in range(100) if camera(setting(seed, 8, 8)).caption == caption][:8]
    for seed in seeds:
        frames = to_uint8(camera(setting(seed)).paint(torch.arange(8.0), 0.5)).permute(0, 2, 3, 1).numpy()
        right += read_direction(frames, None) == direction_of(caption)
    assert len(seeds) == 8 and right >= 6  # a texture may look the same farther on


def test_things_go_where_their_caption_says():
    """What changes at the start is where the thing is then, what changes at the end where it is by then."""
    seen = set()
    for seed in range(12):
        scene = moving_thing(setting(seed))
        frames = scene.paint(torch.tensor([0.0, 2.0, 13.0, 15.0]), 1.0)
        (x0, y0), (x1, y1) = centre_of_change(frames[:2]), centre_of_change(frames[2:])
        assert all(4 < place < SIZE - 4 for place in (x0, y0, x1, y1))  # it is in the picture at the start and at the end
        along = {"right": x1 - x0, "left": x0 - x1, "down": y1 - y0, "up": y0 - y1}
        assert max(along, key=along.__getitem__) == direction_of(scene.caption), scene.caption
        seen.add(direction_of(scene.caption))
    assert len(seen) == 4


def centre_of_change(frames: torch.Tensor) -> tuple[float, float]:
    y, x = ((frames[1] - frames[0]).abs().amax(0) > 0.1).nonzero().unbind(1)
    return float(x.float().mean()), float(y.float().mean())


def test_clouds_drift_where_their_caption_says():
    right = 0
    for seed in range(6):
        scene = drifting_clouds(setting(seed))
        frames = to_uint8(scene.paint(torch.arange(8.0), 0.5)).permute(0, 2, 3, 1).numpy()
        right += read_direction(frames, changing(scene)) == direction_of(scene.caption)
    assert right >= 5


def test_the_strength_gives_the_score_that_was_asked_for():
    scene = camera(setting(3))
    most = score(scene, 16, 1.0)
    for level in (0.0, 0.3, 0.7):
        strength = find_strength(scene, 16, level)
        reached = score(scene, 16, strength)
        assert reached == pytest.approx(1 - level * (1 - max(most, END)), abs=0.02)


def test_buckets_of_all_sizes_come_up():
    clips = (render_clip(seed, SIZE, SIZE, 4)[0] for seed in range(24))
    buckets = [bucket_of_motion_id(motion_id_of_ssim(mean_ssim(clip))) for clip in clips]
    for low, high in ((0, 4), (5, 9), (10, 19)):
        assert sum(low <= bucket <= high for bucket in buckets) >= 2, buckets


def test_stills_show_a_scene_at_several_times():
    views = render_stills(5, 32, 48, 3)
    assert views.shape == (3, 3, 48, 32) and views.dtype == torch.uint8


def test_photographs_serve_as_backdrops(tmp_path):
    from PIL import Image

    Image.new("RGB", (90, 60), (255, 0, 255)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no picture")
    (photograph,) = read_photographs(tmp_path)
    assert photograph.shape == (3, 60, 90)
    purple = 0
    for seed in range(12):
        backdrop = setting(seed, 16, 16, (photograph,)).backdrop()
        assert backdrop.shape == (3, canvas_size(16, 16), canvas_size(16, 16))
        purple += bool(backdrop[1].max() == 0 and backdrop[0].min() > 0.5)
    assert 0 < purple < 12


def test_a_missing_folder_of_photographs_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"nowhere, which is not a folder; give one with pictures"):
        read_photographs(tmp_path / "nowhere")
