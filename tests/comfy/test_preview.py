"""The sheet of all frames that is sent while a clip is sampled."""

import comfy.utils
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.preview import frame_sheet, linear_previewer
from cinemo_pack.cinemo_core.comfyui.progress import StepProgress
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


def test_the_bar_moves_within_a_step(monkeypatch):
    """By blocks, in one evaluation as in two, and never backwards; a second run follows the first."""
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0)
    seen = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **kwargs: seen.append((value, total)))
    blocks = [torch.nn.Identity() for _ in range(4)]
    for part in (0, 1):
        progress = StepProgress(blocks, 3, (part, 2))
        with progress.watch():
            for step in range(3):
                for block in blocks * 2:
                    block(torch.zeros(1))
                progress.on_step(3 * part + step)
    first, later = [0.25, 0.5, 0.75], [0.12, 0.25, 0.38, 0.5, 0.62, 0.75, 0.88]
    run = [*first, *(1 + share for share in later), *(2 + share for share in later)]
    assert seen == [(pytest.approx(value, abs=0.011), 6) for value in (*run, *(3 + value for value in run))]
    assert not any(block._forward_hooks for block in blocks)
