"""Compares a network, on ComfyUI's operations, with recorded outputs of the official code.

    python dev.py parity WEIGHTS CASES.safetensors

WEIGHTS is a file, or a folder with the files of a set. The family is recognised from its tensors; the family's file in tools/parity
says what CASES holds for it. Facts about the cases are read from the JSON file of the same name, if there is one. Prints a row
per case. Exits with 1 if one exceeds the tolerance, with 2 if the files cannot be compared.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from ..on_cpu import choose_cpu

choose_cpu()  # before anything of ComfyUI that chooses a device

import comfy.ops

from cinemo_core.errors import CinemoError
from cinemo_core.files.checkpoint import compare, read_state_dict, shapes_of
from cinemo_core.files.folder import weights_in
from cinemo_core.models.recognise import describe, family_of

from . import animate_anyone, cinemo, dynamicrafter
from .reader import Reader

MAX_ABS = 5e-5
REL_RMS = 1e-5
READERS = (cinemo.READER, dynamicrafter.READER, animate_anyone.READER)


def reader_for(path: Path, state_dict: dict[str, torch.Tensor]) -> Reader:
    family = family_of(state_dict)
    reader = next((reader for reader in READERS if reader.family is family), None)
    if reader is None:
        expected = " or ".join(reader.family.words for reader in READERS)
        raise CinemoError(f"{path} is {describe(shapes_of(state_dict))}, expected {expected}.")
    return reader


def read(weights: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file, or of a folder with the files of a set."""
    if not weights.is_dir():
        return read_state_dict(weights)
    join = next(reader.family.join for reader in READERS if reader.family.join)
    return join({path.name: read_state_dict(path) for path in weights_in(weights)}, str(weights))


def facts_of(name: str, facts: dict) -> dict:
    """What the JSON file says of one case."""
    return next((case for case in facts.get("cases", []) if case.get("name") == name), {})


def build(reader: Reader, state_dict: dict[str, torch.Tensor], path: Path, facts: dict) -> torch.nn.Module:
    """The network in float32. Raises CinemoError where the file lacks tensors or has other sizes than were recorded."""
    family = reader.family
    state_dict = family.normalise(state_dict)
    recorded = facts.get("config", {})
    config = replace(family.config(state_dict), **reader.unseen(recorded))
    compare(shapes_of(state_dict), family.shapes(config), f"The {family.name} UNet {path}")
    for name, value in reader.sizes(config).items():
        if recorded.get(name, value) != value:
            raise CinemoError(f"The weights have {name} = {value}, the cases say {recorded[name]}: these files do not belong together.")
    network = reader.network(**config.unet_config(), dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init)
    network.load_state_dict(state_dict)
    return network.eval()


def run(weights: Path, cases: Path) -> bool:
    """Print a row per case; True if all hold."""
    state_dict = read(weights)
    reader = reader_for(weights, state_dict)
    tensors = read_state_dict(cases)
    first = f".{reader.needed[0]}"
    names = sorted(key.removesuffix(first) for key in tensors if key.endswith(first) and key.count(".") == 1)
    if not names:
        raise CinemoError(f"{cases} holds no case of {reader.family.name}: expected tensors such as c0{first} and c0.output.")
    sidecar = cases.with_suffix(".json")
    facts = json.loads(sidecar.read_text()) if sidecar.exists() else {}
    network = build(reader, state_dict, weights, facts)
    left_out = reader.recorded_otherwise(state_dict, facts)

    print(f"{'case':<8}{'shape':<22}{'max abs':>10}{'rel rms':>10}   (at most {MAX_ABS:.0e} and {REL_RMS:.0e})")
    passed = True
    for name in names:
        if name in left_out:
            continue
        case = {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
        missing = [field for field in reader.needed if field not in case]
        if missing:
            raise CinemoError(f"Case {name} of {cases} lacks {', '.join(missing)}.")
        error = reader.evaluate(network, case, facts_of(name, facts)) - case["output"]
        max_abs = error.abs().max().item()
        rel_rms = (error.square().mean() / case["output"].square().mean()).sqrt().item()
        holds = max_abs <= MAX_ABS and rel_rms <= REL_RMS  # false for NaN
        passed &= holds
        print(f"{name:<8}{list(case['output'].shape)!s:<22}{max_abs:>10.1e}{rel_rms:>10.1e}   {'ok' if holds else 'FAILED'}")
    if left_out:
        print(f"{len(left_out)} cases left out, recorded with other weights: {', '.join(sorted(left_out))}")
    return passed and len(left_out) < len(names)


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py parity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("cases", type=Path)
    options = parser.parse_args()
    try:
        with torch.no_grad():
            return 0 if run(options.weights, options.cases) else 1
    except (CinemoError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
