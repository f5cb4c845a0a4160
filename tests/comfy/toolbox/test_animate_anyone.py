"""The same toolbox around Animate Anyone: the reference bank, the poses and the nodes of others act together."""

from dataclasses import replace

import comfy.model_management
import comfy.utils
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.animate_anyone.conditioning import FIGURE_KEY, FigureCondition, attach_figure
from cinemo_pack.cinemo_core.comfyui.animate_anyone.reference import make_bank
from cinemo_pack.cinemo_core.comfyui.animate_anyone.windows import Windows, set_windows
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.models.animate_anyone.family import ANIMATE_ANYONE
from cinemo_pack.tests.comfy.toolbox.files import LAYERS, SMALL, SMALL_ANIMATE_ANYONE, controlnet_weights, draw_lora, kohya, weights_of
from cinemo_pack.tests.drawn import draw
from comfy.ldm.modules.attention import attention_pytorch
from safetensors.torch import save_file

from .conftest import evaluate, node, per_frame, relative, sample, watch_attention
from .kits import ANIMATE_ANYONE as KIT
from .kits import CINEMO, FRAMES, HEIGHT, SCALE, WIDTH, Clip, make_clip
from .test_attention_patches import image_tokens, with_image_prompt
from .test_controlnet import build_controlnet, controlled, hints

CONFIG = SMALL_ANIMATE_ANYONE
CFG = 3.5


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return {name: draw(f"figure.{name}", shape).float() for name, shape in ANIMATE_ANYONE.shapes(CONFIG).items()}


@pytest.fixture(scope="module")
def file(tmp_path_factory, weights) -> str:
    path = tmp_path_factory.mktemp("figure") / "set.safetensors"
    save_file(weights, path)
    return str(path)


@pytest.fixture(scope="module")
def whole(file):
    return load_unet(file, "fp32")


@pytest.fixture
def model(whole):
    with torch.inference_mode():
        yield whole.clone()


def make_figure(model, frames: int = FRAMES, seed: int = 3) -> Clip:
    """A clip ready to sample, its samples a real one."""
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(1, 4, HEIGHT, WIDTH, generator=generator) / SCALE
    embeds = torch.randn(1, 1, CONFIG.context_dim, generator=generator)
    poses = torch.randint(0, 256, (1, frames, 3, HEIGHT * 8, WIDTH * 8), dtype=torch.uint8, generator=generator)
    samples = torch.randn(frames, 4, HEIGHT, WIDTH, generator=generator) / SCALE
    (positive,) = attach_figure(FigureCondition(poses, make_bank(model, latent, embeds)), [[embeds, {}]])
    (negative,) = attach_figure(FigureCondition(poses), [[torch.zeros_like(embeds), {}]])
    return Clip(KIT, latent * SCALE, samples, positive, negative)


@pytest.fixture
def figure(model) -> Clip:
    return make_figure(model)


def without_bank(figure: Clip) -> Clip:
    embeds, options = figure.positive[0]
    return figure.with_positive([[embeds, options | {FIGURE_KEY: FigureCondition(options[FIGURE_KEY].poses)}]])


def test_a_lora_on_the_denoiser(model, figure, weights, folder, tmp_path):
    lora, merged = draw_lora({name: tensor for name, tensor in weights.items() if not name.startswith("reference_net.")}, LAYERS, kohya)
    save_file(lora, folder / "style.safetensors")
    save_file(weights | merged, tmp_path / "merged.safetensors")
    changed = node("LoraLoaderModelOnly", model=model, lora_name="style.safetensors", strength_model=1.0)
    base, found = evaluate(model, figure), evaluate(changed, figure)
    assert relative(found, evaluate(load_unet(str(tmp_path / "merged.safetensors"), "fp32"), figure)) <= 1e-5
    assert relative(found, base) > 0.1
    bank, other = (make_figure(m).positive[0][1][FIGURE_KEY].bank for m in (model, changed))
    assert all(torch.equal(bank[block], other[block]) for block in bank), "ReferenceNet has it too"


def test_a_controlnet(model, figure):
    """One hint for all frames moves all; a hint per frame moves its own most, next to the poses and the bank."""
    network = build_controlnet(CINEMO, controlnet_weights(SMALL))
    controlnet = comfy.controlnet.ControlNet(network, load_device=comfy.model_management.get_torch_device())
    base = evaluate(model, figure, cfg=CFG)
    assert torch.equal(evaluate(model, controlled(figure, controlnet, hints(1), strength=0.0), cfg=CFG), base)
    assert (per_frame(evaluate(model, controlled(figure, controlnet, hints(1)), cfg=CFG) - base) > 0.1).all()
    images = hints(1).repeat(FRAMES, 1, 1, 1)
    steady = evaluate(model, controlled(figure, controlnet, images))
    changed = images.clone()
    changed[2] = hints(1, seed=8)[0]
    moved = per_frame(evaluate(model, controlled(figure, controlnet, changed)) - steady)
    assert moved.argmax() == 2 and moved[2] > 1.5 * moved.sort().values[-2]


def test_an_image_prompt_next_to_the_bank(model, figure):
    """Changes the positive's answer and not the negative's; the bank counts as much as without it."""
    tokens = image_tokens(1).expand(FRAMES, -1, -1)
    patched = with_image_prompt(model, tokens)
    base, found = evaluate(model, figure), evaluate(patched, figure)
    assert (per_frame(found - base) > 0.1).all()
    assert relative(evaluate(with_image_prompt(model, tokens, 0.0), figure), base) <= 1e-5
    negative = evaluate(model, figure, cfg=0.0)
    assert relative(evaluate(patched, figure, cfg=CFG), negative + CFG * (found - negative)) <= 1e-5
    assert relative(evaluate(patched, without_bank(figure)), found) > 0.01


@pytest.mark.parametrize("cfg", [1.0, CFG])
def test_perturbed_attention_guidance(model, figure, cfg):
    """Moves away from what the model answers without self-attention in its middle, where a place sees itself and not the bank."""
    perturbed = model.clone()
    perturbed.set_model_attn1_replace(lambda q, k, v, options: v[:, : q.shape[1]], "middle", 0)
    positive = evaluate(model, figure)
    expected = evaluate(model, figure, cfg=cfg) + 3.0 * (positive - evaluate(perturbed, figure))
    found = evaluate(node("PerturbedAttentionGuidance", model=model, scale=3.0), figure, cfg=cfg)
    assert relative(found, expected) <= 1e-5
    assert relative(evaluate(model, figure, cfg=cfg), expected) > 0.01


def test_self_attention_guidance(model, figure):
    """Acts in proportion to its scale. It looks at the negative's attention, which has no bank."""
    base = evaluate(model, figure, cfg=CFG)
    once, twice = (
        evaluate(node("SelfAttentionGuidance", model=model, scale=s, blur_sigma=2.0), figure, cfg=CFG) - base for s in (0.5, 1.0)
    )
    assert (per_frame(once) > 0.01).all() and relative(twice, once * 2) <= 1e-4


@pytest.mark.parametrize("name", ["FreeU", "FreeU_V2"])
def test_freeu(model, figure, name):
    base = evaluate(model, figure)
    neutral = {"b1": 1.0, "b2": 1.0, "s1": 1.0, "s2": 1.0}
    assert relative(evaluate(node(name, model=model, **neutral), figure), base) <= 1e-5
    for factor in neutral:
        assert relative(evaluate(node(name, model=model, **neutral | {factor: 1.5}), figure), base) > 1e-3, factor


def test_hypertile(model, figure):
    """Each tile of 4x4 places has its part of the keys, as for SD1.x, and the whole bank."""
    tiled = node("HyperTile", model=model, tile_size=32, swap_size=1, max_depth=0, scale_depth=False)
    shapes = set()
    watch_attention(tiled, lambda q, k, v, heads: shapes.add((q.shape[1], k.shape[1])))
    found = evaluate(tiled, figure)
    assert (16, 16 + HEIGHT * WIDTH) in shapes
    assert relative(found, evaluate(model, figure)) > 0.01


def test_a_mask(model, figure):
    mask = torch.ones(1, HEIGHT * 8, WIDTH * 8)
    mask[..., : WIDTH * 4] = 0
    latent = node("SetLatentNoiseMask", samples={"samples": figure.samples}, mask=mask)
    out = sample(model, figure, **latent)
    half = WIDTH // 2
    torch.testing.assert_close(out[..., :half], figure.samples[..., :half], rtol=0, atol=1e-3)
    assert (per_frame((out - figure.samples)[..., half:]) > 1).all()


def test_a_clip_is_changed_as_much_as_denoise_says(model, figure):
    distances = [relative(sample(model, figure, denoise=denoise), figure.samples) for denoise in (0.05, 0.3, 0.6, 1.0)]
    assert distances == sorted(distances) and distances[0] < 0.5 * distances[-1]


def test_rescaled_guidance(model, figure):
    plain = evaluate(model, figure, cfg=CFG)
    assert relative(evaluate(node("RescaleCFG", model=model, multiplier=0.0), figure, cfg=CFG), plain) <= 1e-5
    found = evaluate(node("RescaleCFG", model=model, multiplier=1.0), figure, cfg=CFG)
    assert found.std() < plain.std()


def test_narrow_weights_differ_by_their_rounding(file, figure):
    """Those of ReferenceNet too, whose bank is made again."""
    unit = {"fp16": 2**-12, "bf16": 2**-9, "fp8_e4m3fn": 2**-4, "fp8_e5m2": 2**-3}
    exact = evaluate(load_unet(file, "fp32"), figure)
    models = {name: load_unet(file, name) for name in unit}
    with torch.inference_mode():
        errors = {name: relative(evaluate(model, make_figure(model)), exact) for name, model in models.items()}
    assert errors["fp16"] <= 1e-5  # the rule of drawn.py draws float16 numbers
    assert errors["fp16"] < errors["bf16"] < errors["fp8_e4m3fn"] < errors["fp8_e5m2"]
    assert all(errors[name] < 6 * unit[name] for name in unit)


def test_computing_in_bf16(model, figure):
    narrow = node("ModelComputeDtype", model=model, dtype="bf16")
    seen = set()
    narrow.set_model_patch(lambda h, options: seen.add(h.dtype) or h, "input_block_patch")
    error = relative(evaluate(narrow, figure), evaluate(model, figure))
    assert seen == {torch.bfloat16} and 1e-4 < error < 0.05


def test_partly_loaded(file, model, figure):
    """Low VRAM: weights that are cast on their way to the device give the same bits, also in ReferenceNet."""
    partly = load_unet(file, "fp32")
    for patcher in (partly, partly.model.reference):
        comfy.model_management.load_models_gpu([patcher])
        patcher.detach()
        patcher.load(patcher.load_device, lowvram_model_memory=patcher.model_size() // 3)
        assert patcher.model.model_lowvram and patcher.loaded_size() < patcher.model_size()
    assert torch.equal(sample(partly, make_figure(partly)), sample(model, figure))


def test_windows_of_animate_anyone_are_comfyuis(model):
    """Windows that hold the whole clip change nothing; ContextWindowsManual gives what equal windows of this pack give."""
    short, long = make_figure(model), make_figure(model, 13)
    assert torch.equal(sample(set_windows(model, Windows(FRAMES, 1)), short), sample(model, short))
    ours = set_windows(model, Windows(5, 1))
    stock = node(
        "ContextWindowsManual",
        model=model,
        context_length=5,
        context_overlap=1,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="flat",
        dim=0,
        freenoise=False,
        causal_window_fix=False,
    )
    assert relative(sample(ours, long), sample(stock, long)) <= 1e-5


def test_a_compiled_model_in_windows(tmp_path, monkeypatch):
    """The same frames, without another compilation for a second run; the bar moves once a step, since blocks are not watched."""
    seen = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0)
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **kwargs: seen.append(value))
    one_level = replace(CONFIG, channel_mult=(1,), num_res_blocks=(1,), transformer_depth=(1,), transformer_depth_output=(1, 1))
    config = replace(one_level, transformer_depth_middle=0)
    save_file(weights_of(config), tmp_path / "unet.safetensors")
    with torch.inference_mode():
        model = set_windows(load_unet(str(tmp_path / "unet.safetensors"), "fp32"), Windows(5, 1))
        options = model.model_options["transformer_options"]
        options["optimized_attention_override"] = lambda _, *args, **kwargs: attention_pytorch(*args, **kwargs)
        clip = make_clip(13, kit=KIT, config=config)
        plain = sample(model, clip)
        compiled = node("TorchCompileModel", model=model, backend="eager")
        runs = []
        for _ in range(2):
            seen.clear()
            assert relative(sample(compiled, clip), plain) <= 1e-5
            runs.append(torch._dynamo.utils.counters["frames"]["ok"])
        assert seen and all(value % 1 == 0 for value in seen)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    assert runs[0] == runs[1] > 0
