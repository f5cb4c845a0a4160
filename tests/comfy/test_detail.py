"""Detail Transfer in ComfyUI: its outputs, progress, cancelling, memory, bad input."""

import comfy.model_management
import comfy.utils
import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.nodes.detail import CinemoDetailTransfer


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    """Stripes and checks [1, 96, 128, 3], some finer than a clip of 32x24 shows."""
    y, x = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    checks = ((x // 12 + y // 16) % 2).float()
    fine = ((x + 2 * y) % 3).float() / 2
    return (0.2 + 0.5 * checks[..., None] + 0.2 * fine[..., None] * torch.tensor([1.0, 0.5, 0.0])).clamp(0, 1)[None]


@pytest.fixture(scope="module")
def clip(picture) -> torch.Tensor:
    """The picture at 64x48, three times."""
    small = comfy.utils.common_upscale(picture.movedim(-1, 1), 64, 48, "area", "disabled").movedim(1, -1)
    return small.expand(3, -1, -1, -1).contiguous()


@pytest.fixture
def progress():
    seen = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **kwargs: seen.append((value, total)))
    yield seen
    comfy.utils.set_progress_bar_global_hook(None)


def transfer(images, picture, strength=1.0, width=0, fit="cover"):
    return CinemoDetailTransfer.execute(images, picture, strength, width, fit).args


def test_a_still_clip_becomes_its_picture(clip, picture, progress):
    with torch.inference_mode():
        images, trust = transfer(clip, picture)
    assert images.shape == (3, 96, 128, 3) and trust.shape == (3, 96, 128)
    assert images.dtype == trust.dtype == torch.float32 and images.device.type == trust.device.type == "cpu"
    assert torch.equal(images[0], picture[0])
    assert (images[1:] - picture).abs().mean() < 0.02 < (transfer(clip, picture, strength=0.0)[0][1:] - picture).abs().mean()
    steps = [(1, 3), (2, 3), (3, 3)]  # ComfyUI leaves out what comes within a tenth of a second, but for the ends
    assert set(progress) <= set(steps) and [progress.count(step) for step in (steps[0], steps[-1])] == [2, 2]  # two runs


def test_alpha_and_batches(clip, picture):
    """Of a batch of pictures the first; an alpha channel is dropped, as everywhere in ComfyUI."""
    images, _ = transfer(torch.cat([clip, clip[..., :1]], dim=-1), torch.cat([picture, 1 - picture]))
    assert torch.equal(images, transfer(clip, picture)[0])


def test_stated_width(clip, picture):
    images, trust = transfer(clip, picture, width=80)
    assert images.shape == (3, 60, 80, 3) and trust.shape == (3, 60, 80)


def test_other_aspects(clip, picture):
    wide = torch.nn.functional.pad(picture, (0, 0, 30, 30))  # columns that the clip does not show
    assert torch.equal(transfer(clip, wide)[0][0], picture[0])
    assert transfer(clip, picture[:, ::2], fit="stretch")[0].shape == (3, 48, 128, 3)


def test_stopping(clip, picture):
    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        transfer(clip, picture)
    comfy.model_management.interrupt_current_processing(False)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": lambda clip: clip[:1]}, "The clip has 1 frame; "),
        ({"images": lambda clip: clip[:, :8]}, "The frames are 64x8; "),
        ({"images": lambda clip: clip[0]}, "The image has shape"),
        ({"picture": lambda picture: picture * float("nan")}, "NaN"),
        ({"picture": lambda picture: 1 - picture}, "does not look like frame 0"),
        ({"width": lambda _: 6}, "The width of the result is 6"),
        ({"strength": lambda _: 1.5}, "The strength is 1.5"),
        ({"fit": lambda _: "crop"}, "The fit is 'crop'"),
        ({"width": lambda _: 16384000}, "frames of 16384000x12288000 and their mask take"),
    ],
)
def test_bad_input(clip, picture, progress, change, sentence):
    given = {"images": clip, "picture": picture, "strength": 1.0, "width": 0, "fit": "cover"}
    changed = {name: function(given[name]) for name, function in change.items()}
    with pytest.raises(InputError, match=sentence) as caught:
        transfer(**{**given, **changed})
    assert "\n" not in str(caught.value) and not progress


def test_memory_is_asked_for_before_the_work(clip, picture, monkeypatch):
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_, **__: 1e5)
    with pytest.raises(InputError, match=r"3 frames of 128x96 and their mask take 0.0 GB, and 0.0 GB are free: set a smaller width"):
        transfer(clip, picture)
