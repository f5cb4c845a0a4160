"""Progress within what ComfyUI counts as one: the blocks of a network in a step, those of a decoder in a batch of frames.

A step of a full-size model takes minutes on a CPU. The bars of ComfyUI take fractions, and send at most ten updates a second.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import comfy.utils
import torch

DIGITS = 2  # of a fraction, for terminals that print it
NEARLY = 0.95  # of a step, until the sampler says that it is over


@contextmanager
def watched(blocks: Sequence[torch.nn.Module], see: Callable[[torch.Tensor], None]) -> Iterator[None]:
    """Within the `with` block, call `see(output)` whenever one of these modules has run; a compiled network is not watched."""

    def hook(module, arguments, output):
        if not torch.compiler.is_compiling():
            see(output)

    with ExitStack() as stack:
        for block in blocks:
            stack.callback(block.register_forward_hook(hook).remove)
        yield


class StepProgress:
    """A bar of `parts` runs of `steps` steps each, of which this is run `part`, that also moves within a step.

    How many blocks a step runs, in how many evaluations and windows, shows in the step before; the first is taken for `evaluations`.
    """

    def __init__(self, blocks: Sequence[torch.nn.Module], steps: int, part: tuple[int, int] = (0, 1), evaluations: int = 1):
        index, parts = part
        self.blocks = blocks
        self.bar = comfy.utils.ProgressBar(parts * steps)
        self.total = parts * steps
        self.step = index * steps
        self.seen = 0
        self.expected = len(blocks) * evaluations

    def watch(self):
        return watched(self.blocks, self.on_block)

    def on_block(self, output: torch.Tensor) -> None:
        self.seen += 1
        share = self.seen / self.expected
        if share < NEARLY:
            self.bar.update_absolute(round(self.step + share, DIGITS), self.total)

    def on_step(self, step: int) -> None:
        """The sampler has finished the step of this number, counted over all runs; ComfyUI's own callback shows it."""
        self.expected, self.seen = max(self.seen, 1), 0
        self.step = step + 1


class FrameProgress:
    """A bar of frames that moves with each block of a decoder, however many frames, and tiles of them, a run of it holds."""

    def __init__(self, blocks: Sequence[torch.nn.Module], frames: int):
        self.blocks = blocks
        self.bar = comfy.utils.ProgressBar(frames)
        self.finished = 0
        self.started = 0.0
        self.chunk = 1
        self.tiles = 1

    def watch(self, chunk: int, tiles: int = 1):
        """For a chunk of that many frames, each decoded in that many tiles."""
        self.started, self.chunk, self.tiles = 0.0, chunk, tiles
        return watched(self.blocks, self.on_block)

    def on_block(self, output: torch.Tensor) -> None:
        self.started += output.shape[0] / (len(self.blocks) * self.tiles)
        self.bar.update_absolute(round(self.finished + min(self.started, NEARLY * self.chunk), DIGITS))

    def finish(self, frames: int) -> None:
        self.finished += frames
        self.bar.update_absolute(self.finished)


def show_on_node(text: str, hidden: Any) -> None:
    """Print a text on a node in the browser, under its widgets. hidden: the node's, None where a program calls it without a server."""
    if hidden is None:
        return
    from server import PromptServer  # not at module level: it brings the whole web server

    PromptServer.instance.send_progress_text(text, hidden.unique_id)
