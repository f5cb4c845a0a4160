"""Guidance and conditioning nodes: what each promises in a formula holds for the frames of a clip, and Cinemo's frame 0 stays the image."""

import pytest
import torch
from cinemo_pack.cinemo_core.errors import ConditioningError
from cinemo_pack.tests.drawn import TEXT_WIDTH

from .conftest import evaluate, node, noise_of, noisy, per_frame, relative, sample
from .kits import ANIMATE_ANYONE, FRAMES, HEIGHT, SCALE, WIDTH, Clip, cinemo_and_dynamicrafter, every_family, make_clip

SIGMA, CFG = 2.0, 4.0


def answers(model, clip: Clip) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean frames for the positive and for the negative prompt."""
    return evaluate(model, clip), evaluate(model, clip, cfg=0.0)


def prompt(clip: Clip, seed: int, tokens: int = 9) -> list:
    """Another prompt for the same clip."""
    text = torch.randn(1, tokens, TEXT_WIDTH, generator=torch.Generator().manual_seed(seed))
    return [[text, dict(clip.positive[0][1])]]


def velocity(frames: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The v-prediction of these clean frames."""
    return (x / (SIGMA**2 + 1) - frames) * (SIGMA**2 + 1) ** 0.5 / SIGMA


def length(difference: torch.Tensor) -> torch.Tensor:
    """Euclidean length of each frame."""
    return difference.square().sum(dim=(1, 2, 3)).sqrt()


@every_family
def test_rescale_cfg(model, clip):
    """With multiplier 1 the guided prediction of each frame varies as much as the unguided one; with 0 nothing changes."""
    positive, _ = answers(model, clip)
    plain = evaluate(model, clip, cfg=CFG)
    assert relative(evaluate(node("RescaleCFG", model=model, multiplier=0.0), clip, cfg=CFG), plain) <= 1e-5
    found = evaluate(node("RescaleCFG", model=model, multiplier=1.0), clip, cfg=CFG)
    spread = [velocity(frames, noisy(clip, SIGMA)).std(dim=(1, 2, 3)) for frames in (found, positive, plain)]
    torch.testing.assert_close(spread[0], spread[1], rtol=1e-4, atol=0)
    assert (spread[2][clip.moving] > clip.kit.bound(cinemo=1.05, dynamicrafter=1.02, animate_anyone=1.02) * spread[1][clip.moving]).all()
    clip.check_image(found)


@every_family
def test_apg(model, clip):
    """The step away from the negative is no longer than the threshold, frame by frame; with eta 0 nothing of it is along the frame."""
    positive, negative = answers(model, clip)
    difference = positive - negative

    def step(**options):
        patched = node("APG", model=model, **{"eta": 1.0, "norm_threshold": 0.0, "momentum": 0.0} | options)
        return (evaluate(patched, clip, cfg=CFG) - negative - difference) / CFG

    threshold = length(difference)[clip.moving].mean()
    torch.testing.assert_close(step(), difference, rtol=0, atol=1e-4)
    limited = step(norm_threshold=threshold.item())
    torch.testing.assert_close(length(limited), length(difference).clamp(max=threshold), rtol=1e-4, atol=1e-4)
    along = (step(eta=0.0) * positive).sum(dim=(1, 2, 3)) / (difference * positive).sum(dim=(1, 2, 3))
    assert along[clip.moving].abs().max() < 1e-3


def test_apg_momentum(model, clip):
    still = node("APG", model=model, eta=1.0, norm_threshold=5.0, momentum=0.0)
    moving = node("APG", model=model, eta=1.0, norm_threshold=5.0, momentum=-0.5)
    assert relative(sample(moving, clip), sample(still, clip)) > 1e-3
    assert torch.equal(evaluate(moving, clip, cfg=CFG), evaluate(still, clip, cfg=CFG))  # the first step has nothing to compare with


@every_family
def test_cfg_zero_star(model, clip):
    """Its scale of the negative comes from the noise, which frame space leaves alone; it is applied to the frame, as to an image."""
    positive, negative = answers(model, clip)
    x = noisy(clip, SIGMA)
    scale = ((x - positive) * (x - negative)).sum(dim=(1, 2, 3)) / (x - negative).square().sum(dim=(1, 2, 3))
    expected = evaluate(model, clip, cfg=CFG) + negative * (1 - scale)[:, None, None, None] * (CFG - 1)
    found = evaluate(node("CFGZeroStar", model=model), clip, cfg=CFG)
    assert relative(found, expected) <= 1e-5
    assert (
        per_frame(found - evaluate(model, clip, cfg=CFG))[clip.moving] > clip.kit.bound(cinemo=0.1, dynamicrafter=1e-3, animate_anyone=1e-3)
    ).all()
    clip.check_image(found)


@every_family
def test_video_linear_cfg(model, clip):
    """Guidance rises from frame to frame: each is what plain sampling gives at its own scale."""
    positive, negative = answers(model, clip)
    scales = torch.linspace(1.5, CFG, FRAMES)
    found = evaluate(node("VideoLinearCFGGuidance", model=model, min_cfg=1.5), clip, cfg=CFG)
    assert relative(found, negative + scales[:, None, None, None] * (positive - negative)) <= 1e-5
    for frame in range(FRAMES)[clip.moving]:
        assert relative(found[frame], evaluate(model, clip, cfg=scales[frame].item())[frame]) <= 1e-5


@every_family
@pytest.mark.parametrize("name", ["CFGNorm", "TCFG", "FreSca", "NAGuidance"])
def test_other_guidance(model, clip, name):
    options = {
        "CFGNorm": {"strength": 1.0},
        "FreSca": {"scale_low": 1.0, "scale_high": 1.25, "freq_cutoff": 2},
        "NAGuidance": {"nag_scale": 5.0, "nag_alpha": 0.5, "nag_tau": 1.5},
    }
    base = evaluate(model, clip, cfg=CFG)
    found = evaluate(node(name, model=model, **options.get(name, {})), clip, cfg=CFG)
    if name == "NAGuidance" and clip.kit is ANIMATE_ANYONE:  # acts where both prompts are evaluated at once; one of them has no bank
        assert torch.equal(found, base)
        return
    assert (per_frame(found - base)[clip.moving] > clip.kit.bound(cinemo=0.05, dynamicrafter=0.01, animate_anyone=0.01)).all()
    clip.check_image(found)


def test_mahiro_moves_frame_0_of_the_stock_sampler_only(model, clip):
    patched = node("Mahiro", model=model)
    assert per_frame(evaluate(patched, clip, cfg=CFG) - clip.z0)[0] > 0.01
    frames = clip.kit.sample(patched, clip, {"samples": clip.samples}, 2, clip.kit.schedulers[0])
    assert torch.equal(frames[:1], clip.samples[:1])


def test_skip_layer_guidance_has_nothing_to_skip(model, clip):
    """It leaves out blocks of transformers; a UNet has none, SD1.x no more than this one."""
    options = {"double_layers": "0, 1, 2", "single_layers": "0, 1, 2", "scale": 3.0, "start_percent": 0.0, "end_percent": 1.0}
    patched = node("SkipLayerGuidanceDiT", model=model, **options, rescaling_scale=0.0)
    assert relative(evaluate(patched, clip, cfg=CFG), evaluate(model, clip, cfg=CFG)) <= 1e-5


@every_family
def test_timestep_range(model, clip):
    sampling = model.get_model_object("model_sampling")
    early, late = sampling.percent_to_sigma(0.25), sampling.percent_to_sigma(0.75)
    other = prompt(clip, 20)
    first = node("ConditioningSetTimestepRange", conditioning=clip.positive, start=0.0, end=0.5)
    second = node("ConditioningSetTimestepRange", conditioning=other, start=0.5, end=1.0)
    both = clip.with_positive(node("ConditioningCombine", conditioning_1=first, conditioning_2=second))
    assert relative(evaluate(model, both, early), evaluate(model, clip, early)) <= 1e-5
    assert relative(evaluate(model, both, late), evaluate(model, clip.with_positive(other), late)) <= 1e-5


@every_family
def test_combine(model, clip):
    """Two prompts count half each; two clips with different motion likewise."""
    slower = clip.kit.options(clip.kit.config, clip.samples[:1], FRAMES, clip.kit.motions[1])
    others = [prompt(clip, 20), [[clip.positive[0][0], slower]]]
    for other in others:
        both = node("ConditioningCombine", conditioning_1=clip.positive, conditioning_2=other)
        first, second = evaluate(model, clip), evaluate(model, clip.with_positive(other))
        assert relative(evaluate(model, clip.with_positive(both)), (first + second) / 2) <= 1e-5
        assert relative(first, second) > 0.01


@every_family
def test_concat(model, clip):
    """Prompts of different lengths; the tokens of both count."""
    other = prompt(clip, 20, tokens=5)
    joined = node("ConditioningConcat", conditioning_to=clip.positive, conditioning_from=other)
    written = [[torch.cat([clip.positive[0][0], other[0][0]], dim=1), clip.positive[0][1]]]
    expected = evaluate(model, clip.with_positive(written), cfg=CFG)
    assert torch.equal(evaluate(model, clip.with_positive(joined), cfg=CFG), expected)
    assert relative(evaluate(model, clip, cfg=CFG), expected) > 0.01


@every_family
def test_average(model, clip):
    other = prompt(clip, 20)
    mixed = node("ConditioningAverage", conditioning_to=clip.positive, conditioning_from=other, conditioning_to_strength=0.25)
    written = [[clip.positive[0][0] * 0.25 + other[0][0] * 0.75, clip.positive[0][1]]]
    assert relative(evaluate(model, clip.with_positive(mixed)), evaluate(model, clip.with_positive(written))) <= 1e-5


@every_family
def test_area(model, kit):
    """Two prompts on two halves: each half is what its own prompt makes of its own half of the image, apart from the other."""
    clip = make_clip(width=2 * WIDTH, kit=kit)
    other = prompt(clip, 20)
    halves = [
        node("ConditioningSetArea", conditioning=text, width=WIDTH * 8, height=HEIGHT * 8, x=x * 8, y=0, strength=1.0)
        for text, x in ((clip.positive, 0), (other, WIDTH))
    ]
    both = clip.with_positive(node("ConditioningCombine", conditioning_1=halves[0], conditioning_2=halves[1]))
    found = evaluate(model, both)
    for text, columns in ((clip.positive, slice(0, WIDTH)), (other, slice(WIDTH, None))):
        samples = clip.samples[..., columns].contiguous()
        alone = [[text[0][0], kit.options(kit.config, samples[:1], FRAMES, kit.motions[0])]]
        half = Clip(kit, samples[:1] * SCALE, samples, alone, alone)
        expected = evaluate(model, half, noise=noise_of(clip)[..., columns])
        assert relative(found[..., columns], expected) <= 1e-5


@every_family
def test_mask(model, clip):
    """Two prompts under two masks: each place is what its prompt makes of the whole."""
    other = prompt(clip, 20)
    left = torch.zeros(1, HEIGHT, WIDTH)
    left[..., : WIDTH // 2] = 1
    parts = [
        node("ConditioningSetMask", conditioning=text, mask=mask, strength=1.0, set_cond_area="default")
        for text, mask in ((clip.positive, left), (other, 1 - left))
    ]
    both = node("ConditioningCombine", conditioning_1=parts[0], conditioning_2=parts[1])
    first, second = evaluate(model, clip), evaluate(model, clip.with_positive(other))
    assert relative(evaluate(model, clip.with_positive(both)), torch.where(left[None] > 0, first, second)) <= 1e-5


@every_family
def test_mask_per_frame(model, clip):
    """A mask of F frames hands the clip from one prompt to the other over time."""
    other = prompt(clip, 20)
    share = torch.linspace(1, 0, FRAMES)[:, None, None].expand(-1, HEIGHT, WIDTH)
    parts = [
        node("ConditioningSetMask", conditioning=text, mask=mask, strength=1.0, set_cond_area="default")
        for text, mask in ((clip.positive, share), (other, 1 - share))
    ]
    both = node("ConditioningCombine", conditioning_1=parts[0], conditioning_2=parts[1])
    first, second = evaluate(model, clip), evaluate(model, clip.with_positive(other))
    expected = first * share[:, None] + second * (1 - share[:, None])
    assert relative(evaluate(model, clip.with_positive(both)), expected) <= 1e-5


@cinemo_and_dynamicrafter  # Animate Anyone reads one embedding of a picture, and refuses more
def test_prompt_per_frame(model, clip):
    """A batch of F prompts: equal ones are one prompt; one that differs moves its own frame most."""
    text, options = clip.positive[0]
    base = evaluate(model, clip)
    same = text.repeat(FRAMES, 1, 1)
    assert relative(evaluate(model, clip.with_positive([[same, options]])), base) <= 1e-5
    for frame in range(FRAMES)[clip.moving]:
        travel = same.clone()
        travel[frame] = prompt(clip, 20)[0][0][0]
        moved = per_frame(evaluate(model, clip.with_positive([[travel, options]])) - base)
        assert moved.argmax() == frame and moved[frame] > 1.5 * moved.sort().values[-2]


@cinemo_and_dynamicrafter  # see the test before
def test_another_number_of_prompts_is_refused(model, clip):
    text, options = clip.positive[0]
    expected = f"The conditioning holds 3 prompts for a clip of {FRAMES} frames; give one prompt, or one per frame."
    with pytest.raises(ConditioningError, match=expected):
        evaluate(model, clip.with_positive([[text.repeat(3, 1, 1), options]]))


@every_family
def test_perp_neg(model, clip):
    """Of the negative only what is perpendicular to the positive counts, measured over the whole clip."""
    empty = prompt(clip, 20)
    positive, negative = answers(model, clip)
    nothing = evaluate(model, clip.with_positive(empty))
    towards, away = positive - nothing, negative - nothing
    expected = nothing + CFG * (towards - 0.7 * (away - (away * towards).sum() / towards.square().sum() * towards))
    guider = node(
        "PerpNegGuider",
        model=model,
        positive=clip.positive,
        negative=clip.negative,
        empty_conditioning=empty,
        cfg=CFG,
        neg_scale=0.7,
    )
    found = evaluate(model, clip, guider=guider)
    assert relative(found, expected) <= 1e-5 and relative(evaluate(model, clip, cfg=CFG), expected) > 0.01
    clip.check_image(found)


@every_family
def test_perp_neg_needs_a_clip_on_its_empty_prompt_too(model, clip):
    """Straight from CLIPTextEncode it is refused; ConditioningZeroOut of the negative, which keeps the clip, is enough."""
    parts = {"model": model, "positive": clip.positive, "negative": clip.negative, "cfg": CFG, "neg_scale": 1.0}
    bare = node("PerpNegGuider", empty_conditioning=[[prompt(clip, 20)[0][0], {}]], **parts)
    expected = f"pass positive and negative through {clip.kit.description.conditioner} before the sampler."
    if clip.kit is ANIMATE_ANYONE:
        expected = f"make positive and negative with {clip.kit.description.conditioner}."
    with pytest.raises(ConditioningError, match=expected):
        evaluate(model, clip, guider=bare)
    empty = node("ConditioningZeroOut", conditioning=clip.negative)
    assert evaluate(model, clip, guider=node("PerpNegGuider", empty_conditioning=empty, **parts)).isfinite().all()


@every_family
def test_dual_cfg(model, clip):
    """A guider with a third conditioning between positive and negative."""
    middle = prompt(clip, 20)
    positive, negative = answers(model, clip)
    between = evaluate(model, clip.with_positive(middle))
    expected = negative + 3.0 * (between + 2.0 * (positive - between) - negative)
    parts = {"cond1": clip.positive, "cond2": middle, "negative": clip.negative, "cfg_conds": 2.0, "cfg_cond2_negative": 3.0}
    guider = node("DualCFGGuider", model=model, style="nested", **parts)
    assert relative(evaluate(model, clip, guider=guider), expected) <= 1e-5
