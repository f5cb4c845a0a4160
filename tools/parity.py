"""Compares the network, on ComfyUI's operations, with recorded outputs of the official code.

    python dev.py parity WEIGHTS.safetensors CASES.safetensors

CASES holds, per case N: N.sample [b, 4, f, h, w] (noisy residual), N.base_content [b, 4, 1, h, w] (z0), N.timestep [1] or [b],
N.encoder_hidden_states [b, l, d], N.motion_ids [b] and N.output like the sample. Prints a row per case; exits 1 if one
exceeds the tolerance, 2 if the files cannot be compared.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from .on_cpu import choose_cpu

choose_cpu()  # before anything of ComfyUI that chooses a device

from cinemo_core.comfyui.loading import load_unet
from cinemo_core.errors import CinemoError
from cinemo_core.models.cinemo.config import CinemoConfig

MAX_ABS = 5e-5
REL_RMS = 1e-5
FIELDS = ("sample", "base_content", "timestep", "encoder_hidden_states", "motion_ids", "output")


def check_config(config: CinemoConfig, sidecar: Path) -> None:
    """Compare the configuration read from the weights with the one recorded next to the cases, if there is one."""
    recorded = json.loads(sidecar.read_text()).get("config", {}) if sidecar.exists() else {}
    derived = {
        "attention_head_dim": config.num_heads,
        "block_out_channels": list(config.widths),
        "cross_attention_dim": config.context_dim,
        "addition_time_embed_dim": config.motion_dim,
    }
    for name, value in derived.items():
        if recorded.get(name, value) != value:
            raise CinemoError(
                f"The weights have {name} = {value}, {sidecar.name} says {recorded[name]}: these files do not belong together."
            )


def evaluate(network: torch.nn.Module, case: dict[str, torch.Tensor]) -> torch.Tensor:
    """The noise that the network predicts for one case, [b, 4, f, h, w]."""
    residual, z0 = case["sample"].float(), case["base_content"].float()[:, :, 0]
    clips, frames = residual.shape[0], residual.shape[2] + 1
    x = torch.cat([torch.zeros_like(residual[:, :, :1]), residual], dim=2).transpose(1, 2).flatten(0, 1)  # b c f h w -> b*f c h w
    timesteps = case["timestep"].float().expand(clips).repeat_interleave(frames)
    context = case["encoder_hidden_states"].float()
    out = network(x, timesteps, context, transformer_options={}, z0=z0, motion_ids=case["motion_ids"].float())
    return out.unflatten(0, (clips, frames)).transpose(1, 2)[:, :, 1:]


def compare(weights: Path, cases: Path) -> bool:
    """Print a row per case; True if all hold."""
    tensors = load_file(cases)
    names = sorted({key.removesuffix(".sample") for key in tensors if key.endswith(".sample")})
    if not names:
        raise CinemoError(f"{cases} holds no case: expected tensors such as c0.sample and c0.output.")
    network = load_unet(str(weights), "fp32", disable_dynamic=True).model.diffusion_model
    check_config(network.config, cases.with_suffix(".json"))
    print(f"{'case':<8}{'shape':<22}{'max abs':>10}{'rel rms':>10}   (at most {MAX_ABS:.0e} and {REL_RMS:.0e})")
    passed = True
    for name in names:
        missing = [f for f in FIELDS if f"{name}.{f}" not in tensors]
        if missing:
            raise CinemoError(f"Case {name} of {cases} lacks {', '.join(missing)}.")
        case = {f: tensors[f"{name}.{f}"] for f in FIELDS}
        error = evaluate(network, case) - case["output"]
        max_abs = error.abs().max().item()
        rel_rms = (error.square().mean() / case["output"].square().mean()).sqrt().item()
        holds = max_abs <= MAX_ABS and rel_rms <= REL_RMS  # false for NaN
        passed &= holds
        print(f"{name:<8}{list(case['output'].shape)!s:<22}{max_abs:>10.1e}{rel_rms:>10.1e}   {'ok' if holds else 'FAILED'}")
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py parity", description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("cases", type=Path)
    options = parser.parse_args()
    try:
        with torch.no_grad():
            return 0 if compare(options.weights, options.cases) else 1
    except (CinemoError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
