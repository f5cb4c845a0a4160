"""What the sampling nodes do beyond the recorded runs, on a small model: switches, equivalences, ComfyUI's samplers, what is refused."""

import comfy.sample
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.guidance import SAME, Guidance, make_guider, with_rescale
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.sampling import (
    REFERENCE,
    TRAILING,
    UNIFORM,
    ReferenceDDIM,
    Sampling,
    reference_sigmas,
    sample_clip,
)
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.comfyui.noise import random_noise
from cinemo_pack.cinemo_core.errors import ConditioningError, InputError, SamplingError
from cinemo_pack.cinemo_core.models.dynamicrafter.family import DYNAMICRAFTER
from cinemo_pack.nodes.dynamicrafter.sample import CinemoDynamiCrafterKSampler, CinemoDynamiCrafterRescaleGuidance
from cinemo_pack.tests.comfy.families import cinemo as small_cinemo
from cinemo_pack.tests.comfy.families import dynamicrafter as small
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete, RescaleCFG
from safetensors.torch import save_file

FRAMES, HEIGHT, WIDTH = 4, 4, 6
STEPS = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    save_file(small.weights(), path)
    return load_unet(str(path), "fp32", DYNAMICRAFTER, {"variant": "1024"})


def zeros() -> dict:
    return {"samples": torch.zeros(FRAMES, 4, HEIGHT, WIDTH)}


def clip(seed: int = 8) -> dict:
    return {"samples": torch.randn(FRAMES, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))}


def sample(model, latent: dict | None = None, **settings) -> torch.Tensor:
    positive, negative = small.condition(FRAMES, HEIGHT, WIDTH)
    sampling = Sampling(**({"seed": 1, "steps": STEPS} | settings))
    with torch.inference_mode():
        return sample_clip(model, positive, negative, zeros() if latent is None else latent, sampling)["samples"]


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


def test_without_fresh_noise_it_is_ddim_of_comfyui_on_the_same_levels(model):
    """Up to float32: the first level represents infinity there, and is infinity here."""
    assert difference(sample(model, eta=0.0), sample(model, sampler_name="ddim")) <= 1e-3


def test_fresh_noise_follows_the_seed_and_eta(model):
    first = sample(model, eta=1.0)
    assert torch.equal(first, sample(model, eta=1.0))
    assert difference(sample(model, eta=1.0, seed=2), first) > 0.05
    assert difference(sample(model, eta=0.0), first) > 0.05


def test_the_latent_is_not_seen_at_full_noise(model):
    """The still clip that the conditioning gives does not leak into the start, under our sampler or ComfyUI's."""
    for name, scheduler in ((REFERENCE, REFERENCE), ("euler", "normal")):
        settings = {"sampler_name": name, "scheduler": scheduler}
        assert difference(sample(model, clip(), **settings), sample(model, **settings)) <= 1e-6


def test_part_of_the_noise_keeps_the_clip(model):
    """The less noise is added, the more of the clip stays."""
    kept = [difference(sample(model, clip(), denoise=denoise, eta=0.0), clip()["samples"]) for denoise in (0.1, 0.5, 1.0)]
    assert kept[0] < kept[1] < kept[2]
    assert torch.equal(sample(model, clip(), denoise=0.0), clip()["samples"])


def test_a_mask_keeps_what_it_covers(model):
    mask = torch.zeros(FRAMES, HEIGHT * 8, WIDTH * 8)
    mask[..., WIDTH * 4 :] = 1
    found = sample(model, clip() | {"noise_mask": mask})
    assert torch.equal(found[..., : WIDTH // 2], clip()["samples"][..., : WIDTH // 2])
    assert difference(found[..., WIDTH // 2 :], clip()["samples"][..., WIDTH // 2 :]) > 0.1


def test_brightness_is_a_factor_of_the_end(model):
    """Of the last step's scale and of the signal at timestep 0."""
    schedule = model.get_model_object("variant").schedule
    factor = schedule.scales()[1000 // STEPS - 1] * schedule.alphas_cumprod()[0].sqrt()
    assert difference(sample(model, reference_brightness=True), sample(model) * factor.float()) <= 1e-5


def test_the_same_scale_for_text_and_image_is_plain_guidance(model):
    plain = sample(model, eta=0.0, guidance=Guidance(3.0))
    assert difference(sample(model, eta=0.0, guidance=Guidance(3.0, 3.0)), plain) <= 1e-4
    assert difference(sample(model, eta=0.0, guidance=Guidance(3.0, 1.0)), plain) > 1e-3


def test_the_rescale_is_the_variants_unless_it_is_set(model):
    plain = sample(model, eta=0.0, guidance=Guidance(3.0))
    assert difference(sample(model, eta=0.0, guidance=Guidance(3.0, rescale=0.7)), plain) <= 1e-6
    assert difference(sample(model, eta=0.0, guidance=Guidance(3.0, rescale=0.0)), plain) > 1e-3


def test_the_rescale_gives_the_output_the_spread_of_the_conditional_one(model):
    positive, negative = small.condition(FRAMES, HEIGHT, WIDTH)
    seen = {}

    def look(args):
        zero = args["model"].model_sampling.denoised_of_zero(args["sigma"], args["input"])
        seen["spreads"] = [(zero - args[name]).std().item() for name in ("denoised", "cond_denoised")]
        return args["denoised"]

    patched = model.clone()
    patched.set_model_sampler_post_cfg_function(look)
    guider = make_guider(patched, positive, negative, Guidance(7.5, rescale=1.0))
    with torch.inference_mode():
        noise = random_noise(1).generate_noise(zeros())
        guider.sample(noise, zeros()["samples"], ReferenceDDIM(0.0), reference_sigmas(model, STEPS), seed=1)
    assert seen["spreads"][0] == pytest.approx(seen["spreads"][1], rel=1e-4)


def stock_sample(model, cfg: float = 4.0) -> torch.Tensor:
    """As KSampler does it."""
    positive, negative = small.condition(FRAMES, HEIGHT, WIDTH)
    noise, latent = random_noise(1).generate_noise(zeros()), zeros()["samples"]
    with torch.inference_mode():
        return comfy.sample.sample(model, noise, STEPS, cfg, "euler", "normal", positive, negative, latent, seed=1)


@pytest.mark.parametrize("factor", [SAME, 0.3, 0.0])
def test_the_patch_gives_the_stock_sampler_the_authors_rescale(model, factor):
    own = {"sampler_name": "euler", "scheduler": "normal", "guidance": Guidance(4.0, rescale=factor)}
    (patched,) = CinemoDynamiCrafterRescaleGuidance.execute(model, factor).result
    assert difference(stock_sample(patched), sample(model, **own)) <= 1e-6
    assert (difference(stock_sample(patched), stock_sample(model)) > 1e-3) == (factor != 0)


def test_the_patch_and_our_sampler_rescale_once(model):
    """A factor of the sampler's own replaces that of the patch; the sampler's default takes it, and the last of two patches counts."""
    patched = with_rescale(with_rescale(model, 0.9), 0.3)
    wanted = {"eta": 0.0, "guidance": Guidance(4.0, rescale=0.3)}
    assert torch.equal(sample(patched, eta=0.0, guidance=Guidance(4.0)), sample(model, **wanted))
    assert torch.equal(sample(with_rescale(model, 0.9), **wanted), sample(model, **wanted))
    off = with_rescale(model, 0.0)
    assert torch.equal(sample(off, eta=0.0, guidance=Guidance(4.0)), sample(model, eta=0.0, guidance=Guidance(4.0, rescale=0.0)))


def test_rescale_cfg_of_comfyui_is_another_rescale(model):
    """It takes the spread of each frame, of a v that the dynamic rescale shifts: as far from ours as from none."""
    theirs, ours, none = (stock_sample(m) for m in (RescaleCFG().patch(model, 0.7)[0], with_rescale(model, 0.7), model))
    assert difference(theirs, ours) > 0.1 * difference(ours, none) and difference(theirs, none) > 1e-3


def test_a_rescale_that_does_not_fit_is_refused(model):
    with pytest.raises(InputError, match="The guidance rescale is 1.5; choose 0 to 1, or -1"):
        with_rescale(model, 1.5)
    (replaced,) = ModelSamplingDiscrete().patch(with_rescale(model, 0.7), "v_prediction", True)
    with pytest.raises(InputError, match="DynamiCrafter 1024 was trained with a dynamic rescale that no ModelSampling node has"):
        stock_sample(replaced)


@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "uni_pc", "lcm", "res_multistep"])
def test_samplers_of_comfyui_give_numbers_on_both_schedules(model, name):
    for scheduler in (REFERENCE, "normal"):
        found = sample(model, sampler_name=name, scheduler=scheduler)
        assert found.isfinite().all() and found.abs().max() < 1000


def test_our_sampler_takes_the_levels_of_comfyui(model):
    """Between those of the table too; with many steps both ways end near each other."""
    many = {"eta": 0.0, "steps": 60}
    assert difference(sample(model, scheduler="karras", **many), sample(model, scheduler="normal", **many)) < 0.3
    assert sample(model, scheduler="karras").isfinite().all()


def test_the_steps_of_every_spacing(model):
    sigmas = model.get_model_object("model_sampling").sigmas
    assert reference_sigmas(model, 50).shape == (51,) and reference_sigmas(model, 50)[0] == sigmas[999]
    assert reference_sigmas(model, 50, spacing=UNIFORM)[0] == sigmas[981]
    assert torch.equal(reference_sigmas(model, 50), reference_sigmas(model, 50, spacing=TRAILING))
    part = reference_sigmas(model, 10, 0.5)
    assert len(part) == 11 and torch.equal(part, reference_sigmas(model, 20)[10:])
    assert len(reference_sigmas(model, 10, 0.0)) == 0
    whole = reference_sigmas(model, 1000)
    assert len(whole) == 1001 and (whole.diff() <= 0).all()


def test_the_node(model):
    positive, negative = small.condition(FRAMES, HEIGHT, WIDTH)
    with torch.inference_mode():
        (latent,) = CinemoDynamiCrafterKSampler.execute(
            model, positive, negative, zeros(), 1, STEPS, 7.5, REFERENCE, REFERENCE, 1.0, 1.0, -1.0, -1.0, False
        ).result
    assert torch.equal(latent["samples"], sample(model))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "Sampling got 0 steps"),
        ({"denoise": 1.5}, "The denoise is 1.5; choose a number from 0 to 1"),
        ({"eta": -1.0}, "The eta is -1.0; choose 0"),
        ({"guidance": Guidance(-2.0)}, r"The guidance scales are -2.0 \(text\)"),
        ({"guidance": Guidance(7.5, -3.0)}, r"-3.0 \(image\); choose 0 or more, or -1"),
        ({"guidance": Guidance(rescale=2.0)}, "The guidance rescale is 2.0; choose 0 to 1, or -1"),
        ({"latent": {"samples": torch.zeros(1, 4, HEIGHT, WIDTH)}}, "a clip of DynamiCrafter has 2 or more"),
        ({"latent": {"samples": torch.full((FRAMES, 4, HEIGHT, WIDTH), float("nan"))}}, "The latent holds NaN"),
    ],
)
def test_settings_that_do_not_fit_are_refused(model, settings, message):
    with pytest.raises(InputError, match=message):
        sample(model, **settings)


def test_conditioning_and_models_that_do_not_fit_are_refused(model, tmp_path):
    positive, negative = small.condition(FRAMES, HEIGHT, WIDTH)
    with pytest.raises(ConditioningError, match="negative conditioning does not say which image to animate"):
        make_guider(model, positive, [[negative[0][0], {}]], Guidance())
    with pytest.raises(ConditioningError, match="is for 4 frames of 48x32, the latent has 6 frames"):
        sample(model, {"samples": torch.zeros(6, 4, HEIGHT, WIDTH)})
    save_file(small_cinemo.weights(), tmp_path / "cinemo.safetensors")
    cinemo = load_unet(str(tmp_path / "cinemo.safetensors"), "fp32")
    with pytest.raises(InputError, match="The model is Cinemo, not DynamiCrafter"):
        sample(cinemo)
    with pytest.raises(InputError, match="The model is Cinemo, not DynamiCrafter"):
        reference_sigmas(cinemo, 10)
    (replaced,) = ModelSamplingDiscrete().patch(model, "v_prediction", True)
    with pytest.raises(InputError, match="not DynamiCrafter's own, .* remove the ModelSampling node before it"):
        sample(replaced)
    with pytest.raises(InputError, match="The spacing is 'leading'; choose one of auto, uniform, uniform_trailing"):
        reference_sigmas(model, 10, spacing="leading")


def test_a_clip_that_ends_in_no_numbers_is_reported(model):
    broken = model.clone()
    broken.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * float("nan"))
    with pytest.raises(SamplingError, match="Sampling ended in NaN or infinite values in 4 of 4 frames"):
        sample(broken)
