"""The running server offers the pack; the client runs workflows on it and reports refusals and failures in a sentence."""

import io
import os
import signal

import aiohttp
import pytest
from cinemo_pack.tools.client import WorkflowError
from cinemo_pack.tools.server import has_gpu
from PIL import Image

NODES = {
    "CinemoAnimateAnyoneConditioning",
    "CinemoAnimateAnyoneInterpolate",
    "CinemoAnimateAnyoneLoader",
    "CinemoAnimateAnyoneNoise",
    "CinemoAnimateAnyonePartsLoader",
    "CinemoAnimateAnyoneReferenceLoRA",
    "CinemoAnimateAnyoneSampler",
    "CinemoAnimateAnyoneWindows",
    "CinemoBundleLoader",
    "CinemoDCTInitNoise",
    "CinemoDDIMScheduler",
    "CinemoDetailTransfer",
    "CinemoDynamiCrafterConditioning",
    "CinemoDynamiCrafterDDIM",
    "CinemoDynamiCrafterGuider",
    "CinemoDynamiCrafterKSampler",
    "CinemoDynamiCrafterLoader",
    "CinemoDynamiCrafterRescaleGuidance",
    "CinemoDynamiCrafterScheduler",
    "CinemoExtendVideo",
    "CinemoInvertVideo",
    "CinemoModelLoader",
    "CinemoMotionBucketFromVideo",
    "CinemoMotionConditioning",
    "CinemoMotionReport",
    "CinemoPoseAlignment",
    "CinemoPoseAlignmentFromPictures",
    "CinemoPoseClip",
    "CinemoResidualKSampler",
    "CinemoResidualMerge",
    "CinemoResidualSplit",
    "CinemoToonCrafterDecode",
    "CinemoVideoDecode",
}


def stock_workflow(image: str) -> dict:
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": image}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "inverted"}},
    }


def test_the_pack_is_loaded_and_nano_is_offered(client):
    offered = client.get("/object_info")
    assert {name for name, node in offered.items() if node["python_module"] == "custom_nodes.cinemo"} == NODES
    assert "cinemo-nano" in str(offered["CinemoBundleLoader"]["input"]["required"]["bundle"])


@pytest.mark.skipif(has_gpu(), reason="the option is for computers without a GPU")
def test_without_a_gpu_the_server_has_pytorchs_attention(client):
    assert {"--cpu", "--use-pytorch-cross-attention"} <= set(client.get("/system_stats")["system"]["argv"])


def test_outputs_come_back(client, tmp_path):
    image = Image.new("RGB", (16, 8), (10, 20, 30))
    image.save(tmp_path / "blue.png")
    outputs = client.run(stock_workflow(client.upload(tmp_path / "blue.png")))
    with Image.open(io.BytesIO(client.fetch(outputs["3"]["images"][0]))) as found:
        assert found.size == (16, 8)
        assert found.getpixel((3, 3)) == (245, 235, 225)


def test_a_refused_workflow_names_node_input_and_value(client):
    with pytest.raises(WorkflowError, match=r"LoadImage \(node 1\): .*no-such\.png") as caught:
        client.run(stock_workflow("no-such.png"))
    assert set(caught.value.node_errors) == {"1"}


def test_a_failing_node_is_named_and_the_server_stays_usable(client):
    workflow = stock_workflow("example.png")
    workflow["3"]["inputs"]["filename_prefix"] = "../outside"
    workflow["3"]["_meta"] = {"title": "Save it"}
    with pytest.raises(WorkflowError, match="^Save it failed: .*outside the output folder"):
        client.run(workflow)
    assert client.run(stock_workflow("example.png"))["3"]["images"]


def test_progress_and_previews_arrive(client, workflow):
    graph = workflow("image_to_video")
    graph["5"]["inputs"] |= {"width": 64, "height": 64, "frames": 2}
    graph["7"]["inputs"] |= {"steps": 3, "cfg": 1.0}
    seen: list = []
    nodes: list = []
    client.run(graph, seen.append, nodes.append)
    assert nodes.index("5") < nodes.index("7") < nodes.index("8"), "each node that is not cached says when it starts"
    steps = [(step.value, step.maximum) for step in seen if step.title == "CinemoResidualKSampler"]
    assert steps == sorted(steps) and [step for step in steps if step[0] % 1 == 0] == [(1, 3), (2, 3), (3, 3)]  # and parts of a step
    assert len(client.previews) == 3
    assert Image.open(io.BytesIO(client.previews[0])).size[0] > 0


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_amid_an_answer_is_no_broken_connection(client, monkeypatch, number):
    """aiohttp's parser takes whatever is raised while it hands over a body for a fault of the server."""
    hand_over = aiohttp.StreamReader.feed_data

    def interrupted(*arguments):
        signal.raise_signal(number)
        return hand_over(*arguments)

    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as tools/launch.py does
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(aiohttp.StreamReader, "feed_data", interrupted)
            client.get("/system_stats")
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert client.get("/system_stats")
