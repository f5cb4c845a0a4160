"""Low-rank adaptation of the UNet (arXiv 2106.09685): small trained matrices next to frozen linear layers.

The file is in kohya's form with the layers' LDM names, which ComfyUI's LoraLoader reads for every layer of the model, the
temporal ones and the motion embedding included.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..files.mode import allow_others

ATTENTIONS = ("attn1", "attn2", "attn_temp")
DOWN, UP = "lora_down.weight", "lora_up.weight"


class LoRALinear(nn.Module):
    """base(x) + up(down(x)) * alpha / rank; `up` starts at zero, so the layer starts as it was."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base
        self.lora_down = nn.Linear(base.in_features, rank, bias=False)
        self.lora_up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.kaiming_uniform_(self.lora_down.weight, a=5**0.5)
        nn.init.zeros_(self.lora_up.weight)
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.lora_up(self.lora_down(x)) * self.scale


def add_lora(unet: nn.Module, rank: int, alpha: float, layers: tuple[str, ...], seed: int) -> None:
    """Freeze the UNet and put LoRA next to the projections of these kinds of attention, or the motion embedding ("motion_embed")."""
    unet.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in list(unet.named_modules()):
            if isinstance(module, nn.Linear) and any(part in layers for part in name.split(".")):
                parent, _, child = name.rpartition(".")
                setattr(unet.get_submodule(parent), child, LoRALinear(module, rank, alpha))


def write_lora(path: Path, state_dict: Mapping[str, Tensor], rank: int, alpha: float, dtype: torch.dtype) -> None:
    """Write the LoRA in a UNet's state dict as a file for ComfyUI's models/loras; it appears when it is whole."""
    from safetensors.torch import save_file

    tensors = {}
    for name, tensor in state_dict.items():
        for part in (DOWN, UP):
            if name.endswith(part):
                key = "lora_unet_" + name.removesuffix("." + part).replace(".", "_")
                tensors[f"{key}.{part}"] = tensor.detach().to("cpu", dtype).contiguous()
                tensors[f"{key}.alpha"] = torch.tensor(alpha, dtype=dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    save_file(tensors, partial, metadata={"format": "pt", "ss_network_dim": str(rank), "ss_network_alpha": str(alpha)})
    allow_others(partial)
    partial.replace(path)
