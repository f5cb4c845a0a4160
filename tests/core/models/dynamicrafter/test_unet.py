"""The network against recorded outputs of the authors' code, whole and part by part."""

import pytest
import torch
from cinemo_pack.cinemo_core.models.dynamicrafter.keys import own_name
from cinemo_pack.cinemo_core.models.dynamicrafter.resampler import Resampler, ResamplerConfig
from cinemo_pack.cinemo_core.models.sd_unet.embeddings import sinusoid
from cinemo_pack.cinemo_core.models.sd_unet.step import Step
from cinemo_pack.tests.core.conftest import attention
from cinemo_pack.tests.core.models.parity import assert_parity, fold, unfold
from cinemo_pack.tests.drawn_dynamicrafter import own_projector
from cinemo_pack.tests.goldens import load, meta
from cinemo_pack.tests.goldens.rule import state_dict

META = meta("dynamicrafter/unet_tiny_a.cases")
CASES = [case["name"] for case in META["cases"]]
PARTS = meta("dynamicrafter/submodules_a")
TEXT = 77
DEFAULT_FS = {False: 24, True: 3}


def split(context: torch.Tensor, frames: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Text and image tokens as the reference splits them: 16 for each frame, if there are so many, else all for every frame."""
    text, image = context[:, :TEXT], context[:, TEXT:]
    if image.shape[1] == 16 * frames:
        image = image.unflatten(1, (frames, 16)).flatten(0, 1)
    return text, image if image.shape[1] else None


@pytest.mark.parametrize("name", CASES)
def test_whole_network(plain, gated, name):
    tensors = load("dynamicrafter/unet_tiny_a.cases")
    unet = gated if name.startswith("l") else plain
    case = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
    clips, _, frames = case["x"].shape[:3]
    x = fold(torch.cat([case["x"], case["c_concat"]], dim=1))
    timesteps = case["timesteps"].float().expand(clips).repeat_interleave(frames)
    fs = case.get("fs", torch.full((clips,), DEFAULT_FS[unet.config.gated]))
    out = unet(x, timesteps, *split(case["context"], frames), fs, transformer_options={})
    assert_parity(unfold(out, clips), case["output"])


def run_part(unet, name: str, tensor) -> torch.Tensor:
    """Call the module that a golden names, in this network's own layout, and bring the result into the golden's."""
    module = unet.get_submodule(own_name(PARTS["fixtures"][name]["module"] + ".").removesuffix("."))
    x = tensor("x")
    if name in ("time_embed", "fps_embedding", "self_attention", "feed_forward"):
        return module(x)
    if name == "temporal_block":
        return module(x, {})
    if name.startswith("cross_attention"):
        text, image = split(tensor("context"), 1)
        q, k, v = module.project(x, text, text)
        return module.to_out(module.attend_by_clip(q, k, v, {}) + module.attend_to_image(q, image, {}))
    if x.ndim == 5:  # b c f h w
        return unfold(module(fold(x), Step(x.shape[2], None, None, {})), x.shape[0])
    step = Step(1, None, None, {"transformer_index": 0})
    if name.startswith("resblock"):  # recorded with an embedding per frame, which the network never has
        step.emb = tensor("emb")
        h = super(type(module), module).forward(x, step)
        return h if name == "resblock_no_temporal" else module.temopral_conv(h, Step(x.shape[0] // 2, None, None, {}))
    if name.startswith("spatial"):  # without the temporal transformer that is part of it here
        step.context, step.extras = split(tensor("context"), 1)
        return super(type(module), module).forward(x, step)
    if name == "upsample":
        step.size = (2 * x.shape[2], 2 * x.shape[3])
    return module(x, step)


@pytest.mark.parametrize("name", [name for name in PARTS["fixtures"] if not name.startswith("resampler")])
def test_part(plain, gated, name):
    tensors = load("dynamicrafter/submodules_a")
    unet = gated if PARTS["fixtures"][name]["learnable"] else plain
    assert_parity(run_part(unet, name, lambda argument: tensors[f"{name}.in.{argument}"]), tensors[f"{name}.out"])


@pytest.mark.parametrize("name", [name for name in PARTS["fixtures"] if name.startswith("resampler")])
def test_resampler(name):
    tensors, weights = load("dynamicrafter/submodules_a"), PARTS["resampler_weights"]
    named = state_dict(weights["keys"], weights["weight_seed"], weights["checksum"])
    own = own_projector(named)
    config = ResamplerConfig.from_state_dict(own, head_dim=PARTS["resampler_config"]["dim_head"])
    resampler = Resampler(config, attention=attention, dtype=torch.float32, device="cpu", operations=torch.nn)
    resampler.load_state_dict(own)
    with torch.no_grad():
        assert_parity(resampler(tensors[f"{name}.in.x"]), tensors[f"{name}.out"])


@pytest.mark.parametrize("dim", [64, 320])
def test_sinusoid(dim):
    tensors = load("dynamicrafter/submodules_a")
    assert_parity(sinusoid(tensors["sinusoid.t"], dim), tensors[f"sinusoid.{dim}"])
