"""Mistakes on a live server: one clear sentence on the right node, and the next run works."""

import shutil

import pytest
import torch
from cinemo_pack.cinemo_core.included import FOLDER
from cinemo_pack.tests.workflows.animate_anyone_files import encoder_shapes, encoder_tensor
from cinemo_pack.tests.workflows.small import shrink
from cinemo_pack.tools.client import WorkflowError

LOADER, CONDITIONING, NOISE, SAMPLER, DECODE = "1", "5", "6", "7", "8"


@pytest.fixture
def graph(workflow):
    """Image to video, as small as it goes."""
    graph = workflow("image_to_video")
    graph[CONDITIONING]["inputs"] |= {"width": 64, "height": 64, "frames": 3}
    graph[SAMPLER]["inputs"] |= {"steps": 1, "cfg": 1.0}
    return graph


@pytest.fixture(autouse=True)
def still_usable(client, graph):
    """Whatever a test did, the plain workflow runs afterwards."""
    good = {node: {**entry, "inputs": dict(entry["inputs"])} for node, entry in graph.items()}
    yield
    assert client.run(good)["11"]["images"]


def expect(client, graph, message):
    with pytest.raises(WorkflowError, match=message) as caught:
        client.run(graph)
    assert "Traceback" not in str(caught.value) and "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("node", "name", "value"),
    [
        (CONDITIONING, "width", 0),
        (CONDITIONING, "frames", 1),
        (CONDITIONING, "motion_bucket", 20),
        (CONDITIONING, "motion_bucket", -1),
        (NOISE, "cutoff", 1.5),
        (NOISE, "noise_level", 1000),
        (SAMPLER, "steps", 0),
        (SAMPLER, "steps", 1001),
        (SAMPLER, "denoise", 1.5),
    ],
)
def test_values_out_of_range_are_refused_before_anything_runs(client, graph, node, name, value):
    graph[node]["inputs"][name] = value
    error = expect(client, graph, f"Value .* than (min|max).*: .*{name}")
    assert set(error.node_errors) == {node}


def test_a_computed_value_out_of_range(client, graph):
    """ComfyUI does not check the range of a linked value; we do."""
    graph["20"] = {"class_type": "PrimitiveInt", "inputs": {"value": 99}}
    graph[CONDITIONING]["inputs"]["motion_bucket"] = ["20", 0]
    expect(client, graph, "CinemoMotionConditioning failed: The motion bucket is 99; choose a whole number")


def test_a_width_that_is_no_multiple_of_8(client, graph):
    graph[CONDITIONING]["inputs"]["width"] = 100
    expect(client, graph, "CinemoMotionConditioning failed: The width is 100; choose a multiple of 8")


def test_a_prompt_that_bypasses_the_conditioning_node(client, graph):
    graph[SAMPLER]["inputs"]["positive"] = ["3", 0]
    expect(client, graph, "CinemoResidualKSampler failed: The positive conditioning does not say which image to animate")


def test_the_same_with_the_stock_sampler(client, graph):
    inputs = {k: v for k, v in graph[SAMPLER]["inputs"].items() if k != "noise"}
    graph[SAMPLER] = {"class_type": "KSampler", "inputs": inputs | {"negative": ["4", 0], "scheduler": "normal"}}
    expect(client, graph, "KSampler failed: A Cinemo model got a conditioning that does not say which image to animate")


def test_an_empty_latent_of_another_size(client, graph):
    graph["20"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 64, "batch_size": 3}}
    graph[SAMPLER]["inputs"]["latent_image"] = ["20", 0]
    expect(client, graph, "The conditioning is for 3 frames of 64x64, the latent has 3 frames of 128x64")


def test_noise_for_another_clip(client, graph):
    graph["20"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 64, "batch_size": 3}}
    graph[NOISE]["inputs"]["latent"] = ["20", 0]
    expect(client, graph, "CinemoResidualKSampler failed: The DCTInit noise was made for latents of 16x8")


def test_a_wrong_kind_of_link_is_refused(client, graph):
    graph[SAMPLER]["inputs"]["model"] = ["1", 2]
    expect(client, graph, "Return type mismatch")


def test_a_damaged_checkpoint_is_listed_and_explained(client, graph, server):
    """It appears without a restart; loading it says what is wrong."""
    folder = server.base / "models" / "diffusers" / "damaged"
    shutil.copytree(FOLDER, folder)
    try:
        unet = next((folder / "unet").glob("diffusion_pytorch_model.*"))
        unet.write_bytes(unet.read_bytes()[: unet.stat().st_size // 2])
        graph[LOADER]["inputs"]["bundle"] = "damaged"
        expect(client, graph, r"CinemoBundleLoader failed: .*diffusion_pytorch_model.* (damaged|broke off).*download")
    finally:
        shutil.rmtree(folder)


def test_an_empty_folder_is_not_offered(client, graph, server):
    folder = server.base / "models" / "diffusers" / "empty"
    (folder / "unet").mkdir(parents=True)
    try:
        graph[LOADER]["inputs"]["bundle"] = "empty"
        expect(client, graph, "CinemoBundleLoader.*(holds no weights|not in list)")
    finally:
        shutil.rmtree(folder)


def test_an_image_encoder_without_its_projection(client, server, workflow, picture, animate_anyone_files):
    """Load CLIP Vision loads it and only logs that; the conditioning finds the file through the graph."""
    tensors = {name: encoder_tensor(name, shape) for name, shape in encoder_shapes().items() if name != "visual_projection.weight"}
    torch.save(tensors, server.base / "models" / "clip_vision" / "without.bin")
    graph = shrink(workflow("animate_anyone_character"), "image")
    (encoder,) = (entry for entry in graph.values() if entry["class_type"] == "CLIPVisionLoader")
    encoder["inputs"]["clip_name"] = "without.bin"
    expect(
        client, graph, "CinemoAnimateAnyoneConditioning failed: The file without.bin of the image encoder has no visual projection; load"
    )
