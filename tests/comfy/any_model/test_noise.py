"""DCTInit Noise for any MODEL: what the sampler starts from, with ComfyUI's own sampler nodes and models."""

import comfy.patcher_extension
import comfy.samplers
import pytest
import torch
from cinemo_pack.cinemo_core.errors import CinemoError
from cinemo_pack.cinemo_core.motion.low_pass import AXES, LowPass
from cinemo_pack.nodes.cinemo.noise import CinemoDCTInitNoise
from cinemo_pack.tests.comfy.any_model.kinds import KINDS, LEVEL, Kind
from comfy_extras.nodes_custom_sampler import BasicGuider, SamplerCustomAdvanced
from scipy.fft import dctn

import nodes

CUTOFF = 0.5
SEED = 11
FIRST = "first state"


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def loaded(kind):
    return kind.model()


@pytest.fixture
def model(loaded):
    with torch.inference_mode():
        yield loaded.clone()


def refined(model, latent: torch.Tensor, **inputs):
    return CinemoDCTInitNoise.execute({"samples": latent}, SEED, CUTOFF, LEVEL, 1.0, model=model, **inputs).result


def started(kind: Kind) -> torch.Tensor:
    """A latent that begins with the picture."""
    latent, picture = torch.zeros(kind.latent), picture_of(kind)
    if latent.ndim == 4:
        latent[:1] = picture
    else:
        latent[:, :, :1] = picture
    return latent


def picture_of(kind: Kind) -> torch.Tensor:
    """The latent of a picture as a VAE gives it, [1, c, h, w] or [1, c, 1, h, w]."""
    shape = (1, *kind.latent[1:]) if len(kind.latent) == 4 else (1, kind.latent[1], 1, *kind.latent[3:])
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def watched(model) -> tuple[object, list[torch.Tensor]]:
    """The model, and a list of the states with which it is called."""
    states = []

    def apply(executor, x, *args, **kwargs):
        states.append(x.clone())
        return executor(x, *args, **kwargs)

    model = model.clone()
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, FIRST, apply)
    return model, states


def advanced(model, kind: Kind, noise, latent: torch.Tensor, **mask) -> tuple[torch.Tensor, torch.Tensor]:
    """The first state, and the result, of SamplerCustomAdvanced."""
    model, states = watched(model)
    guider = BasicGuider.execute(model, kind.conditioning())[0]
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 2)
    sampler = comfy.samplers.sampler_object("euler")
    out = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, {"samples": latent, **mask})[0]
    return states[0], out["samples"]


def ksampler(model, kind: Kind, latent: torch.Tensor, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """The first state, and the result, of KSampler."""
    model, states = watched(model)
    conditioning = kind.conditioning()
    (out,) = nodes.KSampler().sample(model, seed, 2, 1.0, "euler", "normal", conditioning, conditioning, {"samples": latent})
    return states[0], out["samples"]


def clips(x: torch.Tensor) -> torch.Tensor:
    """Frames as batch, or with an axis of frames, as [b, f, c, h, w] in float64."""
    return (x.movedim(1, 2) if x.ndim == 5 else x[None]).double()


def spectrum(x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(dctn(clips(x).numpy(), type=2, norm="ortho", axes=tuple(axis + 1 for axis in AXES)))


def band(kind: Kind) -> torch.Tensor:
    frames = kind.latent[0] if len(kind.latent) == 4 else kind.latent[2]
    mask = LowPass(CUTOFF).mask(frames, *kind.latent[-2:])
    assert 0 < mask.sum() < mask.numel()
    return mask[None, :, None].expand_as(clips(torch.zeros(kind.latent)))


def expected(model, kind: Kind, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The still clip noised to LEVEL, and plain noise, both as the state at the start."""
    plain = torch.randn(kind.latent, generator=torch.Generator().manual_seed(SEED))
    z0 = model.model.process_latent_in(picture).double()
    return kind.start(z0, plain.double()), kind.start(torch.zeros_like(z0), plain.double())


@pytest.mark.parametrize("sampler", ["KSampler", "SamplerCustomAdvanced"])
def test_the_low_band_of_the_start_is_that_of_the_noised_still_clip(model, kind, sampler):
    picture, empty = picture_of(kind), torch.zeros(kind.latent)
    noise, patched = refined(model, started(kind))
    state, result = ksampler(patched, kind, empty) if sampler == "KSampler" else advanced(model, kind, noise, empty)
    noised, _ = expected(model, kind, picture)
    # High up, plain noise: what the sampler starts from when nothing refines it.
    plain, _ = ksampler(model, kind, empty, SEED)
    low, found = band(kind), spectrum(state)
    scale = spectrum(plain).square().mean().sqrt()
    assert ((found - spectrum(noised)) / scale)[low].abs().max() < 1e-5
    assert ((found - spectrum(plain)) / scale)[~low].abs().max() < 1e-5
    assert ((found - spectrum(plain)) / scale)[low].abs().max() > 2e-3  # and not so low down
    assert result.shape == kind.latent and result.isfinite().all()


def test_an_empty_latent_without_a_picture(model, kind):
    with pytest.raises(CinemoError, match="The latent is empty.*connect image and vae"):
        refined(model, torch.zeros(kind.latent))


def test_a_second_stage_that_adds_no_noise_is_left_alone(model, kind):
    """As with the two models of Wan 2.2: KSampler (Advanced), its noise disabled, begins from what the first one left."""
    _, patched = refined(model, started(kind))
    begun = torch.randn(kind.latent, generator=torch.Generator().manual_seed(9))
    settings = ("disable", 1, 2, 1.0, "euler", "normal", kind.conditioning(), kind.conditioning(), {"samples": begun}, 1, 2, "enable")
    ends = [nodes.KSamplerAdvanced().sample(stage, *settings)[0]["samples"] for stage in (model, patched)]
    assert torch.equal(*ends)
