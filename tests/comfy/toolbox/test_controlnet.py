"""ControlNets of Stable Diffusion: ComfyUI's own network and nodes steer the frames of a clip."""

from dataclasses import replace

import comfy.cldm.cldm
import comfy.controlnet
import comfy.model_management
import comfy.ops
import comfy.supported_models
import comfy.t2i_adapter.adapter
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.model import CinemoSupported
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.comfyui.stock_loaders import stock_description
from cinemo_pack.cinemo_core.errors import ConditioningError
from cinemo_pack.tests.comfy.toolbox.files import SMALL, control_lora, controlnet_weights, sd_weights, weights_of
from cinemo_pack.tests.drawn import draw
from safetensors.torch import save_file

from .conftest import evaluate, node, noise_of, per_frame, relative
from .kits import ANIMATE_ANYONE, CINEMO, DYNAMICRAFTER, FRAMES, HEIGHT, SCALE, WIDTH, Kit, every_family, make_clip

CinemoCheckpoint = stock_description(CinemoSupported)


def build_controlnet(kit: Kit, weights: dict[str, torch.Tensor]) -> comfy.cldm.cldm.ControlNet:
    """ComfyUI's ControlNet for a UNet of the kit's sizes."""
    sizes = kit.config.unet_config() | kit.settings
    sizes["in_channels"] = sizes.pop("out_channels")
    network = comfy.cldm.cldm.ControlNet(
        image_size=32, hint_channels=3, use_spatial_transformer=True, legacy=False, operations=comfy.ops.disable_weight_init, **sizes
    )
    network.load_state_dict(weights)
    return network.requires_grad_(False).eval()


@pytest.fixture(scope="session")
def network(kit):
    return build_controlnet(kit, controlnet_weights(kit.config))


@pytest.fixture
def controlnet(network):
    return comfy.controlnet.ControlNet(network, load_device=comfy.model_management.get_torch_device())


def hints(count: int, seed: int = 7) -> torch.Tensor:
    return torch.rand(count, HEIGHT * 8, WIDTH * 8, 3, generator=torch.Generator().manual_seed(seed))


def controlled(clip, controlnet, image, strength=1.0, start=0.0, end=1.0):
    positive, negative = node(
        "ControlNetApplyAdvanced",
        positive=clip.positive,
        negative=clip.negative,
        control_net=controlnet,
        image=image,
        strength=strength,
        start_percent=start,
        end_percent=end,
    )
    return replace(clip, positive=positive, negative=negative)


@every_family
def test_one_hint_for_all_frames(model, clip, controlnet):
    base = evaluate(model, clip, cfg=4.0)
    found = evaluate(model, controlled(clip, controlnet, hints(1)), cfg=4.0)
    clip.check_image(found, atol=1e-5)
    assert (per_frame(found - base)[clip.moving] > clip.kit.bound(cinemo=0.1, dynamicrafter=0.05, animate_anyone=0.05)).all()
    repeated = evaluate(model, controlled(clip, controlnet, hints(1).repeat(FRAMES, 1, 1, 1)), cfg=4.0)
    assert relative(repeated, found) <= 1e-5


@every_family
def test_one_hint_per_frame(model, clip, controlnet):
    """Frames meet inside the network, but a hint moves its own frame most."""
    images = hints(1).repeat(FRAMES, 1, 1, 1)
    base = evaluate(model, controlled(clip, controlnet, images))
    for frame in range(FRAMES)[clip.moving]:
        changed = images.clone()
        changed[frame] = hints(1, seed=8)[0]
        moved = per_frame(evaluate(model, controlled(clip, controlnet, changed)) - base)
        assert moved.argmax() == frame and moved[frame] > 1.5 * moved.sort().values[-2]


@every_family
def test_strength(model, clip, controlnet):
    """Zero changes nothing, and twice a small strength moves the frames twice as far."""
    base = evaluate(model, clip)
    assert torch.equal(evaluate(model, controlled(clip, controlnet, hints(1), strength=0.0)), base)
    once, twice = (evaluate(model, controlled(clip, controlnet, hints(1), strength=s)) - base for s in (0.01, 0.02))
    assert relative(twice, once * 2) < 0.1
    assert relative(once, twice) < 0.6


@every_family
def test_timestep_range(model, clip, controlnet):
    sampling = model.get_model_object("model_sampling")
    early, late = sampling.percent_to_sigma(0.25), sampling.percent_to_sigma(0.75)
    second_half = controlled(clip, controlnet, hints(1), start=0.5)
    assert torch.equal(evaluate(model, second_half, early), evaluate(model, clip, early))
    assert relative(evaluate(model, second_half, late), evaluate(model, clip, late)) > 0.01


@every_family
def test_the_controlnet_sees_noisy_frames_and_a_text_for_each(model, clip, controlnet, network):
    """What it would see of an image batch: z0 plus noise in every frame, scaled as the UNet's input is; both prompts."""
    seen = []
    handle = network.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs), with_kwargs=True)
    sigma = 2.0
    evaluate(model, controlled(clip, controlnet, hints(1)), sigma, cfg=4.0)
    handle.remove()
    frames = clip.samples * SCALE + sigma * noise_of(clip)
    frames = model.get_model_object("model_sampling").calculate_input(torch.tensor([sigma]), frames)
    assert len(seen) == (2 if clip.kit is ANIMATE_ANYONE else 1), "positive and negative go together, unless one of them has a bank"
    torch.testing.assert_close(torch.cat([call["x"] for call in seen]), frames.repeat(2, 1, 1, 1), rtol=1e-5, atol=1e-5)
    texts = torch.cat([call["context"] for call in seen]).unflatten(0, (2, FRAMES))
    prompts = {tuple(text[0, 0].tolist()) for text in texts}
    assert prompts == {tuple(c[0][0][0, 0].tolist()) for c in (clip.positive, clip.negative)}
    assert all(torch.equal(text, text[:1].expand_as(text)) for text in texts)


@every_family
def test_its_residuals_land_on_the_skips_of_their_blocks(model, clip, controlnet, network):
    """The skips of the decoder differ by what the ControlNet gives for the encoder's blocks, in the order that ComfyUI adds them in."""
    residuals, skips = [], []
    handle = network.register_forward_hook(lambda *call: residuals.extend(call[2]["output"]))

    def look(h, skip, options):
        skips.append(skip.clone())
        return h, skip

    model.set_model_patch(look, "output_block_patch")
    evaluate(model, clip)
    plain = list(skips)
    skips.clear()
    evaluate(model, controlled(clip, controlnet, hints(1)))
    handle.remove()
    assert len(residuals) == len(skips) == len(plain) > 4
    for with_hint, without, residual in zip(skips, plain, reversed(residuals), strict=True):
        assert relative(with_hint - without, residual) <= 1e-4
    assert len({tuple(residual.shape) for residual in residuals}) > 2


@every_family
def test_chained(model, clip, controlnet):
    first = controlled(clip, controlnet, hints(1), strength=0.01)
    both = controlled(first, controlnet, hints(1, seed=8), strength=0.01)
    second = controlled(clip, controlnet, hints(1, seed=8), strength=0.01)
    base = evaluate(model, clip)
    moved = [evaluate(model, c) - base for c in (first, second, both)]
    assert relative(moved[2], moved[0] + moved[1]) < 0.1


def test_the_old_apply_node(model, clip, controlnet):
    """ControlNetApply on the positive prompt alone: ComfyUI carries the hint over to the negative one."""
    positive = node("ControlNetApply", conditioning=clip.positive, control_net=controlnet, image=hints(1), strength=1.0)
    found = evaluate(model, clip.with_positive(positive), cfg=4.0)
    assert relative(found, evaluate(model, controlled(clip, controlnet, hints(1)), cfg=4.0)) <= 1e-5


def windowed(model, length, overlap):
    return node(
        "ContextWindowsManual",
        model=model,
        context_length=length,
        context_overlap=overlap,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="pyramid",
        dim=0,
        freenoise=False,
    )


@every_family
def test_in_context_windows(model, controlnet, kit):
    """One hint reaches every window; of one hint per frame each window gets the first ones: ComfyUI does not cut them."""
    clip = make_clip(frames=12, kit=kit)
    model = windowed(model, 6, 2)
    base = evaluate(model, clip)
    one = evaluate(model, controlled(clip, controlnet, hints(1)))
    assert (per_frame(one - base)[clip.moving] > clip.kit.bound(cinemo=0.1, dynamicrafter=0.05, animate_anyone=0.05)).all()
    images = hints(1).repeat(12, 1, 1, 1)
    images[8:] = hints(1, seed=8)
    assert relative(evaluate(model, controlled(clip, controlnet, images)), one) <= 1e-5


@every_family
def test_t2i_adapter(kit, tmp_path):
    """One hint or one per frame, alone and in windows, on a UNet with SD's twelve blocks, which its features are counted by."""
    config = replace(
        kit.config,
        channel_mult=(1, 1, 1, 1),
        num_res_blocks=(2, 2, 2, 2),
        transformer_depth=(1, 1, 0, 0, 0, 0, 0, 0),
        transformer_depth_output=(1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    )
    save_file(weights_of(config), tmp_path / "unet.safetensors")
    network = comfy.t2i_adapter.adapter.Adapter(channels=[64] * 4, nums_rb=2, cin=192, ksize=1, sk=True, use_conv=False, xl=False)
    network.load_state_dict({name: draw("t2i." + name, tuple(w.shape)).float() for name, w in network.state_dict().items()})
    adapter = comfy.controlnet.T2IAdapter(network.requires_grad_(False).eval(), network.input_channels, 8, "nearest-exact")
    with torch.inference_mode():
        model = load_unet(str(tmp_path / "unet.safetensors"), "fp32")
        clip = make_clip(frames=7, kit=kit, config=config)
        images = hints(1).repeat(7, 1, 1, 1)
        for patched in (model, windowed(model, 4, 1)):
            base = evaluate(patched, clip, cfg=4.0)
            found = evaluate(patched, controlled(clip, adapter, images[:1]), cfg=4.0)
            assert (per_frame(found - base)[clip.moving] > 0.1).all()
        changed = images.clone()
        changed[2] = hints(1, seed=8)[0]
        moved = per_frame(evaluate(model, controlled(clip, adapter, changed)) - evaluate(model, controlled(clip, adapter, images)))
        assert moved.argmax() == 2


@every_family
def test_a_file_through_the_stock_loader(folder, kit):
    """Real widths: the loader finds out by itself what the file is."""
    save_file(controlnet_weights(kit.real_width), folder / "edges.safetensors")
    save_file(weights_of(kit.real_width), folder / "unet.safetensors")
    with torch.inference_mode():
        model = load_unet(str(folder / "unet.safetensors"), "fp32")
        controlnet = node("ControlNetLoader", control_net_name="edges.safetensors")
        clip = make_clip(frames=3, kit=kit, config=kit.real_width)
        base = evaluate(model, clip)
        found = evaluate(model, controlled(clip, controlnet, hints(3)))
    assert (per_frame(found - base)[clip.moving] > clip.kit.bound(cinemo=0.1, dynamicrafter=0.05, animate_anyone=0.05)).all()


def test_control_lora(model, clip, small_weights, folder):
    """A Control-LoRA steers as the ControlNet does that has the UNet's weights plus its deltas."""
    file, whole = control_lora(small_weights, SMALL)
    save_file(file, folder / "edges.safetensors")
    loaded = node("ControlNetLoader", control_net_name="edges.safetensors")
    assert isinstance(loaded, comfy.controlnet.ControlLora)
    device = comfy.model_management.get_torch_device()
    expected = comfy.controlnet.ControlNet(build_controlnet(CINEMO, whole), load_device=device)
    base = evaluate(model, clip, cfg=4.0)
    found, expected = (evaluate(model, controlled(clip, c, hints(1)), cfg=4.0) for c in (loaded, expected))
    assert relative(found, expected) <= 1e-5
    assert (per_frame(found - base)[1:] > 0.1).all()


@pytest.mark.parametrize("kit", [DYNAMICRAFTER], indirect=True)
def test_control_lora_does_not_fit_dynamicrafter(model, clip, kit, folder, controlnet):
    """Nor where it is behind a ControlNet that does."""
    file, _ = control_lora(sd_weights(kit.config), kit.config)
    save_file(file, folder / "edges.safetensors")
    lora = node("ControlNetLoader", control_net_name="edges.safetensors")
    expected = "which takes its first convolution from the model; DynamiCrafter's reads an image next to the noise"
    for chained in (controlled(clip, lora, hints(1)), controlled(controlled(clip, lora, hints(1)), controlnet, hints(1))):
        with pytest.raises(ConditioningError, match=expected):
            evaluate(model, chained)


def test_control_lora_on_a_saved_model(model, clip, small_weights, folder, monkeypatch):
    """Also where ComfyUI's own loader has loaded the UNet."""
    file, _ = control_lora(small_weights, SMALL)
    save_file(file, folder / "edges.safetensors")
    save_file(small_weights, folder / "unet.safetensors")
    monkeypatch.setattr(comfy.supported_models, "models", [CinemoCheckpoint, *comfy.supported_models.models])
    stock = node("UNETLoader", unet_name="unet.safetensors", weight_dtype="default")
    found, expected = (
        evaluate(m, controlled(clip, node("ControlNetLoader", control_net_name="edges.safetensors"), hints(1))) for m in (stock, model)
    )
    assert relative(found, expected) <= 1e-5
