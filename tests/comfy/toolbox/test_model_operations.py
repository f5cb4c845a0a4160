"""Operations on the MODEL: other noise schedules, merging, caching of steps, compiling, context windows, previews."""

import re
import time
from dataclasses import replace

import comfy.patcher_extension
import comfy.taesd.taesd
import latent_preview
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.sampling import Sampling, reference_sigmas, sample_clip
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.errors import InputError, SamplingError
from cinemo_pack.cinemo_core.models.cinemo.schedule import alphas_cumprod, sigma_of
from cinemo_pack.tests.comfy.toolbox.files import weights_of
from cinemo_pack.tests.drawn import draw
from comfy.ldm.modules.attention import attention_pytorch
from safetensors.torch import save_file

from .conftest import evaluate, node, noise_of, per_frame, relative, sample, watch_attention
from .kits import ANIMATE_ANYONE, CINEMO, DYNAMICRAFTER, SCALE, every_family, make_clip


def loaded_from(weights: dict, place):
    save_file(weights, place / "unet.safetensors")
    return load_unet(str(place / "unet.safetensors"), "fp32")


def test_model_sampling_discrete(model, clip):
    """Rebuilds Cinemo's own betas: with eps nothing changes, with zero terminal SNR only the noise levels do."""
    same = node("ModelSamplingDiscrete", model=model, sampling="eps", zsnr=False)
    assert torch.equal(sample(same, clip), sample(model, clip))
    sigmas = same.get_model_object("model_sampling").sigmas
    torch.testing.assert_close(sigmas.double(), sigma_of(alphas_cumprod()), rtol=1e-4, atol=0)
    zero_snr = node("ModelSamplingDiscrete", model=model, sampling="eps", zsnr=True)
    assert zero_snr.get_model_object("model_sampling").sigma_max > 4000 > 200 > sigmas[-1]
    assert reference_sigmas(zero_snr, 10, 1.0)[0] > reference_sigmas(model, 10, 1.0)[0]
    assert sample(zero_snr, clip).isfinite().all()


def test_v_prediction(model, clip):
    """The network's answer is read as v of the residual: what it means for x0 follows from it, and z0 is added as before."""
    sigma, other = 2.0, node("ModelSamplingDiscrete", model=model, sampling="v_prediction", zsnr=False)
    x = clip.samples * SCALE + sigma * noise_of(clip) - clip.z0
    answer = (x - (evaluate(model, clip, sigma) - clip.z0)) / sigma
    expected = x / (sigma**2 + 1) - answer * sigma / (sigma**2 + 1) ** 0.5 + clip.z0
    expected[:1] = clip.z0
    assert relative(evaluate(other, clip, sigma), expected) <= 1e-5


def test_lcm(model, clip):
    """Its 50 noise levels serve ComfyUI's schedulers; the authors' schedule needs all 1000 and says so."""
    other = node("ModelSamplingDiscrete", model=model, sampling="lcm", zsnr=False)
    assert sample(other, clip).isfinite().all()
    with pytest.raises(InputError, match=r"noise table has shape \[50\], Cinemo's schedules need one sigma for each of 1000 timesteps"):
        sample_clip(other, clip.positive, clip.negative, {"samples": clip.samples}, Sampling(1, 4, 4.0, "ddim", "cinemo_ddim"))


@pytest.mark.parametrize("kit", [DYNAMICRAFTER], indirect=True)
@pytest.mark.parametrize("sampling", ["eps", "v_prediction", "lcm", "x0"])
def test_a_replaced_schedule_is_refused_where_no_node_has_the_models_own(model, clip, sampling):
    other = node("ModelSamplingDiscrete", model=model, sampling=sampling, zsnr=True)
    with pytest.raises(InputError, match="DynamiCrafter 512 was trained with a dynamic rescale that no ModelSampling node has"):
        sample(other, clip)


@pytest.mark.parametrize("kit", [DYNAMICRAFTER], indirect=True)
def test_the_schedule_of_the_256_model_is_sds(kit, clip, tmp_path):
    """It may be replaced: by its own nothing changes, by that of distilled models the noise levels do."""
    gated = loaded_from(weights_of(replace(kit.config, gated=True, variant="256")), tmp_path)
    same, other = (node("ModelSamplingDiscrete", model=gated, sampling=name, zsnr=False) for name in ("eps", "lcm"))
    plain, unchanged, frames = (sample(m, clip, samples=torch.zeros_like(clip.samples)) for m in (gated, same, other))
    assert relative(unchanged, plain) <= kit.rounding
    assert frames.isfinite().all() and relative(frames, plain) > 10 * kit.rounding


@every_family
def test_merge_simple(model, clip, kit, small_weights, tmp_path):
    others = weights_of(kit.config, "other.")
    merged = node("ModelMergeSimple", model1=model, model2=loaded_from(others, tmp_path), ratio=0.25)
    (tmp_path / "expected").mkdir()
    expected = loaded_from({name: 0.25 * w + 0.75 * others[name] for name, w in small_weights.items()}, tmp_path / "expected")
    assert relative(sample(merged, clip), sample(expected, clip)) <= kit.rounding
    assert relative(sample(model, clip), sample(expected, clip)) > 0.1


@pytest.mark.parametrize(
    ("name", "ratios", "first"),
    [
        ("ModelMergeBlocks", {"input": 1.0, "middle": 0.5, "out": 0.0}, "input"),
        (
            "ModelMergeSD1",
            {"time_embed.": 1.0, "input_blocks.1.": 0.2, "middle_block.1.": 0.5, "output_blocks.2.": 0.0},
            "time_embed.",
        ),
    ],
)
@every_family
def test_merge_by_block(model, clip, kit, small_weights, tmp_path, name, ratios, first):
    """The temporal layers go with their block, what is outside SD's blocks with the first ratio of the node."""
    others = weights_of(kit.config, "other.")

    def ratio(key):
        return ratios[max((part for part in ratios if key.startswith(part)), key=len, default=first)]

    merged = node(name, model1=model, model2=loaded_from(others, tmp_path), **ratios)
    (tmp_path / "expected").mkdir()
    expected = {key: ratio(key) * w + (1 - ratio(key)) * others[key] for key, w in small_weights.items()}
    assert relative(sample(merged, clip), sample(loaded_from(expected, tmp_path / "expected"), clip)) <= kit.rounding


def test_merge_with_sd15(model, clip, small_weights, stock_sd, tmp_path):
    """The look of an SD1.x model goes into Cinemo's spatial layers; its temporal ones stay as they are."""
    merged = node("ModelMergeSimple", model1=model, model2=stock_sd, ratio=0.6)
    spatial = stock_sd.model.diffusion_model.state_dict()
    assert set(small_weights) - set(spatial) == {name for name in small_weights if re.search("attn_temp|norm_temp|motion_embed", name)}
    expected = {name: 0.6 * w + 0.4 * spatial[name] if name in spatial else w for name, w in small_weights.items()}
    assert relative(sample(merged, clip), sample(loaded_from(expected, tmp_path), clip)) <= 1e-5


def cached(model, name: str, threshold: float):
    return node(name, model=model, reuse_threshold=threshold, start_percent=0.1, end_percent=0.9, verbose=False)


@pytest.mark.parametrize(
    ("kit", "name", "low"),
    [(CINEMO, "EasyCache", 0.05), (CINEMO, "LazyCache", 0.05), (DYNAMICRAFTER, "EasyCache", 0.2), (ANIMATE_ANYONE, "EasyCache", 0.2)],
    indirect=["kit"],
)
def test_cached_steps(model, clip, name, low, capsys):
    """The higher the threshold, the fewer evaluations and the larger the error; at 0 there is neither."""
    runs = []
    for threshold in (None, 0.0, low, 1.0):
        patched = model.clone() if threshold is None else cached(model, name, threshold)
        calls = []
        watch_attention(patched, lambda q, k, v, heads, calls=calls: calls.append(1))
        start = time.perf_counter()
        frames = sample(patched, clip, steps=12)
        runs.append((time.perf_counter() - start, len(calls), frames))
    plain_seconds, plain_calls, plain = runs[0]
    with capsys.disabled():
        for threshold, (seconds, calls, frames) in zip((0.0, low, 1.0), runs[1:], strict=True):
            ratio = f"{plain_seconds / seconds:.2f}x as fast, {calls / plain_calls:.0%} of the evaluations"
            print(f"\n{name} with threshold {threshold}: {ratio}, relative error {relative(frames, plain):.2g}", end="")
    calls = [calls / plain_calls for _, calls, _ in runs[1:]]
    errors = [relative(frames, plain) for _, _, frames in runs[1:]]
    assert calls[0] == 1 and errors[0] == 0
    assert calls[2] < calls[1] < 1 and 0 < errors[1] < errors[2] < 1


@pytest.mark.parametrize("kit", [DYNAMICRAFTER, ANIMATE_ANYONE], ids=["DynamiCrafter", "Animate Anyone"], indirect=True)
def test_lazy_cache_spoils_a_start_from_noise_alone(model, clip):
    """It keeps differences of clean frames to noisy ones, and at zero terminal SNR the noise is thousands of times as large."""
    assert relative(sample(cached(model, "LazyCache", 0.2), clip, steps=12), sample(model, clip, steps=12)) > 0.5


@every_family
def test_torch_compile(kit, tmp_path):
    """The compiled network gives what the plain one gives, and is compiled again for another number of frames.

    With the tracing of the node and its guards, without a code generator, which takes minutes on a CPU.
    """
    one_level = replace(kit.config, channel_mult=(1,), num_res_blocks=(1,), transformer_depth=(1,), transformer_depth_output=(1, 1))
    with torch.inference_mode():
        config = replace(one_level, transformer_depth_middle=0)
        model = loaded_from(weights_of(config), tmp_path)
        options = model.model_options["transformer_options"]
        options["optimized_attention_override"] = lambda _, *args, **kwargs: attention_pytorch(*args, **kwargs)
        compiled = node("TorchCompileModel", model=model, backend="eager")
        for frames in (4, 3):
            clip = make_clip(frames, kit=kit, config=config)
            assert relative(evaluate(compiled, clip), evaluate(model, clip)) <= 1e-5
    frames_compiled = torch._dynamo.utils.counters["frames"]["ok"]
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    assert frames_compiled > 0


def windowed(model, schedule: str, length: int = 16, overlap: int = 4, **options):
    return node(
        "ContextWindowsManual",
        model=model,
        context_length=length,
        context_overlap=overlap,
        context_schedule=schedule,
        **{"context_stride": 1, "closed_loop": False, "fuse_method": "pyramid", "dim": 0, "freenoise": False} | options,
    )


@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        ("standard_static", {}),
        ("standard_static", {"causal_window_fix": False, "freenoise": True}),
        ("standard_uniform", {"context_stride": 2}),
        ("looped_uniform", {"closed_loop": True}),
        ("batched", {"overlap": 0, "fuse_method": "flat"}),
    ],
)
@every_family
def test_context_windows(model, kit, schedule, options):
    """48 frames in windows of 16: every window of Cinemo sees z0, and no evaluation holds more than 18 frames."""
    clip = make_clip(frames=48, kit=kit)
    model = windowed(model, schedule, **options)
    seen = []

    def watch(executor, x, *args, **kwargs):
        clip.check_image(x)
        seen.append(x.shape[0])
        return executor(x, *args, **kwargs)

    model.add_wrapper(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, watch)
    out = evaluate(model, clip)
    assert out.shape[0] == 48 and out.isfinite().all()
    clip.check_image(out, 1e-5)
    assert (per_frame(out - clip.z0)[clip.moving] > 0.1).all()
    assert len(seen) >= 3 and max(seen) <= 18


def evolved_windows(model, windows: list[list[int]]):
    """Sampling in windows as AnimateDiff-Evolved does it: it cuts the clip itself and says so in `ad_params`."""

    def in_windows(executor, model, conds, x, timestep, model_options):
        out, counts = [torch.zeros_like(x) for _ in conds], x.new_zeros(x.shape[0], 1, 1, 1)
        for window in windows:
            options = model_options["transformer_options"] | {"ad_params": {"full_length": x.shape[0], "sub_idxs": window}}
            parts = executor(model, conds, x[window], timestep[window], model_options | {"transformer_options": options})
            counts[window] += 1
            for whole, part in zip(out, parts, strict=True):
                whole[window] += part
        return [whole / counts for whole in out]

    model = model.clone()
    model.add_wrapper(comfy.patcher_extension.WrappersMP.CALC_COND_BATCH, in_windows)
    return model


@every_family
def test_context_windows_of_animatediff_evolved(model, kit):
    """They give what core's windows give that cut the clip in the same way, in order and looped; frame 0 alone is the image."""
    clip = make_clip(frames=12, kit=kit)
    for schedule, cuts in (
        ("standard_static", [range(6), range(4, 10), range(6, 12)]),
        ("looped_uniform", [range(6), range(4, 10), range(8, 14)]),
    ):
        cuts = [[index % 12 for index in cut] for cut in cuts]
        core = windowed(model, schedule, 6, 2, causal_window_fix=False, fuse_method="flat", closed_loop=schedule == "looped_uniform")
        expected = evaluate(core, clip)
        found = evaluate(evolved_windows(model, cuts), clip)
        assert relative(found, expected) <= 1e-5
        clip.check_image(found, 1e-5)
        assert (per_frame(found - clip.z0)[clip.moving] > 0.1).all()


@every_family
def test_an_enlarging_sampler_is_refused(model, clip):
    sampler = node("SamplerLCMUpscale", scale_ratio=2.0, scale_steps=-1, upscale_method="bislerp")
    guider = node("CFGGuider", model=model, positive=clip.positive, negative=clip.negative, cfg=1.0)
    with pytest.raises(SamplingError, match=r"asked about in a shape of .*\(SamplerLCMUpscale does not\)"):
        node(
            "SamplerCustomAdvanced",
            noise=node("RandomNoise", noise_seed=1),
            guider=guider,
            sampler=sampler,
            sigmas=torch.tensor([20.0, 8.0, 2.0, 0.0]),
            latent_image={"samples": clip.samples},
        )


def test_windows_follow_a_prompt_per_frame(model):
    """Each window reads its own part of F prompts: a change in the last frames leaves the first ones alone."""
    clip = make_clip(frames=48)
    model = windowed(model, "standard_static")
    text, options = clip.positive[0]
    travel = text.repeat(48, 1, 1)
    base = evaluate(model, clip.with_positive([[travel, options]]))
    assert relative(base, evaluate(model, clip)) <= 1e-5
    travel[-4:] = -text
    moved = per_frame(evaluate(model, clip.with_positive([[travel, options]])) - base)
    assert (moved[:28] == 0).all() and moved[-4:].min() > 2 * moved[28:-4].max()


class Previews:
    """The images that samplers show: `seen`, as bytes."""

    def __init__(self, monkeypatch, method: str, previewer: type):
        self.seen = []
        decode = previewer.decode_latent_to_preview

        def watch(previewer, x0):
            image = decode(previewer, x0)
            self.seen.append(image.tobytes())
            return image

        monkeypatch.setattr(previewer, "decode_latent_to_preview", watch)
        monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.from_string(method))

    def of(self, run) -> list:
        self.seen.clear()
        run()
        return list(self.seen)


def run_ours(model, clip):
    clip.kit.sample(model, clip, {"samples": clip.samples}, 4, clip.kit.schedulers[0])


@every_family
def test_latent2rgb_previews_move(model, clip, monkeypatch):
    previews = Previews(monkeypatch, "latent2rgb", latent_preview.Latent2RGBPreviewer)
    for run in (lambda: run_ours(model, clip), lambda: sample(model, clip, steps=4)):
        seen = previews.of(run)
        assert len(seen) == 4 and len(set(seen)) > 2


@every_family
def test_taesd_previews(model, clip, folder, monkeypatch):
    """They move with our samplers. With a stock sampler they show frame 0, the first one of every batch: with Cinemo the image."""
    decoder = comfy.taesd.taesd.Decoder()
    save_file({k: draw(k, tuple(w.shape)).float() for k, w in decoder.state_dict().items()}, folder / "taesd_decoder.safetensors")
    previews = Previews(monkeypatch, "taesd", latent_preview.TAESDPreviewerImpl)
    ours = previews.of(lambda: run_ours(model, clip))
    assert len(ours) == 4 and len(set(ours)) == 4
    stock = previews.of(lambda: sample(model, clip, steps=4))
    assert len(stock) == 4 and len(set(stock)) == (1 if clip.kit.pins_image else 4)
