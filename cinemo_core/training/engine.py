"""A run's parts put together and given to accelerate, which places, spreads and scales them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from torch import Tensor, nn

from ..errors import InputError
from ..models.cinemo.schedule import alphas_cumprod
from . import checkpoints, frozen
from .config import Config
from .logs import LossLog, tracker
from .network import matrices, output_layers
from .optimiser import Slowed, make_ema, make_optimizers, make_schedule
from .precision import mixed_precision
from .start import make_networks
from .trainee import Trainee

SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON_LM")
PATIENCE = 6  # hours, of processes for one that still encodes clips; torch's own is ten minutes
WRAPPED = "module."  # what torch's data-parallel wrapper puts before every name


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
    """accelerate, as it was configured. Raises InputError for what the run's configuration does not go with."""
    import accelerate

    name = tracker()
    precision = mixed_precision(config.run.precision)
    if config.optimizer.muon_rate and precision == "fp16":
        # accelerate's gradient scaler moves on after the first of two optimisers
        raise InputError(
            'optimizer.muon_rate is set, but fp16 scales gradients for one optimiser only; set run.precision = "bf16" or "no".'
        )
    try:
        accelerator = accelerate.Accelerator(
            mixed_precision=precision,
            gradient_accumulation_steps=config.run.accumulation,
            log_with=name,
            project_dir=str(config.output),
            step_scheduler_with_optimizer=False,
            kwargs_handlers=[accelerate.InitProcessGroupKwargs(timeout=timedelta(hours=PATIENCE))],
        )
    except ValueError as error:  # such as a precision that the device does not have
        raise InputError(f"accelerate refuses to start ({error}); change run.precision, or accelerate's configuration.") from error
    if accelerator.gradient_accumulation_steps != config.run.accumulation:
        raise InputError(
            f"accelerate is configured to accumulate {accelerator.gradient_accumulation_steps} batches, run.accumulation is "
            f"{config.run.accumulation}; give both the same number."
        )
    if plugin := accelerator.state.deepspeed_plugin:
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = config.run.batch
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
    options = config.optimizer
    slowed = [Slowed(layer, options.output_rate) for layer in output_layers(unet)] + [Slowed(text_encoder, options.text_rate)]
    optimizers = make_optimizers(options, trainee, accelerator.device, slowed, matrices(unet))
    schedules = [make_schedule(options, optimizer, config.run.steps) for optimizer in optimizers]
    progress = checkpoints.Progress()
    prepared, *optimizers = accelerator.prepare(trainee, *optimizers)
    parameters = [p for p in prepared.parameters() if p.requires_grad]  # FSDP has put others in their places
    ema = make_ema(options.ema, parameters, accelerator)
    accelerator.register_for_checkpointing(progress, *schedules, *([ema] if ema else []))

    frozen_names = {name for name, parameter in trainee.named_parameters() if not parameter.requires_grad}
    accelerator.register_save_state_pre_hook(lambda models, weights, folder: keep_trained(weights, frozen_names))
    accelerator.register_load_state_pre_hook(lambda models, folder: unwrap(accelerator, models))
    if found := checkpoints.find_checkpoints(config.output):
        accelerator.load_state(str(found[-1]), **({"strict": False} if frozen_names else {}))
        if ema:
            ema.to(accelerator.device)  # accelerate reads what it does not know to the CPU
        logging.info("Going on from %s", found[-1])
    log = LossLog(config.output)
    alphas = alphas_cumprod().to(accelerator.device)
    return Run(
        config, accelerator, trainee, text_encoder, vae, tokenizer, prepared, optimizers, schedules, parameters, ema, progress, log, alphas
    )


def keep_trained(weights: list[dict[str, Tensor]], frozen_names: set[str]) -> None:
    """Let a checkpoint hold what trains, under names that do not depend on the number of processes.

    That of a LoRA need not hold the UNet that it adapts.
    """
    for i, state_dict in enumerate(weights):
        plain = {name.removeprefix(WRAPPED): tensor for name, tensor in state_dict.items()}
        weights[i] = {name: tensor for name, tensor in plain.items() if name not in frozen_names}


def unwrap(accelerator: Any, models: list[Any]) -> None:
    """Let a checkpoint be read into the networks themselves, whose names it has."""
    models[:] = [accelerator.unwrap_model(model) for model in models]
