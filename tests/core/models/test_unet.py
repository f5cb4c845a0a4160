"""The network against recorded outputs of the authors' code, whole and part by part."""

import pytest
import torch
from cinemo_pack.cinemo_core.models.cinemo import keys
from cinemo_pack.cinemo_core.models.cinemo.positions import TemporalPositions, relative_position_buckets, temporal_positions
from cinemo_pack.cinemo_core.models.sd_unet.embeddings import sinusoid
from cinemo_pack.cinemo_core.models.sd_unet.keys import ldm_name
from cinemo_pack.cinemo_core.models.sd_unet.step import Step
from cinemo_pack.tests.core.models.parity import assert_parity, fold, unfold
from cinemo_pack.tests.goldens import load, meta

CASES = [case["name"] for case in meta("unet_tiny_a.cases")["cases"]]
PARTS = meta("submodules_a")["fixtures"]
MODULES = keys.TABLE.modules(load("unet_tiny_a.weights"))


def positions(frames: int) -> TemporalPositions:
    return temporal_positions(frames, [32, 48, 64], torch.float32, torch.device("cpu"))


def step(frames: int, emb=None, context=None, size=None) -> Step:
    return Step(frames, emb, context, {"transformer_index": 0}, extras=positions(frames), size=size)


@pytest.mark.parametrize("name", CASES)
def test_whole_network(tiny_unet, name):
    tensors = load("unet_tiny_a.cases")
    case = {key.removeprefix(f"{name}."): value.float() for key, value in tensors.items() if key.startswith(f"{name}.")}
    z0, residual = case["base_content"], case["sample"]
    clips, frames = residual.shape[0], residual.shape[2] + 1
    x = fold(torch.cat([z0, z0 + residual], dim=2))
    timesteps = case["timestep"].expand(clips).repeat_interleave(frames)
    noise = tiny_unet(x, timesteps, case["encoder_hidden_states"], case["motion_ids"], transformer_options={})
    assert_parity(unfold(noise, clips)[:, :, 1:], case["output"])


def test_text_per_frame_equals_the_same_text_per_clip(tiny_unet):
    """The golden runs give one text per clip; the same text given once per frame must not change anything."""
    case = {key: value.float() for key, value in load("unet_tiny_a.cases").items() if key.startswith("c1.")}
    x = fold(torch.cat([case["c1.base_content"], case["c1.base_content"] + case["c1.sample"]], dim=2))
    text = case["c1.encoder_hidden_states"].repeat_interleave(6, dim=0)
    noise = tiny_unet(x, torch.full((12,), 981.0), text, case["c1.motion_ids"], transformer_options={})
    assert_parity(unfold(noise, 2)[:, :, 1:], case["c1.output"])


def run_part(unet, name: str, tensor) -> torch.Tensor:
    """Call the module that a golden names, in this network's own layout, and bring the result into the golden's."""
    module = PARTS[name]["module"] + (".conv." if "samplers" in PARTS[name]["module"] else ".")
    ldm = ldm_name(module, MODULES).removesuffix(".")
    if name.startswith("temporal_attention"):
        x = tensor("hidden_states").transpose(0, 1)  # n f d -> f n d, one clip
        return unet.get_submodule(ldm)(x, positions(x.shape[0])).transpose(0, 1)
    if name.startswith("rel_pos_bias"):
        return unet.get_submodule(ldm)(positions(int(name.removeprefix("rel_pos_bias_n"))).buckets)
    if name.startswith("rotary"):
        t = tensor("t")  # n heads f d
        return (t.unsqueeze(-2) @ positions(t.shape[-2]).rotations[t.shape[-1]]).squeeze(-2)
    module = unet.get_submodule(ldm.removesuffix(".conv").removesuffix(".op"))
    if name.startswith("resnet"):
        x = tensor("input_tensor")
        return unfold(module(fold(x), step(x.shape[2], emb=tensor("temb"))), x.shape[0])
    if name.startswith("transformer"):
        x = tensor("hidden_states")
        return unfold(module(fold(x), step(x.shape[2], context=tensor("encoder_hidden_states"))), x.shape[0])
    if name.startswith("basic_block"):
        frames = PARTS[name]["inputs"]["video_length"]
        return module(tensor("hidden_states"), step(frames, context=tensor("encoder_hidden_states")))
    if name == "cross_attention":
        return module(tensor("hidden_states"), tensor("encoder_hidden_states"))
    if name == "self_attention":
        return module(tensor("hidden_states"))
    if name == "feed_forward":
        return module(tensor("x"))
    x = tensor("x")
    size = PARTS[name]["inputs"].get("size", [x.shape[2], x.shape[3] * 2, x.shape[4] * 2])
    return unfold(module(fold(x), step(x.shape[2], size=tuple(size[1:]))), x.shape[0])


@pytest.mark.parametrize("name", [name for name in PARTS if name != "temb"])
def test_part(tiny_unet, name):
    tensors = load("submodules_a")
    found = run_part(tiny_unet, name, lambda argument: tensors[f"{name}.in.{argument}"])
    assert_parity(found, tensors[f"{name}.out"])


def test_relative_position_buckets():
    tensors = load("submodules_a")
    assert torch.equal(relative_position_buckets(tensors["rel_pos_bucket_table.rel"]), tensors["rel_pos_bucket_table.bucket"])
    for n in (16, 33, 40):
        assert torch.equal(positions(n).buckets, tensors[f"rel_pos_bias_n{n}.bucket"])


def test_embeddings_of_time_and_motion(tiny_unet):
    """Sinusoids in float32 and the two MLPs; the golden also records the sinusoids of the full-size widths."""
    t = load("submodules_a")
    times, motions = t["temb.timesteps"].float(), t["temb.motion_ids"]
    assert_parity(sinusoid(times, 64), t["temb.time_proj"])
    assert_parity(sinusoid(times, 320), t["temb.time_proj_320"])
    assert_parity(sinusoid(motions, 32), t["temb.motion_proj"])
    assert_parity(sinusoid(motions, 256), t["temb.motion_proj_256"])
    time = tiny_unet.time_embed(sinusoid(times, 64))
    motion = tiny_unet.motion_embed(sinusoid(motions, 32))
    assert_parity(time, t["temb.time_embedding"])
    assert_parity(motion, t["temb.motion_embedding"])
    assert_parity(time + motion, t["temb.sum"])
