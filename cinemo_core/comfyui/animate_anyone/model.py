"""Animate Anyone as a ComfyUI model: frames as a batch, one row per clip for what all of its frames share.

The bank of the reference picture belongs to the positive conditioning. The negative has none, or that of an empty picture in the face
re-enactment set: a prediction sees what its own conditioning carries.
"""

import logging

import comfy.conds
import comfy.ldm.modules.attention
import comfy.model_base
import comfy.patcher_extension
import comfy.supported_models
import torch

from ...errors import ConditioningError, InputError, SamplingError
from ...models.animate_anyone.attention import Guides
from ...models.animate_anyone.config import AnimateAnyoneConfig
from ...models.animate_anyone.family import ANIMATE_ANYONE
from ...models.animate_anyone.keys import REFERENCE
from ...models.animate_anyone.unet import AnimateAnyoneUNet
from ...shapes import PIXELS_PER_LATENT, check_clip_latent
from ..description import FamilyDescription
from ..outcome import check_sampled
from ..rows import CONDClip, CONDRows, CONDText
from ..windows import frame_indices, pick_frames
from .conditioning import FIGURE_KEY, check_figure
from .reference import make_reference


class CONDPoses(CONDClip):
    """Pictures [1, guiders, f, 3, 8h, 8w], which follow areas of the latent."""

    def process_cond(self, batch_size, area=None, **kwargs):
        return super().process_cond(batch_size, area and [side * PIXELS_PER_LATENT for side in area], **kwargs)


class AnimateAnyoneNetwork(AnimateAnyoneUNet):
    """The UNet with ComfyUI's attention and wrappers."""

    def __init__(self, *, dtype, device, operations, **unet_config):
        config = AnimateAnyoneConfig.from_unet_config(unet_config)
        attention = comfy.ldm.modules.attention.optimized_attention
        super().__init__(config, attention=attention, dtype=dtype, device=device, operations=operations)

    def forward(  # type: ignore[override]  # the signature is the one that ComfyUI calls
        self, x, timesteps, context=None, y=None, control=None, transformer_options={}, **kwargs
    ):
        return comfy.patcher_extension.WrapperExecutor.new_class_executor(
            self._forward,
            self,
            comfy.patcher_extension.get_all_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, transformer_options),
        ).execute(x, timesteps, context, y, control, transformer_options, **kwargs)

    def _forward(self, x, timesteps, context, y=None, control=None, transformer_options={}, *, poses, bank=(), **kwargs):
        banked = dict(zip(self.config.attending_blocks, bank, strict=True)) if bank else {}
        guides = Guides(banked, self.guide(poses) if poses else None)
        return super().forward(x, timesteps, context, guides, control, transformer_options)


class AnimateAnyoneModel(comfy.model_base.BaseModel):
    """reference: the ModelPatcher of ReferenceNet, which is no part of what ComfyUI loads to sample."""

    def __init__(self, model_config, device=None):
        super().__init__(model_config, comfy.model_base.ModelType.V_PREDICTION, device=device, unet_model=AnimateAnyoneNetwork)
        self.reference = make_reference(model_config, device)

    @property
    def networks(self) -> torch.nn.Module:
        """All of them under the names that a checkpoint has."""
        whole = torch.nn.Module()
        for name, part in (*self.diffusion_model.named_children(), (REFERENCE.rstrip("."), self.reference.model)):
            whole.add_module(name, part)
        return whole

    def load_model_weights(self, sd, unet_prefix="", assign=False):
        weights = {name.removeprefix(unet_prefix): sd.pop(name) for name in list(sd) if name.startswith(unet_prefix)}
        weights = self.model_config.process_unet_state_dict(weights)
        missing, unexpected = self.networks.load_state_dict(weights, strict=False, assign=assign)
        if missing or unexpected:  # a loader of ComfyUI's that did not compare the names first
            logging.warning("The Animate Anyone checkpoint lacks %s and has the unknown %s.", missing, unexpected)
        return self

    def state_dict_for_saving(self, unet_state_dict, *args, **kwargs):
        reference = {REFERENCE + name: tensor for name, tensor in self.reference.model.state_dict().items()}
        return super().state_dict_for_saving(unet_state_dict | reference, *args, **kwargs)

    def extra_conds(self, **kwargs):
        figure = kwargs.get(FIGURE_KEY)
        if figure is None:
            raise ConditioningError(
                "An Animate Anyone model got a conditioning that has no poses; make positive and negative with Cinemo Animate Anyone "
                "Conditioning."
            )
        check_clip_latent(kwargs["noise"], ANIMATE_ANYONE.name, AnimateAnyoneSupported.conditioner)
        check_figure(figure, kwargs["noise"].shape, self.diffusion_model.config.pose_guiders)
        embeds, width = kwargs.get("cross_attn"), self.diffusion_model.config.context_dim
        if embeds is None or embeds.shape[0] != 1 or embeds.shape[-1] != width:
            raise InputError(
                f"The conditioning holds {'nothing' if embeds is None else list(embeds.shape)} for cross-attention, the model reads one "
                f"embedding of {width} channels; use that of Cinemo Animate Anyone Conditioning, without text or batches."
            )
        out = super().extra_conds(**kwargs)
        out["c_crossattn"] = CONDText(embeds)
        out.setdefault("crossattn_controlnet", comfy.conds.CONDCrossAttn(embeds))  # ControlNets take a row per frame
        device = kwargs["device"]
        out["poses"] = CONDPoses(figure.poses[None].to(device))  # 8-bit pictures: a third of the size of what the Pose Guider makes of them
        if figure.bank:
            out["bank"] = CONDRows([figure.bank[block].to(device) for block in self.diffusion_model.config.attending_blocks])
        return out

    def _apply_model(
        self, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options={}, crossattn_controlnet=None, *, poses, **kwargs
    ):
        clips, clip_frames = poses.shape[0], poses.shape[2]
        at_latent_size = poses[:, 0, 0, :, ::PIXELS_PER_LATENT, ::PIXELS_PER_LATENT]
        indices = list(frame_indices(x, clips, clip_frames, at_latent_size, transformer_options))
        positions = self.diffusion_model.config.positions
        if len(indices) > positions:
            raise SamplingError(
                f"The model was asked about {len(indices)} frames at once, its motion modules know {positions} positions; connect Cinemo "
                f"Animate Anyone Windows with windows of at most {positions} frames."
            )
        dtype = self.get_dtype_inference()
        clips_of_guiders = [pick_frames(part, indices) for part in poses.unbind(1)]  # guiders * [b f 3 8h 8w]
        pictures = [part.flatten(0, 1).to(dtype) / 255 for part in clips_of_guiders]
        return super()._apply_model(x, t, None, c_crossattn, control, transformer_options, poses=pictures, **kwargs)

    def process_latent_out(self, latent):
        """The last thing that ComfyUI does with a clip that any sampler has finished. Raises SamplingError if it holds no numbers."""
        check_sampled(self, latent)
        return super().process_latent_out(latent)


class AnimateAnyoneSupported(FamilyDescription, comfy.supported_models.SD15):
    """ComfyUI's description of the family: SD1.x's, with the names that it saves VAE under.

    True linear betas are what ComfyUI calls "sqrt_linear".
    """

    family = ANIMATE_ANYONE
    model_class = AnimateAnyoneModel
    loaders = "Cinemo Animate Anyone Loader"
    conditioner = "Cinemo Animate Anyone Conditioning"
    text_encoder = "no text encoder"

    unet_config: dict = {}
    unet_extra_config: dict = {}
    sampling_settings = {"beta_schedule": "sqrt_linear", "linear_start": 0.00085, "linear_end": 0.012, "zsnr": True}
    # Measured with tools/bench_network.py (memory, --size) on a CPU, at full size in fp32: an evaluation with a bank takes 2060 MB above
    # the weights for 24 frames of 384x512 and 890 MB for 24 of 256x256, and ComfyUI estimates 2783 and 928 MB for a GPU. It takes 486 MB
    # for 16 of 256x160 and 221 MB for 8 of 128x128, less than the 0.8 GB that ComfyUI always keeps free.
    memory_usage_factor = 0.9

    def networks(self, model: AnimateAnyoneModel) -> torch.nn.Module:
        return model.networks
