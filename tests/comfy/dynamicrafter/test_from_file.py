"""From one file to frames, through the nodes: every output of the loader fits the nodes that take it."""

import inspect
import json

import pytest
import torch
from cinemo_pack.nodes.decode import CinemoVideoDecode
from cinemo_pack.nodes.dynamicrafter.condition import CinemoDynamiCrafterConditioning
from cinemo_pack.nodes.dynamicrafter.decode import CinemoToonCrafterDecode
from cinemo_pack.nodes.dynamicrafter.load import CinemoDynamiCrafterLoader
from cinemo_pack.nodes.dynamicrafter.sample import CinemoDynamiCrafterKSampler
from cinemo_pack.nodes.measure import CinemoMotionBucketFromVideo, CinemoMotionReport
from cinemo_pack.nodes.residual import CinemoResidualMerge, CinemoResidualSplit
from cinemo_pack.tests import drawn_dynamicrafter as drawn
from safetensors.torch import save_file

import nodes

FRAMES, SIZE = 4, 64


def run(node, **inputs):
    """A node's outputs, with the defaults of its schema for what is not given."""
    schema = node.GET_SCHEMA()
    known = inspect.signature(node.execute).parameters
    defaults = {item.id: item.default for item in schema.inputs if getattr(item, "default", None) is not None}
    return node.execute(**{name: value for name, value in (defaults | inputs).items() if name in known}).result


def frames_of(folder, tensors: dict, between: bool):
    """What the graph of a person gives: the latent, the VAE, the pictures, the report."""
    save_file(tensors, folder / "model.safetensors")
    model, clip, vae, clip_vision, report = run(CinemoDynamiCrafterLoader, checkpoint="model.safetensors", weight_dtype="fp32")
    first, last = torch.rand(2, 1, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(3))
    (positive,), (negative,) = (nodes.CLIPTextEncode().encode(clip, text) for text in ("a bear plays a guitar", ""))
    ends = {"last_image": last} if between else {}
    positive, negative, latent, _ = run(
        CinemoDynamiCrafterConditioning,
        model=model,
        positive=positive,
        negative=negative,
        clip_vision=clip_vision,
        vae=vae,
        image=first,
        **{"width": SIZE, "height": SIZE, "frames": FRAMES} | ends,
    )
    (sampled,) = run(CinemoDynamiCrafterKSampler, model=model, positive=positive, negative=negative, latent_image=latent, steps=2, seed=1)
    return sampled, vae, (first, last), report


@pytest.mark.parametrize(("config", "base"), [(drawn.UNET, 0.7), (drawn.UNET, 0.3), (drawn.GATED, 0.7)], ids=["512", "1024", "256"])
def test_a_whole_file_makes_a_clip(model_folders, config, base):
    sampled, vae, _, _ = frames_of(model_folders.checkpoints, drawn.checkpoint(config=config, base=base), between=False)
    (images,) = run(CinemoVideoDecode, samples=sampled, vae=vae)
    assert images.shape == (FRAMES, SIZE, SIZE, 3) and images.isfinite().all() and images.std() > 0


def test_the_tools_for_any_clip_take_one_of_dynamicrafter(model_folders):
    """Motion measured and reported, and the latents taken apart and put together again."""
    sampled, vae, _, _ = frames_of(model_folders.checkpoints, drawn.checkpoint(), between=False)
    (images,) = run(CinemoVideoDecode, samples=sampled, vae=vae)
    bucket, ssim, plot, _ = run(CinemoMotionBucketFromVideo, images=images, width=SIZE, height=SIZE)
    assert 0 <= bucket <= 19 and -1 <= ssim <= 1 and plot.shape[-1] == 3
    chart, report = run(CinemoMotionReport, images=images)
    assert chart.shape[-1] == 3 and json.loads(report)
    first, residual = run(CinemoResidualSplit, clip=sampled)
    assert residual["samples"][1:].abs().max() > 0
    (merged,) = run(CinemoResidualMerge, first_frame=first, residual=residual)
    torch.testing.assert_close(merged["samples"], sampled["samples"], rtol=0, atol=1e-5)


def test_a_tooncrafter_file_makes_a_clip_between_two_pictures(model_folders, caplog):
    tensors = drawn.checkpoint(("network", "text", "image")) | {f"first_stage_model.{n}": t for n, t in drawn.toon_vae().items()}
    sampled, vae, (first, last), report = frames_of(model_folders.checkpoints, tensors, between=True)
    (images,) = run(CinemoToonCrafterDecode, samples=sampled, vae=vae, first=first, last=last)
    assert images.shape == (FRAMES, SIZE, SIZE, 3) and images.isfinite().all() and images.std() > 0
    assert "ToonCrafter, by its VAE" in report and "only the interpolation model" not in caplog.text
