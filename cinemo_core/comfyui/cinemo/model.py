"""Cinemo as a ComfyUI model: frame space outside, motion residuals inside.

A ComfyUI sampler works on x = x0 + sigma * noise, and adding a constant to that commutes with every sampler. So this model
takes noisy frame latents, subtracts the first frame's z0, lets the network denoise the residual (paper sec. 3.1), adds z0
back and pins frame 0 to it. Samplers, masks, previews and patches see frames.
"""

import comfy.conds
import comfy.ldm.modules.attention
import comfy.model_base
import comfy.patcher_extension
import comfy.supported_models
import torch
from comfy.supported_models_base import ClipTarget

from ...errors import ConditioningError
from ...models.cinemo.config import CinemoConfig
from ...models.cinemo.family import CINEMO
from ...models.cinemo.unet import CinemoUNet
from ...shapes import check_clip_latent
from ..description import FamilyDescription
from ..outcome import check_sampled
from ..preview import ClipLatent
from ..rows import CONDClip, CONDRow
from ..text import set_text
from ..windows import frame_indices
from .conditioning import CLIP_KEY, check_clip

CLIP_L_WIDTH = 768
SD15_SETTINGS = {"image_size": 32, "use_spatial_transformer": True, "legacy": False}  # what SD1.x's networks take besides sizes


class CinemoNetwork(CinemoUNet):
    """The UNet with ComfyUI's attention and wrappers; adds z0 to the residuals that it is given."""

    def __init__(self, *, dtype, device, operations, **unet_config):
        config = CinemoConfig.from_unet_config(unet_config)
        attention = comfy.ldm.modules.attention.optimized_attention
        super().__init__(config, attention=attention, dtype=dtype, device=device, operations=operations)

    def forward(  # type: ignore[override]  # the signature is the one that ComfyUI calls
        self, x, timesteps, context=None, y=None, control=None, transformer_options={}, *, z0, motion_ids, **kwargs
    ):
        clips = z0.shape[0]
        x = x.unflatten(0, (clips, -1))
        x = torch.cat([z0[:, None], x[:, 1:] + z0[:, None]], dim=1).flatten(0, 1)
        return comfy.patcher_extension.WrapperExecutor.new_class_executor(
            self._forward,
            self,
            comfy.patcher_extension.get_all_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, transformer_options),
        ).execute(x, timesteps, context, y, control, transformer_options, motion_ids=motion_ids, **kwargs)

    def _forward(self, x, timesteps, context, y=None, control=None, transformer_options={}, *, motion_ids, **kwargs):
        return super().forward(x, timesteps, context, motion_ids, control, transformer_options)


class CinemoModel(comfy.model_base.BaseModel):
    pinned_frames = 1  # at the start of a clip, replaced by z0: read by `low_pass_noise`

    def __init__(self, model_config, device=None):
        super().__init__(model_config, comfy.model_base.ModelType.EPS, device=device, unet_model=CinemoNetwork)
        # From this description ComfyUI's Control-LoRA builds its ControlNet, which takes more than the sizes.
        self.model_config.unet_config = self.model_config.unet_config | SD15_SETTINGS

    def extra_conds(self, **kwargs):
        clip = kwargs.get(CLIP_KEY)
        if clip is None:
            raise ConditioningError(
                "A Cinemo model got a conditioning that does not say which image to animate; "
                "pass positive and negative through Cinemo Motion Conditioning before the sampler."
            )
        check_clip_latent(kwargs["noise"])
        check_clip(clip, kwargs["noise"].shape)
        out = super().extra_conds(**kwargs)
        z0 = self.process_latent_in(clip.z0).to(kwargs["device"])
        out["z0"] = CONDClip(z0)
        out["motion_ids"] = CONDRow(torch.tensor([clip.motion_id], device=z0.device))
        out["clip_frames"] = comfy.conds.CONDConstant(clip.frames)
        set_text(out, kwargs.get("cross_attn"), clip.frames, self.model_config.unet_config["context_dim"], CinemoSupported)
        return out

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
        z0,
        motion_ids,
        clip_frames,
        **kwargs,
    ):
        clips = z0.shape[0]
        z0 = z0.to(x)
        indices = frame_indices(x, clips, clip_frames, z0, transformer_options)
        frames = x.unflatten(0, (clips, -1))  # clips frames c h w
        residual = frames - z0[:, None]
        holds_first_frame = indices[0] == 0
        if not holds_first_frame:  # a window from the middle of a clip: the network still needs z0 as its frame 0
            residual = torch.cat([torch.zeros_like(residual[:, :1]), residual], dim=1)
            t = _repeat_first(t, clips)
            if c_crossattn.shape[0] > clips:
                c_crossattn = _repeat_first(c_crossattn, clips)
            if control is not None:
                control = {place: [None if r is None else _zero_first(r, *frames.shape[:2]) for r in rs] for place, rs in control.items()}

        denoised = super()._apply_model(
            residual.flatten(0, 1), t, c_concat, c_crossattn, control, transformer_options, z0=z0, motion_ids=motion_ids, **kwargs
        )
        denoised = denoised.unflatten(0, (clips, -1))[:, -frames.shape[1] :] + z0[:, None]
        for i, index in enumerate(indices):  # one by one: a list of indices would be copied to the GPU
            if index == 0:  # a looped window may hold it anywhere
                denoised[:, i] = z0
        return denoised.flatten(0, 1)

    def process_latent_out(self, latent):
        """The last thing that ComfyUI does with a clip that any sampler has finished. Raises SamplingError if it holds no numbers."""
        check_sampled(self, latent)
        return super().process_latent_out(latent)


class CinemoSupported(FamilyDescription, comfy.supported_models.SD15):
    """ComfyUI's description of the family: SD1.x's, with the names that it saves text encoder and VAE under.

    True linear betas 1e-4..0.02 are what ComfyUI calls "sqrt_linear".
    """

    family = CINEMO
    model_class = CinemoModel
    loaders = "Cinemo Model Loader or Cinemo Bundle Loader"
    conditioner = "Cinemo Motion Conditioning"
    text_encoder = "the CLIP of the same checkpoint (Stable Diffusion 1.x's CLIP ViT-L for the published one)"

    unet_config: dict = {}
    unet_extra_config: dict = {}
    sampling_settings = {"beta_schedule": "sqrt_linear", "linear_start": 1e-4, "linear_end": 0.02}
    latent_format = ClipLatent
    memory_usage_factor = 1.0

    def clip_target(self, state_dict={}) -> ClipTarget | None:
        """SD1.x's CLIP ViT-L; ComfyUI's checkpoint format does not tell the heads of a text encoder of another width."""
        return super().clip_target(state_dict) if self.unet_config["context_dim"] == CLIP_L_WIDTH else None


def _repeat_first(rows, clips):
    rows = rows.unflatten(0, (clips, -1))
    return torch.cat([rows[:, :1], rows], dim=1).flatten(0, 1)


def _zero_first(rows, clips, frames):
    rows = rows.expand(clips * frames, -1, -1, -1).unflatten(0, (clips, -1))  # a T2I-Adapter gives one row for all frames
    return torch.cat([torch.zeros_like(rows[:, :1]), rows], dim=1).flatten(0, 1)
