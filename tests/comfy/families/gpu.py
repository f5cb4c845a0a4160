"""A GPU for tests on machines without one: tensors that say they are on CUDA and keep their numbers on the CPU.

What a GPU refuses is refused here: tensors of two devices in one operation. What makes it wait for the CPU is noted: a value
that is read, a mask that indexes, a copy from one to the other. So is float64, which Apple's GPUs do not have. The numbers are
real, so that decisions by a value work as on a GPU, and a result can be compared with the CPU's.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
PACK = Path(__file__).resolve().parents[3] / "cinemo_core"
aten = torch.ops.aten
COPIES = (aten.copy_, aten._to_copy)
WHOLE = (aten.scaled_dot_product_attention.default, aten._has_compatible_shallow_copy_type.default)  # not taken apart
INDEXING = (aten.index, aten.index_put, aten.index_put_, aten._unsafe_index, aten._index_put_impl_)


class OnGPU(torch.Tensor):
    """Says that it is on the GPU. held: the same tensor on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor):
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        out = torch.Tensor._make_wrapper_subclass(cls, held.shape, device=CUDA, requires_grad=held.requires_grad, **layout)
        out.held = held
        return out

    def __repr__(self) -> str:
        return f"OnGPU({self.held})"

    def tolist(self) -> list:
        return self.cpu().tolist()  # torch does the same, but not for a subclass

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        return run(function, arguments, options or {})


class Finding(NamedTuple):
    """what: "wait", "to the CPU", "to the GPU" or "float64". where: the line that asked for it, outside torch."""

    what: str
    operation: str
    where: str
    in_step: bool

    @property
    def ours(self) -> bool:
        return self.where.startswith(str(PACK))


class Watch(TorchDispatchMode):
    """The GPU is there within this mode; `found` has what was noted. steps: evaluations of the model so far."""

    def __init__(self):
        super().__init__()
        self.found: list[Finding] = []
        self.in_step, self.steps = False, 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        if function not in WHOLE and is_composite(function):
            with self:
                return function.decompose(*arguments, **options)
        out = run(function, arguments, options)
        for what in found_in(function, arguments, options, out):
            self.found.append(Finding(what, str(function), caller(), self.in_step))
        return out

    def step(self, executor, *arguments, **options):
        """A wrapper of ComfyUI's around an evaluation of the model."""
        self.in_step, self.steps = True, self.steps + 1
        try:
            return executor(*arguments, **options)
        finally:
            self.in_step = False


@contextmanager
def pretended_gpu(monkeypatch) -> Iterator[Watch]:
    """With torch and a `Watch` as on a machine with a GPU, its driver aside."""
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    torch._C._ensureCUDADeviceGuardSet()
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with Watch() as watch:
            yield watch
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


def run(function, arguments, options):
    """An operation on the tensors that are held; its results are on the GPU if it is asked for that, or its tensors are."""
    tensors = tensors_in((arguments, options))
    on_gpu = [isinstance(tensor, OnGPU) for tensor in tensors]
    if function is aten._has_compatible_shallow_copy_type.default:  # asked by Module.to, which then makes new parameters
        return all(on_gpu) or not any(on_gpu)
    check_devices(function, arguments, tensors)
    target = asked_device(function, arguments, options) or (CUDA if any(on_gpu) else CPU)
    if function.overloadpacket is aten.copy_:
        target = arguments[0].device
    held = function(*tree_map(inner, arguments), **tree_map(inner, options))
    same = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, OnGPU)}  # what worked in place gives its tensor back

    def outer(value):
        if not isinstance(value, torch.Tensor):
            return value
        if target.type == "cpu":
            return value.clone() if id(value) in same else value
        return same[id(value)] if id(value) in same else OnGPU(value)

    return tree_map(outer, held)


def inner(value):
    return value.held if isinstance(value, OnGPU) else CPU if isinstance(value, torch.device) else value


def check_devices(function, arguments, tensors) -> None:
    """As CUDA does: numbers and indices may be on the CPU."""
    if function.overloadpacket in COPIES or not any(isinstance(tensor, OnGPU) for tensor in tensors):
        return
    indices = {id(index) for index in tensors_in(arguments[1])} if function.overloadpacket in INDEXING else set()
    for tensor in tensors:
        if not isinstance(tensor, OnGPU) and tensor.ndim and id(tensor) not in indices:
            shapes = ", ".join(f"{list(t.shape)} on {t.device}" for t in tensors)
            raise RuntimeError(f"Expected all tensors to be on the same device, but {function} got {shapes}.")


def found_in(function, arguments, options, out) -> Iterator[str]:
    tensors, results = tensors_in((arguments, options)), tensors_in(out)
    before = {tensor.device.type for tensor in tensors}
    if function.overloadpacket in COPIES:
        source, result = tensors[-1].device.type, results[0].device.type
        if source != result:
            yield "to the CPU" if result == "cpu" else "to the GPU"
    elif "cuda" in before:
        indices = tensors_in(arguments[1]) if function.overloadpacket in INDEXING else []
        if any(index.device.type == "cpu" for index in indices):
            yield "to the GPU"
        shape_by_value = torch.Tag.dynamic_output_shape in function.tags and function.overloadpacket not in INDEXING
        by_mask = any(index.dtype in (torch.bool, torch.uint8) for index in indices)
        if shape_by_value or by_mask or torch.Tag.data_dependent_output in function.tags:
            yield "wait"
    if any(result.device.type == "cuda" and result.dtype == torch.float64 for result in results):
        yield "float64"


def asked_device(function, arguments, options) -> torch.device | None:
    named = dict(zip((argument.name for argument in function._schema.arguments), arguments, strict=False)) | options
    return None if named.get("device") is None else torch.device(named["device"])


def is_composite(function) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "CompositeImplicitAutograd")


def tensors_in(values) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def caller() -> str:
    """File and line that called into torch."""
    frame = sys._getframe(1)
    torch_folder = str(Path(torch.__file__).parent)
    while frame.f_back and (frame.f_code.co_filename == __file__ or frame.f_code.co_filename.startswith(torch_folder)):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
