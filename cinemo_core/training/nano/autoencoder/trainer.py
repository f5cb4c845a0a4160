"""The run: views of scenes by position, so that a run resumes exactly; accelerate places and scales it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...batches import Positions
from ...checkpoints import Progress, find_checkpoints, remove_partial, save_checkpoint
from ...logs import LossLog, check_loss
from ...optimiser import make_ema, make_optimizer, make_schedule
from ...precision import mixed_precision
from ...prepare import progress_bar
from ...seeds import number
from ..procedural import TRAINING_SEEDS, render_stills
from ..procedural.textures import read_photographs
from .config import AutoencoderConfig, Pictures
from .network import Autoencoder, make_vae, measure_scale, psnr, set_scale, side_by_side, write_vae

VIEWS = 2  # of each scene
MEASURED = 64  # scenes that the scale of the latents is measured on
SHOWN = 16


class Views(Dataset):
    """VIEWS pictures of the scene of a position, uint8 [VIEWS, 3, h, w], the noise that their latents get, and its levels in 0..1."""

    def __init__(self, options: Pictures, photographs: Sequence[Tensor], seed: int) -> None:
        self.options, self.photographs, self.seed = options, photographs, seed

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor, Tensor]:
        options = self.options
        scene = number(options.seed, "view", position) % TRAINING_SEEDS
        pictures = render_stills(scene, options.width, options.height, VIEWS, self.photographs)
        generator = torch.Generator().manual_seed(number(self.seed, "noise", position))
        noise = torch.randn(VIEWS, 4, options.height // 8, options.width // 8, generator=generator)
        return pictures, noise, torch.rand(VIEWS, generator=generator)


def train(config: AutoencoderConfig) -> Path:
    """Train, from the last checkpoint if there is one, and write the folder `vae` into the output. Returns that folder.

    Raises InputError or CheckpointError, before the first step, for anything that does not fit.
    """
    from accelerate import Accelerator

    options = config.run
    accelerator = Accelerator(mixed_precision=mixed_precision(options.precision), step_scheduler_with_optimizer=False)
    if accelerator.is_main_process:
        config.output.mkdir(parents=True, exist_ok=True)
        remove_partial(config.output)
    accelerator.wait_for_everyone()
    vae = make_vae(config.model.config, options.seed)
    network = Autoencoder(vae, config.loss.edges, config.loss.colours, config.loss.kl, config.loss.latent_noise)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = make_optimizer(config.optimizer, network, accelerator.device)
    schedule, progress = make_schedule(config.optimizer, optimizer, options.steps), Progress()
    prepared, optimizer = accelerator.prepare(network, optimizer)
    ema = make_ema(config.optimizer.ema, parameters, accelerator)
    accelerator.register_for_checkpointing(progress, schedule, *([ema] if ema else []))
    if found := find_checkpoints(config.output):
        accelerator.load_state(str(found[-1]))
    log = LossLog(config.output)
    log.resume(progress.step)

    scenes = options.batch // VIEWS
    per_step = scenes * accelerator.num_processes
    positions = Positions(progress.position, progress.position + (options.steps - progress.step) * per_step)
    photographs = read_photographs(Path(config.data.photographs)) if config.data.photographs else ()
    loader = DataLoader(Views(config.data, photographs, options.seed), scenes, sampler=positions, num_workers=config.data.workers)
    with progress_bar(accelerator, options.steps, "Training the autoencoder", progress.step) as bar:
        for pictures, noise, levels in accelerator.prepare_data_loader(loader):
            pictures = pictures.flatten(0, 1).float() / 127.5 - 1
            out = prepared(pictures, noise.flatten(0, 1), levels.flatten())
            accelerator.backward(out["loss"])
            accelerator.clip_grad_norm_(parameters, config.optimizer.clip_norm or float("inf"))
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            if ema:
                ema.step(parameters)
            progress.step, progress.position = progress.step + 1, progress.position + per_step
            bar.update()
            if progress.step % options.log_every == 0:
                loss, squared, kl = (accelerator.reduce(out[name], "mean").item() for name in ("loss", "squared", "kl"))
                check_loss(loss, progress.step)
                bar.set_postfix(loss=f"{loss:.3f}", psnr=f"{psnr(squared):.1f}", refresh=False)
                if accelerator.is_main_process:
                    log.add(step=progress.step, loss=loss, psnr=psnr(squared), kl=kl)
            if progress.step % options.checkpoint_every == 0 or progress.step == options.steps:
                save_checkpoint(accelerator, config.output, progress.step, options.keep)

    if ema:
        ema.copy_to(parameters)
    folder = config.output / "vae"
    if accelerator.is_main_process:
        finish(vae, config, photographs, accelerator.device, folder)
    accelerator.wait_for_everyone()
    return folder


@torch.no_grad()
def finish(vae: Any, config: AutoencoderConfig, photographs: Sequence[Tensor], device: torch.device, folder: Path) -> None:
    """Scale the latents, write the folder, and next to it a picture of what comes back of scenes that were not trained on."""
    vae.eval()
    width, height = config.data.width, config.data.height
    views = [render_stills(TRAINING_SEEDS + i, width, height, VIEWS, photographs) for i in range(MEASURED)]
    pictures = torch.cat(views).to(device).float() / 127.5 - 1
    set_scale(vae, measure_scale(vae, pictures))
    write_vae(vae, folder, torch.float16)
    decoded = vae.decode(vae.encode(pictures[:SHOWN]).latent_dist.mode()).sample
    side_by_side(pictures[:SHOWN], decoded).save(config.output / "reconstructions.png")
