"""Where the picture comes from, which schedules are understood, and what is refused; with one model of each sort."""

from types import SimpleNamespace

import comfy.latent_formats
import comfy.ldm.wan.vae
import comfy.model_sampling
import comfy.nested_tensor
import comfy.sd
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.noise import DCTInitNoise, initial_noise
from cinemo_pack.cinemo_core.comfyui.low_pass_noise import forward_process
from cinemo_pack.cinemo_core.comfyui.noise import random_noise
from cinemo_pack.cinemo_core.comfyui.vae import make_vae
from cinemo_pack.cinemo_core.errors import CinemoError
from cinemo_pack.cinemo_core.models.cinemo.dctinit import add_noise
from cinemo_pack.cinemo_core.motion.low_pass import LowPass
from cinemo_pack.cinemo_core.resize import resize_image
from cinemo_pack.tests.comfy.any_model.kinds import KINDS
from cinemo_pack.tests.drawn import IMAGE_VAE, vae_weights

EMPTY = {"SVD": torch.zeros(5, 4, 6, 8), "Wan 2.1 i2v": torch.zeros(1, 16, 3, 6, 8)}
PICTURE = torch.rand(2, 70, 90, 3, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def models():
    return {name: KINDS[name].model() for name in EMPTY}


@pytest.fixture(scope="module")
def vaes():
    with torch.inference_mode():
        wan = comfy.ldm.wan.vae.WanVAE(8, 16, [1, 2, 4, 4], 2, [], [False, True, True])
        generator = torch.Generator().manual_seed(4)
        weights = {name: 0.1 * torch.randn(tensor.shape, generator=generator) for name, tensor in wan.state_dict().items()}
        return {"SVD": make_vae(vae_weights(IMAGE_VAE), "The VAE"), "Wan 2.1 i2v": comfy.sd.VAE(sd=weights)}


@pytest.mark.parametrize("name", EMPTY)
@torch.inference_mode()
def test_an_image_is_filled_in_centred_and_encoded_alone(models, vaes, name):
    """At eight pixels for each of the latent; the first of the batch."""
    noise, _ = initial_noise({"samples": EMPTY[name]}, random_noise(1), LowPass(), models[name], PICTURE, vaes[name])
    latent = vaes[name].encode(resize_image(PICTURE[:1], 64, 48, "cover"))
    expected = models[name].model.process_latent_in(latent).reshape(1, EMPTY[name].shape[1], 6, 8)
    torch.testing.assert_close(noise.z0, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    other, _ = initial_noise({"samples": EMPTY[name]}, random_noise(1), LowPass(), models[name], PICTURE.flip(2), vaes[name])
    assert (other.z0 - noise.z0).norm() > 1e-3 * noise.z0.norm()


@torch.inference_mode()
def test_an_image_for_cinemo_without_a_model(vaes):
    """The VAE's latent, as if the latent had begun with it."""
    latent = {"samples": torch.zeros(5, 4, 6, 8)}
    picture = vaes["SVD"].encode(PICTURE[:1, :48, :64])
    (noise, _), direct = (
        initial_noise(latent, random_noise(1), LowPass(), image=PICTURE[:1, :48, :64], vae=vaes["SVD"]),
        DCTInitNoise(picture, random_noise(1), LowPass()),
    )
    torch.testing.assert_close(noise.generate_noise(latent), direct.generate_noise(latent))


def sampling(*parents, **settings):
    kind = type("Sampling", parents, {})
    return kind(SimpleNamespace(sampling_settings=settings))


def with_sampling(found):
    return SimpleNamespace(get_model_object=lambda name: found, model=SimpleNamespace())


CINEMO_BETAS = {"beta_schedule": "sqrt_linear", "linear_start": 1e-4, "linear_end": 0.02}


@pytest.mark.parametrize("prediction", [comfy.model_sampling.EPS, comfy.model_sampling.V_PREDICTION])
@pytest.mark.parametrize("level", [0, 500, 975, 999])
def test_a_discrete_schedule_is_noised_to_the_timestep(prediction, level):
    found = sampling(comfy.model_sampling.ModelSamplingDiscrete, prediction, **CINEMO_BETAS)
    z0, noise = torch.randn(1, 4, 5, 5).double(), torch.randn(3, 4, 5, 5).double()
    torch.testing.assert_close(forward_process(with_sampling(found), level)(z0, noise), add_noise(z0, noise, level), rtol=1e-4, atol=1e-5)


def test_edm_and_flow_matching_by_their_definitions():
    z0, noise = torch.randn(1, 4, 5, 5).double(), torch.randn(3, 4, 5, 5).double()
    models = comfy.model_sampling
    edm = sampling(models.ModelSamplingContinuousEDM, models.EDM, sigma_min=0.01, sigma_max=100.0, sigma_data=0.5)
    found = forward_process(with_sampling(edm), 500)(z0, noise)
    start = (1 + 100.0**2) ** 0.5 / (0.5**2 + 100.0**2) ** 0.5  # of unit noise at the largest sigma, as the network sees it
    sigma = 0.01 * 1e4 ** (500 / 999)
    torch.testing.assert_close(found, (z0 + sigma * noise) / (0.5**2 + sigma**2) ** 0.5 / start)
    cosmos = sampling(models.ModelSamplingCosmosRFlow, models.COSMOS_RFLOW, sigma_min=0.01, sigma_max=100.0)
    found = forward_process(with_sampling(cosmos), 500)(z0, noise)
    torch.testing.assert_close(found, (z0 + sigma * noise) / (1 + sigma) / (100 / 101))
    loud = sampling(models.ModelSamplingDiscreteFlow, models.CONST, shift=3.0, noise_scale=1.5)
    share = 3 * (500 / 999) / (1 + 2 * 500 / 999)
    torch.testing.assert_close(forward_process(with_sampling(loud), 500)(z0, noise), (1 - share) * z0 / 1.5 + share * noise)


@pytest.mark.parametrize("kind", [comfy.model_sampling.IMG_TO_IMG_FLOW, comfy.model_sampling.V_PREDICTION_DDPM])
def test_a_forward_process_that_is_not_understood(kind):
    discrete = comfy.model_sampling.ModelSamplingDiscrete
    found = (
        sampling(discrete, kind, zsnr=True) if "DDPM" in kind.__name__ else sampling(comfy.model_sampling.ModelSamplingDiscreteFlow, kind)
    )
    with pytest.raises(CinemoError, match="cannot tell how SimpleNamespace noises its data; it supports"):
        forward_process(with_sampling(found), 975)


def bad(latent, message, model="Wan 2.1 i2v", image=None, vae=None):
    return pytest.param(latent, message, model, image, vae, id=message[:30])


@pytest.mark.parametrize(
    ("latent", "message", "model", "image", "vae"),
    [
        bad(torch.zeros(1, 16, 3, 6, 8), "connect image and vae"),
        bad(torch.ones(1, 48, 3, 6, 8), "The latent has 48 channels and the model 16"),
        bad(torch.ones(16, 3, 6), r"shape \[16, 3, 6\]"),
        bad(torch.ones(1, 16, 0, 6, 8), r"shape \[1, 16, 0, 6, 8\]"),
        bad(torch.full((1, 16, 3, 6, 8), float("nan")), "NaN"),
        bad(comfy.nested_tensor.NestedTensor([torch.ones(1, 16, 3, 6, 8)]), "video and sound together"),
        bad(torch.zeros(1, 16, 3, 6, 8), "There is an image and no VAE", image=PICTURE),
        bad(torch.zeros(1, 16, 3, 6, 8), "There is a VAE and no image", vae="Wan 2.1 i2v"),
        bad(torch.zeros(1, 16, 3, 6, 8), "The VAE makes latents of 4 channels and the model has 16", image=PICTURE, vae="SVD"),
        bad(torch.zeros(1, 16, 3, 6, 8), "The image has 2 channels", image=PICTURE[..., :2], vae="Wan 2.1 i2v"),
    ],
)
@torch.inference_mode()
def test_bad_input_ends_with_one_sentence(models, vaes, latent, message, model, image, vae):
    with pytest.raises(CinemoError, match=message) as error:
        initial_noise({"samples": latent}, random_noise(1), LowPass(), models[model], image, vae and vaes[vae])
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


@torch.inference_mode()
def test_a_sampler_of_another_size(models):
    noise, _ = initial_noise({"samples": torch.ones(1, 16, 3, 6, 8)}, random_noise(1), LowPass(), models["Wan 2.1 i2v"])
    for shape, message in (((1, 16, 3, 6, 6), "latents of 8x6, the sampler works on 6x6"), ((1, 4, 3, 6, 8), "of 16 channels")):
        with pytest.raises(CinemoError, match=message):
            noise.generate_noise({"samples": torch.zeros(shape)})
    assert noise.generate_noise({"samples": torch.zeros(1, 16, 7, 6, 8)}).shape == (1, 16, 7, 6, 8)  # another length is no matter


def test_the_output_model_without_an_input_model():
    _, nothing = initial_noise({"samples": torch.ones(2, 4, 6, 8)}, random_noise(1), LowPass())
    with pytest.raises(CinemoError, match="connect a model to the node's input"):
        nothing.clone()
