"""What every layer of a UNet is given next to the maps."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass
class Step:
    """One evaluation of the network.

    frames: of one clip; emb: [b, e], a row per clip; context: [b, l, d], or [b * f, l, d] for tokens per frame; options: ComfyUI's
    `transformer_options`; extras: what only one family needs; size: (height, width) that the next Upsample must give.
    """

    frames: int
    emb: Tensor
    context: Any
    options: dict
    extras: Any = None
    size: tuple[int, int] | None = None
