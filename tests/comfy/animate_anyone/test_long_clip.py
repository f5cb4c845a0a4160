"""300 frames in windows: what a step holds does not grow with the clip, a run can be stopped, and it shows its progress."""

import gc
from dataclasses import replace

import comfy.model_management
import comfy.sample
import comfy.utils
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.animate_anyone.conditioning import FigureCondition, attach_figure
from cinemo_pack.cinemo_core.comfyui.animate_anyone.windows import Windows, set_windows
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.errors import InputError, SamplingError
from cinemo_pack.cinemo_core.models.animate_anyone.config import AnimateAnyoneConfig
from cinemo_pack.cinemo_core.models.animate_anyone.windows import looped_windows, open_windows
from cinemo_pack.tests.drawn_animate_anyone import UNET, published_set
from safetensors.torch import save_file

import nodes

FRAMES, STEPS, SIDE = 300, 2, 4  # SIDE of a latent
POSES = 3 * (8 * SIDE) ** 2  # bytes of a frame's, as 8-bit pictures
LATENT = 4 * 4 * SIDE**2
FEATURES = 4 * UNET.model_channels * SIDE**2  # that the Pose Guider makes of a frame's


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(UNET, tmp_path_factory.mktemp("long"))


def load(config: AnimateAnyoneConfig, folder):
    path, files = folder / "set.safetensors", published_set(config)
    save_file({f"{file}.{name}": tensor for file, tensors in files.items() for name, tensor in tensors.items()}, path)
    return load_unet(str(path), "fp32")


def conditions(frames: int) -> tuple[list, list]:
    generator = torch.Generator().manual_seed(1)
    poses = torch.randint(0, 256, (1, frames, 3, 8 * SIDE, 8 * SIDE), dtype=torch.uint8, generator=generator)
    embeds = torch.randn(1, 1, UNET.context_dim, generator=generator)
    bank = {
        block: torch.randn(1, SIDE**2 if block[0] != "middle" else SIDE**2 // 4, width, generator=generator)
        for block, width in BLOCKS.items()
    }
    (positive,) = attach_figure(FigureCondition(poses, bank), [[embeds, {}]])
    (negative,) = attach_figure(FigureCondition(poses), [[torch.zeros_like(embeds), {}]])
    return positive, negative


BLOCKS = {block: UNET.model_channels * (2 if block[0] == "middle" else 1) for block in UNET.attending_blocks}


def sample(model, frames: int, callback=None) -> torch.Tensor:
    noise = torch.randn(frames, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    latent = torch.zeros_like(noise)
    with torch.inference_mode():
        return comfy.sample.sample(
            model, noise, STEPS, 3.5, "euler", "simple", *conditions(frames), latent, callback=callback, disable_pbar=True, seed=0
        )


def live_bytes() -> int:
    """Of all tensors that there are, each storage once."""
    storages = {}
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, torch.nn.Parameter) and thing.device.type == "cpu":
            storages[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
    return sum(storages.values())


@pytest.fixture
def guided(model):
    """How many pictures each run of the Pose Guider gets; there is one for each window and prompt."""
    seen = []
    handle = before_guider(model, lambda pictures: seen.append(pictures.shape[0]))
    yield seen
    handle.remove()


def before_guider(model, see):
    (guider,) = model.model.diffusion_model.pose_guiders
    return guider.register_forward_pre_hook(lambda module, arguments: see(arguments[0]))


@pytest.mark.parametrize(("loop", "windows_of"), [(False, open_windows), (True, looped_windows)])
def test_a_step_sees_a_window_at_a_time(model, guided, loop, windows_of):
    shown = []
    out = sample(set_windows(model, Windows(24, 4, loop=loop)), FRAMES, lambda step, x0, x, steps: shown.append((step, steps, x0.shape[0])))
    assert out.shape[0] == FRAMES and out.isfinite().all()
    windows = len(windows_of(FRAMES, 24, 4))
    assert guided == [24] * (2 * STEPS * windows)  # positive and negative are apart, one has a bank
    assert shown == [(step, STEPS, FRAMES) for step in range(STEPS)], "every step is shown, with all frames"


def test_musepose_takes_windows_of_48(tmp_path):
    """Its table holds 128 positions, which is the longest clip without windows, too."""
    musepose = load(replace(UNET, positions=128), tmp_path)
    seen = []
    handle = before_guider(musepose, lambda pictures: seen.append(pictures.shape[0]))
    assert sample(set_windows(musepose, Windows(48, 4)), 100).isfinite().all()
    assert seen == [48] * (2 * STEPS * len(open_windows(100, 48, 4)))
    seen.clear()
    assert sample(musepose, 128).isfinite().all() and set(seen) == {128}
    handle.remove()
    with pytest.raises(
        InputError, match="Windows of 129 frames were asked for, but the motion modules know 128 positions; choose 1 to 128"
    ):
        set_windows(musepose, Windows(129, 4))
    with pytest.raises(SamplingError, match="was asked about 129 frames at once, its motion modules know 128 positions; connect Cinemo"):
        sample(musepose, 129)


def test_memory_grows_by_poses_and_latents_alone(model):
    """In the last window of the first step: no features and no maps of frames outside it are kept."""
    peaks = {}
    for frames in (60, FRAMES):
        runs, last = [], 2 * len(open_windows(frames, 24, 4))

        def see(pictures, runs=runs, last=last, frames=frames):
            runs.append(pictures.shape[0])
            if len(runs) == last:
                peaks[frames] = live_bytes()
                raise Enough

        handle = before_guider(model, see)
        try:
            with pytest.raises(Enough):
                sample(set_windows(model, Windows(24, 4)), frames)
        finally:
            handle.remove()
    growth = (peaks[FRAMES] - peaks[60]) / (FRAMES - 60)
    print(f"{growth:.0f} bytes a frame: {growth / POSES:.2f} times its poses")
    assert POSES <= growth <= POSES + 20 * LATENT < POSES + 4 * FEATURES


class Enough(Exception):
    """What was to be seen was seen."""


@pytest.fixture
def bar(monkeypatch) -> list[tuple[float, int]]:
    """What ComfyUI's progress bar is at, and of how many, each time that it is sent."""
    seen: list[tuple[float, int]] = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0)
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_PERCENT", 0)
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **kwargs: seen.append((value, total)))
    return seen


def stock_sample(model, frames: int, sampler: str = "euler", cfg: float = 3.5) -> torch.Tensor:
    """ComfyUI's KSampler, which shows its progress."""
    latent = {"samples": torch.zeros(frames, 4, SIDE, SIDE)}
    with torch.inference_mode():
        (out,) = nodes.KSampler().sample(model, 0, STEPS, cfg, sampler, "simple", *conditions(frames), latent)
    return out["samples"]


def hooks_of(model) -> int:
    return sum(len(module._forward_hooks) for module in model.model.diffusion_model.modules())


@pytest.mark.parametrize("loop", [False, True])
def test_the_bar_of_the_stock_sampler_moves_with_the_windows(model, bar, loop):
    """In the first step, too, which is where a person waits and wonders."""
    frames = 60
    patched = set_windows(set_windows(model, Windows(8, 0)), Windows(24, 4, loop=loop))  # windows of an earlier node are gone
    windows = len((looped_windows if loop else open_windows)(frames, 24, 4))
    at_window = []
    handle = before_guider(patched, lambda pictures: at_window.append(bar[-1][0] if bar else 0))
    try:
        stock_sample(patched, frames)
    finally:
        handle.remove()
    assert {total for _, total in bar} == {STEPS} and bar[-1][0] == STEPS
    assert [value for value, _ in bar] == sorted(value for value, _ in bar), "never backwards"
    evaluations = 2 * windows * STEPS
    assert at_window == pytest.approx([min(i * STEPS / evaluations, i // (2 * windows) + 0.95) for i in range(evaluations)], abs=0.02)
    assert not hooks_of(patched)


def test_a_sampler_of_two_evaluations_a_step_is_known_after_its_first_step(model, bar):
    stock_sample(set_windows(model, Windows(24, 4)), 60, sampler="heunpp2")
    values = [value for value, _ in bar]
    assert values == sorted(values) and values[-1] == STEPS and sum(1 < value < 1.5 for value in values) > 1


def test_with_the_windows_stock_sampling_is_as_without_its_bar(model):
    """The wrapper shows; it changes no number. Windows that hold the whole clip change none either."""
    assert torch.equal(stock_sample(set_windows(model, Windows(24, 4)), 12), stock_sample(model, 12))


def test_a_run_is_stopped_within_a_window(model, guided):
    """ComfyUI's interrupt, in the third window of the first step."""
    patched = set_windows(model, Windows(24, 4))

    def stop(pictures):
        if len(guided) == 5:
            comfy.model_management.interrupt_current_processing()

    handle = before_guider(model, stop)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            sample(patched, FRAMES)
        assert len(guided) <= 6 and not hooks_of(patched)
    finally:
        handle.remove()
        comfy.model_management.interrupt_current_processing(False)
