"""What the image tower is given, against the authors' preprocessing."""

import pytest
import torch
import torch.nn.functional as F
from cinemo_pack.cinemo_core.models.dynamicrafter.image import preprocess
from cinemo_pack.tests.goldens import load, meta
from cinemo_pack.tests.goldens.rule import pixels

META = meta("dynamicrafter/encoders")


def picture(name: str, height: int, width: int) -> torch.Tensor:
    """The recorded runs' pictures: coarse tiles with fine noise, uint8 [3, h, w]."""
    constant = META["input_seed_constant"]
    coarse = pixels(f"{name}.coarse", (3, -(-height // 8), -(-width // 8)), constant)
    coarse = F.interpolate(coarse[None].float(), scale_factor=8, mode="nearest")[0, :, :height, :width].double()
    return (0.8 * coarse + 0.2 * pixels(f"{name}.fine", (3, height, width), constant).double()).floor().to(torch.uint8)


@pytest.mark.parametrize("name", META["preprocess"])
def test_pictures_of_every_size(name):
    facts = META["preprocess"][name]
    image = picture(name, *facts["size_hw"])
    assert image.sum().item() == facts["image_sum_u8"]
    found = preprocess(image[None].float() / 127.5 - 1)[:, facts["stored_channels"]]
    assert (found - load("dynamicrafter/encoders")[f"pre.{name}.out"]).abs().max() <= 1e-5
