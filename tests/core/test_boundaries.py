"""Who may import what, read from the source.

    nodes/  ->  cinemo_core/comfyui/  ->  cinemo_core/models/  ->  cinemo_core/*.py

Only `cinemo_core/comfyui` knows ComfyUI, and importing the pack only defines things, quickly.
"""

import ast
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMFYUI = {"comfy", "comfy_api", "comfy_api_nodes", "comfy_execution", "comfy_extras", "comfy_config"}
COMFYUI |= {"app", "cuda_malloc", "execution", "folder_paths", "latent_preview", "middleware", "node_helpers", "nodes", "server", "utils"}
SLOW = {"accelerate", "av", "bitsandbytes", "diffusers", "einops", "scipy", "transformers"}
# Calls that only build a value, or register nothing outside the module they stand in.
PURE_CALLS = {
    "frozenset",
    "set",
    "dict",
    "list",
    "tuple",
    "range",
    "len",
    "max",
    "min",
    "sorted",
    "zip",
    "enumerate",
    "int",
    "float",
    "str",
}
PURE_CALLS |= {"re.compile", "logging.getLogger", "Path", "struct.Struct", "MappingProxyType", "TypeVar", "NewType", "io.Custom"}

PACK = sorted([ROOT / "__init__.py", *(ROOT / "nodes").rglob("*.py"), *(ROOT / "cinemo_core").rglob("*.py")])
CORE = [path for path in PACK if (ROOT / "cinemo_core") in path.parents]
ADAPTERS = [path for path in CORE if (ROOT / "cinemo_core" / "comfyui") in path.parents]
PURE = [path for path in CORE if path not in ADAPTERS]
# What prepares and judges checkpoints; it may have dependencies of its own, imported where used.
OFFLINE = [
    path for path in CORE if path.is_relative_to(ROOT / "cinemo_core/training") or path.is_relative_to(ROOT / "cinemo_core/evaluation")
]
NODES = [path for path in PACK if (ROOT / "nodes") in path.parents]


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST, *, module_level: bool = False) -> Iterator[tuple[int, str]]:
    """(level, dotted name) of every import; level 0 is absolute. `from a import b` gives a.b, for b may be a module."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, ".".join(filter(None, (node.module, alias.name)))) for alias in node.names)
        elif module_level and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_if(node, "TYPE_CHECKING")):
            continue
        else:
            yield from imports(node, module_level=module_level)


def is_if(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.If) and any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node.test))


def target(path: Path, level: int, name: str) -> str:
    """Name of what is imported: `.cinemo_core.x` from the root of the pack for a relative import, else the name as written."""
    if level == 0:
        return name
    package = path.relative_to(ROOT).parent.parts
    assert level <= len(package) + 1, f"{label(path)} imports from outside the pack"
    return "." + ".".join((*package[: len(package) - level + 1], name))


@functools.cache
def targets(path: Path, *, module_level: bool = False) -> list[str]:
    """Imports of a file: `.cinemo_core.models.x` for those inside the pack, `torch.nn` for others."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [target(path, level, name) for level, name in imports(tree, module_level=module_level)]


def top(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def side_effects(tree: ast.Module) -> list[str]:
    """Statements at module level that do more than define."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if is_if(node, "__name__") or is_if(node, "TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Assign | ast.AnnAssign):
            names = node.targets if isinstance(node, ast.Assign) else [node.target]
            calls = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
            if all(isinstance(name, ast.Name | ast.Tuple) for name in names) and all(is_pure(call) for call in calls):
                continue
        found.append(f"line {node.lineno}: {ast.unparse(node)[:80]}")
    return found


def is_pure(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    builds_a_record = name.rsplit(".", 1)[-1].lstrip("_")[:1].isupper()  # a class of this pack, such as a row of a table
    joins_text = isinstance(call.func, ast.Attribute) and call.func.attr in {
        "join",
        "format",
        "split",
        "partition",
        "rpartition",
        "items",
        "keys",
        "values",
    }
    return name in PURE_CALLS or builds_a_record or joins_text


def offences(paths: Iterable[Path], wrong: Callable[[Path], list[str]]) -> dict[str, list[str]]:
    """What is wrong in each file that breaks a rule."""
    return {label(path): found for path in paths if (found := wrong(path))}


def test_pure_code_knows_no_comfyui():
    assert not offences(PURE, lambda path: [name for name in targets(path) if top(name) in COMFYUI])
    adapters = ".cinemo_core.comfyui"
    assert not offences(PURE, lambda path: [name for name in targets(path, module_level=True) if name.startswith(adapters)])


def test_core_imports_itself_by_relative_name_and_stays_inside():
    def wrong(path: Path) -> list[str]:
        by_full_name = ("cinemo_core", "cinemo_pack", "nodes")
        outside = [name for name in targets(path) if name.startswith(".") and not name.startswith(".cinemo_core.")]
        return outside + [name for name in targets(path) if top(name) in by_full_name]

    assert not offences(CORE, wrong)


def test_networks_and_their_math_need_torch_alone_and_scipy_for_its_transforms():
    allowed = {"torch", "scipy"} | set(sys.stdlib_module_names)
    networks = [path for path in PURE if "models" in label(path)]
    assert not offences(networks, lambda path: [n for n in targets(path) if not n.startswith(".") and top(n) not in allowed])


def test_a_family_is_imported_by_itself_the_tables_and_its_nodes():
    """What belongs to one family is found through `families.py`. Training and evaluation are Cinemo's, and so are its nodes."""
    shared = {"sd_unet", "temporal_vae", "clip_text", "clip_vision"}
    folders = {path.name for path in (ROOT / "cinemo_core" / "models").iterdir() if path.is_dir() and path.name not in shared}
    families = {name for name in folders if not name.startswith("_")}
    assert "cinemo" in families
    tables = [ROOT / "cinemo_core" / "models" / "families.py", ROOT / "cinemo_core" / "comfyui" / "families.py"]

    def wrong(path: Path) -> list[str]:
        own = next((name for name in families if name in path.parts[len(ROOT.parts) :]), None)
        foreign = [f".cinemo_core.{layer}.{name}." for layer in ("models", "comfyui") for name in families - {own}]
        return [name for name in targets(path) if f"{name}.".startswith(tuple(foreign))]

    assert not offences([path for path in CORE if path not in tables and path not in OFFLINE], wrong)


def test_the_trainer_reaches_nanos_folder_through_one_file():
    training = ROOT / "cinemo_core" / "training"
    general = [path for path in training.glob("*.py") if path.name != "additions.py"]
    assert not offences(general, lambda path: [name for name in targets(path) if f"{name}.".startswith(".cinemo_core.training.nano.")])


def test_nodes_see_comfyui_through_its_public_api_and_the_core():
    def wrong(path: Path) -> list[str]:
        return [name for name in targets(path) if top(name) in COMFYUI and not name.startswith("comfy_api.latest")]

    assert not offences(NODES, wrong)


def test_inference_knows_neither_training_nor_evaluation():
    offline = (".cinemo_core.training", ".cinemo_core.evaluation")
    inference = [path for path in PACK if path not in OFFLINE]
    assert not offences(inference, lambda path: [name for name in targets(path) if name.startswith(offline)])


def test_import_stays_quick():
    assert not offences(PACK, lambda path: [name for name in targets(path, module_level=True) if top(name) in SLOW])


def test_import_has_no_side_effects():
    assert not offences(PACK, lambda path: side_effects(ast.parse(path.read_text(encoding="utf-8"))))


def test_the_pack_exports_its_entry_point_and_web_folder_only():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    bound = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            bound |= {name.id for name in node.targets}
    assert bound - {"__all__"} == {"comfy_entrypoint", "WEB_DIRECTORY"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import scipy.fft", ["scipy.fft"]),
        ("from .errors import InputError", [".cinemo_core.errors.InputError"]),
        ("from ..nodes import load", [".nodes.load"]),
        ("try:\n    import comfy.sd\nexcept ImportError:\n    pass", ["comfy.sd"]),
        ("class A:\n    import einops", ["einops"]),
        ("def f():\n    import scipy", []),
        ("if TYPE_CHECKING:\n    import diffusers", []),
    ],
)
def test_the_reader_sees_imports(source, expected):
    found = imports(ast.parse(source), module_level=True)
    assert [target(ROOT / "cinemo_core" / "x.py", level, name) for level, name in found] == expected


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ("X = 1\nY: int = 2\nZ = frozenset({X})", True),
        ("import re\nP = re.compile('a')", True),
        ("if __name__ == '__main__':\n    main()", True),
        ("print('hello')", False),
        ("import torch\ntorch.manual_seed(0)", False),
        ("X = open('file')", False),
        ("import comfy\ncomfy.supported_models.models = []", False),
        ("for x in range(3):\n    pass", False),
        ("X = [torch.zeros(1) for _ in range(9)]", False),
    ],
)
def test_the_reader_sees_side_effects(source, allowed):
    assert (not side_effects(ast.parse(source))) == allowed
