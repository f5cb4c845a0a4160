"""Loads a VAE of Stable Diffusion 1.x, image or temporal, of any width, into ComfyUI's VAE object.

`VAE.encode` gives the posterior's mode, unscaled; the temporal decoder mixes the frames of the batch that it is given.
"""

from pathlib import Path

import comfy.diffusers_convert
import comfy.sd
import torch
from comfy.ldm.modules.temporal_ae import AE3DConv
from comfy.model_patcher import ModelPatcher

from ..errors import CheckpointError, InputError
from ..files.checkpoint import compare, shapes_of
from ..files.folder import check_options, read_config
from ..models.recognise import describe
from ..models.temporal_vae import keys
from . import temporal_decoder
from .files import read_weights
from .narrow import format_name, plan_narrowing

PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
OPTIONS = {"norm_num_groups": keys.NORM_GROUPS, "act_fn": "silu", "scaling_factor": 0.18215}


def load_vae(path: str) -> comfy.sd.VAE:
    """A VAE from a weights file: an image or a temporal VAE, in diffusers or LDM layout.

    Raises CheckpointError for a file that is not such a VAE, is incomplete, does not fit Cinemo's latents, or whose weights
    cannot be held in the format that ComfyUI chose for VAEs.
    """
    state_dict = read_weights(path)
    shapes = shapes_of(state_dict)
    if "VAE" not in describe(shapes):
        raise CheckpointError(
            f"{path} is {describe(shapes)}, expected a VAE: choose the VAE of a Cinemo or Stable Diffusion 1.x checkpoint."
        )
    if Path(path).name.startswith("diffusion_pytorch_model"):
        check_options(Path(path).parent / "config.json", read_config(Path(path).parent), OPTIONS)
    vae = make_vae(state_dict, f"The VAE {path}")
    vae.patcher.cached_patcher_init = (load_vae_patcher, (path,))
    return vae


def make_vae(state_dict: dict[str, torch.Tensor], what: str) -> comfy.sd.VAE:
    """A VAE from its tensors, in diffusers or LDM layout; `what` begins the sentence of a CheckpointError, which is as above."""
    config = keys.read_config(shapes_of(state_dict))
    ddconfig = config.ddconfig
    params = {"ddconfig": ddconfig, "embed_dim": config.latent_channels}
    if config.temporal:
        params["decoder_ddconfig"] = ddconfig | temporal_decoder.blocks()

    state_dict = _to_ldm(what, state_dict, config)
    vae = comfy.sd.VAE(sd=state_dict, config={"params": params})
    if config.temporal:
        temporal_decoder.upsample_by_frame(vae.first_stage_model.decoder)
    plan_narrowing(state_dict, vae.vae_dtype, (), what, scalable=False)
    return vae


def load_vae_patcher(path: str, disable_dynamic: bool = False) -> ModelPatcher:
    """The patcher of a VAE read from disk again, as ComfyUI asks for it; like core's, it is of ComfyUI's current kind."""
    return load_vae(path).patcher


def is_temporal(vae: comfy.sd.VAE) -> bool:
    """Whether a VAE's decoder mixes frames, so that the way in which a clip is cut into batches matters."""
    return any(isinstance(module, AE3DConv) for module in vae.first_stage_model.modules())


def check_numbers(result: torch.Tensor, vae: comfy.sd.VAE, what: str) -> None:
    """Raise InputError if a VAE's result for `what`, an image or frames, holds NaN or infinite values."""
    if not result.isfinite().all():
        raise InputError(
            f"The VAE gave NaN or infinite values for {what}, computing in {format_name(vae.vae_dtype)}; start ComfyUI with "
            "--bf16-vae or --fp32-vae, or choose another VAE."
        )


def _to_ldm(what: str, state_dict: dict[str, torch.Tensor], config: keys.VAEConfig) -> dict[str, torch.Tensor]:
    """The tensors of ComfyUI's AutoencoderKL, complete; the temporal VAE has no quant convolutions, so they are identities."""
    state_dict = {k: v for k, v in state_dict.items() if k.startswith(PARTS)}
    expected = {entry.ldm: entry.shape for entry in keys.entries(config)}
    if config.temporal:
        if keys.is_diffusers(state_dict):
            state_dict = keys.to_ldm(state_dict, config)
        for name, channels in (("quant_conv", 2 * config.latent_channels), ("post_quant_conv", config.latent_channels)):
            expected |= {f"{name}.weight": (channels, channels, 1, 1), f"{name}.bias": (channels,)}
            state_dict.setdefault(f"{name}.weight", torch.eye(channels)[:, :, None, None])
            state_dict.setdefault(f"{name}.bias", torch.zeros(channels))
    elif keys.is_diffusers(state_dict):
        state_dict = comfy.diffusers_convert.convert_vae_state_dict(state_dict)
    compare(shapes_of(state_dict), expected, what)
    return state_dict
