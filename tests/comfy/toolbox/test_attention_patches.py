"""Patches of attention and of feature maps: IP-Adapter, PAG, SAG, FreeU, HyperTile, ToMe, DeepShrink, other attention kernels."""

import pytest
import torch
import torch.nn.functional as F
from cinemo_pack.tests.drawn import TEXT_WIDTH, draw
from comfy.ldm.modules.attention import optimized_attention

from .conftest import evaluate, node, per_frame, relative, sample, watch_attention
from .kits import FRAMES, HEIGHT, WIDTH, cinemo_and_dynamicrafter, every_family

TOKENS = HEIGHT * WIDTH
BLOCKS = [("input", 1), ("input", 3), ("middle", 0), ("output", 2), ("output", 3), ("output", 4), ("output", 5)]


class ImagePrompt:
    """What IP-Adapter does at a text attention: image tokens of each frame get an attention of their own, added to the text's.

    tokens: [f, n, c], for the positive prompt; the negative sees zeros, as there.
    """

    def __init__(self, tokens: torch.Tensor, weight: float):
        self.tokens = tokens
        self.weight = weight

    def __call__(self, q, k, v, options):
        heads, conditions = options["n_heads"], options["cond_or_uncond"]
        tokens = torch.cat([self.tokens if c == 0 else torch.zeros_like(self.tokens) for c in conditions])
        assert tokens.shape[0] == q.shape[0] == k.shape[0]
        to_k, to_v = (tokens @ draw(name, (q.shape[-1], TEXT_WIDTH)).float().T for name in ("to_k_ip", "to_v_ip"))
        return optimized_attention(q, k, v, heads) + self.weight * optimized_attention(q, to_k, to_v, heads)


def with_image_prompt(model, tokens: torch.Tensor, weight: float = 1.0):
    model = model.clone()
    for block in BLOCKS:
        model.set_model_attn2_replace(ImagePrompt(tokens, weight), *block)
    return model


def image_tokens(frames: int, seed: int = 11) -> torch.Tensor:
    return torch.randn(frames, 4, TEXT_WIDTH, generator=torch.Generator().manual_seed(seed))


@every_family
def test_ip_adapter(model, clip):
    """Changes the positive prompt's answer and not the negative's; weight 0 changes nothing."""
    tokens = image_tokens(1).expand(FRAMES, -1, -1)
    base, negative = evaluate(model, clip), evaluate(model, clip, cfg=0.0)
    patched = with_image_prompt(model, tokens)
    found = evaluate(patched, clip)
    clip.check_image(found, atol=1e-5)
    assert (per_frame(found - base)[clip.moving] > 0.1).all()
    assert relative(evaluate(patched, clip, cfg=4.0), negative + 4.0 * (found - negative)) <= 1e-5
    assert relative(evaluate(with_image_prompt(model, tokens, 0.0), clip), base) <= 1e-5


@every_family
def test_ip_adapter_with_an_image_per_frame(model, clip):
    """Frames meet inside the network, but an image moves its own frame most."""
    tokens = image_tokens(1).repeat(FRAMES, 1, 1)
    base = evaluate(with_image_prompt(model, tokens), clip)
    for frame in range(FRAMES)[clip.moving]:
        changed = tokens.clone()
        changed[frame] = image_tokens(1, seed=12)[0]
        moved = per_frame(evaluate(with_image_prompt(model, changed), clip) - base)
        assert moved.argmax() == frame and moved[frame] > 1.5 * moved.sort().values[-2]


@every_family
def test_text_attention_patch(model, clip):
    """Tokens that a patch appends to the text count as if they were in the prompt."""
    extra = image_tokens(1)
    positive = [[torch.cat([clip.positive[0][0], extra], dim=1), clip.positive[0][1]]]

    def append(n, context, value, options):
        longer = torch.cat([context, extra.expand(context.shape[0], -1, -1)], dim=1)
        return n, longer, longer

    patched = model.clone()
    patched.set_model_attn2_patch(append)
    expected = evaluate(model, clip.with_positive(positive))
    assert relative(evaluate(patched, clip), expected) <= 1e-5
    assert relative(evaluate(model, clip), expected) > 0.01


@every_family
def test_self_attention_patch(model, clip):
    """Every frame also looks at frame 0, as reference-only nodes do it; looking twice at itself changes nothing, where it sees no bank."""

    def look_at_frame_0(n, context, value, options):
        first = context[::FRAMES].repeat_interleave(FRAMES, dim=0)
        both = torch.cat([context, first], dim=1)
        return n, both, both

    def look_twice(n, context, value, options):
        both = torch.cat([context, context], dim=1)
        return n, both, both

    base = evaluate(model, clip)
    reference, doubled = model.clone(), model.clone()
    reference.set_model_attn1_patch(look_at_frame_0)
    doubled.set_model_attn1_patch(look_twice)
    assert relative(evaluate(doubled, clip, cfg=0.0), evaluate(model, clip, cfg=0.0)) <= 1e-5
    assert (
        per_frame(evaluate(reference, clip) - base)[clip.moving] > clip.kit.bound(cinemo=0.05, dynamicrafter=0.02, animate_anyone=0.01)
    ).all()


@every_family
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_perturbed_attention_guidance(model, clip, cfg):
    """Moves away from what the model answers without self-attention in its middle."""
    perturbed = model.clone()
    perturbed.set_model_attn1_replace(lambda q, k, v, options: v, "middle", 0)
    positive = evaluate(model, clip)
    expected = evaluate(model, clip, cfg=cfg) + 3.0 * (positive - evaluate(perturbed, clip))
    found = evaluate(node("PerturbedAttentionGuidance", model=model, scale=3.0), clip, cfg=cfg)
    assert relative(found, expected) <= 1e-5
    assert relative(evaluate(model, clip, cfg=cfg), expected) > 0.01


@every_family
def test_self_attention_guidance(model, clip):
    """Acts in proportion to its scale. It blurs frame 0 too, which Cinemo's own sampler puts back."""
    base = evaluate(model, clip, cfg=4.0)
    once, twice = (evaluate(node("SelfAttentionGuidance", model=model, scale=s, blur_sigma=2.0), clip, cfg=4.0) - base for s in (0.5, 1.0))
    assert (per_frame(once) > 0.01).all()
    assert relative(twice, once * 2) <= 1e-4
    patched = node("SelfAttentionGuidance", model=model, scale=0.5, blur_sigma=2.0)
    frames = clip.kit.sample(patched, clip, {"samples": clip.samples}, 2, clip.kit.schedulers[0])
    assert frames.isfinite().all() and (not clip.kit.pins_image or torch.equal(frames[:1], clip.samples[:1]))


@every_family
@pytest.mark.parametrize("name", ["FreeU", "FreeU_V2"])
def test_freeu(model, clip, name):
    """With factors of 1 nothing; else each of its two widths counts by itself."""
    base = evaluate(model, clip)
    neutral = {"b1": 1.0, "b2": 1.0, "s1": 1.0, "s2": 1.0}
    assert relative(evaluate(node(name, model=model, **neutral), clip), base) <= 1e-5
    for factor in neutral:
        changed = evaluate(node(name, model=model, **neutral | {factor: 1.5}), clip)
        assert relative(changed, base) > 1e-3, factor
    assert torch.equal(evaluate(model, clip), base)


@cinemo_and_dynamicrafter  # Animate Anyone's tiles see the whole bank besides: test_animate_anyone.py
def test_hypertile(model, clip):
    """Tiles of 4x4 tokens at the first level, each with its quarter of the keys, as ComfyUI's attention takes them for SD1.x."""

    def tiled(q, k, v, options):
        heads = options["n_heads"]
        if q.shape[1] != TOKENS:
            return optimized_attention(q, k, v, heads)
        tiles = q.unflatten(1, (2, HEIGHT // 2, 2, WIDTH // 2)).transpose(2, 3).flatten(3, 4).flatten(0, 2)  # (n nh nw) (h w) d
        k, v = (t.reshape(-1, TOKENS // 4, t.shape[-1]) for t in (k, v))
        out = optimized_attention(tiles, k, v, heads)
        return out.unflatten(0, (-1, 2, 2)).unflatten(3, (HEIGHT // 2, WIDTH // 2)).transpose(2, 3).flatten(1, 4)

    reference = model.clone()
    for block in BLOCKS:
        reference.set_model_attn1_replace(tiled, *block)
    expected = evaluate(reference, clip)
    found = node("HyperTile", model=model, tile_size=32, swap_size=1, max_depth=0, scale_depth=False)
    shapes = set()
    watch_attention(found, lambda q, k, v, heads: shapes.add(tuple(q.shape[:2])))
    assert relative(evaluate(found, clip), expected) <= 1e-5
    assert (FRAMES * 4, TOKENS // 4) in shapes
    assert relative(evaluate(model, clip), expected) > 0.01


@every_family
def test_tome(model, clip):
    """Merges half of the tokens at the first level, and the fewer it merges the less it changes."""
    base = evaluate(model, clip)
    assert torch.equal(evaluate(node("TomePatchModel", model=model, ratio=0.0), clip), base)
    errors = []
    for ratio in (0.1, 0.5, 0.75):
        patched = node("TomePatchModel", model=model, ratio=ratio)
        tokens = set()
        watch_attention(patched, lambda q, k, v, heads, tokens=tokens: tokens.add(q.shape[1]))
        torch.manual_seed(0)
        errors.append(relative(evaluate(patched, clip), base))
        assert TOKENS - int(TOKENS * ratio) in tokens
    assert 0 < errors[0] < errors[1] < errors[2]


@every_family
@pytest.mark.parametrize("after_skip", [True, False])
def test_deep_shrink(model, clip, after_skip):
    """Inside its range of steps the deeper blocks see maps of half the size; outside of it nothing changes."""
    shrunk = node(
        "PatchModelAddDownscale",
        model=model,
        block_number=1,
        downscale_factor=2.0,
        start_percent=0.0,
        end_percent=0.5,
        downscale_after_skip=after_skip,
        downscale_method="bicubic",
        upscale_method="bicubic",
    )
    sizes = {}
    shrunk.set_model_patch(lambda h, options: sizes.setdefault(options["block"], tuple(h.shape[2:])) and h, "input_block_patch")
    sampling = model.get_model_object("model_sampling")
    early, late = sampling.percent_to_sigma(0.25), sampling.percent_to_sigma(0.75)
    assert torch.equal(evaluate(shrunk, clip, late), evaluate(model, clip, late))
    sizes.clear()
    changed, base = evaluate(shrunk, clip, early), evaluate(model, clip, early)
    assert sizes[("input", 0)] == (HEIGHT, WIDTH) and sizes[("input", 3)] == (HEIGHT // 4, WIDTH // 4)
    clip.check_image(changed, atol=1e-5)
    assert (per_frame(changed - base)[clip.moving] > 0.01).all()


@every_family
def test_another_attention_kernel(model, clip):
    """Nodes that swap the attention function reach spatial, text and temporal attention, Cinemo's with its bias."""
    base = sample(model, clip)
    kinds = set()

    def kernel(attention, q, k, v, heads, mask=None, **kwargs):
        kinds.add(mask is not None)
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2)

    model.model_options["transformer_options"]["optimized_attention_override"] = kernel
    assert relative(sample(model, clip), base) <= 1e-4
    assert kinds == ({True, False} if clip.kit.pins_image else {False})
