"""The templates for other models, which no small weights can stand for: ComfyUI's own validation of their graphs, file names in place."""

import asyncio

import execution
import folder_paths
import pytest
from cinemo_pack.nodes.cinemo.noise import CinemoDCTInitNoise
from cinemo_pack.tests.workflows import VALIDATED_ONLY, read_twin, read_workflow
from comfy_extras import nodes_model_advanced, nodes_video, nodes_video_model, nodes_wan
from PIL import Image

import nodes


@pytest.fixture
def prompt_check(tmp_path, monkeypatch):
    """Validates a twin as a server does before it runs one, with files of the published names in the model folders."""
    stock = nodes_video_model.NODE_CLASS_MAPPINGS | nodes_model_advanced.NODE_CLASS_MAPPINGS
    v3 = (CinemoDCTInitNoise, nodes_wan.WanImageToVideo, nodes_video.CreateVideo, nodes_video.SaveVideo)
    for name, node in (stock | {node.__name__: node for node in v3}).items():
        if node in v3:
            node.GET_SCHEMA()  # as loading the pack does
        monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, name, node)
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path))
    Image.new("RGB", (64, 64)).save(tmp_path / "example.png")

    def check(name: str, graph: dict) -> tuple[bool, dict]:
        for node in read_workflow(name)["nodes"]:
            for entry in node["properties"].get("models", []):
                folder = tmp_path / entry["directory"]
                folder.mkdir(exist_ok=True)
                (folder / entry["name"]).touch()
                suffixes = folder_paths.folder_names_and_paths[entry["directory"]][1]
                monkeypatch.setitem(folder_paths.folder_names_and_paths, entry["directory"], ([str(folder)], suffixes))
        monkeypatch.setattr(folder_paths, "filename_list_cache", {})
        valid, error, _, errors = asyncio.run(execution.validate_prompt("1", graph, None))
        return valid, errors or error

    return check


@pytest.mark.parametrize("name", VALIDATED_ONLY)
def test_comfyui_finds_the_graph_valid(prompt_check, name):
    valid, errors = prompt_check(name, read_twin(name))
    assert valid, errors


@pytest.mark.parametrize("name", VALIDATED_ONLY)
def test_a_wrong_link_or_file_would_be_noticed(prompt_check, name):
    (noise,) = (node for node, entry in read_twin(name).items() if entry["class_type"] == "CinemoDCTInitNoise")
    changes = {"CinemoDCTInitNoise": {"model": ["99", 0]}, "KSampler": {"model": [noise, 0]}, "LoadImage": {"image": "no.png"}}
    for kind, change in changes.items():
        graph = read_twin(name)
        (node,) = (entry for entry in graph.values() if entry["class_type"] == kind)
        node["inputs"] |= change
        valid, _ = prompt_check(name, graph)
        assert not valid, kind


@pytest.mark.parametrize("name", VALIDATED_ONLY)
def test_the_sampler_starts_from_the_noise_for_its_own_model_and_latent(name):
    graph = read_twin(name)
    (noise,) = (node for node, entry in graph.items() if entry["class_type"] == "CinemoDCTInitNoise")
    (sampler,) = (entry["inputs"] for entry in graph.values() if entry["class_type"] == "KSampler")
    (decode,) = (entry["inputs"] for entry in graph.values() if entry["class_type"] == "VAEDecode")
    inputs = graph[noise]["inputs"]
    assert sampler["model"] == [noise, 1] and inputs["latent"] == sampler["latent_image"] and inputs["vae"] == decode["vae"]
    assert sampler["denoise"] == 1
