"""A long clip on a live server: cancelled while the third segment is sampled, then queued again."""

import io
from threading import Thread

import numpy as np
import pytest
from cinemo_pack.tools.client import WorkflowError
from PIL import Image

SEGMENTS, FRAMES, STEPS = 4, 3, 4
SAMPLER, SAVE = "7", "11"


@pytest.fixture
def graph(workflow):
    """Image to video with the sampler replaced, as small as it goes."""
    graph = workflow("image_to_video")
    graph["5"]["inputs"] |= {"width": 64, "height": 64, "frames": FRAMES}
    for node in ("6", "9", "10"):  # DCTInit and the video file
        del graph[node]
    graph[SAMPLER] = {
        "class_type": "CinemoExtendVideo",
        "inputs": {
            "model": ["1", 0],
            "positive": ["5", 0],
            "negative": ["5", 1],
            "latent_image": ["5", 2],
            "segments": SEGMENTS,
            "overlap": 0,
            "seed": 0,
            "steps": STEPS,
            "cfg": 1.0,
            "sampler_name": "ddim",
            "scheduler": "cinemo_ddim",
            "correction": 0.5,
            "cutoff": 0.23,
            "noise_level": 975,
            "buckets": "9, 12",
            "closed_loop": False,
            "prompts": "a calm sea\na storm",
            "clip": ["1", 1],
        },
    }
    graph["12"] = {"class_type": "PreviewAny", "inputs": {"source": [SAMPLER, 1]}}
    return graph


def run(client, graph, interrupt_at: int | None = None) -> tuple[list[int], dict]:
    """Run; gives the steps that the sampler reported and the outputs. Cancels at a step, as the Cancel button does."""
    steps = []

    def follow(progress):
        if progress.node == SAMPLER:
            assert progress.maximum == graph[SAMPLER]["inputs"]["segments"] * STEPS
            steps.append(int(progress.value))
            if steps[-1] == interrupt_at:
                cancel = Thread(target=client.post, args=("/interrupt", {}))
                cancel.start()
                cancel.join()

    if interrupt_at is None:
        return steps, client.run(graph, follow)
    with pytest.raises(WorkflowError, match="CinemoExtendVideo was interrupted"):
        client.run(graph, follow)
    return steps, {}


def pixels(client, outputs) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(client.fetch(image)))) for image in outputs[SAVE]["images"]])


def test_cancelled_and_queued_again(client, graph):
    """ComfyUI hands over the same objects again, so the node goes on where it was."""
    frames = SEGMENTS * (FRAMES - 1) + 1
    whole_steps, outputs = run(client, graph)
    whole = pixels(client, outputs)
    assert whole_steps == list(range(1, SEGMENTS * STEPS + 1)) and whole.shape[0] == frames
    assert outputs["12"]["text"][0].count("\nsegment ") == SEGMENTS

    graph[SAMPLER]["inputs"]["seed"] = 1  # other settings, so that nothing is left of the first run
    run(client, graph, interrupt_at=1)
    graph[SAMPLER]["inputs"]["seed"] = 0
    run(client, graph, interrupt_at=2 * STEPS + 1)

    graph[SAMPLER]["inputs"]["segments"] = 2
    steps, outputs = run(client, graph)
    assert steps == [] and np.array_equal(pixels(client, outputs), whole[: 2 * (FRAMES - 1) + 1])
    graph[SAMPLER]["inputs"]["segments"] = SEGMENTS
    steps, outputs = run(client, graph)
    assert steps == list(range(2 * STEPS + 1, SEGMENTS * STEPS + 1))
    assert np.array_equal(pixels(client, outputs), whole)


def test_a_mistake_is_one_sentence(client, graph):
    graph[SAMPLER]["inputs"]["overlap"] = FRAMES - 1
    with pytest.raises(WorkflowError, match=r"CinemoExtendVideo failed: The overlap is 2 frame\(s\) and a segment has 3; choose 0 to 1"):
        client.run(graph)
