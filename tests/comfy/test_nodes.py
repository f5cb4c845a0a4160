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
    "CinemoDynamiCrafterConditioning": ["CONDITIONING", "CONDITIONING", "LATENT"],
    "CinemoDynamiCrafterKSampler": ["LATENT"],
    "CinemoDynamiCrafterGuider": ["GUIDER"],
    "CinemoDynamiCrafterScheduler": ["SIGMAS"],
    "CinemoDynamiCrafterDDIM": ["SAMPLER"],
    "CinemoToonCrafterDecode": ["IMAGE"],
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
    "CinemoMotionBucketFromVideo": ["INT", "FLOAT", "IMAGE", "STRING"],
    "CinemoMotionReport": ["IMAGE", "STRING"],
}

FOLDERS = {"dynamicrafter": "Cinemo/DynamiCrafter", "animate_anyone": "Cinemo/Animate Anyone"}  # of the menu, by folder of nodes/


def test_the_list_of_nodes():
    schemas = [node.GET_SCHEMA() for node in NODES]
    assert {s.node_id: [o.io_type for o in s.outputs] for s in schemas} == DESIGN


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_schema_against_execute(node, model_folders):
    schema = node.GET_SCHEMA()
    assert schema.category == FOLDERS.get(node.__module__.split(".")[-2], "Cinemo")
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
        if item.io_type == "COMBO" and item.id not in ("model_name", "bundle", "checkpoint"):
            assert item.default in item.options, item.id


@pytest.mark.parametrize(
    ("family", "authors"),
    [
        ("Cinemo", {"sampler_name": "ddim", "cutoff": 0.23, "noise_level": 975, "width": 512, "height": 320}),
        (
            "DynamiCrafter",
            {"sampler_name": "dynamicrafter_ddim", "scheduler": "dynamicrafter_ddim", "eta": 1.0, "width": 512, "height": 320},
        ),
    ],
)
def test_defaults_are_the_authors(family, authors):
    own = [node for node in NODES if ("DynamiCrafter" in node.__name__) == (family == "DynamiCrafter")]
    inputs = {i.id: i for node in own for i in node.GET_SCHEMA().inputs}
    authors |= {"steps": 50, "cfg": 7.5, "frames": 16}
    assert {name: inputs[name].default for name in authors} == authors


def test_new_files_are_listed_without_a_restart(model_folders):
    loader = next(node for node in NODES if node.__name__ == "CinemoModelLoader")
    assert loader.INPUT_TYPES()["required"]["model_name"][1]["options"] == []
    save_file(weights_of(SMALL), model_folders.diffusion_models / "new.safetensors")
    assert loader.INPUT_TYPES()["required"]["model_name"][1]["options"] == ["new.safetensors"]
