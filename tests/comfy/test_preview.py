"""The sheet of all frames that is sent while a clip is sampled."""

import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.preview import frame_sheet, linear_previewer
from comfy.cli_args import LatentPreviewMethod, args


@pytest.mark.parametrize("frames", [2, 5, 9, 16])
def test_each_frame_is_at_its_place_in_the_sheet(frames):
    clip = torch.randn(frames, 4, 3, 5, generator=torch.Generator().manual_seed(frames))
    sheet, columns = frame_sheet(clip)
    assert sheet.shape[:2] == (1, 4) and (columns - 1) ** 2 < frames <= columns**2
    for i, frame in enumerate(clip):
        y, x = 3 * (i // columns), 5 * (i % columns)
        assert sheet[0, :, y : y + 3, x : x + 5].equal(frame)


@pytest.mark.parametrize("method", [LatentPreviewMethod.TAESD, LatentPreviewMethod.NoPreviews])
def test_frames_are_sent_of_the_cheap_preview_only(monkeypatch, method):
    monkeypatch.setattr(args, "preview_method", method)
    assert linear_previewer(None) is None  # before it looks at the model
