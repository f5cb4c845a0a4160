"""The published workflows, their twins in API format in this folder, and the way from one to the other.

`workflows/TITLE.json` is what people open; NAME.json, with a name of `TITLES`, is the same graph as a program sends it. A twin
differs in two things only: it names nano, the checkpoint that comes with the pack, also where the workflow names the published
one, and it saves the frames as images too, so that they can be looked at without a video codec's losses.

After a change to a workflow: save it in the frontend, change its twin, and renew its picture with `python dev.py test
tests/browser --thumbnails`.
"""

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

from cinemo_pack.cinemo_core import included
from cinemo_pack.tests.comfyui import schemas

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / "workflows"
TWINS = Path(__file__).parent
# The frontend's search forgives no name that begins after about thirty letters, so titles are short.
TITLES = {
    "image_to_video": "Animate an image (Cinemo)",
    "image_to_video_fast": "Animate an image, fast (Cinemo)",
    "image_to_video_stock_ksampler": "Animate with KSampler (Cinemo)",
    "custom_sampling": "Custom sampling (Cinemo)",
    "controlnet": "Use a ControlNet (Cinemo)",
    "extend_video": "Make a longer video (Cinemo)",
    "first_and_last_frame": "First and last frame (Cinemo)",
    "lora": "Use a LoRA (Cinemo)",
    "match_motion": "Match the motion (Cinemo)",
    "motion_transfer": "Transfer the motion (Cinemo)",
    "video_editing": "Edit a video (Cinemo)",
    "video_to_video": "Change a video (Cinemo)",
    "dynamicrafter_image_to_video": "Animate an image (DynamiCrafter)",
    "dynamicrafter_stock_ksampler": "Animate with KSampler (DynamiCrafter)",
    "dynamicrafter_first_and_last_frame": "First and last frame (DynamiCrafter)",
    "dynamicrafter_loop": "Make a loop (DynamiCrafter)",
    "dynamicrafter_custom_sampling": "Custom sampling (DynamiCrafter)",
    "animate_anyone_character": "Animate a character (Animate Anyone)",
    "animate_anyone_dance": "Dance from a video (Animate Anyone)",
    "animate_anyone_custom_sampling": "Custom sampling (Animate Anyone)",
    "animate_anyone_long_clip": "Animate a character, long clip (Animate Anyone)",
    "tooncrafter": "Connect two drawings (ToonCrafter)",
    "calmer": "Make a clip calmer (any model)",
    "dctinit_svd": "DCTInit noise (SVD)",
    "dctinit_wan": "DCTInit noise (Wan)",
}
VALIDATED_ONLY = ("dctinit_svd", "dctinit_wan")  # of weights that no small file can stand for: these graphs are validated, not run
NAMES = sorted(TITLES)

PUBLISHED_BUNDLE = "Cinemo"  # the folder's name that the notes of the workflows tell people to use
NANO_BUNDLE = included.NAME
ACTIVE, BYPASSED = 0, 4  # a node's `mode`
VIRTUAL = {"MarkdownNote", "Note"}  # nodes that only the frontend knows
SOCKETS = {
    "MODEL",
    "CLIP",
    "CLIP_VISION",
    "VAE",
    "CONDITIONING",
    "LATENT",
    "IMAGE",
    "NOISE",
    "POSE_KEYPOINT",
    "COMFY_MATCHTYPE_V3",
}  # input types without a widget
EXTRA = None  # a value that the frontend keeps after a widget's and does not send: what to do with a seed, the upload button

# Widgets of the stock nodes in the frontend's order, which is the order of their inputs.
STOCK_WIDGETS: dict[str, list[str | None]] = {
    "CFGGuider": ["cfg"],
    "CLIPLoader": ["clip_name", "type", "device"],
    "CLIPTextEncode": ["text"],
    "CLIPVisionEncode": ["crop"],
    "CLIPVisionLoader": ["clip_name"],
    "Canny": ["low_threshold", "high_threshold"],
    "CheckpointLoaderSimple": ["ckpt_name"],
    "ControlNetApplyAdvanced": ["strength", "start_percent", "end_percent"],
    "ControlNetLoader": ["control_net_name"],
    "CreateList": [],
    "CreateVideo": ["fps", "bit_depth"],
    "GetImageSize": [],
    "GetVideoComponents": [],
    "ImageBlend": ["blend_factor", "blend_mode"],
    "ImageFromBatch": ["batch_index", "length"],
    "ImageScale": ["upscale_method", "width", "height", "crop"],
    "ImageOnlyCheckpointLoader": ["ckpt_name"],
    "KSampler": ["seed", EXTRA, "steps", "cfg", "sampler_name", "scheduler", "denoise"],
    "KSamplerSelect": ["sampler_name"],
    "LatentFromBatch": ["batch_index", "length"],
    "LoadImage": ["image", EXTRA],
    "LoadVideo": ["file", EXTRA],
    "LoraLoader": ["lora_name", "strength_model", "strength_clip"],
    "ModelComputeDtype": ["dtype"],
    "ModelSamplingSD3": ["shift"],
    "PreviewAny": [],
    "PreviewImage": [],
    "PrimitiveInt": ["value", EXTRA],
    "RandomNoise": ["noise_seed", EXTRA],
    "RebatchLatents": ["batch_size"],
    "SVD_img2vid_Conditioning": ["width", "height", "video_frames", "motion_bucket_id", "fps", "augmentation_level"],
    "SamplerCustomAdvanced": [],
    "SaveVideo": ["filename_prefix", "format", "codec"],
    "SetLatentNoiseMask": [],
    "SolidMask": ["value", "width", "height"],
    "UNETLoader": ["unet_name", "weight_dtype"],
    "VAEDecode": [],
    "VAEEncode": [],
    "VAELoader": ["vae_name"],
    "VideoLinearCFGGuidance": ["min_cfg"],
    "WanImageToVideo": ["width", "height", "length", "batch_size"],
}


class Input(NamedTuple):
    """An input of a node of the pack, as its schema declares it."""

    name: str
    kind: str  # INT, MODEL, ...
    controlled: bool  # the frontend keeps next to it what to do with it after a run
    advanced: bool


def path_of(name: str, suffix: str = ".json") -> Path:
    """The workflow, or its picture."""
    return WORKFLOWS / (TITLES[name] + suffix)


def read_workflow(name: str) -> dict[str, Any]:
    """The workflow in UI format."""
    return json.loads(path_of(name).read_text(encoding="utf-8"))


def read_twin(name: str) -> dict[str, dict[str, Any]]:
    """The twin in API format."""
    return json.loads((TWINS / f"{name}.json").read_text(encoding="utf-8"))


@functools.cache
def pack_inputs() -> dict[str, list[Input]]:
    """Inputs of the pack's nodes by node id."""
    return {node: [read_input(item) for item in schema.inputs] for node, schema in schemas().items()}


def read_input(item: Any) -> Input:
    return Input(item.id, item.get_io_type(), bool(getattr(item, "control_after_generate", False)), bool(item.advanced))


@functools.cache
def widget_order() -> dict[str, list[str | None]]:
    """Names of a node's widgets in the order of its saved values, by node type; EXTRA stands for a value that is not sent."""
    order = dict(STOCK_WIDGETS)
    for node, inputs in pack_inputs().items():
        order[node] = []
        for widget in inputs:
            if widget.kind not in SOCKETS:
                order[node] += [widget.name, EXTRA] if widget.controlled else [widget.name]
    return order


def to_prompt(workflow: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A workflow in API format, as the frontend converts it: notes are left out, a link replaces the widget that it goes to.

    Bypassed nodes are left out and pass on what goes into them. Muted nodes are refused: a published workflow has none.
    """
    order = widget_order()
    nodes = {node["id"]: node for node in workflow["nodes"]}
    links = {link: (nodes[node], slot) for link, node, slot, *_ in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["mode"] not in (ACTIVE, BYPASSED):
            raise ValueError(f"{node['type']} (node {node['id']}) is muted")
        if node["type"] in VIRTUAL or node["mode"] == BYPASSED:
            continue
        values = zip(order[node["type"]], node.get("widgets_values", []), strict=True)
        inputs = {name: value for name, value in values if name is not EXTRA}
        sources = {slot["name"]: _source(links, slot["link"]) for slot in node["inputs"]}
        inputs |= {name: source for name, source in sources.items() if source is not None}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def _source(links: dict[int, tuple[dict[str, Any], int]], link: int | None) -> list | None:
    """Node id and output from which a link gets its value: past bypassed nodes, None if that ends in the open."""
    if link is None:
        return None
    node, slot = links[link]
    if node["mode"] == ACTIVE:
        return [str(node["id"]), slot]
    kind = node["outputs"][slot]["type"]
    same_place = node["inputs"][slot : slot + 1]  # the frontend prefers it, then the first input of the type
    through = next((entry for entry in (*same_place, *node["inputs"]) if entry["type"] == kind), None)
    return None if through is None else _source(links, through["link"])


def switched_on(workflow: dict[str, Any]) -> dict[str, Any]:
    """A workflow with its bypassed nodes active."""
    return workflow | {"nodes": [node | {"mode": ACTIVE} for node in workflow["nodes"]]}


def as_twin(prompt: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A prompt with nano's name for the published checkpoint's, and without titles."""

    def renamed(inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs | ({"bundle": NANO_BUNDLE} if inputs.get("bundle") == PUBLISHED_BUNDLE else {})

    return {node: {"class_type": entry["class_type"], "inputs": renamed(entry["inputs"])} for node, entry in prompt.items()}


def frames_node(twin: dict[str, dict[str, Any]]) -> str:
    """Id of the twin's node that saves the frames."""
    (node,) = (node for node, entry in twin.items() if entry["class_type"] == "SaveImage")
    return node


def without_frames(twin: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A twin without titles and without the node that saves the frames as images."""
    return {node: {"class_type": e["class_type"], "inputs": e["inputs"]} for node, e in twin.items() if node != frames_node(twin)}
