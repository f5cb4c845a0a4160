"""Trains nano's autoencoder on real pictures at mixed sizes: python -m cinemo_core.training.nano.sharp_autoencoder CONFIG.toml

Starts from a smaller autoencoder, grown to the widths that are asked for. Its latents learn to move as pictures move: those of
a picture, shifted by parts of a latent or scaled, are to decode to the shifted or scaled picture (arXiv 2502.09509).
"""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import CinemoError
from ...files.checkpoint import read_state_dict
from ...files.folder import find_weights
from ...media.pictures import cover
from ..config import Optimizer, key, read_toml
from ..group_norm import use_fast_norms
from ..optimiser import make_optimizer
from ..seeds import number
from .autoencoder.config import Network
from .autoencoder.network import PATCH, RGB_OF_LATENT, make_vae, measure_scale, psnr, set_scale, side_by_side, write_vae
from .grow import grow
from .library import Item, Library
from .loop import LoopRun, make_accelerator, make_loop
from .views import ViewBatches, Views

MEASURED_AT = 192
SHOWN = 12


@dataclass(frozen=True)
class Losses:
    """Weights of what is added to absolute and root mean squared error; latent_noise as in the smaller autoencoder's.

    moves: of how far a moved latent is from the latent of the moved picture, as a share of the latents' variance.
    """

    edges: float = key(0.5, low=0.0)
    colours: float = key(0.3, low=0.0)
    preview: float = key(0.1, low=0.0)
    kl: float = key(1e-3, low=0.0)
    moves: float = key(0.2, low=0.0)
    latent_noise: float = key(0.4, low=0.0, high=1.0)


@dataclass(frozen=True)
class SharpRun(LoopRun):
    """pixels: of the pictures of a step together."""

    pixels: int = key(65536, low=4096)


@dataclass(frozen=True)
class SharpConfig:
    """A whole run. library: folder of decoded template pictures; start: a diffusers VAE folder.

    decoder_only: the encoder stays, and with it the latents, so a UNet that was trained on them fits as before.
    """

    run: SharpRun
    library: str = key(path=True)
    start: str = key(path=True)
    decoder_only: bool = key(False)
    model: Network = field(default_factory=Network)
    loss: Losses = Losses()
    optimizer: Optimizer = field(default_factory=Optimizer)


class Equivariant(nn.Module):
    """The autoencoder and its loss."""

    def __init__(self, vae: Any, losses: Losses, decoder_only: bool = False) -> None:
        super().__init__()
        self.vae, self.losses, self.decoder_only = vae, losses, decoder_only
        fixed = (vae.quant_conv, vae.post_quant_conv, *([vae.encoder] if decoder_only else []))
        for part in fixed:
            part.requires_grad_(False)
        self.register_buffer("rgb_of_latent", torch.tensor(RGB_OF_LATENT), persistent=False)

    def forward(self, views: Views) -> dict[str, Tensor]:
        losses = self.losses
        pictures, wanted = (as_input(part) for part in (views.pictures, views.wanted))
        latent = self.vae.encode(pictures).latent_dist
        mean, logvar = latent.mean.float(), latent.logvar.float()
        moved, variance, apart = mean, logvar.exp(), mean.new_zeros(())
        if views.grid is not None:
            moved, variance = move(mean, views.grid), F.interpolate(variance, size=views.grid.shape[1:3], mode="nearest")
        if views.grid is not None and not self.decoder_only:
            apart = (moved - self.vae.encode(wanted).latent_dist.mean.float()).square().mean() / mean.detach().var()
        # Of a level of its own, mostly low; in the latents' own measure, so that they cannot outgrow it.
        added = losses.latent_noise * views.levels.square().view(-1, 1, 1, 1) * mean.std()
        decoded = self.vae.decode(moved + (variance + added.square()).sqrt() * views.noise).sample.float()
        error = decoded - wanted
        squared = error.square().mean(dim=(1, 2, 3))
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        colours = F.avg_pool2d(error, PATCH).abs().mean()
        loss = error.abs().mean() + squared.sqrt().mean() + losses.edges * edges + losses.colours * colours
        if not self.decoder_only:
            preview = torch.einsum("bchw,cr->brhw", mean, self.rgb_of_latent) - F.avg_pool2d(pictures, PATCH)
            kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
            loss = loss + losses.preview * preview.square().mean() + losses.kl * kl + losses.moves * apart
        return {"loss": loss, "apart": apart.detach(), "psnr": (-10 * (squared.detach() / 4).log10()).mean()}


def move(latents: Tensor, grid: Tensor) -> Tensor:
    """Latents at other places, between their own by cubic interpolation."""
    return F.grid_sample(latents, grid, mode="bicubic", padding_mode="border", align_corners=False)


def as_input(pictures: Tensor) -> Tensor:
    return (pictures.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def start_vae(config: SharpConfig) -> Any:
    """A VAE of the configured widths that does what the one to start from does, its latents of unit deviation."""
    vae = make_vae(config.model.config, config.run.seed)
    weights = dict(read_state_dict(find_weights(Path(config.start))))
    grow(vae, weights, torch.Generator().manual_seed(number(config.run.seed, "grow")))
    return vae


def train(config: SharpConfig) -> bool:
    """Train, from the last checkpoint if there is one; write the folder `vae` when finished. Returns whether it is."""
    options = config.run
    accelerator = make_accelerator(options)
    library = Library(Path(config.library))
    vae = start_vae(config)
    use_fast_norms(vae)
    vae = vae.to(memory_format=torch.channels_last)
    network = Equivariant(vae, config.loss, config.decoder_only)
    loop = make_loop(options, config.optimizer, accelerator, network, [make_optimizer(config.optimizer, network, accelerator.device)])

    def look() -> dict[str, Any]:
        with accelerator.autocast():
            value, shown = held_out_psnr(vae, library.held_out_stills)
        shown.save(loop.output / f"held-out-{loop.progress.step:06}.png")
        return {"held_out_psnr": value}

    if not loop.run(ViewBatches(library.training, options.pixels, options.seed), loop.prepared, look):
        return False
    if loop.ema:
        loop.ema.copy_to(loop.parameters)
    finish(vae, library, loop.output, rescale=not config.decoder_only)
    return True


@torch.no_grad()
def finish(vae: Any, library: Library, output: Path, rescale: bool) -> None:
    """Scale the latents, write the folder `vae`, and then how good it is."""
    if rescale:
        stills = torch.stack([cover(picture(item), MEASURED_AT, MEASURED_AT) for item in library.training if item.frames == 1][:64])
        set_scale(vae, measure_scale(vae, as_input(stills)))
    write_vae(vae.to(memory_format=torch.contiguous_format), output / "vae", torch.float16)
    (output / "finished.json").write_text(json.dumps({"held_out_psnr": held_out_psnr(vae, library.held_out_stills)[0]}) + "\n")


@torch.no_grad()
def held_out_psnr(vae: Any, items: list[Item], at_once: int = 8) -> tuple[float, Any]:
    """Mean over the stills of the PSNR of what comes back of them, in dB, and some of them above what came back."""
    stills = torch.stack([cover(picture(item), MEASURED_AT, MEASURED_AT) for item in items])
    values, shown = [], []
    for part in stills.split(at_once):
        pictures = as_input(part)
        decoded = vae.decode(vae.encode(pictures).latent_dist.mode()).sample.float().clamp(-1, 1)
        values += [psnr(squared) for squared in (decoded - pictures).square().mean(dim=(1, 2, 3)).tolist()]
        shown.append(torch.stack([pictures, decoded]))
    before, after = torch.cat(shown, dim=1)
    return sum(values) / len(values), side_by_side(before[:SHOWN], after[:SHOWN])


def picture(item: Item) -> Any:
    from PIL import Image

    return Image.fromarray(item.pixels[0])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cinemo_core.training.nano.sharp_autoencoder", description="Train nano's autoencoder.")
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="what to train: pictures, start, widths, steps")
    try:
        train(read_toml(parser.parse_args(arguments).config, SharpConfig))
    except (CinemoError, OSError) as error:
        print(f"autoencoder: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
