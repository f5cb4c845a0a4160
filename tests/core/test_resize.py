"""Resizing: parity of the reference's crop, and geometry of the other modes."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.resize import RESIZE_MODES, resize_image
from cinemo_pack.tests.goldens import load, meta

CROP = meta("crop")
# The last bit on the kind of CPU that made the goldens, a few units of the float32 sampling positions elsewhere.
TOLERANCE = 1e-5


def golden_image(case: str) -> torch.Tensor:
    image = load("crop")[f"{case}.image_u8_hwc"].float()[None] / 255
    return image.expand(-1, -1, -1, 3)  # one stored channel is used for all three


def ramp(height: int, width: int) -> torch.Tensor:
    """Red rises from left to right, green from top to bottom, by the position of the pixel's centre; blue is 0.5."""
    y = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    x = ((torch.arange(width) + 0.5) / width)[None].expand(height, width)
    return torch.stack([x, y, torch.full_like(x, 0.5)], dim=-1)[None]


@pytest.mark.parametrize("case", [case for case in CROP["cases"] if case.startswith("t40x64")])
def test_reference_crop(case):
    result = resize_image(golden_image(case), 64, 40, "reference")
    assert (result[0].movedim(-1, 0) - load("crop")[f"{case}.out"]).abs().max() <= TOLERANCE


def test_reference_crop_at_320x512():
    result = resize_image(golden_image("h100w300"), 512, 320, "reference")[..., 0]
    assert (result[:, ::32] - load("crop")["h100w300.out_rows"]).abs().max() <= TOLERANCE
    assert abs(result.double().sum().item() - CROP["cases"]["h100w300"]["per_channel_sum"][0]) < 1e-1


@pytest.mark.parametrize(("height", "width", "rows", "columns", "top", "left"), CROP["geometry_table_h_w_resizedh_resizedw_top_left"])
def test_reference_geometry(height, width, rows, columns, top, left):
    """A ramp of pixel positions shows the crop: output pixel i is the source at (i + offset + 0.5) / scale."""
    scale = max(321 / height, 513 / width)

    def positions(count: int, offset: int, source: int, resized: int) -> torch.Tensor:
        step = 1.0 if resized == source else scale  # an axis that keeps its size is copied
        return ((torch.arange(count) + offset + 0.5) / step / source).clamp(0.5 / source, 1 - 0.5 / source)

    result = resize_image(ramp(height, width), 512, 320, "reference")[0]
    assert (result[:, 256, 1] - positions(320, top, height, rows)).abs().max() < 1e-4
    assert (result[160, :, 0] - positions(512, left, width, columns)).abs().max() < 1e-4


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 300), (300, 7), (40, 64), (123, 77), (1000, 1500)])
def test_every_mode_takes_any_size(mode, height, width):
    generator = torch.Generator().manual_seed(0)
    result = resize_image(torch.rand(1, height, width, 4, generator=generator), 64, 40, mode)
    assert result.shape == (1, 40, 64, 3) and result.dtype == torch.float32 and result.is_contiguous()
    assert result.min() >= 0 and result.max() <= 1


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_a_batch_is_resized_image_by_image_and_alpha_is_dropped(mode):
    batch = torch.rand(3, 20, 30, 4, generator=torch.Generator().manual_seed(1))
    result = resize_image(batch, 64, 40, mode)
    for i in range(3):
        alone = resize_image(batch[i : i + 1, ..., :3], 64, 40, mode)
        torch.testing.assert_close(result[i : i + 1], alone, rtol=0, atol=1e-6)  # a batch may be summed in another order


@pytest.mark.parametrize("mode", ["cover", "stretch", "pad"])
def test_lanczos_leaves_an_image_of_the_right_size_alone(mode):
    image = torch.rand(1, 40, 64, 3, generator=torch.Generator().manual_seed(2))
    assert torch.equal(resize_image(image, 64, 40, mode), image)


def test_cover_keeps_the_centre():
    result = resize_image(ramp(200, 600), 64, 64, "cover")[0]
    # The middle third of the width, the whole height.
    columns = 1 / 3 + (torch.arange(64) + 0.5) / 64 / 3
    rows = (torch.arange(64) + 0.5) / 64
    assert (result[32, :, 0] - columns).abs().max() < 2e-3
    assert (result[4:-4, 32, 1] - rows[4:-4]).abs().max() < 2e-3
    assert torch.allclose(result.flip(1)[..., 0], 1 - result[..., 0], atol=1e-5), "off centre"


def test_stretch_keeps_everything():
    result = resize_image(ramp(200, 600), 64, 64, "stretch")[0]
    assert (result[32, 4:-4, 0] - ((torch.arange(64) + 0.5) / 64)[4:-4]).abs().max() < 2e-3


def test_pad_centres_on_black():
    result = resize_image(torch.ones(1, 100, 100, 3), 64, 40, "pad")[0]
    assert (result[:, 12:52] - 1).abs().max() < 1e-6
    assert not result[:, :12].any() and not result[:, 52:].any()
    result = resize_image(torch.ones(1, 10, 100, 3), 64, 40, "pad")[0]
    assert (result[17:23] - 1).abs().max() < 1e-6
    assert not result[:17].any() and not result[23:].any()


def test_shrinking_does_not_alias():
    """A one-pixel checkerboard becomes grey; sampling without a filter would keep black or white."""
    board = ((torch.arange(400)[:, None] + torch.arange(640)[None]) % 2).float()[None, ..., None].expand(-1, -1, -1, 3)
    for mode in ("cover", "stretch", "pad"):
        assert (resize_image(board, 64, 40, mode) - 0.5).abs().max() < 0.02


def test_more_than_eight_bits_survive():
    shades = torch.linspace(0.5, 0.5 + 1 / 255, 64).expand(40, 64)[None, ..., None].expand(-1, -1, -1, 3)
    assert resize_image(shades, 128, 80, "cover")[0, 0, :, 0].unique().numel() > 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "squeeze"}, "'squeeze'; choose one of cover, reference, stretch, pad"),
        ({"width": 0}, "0x40"),
        ({"height": -8}, "64x-8"),
        ({"image": torch.zeros(0, 8, 8, 3)}, "empty"),
        ({"image": torch.full((1, 8, 8, 3), float("nan"))}, "NaN"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(InputError, match=message):
        resize_image(**({"image": torch.zeros(1, 8, 8, 3), "width": 64, "height": 40} | change))
