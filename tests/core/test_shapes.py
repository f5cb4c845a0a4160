"""Every refusal is an InputError that says what was found."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.shapes import check_clip_latent, check_image, check_latent, check_video_size


def test_what_is_right_passes():
    check_clip_latent(torch.zeros(2, 4, 1, 1))
    check_clip_latent(torch.zeros(64, 4, 5, 9))
    check_latent(torch.zeros(1, 4, 5, 9))
    check_video_size(512, 320, 16)
    check_video_size(16, 16, 2)
    check_image(torch.rand(1, 3, 5, 3))
    check_image(torch.rand(4, 3, 5, 4))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 16, 40, 64), "5 dimensions .*Cinemo Motion Conditioning"),
        ((4, 40, 64), r"shape \[4, 40, 64\]"),
        ((16, 16, 40, 64), "16 channels"),
        ((1, 4, 40, 64), r"1 frame\(s\)"),
        ((0, 4, 40, 64), "empty"),
        ((16, 4, 0, 64), "empty"),
    ],
)
def test_bad_latent(shape, message):
    with pytest.raises(InputError, match=message):
        check_clip_latent(torch.zeros(shape))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((0, 320, 16), "width is 0"),
        ((8, 320, 16), "width is 8"),
        ((513, 320, 16), "width is 513"),
        ((512.0, 320, 16), "width is 512.0"),
        ((512, -8, 16), "height is -8"),
        ((512, 322, 16), "height is 322"),
        ((512, 320, 1), r"1 frame\(s\)"),
        ((512, 320, True), r"True frame\(s\)"),
    ],
)
def test_bad_size(size, message):
    with pytest.raises(InputError, match=message):
        check_video_size(*size)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(0, 8, 8, 3), "batch is empty"),
        (torch.zeros(1, 0, 8, 3), "batch is empty"),
        (torch.zeros(8, 8, 3), r"shape \[8, 8, 3\]"),
        (torch.zeros(1, 8, 8, 1), "1 channels"),
        (torch.full((1, 8, 8, 3), float("nan")), "NaN"),
        (torch.full((1, 8, 8, 3), float("inf")), "infinite"),
    ],
)
def test_bad_image(image, message):
    with pytest.raises(InputError, match=message):
        check_image(image)
