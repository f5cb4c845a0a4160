"""Clips of nano as what ComfyUI's samplers call: residuals of several clips at once, in plain torch, with guidance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..on_cpu import choose_cpu

choose_cpu()  # before anything of ComfyUI that chooses a device

import comfy.model_sampling
import comfy.samplers

from cinemo_core import included
from cinemo_core.comfyui.cinemo.model import CinemoSupported
from cinemo_core.comfyui.cinemo.sampling import SCHEDULES
from cinemo_core.evaluation.claims.animate import FRAMES, Animator, Task, draw_noise, load_animator
from cinemo_core.evaluation.claims.cases import camera_cases, cloud_cases, pixels, thing_cases
from cinemo_core.models.cinemo.schedule import vp_scale
from cinemo_core.motion.buckets import SAME_BUCKET, motion_id
from cinemo_core.training import frozen, text
from cinemo_core.training.nano.procedural.clip import to_uint8
from cinemo_core.training.nano.procedural.dice import Dice
from cinemo_core.training.nano.procedural.scenes import Setting, draw_scene
from cinemo_core.training.objective import to_network
from cinemo_core.training.sampling import refine

from .search import Trajectory

SIZE = 64  # a search takes hundreds of clips
FINE = "dpmpp_2m", "normal", 150  # what is taken for exact: sampler, scheduler, evaluations
SAMPLING = comfy.model_sampling.ModelSamplingDiscrete(CinemoSupported)


@dataclass(frozen=True)
class Guidance:
    """cfg, and the bucket that it leads away from; SAME_BUCKET: the clip's own."""

    cfg: float
    negative_bucket: int

    def __str__(self) -> str:
        return f"cfg {self.cfg:g}"


# Nano's settings, those that `evaluate` measures it with, the authors'.
GUIDANCES = (Guidance(1.0, SAME_BUCKET), Guidance(1.4, 0), Guidance(7.5, SAME_BUCKET))


def searched_tasks() -> list[Task]:
    """Six drawn scenes of seeds that nano's training may draw too."""
    scenes = [draw_scene(Setting(Dice(1000 + number), SIZE, SIZE, ())) for number in range(6)]
    images = [pixels(to_uint8(scene.paint(torch.zeros(1), 0.5)))[0] for scene in scenes]
    buckets = (9, 4, 14, 9, 12, 6)
    return [Task(*what, 100 + number) for number, what in enumerate(zip(images, (s.caption for s in scenes), buckets, strict=True))]


def held_out_tasks() -> list[Task]:
    """Three photographs and a scene under a motion of the camera each, a thing that moves and drifting clouds."""
    camera = camera_cases(SIZE, 5)
    cases = [*(camera[number] for number in (0, 6, 12, 19)), *thing_cases(SIZE, 1)[:1], *cloud_cases(SIZE, 1)[:1]]
    buckets = (9, 4, 14, 9, 6, 12)
    return [Task(case.image, case.caption, bucket, number) for number, (case, bucket) in enumerate(zip(cases, buckets, strict=True))]


class Clips:
    """Clips ready to be sampled. Called as a sampler calls a model: state [n, 15, 4, h, w] and sigma [n] to the prediction."""

    def __init__(self, animator: Animator, tasks: Sequence[Task], guidance: Guidance):
        images = torch.from_numpy(np.stack([task.image for task in tasks])).permute(0, 3, 1, 2)
        self.unet, self.cfg = animator.unet, guidance.cfg
        self.z0 = frozen.encode(animator.vae, images)
        noise = [
            refine(first, draw_noise(task.seed, first.shape), task.initial_noise, task.cutoff, task.noise_level)
            for first, task in zip(self.z0, tasks, strict=True)
        ]
        self.noise = torch.stack(noise).float()
        context = text.encode(animator.text_encoder, animator.tokenizer([*(task.caption for task in tasks), ""]))
        self.context = context[:-1]
        self.ids = ids = torch.tensor([motion_id(task.bucket) for task in tasks])
        if self.cfg != 1:
            away = ids if guidance.negative_bucket == SAME_BUCKET else torch.full_like(ids, motion_id(guidance.negative_bucket))
            self.context = torch.cat([context[-1:].expand(len(tasks), -1, -1), context[:-1]])
            self.ids = torch.cat([away, ids])
        self.evaluated: list[tuple[float, Tensor, Tensor]] = []  # sigma, state and prediction of each evaluation of this run

    def __call__(self, state: Tensor, sigma: Tensor, **_) -> Tensor:
        level = sigma.flatten()[0]
        seen = to_network(self.z0[:, None], state * vp_scale(float(level)), "residual")
        seen = seen.repeat(len(self.ids) // len(seen), 1, 1, 1, 1).flatten(0, 1)  # twice with guidance
        timestep = SAMPLING.timestep(level).float().expand(len(seen))
        noise = self.unet(seen, timestep, self.context, self.ids).unflatten(0, (-1, FRAMES))[:, 1:]
        if self.cfg != 1:
            without, with_text = noise.chunk(2)
            noise = without + self.cfg * (with_text - without)
        prediction = state - level * noise
        self.evaluated.append((float(level), state, prediction))
        return prediction

    def sample(self, sampler: str, scheduler: str, steps: int) -> Tensor:
        """Residuals [n, 15, 4, h, w], from the same noise every time, closed as the nodes close a schedule that ends above 0."""
        return self.run(sampler, sigmas_of(scheduler, steps))

    @torch.no_grad()
    def run(self, sampler: str, sigmas: Tensor) -> Tensor:
        self.evaluated.clear()
        chosen = comfy.samplers.sampler_object(sampler)
        start = self.noise / vp_scale(float(sigmas[0]))
        residual = chosen.sampler_function(self, start, sigmas, extra_args={}, callback=None, disable=True, **chosen.extra_options)
        return residual * vp_scale(float(sigmas[-1]))

    def trajectory(self) -> Trajectory:
        """A fine run."""
        result = self.sample(*FINE).flatten(1)
        sigmas, states, predictions = zip(*reversed(self.evaluated), strict=True)
        return Trajectory(torch.tensor(sigmas).log(), torch.stack(states).flatten(2), torch.stack(predictions).flatten(2), result)


def sigmas_of(scheduler: str, steps: int) -> Tensor:
    if scheduler in SCHEDULES:
        return SCHEDULES[scheduler](steps)
    return comfy.samplers.calculate_sigmas(SAMPLING, scheduler, steps)


def load_nano() -> Animator:
    return load_animator(included.FOLDER, torch.device("cpu"), 50, 1.4, 0)  # only its networks are used
