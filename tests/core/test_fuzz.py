"""Damaged checkpoints of every kind end in one clear error or load; nothing else ever comes out.

Files are cut, have bits flipped, bytes put in, or headers rewritten with values of other kinds; hypothesis shrinks what it finds.
"""

import io
import json
import random

import pytest
import torch
from cinemo_pack.cinemo_core.errors import CinemoError
from cinemo_pack.cinemo_core.files.checkpoint import read_metadata, read_shapes, read_state_dict
from cinemo_pack.cinemo_core.files.folder import read_bundle, read_config
from cinemo_pack.cinemo_core.models.cinemo.config import CinemoConfig
from cinemo_pack.cinemo_core.models.cinemo.skeleton import expected_shapes
from cinemo_pack.cinemo_core.models.clip_text import keys as clip_text
from cinemo_pack.cinemo_core.models.recognise import recognise
from cinemo_pack.cinemo_core.models.temporal_vae import keys as vae_keys
from cinemo_pack.tests import drawn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

EXAMPLES = 350  # of each of the six kinds: some 2,000 in all
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.ones(5, dtype=torch.float16), "c": torch.tensor(3)}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8) | st.just("F32"),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


def safetensors_bytes() -> bytes:
    return save(TENSORS, metadata={"note": "text"})


def pickle_bytes(zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save({"model": TENSORS, "step": 3}, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes cut, with bits flipped, or with others put in."""
    kind = draw(st.sampled_from(["cut", "flip", "insert", "replace"]))
    at = draw(st.integers(0, len(data) - 1))
    if kind == "cut":
        return data[:at]
    if kind == "flip":
        changed = bytearray(data)
        for place in [at, *draw(st.lists(st.integers(0, len(data) - 1), max_size=8))]:
            changed[place] ^= 1 << draw(st.integers(0, 7))
        return bytes(changed)
    inserted = draw(st.binary(min_size=1, max_size=16))
    return data[:at] + inserted + data[at + (len(inserted) if kind == "replace" else 0) :]


def refusal(function, *arguments) -> str | None:
    """The sentence with which it refuses, None if it does not; anything but our own errors comes out and fails the test."""
    try:
        function(*arguments)
    except CinemoError as error:
        return str(error)
    return None


def is_one_sentence(refused: str | None) -> bool:
    return refused is None or bool(refused and "\n" not in refused)


def read_all(path) -> None:
    """Everything that a loader asks of a file."""
    for read in (read_metadata, read_shapes, read_state_dict):
        if read is not read_metadata or path.suffix == ".safetensors":
            refused = refusal(read, path)
            assert is_one_sentence(refused) and (refused is None or str(path) in refused)


@pytest.mark.parametrize("name", ["model.safetensors", "zipped.bin", "old.bin"])
def test_damaged_bytes(tmp_path, name):
    data = safetensors_bytes() if name.endswith("safetensors") else pickle_bytes(name == "zipped.bin")

    @FUZZ
    @given(damaged(data))
    def check(changed: bytes) -> None:
        (tmp_path / name).write_bytes(changed)
        read_all(tmp_path / name)

    check()


def test_headers_with_other_values(tmp_path):
    data = safetensors_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    path = tmp_path / "model.safetensors"

    @FUZZ
    @given(st.sampled_from([*header, "new"]), st.sampled_from(["whole", "dtype", "shape", "data_offsets"]), ANYTHING)
    def check(entry: str, part: str, value) -> None:
        changed = json.loads(json.dumps(header))
        if part == "whole" or entry not in changed:
            changed[entry] = value
        else:
            changed[entry][part] = value
        text = json.dumps(changed).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + body)
        read_all(path)

    check()


@pytest.mark.parametrize("kind", ["unet", "vae", "text"])
def test_shapes_that_no_model_has(kind):
    """Tensors lost, renamed or of other shapes: recognised, or refused in one sentence."""
    shapes = {
        "unet": expected_shapes(drawn.UNET),
        "vae": {entry.ldm: entry.shape for entry in vae_keys.entries(drawn.TEMPORAL_VAE)},
        "text": dict(clip_text.shapes(drawn.TEXT)),
    }[kind]
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}

    def judge(found: dict) -> None:
        sizes = {name: tuple(t.shape) for name, t in found.items()}
        if kind == "unet":
            recognise("file", found)
        elif kind == "vae":
            vae_keys.read_config(sizes)
        else:
            clip_text.read_config(clip_text.normalise(sizes), drawn.TEXT.json_config())

    @settings(FUZZ, max_examples=EXAMPLES // 3)
    @given(st.randoms(use_true_random=False), st.sampled_from(["lose", "rename", "reshape", "mix"]), st.integers(1, 40))
    def check(dice: random.Random, change: str, count: int) -> None:
        found = dict(tensors)
        for name in dice.sample(sorted(found), min(count, len(found))):
            now = dice.choice(["lose", "rename", "reshape"]) if change == "mix" else change
            tensor = found.pop(name)
            if now == "rename":
                found[dice.choice([name[1:], name + "x", name.replace("0", "1"), "x"])] = tensor
            elif now == "reshape":
                found[name] = torch.empty([dice.choice([0, 1, 3, 32, 64, 320]) for _ in range(dice.randint(0, 5))], device="meta")
        assert is_one_sentence(refusal(judge, found))

    check()
    judge(dict(tensors))


def test_configurations_of_any_values(tmp_path):
    path = tmp_path / "config.json"

    options = st.dictionaries(st.sampled_from([*drawn.TEXT.json_config(), "layer_norm_eps", "other"]), ANYTHING, max_size=3)

    @FUZZ
    @given(options | ANYTHING | st.binary(max_size=30))
    def check(value) -> None:
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        assert is_one_sentence(refusal(lambda: clip_text.read_config(clip_text.shapes(drawn.TEXT), read_config(tmp_path))))

    check()


def test_folders_with_parts_missing(tmp_path):
    folder = tmp_path / "bundle"
    drawn.write(folder)
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    for file in files:
        data = file.read_bytes()
        file.unlink()
        refused = refusal(read_bundle, folder)
        assert is_one_sentence(refused) and (refused is None or str(folder) in refused), file
        file.write_bytes(data)


@given(st.fixed_dictionaries({f: st.integers(-3, 70) for f in ("model_channels", "context_dim", "num_heads", "motion_dim")}))
@settings(max_examples=100)
def test_configurations_of_any_size(sizes):
    assert is_one_sentence(refusal(lambda: CinemoConfig(**{**drawn.UNET.unet_config(), **sizes, "channel_mult": (1, 2, 2, 2)})))
