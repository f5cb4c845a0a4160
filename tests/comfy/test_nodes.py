"""The nodes as ComfyUI sees them: schema against execute, and what a person needs to use them."""

import asyncio
import inspect

import pytest
from cinemo_pack.nodes import comfy_entrypoint
from cinemo_pack.tests.comfy.toolbox.files import SMALL, weights_of
from safetensors.torch import save_file

NODES = asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())
ANY_CLIP = "COMFY_MATCHTYPE_V3"  # LATENT or IMAGE, whichever comes in
DESIGN = {
    "CinemoModelLoader": ["MODEL"],
    "CinemoBundleLoader": ["MODEL", "CLIP", "VAE"],
    "CinemoDynamiCrafterLoader": ["MODEL", "CLIP", "VAE", "CLIP_VISION", "STRING"],
    "CinemoDynamiCrafterConditioning": ["CONDITIONING", "CONDITIONING", "LATENT", "STRING"],
    "CinemoDynamiCrafterKSampler": ["LATENT"],
    "CinemoDynamiCrafterGuider": ["GUIDER"],
    "CinemoDynamiCrafterRescaleGuidance": ["MODEL"],
    "CinemoDynamiCrafterScheduler": ["SIGMAS"],
    "CinemoDynamiCrafterDDIM": ["SAMPLER"],
    "CinemoToonCrafterDecode": ["IMAGE"],
    "CinemoAnimateAnyoneLoader": ["MODEL"],
    "CinemoAnimateAnyonePartsLoader": ["MODEL"],
    "CinemoAnimateAnyoneConditioning": ["CONDITIONING", "CONDITIONING", "LATENT"],
    "CinemoAnimateAnyoneWindows": ["MODEL"],
    "CinemoAnimateAnyoneReferenceLoRA": ["MODEL"],
    "CinemoAnimateAnyoneSampler": ["SAMPLER", "SIGMAS"],
    "CinemoAnimateAnyoneNoise": ["NOISE"],
    "CinemoAnimateAnyoneInterpolate": ["LATENT"],
    "CinemoMotionConditioning": ["CONDITIONING", "CONDITIONING", "LATENT"],
    "CinemoDCTInitNoise": ["NOISE", "MODEL"],
    "CinemoInvertVideo": ["NOISE", "LATENT", "STRING"],
    "CinemoResidualSplit": [ANY_CLIP, ANY_CLIP],
    "CinemoResidualMerge": [ANY_CLIP],
    "CinemoResidualKSampler": ["LATENT", "LATENT"],
    "CinemoDDIMScheduler": ["SIGMAS"],
    "CinemoExtendVideo": ["LATENT", "STRING"],
    "CinemoVideoDecode": ["IMAGE"],
    "CinemoDetailTransfer": ["IMAGE", "MASK"],
    "CinemoPoseAlignment": ["IMAGE", "POSE_KEYPOINT", "STRING"],
    "CinemoPoseAlignmentFromPictures": ["IMAGE", "STRING"],
    "CinemoPoseClip": ["IMAGE", "POSE_KEYPOINT"],
    "CinemoMotionBucketFromVideo": ["INT", "FLOAT", "IMAGE", "STRING"],
    "CinemoMotionReport": ["IMAGE", "STRING"],
}

FILES = ("model_name", "bundle", "checkpoint", "lora_name", "denoising_unet", "reference_unet", "pose_guider")  # whose lists may be empty
# Of the menu, by folder or file of nodes/.
FOLDERS = {"dynamicrafter": "Cinemo/DynamiCrafter", "animate_anyone": "Cinemo/Animate Anyone", "pose": "Cinemo/Pose"}


def test_the_list_of_nodes():
    schemas = [node.GET_SCHEMA() for node in NODES]
    assert {s.node_id: [o.io_type for o in s.outputs] for s in schemas} == DESIGN


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_schema_against_execute(node, model_folders):
    schema = node.GET_SCHEMA()
    assert schema.category == next((FOLDERS[part] for part in node.__module__.split(".") if part in FOLDERS), "Cinemo")
    assert schema.node_id == node.__name__ and schema.display_name.startswith("Cinemo ")
    parameters = list(inspect.signature(node.execute).parameters.values())
    assert [p.name for p in parameters] == [i.id for i in schema.inputs]
    optional = {p.name for p in parameters if p.default is not inspect.Parameter.empty}
    assert optional == {i.id for i in schema.inputs if i.optional}


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_everything_is_explained(node, model_folders):
    schema = node.GET_SCHEMA()
    assert schema.description.endswith(".") and len(schema.search_aliases) >= 4
    for item in [*schema.inputs, *schema.outputs]:
        assert item.tooltip and item.tooltip.endswith(".") and len(item.tooltip) < 200, item.id


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_defaults_lie_in_range(node, model_folders):
    for item in node.GET_SCHEMA().inputs:
        if item.io_type in ("INT", "FLOAT"):
            assert item.min <= item.default <= item.max, item.id
        if item.io_type == "COMBO" and item.id not in FILES:
            assert item.default in item.options, item.id


@pytest.mark.parametrize(
    ("family", "authors"),
    [
        ("Cinemo", {"sampler_name": "ddim", "cutoff": 0.23, "noise_level": 975, "width": 512, "height": 320}),
        (
            "DynamiCrafter",
            {"sampler_name": "dynamicrafter_ddim", "scheduler": "dynamicrafter_ddim", "eta": 1.0, "width": 512, "height": 320},
        ),
        ("Animate Anyone", {"width": 512, "height": 768, "resize": "stretch", "window": 24, "overlap": 4, "betas": "auto"}),
    ],
)
def test_defaults_are_the_authors(family, authors):
    place = "Cinemo" if family == "Cinemo" else f"Cinemo/{family}"  # in the menu
    own = [schema for schema in (node.GET_SCHEMA() for node in NODES) if schema.category == place]
    inputs = {i.id: i for schema in own for i in schema.inputs}
    authors |= {} if family == "Animate Anyone" else {"steps": 50, "cfg": 7.5, "frames": 16}
    assert {name: inputs[name].default for name in authors} == authors


def test_new_files_are_listed_without_a_restart(model_folders):
    loader = next(node for node in NODES if node.__name__ == "CinemoModelLoader")
    assert loader.INPUT_TYPES()["required"]["model_name"][1]["options"] == []
    save_file(weights_of(SMALL), model_folders.diffusion_models / "new.safetensors")
    assert loader.INPUT_TYPES()["required"]["model_name"][1]["options"] == ["new.safetensors"]
