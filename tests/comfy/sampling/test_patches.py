"""What other nodes hook into: ComfyUI's patches, wrappers, ControlNet residuals, areas, LoRA names, context windows."""

import comfy.context_windows
import comfy.lora
import comfy.patcher_extension
import comfy.samplers
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.noise import random_noise

from .conftest import animate, random_clip

FRAMES, HEIGHT, WIDTH = 5, 6, 7


def plain_attention(q, k, v, options):
    heads = options["n_heads"]
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)


def test_attention_patches_see_frames_as_rows(model, clip):
    """One row per frame and per condition; text repeated to match, as for an SD1.x batch of images."""
    shapes = {"attn1": set(), "attn2": set()}

    def watch(name):
        def patch(n, context, value, options):
            assert n.shape[0] == context.shape[0] == value.shape[0] == 2 * FRAMES
            assert options["dim_head"] * options["n_heads"] == n.shape[-1]
            assert options["cond_or_uncond"] and options["original_shape"] == [2 * FRAMES, 4, HEIGHT, WIDTH]
            shapes[name].add((options["block"], options["block_index"], tuple(n.shape), options["transformer_index"]))
            return n, context, value

        return patch

    base = animate(model, clip)
    model.set_model_attn1_patch(watch("attn1"))
    model.set_model_attn2_patch(watch("attn2"))
    torch.testing.assert_close(animate(model, clip), base, rtol=1e-4, atol=1e-2)
    assert shapes["attn1"] == shapes["attn2"]
    blocks = {block for block, *_ in shapes["attn1"]}
    assert blocks == {("input", i) for i in (1, 3, 5)} | {("middle", 0)} | {("output", i) for i in range(2, 8)}
    assert sorted(index for *_, index in shapes["attn1"]) == list(range(10))


@pytest.mark.parametrize("place", ["attn1", "attn2"])
def test_replacing_an_attention_by_itself_changes_nothing(model, clip, place):
    base = animate(model, clip)
    calls = []

    def replacement(q, k, v, options):
        calls.append(tuple(q.shape))
        assert q.shape[0] == k.shape[0] == v.shape[0] == 2 * FRAMES
        return plain_attention(q, k, v, options)

    for block in (("input", 1), ("middle", 0)):
        model.set_model_patch_replace(replacement, place, *block)
    model.set_model_patch_replace(replacement, place, "output", 2, 0)  # with the index of the transformer block
    torch.testing.assert_close(animate(model, clip), base, rtol=1e-4, atol=1e-2)
    assert len(calls) == 3 * 2


@pytest.mark.parametrize("kind", ["input_block_patch", "input_block_patch_after_skip", "output_block_patch"])
def test_block_patches_see_maps_and_change_the_clip(model, clip, kind):
    base = animate(model, clip)
    seen = set()

    def patch(h, *rest):
        seen.add(h.ndim)
        assert h.shape[0] == 2 * FRAMES
        return (h * 1.1, *rest[:-1]) if len(rest) > 1 else h * 1.1

    model.set_model_patch(patch, kind)
    assert (animate(model, clip) - base).abs().mean() > 0.1
    assert seen == {4}


def test_other_patch_points(model, clip):
    base = animate(model, clip)
    called = set()

    def output(n, options):
        called.add("output")
        return n

    def middle(args):
        called.add("middle")
        assert args["h"].shape[0] == 2 * FRAMES and args["x"].shape == (2 * FRAMES, 4, HEIGHT, WIDTH)
        return {"h": args["h"] * 1.5}

    def embedding(emb, model_channels, options):
        called.add("embedding")
        assert emb.shape == (2, 4 * model_channels)
        return emb

    model.set_model_attn1_output_patch(output)
    model.set_model_attn2_output_patch(output)
    model.set_model_patch(lambda x, options: called.add("block") or x, "middle_patch")
    model.set_model_patch(embedding, "emb_patch")
    assert torch.equal(animate(model, clip), base)
    model.set_model_patch(middle, "middle_block_after_patch")
    assert (animate(model, clip) - base).abs().mean() > 0.1
    assert called == {"output", "middle", "block", "embedding"}


def test_diffusion_model_wrapper(model, clip):
    """Wrappers get ComfyUI's positional arguments; x holds frames, the first of each clip z0 itself."""
    base = animate(model, clip)

    def wrapper(executor, x, timesteps, context, y, control, transformer_options, **kwargs):
        assert x.shape == (2 * FRAMES, 4, HEIGHT, WIDTH) and timesteps.shape == (2 * FRAMES,) and context.shape[0] == 2
        torch.testing.assert_close(x[::FRAMES], clip.z0.expand(2, -1, -1, -1))
        return executor(x, timesteps, context, y, control, transformer_options, **kwargs) * 0.5

    model.add_wrapper(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, wrapper)
    assert (animate(model, clip) - base).abs().mean() > 0.1


def control_wrapper(residuals):
    """Stands where a ControlNet's result enters: hands residuals to the model."""

    def wrapper(apply_model, args):
        return apply_model(args["input"], args["timestep"], **args["c"] | {"control": residuals(args["input"].shape[0])})

    return wrapper


def test_control_residuals_are_taken_as_comfyuis_unet_takes_them(model, clip):
    base = animate(model, clip)
    left = {}

    def residuals(rows):
        control = {"input": [torch.zeros(rows, 64, 6, 7)] * 7 + [None], "middle": [torch.zeros(rows, 128, 1, 1)], "output": [None] * 8}
        left["control"] = control
        return control

    model.set_model_unet_function_wrapper(control_wrapper(residuals))
    with pytest.raises(RuntimeError):  # a residual of the wrong width is not swallowed
        animate(model, clip)

    def one(rows):
        control = {"output": [torch.full((rows, 128, 1, 1), 2.0)]}
        left["control"] = control
        return control

    model.set_model_unet_function_wrapper(control_wrapper(one))
    assert (animate(model, clip) - base).abs().mean() > 0.1
    assert left["control"] == {"output": []}


def test_lora_names_of_sd15_map_to_weights(model):
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    named = set(keys.values())
    assert {name for name in model.model.state_dict() if name.startswith("diffusion_model.") and name.endswith(".weight")} <= named
    kohya = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    assert keys[kohya] == "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    assert keys["lora_unet_mid_block_resnets_1_conv2"] == "diffusion_model.middle_block.2.out_layers.3.weight"
    assert keys["lora_unet_up_blocks_1_upsamplers_0_conv"] == "diffusion_model.output_blocks.3.2.conv.weight"
    assert "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn_temp.to_q" in keys


def test_area_conditioning(model):
    """Two prompts on two halves; the halves follow their own prompt."""
    clip = random_clip(height=8, width=16)
    text, options = clip.positive[0]
    left = [text, options | {"area": (8, 8, 0, 0), "strength": 1.0}]
    right = [-text, options | {"area": (8, 8, 0, 8), "strength": 1.0}]
    clip.positive = [left, right]
    base = animate(model, clip)
    clip.positive = [left, [text * 0.5, right[1]]]
    moved = (animate(model, clip) - base)[1:].abs()
    assert moved[..., 8:].mean() > 0.1
    assert base.isfinite().all()


def test_timestep_range(model, clip):
    base = animate(model, clip, steps=4)
    text, options = clip.positive[0]
    clip.positive = [
        [text, options | {"start_percent": 0.0, "end_percent": 0.5}],
        [-text, options | {"start_percent": 0.5, "end_percent": 1.0}],
    ]
    assert (animate(model, clip, steps=4) - base).abs().mean() > 0.1


def windowed(model, length, overlap, causal):
    handler = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("pyramid"),
        context_length=length,
        context_overlap=overlap,
        dim=0,
        causal_window_fix=causal,
    )
    model.model_options["context_handler"] = handler


@pytest.mark.parametrize("causal", [True, False])
def test_context_windows_keep_z0_in_sight(model, causal):
    """A window from the middle of a clip evaluates the network on z0 and its own frames."""
    clip = random_clip(frames=12)
    seen = []

    def wrapper(executor, x, *args, **kwargs):
        frames = x.unflatten(0, (2, -1))
        torch.testing.assert_close(frames[:, 0], clip.z0.expand(2, -1, -1, -1))
        seen.append(frames.shape[1])
        return executor(x, *args, **kwargs)

    model.add_wrapper(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, wrapper)
    windowed(model, 6, 2, causal)
    out = animate(model, clip, steps=2)
    assert out.shape[0] == 12 and out.isfinite().all()
    assert torch.equal(out[:1], clip.samples[:1])
    inside = {6, 8} if causal else {6, 7}  # the window itself; from the middle, z0 (and ComfyUI's anchor frame) before it
    assert set(seen) == inside


def test_one_window_over_everything_equals_no_window(model, clip):
    base = animate(model, clip)
    windowed(model, FRAMES, 0, True)
    assert torch.equal(animate(model, clip), base)


def test_noise_is_the_same_for_the_same_seed():
    latent = {"samples": torch.zeros(3, 4, 5, 6)}
    assert torch.equal(random_noise(4).generate_noise(latent), random_noise(4).generate_noise(latent))
