"""DynamiCrafter as a ComfyUI model: frames as a batch, one row per clip for what all of its frames share.

Beside the noise of each frame the network reads a latent of the image (paper sec. 3.2), and through a second attention the image's
tokens (sec. 3.1). Both are kept for the whole clip, and those of the frames at hand are taken, all of them or a context window's.
"""

import logging
from functools import partial

import comfy.conds
import comfy.controlnet
import comfy.ldm.modules.attention
import comfy.model_base
import comfy.patcher_extension
import comfy.supported_models
import torch

from ...errors import ConditioningError
from ...models.dynamicrafter.checkpoint import IMAGE, is_tooncrafter
from ...models.dynamicrafter.config import DynamiCrafterConfig
from ...models.dynamicrafter.family import DYNAMICRAFTER
from ...models.dynamicrafter.tokens import tokens_of_frames
from ...models.dynamicrafter.unet import DynamiCrafterUNet
from ...models.dynamicrafter.variants import SCALES, VARIANTS
from ...shapes import check_clip_latent
from ..description import FamilyDescription
from ..outcome import check_sampled
from ..preview import ClipLatent
from ..rows import CONDClip, CONDRow
from ..text import set_text
from ..windows import frame_indices, pick_frames
from .conditioning import CONDITIONER, IMAGE_KEY, check_image_condition
from .model_sampling import DynamiCrafterSampling, check_schedule


class DynamiCrafterNetwork(DynamiCrafterUNet):
    """The UNet with ComfyUI's attention and wrappers."""

    def __init__(self, *, dtype, device, operations, **unet_config):
        config = DynamiCrafterConfig.from_unet_config(unet_config)
        # In float32 whatever the format, as ComfyUI computes SD2.x's: its scores are beyond fp16.
        attention = partial(comfy.ldm.modules.attention.optimized_attention, attn_precision=torch.float32)
        super().__init__(config, attention=attention, dtype=dtype, device=device, operations=operations)

    def forward(  # type: ignore[override]  # the signature is the one that ComfyUI calls
        self, x, timesteps, context=None, y=None, control=None, transformer_options={}, **kwargs
    ):
        return comfy.patcher_extension.WrapperExecutor.new_class_executor(
            self._forward,
            self,
            comfy.patcher_extension.get_all_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, transformer_options),
        ).execute(x, timesteps, context, y, control, transformer_options, **kwargs)

    def _forward(self, x, timesteps, context, y=None, control=None, transformer_options={}, *, image_tokens, fs, **kwargs):
        return super().forward(x, timesteps, context, image_tokens, fs, control, transformer_options)


class DynamiCrafterModel(comfy.model_base.BaseModel):
    """variant: which of the published ones it is; it says the schedule and what the motion number means."""

    def __init__(self, model_config, device=None):
        variant = VARIANTS[model_config.unet_config["variant"]]
        model_type = comfy.model_base.ModelType.V_PREDICTION if variant.schedule.v else comfy.model_base.ModelType.EPS
        super().__init__(model_config, model_type, device=device, unet_model=DynamiCrafterNetwork)
        self.variant = variant
        self.model_sampling = DynamiCrafterSampling(variant.schedule)

    def extra_conds(self, **kwargs):
        image = kwargs.get(IMAGE_KEY)
        if image is None:
            raise ConditioningError(
                "A DynamiCrafter model got a conditioning that does not say which image to animate; "
                f"pass positive and negative through {DynamiCrafterSupported.conditioner} before the sampler."
            )
        check_schedule(self.model_sampling, self.variant)
        check_clip_latent(kwargs["noise"], DYNAMICRAFTER.name, DynamiCrafterSupported.conditioner)
        check_image_condition(image, kwargs["noise"].shape)
        check_control(kwargs.get("control"))
        out = super().extra_conds(**kwargs)
        set_text(out, kwargs.get("cross_attn"), image.frames, self.model_config.unet_config["context_dim"], DynamiCrafterSupported)
        device = kwargs["device"]
        out["image_latents"] = CONDClip(self.process_latent_in(image.latents).to(device)[None])
        out["image_tokens"] = CONDRow(self.image_tokens(image, device))
        out["fs"] = CONDRow(torch.tensor([image.fs], device=device))
        return out

    def image_tokens(self, image, device) -> torch.Tensor:
        """[1, f, q, d], or [1, l, d] for tokens that every frame sees. Once for a clip, where a sampler starts."""
        tokens = self.diffusion_model.image_proj_model(image.tower.to(device, self.get_dtype_inference()))
        return tokens_of_frames(tokens, image.frames, image.tokens)

    def _apply_model(
        self,
        x,
        t,
        c_concat=None,
        c_crossattn=None,
        control=None,
        transformer_options={},
        crossattn_controlnet=None,
        *,
        image_latents,
        image_tokens,
        fs,
        **kwargs,
    ):
        clips, clip_frames = image_latents.shape[:2]
        indices = list(frame_indices(x, clips, clip_frames, image_latents[:, 0], transformer_options))
        if indices != list(range(clip_frames)):
            image_latents = pick_frames(image_latents, indices)
            image_tokens = pick_frames(image_tokens, indices) if image_tokens.ndim == 4 else image_tokens
        if image_tokens.ndim == 4:
            image_tokens = image_tokens.flatten(0, 1)  # b f l d -> b*f l d
        latents = image_latents.flatten(0, 1)
        return super()._apply_model(x, t, latents, c_crossattn, control, transformer_options, image_tokens=image_tokens, fs=fs, **kwargs)

    def process_latent_out(self, latent):
        """The last thing that ComfyUI does with a clip that any sampler has finished. Raises SamplingError if it holds no numbers."""
        check_sampled(self, latent)
        return super().process_latent_out(latent)


def check_control(control) -> None:
    """Raise ConditioningError for a ControlNet of the kind that is built from the weights of the UNet that it steers."""
    while control is not None:
        if isinstance(control, comfy.controlnet.ControlLora):
            raise ConditioningError(
                "The conditioning has a Control-LoRA, which takes its first convolution from the model; DynamiCrafter's reads an image "
                "next to the noise and does not fit. Use a whole ControlNet of Stable Diffusion 2.1."
            )
        control = control.previous_controlnet


class DynamiCrafterSupported(FamilyDescription, comfy.supported_models.SD20):
    """ComfyUI's description of the family: SD2.x's, with the names that it saves text encoder and VAE under."""

    family = DYNAMICRAFTER
    model_class = DynamiCrafterModel
    loaders = "Cinemo DynamiCrafter Loader"
    conditioner = CONDITIONER
    text_encoder = "the CLIP of the same checkpoint (OpenCLIP ViT-H, as Stable Diffusion 2.1 has, for the published ones)"

    unet_config: dict = {}
    unet_extra_config: dict = {}
    latent_format = ClipLatent
    # Measured with tools/bench_network.py on a CPU, at full size in fp32: an evaluation takes 374 MB above the weights for 16 frames of
    # 256x160, and ComfyUI estimates 429 MB for a GPU. For 8 frames of 128x128 it takes 211 MB, less than the 0.8 GB that ComfyUI always
    # keeps free.
    memory_usage_factor = 1.0
    clip_vision_prefix = IMAGE

    def process_vae_state_dict(self, state_dict):
        """As ComfyUI's Load Checkpoint passes it on, whose VAE has no place for ToonCrafter's pictures."""
        if is_tooncrafter(state_dict):
            logging.warning(
                "ComfyUI's loader leaves out what ToonCrafter's VAE reads of its two pictures; load the checkpoint with %s.", self.loaders
            )
        return super().process_vae_state_dict(state_dict)

    def process_unet_state_dict_for_saving(self, state_dict):
        """With the scales of the schedule, by which a file says which variant it is; the 256 model has its gates for that."""
        schedule = VARIANTS[self.unet_config["variant"]].schedule
        scales = {SCALES: schedule.scales().float()} if schedule.v else {}
        return super().process_unet_state_dict_for_saving(state_dict | scales)
