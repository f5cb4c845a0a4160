"""One evaluation from start to end: check everything, measure both folders, compute the metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import InputError
from .captions import check_images, find_images, for_clips, read_captions
from .clips import Clip, ClipReader, find_clips, shuffled
from .embeddings import InputConformity, TextSimilarity
from .features import C3D, I3D, Inception
from .frechet import Moments, frechet_distance
from .inception import check_splits, inception_score
from .kernel import kernel_distance
from .measure import Measured, Networks, measure
from .report import Report
from .settings import PAIRED_WITH_REAL, Settings
from .weights import NETWORK_OF, check_weights

NEED_TWO_CLIPS = ("fvd", "kvd")  # on each side; the others have something to say of a single clip


@dataclass(frozen=True)
class Plan:
    """What is checked before any network is read: the clips of both folders in their order, what belongs to them, the weights."""

    weights: dict[str, Path]
    generated: list[Clip]
    real: list[Clip]
    captions: Mapping[str, str]
    images: Mapping[str, Path]


def make_plan(settings: Settings, weights: Mapping[str, Path | None]) -> Plan:
    """Raises InputError for weights, folders, captions or images that are missing, and for too few clips."""
    found = check_weights(settings.metrics, weights)
    generated = shuffled(find_clips(settings.generated), settings.seed)
    if "is" in settings.metrics:
        check_splits(min(len(generated), settings.clips or len(generated)), settings.splits)
    compares = settings.real is not None and PAIRED_WITH_REAL.intersection(settings.metrics)
    real = shuffled(find_clips(settings.real), settings.seed) if compares and settings.real else []
    few = [min(len(clips), settings.clips or len(clips)) for clips in (generated, real)]
    needing = [metric.upper() for metric in NEED_TWO_CLIPS if metric in settings.metrics]
    if needing and min(few) < 2:
        raise InputError(f"For {', '.join(needing)} there must be two clips on each side, here are {few[0]} and {few[1]}; take more.")
    captions, images = {}, {}
    if "clipsim" in settings.metrics and settings.captions:
        captions = for_clips(generated, read_captions(settings.captions), "caption", settings.captions)
    if "pic" in settings.metrics and settings.images:
        images = for_clips(generated, find_images(settings.images), "image", settings.images)
        check_images(images.values())
    return Plan(found, generated, real, captions, images)


def evaluate(settings: Settings, weights: Mapping[str, Path | None], device: torch.device) -> Report:
    """Run an evaluation; weights: by network ("i3d", "c3d", "inception", "clip", "dreamsim"), a local path or None.

    Called by every process of accelerate with the same arguments, it gives the same report to each. Raises InputError and
    CheckpointError before the first clip is read for all that can be known by then. A metric that has too few clips left,
    because others could not be read, is in the report as failed, next to the others.
    """
    plan = make_plan(settings, weights)
    networks = load_networks(plan, settings, device)
    reader = ClipReader(settings.frames, settings.width, settings.height, settings.resize)
    loading = (settings.batch_size, settings.workers)
    generated = measure(plan.generated, settings.clips, networks, reader, *loading, label="generated")
    real = Measured()
    if plan.real:
        random_start = settings.real_start == "random"
        reader = ClipReader(
            settings.frames, settings.width, settings.height, settings.resize, settings.real_stride, random_start, settings.seed
        )
        networks_of_real = Networks(i3d=networks.i3d, inception=networks.inception)
        real = measure(plan.real, settings.clips, networks_of_real, reader, *loading, label="real")
    values, failed = {}, {}
    for metric in settings.metrics:
        try:
            values[metric] = compute(metric, generated, real, settings.splits)
        except InputError as error:
            failed[metric] = str(error)
    widths = {name: (path, getattr(networks, name).width) for name, path in plan.weights.items()}
    return Report(settings, generated, real, values, failed, widths)


def load_networks(plan: Plan, settings: Settings, device: torch.device) -> Networks:
    """The networks that the plan has weights for. Raises CheckpointError for files that are something else."""
    networks = Networks(captions=plan.captions, images=plan.images)
    size = (settings.frames, settings.width, settings.height)
    for name, path in plan.weights.items():
        if name == "clip":
            networks.clip = TextSimilarity(path, device)
        elif name == "dreamsim":
            networks.dreamsim = InputConformity(path, device)
        else:
            network = {"i3d": I3D, "c3d": C3D, "inception": Inception}[name]
            setattr(networks, name, network(path, device, *size))
    return networks


def compute(metric: str, generated: Measured, real: Measured, splits: int) -> dict[str, float]:
    """{"value": ...} of a metric from the features of both folders; IS gives its deviation over the splits too."""
    if metric == "fvd":
        return {"value": frechet_distance(Moments.of(generated.rows["i3d"]), Moments.of(real.rows["i3d"]))}
    if metric == "kvd":
        return {"value": kernel_distance(generated.rows["i3d"], real.rows["i3d"])}
    if metric == "fid":
        return {"value": frechet_distance(generated.sums["inception"], real.sums["inception"])}
    if metric == "is":
        score, deviation = inception_score(generated.rows["c3d"], splits)
        return {"value": score, "deviation": deviation}
    return {"value": float(generated.rows[NETWORK_OF[metric]].mean())}
