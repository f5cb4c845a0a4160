"""Animate Anyone's long clip with the stock KSampler on a live server: the bar moves within a step, and a run is cancelled there."""

import pytest
from cinemo_pack.tests.workflows.small import shrink
from cinemo_pack.tools.client import WorkflowError

FRAMES, STEPS, SIDE = 48, 3, 96


@pytest.fixture
def graph(workflow, picture, animate_anyone_files):
    graph = shrink(workflow("animate_anyone_long_clip"), "image")
    sized = {"width": SIDE, "height": SIDE}
    wanted = {
        "CinemoAnimateAnyoneConditioning": sized | {"poses": ["drawn", 0]},
        "CinemoAnimateAnyoneWindows": {"window": 16, "overlap": 4},
        "KSampler": {"steps": STEPS},
    }
    decoding = ("VAEDecode", "CreateVideo", "SaveVideo", "SaveImage")
    graph = {node: entry for node, entry in graph.items() if entry["class_type"] not in decoding}
    for entry in graph.values():
        entry["inputs"] |= wanted.get(entry["class_type"], {})
    graph["saved"] = {"class_type": "SaveLatent", "inputs": {"samples": [sampler_of(graph), 0], "filename_prefix": "long_clip"}}
    (drawn,) = (entry for entry in workflow("animate_anyone_character").values() if entry["class_type"] == "CinemoPoseClip")
    graph["drawn"] = drawn | {"inputs": drawn["inputs"] | sized | {"frames": FRAMES}}
    return graph


def sampler_of(graph: dict) -> str:
    (node,) = (node for node, entry in graph.items() if entry["class_type"] == "KSampler")
    return node


def test_cancelled_within_a_step_and_queued_again(client, graph):
    sampler = sampler_of(graph)
    values = []

    def cancel_within_a_step(progress):
        if progress.node == sampler:
            values.append(progress.value)
            if progress.value % 1:
                client.post("/interrupt", {})

    with pytest.raises(WorkflowError, match="KSampler was interrupted"):
        client.run(graph, cancel_within_a_step)
    assert values[-1] < STEPS - 1

    values.clear()
    client.run(graph, lambda progress: values.append(progress.value) if progress.node == sampler else None)
    assert values == sorted(values) and values[-1] == STEPS
    for step in range(STEPS):
        assert any(step < value < step + 1 for value in values), values
    assert len(client.previews) == STEPS
