"""Every input that takes a clip takes what the nodes before it give: one picture, alpha, half precision, a sampled or an extended clip."""

import pytest
import torch
from cinemo_pack.cinemo_core import included
from cinemo_pack.cinemo_core.comfyui.cinemo.bundle import load_bundle
from cinemo_pack.nodes.cinemo.condition import CinemoMotionConditioning
from cinemo_pack.nodes.cinemo.extend import CinemoExtendVideo
from cinemo_pack.nodes.cinemo.invert import CinemoInvertVideo
from cinemo_pack.nodes.cinemo.noise import CinemoDCTInitNoise
from cinemo_pack.nodes.cinemo.sample import CinemoResidualKSampler
from cinemo_pack.nodes.decode import CinemoVideoDecode
from cinemo_pack.nodes.measure import CinemoMotionBucketFromVideo, CinemoMotionReport
from cinemo_pack.nodes.residual import CinemoResidualMerge, CinemoResidualSplit
from comfy.cli_args import args

SIDE, FRAMES = 64, 4
SAMPLING = {"steps": 1, "cfg": 1.0}


@pytest.fixture(scope="module")
def nano():
    with torch.inference_mode():
        model, clip, vae = load_bundle(str(included.FOLDER), "fp32")
        return model, [[clip.encode_from_tokens(clip.tokenize("the camera pans left")), {}]], vae


@pytest.fixture(params=["float32", "float16", "alpha"])
def picture(request, monkeypatch) -> torch.Tensor:
    """Frames as a node gives them: in ComfyUI's precision between nodes, its half precision (--fp16-intermediates), with alpha."""
    monkeypatch.setattr(args, "fp16_intermediates", request.param == "float16")
    channels = 4 if request.param == "alpha" else 3
    picture = torch.rand(1, 6, 6, channels, generator=torch.Generator().manual_seed(2)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    return picture.half() if request.param == "float16" else picture


def run(node, *arguments, **inputs):
    return node.execute(*arguments, **inputs).args


def test_from_picture_to_report(nano, picture):
    model, text, vae = nano
    with torch.inference_mode():
        positive, negative, still = run(CinemoMotionConditioning, text, text, vae, picture, SIDE, SIDE, FRAMES, 9, "cover", -1.0)

        def sample(latent, denoise, noise=None):
            return run(
                CinemoResidualKSampler,
                model,
                positive,
                negative,
                latent,
                seed=0,
                sampler_name="ddim",
                scheduler="cinemo_ddim",
                denoise=denoise,
                noise=noise,
                **SAMPLING,
            )

        latent, residual = sample(still, 1.0)
        first, motion = run(CinemoResidualSplit, latent)
        for source in (still, latent, first):  # the picture alone, or a clip that begins with it
            noise, _ = run(CinemoDCTInitNoise, source, 0, 0.23, 975, 1.0)
            latent, _ = sample(still, 1.0, noise)
        for moved in (motion, residual):
            for source in (first, still, latent):
                (merged,) = run(CinemoResidualMerge, source, moved, 1.0)
        sample(merged, 0.5)
        longer, _ = run(
            CinemoExtendVideo,
            model,
            positive,
            negative,
            latent,
            2,
            0,
            0,
            sampler_name="ddim",
            scheduler="cinemo_ddim",
            correction=0.5,
            cutoff=0.23,
            noise_level=975,
            buckets="",
            closed_loop=False,
            prompts="",
            **SAMPLING,
        )
        sizes = {"picture": first, "still": still, "sampled": latent, "merged": merged, "longer": longer}
        frames = {name: run(CinemoVideoDecode, samples, vae)[0] for name, samples in sizes.items()}
        assert {name: len(images) for name, images in frames.items()} == {"picture": 1, "still": 4, "sampled": 4, "merged": 4, "longer": 7}
        assert all(images.isfinite().all() and images.shape[1:] == (SIDE, SIDE, 3) for images in frames.values())

        settings = {
            "width": SIDE,
            "height": SIDE,
            "frames": FRAMES,
            "motion_bucket": 9,
            "resize": "cover",
            "motion_id": -1.0,
            "measure": False,
        }
        video = picture.expand(5, -1, -1, -1)
        for source in ({"images": frames["longer"], "vae": vae}, {"images": video, "vae": vae}, {"latent": longer}, {"latent": merged}):
            noise, clip, _ = run(CinemoInvertVideo, model, positive, negative, **settings, **SAMPLING, **source)
            assert sample(clip, 1.0, noise)[0]["samples"].isfinite().all()
        for images in (frames["longer"], video):
            CinemoMotionBucketFromVideo.execute(images, SIDE, SIDE, 1, "cover")
            CinemoMotionReport.execute(images, "cover", picture)
