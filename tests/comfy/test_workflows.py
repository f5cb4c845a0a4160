"""The workflows that people open: equal to their twins, sound as graphs, tidy on the canvas, true about files."""

import io
import json
import re
from itertools import combinations

import pytest
from cinemo_pack.cinemo_core.models.animate_anyone.published import PUBLISHED
from cinemo_pack.tests.workflows import (
    BYPASSED,
    NAMES,
    PUBLISHED_BUNDLE,
    ROOT,
    TITLES,
    TWINS,
    VIRTUAL,
    WORKFLOWS,
    as_twin,
    frames_node,
    pack_inputs,
    path_of,
    read_twin,
    read_workflow,
    switched_on,
    to_prompt,
    without_frames,
)
from PIL import Image

TITLE_HEIGHT = 30  # of a node; its `pos` is below the title
MARGIN = 20  # between nodes
# Weights in the published checkpoint, and the folder of models/ under which a loader looks for each.
REPOSITORY = "https://huggingface.co/maxin-cn/Cinemo/resolve/main/"
SINGLE_FILES = {
    "cinemo.pt": "diffusion_models",
    "text_encoder/pytorch_model.bin": "text_encoders",
    "vae/diffusion_pytorch_model.bin": "vae",
}
DYNAMICRAFTER = "https://huggingface.co/Doubiiu/"
ANIMATE_ANYONE = "https://huggingface.co/patrolli/AnimateAnyone"
# Files of others that a workflow names, and the folder for each.
CONTROLNETS = "https://huggingface.co/comfyanonymous/ControlNet-v1-1_fp16_safetensors/resolve/main/"
STABLE_DIFFUSION = "https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/"
WAN = "https://huggingface.co/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files/"
SVD = "https://huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt"
OTHERS = {
    WAN + "diffusion_models/wan2.1_i2v_480p_14B_fp16.safetensors": "diffusion_models",
    WAN + "text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors": "text_encoders",
    WAN + "vae/wan_2.1_vae.safetensors": "vae",
    WAN + "clip_vision/clip_vision_h.safetensors": "clip_vision",
    SVD + "/resolve/main/svd_xt.safetensors": "checkpoints",
    CONTROLNETS + "control_v11p_sd15_canny_fp16.safetensors": "controlnet",
    STABLE_DIFFUSION + "v1-5-pruned-emaonly-fp16.safetensors": "checkpoints",
    "https://huggingface.co/lambdalabs/sd-image-variations-diffusers/resolve/main/image_encoder/pytorch_model.bin": "clip_vision",
    "https://huggingface.co/stabilityai/sd-vae-ft-mse-original/resolve/main/vae-ft-mse-840000-ema-pruned.safetensors": "vae",
    **{
        f"{ANIMATE_ANYONE}/resolve/main/{name}.pth": folder
        for folder, names in {
            "diffusion_models": ("denoising_unet", "motion_module", "reference_unet"),
            "controlnet": ("pose_guider",),
        }.items()
        for name in names
    },
    **{
        f"{DYNAMICRAFTER}{name}/resolve/main/model.ckpt": "checkpoints"
        for name in ("DynamiCrafter_512", "DynamiCrafter_512_Interp", "ToonCrafter")
    },
}
PAGES = {SVD, WAN.partition("/resolve")[0]}
BUNDLE_FILES = {
    "unet/diffusion_pytorch_model.bin",
    "text_encoder/pytorch_model.bin",
    "vae_temporal_decoder/diffusion_pytorch_model.safetensors",
}

SINGLE_FILE_LOADERS = (
    "CinemoAnimateAnyonePartsLoader",
    "CLIPVisionLoader",
    "CinemoDynamiCrafterLoader",
    "CinemoModelLoader",
    "CLIPLoader",
    "VAELoader",
    "ControlNetLoader",
    "CheckpointLoaderSimple",
    "ImageOnlyCheckpointLoader",
    "UNETLoader",
)

FOLDER_LOADERS = ("CinemoBundleLoader", "CinemoAnimateAnyoneLoader")

every_workflow = pytest.mark.parametrize("name", NAMES)


def rectangle(node: dict) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a node with its title."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE_HEIGHT, x + width, y + height


def overlap(a: tuple, b: tuple) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def real_nodes(workflow: dict) -> list[dict]:
    return [node for node in workflow["nodes"] if node["type"] not in VIRTUAL]


@every_workflow
def test_the_twin_is_the_same_graph(name):
    twin = read_twin(name)
    assert as_twin(to_prompt(read_workflow(name))) == without_frames(twin)
    video = next(entry for entry in twin.values() if entry["class_type"] == "CreateVideo")
    assert twin[frames_node(twin)]["inputs"]["images"] == video["inputs"]["images"], "the images are not the video's frames"


@every_workflow
def test_a_changed_value_or_link_is_noticed(name):
    workflow, twin = read_workflow(name), without_frames(read_twin(name))
    for node in real_nodes(workflow):
        # The value behind a seed or a file name is the frontend's own, and the one under a link is not sent.
        if node["mode"] == BYPASSED:
            continue
        linked = {slot["name"] for slot in node["inputs"] if slot["link"] is not None}
        sent = {k: v for k, v in to_prompt(workflow)[str(node["id"])]["inputs"].items() if k not in linked}
        before = json.dumps(node.get("widgets_values", []))
        changed = 0
        for index in range(len(node.get("widgets_values", []))):
            node["widgets_values"] = json.loads(before)
            node["widgets_values"][index] = "changed"
            changed += as_twin(to_prompt(workflow)) != twin
        node["widgets_values"] = json.loads(before)
        assert changed == len(sent), node["type"]
    sent = to_prompt(workflow)
    for link in workflow["links"]:
        if str(link[1]) in sent and str(link[3]) in sent:
            link[2] += 1
            assert as_twin(to_prompt(workflow)) != twin
            link[2] -= 1


@every_workflow
def test_links_are_consistent(name):
    workflow = read_workflow(name)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert len(nodes) == len(workflow["nodes"]) and max(nodes) == workflow["last_node_id"]
    assert max(link[0] for link in workflow["links"]) == workflow["last_link_id"]
    incoming = {slot["link"]: (node["id"], i) for node in nodes.values() for i, slot in enumerate(node["inputs"])}
    outgoing = {link: (node["id"], i) for node in nodes.values() for i, s in enumerate(node["outputs"]) for link in s["links"] or ()}
    incoming.pop(None, None)
    assert {link[0] for link in workflow["links"]} == set(incoming) == set(outgoing)
    for link, source, output, target, slot, kind in workflow["links"]:
        assert (source, output) == outgoing[link] and (target, slot) == incoming[link]
        assert kind == nodes[source]["outputs"][output]["type"] and nodes[target]["inputs"][slot]["type"] in (kind, "*")


@every_workflow
def test_nodes_are_the_packs_and_say_so(name):
    project = re.search(r'^name = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]
    ours = pack_inputs()
    for node in real_nodes(read_workflow(name)):
        assert node["type"] in ours or not node["type"].startswith("Cinemo"), f"{node['type']} is not a node of the pack"
        assert node["properties"]["cnr_id"] == (project if node["type"] in ours else "comfy-core")
        assert re.fullmatch(r"\d+\.\d+\.\d+", node["properties"]["ver"])
    assert any(node["type"] in ours for node in read_workflow(name)["nodes"])


@every_workflow
def test_nothing_overlaps_and_groups_hold_the_nodes(name):
    workflow = read_workflow(name)
    for a, b in combinations(workflow["nodes"], 2):
        x0, y0, x1, y1 = rectangle(b)
        assert not overlap(rectangle(a), (x0 - MARGIN, y0 - MARGIN, x1 + MARGIN, y1 + MARGIN)), f"{a['type']} touches {b['type']}"
    groups = {group["title"]: group["bounding"] for group in workflow["groups"]}
    boxes = {title: (x, y, x + width, y + height) for title, (x, y, width, height) in groups.items()}
    for a, b in combinations(boxes.values(), 2):
        assert not overlap(a, b)
    for node in workflow["nodes"]:
        x0, y0, x1, y1 = rectangle(node)
        inside = [t for t, box in boxes.items() if box[0] < x0 and box[1] < y0 and x1 < box[2] and y1 < box[3]]
        assert len(inside) == 1, f"{node['type']} is in {inside}"


@every_workflow
def test_people_learn_how_to_use_it(name):
    workflow = read_workflow(name)
    notes = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] in VIRTUAL]
    assert len(notes) == 2 and all(len(note) > 200 for note in notes)
    titles = {node.get("title") for node in workflow["nodes"]}
    assert {"How to use it", "Files that it needs"} <= titles
    given = {"Character"} if "(Animate Anyone)" in TITLES[name] else {"Prompt", "Negative prompt"}
    given = set() if name in ("calmer", "dctinit_svd") else given  # they take no text
    assert given <= titles
    assert [group["title"][:2] for group in workflow["groups"][1:]] == [f"{i} " for i in range(1, len(workflow["groups"]))]
    for note in notes:
        for link in re.findall(r"\]\((.*?)\)", note):
            assert (
                link.startswith((REPOSITORY, "https://huggingface.co/maxin-cn/Cinemo/", DYNAMICRAFTER, ANIMATE_ANYONE))
                or link in PAGES | OTHERS.keys()
            )


@every_workflow
def test_the_files_named_are_published_and_their_loaders_find_them(name):
    cinemos = 0
    for node in real_nodes(read_workflow(name)):
        listed = node["properties"].get("models", [])
        assert bool(listed) == (node["type"] in (*SINGLE_FILE_LOADERS, *FOLDER_LOADERS)), node["type"]
        for entry in listed:
            path = entry["url"].removeprefix(REPOSITORY)
            cinemos += path != entry["url"]
            if node["type"] in SINGLE_FILE_LOADERS:
                # The frontend offers a file that a widget names, in the folder whose files the widget lists.
                assert (SINGLE_FILES | OTHERS)[path] == entry["directory"]
                assert entry["name"] in node["widgets_values"]
                assert entry["name"].rpartition(".")[2] == path.rpartition(".")[2]
            elif node["type"] == "CinemoBundleLoader":
                assert path in BUNDLE_FILES
                assert f"{entry['directory']}/{entry['name']}" == f"diffusers/{PUBLISHED_BUNDLE}/{path}"
            else:
                (published,) = (one for one in PUBLISHED if one.folder == node["widgets_values"][0])
                assert path.removeprefix(f"{published.page}/resolve/main/") == entry["name"] in published.files
                assert entry["directory"] == f"animate_anyone/{published.folder}"
    assert cinemos == (3 if "(Cinemo)" in TITLES[name] else 0)


def test_an_optional_group_is_bypassed_as_a_whole_and_comes_in_when_switched_on():
    """The edit of frame 0: left out, the picture comes from Load Image; switched on, from the group."""
    workflow = read_workflow("video_editing")
    x, y, width, height = workflow["groups"][-1]["bounding"]
    inside = {node["id"] for node in workflow["nodes"] if x < node["pos"][0] < x + width and y < node["pos"][1] < y + height}
    optional = {node["id"] for node in workflow["nodes"] if node["mode"] == BYPASSED}
    assert workflow["groups"][-1]["title"].partition(" ")[2].startswith("Optional") and optional == inside
    types = {node["id"]: node["type"] for node in workflow["nodes"]}
    prompts = to_prompt(workflow), to_prompt(switched_on(workflow))
    assert {int(node) for node in prompts[1].keys() - prompts[0].keys()} == optional
    (conditioning,) = (node for node, kind in types.items() if kind == "CinemoMotionConditioning")
    pictures = [prompt[str(conditioning)]["inputs"]["image"] for prompt in prompts]
    assert [types[int(node)] for node, _ in pictures] == ["ImageScale", "ImageBlend"]
    assert prompts[1][pictures[1][0]]["inputs"]["image1"] == pictures[0]


@pytest.mark.parametrize("name", ["custom_sampling", "dynamicrafter_image_to_video", "image_to_video"])
def test_detail_transfer_waits_for_a_large_picture(name):
    """Bypassed, since a first try need not wait for a clip as large as the picture; switched on, it stands before the video."""
    workflow = read_workflow(name)
    types = {str(node["id"]): node["type"] for node in workflow["nodes"]}
    (video,) = (entry for entry in to_prompt(switched_on(workflow)).values() if entry["class_type"] == "CreateVideo")
    assert types[video["inputs"]["images"][0]] == "CinemoDetailTransfer"


def test_computing_in_bf16_waits_for_a_processor_that_can():
    """Bypassed, since other processors would take much longer; switched on, the sampler gets its model, in bf16."""
    workflow = read_workflow("image_to_video_fast")
    prompts = to_prompt(workflow), to_prompt(switched_on(workflow))
    models = []
    for prompt in prompts:
        (sampler,) = (entry for entry in prompt.values() if entry["class_type"] == "CinemoResidualKSampler")
        models.append(sampler["inputs"]["model"][0])
    assert [prompt[model]["class_type"] for prompt, model in zip(prompts, models, strict=True)] == [
        "CinemoBundleLoader",
        "ModelComputeDtype",
    ]
    assert prompts[1][models[1]]["inputs"]["dtype"] == "bf16"


def test_no_node_is_bypassed_elsewhere():
    bypassed = [name for name in NAMES if any(node["mode"] == BYPASSED for node in read_workflow(name)["nodes"])]
    assert bypassed == [
        "animate_anyone_custom_sampling",
        "custom_sampling",
        "dynamicrafter_image_to_video",
        "image_to_video",
        "image_to_video_fast",
        "video_editing",
    ]


def test_a_muted_node_is_refused():
    workflow = read_workflow("video_editing")
    workflow["nodes"][2]["mode"] = 2
    with pytest.raises(ValueError, match=r"CinemoBundleLoader \(node 1\) is muted"):
        to_prompt(workflow)


def test_every_node_of_the_pack_is_shown():
    shown = {node["type"] for name in NAMES for node in read_workflow(name)["nodes"]}
    assert set(pack_inputs()) <= shown


@every_workflow
def test_the_thumbnail_is_a_small_picture(name):
    content = path_of(name, ".jpg").read_bytes()
    assert len(content) < 100_000
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "JPEG" and min(picture.size) >= 400


def test_workflow_thumbnail_and_twin_come_together():
    assert {path.stem for path in TWINS.glob("*.json")} == set(NAMES)
    for suffix in (".json", ".jpg"):
        assert {path.stem for path in WORKFLOWS.glob(f"*{suffix}")} == set(TITLES.values())
