"""Clips without a camera: varied scenes that the project draws itself, animated at every strength and captioned in plain words.

    render_clip(seed, width, height, frames) -> frames in uint8, caption

A clip has one motion, which its caption names. How fast it goes is not drawn but found: a mean SSIM is drawn, and the strength
that gives it is searched for, so that all of the scale of the motion buckets comes up.
"""

from .clip import render_clip, render_stills

TRAINING_SEEDS = 1 << 40  # seeds below are for training, those from here on for pictures that no training sees

__all__ = ["TRAINING_SEEDS", "render_clip", "render_stills"]
