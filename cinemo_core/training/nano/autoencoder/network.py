"""The autoencoder in training, and as it is written: its latents scaled as those of Stable Diffusion 1.x."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....files.mode import allow_others
from ....models.temporal_vae.keys import VAEConfig
from ...export import UNET_WEIGHTS as WEIGHTS
from ...export import replace_folder
from ...frozen import SCALING_FACTOR
from ...seeds import number

PATCH = 8  # pixels to a latent, each way
# What a channel of Stable Diffusion 1.x's latents, at unit deviation, adds to red, green and blue: ComfyUI's previews are drawn by it.
RGB_OF_LATENT = ((0.3512, 0.2297, 0.3227), (0.3250, 0.4974, 0.2350), (-0.2829, 0.1762, 0.2721), (-0.2120, -0.2616, -0.7177))


class Autoencoder(nn.Module):
    """diffusers' AutoencoderKL and its loss. The two 1x1 convolutions around the latent are left as identities: they only scale.

    Group norms take the mean of whole pictures out, and a small network without help comes back grey. So the mean colour of
    every patch is asked for twice: in what is decoded, and in the latent itself, as the previews of SD 1.x read it.

    What a small diffusion model samples keeps some noise, of which a decoder that never saw any makes dark blobs. So each
    picture's latent gets noise of a level of its own, between nothing and `latent_noise`.
    """

    def __init__(self, vae: Any, edges: float, colours: float, kl: float, latent_noise: float) -> None:
        super().__init__()
        self.vae, self.edges, self.colours, self.kl, self.latent_noise = vae, edges, colours, kl, latent_noise
        self.register_buffer("rgb_of_latent", torch.tensor(RGB_OF_LATENT), persistent=False)

    def forward(self, pictures: Tensor, noise: Tensor, levels: Tensor) -> dict[str, Tensor]:
        """pictures: [b, 3, h, w] in -1..1; noise: [b, 4, h / 8, w / 8]; levels: [b] in 0..1, of the most noise that a latent gets.

        Gives the loss and what it is made of.
        """
        latent = self.vae.encode(pictures).latent_dist
        # In the latents' own measure, so that they cannot outgrow it.
        added = self.latent_noise * levels.view(-1, 1, 1, 1) * latent.mean.std()
        error = self.vae.decode(latent.mean + (latent.std.square() + added.square()).sqrt() * noise).sample.float() - pictures
        mean, logvar = latent.mean.float(), latent.logvar.float()
        preview = torch.einsum("bchw,cr->brhw", mean, self.rgb_of_latent)
        decoded_colours, latent_colours = F.avg_pool2d(error, PATCH), preview - F.avg_pool2d(pictures, PATCH)
        squared, kl = error.square().mean(), 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        loss = size(error) + self.edges * edges + self.colours * (size(decoded_colours) + size(latent_colours)) + self.kl * kl
        return {"loss": loss, "squared": squared.detach(), "kl": kl.detach()}


def size(error: Tensor) -> Tensor:
    """Mean absolute and mean squared error together: the first keeps edges, the second colours."""
    return error.abs().mean() + error.square().mean()


def make_vae(config: VAEConfig, seed: int) -> Any:
    """diffusers' AutoencoderKL with its own initial weights; its 1x1 convolutions are identities and do not train."""
    from diffusers import AutoencoderKL

    levels = len(config.widths)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number(seed, "autoencoder"))
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=config.widths,
            layers_per_block=config.num_res_blocks,
            latent_channels=config.latent_channels,
        )
    set_scale(vae, 1.0)
    for layer in (vae.quant_conv, vae.post_quant_conv):
        layer.requires_grad_(False)
    return vae


@torch.no_grad()
def set_scale(vae: Any, scale: float) -> None:
    """Make the latents `scale` times as large for everyone outside: the 1x1 convolutions multiply and divide by it."""
    channels = vae.config.latent_channels
    into, out_of = torch.eye(2 * channels), torch.eye(channels)
    into[:channels] *= scale
    for layer, matrix in ((vae.quant_conv, into), (vae.post_quant_conv, out_of / scale)):
        layer.weight.copy_(matrix[:, :, None, None])
        layer.bias.zero_()
    vae.quant_conv.bias[channels:] += 2 * torch.tensor(scale).log()  # the log-variance grows with the square


@torch.no_grad()
def measure_scale(vae: Any, pictures: Tensor) -> float:
    """The factor that gives latents a standard deviation of 1 / SCALING_FACTOR, as Stable Diffusion 1.x's have."""
    return 1 / (SCALING_FACTOR * vae.encode(pictures).latent_dist.mean.float().std().item())


def write_vae(vae: Any, folder: Path, dtype: torch.dtype) -> None:
    """Write the folder, weights and config.json, in place of an earlier one; it appears when it is whole."""
    from safetensors.torch import save_file

    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in vae.state_dict().items()}
    save_file(weights, partial / WEIGHTS, metadata={"format": "pt"})
    allow_others(partial / WEIGHTS)
    kept = ("act_fn", "block_out_channels", "in_channels", "latent_channels", "layers_per_block", "norm_num_groups", "out_channels")
    config = {"_class_name": "AutoencoderKL"} | {name: vae.config[name] for name in kept} | {"scaling_factor": SCALING_FACTOR}
    (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    replace_folder(partial, folder)


def psnr(squared: float) -> float:
    """In dB, for values in -1..1."""
    return -10 * math.log10(squared / 4)


def side_by_side(pictures: Tensor, decoded: Tensor) -> Any:
    """Pictures [b, 3, h, w] in -1..1 above their reconstructions, as a PIL image."""
    from PIL import Image

    rows = torch.cat([torch.cat([*F.pad(part, (1, 1, 1, 1), value=1.0)], dim=2) for part in (pictures, decoded)], dim=1)
    return Image.fromarray(((rows.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy())
