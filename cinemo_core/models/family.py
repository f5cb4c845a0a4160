"""A model family: how its weights are recognised, and what is known of them without ComfyUI."""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..motion.match import MotionInput
from .file_set import Join
from .published import Published, PublishedFile, PublishedSet


def no_config_file(weights: Path, config: Any) -> None:
    """For a family whose published files say nothing next to the weights."""


def nothing(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """For a family whose files hold a network alone, or are converted to one."""
    return {}


def no_part(names: Set[str]) -> bool:
    """For a family that is published in one file."""
    return False


def sizes_alone(config: Any, checkpoint: Mapping[str, Any]) -> Any:
    """For a family whose sizes say all that there is to know."""
    return config


@dataclass(frozen=True)
class Family:
    """One row of the table of families.

    name: as the field writes it.
    where: which file of the published ones holds the network, for an error message.
    is_mine: whether these are the names of its tensors.
    normalise: its tensors under LDM names, from any accepted layout.
    config: its sizes, from a state dict under LDM names.
    complete: its sizes with what the whole checkpoint says besides; raises CheckpointError where the network lacks a part.
    shapes: names and shapes of all tensors of these sizes.
    sensitive: prefixes of the tensors that keep their own format in an 8-bit network.
    published, files, sets: where its weights can be had, as a folder of parts, each model in one file, or in the files of a set.
    motion: its motion input, where that has no measured scale.
    other_parts: what a checkpoint holds besides the network that a converted file keeps, under the names that it has there.
    join, is_part: for a family that is published in several files: their tensors, by file name, as one state dict, and whether
    tensors of these names are those of a file that only such a set has.
    check_config_file: raises CheckpointError for a configuration next to the weights that contradicts them.
    """

    name: str
    where: str
    is_mine: Callable[[Iterable[str]], bool]
    normalise: Callable[[Mapping[str, Any]], dict[str, Any]]
    config: Callable[[Mapping[str, Any]], Any]
    shapes: Callable[[Any], dict[str, tuple[int, ...]]]
    complete: Callable[[Any, Mapping[str, Any]], Any] = sizes_alone
    sensitive: tuple[str, ...] = ()
    published: Published | None = None
    files: tuple[PublishedFile, ...] = ()
    sets: tuple[PublishedSet, ...] = ()
    motion: MotionInput | None = None
    other_parts: Callable[[Mapping[str, Any]], dict[str, Any]] = nothing
    join: Join | None = None
    is_part: Callable[[Set[str]], bool] = no_part
    check_config_file: Callable[[Path, Any], None] = no_config_file

    @property
    def words(self) -> str:
        """What a file of this family is, with its article: "a Cinemo UNet"."""
        return f"{'an' if self.name[0] in 'AEIO' else 'a'} {self.name} UNet"
