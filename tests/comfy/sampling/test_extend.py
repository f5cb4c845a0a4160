"""Longer clips: length, seams, drift, the prompt and motion of each segment, and what an interruption leaves."""

import gc
import itertools
import re
from dataclasses import replace

import comfy.model_management
import comfy.utils
import latent_preview
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.bundle import load_bundle
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import CLIP_KEY, Motion, condition_clip
from cinemo_pack.cinemo_core.comfyui.cinemo.extend import Settings, extend_video
from cinemo_pack.cinemo_core.comfyui.cinemo.noise import DCTInitNoise
from cinemo_pack.cinemo_core.comfyui.cinemo.sampling import Sampling, sample_clip
from cinemo_pack.cinemo_core.comfyui.noise import random_noise
from cinemo_pack.cinemo_core.comfyui.pictures import ClipSize
from cinemo_pack.cinemo_core.errors import CinemoError
from cinemo_pack.cinemo_core.motion.low_pass import LowPass
from cinemo_pack.cinemo_core.motion.segments import segment_seed

from .conftest import MOTION_ID, Clip, random_clip

SETTINGS = Settings(
    seed=1, steps=2, cfg=1.0, sampler_name="ddim", scheduler="cinemo_ddim", overlap=0, correction=0.5, cutoff=0.23, noise_level=975
)
FRAMES = 4  # of a segment of `clip`: segment k begins at frame 3 * k


@pytest.fixture
def clip() -> Clip:
    return random_clip(FRAMES, 5, 6)


def extend(model, start: Clip, segments: int = 3, latent: dict | None = None, **options) -> tuple[torch.Tensor, str]:
    """The frames and the text of the node; options that are settings replace those, the rest goes to the call."""
    settings = SETTINGS._replace(**{name: options.pop(name) for name in SETTINGS._fields if name in options})
    latent = {"samples": start.samples} if latent is None else latent
    frames, text = extend_video(model, start.positive, start.negative, latent, segments, settings, **options)
    return frames["samples"], text


def statistics(frame: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return frame.mean((-2, -1)), frame.std((-2, -1), correction=0)


def drift_numbers(text: str) -> list[tuple[float, ...]]:
    """Per segment: number, frame, mean before and after, std before and after."""
    number = r"(\d+(?:\.\d+)?(?:e[+-]\d+)?)"
    title, *lines = text.split("\n")
    rows = [re.fullmatch(rf"segment (\d+), frame (\d+): mean {number} -> {number}, std {number} -> {number}", line) for line in lines]
    assert title.endswith(":") and all(rows)
    return [tuple(map(float, row.groups())) for row in rows if row]


def test_four_segments_of_16_frames_are_61(model):
    clip = random_clip(16, 8, 8)
    frames, text = extend(model, clip, 4, steps=1)
    assert frames.shape == (61, 4, 8, 8) and frames.isfinite().all()
    assert torch.equal(frames[:1], clip.samples[:1])
    assert [row[:2] for row in drift_numbers(text)] == [(1, 15), (2, 30), (3, 45), (4, 60)]


def test_a_segment_is_animated_from_the_last_frame_of_the_one_before(model, clip):
    """Each segment, sampled by itself from the frame at the seam, comes out as it is in the whole clip."""
    frames, _ = extend(model, clip, 3, correction=0.0)
    assert frames.shape[0] == 10
    for index, start in enumerate((0, 3, 6)):
        z0 = frames[start : start + 1]
        positive, negative = ([[c[0][0], {CLIP_KEY: replace(c[0][1][CLIP_KEY], z0=z0)}]] for c in (clip.positive, clip.negative))
        still = z0.repeat(FRAMES, 1, 1, 1)
        seed = segment_seed(1, index)
        noise = DCTInitNoise(still, random_noise(seed), LowPass(0.23, 975))
        alone, _ = sample_clip(model, positive, negative, {"samples": still}, Sampling(seed, 2, 1.0, "ddim", "cinemo_ddim"), noise=noise)
        assert torch.equal(alone["samples"], frames[start : start + FRAMES])


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_segments_begin_from_the_corrected_frame(model, clip, strength, monkeypatch):
    """The frame at each seam is the one frame that both segments share, and its drift is taken back by the strength."""
    starts: list[torch.Tensor] = []
    monkeypatch.setattr(DCTInitNoise, "generate_noise", watch_first_frame(starts, DCTInitNoise.generate_noise))
    frames, text = extend(model, clip, correction=strength)
    assert torch.equal(torch.cat(starts), frames[[0, 3, 6]]), "what the sampler starts from is what the clip shows at the seam"
    for _, frame, mean, corrected_mean, std, corrected_std in drift_numbers(text):
        assert mean > 1 and std > 1
        assert (corrected_mean, corrected_std) == pytest.approx(((1 - strength) * mean, (1 - strength) * std), rel=1e-3, abs=1e-3)
        if strength == 1.0:
            for found, expected in zip(statistics(frames[int(frame)]), statistics(clip.samples[0]), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def watch_first_frame(seen: list, generate):
    def watched(self, latent):
        seen.append(latent["samples"][:1])
        return generate(self, latent)

    return watched


def test_overlap(model, clip):
    """Two segments of 4 that overlap by 1: 6 frames, of which the first 3 are the first segment's alone."""
    alone, _ = extend(model, clip, 1, overlap=1)
    frames, text = extend(model, clip, 2, overlap=1)
    assert frames.shape[0] == 6
    assert torch.equal(frames[:3], alone[:3]) and not torch.equal(frames[3], alone[3])
    assert [row[1] for row in drift_numbers(text)] == [2, 4]


def test_closed_loop_ends_where_it_began_without_a_jump(model, clip):
    plain, _ = extend(model, clip)
    loop, _ = extend(model, clip, closed_loop=True)
    assert loop.shape[0] == 2 * plain.shape[0] - 1
    assert torch.equal(loop[-1:], clip.samples[:1])
    largest_step = [clip.diff(dim=0).square().mean((1, 2, 3)).max().item() for clip in (loop, plain)]
    assert largest_step[0] == pytest.approx(largest_step[1], rel=1e-5)


def test_same_seed_same_clip(model, clip):
    frames, text = extend(model, clip)
    again, text_again = extend(model.clone(), clip)
    assert torch.equal(again, frames) and text_again == text
    other, _ = extend(model, clip, 1, seed=2)
    assert not torch.equal(other[1:FRAMES], frames[1:FRAMES])


def test_segments_have_noise_of_their_own(model, clip, monkeypatch):
    noises = []
    generate = DCTInitNoise.generate_noise
    monkeypatch.setattr(DCTInitNoise, "generate_noise", lambda *args: noises.append(generate(*args)) or noises[-1])
    extend(model, clip, cutoff=0.0)
    expected = [random_noise(segment_seed(1, k)).generate_noise({"samples": clip.samples}) for k in range(3)]
    torch.testing.assert_close(torch.stack(noises), torch.stack(expected), rtol=0, atol=1e-6)  # cutoff 0: plain noise
    assert not torch.equal(noises[0], noises[1])


@pytest.mark.parametrize("change", [{"cutoff": 0.9}, {"cutoff": 0.5, "noise_level": 500}])
def test_dctinit_settings_count(model, clip, change):
    frames, _ = extend(model, clip, 1, cutoff=0.5)
    assert not torch.allclose(extend(model, clip, 1, **change)[0], frames, atol=0.1)


def test_buckets_reach_their_segments(model, clip):
    """Segments before the first other bucket stay, those after it change; the conditioning's own bucket changes nothing."""
    own = str(99 - int(MOTION_ID))
    base, _ = extend(model, clip)
    assert torch.equal(extend(model.clone(), clip, buckets=own)[0], base)
    changed, _ = extend(model, clip, buckets=f"{own}, 19")
    assert torch.equal(changed[:FRAMES], base[:FRAMES])
    assert not torch.allclose(changed[4:7], base[4:7], atol=0.1)
    last, _ = extend(model, clip, buckets=f"{own}, 19, {own}")
    assert torch.equal(last[:7], changed[:7]) and not torch.allclose(last[7:], changed[7:], atol=0.1)


def test_a_negative_with_a_motion_of_its_own_keeps_it_in_every_segment(model, clip):
    """The buckets of the segments are the clip's; what guidance leads away from stays."""

    def with_clip(conditioning: list, **changes) -> list:
        return [[tokens, {CLIP_KEY: replace(options[CLIP_KEY], **changes)}] for tokens, options in conditioning]

    clip.negative = with_clip(clip.negative, motion_id=99.0, keeps_motion=True)
    frames, _ = extend(model, clip, 2, buckets="19", cfg=2.0, correction=0.0)
    clip.positive = with_clip(clip.positive, motion_id=80.0)
    assert torch.equal(extend(model.clone(), clip, 2, cfg=2.0, correction=0.0)[0], frames)
    clip.negative = with_clip(clip.negative, motion_id=80.0)
    assert not torch.allclose(extend(model.clone(), clip, 2, cfg=2.0, correction=0.0)[0], frames, atol=0.05)


def test_a_noise_mask_holds_in_every_segment(model, clip):
    mask = torch.ones(1, 1, 5, 6)
    mask[..., :3] = 0
    frames, _ = extend(model, clip, latent={"samples": clip.samples, "noise_mask": mask}, correction=0.0)
    torch.testing.assert_close(frames[..., :3], clip.samples[:1, ..., :3].expand(10, 4, 5, 3), rtol=0, atol=1e-4)
    assert (frames - clip.samples[:1])[1:, ..., 4:].abs().mean() > 1


class Watch:
    """Follows the progress bar and previews of a run as ComfyUI sends them; interrupts it after a number of steps."""

    def __init__(self, monkeypatch):
        self.steps: list[tuple[int, int]] = []
        self.previews: list[bytes] = []
        self.between: list[float] = []
        self.interrupt_after: int | None = None
        monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.Latent2RGB)
        monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", self.hook)

    def hook(self, value, total, preview, node_id=None):
        if preview is None:  # within a step
            self.between.append(value)
            return
        self.steps.append((value, total))
        self.previews.append(preview[1].tobytes())
        if value == self.interrupt_after:
            comfy.model_management.interrupt_current_processing()

    def take(self) -> list[int]:
        """The steps taken since the last call."""
        values = [value for value, _ in self.steps]
        self.steps.clear()
        return values


@pytest.fixture
def watch(monkeypatch) -> Watch:
    return Watch(monkeypatch)


def test_one_progress_bar_over_all_segments_with_moving_previews(model, clip, watch):
    extend(model, clip, 3, steps=4)
    assert watch.steps == [(step, 12) for step in range(1, 13)]
    assert len(set(watch.previews)) == 12
    assert watch.between and all(0 < value < 12 for value in watch.between), "and it moves within a step"


@pytest.mark.parametrize("step", [5, 6], ids=["within the third segment", "at the end of the third segment"])
def test_interrupted_and_queued_again_goes_on_where_it_was(model, clip, watch, step):
    expected, text = extend(model.clone(), clip, 4)
    latent = {"samples": clip.samples}
    watch.take()
    watch.interrupt_after = step
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        extend(model, clip, 4, latent=latent)
    assert watch.take() == list(range(1, step + 1))
    watch.interrupt_after = None
    done = step // 2
    assert torch.equal(extend(model, clip, done, latent=latent)[0], expected[: 3 * done + 1])
    assert watch.take() == [], "what was done is there without sampling"
    frames, again = extend(model, clip, 4, latent=latent)
    assert watch.take() == list(range(2 * done + 1, 9)), "and only the rest is sampled"
    assert torch.equal(frames, expected) and again == text


def test_a_failure_keeps_what_is_done(model, clip, watch, monkeypatch):
    """As when memory runs out in the second segment."""
    latent = {"samples": clip.samples}
    apply = type(model.model)._apply_model
    calls = []

    def run_out(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > 3:  # one call per step
            raise comfy.model_management.OOM_EXCEPTION("out of memory")
        return apply(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(type(model.model), "_apply_model", run_out)
        with pytest.raises(comfy.model_management.OOM_EXCEPTION):
            extend(model, clip, latent=latent)
    watch.take()
    frames, _ = extend(model, clip, latent=latent)
    assert watch.take() == [3, 4, 5, 6]
    assert torch.equal(frames, extend(model.clone(), clip)[0])


def test_more_segments_and_changed_buckets_sample_from_there_on(model, clip, watch):
    latent = {"samples": clip.samples}
    extend(model, clip, 2, latent=latent)
    watch.take()
    longer, _ = extend(model, clip, 3, latent=latent)
    assert watch.take() == [5, 6]
    changed, _ = extend(model, clip, 3, latent=latent, buckets="9, 12")
    assert watch.take() == [1, 2, 3, 4, 5, 6]
    extend(model, clip, 3, latent=latent, buckets="9, 12, 15")
    assert watch.take() == [5, 6]
    assert torch.equal(changed[:FRAMES], longer[:FRAMES])


OTHER = Settings(seed=2, steps=3, cfg=3.0, sampler_name="euler", scheduler="normal", overlap=1, correction=0.4, cutoff=0.5, noise_level=900)


@pytest.mark.parametrize("name", Settings._fields)
def test_other_settings_sample_again(model, clip, watch, name):
    latent = {"samples": clip.samples}
    extend(model, clip, 1, latent=latent)
    watch.take()
    extend(model, clip, 1, latent=latent, **{name: getattr(OTHER, name)})
    assert watch.take() == list(range(1, (OTHER if name == "steps" else SETTINGS).steps + 1))


@pytest.mark.parametrize("name", ["positive", "negative", "latent", "model"])
def test_other_inputs_sample_again(model, clip, watch, name):
    latent = {"samples": clip.samples}
    extend(model, clip, 1, latent=latent)
    watch.take()
    if name == "latent":
        latent = dict(latent)
    elif name == "model":
        model = model.clone()
    else:
        setattr(clip, name, list(getattr(clip, name)))
    extend(model, clip, 1, latent=latent)
    assert watch.take() == [1, 2]


@pytest.fixture
def new_memory():
    """Gives the memory of all tensors that were made during the test and are still alive, in bytes."""
    gc.collect()
    gc.freeze()  # what is there already is left out

    def measure() -> int:
        gc.collect()
        tensors = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor)]
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())

    yield measure
    gc.unfreeze()


def test_memory_grows_by_the_frames_alone_and_goes_with_the_model(model, clip, watch, monkeypatch, new_memory):
    """All tensors alive at the last step of each segment: one segment's frames more than at that of the segment before."""
    segment = clip.samples.numel() * clip.samples.element_size()
    alive = []
    hook = watch.hook

    def count(value, *args, **kwargs):
        hook(value, *args, **kwargs)
        if value % 2 == 0:
            alive.append(new_memory())

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", count)
    owner = model.clone()
    frames, _ = extend(owner, clip, 5)
    assert len(alive) == 5 and [later - earlier for earlier, later in itertools.pairwise(alive)] == [segment] * 4
    kept = new_memory()
    del owner
    assert kept - new_memory() == 5 * segment, "the finished segments belong to the MODEL"
    assert frames.shape[0] == 16


@pytest.fixture(scope="module")
def drawn_parts(drawn):
    with torch.inference_mode():
        return load_bundle(str(drawn), "default", "image")


@pytest.fixture
def prompted(drawn_parts):
    """A model, a text encoder and a clip that was conditioned on the prompt "waves"."""
    with torch.inference_mode():
        model, text, vae = drawn_parts
        encode = [text.encode_from_tokens_scheduled(text.tokenize(words)) for words in ("waves", "")]
        image = torch.rand(1, 32, 48, 3, generator=torch.Generator().manual_seed(1))
        positive, negative, samples = condition_clip(*encode, vae, image, ClipSize(48, 32, FRAMES), Motion(9))
        yield model.clone(), text, Clip(samples[:1], samples, positive, negative)


def test_prompts_reach_their_segments(prompted, watch):
    model, text, clip = prompted
    latent = {"samples": clip.samples}
    base, _ = extend(model.clone(), clip, latent=latent)
    assert torch.equal(extend(model, clip, latent=latent, prompts="waves", clip=text)[0], base), "the last line repeats"
    watch.take()
    changed, _ = extend(model, clip, latent=latent, prompts="waves\nstorm", clip=text)
    assert watch.take() == [3, 4, 5, 6]
    assert torch.equal(changed[:FRAMES], base[:FRAMES]) and not torch.allclose(changed[4:], base[4:], atol=1e-3)
    again, _ = extend(model, clip, latent=latent, prompts="waves\nstorm\nwaves", clip=text)
    assert torch.equal(again[:7], changed[:7]) and not torch.allclose(again[7:], changed[7:], atol=1e-3)


def test_prompts_keep_what_else_the_conditioning_says(prompted):
    """A weight of the entry, as Conditioning Set Area and Set Mask give it, still counts."""
    model, text, clip = prompted
    tokens, options = clip.positive[0]
    halves = [[tokens, options | {"area": (4, 3, 0, x)}] for x in (0, 3)]
    plain, _ = extend(model, clip, 1, prompts="storm", clip=text)
    clip.positive = halves
    by_area, _ = extend(model, clip, 1, prompts="storm", clip=text)
    assert not torch.allclose(by_area, plain, atol=1e-3)


NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segments": 0}, "0 segments were asked for; choose 1 or more"),
        ({"segments": -1}, "-1 segments were asked for; choose 1 or more"),
        ({"overlap": 3}, r"overlap is 3 frame\(s\) and a segment has 4; choose 0 to 2"),
        ({"overlap": 4}, r"overlap is 4 frame\(s\)"),
        ({"overlap": -1}, r"overlap is -1 frame\(s\)"),
        ({"correction": 1.1}, "correction is 1.1; choose a number from 0"),
        ({"correction": NAN}, "correction is nan; choose"),
        ({"steps": 0}, "0 steps; choose a whole number"),
        ({"cutoff": 1.1}, "cutoff is 1.1; choose a share"),
        ({"noise_level": 1000}, "noise level is 1000; choose a whole"),
        ({"buckets": "1, 2, 3, 4"}, r"4 buckets for 3 segment\(s\)"),
        ({"buckets": "9, 20"}, "motion bucket is 20; choose a whole number"),
        ({"buckets": "some"}, 'buckets hold "some"; write whole numbers'),
        ({"prompts": "waves"}, "no CLIP to read them; connect"),
        ({"prompts": "a\nb\nc\nd"}, r"4 prompts for 3 segment\(s\)"),
        ({"latent": {"samples": torch.zeros(1, 4, 5, 6)}}, r"has 1 frame\(s\)"),
        ({"latent": {"samples": torch.zeros(4, 4, 5, 7)}}, "for 4 frames of 48x40, the latent has 4 frames of 56x40"),
        ({"latent": {"samples": torch.zeros(5, 4, 5, 6)}}, "the latent has 5 frames"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_bad_input_is_one_sentence_before_any_work(model, clip, watch, change, message):
    with pytest.raises(CinemoError, match=message) as error:
        extend(model, clip, **change)
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 400
    assert watch.take() == []


@pytest.mark.parametrize("side", ["positive", "negative"])
def test_conditioning_without_an_image(model, clip, side):
    setattr(clip, side, [[tokens, {}] for tokens, _ in getattr(clip, side)])
    with pytest.raises(CinemoError, match=f"The {side} conditioning does not say which image to animate"):
        extend(model, clip)


def test_text_of_another_encoder(model, clip, drawn_parts):
    with pytest.raises(CinemoError, match="gives 64 channels, this Cinemo model reads 40"):
        extend(model, clip, prompts="waves", clip=drawn_parts[1])
