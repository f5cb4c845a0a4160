"""The checkpoints that DynamiCrafter's workflows name, of small width, as the published ones are: one pickle with everything in it."""

from pathlib import Path

import torch
from cinemo_pack.tests import drawn_dynamicrafter as drawn


def write_dynamicrafter_files(models: Path) -> list[Path]:
    """Write them into models/checkpoints."""
    folder = models / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    whole = drawn.checkpoint()
    toon_vae = {f"first_stage_model.{name}": tensor for name, tensor in drawn.toon_vae().items()}
    toon = {name: tensor for name, tensor in whole.items() if not name.startswith("first_stage_model.")} | toon_vae
    files = {"dynamicrafter_512.ckpt": whole, "dynamicrafter_512_interp.ckpt": whole, "tooncrafter.ckpt": toon}
    for name, weights in files.items():
        torch.save({"state_dict": weights}, folder / name)
    return [folder / name for name in files]
