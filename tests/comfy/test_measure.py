"""The measuring nodes in ComfyUI: their outputs, a graph that matches the motion of a clip, progress, cancelling, bad input."""

import asyncio
import json

import comfy.model_management
import comfy.utils
import pytest
import torch
from cinemo_pack.cinemo_core.comfyui.cinemo.conditioning import CLIP_KEY
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.nodes.cinemo.condition import CinemoMotionConditioning
from cinemo_pack.nodes.cinemo.load import CinemoBundleLoader
from cinemo_pack.nodes.measure import CinemoMotionBucketFromVideo, CinemoMotionReport


def moving(speed: float, frames: int = 4, height: int = 40, width: int = 64) -> torch.Tensor:
    """A clip [f, h, w, 3] of stripes that move to the right by `speed` pixels per frame."""
    x = torch.arange(width)[None, None, :, None] - speed * torch.arange(frames)[:, None, None, None]
    wave = 0.5 + 0.4 * torch.sin(x * torch.tensor([0.3, 0.5, 0.7]))
    return wave.expand(frames, height, width, 3).contiguous()


def measure(images, width=64, height=40, frame_stride=1, resize="cover"):
    return CinemoMotionBucketFromVideo.execute(images, width, height, frame_stride, resize).args[:3]


@pytest.fixture
def progress():
    seen = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **kwargs: seen.append((value, total)))
    yield seen
    comfy.utils.set_progress_bar_global_hook(None)


def test_bucket_ssim_and_plot():
    with torch.inference_mode():
        bucket, ssim, plot = measure(moving(0.5))
    assert type(bucket) is int and type(ssim) is float
    assert 0 < bucket < 19 and bucket == 99 - round(100 * ssim)
    assert plot.shape == (1, 540, 960, 3) and plot.dtype == torch.float32
    assert 0 <= plot.min() < plot.max() <= 1


@torch.inference_mode()
def test_the_advice_leads_a_made_clip_to_the_target():
    target, calm, wild = moving(0.5), moving(0.2), moving(0.9)
    bucket, *_, alone = CinemoMotionBucketFromVideo.execute(target, 64, 40, 1, "cover").args
    assert f"Cinemo: set motion_bucket to {bucket}." in alone and "no measured scale" in alone
    for made, cinemo, fps in ((calm, "raise", "lower"), (wild, "lower", "raise")):
        *_, advice = CinemoMotionBucketFromVideo.execute(target, 64, 40, 1, "cover", made).args
        other, *_ = measure(made)
        assert f"Cinemo: {cinemo} motion_bucket by {abs(bucket - other)}," in advice and f"SVD: {cinemo} motion_bucket_id" in advice
        assert f"DynamiCrafter: {fps} fps, or with the 256 model {cinemo} frame_stride" in advice
    *_, same = CinemoMotionBucketFromVideo.execute(target, 64, 40, 1, "cover", target).args
    assert "Both move alike" in same and "raise" not in same and "lower" not in same
    with pytest.raises(InputError, match="1 frame"):
        CinemoMotionBucketFromVideo.execute(target, 64, 40, 1, "cover", calm[:1])


def test_report_charts_and_numbers():
    clip = moving(0.5)
    with torch.inference_mode():
        charts, text = CinemoMotionReport.execute(clip, "cover").args
        _, against_another = CinemoMotionReport.execute(clip, "cover", moving(0.0, 1, 80, 128).flip(2)).args
    assert charts.shape == (1, 860, 1200, 3) and 0 <= charts.min() < charts.max() <= 1
    numbers = json.loads(text)
    bucket, ssim, _ = measure(clip)
    assert numbers["motion_bucket"] == bucket and numbers["mean_ssim"] == pytest.approx(ssim, abs=1e-6)
    assert numbers["distance_to_first"][0] == 0 and json.loads(against_another)["distance_to_first"][0] > 0.1


class Source:
    """A node that gives a clip."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"speed": ("FLOAT", {"default": 0.5})}}

    def run(self, speed):
        return (moving(speed),)


class Keep:
    """An output node that keeps the conditioning it is given."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    kept: list = []

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"conditioning": ("CONDITIONING",)}}

    def run(self, conditioning):
        self.kept.append(conditioning)
        return {}


@pytest.fixture
def run_graph(monkeypatch, tmp_path, model_folders, drawn):
    """Checks and runs an API-format graph with ComfyUI's own executor, in this process."""
    import execution
    import folder_paths
    import server

    import nodes

    monkeypatch.setattr(server.PromptServer, "instance", None, raising=False)  # undone after the test
    monkeypatch.setattr(folder_paths, "user_directory", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    (model_folders.diffusers / "drawn").symlink_to(drawn, target_is_directory=True)
    for node in (CinemoBundleLoader, CinemoMotionConditioning, CinemoMotionBucketFromVideo, CinemoMotionReport, Source, Keep):
        monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, node.__name__, node)
    monkeypatch.setattr(Keep, "kept", [])

    def run(graph: dict) -> list:
        loop = asyncio.new_event_loop()
        try:
            valid, error, outputs, node_errors = loop.run_until_complete(execution.validate_prompt("id", graph, None))
            assert valid and not node_errors, (error, node_errors)
            cache = {"lru": 0, "ram": 0, "ram_inactive": 0}
            executor = execution.PromptExecutor(server.PromptServer(loop), execution.CacheType.CLASSIC, cache)
            loop.run_until_complete(executor.execute_async(graph, "id", {}, outputs))
            assert executor.success, executor.status_messages
        finally:
            loop.close()
        return Keep.kept

    return run


@pytest.mark.parametrize("speed", [0.0, 0.5, 3.0])
def test_the_conditioning_takes_the_bucket(run_graph, speed):
    bundle = {"bundle": "drawn", "weight_dtype": "default", "decoder": "image"}
    conditioning = {"width": 64, "height": 40, "frames": 3, "resize": "cover", "motion_id": -1.0}
    links = {"positive": ["2", 0], "negative": ["2", 0], "vae": ["1", 2], "image": ["3", 0], "motion_bucket": ["4", 0]}
    measured = {"images": ["3", 0], "width": 64, "height": 40, "frame_stride": 1, "resize": "cover"}
    (kept,) = run_graph(
        {
            "1": {"class_type": "CinemoBundleLoader", "inputs": bundle},
            "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "waves"}},
            "3": {"class_type": "Source", "inputs": {"speed": speed}},
            "4": {"class_type": "CinemoMotionBucketFromVideo", "inputs": measured},
            "5": {"class_type": "CinemoMotionConditioning", "inputs": conditioning | links},
            "6": {"class_type": "Keep", "inputs": {"conditioning": ["5", 0]}},
        }
    )
    assert kept[0][1][CLIP_KEY].motion_id == 99 - measure(moving(speed))[0]


def test_pairs_and_frames_show_in_the_progress_bar(progress):
    measure(moving(0.5))
    assert progress[0] == (1, 3) and progress[-1] == (3, 3)
    progress.clear()
    CinemoMotionReport.execute(moving(0.5), "cover")
    assert progress[0] == (1, 4) and progress[-1] == (4, 4)


@pytest.mark.parametrize("node", [measure, lambda clip: CinemoMotionReport.execute(clip, "cover")])
def test_cancelling(node, progress):
    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        node(moving(0.5))
    assert not progress
    node(moving(0.5))


@pytest.mark.parametrize("node", [measure, lambda clip: CinemoMotionReport.execute(clip, "cover")])
@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (moving(0.5, frames=1), "^The clip has 1 frame; .*connect all frames"),
        (torch.zeros(0, 40, 64, 3), "empty"),
        (torch.full((3, 40, 64, 3), float("nan")), "NaN"),
        (torch.zeros(40, 64, 3), "expected \\[batch"),
        (torch.zeros(3, 40, 64, 1), "1 channels"),
    ],
)
def test_bad_input_before_any_work(node, clip, message, progress):
    with pytest.raises(InputError, match=message):
        node(clip)
    assert not progress
