"""The published workflows on a live server, small and with nano: videos of the right length and size that start at the picture."""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from urllib.request import urlopen

import av
import numpy as np
import pytest
from cinemo_pack.tests.workflows import (
    EXTRA,
    NAMES,
    ROOT,
    WORKFLOWS,
    frames_node,
    pack_inputs,
    read_workflow,
    to_prompt,
    widget_order,
)
from cinemo_pack.tests.workflows.stock_files import write_stock_files
from cinemo_pack.tools.client import Client
from cinemo_pack.tools.server import Server
from PIL import Image

WIDTH, HEIGHT, FRAMES, STEPS = 96, 64, 5, 3
SECOND = 25  # frames per second of the video to work on
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}


@pytest.fixture(scope="module")
def picture(server: Server) -> np.ndarray:
    """A picture with detail at the size of the clips, as uint8 [h, w, 3]; on the server it is picture.png."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.stack([x * 255 / WIDTH, y * 255 / HEIGHT, 127 + 127 * np.sin(x / 5) * np.cos(y / 7)], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(server.base / "input" / "picture.png")
    return pixels


@pytest.fixture(scope="module")
def video(server: Server, picture: np.ndarray) -> str:
    """A longer video, a pan over the picture, in the server's input folder."""
    with av.open(server.base / "input" / "video.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=SECOND, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 2 * WIDTH, 2 * HEIGHT, "yuv420p"
        for i in range(FRAMES + 4):
            moved = np.roll(picture, 3 * i, axis=1).repeat(2, axis=0).repeat(2, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())
    return "video.mp4"


@pytest.fixture(scope="module")
def stock_files(server: Server) -> Iterator[list[Path]]:
    """The single files that the stock workflow names, in the server's model folders."""
    files = write_stock_files(server.base / "models")
    yield files
    for file in files:
        file.unlink()


def shrink(graph: dict, decoder: str) -> dict:
    """The workflow at test size, on the test's picture or video; `decoder` where a node has that choice."""
    wanted = {
        "CinemoBundleLoader": {"decoder": decoder},
        "LoadImage": {"image": "picture.png"},
        "CinemoMotionConditioning": {"width": WIDTH, "height": HEIGHT, "frames": FRAMES},
        "ImageFromBatch": {"length": FRAMES},
        "ImageScale": {"width": WIDTH, "height": HEIGHT},
        **{sampler: {"steps": STEPS} for sampler in ("KSampler", "CinemoResidualKSampler", "CinemoDDIMScheduler")},
    }
    for entry in graph.values():
        links = {name for name, value in entry["inputs"].items() if isinstance(value, list)}
        entry["inputs"] |= {name: value for name, value in wanted.get(entry["class_type"], {}).items() if name not in links}
    return graph


def images(client: Client, outputs: dict) -> np.ndarray:
    """The pictures that a node saved, as float [n, h, w, 3] in 0..255."""
    return np.stack([np.asarray(Image.open(io.BytesIO(client.fetch(file))).convert("RGB")) for file in outputs["images"]]).astype(float)


def round_trip(client: Client, graph: dict) -> np.ndarray:
    """The picture that the workflow's conditioning gets, resized by ComfyUI, through its VAE and back, by ComfyUI's own nodes alone."""
    (conditioning,) = (entry["inputs"] for entry in graph.values() if entry["class_type"] == "CinemoMotionConditioning")
    vae = conditioning["vae"]
    check = {node: entry for node, entry in graph.items() if entry["class_type"] not in ("SaveImage", "SaveVideo")}
    check |= {
        "first": {"class_type": "ImageFromBatch", "inputs": {"image": conditioning["image"], "batch_index": 0, "length": 1}},
        "encode": {"class_type": "VAEEncode", "inputs": {"pixels": ["first", 0], "vae": vae}},
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["encode", 0], "vae": vae}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": "round_trip"}},
    }
    return images(client, client.run(check)["save"])[0]


@pytest.mark.parametrize("decoder", ["auto", "image"])
@pytest.mark.parametrize("name", NAMES)
def test_the_workflow_makes_a_video(client, workflow, name, decoder, picture, video, stock_files):
    graph = shrink(workflow(name), decoder)
    outputs = client.run(graph)

    frames = images(client, outputs[frames_node(graph)])
    assert frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert (frames.std(axis=(1, 2, 3)) > 1).all(), "a frame is of one colour"
    assert all(abs(frame - frames[0]).mean() > 1 for frame in frames[1:]), "a frame repeats the first"

    (saved,) = (output["images"][0] for output in outputs.values() if output["images"][0]["filename"].endswith(".mp4"))
    with av.open(io.BytesIO(client.fetch(saved))) as container:
        played = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == Fraction(SECOND if name == "video_to_video" else 8)
    assert np.shape(played) == frames.shape
    for i, shown in enumerate(played):
        assert np.argmin(abs(shown - frames).mean(axis=(1, 2, 3))) == i, "the video does not show the frames in their order"

    # A temporal decoder mixes neighbours into the first frame; the image decoder shows whether its latent is the picture's.
    if decoder == "image":
        assert abs(frames[0] - round_trip(client, graph)).max() <= 1


def test_denoise_0_gives_the_video_back(client, workflow, picture, video):
    """How far a result is from its video follows `denoise`."""
    distances = []
    for denoise in (0.0, 0.3, 1.0):
        graph = shrink(workflow("video_to_video"), "image")
        graph["7"]["inputs"]["denoise"] = denoise
        graph["plain"] = {"class_type": "VAEDecode", "inputs": {"samples": graph["7"]["inputs"]["latent_image"], "vae": ["1", 2]}}
        graph["video"] = {"class_type": "SaveImage", "inputs": {"images": ["plain", 0], "filename_prefix": "video"}}
        outputs = client.run(graph)
        distances.append(abs(images(client, outputs["frames"]) - images(client, outputs["video"])).mean())
    assert distances[0] <= 0.5
    assert distances[0] < distances[1] < distances[2]


def test_the_custom_sampling_is_the_residual_samplers(client, workflow, picture):
    """With `output` in place of `denoised_output` the separate parts give what Cinemo Residual KSampler gives."""
    whole, parts = (shrink(workflow(name), "image") for name in ("image_to_video", "custom_sampling"))
    parts["8"]["inputs"]["samples"] = ["13", 0]
    frames = [images(client, client.run(graph)[frames_node(graph)]) for graph in (whole, parts)]
    # Frame 0 of `output` keeps the trace of noise at which the schedule ends.
    assert abs(frames[0][1:] - frames[1][1:]).mean() < 1


def test_a_video_shorter_than_asked_for_runs(client, workflow, picture, video):
    graph = shrink(workflow("video_to_video"), "auto")
    graph["11"]["inputs"] |= {"batch_index": FRAMES + 1, "length": 16}
    assert len(client.run(graph)["frames"]["images"]) == 3


def test_the_converter_knows_the_nodes_of_this_comfyui(client):
    """Widget names, their order and the frontend's extra values, against the schemas that the server sends."""
    schemas = client.get("/object_info")
    used = {entry["class_type"] for name in NAMES for entry in to_prompt(read_workflow(name)).values()}
    assert used <= set(widget_order())
    for node in used:
        order: list[str | None] = []
        for name in [name for names in schemas[node]["input_order"].values() for name in names]:
            kind, *options = next(group[name] for group in schemas[node]["input"].values() if name in group)
            if isinstance(kind, list) or kind in WIDGET_TYPES:
                order.append(name)
                extra = options and any(options[0].get(key) for key in ("control_after_generate", "image_upload", "video_upload"))
                order += [EXTRA] if extra or name in ("seed", "noise_seed") else []
        assert widget_order()[node] == order, node


def content(server: Server, path: str) -> bytes:
    with urlopen(server.url + path) as response:
        return response.read()


def test_the_templates_and_help_pages_are_served(client, server):
    assert sorted(client.get("/workflow_templates")["cinemo"]) == [f"cinemo_{name}" for name in NAMES]
    for name in NAMES:
        assert client.get(f"/api/workflow_templates/cinemo/cinemo_{name}.json") == read_workflow(name)
        assert content(server, f"/api/workflow_templates/cinemo/cinemo_{name}.jpg") == (WORKFLOWS / f"cinemo_{name}.jpg").read_bytes()
    for node in pack_inputs():
        assert content(server, f"/extensions/cinemo/docs/{node}.md") == (ROOT / "web" / "docs" / f"{node}.md").read_bytes()
