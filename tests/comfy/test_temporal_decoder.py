"""The temporal decoder's blocks on a CPU: the same numbers as ComfyUI's, which take all frames at once, and the same weights."""

import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.temporal_decoder import ROWS, TIME_KERNEL, FrameUpsample, TimeBlock, frame_by_frame
from comfy.ldm.modules.diffusionmodules.model import Upsample
from comfy.ldm.modules.temporal_ae import VideoResBlock

pytestmark = pytest.mark.usefixtures("without_gradients")
FRAMES, CHANNELS, WIDTH = 3, 64, 6


@pytest.fixture
def without_gradients():
    """As ComfyUI runs nodes; with gradients the blocks are ComfyUI's."""
    with torch.inference_mode():
        yield


def filled(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    for parameter in module.requires_grad_(False).parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * (parameter[0].numel() if parameter.ndim > 1 else 4) ** -0.5
    return module.eval()


def clip(height: int) -> torch.Tensor:
    return torch.randn(FRAMES, CHANNELS, height, WIDTH, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("height", [5, ROWS, ROWS + 5])
@pytest.mark.parametrize("channels", [32, CHANNELS])
def test_a_block_equals_comfyuis(height, channels):
    sizes = {"in_channels": CHANNELS, "out_channels": channels, "temb_channels": 0, "video_kernel_size": TIME_KERNEL}
    stock = filled(VideoResBlock(**sizes))
    ours = TimeBlock(**sizes).eval().requires_grad_(False)
    ours.load_state_dict(stock.state_dict())
    given = clip(height)
    before = given.clone()
    expected = stock(given, None)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours(given, None), expected, atol=1e-5, rtol=0)
    assert torch.equal(given, before), "the block changed what it was given"


def test_a_block_equals_comfyuis_without_its_layers_over_time_and_for_two_clips():
    sizes = {"in_channels": CHANNELS, "out_channels": CHANNELS, "temb_channels": 0, "video_kernel_size": TIME_KERNEL}
    ours = filled(TimeBlock(**sizes))
    given = torch.cat([clip(5), clip(5).flip(0)])
    for options in ({"skip_video": True}, {"timesteps": FRAMES}):
        torch.testing.assert_close(ours(given, None, **options), VideoResBlock.forward(ours, given, None, **options), atol=0, rtol=0)


def test_upsampling_equals_comfyuis_with_the_same_weights():
    stock = filled(Upsample(CHANNELS, True))
    ours = FrameUpsample(stock)
    assert ours.state_dict().keys() == stock.state_dict().keys()
    torch.testing.assert_close(ours(clip(5)), stock(clip(5)), atol=1e-5, rtol=0)


def test_frames_are_run_one_by_one():
    seen = []

    def run(frame):
        seen.append(frame.shape[0])
        return frame[:, :2] + 1

    given = clip(4)
    assert torch.equal(frame_by_frame(run, given), given[:, :2] + 1)
    assert seen == [1] * FRAMES
