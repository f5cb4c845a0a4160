"""Each mistake gives one sentence that says what was found, what was expected and what to do."""

import comfy.model_patcher
import comfy.patcher_extension
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.supported_models
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import CLIP_KEY, Motion, condition_clip
from cinemo_pack.cinemo_core.comfyui.cinemo.noise import DCTInitNoise
from cinemo_pack.cinemo_core.comfyui.cinemo.sampling import Sampling, reference_sigmas, sample_clip
from cinemo_pack.cinemo_core.comfyui.decode import decode_clip
from cinemo_pack.cinemo_core.comfyui.noise import random_noise
from cinemo_pack.cinemo_core.comfyui.pictures import ClipSize
from cinemo_pack.cinemo_core.errors import CinemoError
from cinemo_pack.cinemo_core.motion.low_pass import LowPass
from comfy.taesd.taesd import TAESD

from .conftest import animate, random_clip


def sentence(error) -> str:
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 400
    return text


@pytest.fixture(scope="module")
def sd15():
    """A small SD1.5: another model of ComfyUI's own."""
    config = comfy.supported_models.SD15(
        {
            "image_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "model_channels": 32,
            "num_res_blocks": [1, 1],
            "channel_mult": [1, 1],
            "transformer_depth": [1, 0],
            "transformer_depth_middle": 1,
            "transformer_depth_output": [1, 1, 0, 0],
            "use_spatial_transformer": True,
            "context_dim": 40,
            "legacy": False,
        }
    )
    config.set_inference_dtype(torch.float32, None)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(config.get_model({}), load_device=cpu, offload_device=cpu)


def test_another_model(sd15, clip):
    for call in (lambda: animate(sd15, clip), lambda: reference_sigmas(sd15, 10, 1.0)):
        with pytest.raises(CinemoError, match="The model is BaseModel, not Cinemo; load one with") as error:
            call()
        sentence(error)


def stock(model, clip, samples=None):
    samples = clip.samples if samples is None else samples
    noise = torch.zeros_like(samples)
    return comfy.sample.sample(model, noise, 1, 4.0, "euler", "normal", clip.positive, clip.negative, samples, seed=0, disable_pbar=True)


def without_clip(conditioning):
    return [[text, {k: v for k, v in options.items() if k != CLIP_KEY}] for text, options in conditioning]


@pytest.mark.parametrize("sampler", [animate, stock], ids=["ours", "stock"])
@pytest.mark.parametrize("side", ["positive", "negative"])
def test_conditioning_without_an_image(model, clip, sampler, side):
    setattr(clip, side, without_clip(getattr(clip, side)))
    with pytest.raises(CinemoError, match="does not say which image to animate; pass .* through Cinemo Motion Conditioning") as error:
        sampler(model, clip)
    sentence(error)


@pytest.mark.parametrize("sampler", [animate, stock], ids=["ours", "stock"])
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 4, 6, 8), "for 5 frames of 56x48, the latent has 5 frames of 64x48"),
        ((4, 4, 6, 7), "for 5 frames of 56x48, the latent has 4 frames of 56x48"),
        ((1, 4, 6, 7), r"has 1 frame\(s\)"),
        ((1, 4, 5, 6, 7), "has 5 dimensions"),
        ((5, 16, 6, 7), "has 16 channels, Cinemo has 4"),
    ],
)
def test_latent_of_another_clip(model, clip, sampler, shape, message):
    with pytest.raises(CinemoError, match=message) as error:
        sampler(model, clip, samples=torch.ones(shape))
    sentence(error)
    assert animate(model, clip).isfinite().all()


def test_clips_of_two_sizes_in_one_conditioning(model, clip):
    clip.positive = clip.positive + random_clip(height=8).positive
    with pytest.raises(CinemoError, match="combines clips of different sizes") as error:
        animate(model, clip)
    sentence(error)


@pytest.mark.parametrize("sampler", [animate, stock], ids=["ours", "stock"])
def test_prompts_that_match_neither_clip_nor_frames(model, clip, sampler):
    text, options = clip.positive[0]
    clip.positive = [[text.repeat(3, 1, 1), options]]
    with pytest.raises(CinemoError, match="3 prompts for a clip of 5 frames") as error:
        sampler(model, clip)
    sentence(error)


@pytest.mark.parametrize("sampler", [animate, stock], ids=["ours", "stock"])
def test_conditioning_without_text(model, clip, sampler):
    clip.negative = [[None, clip.negative[0][1]]]
    with pytest.raises(CinemoError, match="holds no prompt; connect") as error:
        sampler(model, clip)
    sentence(error)


def test_text_of_another_encoder(model, clip):
    clip.positive = [[torch.zeros(1, 9, 768), clip.positive[0][1]]]
    with pytest.raises(CinemoError, match="gives 768 channels, this Cinemo model reads 40") as error:
        animate(model, clip)
    sentence(error)


def test_latent_and_noise_that_are_not_finite_or_do_not_fit(model, clip):
    with pytest.raises(CinemoError, match="latent holds NaN") as error:
        animate(model, clip, samples=clip.samples * float("nan"))
    sentence(error)

    class Wrong:
        seed = 0

        def generate_noise(self, latent):
            return torch.zeros(3, 4, 6, 7)

    with pytest.raises(CinemoError, match=r"noise has shape \[3, 4, 6, 7\], the latent \[5, 4, 6, 7\]") as error:
        animate(model, clip, noise=Wrong())
    sentence(error)


@pytest.mark.parametrize(("steps", "denoise"), [(0, 1.0), (1001, 1.0), (10, -0.1), (10, 1.5), (10, float("nan"))])
@pytest.mark.parametrize("scheduler", ["cinemo_ddim", "karras"])
def test_steps_and_denoise_out_of_range(model, clip, scheduler, steps, denoise):
    with pytest.raises(CinemoError, match="choose a") as error:
        sample_clip(
            model, clip.positive, clip.negative, {"samples": clip.samples}, Sampling(0, steps, 4.0, "ddim", scheduler, denoise=denoise)
        )
    sentence(error)


@pytest.mark.parametrize(
    "settings", [(1.1, 975, 1.0), (-0.1, 975, 1.0), (float("nan"), 975, 1.0), (0.2, 1000, 1.0), (0.2, -1, 1.0), (0.2, 975, 2.0)]
)
def test_dctinit_settings_out_of_range(clip, settings):
    with pytest.raises(CinemoError, match="choose a") as error:
        DCTInitNoise(clip.samples, random_noise(0), LowPass(*settings))
    sentence(error)


def test_dctinit_takes_a_single_picture(clip):
    """Such as VAE Encode or Cinemo Residual Split give."""
    alone, whole = (DCTInitNoise(samples, random_noise(0), LowPass(0.23, 975)) for samples in (clip.samples[:1], clip.samples))
    assert torch.equal(alone.generate_noise({"samples": clip.samples}), whole.generate_noise({"samples": clip.samples}))


def test_dctinit_for_another_size(model, clip):
    noise = DCTInitNoise(random_clip(height=8).samples, random_noise(0), LowPass(0.23, 975))
    with pytest.raises(CinemoError, match="made for latents of 7x8, the sampler works on 7x6") as error:
        animate(model, clip, noise=noise)
    sentence(error)


@pytest.mark.parametrize("sampler", [animate, stock], ids=["ours", "stock"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_sampling_that_ends_in_no_numbers(model, clip, sampler, value):
    """One frame suffices, whatever the sampler; the model works afterwards."""
    broken = model.clone()

    def spoil(executor, x, *args, **kwargs):
        out = executor(x, *args, **kwargs)
        out.unflatten(0, (-1, clip.samples.shape[0]))[:, 3, 0, 0, 0] = float(value)
        return out

    broken.add_wrapper(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, spoil)
    message = "NaN or infinite values in [1-4] of 5 frames, with weights in float32 and computing in float32; likely causes .*cfg.*LoRA"
    with pytest.raises(CinemoError, match=message) as error:
        sampler(broken, clip)
    sentence(error)
    assert animate(model, clip).isfinite().all()


@pytest.mark.parametrize("sampler", [animate, stock], ids=["ours", "stock"])
def test_prompt_that_is_no_numbers(model, clip, sampler):
    clip.negative = [[clip.negative[0][0] * float("inf"), clip.negative[0][1]]]
    with pytest.raises(CinemoError, match="text encoder gave NaN or infinite values for the prompt; .*--fp32-text-enc") as error:
        sampler(model, clip)
    sentence(error)


class Grows:
    """Samplers that hand the model another clip than the one they began with."""

    @staticmethod
    def larger(model, x, sigmas, extra_args=None, **kwargs):
        x = torch.nn.functional.interpolate(x, scale_factor=2)
        return model(x, sigmas[0] * x.new_ones(x.shape[0]), **extra_args)

    @staticmethod
    def longer(model, x, sigmas, extra_args=None, **kwargs):
        x = torch.cat([x, x[-1:]])
        return model(x, sigmas[0] * x.new_ones(x.shape[0]), **extra_args)

    @staticmethod
    def one_frame(model, x, sigmas, extra_args=None, **kwargs):
        return model(x[:1], sigmas[0] * x.new_ones(1), **extra_args)


@pytest.mark.parametrize(
    ("sampler", "size"), [("larger", "5 frames of 112x96"), ("longer", "6 frames of 56x48"), ("one_frame", "1 frames of 56x48")]
)
def test_samplers_that_change_the_clip(model, clip, sampler, size):
    with pytest.raises(
        CinemoError, match=f"A clip of 5 frames of 56x48 was asked about in a shape of {size}, not as a context window"
    ) as error:
        comfy.samplers.sample(
            model,
            torch.zeros_like(clip.samples),
            clip.positive,
            clip.negative,
            4.0,
            model.load_device,
            comfy.samplers.KSAMPLER(getattr(Grows, sampler)),
            torch.tensor([2.0, 0.0]),
            model_options=model.model_options,
            latent_image=clip.samples,
        )
    sentence(error)


def small_vae(latent_channels: int = 4) -> comfy.sd.VAE:
    """A real, untrained VAE of ComfyUI's smallest kind."""
    return comfy.sd.VAE(sd=TAESD(latent_channels=latent_channels).state_dict())


IMAGE = torch.rand(1, 20, 30, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vae": None}, "There is no VAE"),
        ({"vae": small_vae(16)}, "latents of 16 channels, expected 4"),
        ({"width": 0}, "width is 0"),
        ({"width": 20}, "multiple of 8"),
        ({"height": -8}, "height is -8"),
        ({"frames": 1}, "choose 2 or more"),
        ({"image": IMAGE * float("nan")}, "NaN"),
        ({"image": IMAGE[:0]}, "empty"),
        ({"image": IMAGE[0]}, "expected"),
        ({"image": IMAGE[..., :2]}, "2 channels"),
        ({"motion_bucket": 20}, "motion bucket is 20"),
        ({"motion_bucket": -1}, "motion bucket is -1"),
        ({"resize": "crop"}, "choose one of"),
    ],
)
def test_conditioning_node(clip, change, message):
    given = {"vae": small_vae(), "image": IMAGE, "width": 32, "height": 16, "frames": 4, "motion_bucket": 9, "resize": "cover"} | change
    size = ClipSize(given["width"], given["height"], given["frames"], given["resize"])
    with pytest.raises(CinemoError, match=message) as error:
        condition_clip(clip.positive, clip.negative, given["vae"], given["image"], size, Motion(given["motion_bucket"]))
    sentence(error)


def spoiled_vae(part: str) -> comfy.sd.VAE:
    """A VAE whose encoder or decoder gives NaN, as one does whose weights are damaged."""
    vae = small_vae()
    weight = next(getattr(vae.first_stage_model, f"taesd_{part}").parameters())
    weight.data.fill_(float("nan"))
    return vae


def test_a_vae_that_gives_no_numbers(clip):
    with pytest.raises(CinemoError, match="The VAE gave NaN or infinite values for the image, computing in .*--fp32-vae") as error:
        condition_clip(clip.positive, clip.negative, spoiled_vae("encoder"), IMAGE, ClipSize(32, 16, 4), Motion(9))
    sentence(error)
    with pytest.raises(CinemoError, match="The VAE gave NaN or infinite values for the frames, computing in .*--fp32-vae") as error:
        decode_clip(spoiled_vae("decoder"), torch.zeros(3, 4, 2, 2))
    sentence(error)


@pytest.mark.parametrize(
    ("vae", "samples", "message"),
    [
        (None, torch.zeros(3, 4, 2, 2), "There is no VAE"),
        (small_vae(16), torch.zeros(3, 4, 2, 2), "decodes latents of 16 channels"),
        (small_vae(), torch.zeros(1, 4, 3, 2, 2), "5 dimensions"),
        (small_vae(), torch.full((3, 4, 2, 2), float("nan")), "latent holds NaN"),
    ],
)
def test_decode_node(vae, samples, message):
    with pytest.raises(CinemoError, match=message) as error:
        decode_clip(vae, samples)
    sentence(error)
