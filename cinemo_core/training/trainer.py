"""The training run, from the configuration to the exported checkpoint."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..errors import InputError
from . import checkpoints, export, frozen, objective, text, validation
from .batches import Batch, Collate, Examples, Positions
from .clips import BadClips
from .config import Config
from .engine import Run, make_accelerator, make_run
from .logs import check_loss, check_weights, show_images
from .lora import write_lora
from .prepare import BAD_CLIPS, prepare_clips, progress_bar
from .start import lora_alpha, share_with_start

LORA_NAME = "cinemo_lora.safetensors"


def train(config: Config) -> bool:
    """Train, from the last checkpoint in the output folder if there is one, and export. Returns whether the run is finished.

    Raises InputError or CheckpointError, before the first step, for anything that does not fit.
    """
    accelerator = make_accelerator(config)
    target = export_folder(config)
    pictures = validation.read_cases(config)
    if accelerator.is_main_process:
        checkpoints.claim_output(config)
        checkpoints.remove_partial(config.output)
    accelerator.wait_for_everyone()

    vae = frozen.load_vae(Path(config.model.vae)).to(accelerator.device)
    run = make_run(config, accelerator, vae, frozen.Tokenizer(config.model.tokenizer))
    clips = prepare_clips(config, accelerator, vae)
    if accelerator.is_main_process:
        run.log.resume(run.progress.step)

    progress, options = run.progress, config.run
    with stop_signals() as stop, progress_bar(accelerator, options.steps, "Training", progress.step) as bar:
        for losses in steps(run, clips):
            if run.ema:
                run.ema.step(run.parameters)
            if progress.step % options.log_every == 0:
                report(run, losses.mean(), bar)
            bar.update()
            last, stopped = progress.step == options.steps, asked_to_stop(accelerator, stop)
            if stopped or last or progress.step % options.checkpoint_every == 0:
                check_weights(run.parameters, progress.step)
                checkpoints.save_checkpoint(accelerator, config.output, progress.step, options.keep)
            if pictures and (last or progress.step % config.validation.every == 0):
                look(run, pictures)
            if stopped and not last:
                logging.warning("Stopped and saved at step %d; run the same command to resume.", progress.step)
                log_bad_clips(run)
                return False

    log_bad_clips(run)
    write_export(run, target)
    accelerator.end_training()
    return True


def export_last(config: Config) -> None:
    """Export the last checkpoint of a run, which may be under way meanwhile. Raises InputError if it has none."""
    if not checkpoints.find_checkpoints(config.output):
        raise InputError(f"{config.output} holds no checkpoint yet; train until run.checkpoint_every steps are done.")
    accelerator = make_accelerator(config)
    target = export_folder(config)
    checkpoints.check_same(config)
    run = make_run(config, accelerator, None, frozen.Tokenizer(config.model.tokenizer))
    write_export(run, target)


def export_folder(config: Config) -> Path:
    """Where the export goes. Raises InputError if something else is there, or a part that belongs in it is missing."""
    if decoder := config.model.vae_temporal_decoder:
        frozen.check_temporal(Path(decoder))
    folder = Path(config.export.folder) if config.export.folder else config.output / "export"
    export.check_target(folder, LORA_NAME if config.model.lora_rank else export.INDEX)
    return folder


def steps(run: Run, clips: Any) -> Iterator[Tensor]:
    """Take the optimiser steps that are left; gives the losses of each one's batches, on the device."""
    config, accelerator, progress = run.config, run.accelerator, run.progress
    per_step = config.run.batch * config.run.accumulation * accelerator.num_processes
    end = progress.position + (config.run.steps - progress.step) * per_step
    size = (config.data.frames, 4, config.data.height // 8, config.data.width // 8)
    loader = DataLoader(
        Examples(clips, config.objective, size, config.run.seed, end),
        batch_size=config.run.batch,
        sampler=Positions(progress.position, end),
        collate_fn=Collate(run.tokenizer),
        num_workers=config.data.workers,
        pin_memory=accelerator.device.type == "cuda",
    )
    losses: list[Tensor] = []
    for batch in accelerator.prepare_data_loader(loader):
        with accelerator.accumulate(run.prepared):
            loss = run.prepared(**inputs(run, batch))
            losses.append(loss.detach())
            accelerator.backward(loss)
            if accelerator.sync_gradients and config.optimizer.clip_norm:
                accelerator.clip_grad_norm_(run.parameters, config.optimizer.clip_norm)
            for optimizer in run.optimizers:
                optimizer.step()
                optimizer.zero_grad()
        if accelerator.sync_gradients:
            for schedule in run.schedules:
                schedule.step()
            progress.step += 1
            progress.position += per_step
            yield torch.stack(losses)
            losses = []


def inputs(run: Run, batch: Batch) -> dict[str, Tensor]:
    """The arguments of `Trainee.forward` for a batch."""
    latents = batch.clip
    if latents.dtype == torch.uint8:
        latents = frozen.encode(run.vae, latents.flatten(0, 1)).unflatten(0, latents.shape[:2])
    options = run.config.objective
    alphas = run.alphas[batch.timesteps]
    noisy = objective.add_noise(latents, batch.noise, alphas, options.prediction)
    context = batch.tokens
    if not run.trains_text:
        with torch.no_grad():
            context = text.encode(run.text_encoder, batch.tokens)
    return {
        "frames": noisy.frames,
        "noise": noisy.noise,
        "timesteps": batch.timesteps,
        "motion_ids": batch.motion_ids,
        "text_input": context,
        "weights": objective.loss_weights(alphas, options.min_snr_gamma, options.snr_power),
    }


def report(run: Run, loss: Tensor, bar: Any) -> None:
    """Write the mean loss of a step's batches in all processes. Raises InputError if it is not finite."""
    step, rate = run.progress.step, run.schedules[0].get_last_lr()[0]
    value = run.accelerator.reduce(loss, "mean").item()
    check_loss(value, step)
    bar.set_postfix(loss=f"{value:.4f}", refresh=False)
    run.accelerator.log({"loss": value, "learning_rate": rate}, step=step)
    if run.accelerator.is_main_process:
        run.log.add(step=step, loss=value, learning_rate=rate)


def look(run: Run, pictures: list[validation.Picture]) -> None:
    """Write the contact sheet of the validation pictures, animated by the averaged weights."""
    if run.accelerator.is_main_process:
        with run.averaged():
            clips = validation.animate(pictures, run.trainee.unet, run.text_encoder, run.vae, run.tokenizer, run.config)
        sheet = validation.contact_sheet(clips, [f"{picture.bucket}: {picture.caption}" for picture in pictures])
        validation.write_sheet(sheet, run.config.output / "validation" / f"step-{run.progress.step:08}.png")
        show_images(run.accelerator, "validation", sheet, run.progress.step)
    run.accelerator.wait_for_everyone()


def log_bad_clips(run: Run) -> None:
    """How many clips could not be used, where that was not reported when the cache was made."""
    if run.accelerator.is_main_process and not run.config.data.cache:
        BadClips(run.config.output / BAD_CLIPS).log_count()


def write_export(run: Run, target: Path) -> None:
    """Write the averaged weights as a checkpoint folder, or as a LoRA file in it. All processes call this together."""
    model, dtype = run.config.model, run.config.export.dtype
    with run.averaged():
        weights = run.accelerator.get_state_dict(run.prepared)
        if not run.accelerator.is_main_process:
            return
        unet = {name.removeprefix("unet."): tensor for name, tensor in weights.items() if name.startswith("unet.")}
        if model.lora_rank:
            write_lora(target / LORA_NAME, unet, model.lora_rank, lora_alpha(run.config), export.DTYPES[dtype])
        else:
            encoder = {k.removeprefix("text_encoder."): v for k, v in weights.items() if k.startswith("text_encoder.")}
            encoder = encoder or run.text_encoder.state_dict()
            if run.config.export.start_share:
                unet, encoder = share_with_start(run.config, unet, encoder)
            parts = {"vae": model.vae, "vae_temporal_decoder": model.vae_temporal_decoder}
            vaes = {name: Path(folder) for name, folder in parts.items() if folder}
            sizes, prediction = run.trainee.unet.config, run.config.objective.prediction
            export.write_checkpoint(target, unet, sizes, encoder, run.text_encoder.config, vaes, dtype, prediction)
    logging.info("Exported %s", target)


class Stop:
    """Set by SIGTERM or Ctrl-C: the step under way is finished and saved. A second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, *_: Any) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Turn SIGTERM and Ctrl-C into a wish to stop."""
    stop = Stop()
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def asked_to_stop(accelerator: Any, stop: Stop) -> bool:
    """Whether any process was; all give the same answer."""
    if accelerator.num_processes == 1:
        return stop.asked
    if stop.asked:
        accelerator.set_trigger()
    return accelerator.check_trigger()
