"""Every family with a small example of itself, and one that only the tests have, registered as a real one would be."""

from dataclasses import dataclass
from types import ModuleType

import pytest
from cinemo_pack.cinemo_core.comfyui import families as native
from cinemo_pack.cinemo_core.comfyui.description import FamilyDescription
from cinemo_pack.cinemo_core.models import families
from cinemo_pack.cinemo_core.models.family import Family
from cinemo_pack.tests.comfy.families import animate_anyone, cinemo, dynamicrafter, toy
from cinemo_pack.tests.comfy.families.walks import Walk
from safetensors.torch import save_file

EXAMPLES: dict[str, ModuleType] = {"Animate Anyone": animate_anyone, "Cinemo": cinemo, "DynamiCrafter": dynamicrafter, "Toy": toy}


@dataclass(frozen=True)
class Example:
    """A family, how ComfyUI runs it, and the module of this folder with `CONFIG`, `weights()`, `condition(frames, h, w)`
    and WALKS, what it can do (see `walks`)."""

    family: Family
    description: type[FamilyDescription]
    small: ModuleType

    def write(self, path, prefix: str = "") -> str:
        save_file({prefix + name: tensor for name, tensor in self.small.weights().items()}, path)
        return str(path)


@pytest.fixture(autouse=True)
def with_toy(monkeypatch):
    """The whole of what a new family has to add outside its own folders."""
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, toy.TOY))
    monkeypatch.setattr(native, "DESCRIPTIONS", (*native.DESCRIPTIONS, toy.ToySupported))


@pytest.fixture(params=[*(family.name for family in families.FAMILIES), "Toy"])
def example(request) -> Example:
    """Each family in turn. One without an example here fails."""
    family = next(family for family in families.FAMILIES if family.name == request.param)
    return Example(family, native.description_of(family), EXAMPLES[family.name])


@pytest.fixture(params=[(name, walk) for name, small in EXAMPLES.items() for walk in small.WALKS], ids="-".join)
def walk(request) -> tuple[Example, Walk]:
    """Everything that a family can do, with the family."""
    name, walk = request.param
    family = next(family for family in families.FAMILIES if family.name == name)
    return Example(family, native.description_of(family), EXAMPLES[name]), EXAMPLES[name].WALKS[walk]
