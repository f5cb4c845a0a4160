"""The networks against recorded outputs of the re-implementation, whole and part by part."""

import re

import pytest
import torch
from cinemo_pack.cinemo_core.models.animate_anyone.attention import Guides
from cinemo_pack.cinemo_core.models.animate_anyone.keys import TABLE, module_name
from cinemo_pack.cinemo_core.models.animate_anyone.pose_guider import PoseGuider
from cinemo_pack.cinemo_core.models.animate_anyone.positions import position_table
from cinemo_pack.cinemo_core.models.sd_unet.attention import swap
from cinemo_pack.cinemo_core.models.sd_unet.blocks import ResBlock, SpatialTransformer
from cinemo_pack.cinemo_core.models.sd_unet.embeddings import sinusoid
from cinemo_pack.cinemo_core.models.sd_unet.step import Step
from cinemo_pack.tests.core.models.parity import assert_parity, fold, unfold
from cinemo_pack.tests.goldens import load, meta
from cinemo_pack.tests.goldens.animate_anyone.rule import network

META = meta("animate_anyone/unet_tiny_a.cases")
CASES = {case["name"]: case for case in META["cases"]}
PARTS = meta("animate_anyone/submodules_a")
REENACTED = {case["name"]: case for case in meta("animate_anyone/reenact_tiny_a")["cases"]}


def tensors_of(golden: str, name: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in load(golden).items() if key.startswith(f"{name}.")}


def pictures(pose: torch.Tensor) -> torch.Tensor:
    return fold(pose.float() / 255)


def evaluate(networks, case: dict, bank: dict, poses: list[torch.Tensor], rows: slice) -> torch.Tensor:
    """The prediction for some rows of a case, which see one bank: [b, c, f, h, w]."""
    sample, context = case["sample"][rows], case["encoder_hidden_states"][rows]
    clips, _, frames = sample.shape[:3]
    timesteps = case["timestep"].float().expand(clips).repeat_interleave(frames)
    pose = networks.unet.guide(poses) if poses else None
    out = networks.unet(fold(sample), timesteps, context, Guides(bank, pose), transformer_options={})
    return unfold(out, clips)


@pytest.mark.parametrize("name", CASES)
def test_whole_network(tiny, name):
    case, facts = tensors_of("animate_anyone/unet_tiny_a.cases", name), CASES[name]
    poses = [pictures(case["pose_u8"])] if facts.get("pose") else []
    bank = {}
    if "ref_latents" in case:
        rows = slice(1, 2) if facts["cfg"] else slice(None)
        bank = dict(tiny.reference_net(case["ref_latents"][rows], case["encoder_hidden_states"][rows]))
        if facts.get("fusion") == "midup":  # an option of the recorded code that nothing uses
            bank = {block: tokens for block, tokens in bank.items() if block[0] != "input"}
    if facts["cfg"]:  # the half without the picture sees its own frame alone
        out = torch.cat([evaluate(tiny, case, {}, poses, slice(0, 1)), evaluate(tiny, case, bank, poses, slice(1, 2))])
    else:
        out = evaluate(tiny, case, bank, poses, slice(None))
    assert_parity(out, case["output"])


@pytest.mark.parametrize("name", REENACTED)
def test_reenactment(reenactment, name):
    """Each half sees the bank of its own picture, the one without a picture that of an empty latent."""
    case, facts = tensors_of("animate_anyone/reenact_tiny_a", name), REENACTED[name]
    latents = torch.cat([torch.zeros_like(case["ref_latents"]), case["ref_latents"]]) if facts["cfg"] else case["ref_latents"]
    bank = reenactment.reference_net(latents, case["encoder_hidden_states"])
    assert_parity(bank["input", 1][-1:], case["first_bank"][-1:])
    # The maps of an empty latent are all but constant, so that norms amplify rounding.
    assert (bank["input", 1] - case["first_bank"]).abs().max() <= 2e-4
    clips = case["sample"].shape[0]
    poses = [pictures(case[key]).repeat(clips, 1, 1, 1) for key in ("pose1_u8", "pose2_u8")]
    assert_parity(evaluate(reenactment, case, bank, poses, slice(None)), case["output"])


@pytest.mark.parametrize("facts", META["reference_unet"], ids=lambda facts: facts["name"])
def test_everything_that_reference_net_keeps(tiny, facts):
    case = tensors_of("animate_anyone/unet_tiny_a.cases", facts["name"])
    bank = tiny.reference_net(case["ref_latents"], case["encoder_hidden_states"])
    expected = {key.removeprefix("bank."): tensor for key, tensor in case.items() if key.startswith("bank.")}
    assert list(bank) == tiny.config.attending_blocks
    modules = TABLE.modules(META["weights"]["reference_unet"]["keys"])
    assert len(bank) == len(expected) == len(facts["bank_order"])
    for name, tokens in expected.items():
        stem, index = modules[name.removesuffix("transformer_blocks.0")].split(".")[:2]
        block = ("middle", 0) if stem == "middle_block" else (stem.removesuffix("_blocks"), int(index))
        assert_parity(bank[block], tokens)


def find(networks, path: str):
    """The module that a golden names, in these networks' own layout."""
    file, _, rest = path.partition(".")
    network = {"denoising_unet": networks.unet, "reference_unet": networks.reference_net}[file]
    names = META["weights"]["denoising_unet"]["keys"]
    sampler = "samplers." in rest  # in the file it has one layer, which has another name here
    rest = f"{rest}.conv" if sampler else re.sub(r"(motion_modules\.\d+)$", r"\1.temporal_transformer", rest)
    place = module_name(f"{rest}.", {name for name in names if "attentions." in name})
    prefix, renamed = next((prefix, renamed) for prefix, renamed in TABLE.modules(names).items() if place.startswith(prefix))
    here = (renamed + place.removeprefix(prefix)).rstrip(".")
    return network.get_submodule(here.rpartition(".")[0] if sampler else here)


def run_part(tiny, name: str, tensor) -> torch.Tensor:
    path = PARTS["pairs"][name]["module"].split(" ")[0]
    if name.startswith("temb"):
        return tiny.unet.time_embed(sinusoid(tensor("t"), tiny.config.model_channels))
    module, x = find(tiny, path), tensor("x")
    if name.startswith("temporal"):  # two clips of six frames, recorded as [b * f, h * w, d]
        return swap(module(swap(x, 6), options={}), x.shape[1])
    if name == "reference_transformer2d_bank":
        return keep_bank(module, x, tensor("encoder_hidden_states"))
    step = Step(x.shape[2] if x.ndim == 5 else 1, None, None, {"block": ("input", 4), "transformer_index": 0}, extras=Guides())
    maps = fold(x) if x.ndim == 5 else x
    if name.startswith("inflated"):
        out = module(maps)
    elif name.startswith("resnet"):
        step.emb = tensor("temb")
        out = ResBlock.forward(module, maps, step)
    elif "transformer" in name:
        step.context = tensor("encoder_hidden_states")
        out = spatial(module, maps, step, name, tensor)
    else:
        if name.startswith("upsample"):
            step.size = {"upsample_x2": (6, 8), "upsample_size": (5, 7)}[name]
        out = module(maps, step)
    return unfold(out, x.shape[0]) if x.ndim == 5 else out


def spatial(module, maps: torch.Tensor, step: Step, name: str, tensor) -> torch.Tensor:
    """A spatial transformer, without the motion module that is part of it here; in `_cfg` the first half sees no bank."""
    if "_bank" not in name:
        return SpatialTransformer.forward(module, maps, step)
    bank = tensor("bank")
    if not name.endswith("_cfg"):
        step.extras = Guides({("input", 4): bank})
        return SpatialTransformer.forward(module, maps, step)
    context, halves = step.context, []
    for row, guides in enumerate((Guides(), Guides({("input", 4): bank[1:]}))):
        step.context, step.extras = context[row : row + 1], guides
        halves.append(SpatialTransformer.forward(module, maps[row * step.frames :][: step.frames], step))
    return torch.cat(halves)


def keep_bank(module, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    kept = []

    def keep(n, context, value, seen):
        kept.append(n)
        return n, context, value

    options = {"transformer_index": 0, "block": ("input", 4), "patches": {"attn1_patch": [keep]}}
    module(x, Step(1, None, context, options, extras=Guides()))
    return kept[0]


@pytest.mark.parametrize("name", [name for name in PARTS["pairs"] if not name.startswith("pose_guider")])
def test_part(tiny, name):
    tensors = tensors_of("animate_anyone/submodules_a", name)
    assert_parity(run_part(tiny, name, lambda argument: tensors[f"in.{argument}"]), tensors["out"])


@pytest.mark.parametrize("name", [name for name in PARTS["pairs"] if name.startswith("pose_guider")])
def test_pose_guider(tiny, name):
    tensors = tensors_of("animate_anyone/submodules_a", name)
    guider = tiny.unet.pose_guiders[0]
    if name.endswith("full"):
        guider = PoseGuider((16, 32, 96, 256), 320, dtype=torch.float32, device="cpu", operations=torch.nn)
        guider.load_state_dict(network(PARTS["weights"]["pose_guider_full"]))
    with torch.no_grad():
        assert_parity(unfold(guider(pictures(tensors["in.x_u8"])), tensors["out"].shape[0]), tensors["out"])


@pytest.mark.parametrize(("dim", "error"), PARTS["position_table_float32_vs_float64"])
def test_position_table(dim, error):
    table = position_table(32, dim)[0].double()
    frame = torch.arange(32, dtype=torch.float64)[:, None]
    rates = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    assert (table[:, 0::2] - (frame * rates).sin()).abs().max() <= 2 * error
    assert (table[:, 1::2] - (frame * rates).cos()).abs().max() <= 2 * error
