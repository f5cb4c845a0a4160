"""Clips longer than the model samples at once: one segment after another, each from a frame of the one before.

**Finished segments are kept.** The finished segments of the last run stay with the MODEL that made them, at most those of one run
(0.6 MB each at 512x320 and 16 frames), and are dropped with it. A run that was interrupted, or that failed, is continued
by queueing it again; with fewer segments it gives what is done at once, with more it samples the new ones only, and a
changed line of prompts or buckets samples from that segment on. The other way, to return a short clip when interrupted,
was not taken: ComfyUI would keep that clip as the node's result for these inputs, and a person who cancels a prompt
would see the nodes after it run all the same.
"""

import weakref
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import comfy.model_management
import torch

from ...errors import InputError
from ...models.cinemo.schedule import check_run
from ...motion.low_pass import LowPass
from ...motion.residual import static_clip
from ...motion.segments import Drift, check_segments, correct, drift, join, segment_motion_ids, segment_prompts, segment_seed
from ...shapes import check_clip_latent
from ..description import check_model
from ..noise import random_noise
from .conditioning import CLIP_KEY, ClipCondition, check_clip, clip_of
from .model import CinemoSupported
from .noise import DCTInitNoise
from .sampling import Sampling, sample_clip


class Settings(NamedTuple):
    """What every segment of a run is sampled with; DCTInit as in `DCTInitNoise`, correction and overlap as in `extend`."""

    seed: int
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str
    overlap: int
    correction: float
    cutoff: float
    noise_level: int


class SegmentPlan(NamedTuple):
    """Motion and prompt of one segment; None leaves that to the conditioning."""

    motion_id: int | None
    prompt: str | None


class Segment(NamedTuple):
    """A finished segment: its corrected frames [f, 4, h, w] and its drift before and after the correction."""

    plan: SegmentPlan
    frames: torch.Tensor
    before: Drift
    after: Drift


@dataclass
class Run:
    """The finished segments of a run, and the inputs that they were made from."""

    positive: list
    negative: list
    latent: dict
    clip: Any  # a weak reference: a text encoder is large, and not kept for this
    settings: Settings
    segments: list[Segment]

    def is_of(self, positive: list, negative: list, latent: dict, clip, settings: Settings) -> bool:
        """Whether these are the same objects, as ComfyUI passes them again while the nodes before this one are unchanged."""
        same = self.positive is positive and self.negative is negative and self.latent is latent
        return same and (self.clip and self.clip()) is clip and self.settings == settings


# The last run of each MODEL: the one state of this pack that outlives an execution. ComfyUI has no better place for it. A V3
# node has no instance to keep it on. ComfyUI's cache keeps outputs of nodes that have ended, so it would need a node per
# segment, by node expansion: these inner nodes would stand in every menu, count their steps apart, be named in errors, get
# links where values are to be checked first, and forget everything where the cache is off.
_runs: weakref.WeakKeyDictionary[Any, Run] = weakref.WeakKeyDictionary()


def extend_video(
    model,
    positive: list,
    negative: list,
    latent: dict,
    segments: int,
    settings: Settings,
    buckets: str = "",
    prompts: str = "",
    clip=None,
    closed_loop: bool = False,
) -> tuple[dict, str]:
    """Sample `segments` segments, each of the length and size of `latent`, and join them.

    `buckets`, `prompts`: texts with a motion bucket and a prompt per segment; `clip` encodes the prompts, which replace the text
    of `positive` and nothing else of it. A noise mask of `latent` holds in every segment. Returns the LATENT of the whole
    clip and a text with the drift of each segment. Raises InputError or ConditioningError before any work for values
    that do not fit.
    """
    check_model(model, CinemoSupported)
    check_run(settings.steps, denoise=1.0)
    LowPass(settings.cutoff, settings.noise_level)
    samples = latent["samples"]
    check_clip_latent(samples)
    for conditioning, name in ((positive, "positive"), (negative, "negative")):
        check_clip(clip_of(conditioning, name), samples.shape)
    check_segments(segments, settings.overlap, samples.shape[0], settings.correction)
    plans = [SegmentPlan(*plan) for plan in zip(segment_motion_ids(buckets, segments), segment_prompts(prompts, segments), strict=True)]
    if plans[0].prompt is not None and clip is None:
        raise InputError("There are prompts for the segments and no CLIP to read them; connect the checkpoint's CLIP, or empty prompts.")

    done = _finished(model, positive, negative, latent, clip, settings, plans)
    texts = {plan.prompt: clip.encode_from_tokens_scheduled(clip.tokenize(plan.prompt)) for plan in plans[len(done) :] if plan.prompt}
    first_image = clip_of(positive, "positive").z0
    for index, plan in enumerate(plans[len(done) :], start=len(done)):
        comfy.model_management.throw_exception_if_processing_interrupted()
        prompted = _with_text(positive, texts[plan.prompt]) if plan.prompt else positive
        z0 = _next_start(done[-1].frames, settings) if done else first_image
        # not through a variable, which would keep the frames as sampled while the next segment is
        done.append(
            _corrected(plan, _sample(model, prompted, negative, latent, z0, plan, settings, (index, segments)), first_image, settings)
        )
    finished = done[:segments]
    return {"samples": join([segment.frames for segment in finished], settings.overlap, closed_loop)}, _drift_text(finished, settings)


def _sample(
    model, positive: list, negative: list, latent: dict, z0: torch.Tensor, plan: SegmentPlan, settings: Settings, part: tuple[int, int]
) -> torch.Tensor:
    """The frames of one segment, animated from z0 [1, 4, h, w]."""
    still = latent | {"samples": static_clip(z0, latent["samples"].shape[0])}
    seed = segment_seed(settings.seed, part[0])
    noise = DCTInitNoise(still["samples"], random_noise(seed), LowPass(settings.cutoff, settings.noise_level))
    positive, negative = (_at_segment(conditioning, z0, plan) for conditioning in (positive, negative))
    sampler, scheduler = settings.sampler_name, settings.scheduler
    frames, _ = sample_clip(
        model, positive, negative, still, Sampling(seed, settings.steps, settings.cfg, sampler, scheduler), noise=noise, part=part
    )
    return frames["samples"]


def _finished(model, positive: list, negative: list, latent: dict, clip, settings: Settings, plans: list[SegmentPlan]) -> list[Segment]:
    """The list of finished segments that this run continues: those of the last one, if it began in the same way."""
    last = _runs.get(model)
    if last is None or not last.is_of(positive, negative, latent, clip, settings):
        last = Run(positive, negative, latent, clip and weakref.ref(clip), settings, [])
        _runs[model] = last
    same = [segment.plan == plan for segment, plan in zip(last.segments, plans, strict=False)]
    if False in same:
        del last.segments[same.index(False) :]
    return last.segments


def _with_text(conditioning: list, text: list) -> list:
    """Each entry of a conditioning with another text; what else is attached to it stays."""
    return [[tokens, options | encoded] for _, options in conditioning for tokens, encoded in text]


def _at_segment(conditioning: list, z0: torch.Tensor, plan: SegmentPlan) -> list:
    """Each entry of a conditioning, made to animate z0 [1, 4, h, w], by the segment's own motion id if it has one."""

    def at_segment(clip: ClipCondition) -> ClipCondition:
        if plan.motion_id is None or clip.keeps_motion:
            return replace(clip, z0=z0)
        return replace(clip, z0=z0, motion_id=float(plan.motion_id))

    return [[tokens, options | {CLIP_KEY: at_segment(options[CLIP_KEY])}] for tokens, options in conditioning]


def _corrected(plan: SegmentPlan, frames: torch.Tensor, first_image: torch.Tensor, settings: Settings) -> Segment:
    corrected = correct(frames, first_image.to(frames), settings.correction, settings.overlap)
    before, after = (drift(_next_start(f, settings), first_image.to(f)) for f in (frames, corrected))
    return Segment(plan, corrected, before, after)


def _next_start(frames: torch.Tensor, settings: Settings) -> torch.Tensor:
    """The frame of a segment that the next one begins from, [1, 4, h, w]."""
    return frames[-1 - settings.overlap :][:1]


def _drift_text(segments: list[Segment], settings: Settings) -> str:
    """A line of numbers per segment, measured on the frame that the next one begins from."""
    lines = ["Drift of the latent channels from the first image, in each segment's last own frame, before -> after the correction:"]
    length = segments[0].frames.shape[0] - 1
    for index, (_, _, before, after) in enumerate(segments):
        frame = index * (length - settings.overlap) + length - settings.overlap
        mean, std = (f"{a:.4g} -> {b:.4g}" for a, b in zip(before, after, strict=True))
        lines.append(f"segment {index + 1}, frame {frame}: mean {mean}, std {std}")
    return "\n".join(lines)
