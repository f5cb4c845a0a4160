"""The published workflows on a live server, small and with nano: videos of the right length and size that start at the picture."""

import io
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import av
import numpy as np
import pytest
from cinemo_pack.tests.workflows import (
    EXTRA,
    NAMES,
    ROOT,
    TITLES,
    VALIDATED_ONLY,
    as_twin,
    frames_node,
    pack_inputs,
    path_of,
    read_workflow,
    switched_on,
    to_prompt,
    widget_order,
)
from cinemo_pack.tests.workflows.animate_anyone_files import REFERENCE_LORA
from cinemo_pack.tests.workflows.dynamicrafter_files import write_dynamicrafter_files
from cinemo_pack.tests.workflows.sd15_files import WIDE_BUNDLE, write_controlnet, write_lora, write_sd15_checkpoint, write_wide_bundle
from cinemo_pack.tests.workflows.small import FRAMES, HEIGHT, SECOND, SEGMENTS, WIDTH, shrink
from cinemo_pack.tests.workflows.stock_files import write_stock_files
from cinemo_pack.tools.client import Client
from cinemo_pack.tools.server import Server
from PIL import Image

SEEN = 0.02  # a mean difference of pixel values, 0 to 255, that is no chance: the same run gives the same pixels
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}


@pytest.fixture(scope="module")
def stock_files(server: Server) -> Iterator[list[Path]]:
    """The single files that the stock workflow names, in the server's model folders."""
    files = write_stock_files(server.base / "models")
    yield files
    for file in files:
        file.unlink()


@pytest.fixture(scope="module")
def sd15_files(server: Server) -> None:
    """A LoRA, a ControlNet and a Cinemo that the ControlNet fits, in the server's model folders."""
    models = server.base / "models"
    write_lora(models)
    write_controlnet(models)
    write_wide_bundle(models / "diffusers" / WIDE_BUNDLE)


@pytest.fixture
def sd15_checkpoint(server: Server) -> Iterator[None]:
    """A Stable Diffusion checkpoint under the name in the workflow; 0.5 GB, since text encoder and VAE have their real sizes."""
    file = write_sd15_checkpoint(server.base / "models")
    yield
    file.unlink()


def nodes_of(graph: dict, kind: str) -> list[str]:
    return [node for node, entry in graph.items() if entry["class_type"] == kind]


def change(graph: dict, kind: str, **values) -> dict:
    """The graph with other values in its one node of this type."""
    (node,) = nodes_of(graph, kind)
    return graph | {node: graph[node] | {"inputs": graph[node]["inputs"] | values}}


def change_titled(graph: dict, title: str, **values) -> dict:
    """The graph with other values in its node of this title."""
    (node,) = (node for node, entry in graph.items() if entry.get("_meta", {}).get("title") == title)
    return graph | {node: graph[node] | {"inputs": graph[node]["inputs"] | values}}


def video_of(graph: dict) -> str:
    """Id of the node that saves the video of the frames that are also saved as images."""
    frames = graph[frames_node(graph)]["inputs"]["images"]
    (video,) = (node for node in nodes_of(graph, "CreateVideo") if graph[node]["inputs"]["images"] == frames)
    (save,) = (node for node in nodes_of(graph, "SaveVideo") if graph[node]["inputs"]["video"] == [video, 0])
    return save


def images(client: Client, outputs: dict) -> np.ndarray:
    """The pictures that a node saved, as float [n, h, w, 3] in 0..255."""
    return np.stack([np.asarray(Image.open(io.BytesIO(client.fetch(file))).convert("RGB")) for file in outputs["images"]]).astype(float)


def round_trip(client: Client, graph: dict, image: list) -> np.ndarray:
    """The picture that comes from `image`, an output, through the workflow's VAE and back, by ComfyUI's own nodes alone."""
    vae = graph[nodes_of(graph, "CinemoMotionConditioning")[0]]["inputs"]["vae"]
    check = {node: entry for node, entry in graph.items() if entry["class_type"] not in ("SaveImage", "SaveVideo")}
    check |= {
        "first": {"class_type": "ImageFromBatch", "inputs": {"image": image, "batch_index": 0, "length": 1}},
        "encode": {"class_type": "VAEEncode", "inputs": {"pixels": ["first", 0], "vae": vae}},
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["encode", 0], "vae": vae}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": "round_trip"}},
    }
    return images(client, client.run(check)["save"])[0]


def first_image(graph: dict) -> list:
    """The output that the workflow animates."""
    (conditioning,) = nodes_of(graph, "CinemoMotionConditioning")
    return graph[conditioning]["inputs"]["image"]


# The temporal decoder is one node's business: two workflows, a clip and a longer one, show it.
CINEMO = [name for name in NAMES if "(Cinemo)" in TITLES[name]]
ANIMATE_ANYONE = [name for name in NAMES if "(Animate Anyone)" in TITLES[name]]
DYNAMICRAFTER = [name for name in NAMES if name not in (*CINEMO, *ANIMATE_ANYONE, *VALIDATED_ONLY, "calmer")]
RUNS = [*((name, "image") for name in CINEMO), ("image_to_video", "auto"), ("extend_video", "auto")]


@pytest.mark.parametrize(("name", "decoder"), RUNS)
def test_the_workflow_makes_a_video(client, workflow, name, decoder, picture, video, stock_files, sd15_files):
    graph = shrink(workflow(name), decoder)
    outputs = client.run(graph)

    frames = images(client, outputs[frames_node(graph)])
    count = SEGMENTS * (FRAMES - 1) + 1 if name == "extend_video" else FRAMES
    assert frames.shape == (count, HEIGHT, WIDTH, 3)
    assert (frames.std(axis=(1, 2, 3)) > 1).all(), "a frame is of one colour"
    assert all(abs(frame - frames[0]).mean() > 1 for frame in frames[1:]), "a frame repeats the first"

    (saved,) = outputs[video_of(graph)]["images"]
    with av.open(io.BytesIO(client.fetch(saved))) as container:
        played = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == Fraction(SECOND if name == "video_to_video" else 8)
    assert np.shape(played) == frames.shape
    for i, shown in enumerate(played):
        assert np.argmin(abs(shown - frames).mean(axis=(1, 2, 3))) == i, "the video does not show the frames in their order"

    # A temporal decoder mixes neighbours into the first frame; the image decoder shows whether its latent is the picture's.
    if decoder == "image":
        assert abs(frames[0] - round_trip(client, graph, first_image(graph))).max() <= 1


@pytest.fixture(scope="module")
def dynamicrafter_files(server: Server) -> None:
    """The checkpoints that its workflows name, of small width."""
    write_dynamicrafter_files(server.base / "models")


@pytest.mark.parametrize("name", DYNAMICRAFTER)
def test_a_dynamicrafter_workflow_makes_a_video(client, workflow, name, picture, dynamicrafter_files):
    """Its picture, first or last, is seen: another one gives another clip of the same noise."""
    graph = shrink(workflow(name), "image")
    outputs = client.run(graph)
    frames = images(client, outputs[frames_node(graph)])
    assert frames.shape == (FRAMES - (name == "dynamicrafter_loop"), HEIGHT, WIDTH, 3)
    assert (frames.std(axis=(1, 2, 3)) > 1).all(), "a frame is of one colour"
    (saved,) = outputs[video_of(graph)]["images"]
    with av.open(io.BytesIO(client.fetch(saved))) as container:
        assert len(list(container.decode(video=0))) == len(frames)
        assert container.streams.video[0].average_rate == 8
    for node in nodes_of(graph, "LoadImage"):
        other = "last.png" if graph[node]["inputs"]["image"] == "picture.png" else "picture.png"
        changed = graph | {node: graph[node] | {"inputs": graph[node]["inputs"] | {"image": other}}}
        assert abs(images(client, client.run(changed)[frames_node(graph)]) - frames).mean() > SEEN


@pytest.mark.parametrize("name", ANIMATE_ANYONE)
def test_an_animate_anyone_workflow_makes_a_video(client, workflow, name, picture, video, animate_anyone_files):
    """Character and poses are seen: others give another clip of the same noise."""
    graph = shrink(workflow(name), "image")
    outputs = client.run(graph)
    frames = images(client, outputs[frames_node(graph)])
    interpolated = name == "animate_anyone_custom_sampling"
    assert frames.shape == (2 * FRAMES - 1 if interpolated else FRAMES, HEIGHT, WIDTH, 3)
    assert (frames.std(axis=(1, 2, 3)) > 1).all(), "a frame is of one colour"
    (saved,) = outputs[video_of(graph)]["images"]
    with av.open(io.BytesIO(client.fetch(saved))) as container:
        assert len(list(container.decode(video=0))) == len(frames)
        rates = {"animate_anyone_custom_sampling": 60, "animate_anyone_character": 12}
        assert container.streams.video[0].average_rate == rates.get(name, SECOND)
    poses = ("Motion", {"motion": "walk"}) if name == "animate_anyone_character" else ("Part of the video", {"batch_index": 3})
    for title, values in (("Character", {"image": "last.png"}), poses):
        assert abs(frames_of(client, change_titled(graph, title, **values)) - frames).mean() > SEEN, title


def test_the_dance_follows_the_pose_of_the_character(client, workflow, picture, video, animate_anyone_files):
    """Another place of the reference's figure, the video's first frame, gives another clip."""
    graph = shrink(workflow("animate_anyone_dance"), "image")
    frames = frames_of(client, graph)
    first = {"first": {"class_type": "ImageFromBatch", "inputs": {"image": ["8", 0], "batch_index": 0, "length": 1}}}
    assert abs(frames_of(client, change_titled(graph | first, "Fit the poses", reference_pose=["first", 0])) - frames).mean() > SEEN


def test_windows_count_and_a_lora_on_reference_net_too(client, workflow, picture, video, animate_anyone_files):
    """Without windows, and with the optional LoRA, the clip is another; at strength 0 the LoRA changes nothing."""
    graph = shrink(workflow("animate_anyone_long_clip"), "image")
    (windows,) = nodes_of(graph, "CinemoAnimateAnyoneWindows")
    whole = change(graph, "KSampler", model=graph[windows]["inputs"]["model"])
    frames = frames_of(client, whole)
    assert abs(frames_of(client, graph) - frames).mean() > SEEN
    patched = whole | {"lora": {"class_type": "CinemoAnimateAnyoneReferenceLoRA", "inputs": {"lora_name": REFERENCE_LORA}}}
    patched["lora"]["inputs"]["model"] = graph[windows]["inputs"]["model"]
    patched = change(patched, "CinemoAnimateAnyoneConditioning", model=["lora", 0])
    for strength, changes in ((0.0, False), (1.0, True)):
        assert (
            abs(frames_of(client, change(patched, "CinemoAnimateAnyoneReferenceLoRA", strength=strength)) - frames).mean() > SEEN
        ) == changes


def test_a_clip_comes_out_calmer(client, workflow, video):
    """Nearer to its first frame with a smaller gain; the same frame 0, and the video's own speed."""
    clips = []
    for gain in (1.0, 0.6, 0.0):
        graph = change(shrink(workflow("calmer"), "image"), "CinemoResidualMerge", gain=gain)
        outputs = client.run(graph)
        clips.append(images(client, outputs[frames_node(graph)]))
    moved = [abs(clip[1:] - clip[:1]).mean() for clip in clips]
    assert moved[0] > moved[1] > moved[2] and len(clips[0]) == FRAMES
    assert all(abs(clip[0] - clips[0][0]).max() <= 1 for clip in clips)
    (saved,) = outputs[video_of(graph)]["images"]
    with av.open(io.BytesIO(client.fetch(saved))) as container:
        assert container.streams.video[0].average_rate == SECOND


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


def frames_of(client: Client, graph: dict) -> np.ndarray:
    return images(client, client.run(graph)[frames_node(graph)])


def test_the_last_frame_is_the_picture_given(client, workflow, picture):
    graph = shrink(workflow("first_and_last_frame"), "image")
    frames = frames_of(client, graph)
    (resize,) = nodes_of(graph, "ImageScale")
    assert abs(frames[-1] - round_trip(client, graph, [resize, 0])).max() <= 1
    assert abs(frames[-1] - frames[0]).mean() > 10
    graph["3"]["inputs"]["image"] = "picture.png"
    assert abs(frames_of(client, graph)[1:-1] - frames[1:-1]).mean() > SEEN, "the frames between do not head for it"


def test_the_lora_counts(client, workflow, picture, sd15_files):
    """At strength 0 the clip is that of image to video, prompt and guidance the same; the file moves it through UNet and text encoder."""
    graph = shrink(workflow("lora"), "image")
    strengths = {(0, 0): 0, (0.8, 0): 0, (0, 0.8): 0}
    without = shrink(workflow("image_to_video"), "image")
    (prompt,) = (entry["inputs"]["text"] for entry in graph.values() if entry.get("_meta", {}).get("title") == "Prompt")
    (described,) = (entry for entry in without.values() if entry.get("_meta", {}).get("title") == "Prompt")
    described["inputs"]["text"] = prompt
    (guided,), (guidance,) = nodes_of(without, "CinemoResidualKSampler"), nodes_of(graph, "CinemoResidualKSampler")
    without[guided]["inputs"]["cfg"] = graph[guidance]["inputs"]["cfg"]
    (conditioned,), (condition,) = nodes_of(without, "CinemoMotionConditioning"), nodes_of(graph, "CinemoMotionConditioning")
    without[conditioned]["inputs"] |= {name: graph[condition]["inputs"][name] for name in ("motion_bucket", "negative_bucket")}
    plain = frames_of(client, without)
    for unet, text in strengths:
        frames = frames_of(client, change(graph, "LoraLoader", strength_model=unet, strength_clip=text))
        strengths[unet, text] = abs(frames - plain)[1:].mean()
    assert strengths[0, 0] <= 0.01 and strengths[0.8, 0] > 0.5 and strengths[0, 0.8] > SEEN


def test_the_hints_of_the_video_count(client, workflow, picture, video, sd15_files):
    graph = shrink(workflow("controlnet"), "image")
    frames, without, others = (
        frames_of(client, g)
        for g in (
            graph,
            change(graph, "ControlNetApplyAdvanced", strength=0.0),
            change(graph, "Canny", low_threshold=0.01, high_threshold=0.02),
        )
    )
    assert abs(frames - without)[1:].mean() > 0.5 and abs(frames - others)[1:].mean() > SEEN
    assert abs(frames[0] - without[0]).max() <= 1


def test_the_motion_follows_the_video(client, workflow, picture, video):
    """Another part of the video gives the picture another motion, by inversion and directly; without DCTInit another still."""
    graph = shrink(workflow("motion_transfer"), "image")
    (second,) = (node for node in nodes_of(graph, "CinemoVideoDecode") if [node, 0] != graph[frames_node(graph)]["inputs"]["images"])
    graph["direct"] = {"class_type": "PreviewImage", "inputs": {"images": [second, 0]}}
    sampler = nodes_of(graph, "CinemoResidualKSampler")[0]
    inverted = graph[graph[sampler]["inputs"]["noise"][0]]["inputs"]["noise"]
    graphs = (graph, change(graph, "ImageFromBatch", batch_index=3), change(graph, "CinemoResidualKSampler", noise=inverted))
    results = []
    for one in graphs:
        outputs = client.run(one)
        results.append([images(client, outputs[node]) for node in (frames_node(graph), "direct")])
    (frames, direct), (other_frames, other_direct), (plain, _) = results
    assert direct.shape == frames.shape and abs(direct[0] - frames[0]).max() <= 1
    for other, one in ((other_frames, frames), (other_direct, direct), (plain, frames)):
        assert abs(other - one)[1:].mean() > SEEN


def test_the_frame_is_edited_by_the_optional_group(client, workflow, picture, video, sd15_checkpoint):
    """Switched on, it animates the edit of the video's frame 0 in place of the loaded picture; `denoise` makes another edit."""
    twin = workflow("video_editing")
    whole = as_twin(to_prompt(switched_on(read_workflow("video_editing"))))
    graph = shrink({node: twin.get(node, {}) | entry for node, entry in whole.items()} | {"frames": twin["frames"]}, "image")
    (resized,) = (node for node, entry in twin.items() if entry.get("_meta", {}).get("title") == "Resize frame 0")
    edits = []
    for denoise in (0.1, 1.0):
        graph = change(graph, "KSampler", denoise=denoise)
        frames = frames_of(client, graph)
        assert frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
        edit = round_trip(client, graph, first_image(graph))
        source = round_trip(client, graph, [resized, 0])
        assert abs(frames[0] - edit).max() <= 1
        assert abs(edit - source).mean() > 1
        edits.append(edit)
    assert abs(edits[0] - edits[1]).mean() > 1


def test_the_bucket_is_measured_on_the_video(client, workflow, picture, video):
    """The bucket that the conditioning gets is that of the clip; the report on the result is shown as charts and as numbers."""
    graph = shrink(workflow("match_motion"), "image")
    (measure,) = nodes_of(graph, "CinemoMotionBucketFromVideo")
    graph["bucket"] = {"class_type": "PreviewAny", "inputs": {"source": [measure, 0]}}
    outputs = client.run(graph)
    bucket = int(outputs["bucket"]["text"][0])
    frames = images(client, outputs[frames_node(graph)])
    assert abs(frames_of(client, change(graph, "CinemoMotionConditioning", motion_bucket=bucket)) - frames).max() <= 1
    assert abs(frames_of(client, change(graph, "CinemoMotionConditioning", motion_bucket=(bucket + 10) % 20)) - frames).mean() > 0.1
    numbers = next(json.loads(outputs[node]["text"][0]) for node in nodes_of(graph, "PreviewAny") if node != "bucket")
    assert len(numbers["distance_to_first"]) == FRAMES
    assert len([node for node in nodes_of(graph, "PreviewImage") if outputs[node]["images"]]) == 2


def test_the_converter_knows_the_nodes_of_this_comfyui(client):
    """Widget names, their order and the frontend's extra values, against the schemas that the server sends."""
    schemas = client.get("/object_info")
    used = {entry["class_type"] for name in NAMES for entry in to_prompt(switched_on(read_workflow(name))).values()}
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
    assert sorted(client.get("/workflow_templates")["cinemo"]) == sorted(TITLES.values())
    for name, title in TITLES.items():
        address = f"/api/workflow_templates/cinemo/{quote(title)}"
        assert client.get(f"{address}.json") == read_workflow(name)
        assert content(server, f"{address}.jpg") == path_of(name, ".jpg").read_bytes()
    for node in pack_inputs():
        assert content(server, f"/extensions/cinemo/docs/{node}.md") == (ROOT / "web" / "docs" / f"{node}.md").read_bytes()
