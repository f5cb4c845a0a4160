"""A run's parts put together and given to accelerate, which places, spreads and scales them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import InputError
from ..schedule import alphas_cumprod
from . import checkpoints, frozen
from .config import Config
from .logs import LossLog, tracker
from .network import matrices, output_layers
from .optimiser import Slowed, make_ema, make_optimizers, make_schedule
from .precision import mixed_precision
from .start import make_networks
from .trainee import Trainee

SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON_LM")


@dataclass
class Run:
    """What the steps of a run use. trainee: the networks as they are; prepared: the same, as accelerate runs them.

    parameters: those that train. ema: their moving average, or None. alphas: product of (1 - beta) per timestep, [1000].
    """

    config: Config
    accelerator: Any
    trainee: Trainee
    text_encoder: Any
    vae: Any
    tokenizer: frozen.Tokenizer
    prepared: Any
    optimizers: list[Any]
    schedules: list[Any]
    parameters: list[nn.Parameter]
    ema: Any
    progress: checkpoints.Progress
    log: LossLog
    alphas: Tensor

    @property
    def trains_text(self) -> bool:
        return self.config.model.train_text_encoder

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """With the averaged weights in place of the trained ones."""
        if self.ema:
            self.ema.store(self.parameters)
            self.ema.copy_to(self.parameters)
        try:
            yield
        finally:
            if self.ema:
                self.ema.restore(self.parameters)


def make_accelerator(config: Config) -> Any:
    import accelerate

    name = tracker()
    accelerator = accelerate.Accelerator(
        mixed_precision=mixed_precision(config.run.precision),
        gradient_accumulation_steps=config.run.accumulation,
        log_with=name,
        project_dir=str(config.output),
        step_scheduler_with_optimizer=False,
    )
    sharded = str(accelerator.distributed_type).rpartition(".")[2] in SHARDED
    if sharded and config.optimizer.muon_rate:
        raise InputError("optimizer.muon_rate is set, but FSDP and DeepSpeed cut the matrices in pieces; set optimizer.muon_rate = 0.")
    if sharded and config.validation.cases:
        raise InputError(
            "validation.cases needs the whole network in each process, but FSDP and DeepSpeed spread it; "
            "leave it empty, and look at exports."
        )
    if name:
        accelerator.init_trackers("tensorboard")
    return accelerator


def make_run(config: Config, accelerator: Any, vae: Any, tokenizer: frozen.Tokenizer) -> Run:
    """Everything that trains, gone on from the last checkpoint if there is one. Raises InputError or CheckpointError."""
    unet, text_encoder = make_networks(config)
    text_encoder.to(accelerator.device)
    trainee = Trainee(unet, text_encoder if config.model.train_text_encoder else None)
    parameters = [p for p in trainee.parameters() if p.requires_grad]
    options = config.optimizer
    slowed = [Slowed(layer, options.output_rate) for layer in output_layers(unet)] + [Slowed(text_encoder, options.text_rate)]
    optimizers = make_optimizers(options, trainee, accelerator.device, slowed, matrices(unet))
    schedules = [make_schedule(options, optimizer, config.run.steps) for optimizer in optimizers]
    progress = checkpoints.Progress()
    prepared, *optimizers = accelerator.prepare(trainee, *optimizers)
    ema = make_ema(options.ema, parameters, accelerator)
    accelerator.register_for_checkpointing(progress, *schedules, *([ema] if ema else []))

    frozen_names = {name for name, parameter in trainee.named_parameters() if not parameter.requires_grad}
    if frozen_names:  # a checkpoint of a LoRA need not hold the UNet that it adapts
        accelerator.register_save_state_pre_hook(lambda models, weights, folder: drop(weights, frozen_names))
    if found := checkpoints.find_checkpoints(config.output):
        accelerator.load_state(str(found[-1]), **({"strict": False} if frozen_names else {}))
        logging.info("Going on from %s", found[-1])
    log = LossLog(config.output)
    alphas = alphas_cumprod().to(accelerator.device)
    return Run(
        config, accelerator, trainee, text_encoder, vae, tokenizer, prepared, optimizers, schedules, parameters, ema, progress, log, alphas
    )


def drop(weights: list[dict[str, Tensor]], names: set[str]) -> None:
    for state_dict in weights:
        for name in names:
            state_dict.pop(name, None)
