"""The MODEL: the recorded network in ComfyUI's wrapper, one row per clip, windows of a clip, what its variant is."""

import comfy.model_management
import comfy.sampler_helpers
import comfy.samplers
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.dynamicrafter.conditioning import IMAGE_KEY, ImageCondition, attach_image
from cinemo_pack.cinemo_core.comfyui.loading import load_unet
from cinemo_pack.cinemo_core.errors import CheckpointError, ConditioningError, InputError, SamplingError
from cinemo_pack.cinemo_core.models.dynamicrafter.family import DYNAMICRAFTER
from cinemo_pack.cinemo_core.models.dynamicrafter.tokens import FIRST, REFERENCE, RESAMPLED
from cinemo_pack.tests.comfy.dynamicrafter.conftest import GOLDEN, PER_FRAME, frames_of, recorded_condition
from cinemo_pack.tests.comfy.families import dynamicrafter as small
from cinemo_pack.tests.core.models.parity import assert_parity
from cinemo_pack.tests.goldens import load
from comfy.context_windows import IndexListContextWindow
from safetensors.torch import save_file

FRAMES, HEIGHT, WIDTH = 6, 6, 10


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    save_file(small.weights(), path)
    return load_unet(str(path), "fp32")


def prepared(model, conditioning: list, x: torch.Tensor) -> dict:
    """The rows of a conditioning as a sampler hands them on."""
    conds = {"positive": comfy.sampler_helpers.convert_cond(conditioning)}
    (cond,) = comfy.samplers.process_conds(model.model, x, conds, x.device, torch.zeros_like(x), None, 0)["positive"]
    return cond


def denoise(model, conditioning: list, x: torch.Tensor, sigma: float, frames: list[int] | None = None, options: dict | None = None):
    """What the model makes of a clip, or of the frames of a window of it."""
    comfy.model_management.load_model_gpu(model)
    model.pre_run()
    cond = prepared(model, conditioning, x)
    options = {"transformer_options": options or {}}
    part = x if frames is None else x[frames]
    with torch.inference_mode():
        sigmas = torch.full((len(part),), float(sigma))
        return comfy.samplers.calc_cond_batch(model.model, [[cond]], part, sigmas, options)[0]


@pytest.mark.parametrize("case", ["c0", "c2", "c5", "l0", "l2", "c6"])
def test_the_recorded_network(load_tiny, case):
    """Cases of one clip, through latents, tokens and motion number of a conditioning; c6 lets every frame see all tokens."""
    golden = {key.removeprefix(f"{case}."): value for key, value in load(GOLDEN).items() if key.startswith(f"{case}.")}
    model = load_tiny("256" if case.startswith("l") else "512")
    frames = golden["x"].shape[2]
    rule = REFERENCE if golden["context"].shape[1] - 77 != PER_FRAME * frames else FIRST
    fs = int(golden["fs"]) if "fs" in golden else model.model.variant.default_fs
    condition = recorded_condition(golden["context"], golden["c_concat"], fs, rule)

    comfy.model_management.load_model_gpu(model)
    model.pre_run()
    cond = prepared(model, condition, frames_of(golden["x"]))
    outputs = []
    model.model.diffusion_model.register_forward_hook(lambda _module, _inputs, out: outputs.append(out))
    sampling = model.get_model_object("model_sampling")
    timestep = int(golden["timesteps"])
    sigma = sampling.sigmas[timestep]
    y = frames_of(golden["x"]) / sampling.signal[timestep]
    with torch.inference_mode():
        comfy.samplers.calc_cond_batch(model.model, [[cond]], y, sigma.repeat(frames), {"transformer_options": {}})
    assert_parity(outputs[0], frames_of(golden["output"]))


def test_text_and_image_are_one_row_for_a_clip_and_computed_once(model):
    seen = []
    model.model.diffusion_model.register_forward_hook(
        lambda _module, inputs, kwargs, _out: seen.append((inputs[0].shape, kwargs["context"].shape, kwargs["image_tokens"].shape)),
        with_kwargs=True,
    )
    calls = []
    projector = model.model.diffusion_model.image_proj_model
    hook = projector.register_forward_hook(lambda *_: calls.append(1))
    positive, negative = small.condition(FRAMES, HEIGHT, WIDTH)
    noise = torch.randn(FRAMES, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    sampler = comfy.samplers.KSampler(model, 3, model.load_device, "euler", "normal")
    with torch.inference_mode():
        sampler.sample(noise, positive, negative, cfg=4.0, latent_image=torch.zeros_like(noise))
    hook.remove()
    assert len(calls) == 2  # once for each conditioning, not for each step
    per_frame = small.CONFIG.projector.queries // 16
    assert set(seen) == {((2 * FRAMES, 8, HEIGHT, WIDTH), (2, 7, 24), (2 * FRAMES, per_frame, 24))}


@pytest.mark.parametrize("window", [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 0, 1]], ids=["first", "last", "looped"])
@pytest.mark.parametrize("kind", ["core", "AnimateDiff-Evolved"])
def test_a_window_gets_the_latents_and_tokens_of_its_frames(model, kind, window):
    """The same as a clip of these frames alone, whose tokens and latents are theirs."""
    generator = torch.Generator().manual_seed(3)
    x, latents = torch.randn(2, FRAMES, 4, HEIGHT, WIDTH, generator=generator)
    positive, _ = small.condition(FRAMES, HEIGHT, WIDTH)
    image = ImageCondition(latents, positive[0][1][IMAGE_KEY].tower, 24)
    (condition,) = attach_image(image, positive)
    if kind == "core":
        options = {"context_window": IndexListContextWindow(window, dim=0, total_frames=FRAMES)}
    else:
        options = {"ad_params": {"sub_idxs": window, "context_length": 4}}
    found = denoise(model, condition, x, 3.0, window, options)

    tokens = model.model.image_tokens(image, x.device)[:, window]
    seen = []

    def fixed(image, device):
        seen.append(image.frames)
        return tokens

    alone = attach_image(ImageCondition(latents[window], image.tower, 24), positive)[0]
    original = model.model.image_tokens
    try:
        model.model.image_tokens = fixed
        expected = denoise(model, alone, x[window], 3.0)
    finally:
        model.model.image_tokens = original
    assert seen == [4] and (found - expected).abs().max() <= 1e-5


def test_an_undeclared_part_of_a_clip_is_refused(model):
    positive, _ = small.condition(FRAMES, HEIGHT, WIDTH)
    x = torch.randn(FRAMES, 4, HEIGHT, WIDTH)
    with pytest.raises(SamplingError, match="A clip of 6 frames of 80x48 was asked about in a shape of 4 frames"):
        denoise(model, positive, x, 3.0, [0, 1, 2, 3])


def test_an_area_takes_its_part_of_the_latents(model):
    positive, _ = small.condition(FRAMES, HEIGHT, WIDTH)
    latents = torch.randn(FRAMES, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))
    image = ImageCondition(latents, positive[0][1][IMAGE_KEY].tower, 24)
    x = torch.randn(FRAMES, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    (condition,) = attach_image(image, positive)
    area = [[condition[0][0], condition[0][1] | {"area": (HEIGHT, 4, 0, 6)}]]
    found = denoise(model, area, x, 3.0)[..., 6:]
    (alone,) = attach_image(ImageCondition(latents[..., 6:], image.tower, 24), positive)
    assert (found - denoise(model, alone, x[..., 6:], 3.0)).abs().max() <= 1e-5


def test_the_image_and_the_motion_number_are_seen(model):
    positive, _ = small.condition(FRAMES, HEIGHT, WIDTH)
    image = positive[0][1][IMAGE_KEY]
    x = torch.randn(FRAMES, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    plain = denoise(model, positive, x, 3.0)
    others = {
        "latents": ImageCondition(image.latents.flip(2), image.tower, image.fs),
        "tokens": ImageCondition(image.latents, image.tower.flip(2), image.fs),
        "motion": ImageCondition(image.latents, image.tower, 5),
        "rule": ImageCondition(image.latents, image.tower, image.fs, REFERENCE),
    }
    for name, other in others.items():
        assert (denoise(model, attach_image(other, positive)[0], x, 3.0) - plain).abs().max() > 1e-3, name


def test_sizes_between_the_multiples_of_64_pixels_run(model):
    for height, width in ((5, 7), (9, 3)):
        positive, _ = small.condition(FRAMES, height, width)
        assert denoise(model, positive, torch.randn(FRAMES, 4, height, width), 3.0).isfinite().all()


def test_variants_differ_in_schedule_and_default(tmp_path):
    path = tmp_path / "small.safetensors"
    save_file(small.weights(), path)
    largest = {}
    for name in ("512", "1024", "512 interpolation"):
        model = load_unet(str(path), "fp32", DYNAMICRAFTER, {"variant": name})
        assert model.get_model_object("variant").name == name
        largest[name] = model.get_model_object("model_sampling").sigma_max.item()
    assert largest["1024"] / largest["512"] == pytest.approx(0.7 / 0.3) and largest["512"] == largest["512 interpolation"]
    with pytest.raises(InputError, match="set to 256, but the DynamiCrafter UNet lacks the gates of the 256 model; choose 512 or"):
        load_unet(str(path), "fp32", DYNAMICRAFTER, {"variant": "256"})
    with pytest.raises(InputError, match="There is no DynamiCrafter variant '2048'; choose one of 256, 512"):
        load_unet(str(path), "fp32", DYNAMICRAFTER, {"variant": "2048"})


@pytest.mark.parametrize(("base", "variant"), [(0.7, "512"), (0.3, "1024")])
def test_a_file_with_its_scales_says_its_variant(tmp_path, base, variant):
    scales = torch.cat([torch.linspace(1, base, 400), torch.full((1000,), base)])
    prefixed = {f"model.diffusion_model.{name}": tensor for name, tensor in small.weights().items()}
    save_file(prefixed | {"scale_arr": scales}, tmp_path / "whole.safetensors")
    assert load_unet(str(tmp_path / "whole.safetensors"), "fp32").get_model_object("variant").name == variant


def test_a_unet_without_projector_is_refused(tmp_path):
    alone = {name: tensor for name, tensor in small.weights().items() if not name.startswith("image_proj_model.")}
    save_file(alone, tmp_path / "unet.safetensors")
    with pytest.raises(CheckpointError, match=r"holds a UNet without its image projector \(image_proj_model"):
        load_unet(str(tmp_path / "unet.safetensors"), "fp32")


def bad(model, condition: list, shape: tuple[int, ...] = (FRAMES, 4, HEIGHT, WIDTH)) -> None:
    prepared(model, condition, torch.zeros(shape))


def test_conditioning_that_does_not_fit_is_refused(model):
    positive, _ = small.condition(FRAMES, HEIGHT, WIDTH)
    image = positive[0][1][IMAGE_KEY]
    text = positive[0][0]
    with pytest.raises(ConditioningError, match="does not say which image to animate; pass .* through Cinemo DynamiCrafter Conditioning"):
        bad(model, [[text, {}]])
    with pytest.raises(ConditioningError, match="is for 6 frames of 80x48, the latent has 5 frames of 80x48"):
        bad(model, positive, (5, 4, HEIGHT, WIDTH))
    with pytest.raises(InputError, match="a clip of DynamiCrafter has 2 or more"):
        bad(model, positive, (1, 4, HEIGHT, WIDTH))
    with pytest.raises(InputError, match="gives 32 channels, this DynamiCrafter model reads 24; use .*OpenCLIP ViT-H"):
        bad(model, attach_image(image, [[torch.zeros(1, 7, 32), {}]])[0])
    with pytest.raises(ConditioningError, match="holds 3 prompts for a clip of 6 frames"):
        bad(model, attach_image(image, [[torch.zeros(3, 7, 24), {}]])[0])
    with pytest.raises(ConditioningError, match="gave NaN or infinite values for the prompt"):
        bad(model, attach_image(image, [[torch.full((1, 7, 24), float("nan")), {}]])[0])


@pytest.mark.parametrize("rule", [RESAMPLED, FIRST, REFERENCE])
def test_sixteen_frames_have_their_own_tokens_under_every_rule(model, rule):
    positive, _ = small.condition(16, HEIGHT, WIDTH)
    image = positive[0][1][IMAGE_KEY]
    found = model.model.image_tokens(ImageCondition(image.latents, image.tower, 24, rule), torch.device("cpu"))
    assert torch.equal(found, model.model.image_tokens(image, torch.device("cpu"))) and found.shape[:2] == (1, 16)
