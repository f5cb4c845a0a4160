"""Loads MODEL, CLIP and VAE from one checkpoint folder in diffusers layout."""

from pathlib import Path

from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE

from ...errors import CheckpointError
from ...files.folder import Bundle, check_options, find_weights, read_config
from ...models.cinemo.family import CINEMO
from ...models.recognise import recognise
from ..clip import load_clip, read_clip_config
from ..files import read_weights
from ..loading import load_unet
from ..vae import is_temporal, load_vae
from .choices import resolve_bundle

DECODERS = ("auto", "temporal", "image")


def load_bundle(folder: str, weight_dtype: str = "default", decoder: str = "auto") -> tuple[ModelPatcher, CLIP, VAE]:
    """MODEL, CLIP and VAE of the checkpoint folder with this name (see `choices.bundle_choices`) or absolute path.

    decoder: "temporal", "image", or "auto" for the temporal one if the folder has it. Raises CheckpointError where a part
    is missing, or does not fit the others, before the UNet is loaded.
    """
    bundle = resolve_bundle(folder)
    vae_weights = _vae_weights(bundle, decoder)
    if bundle.text_encoder is None:
        raise CheckpointError(
            f"{bundle.folder} has no text_encoder/ folder; put the checkpoint's there, or use Cinemo Model Loader and another CLIP."
        )
    _check_text_width(bundle.text_encoder, bundle.unet)
    if bundle.scheduler is not None:
        check_options(bundle.scheduler, read_config(bundle.scheduler.parent, bundle.scheduler.name), {"prediction_type": "epsilon"})

    vae = load_vae(str(vae_weights))
    if decoder == "temporal" and not is_temporal(vae):
        raise CheckpointError(
            f"{vae_weights} is an image VAE, expected a temporal one; put the temporal decoder there or choose decoder = image."
        )
    clip = load_clip(bundle.text_encoder, bundle.tokenizer)
    return load_unet(str(bundle.unet), weight_dtype, CINEMO), clip, vae


def _vae_weights(bundle: Bundle, decoder: str) -> Path:
    folders = {"temporal": bundle.vae_temporal, "image": bundle.vae_image, "auto": bundle.vae_temporal or bundle.vae_image}
    folder = folders[decoder]
    if folder is None:
        wanted = {"temporal": "vae_temporal_decoder/", "image": "vae/", "auto": "vae_temporal_decoder/ or vae/"}[decoder]
        raise CheckpointError(
            f"{bundle.folder} has no {wanted} folder for decoder = {decoder}; put the checkpoint's there, or choose another decoder."
        )
    return find_weights(folder)


def _check_text_width(text_encoder: Path, unet: Path) -> None:
    width = read_clip_config(text_encoder).hidden_size
    config = recognise(unet, read_weights(str(unet)), CINEMO).config
    if width != config.context_dim:
        raise CheckpointError(
            f"The text encoder in {text_encoder} is {width} channels wide, but the UNet reads {config.context_dim}; "
            "use the text_encoder folder of the same checkpoint."
        )
