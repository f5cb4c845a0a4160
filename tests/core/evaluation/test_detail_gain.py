"""The measurement of Detail Transfer: gains on a clip, the verdict, the sheet; which clips are held out."""

import zlib

import pytest
import torch
from cinemo_pack.cinemo_core.evaluation.detail import FRAMES, Clip, measure, psnr, restore
from cinemo_pack.cinemo_core.training.nano.templates import is_held_out
from PIL import Image


@pytest.fixture(scope="module")
def still() -> Clip:
    """Checks and stripes that do not move."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(96), indexing="ij")
    pixels = 0.2 + 0.5 * ((x // 12 + y // 8) % 2) + 0.2 * ((x + 2 * y) % 3) / 2
    return Clip("still.webp", (pixels * 255).round().div(255)[None, :, :, None].expand(FRAMES, -1, -1, 3).contiguous())


def test_gains_of_a_still_clip(still):
    restored = restore(still, 2)
    assert len(restored.gains) == FRAMES - 1 and min(restored.gains) > 6
    assert restored.images.shape == restored.enlarged.shape == still.frames.shape


def test_the_verdict_and_the_sheet(still, tmp_path, capsys):
    assert measure(2, [still], tmp_path)
    assert "over 1 clips (bar +1.7)" in capsys.readouterr().out
    with Image.open(tmp_path / "still_2x.jpg") as sheet:
        assert sheet.size == (5 * 96, 4 * 64)
    fades = Clip("other.webp", torch.cat([still.frames[:1], (1 - still.frames[1:]) * torch.linspace(0.2, 1, FRAMES - 1).view(-1, 1, 1, 1)]))
    assert not measure(2, [fades], None)  # nothing to gain
    assert capsys.readouterr().out.strip().endswith("MISSED")


def test_psnr():
    black = torch.zeros(8, 8, 3)
    assert psnr(black + 0.1, black) == pytest.approx(20, abs=1e-3) and psnr(black, black) == pytest.approx(70, abs=1e-3)


def test_held_out_by_name():
    names = [f"clip-{i}.webp" for i in range(200)]
    assert [is_held_out(name) for name in names] == [zlib.crc32(name.encode()) % 5 == 0 for name in names]
    assert 20 < sum(map(is_held_out, names)) < 60
