"""A long clip on a live server: cancelled while the third segment is sampled, then queued again."""

import io

import numpy as np
import pytest
from cinemo_pack.tools.client import WorkflowError
from PIL import Image

SEGMENTS, FRAMES, STEPS = 4, 3, 10  # so many steps that a cancel arrives before the last segment is done
SAMPLER, SAVE = "7", "11"


@pytest.fixture
def graph(workflow):
    """Image to video with the sampler replaced, as small as it goes."""
    graph = workflow("image_to_video")
    graph["1"]["inputs"]["decoder"] = "image"  # a temporal one gives a frame other pixels when it sees it among others
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


def run(client, graph) -> tuple[list[int], dict]:
    """Run; gives the steps that the sampler finished, without the parts that it reports between, and the outputs."""
    steps = []

    def follow(progress):
        if progress.node == SAMPLER:
            assert progress.maximum == graph[SAMPLER]["inputs"]["segments"] * STEPS
            if progress.value % 1 == 0:
                steps.append(int(progress.value))

    outputs = client.run(graph, follow)
    return steps, outputs


def run_and_cancel(client, graph) -> int:
    """Cancel, as the Cancel button does, when the third segment is seen to begin; gives the step at which ComfyUI stopped."""
    steps = []

    def follow(progress):
        if progress.node == SAMPLER:
            steps.append(int(progress.value))
            if steps[-1] == 2 * STEPS + 1:
                client.post("/interrupt", {})

    with pytest.raises(WorkflowError, match="CinemoExtendVideo was interrupted"):
        client.run(graph, follow)
    return steps[-1]


def pixels(client, outputs) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(client.fetch(image)))) for image in outputs[SAVE]["images"]])


def test_cancelled_and_queued_again(client, graph):
    """ComfyUI passes the same objects again, so the node continues where it was."""
    done = run_and_cancel(client, graph) // STEPS
    assert 2 <= done < SEGMENTS

    graph[SAMPLER]["inputs"]["segments"] = done
    steps, outputs = run(client, graph)
    so_far = pixels(client, outputs)
    assert steps == [] and so_far.shape[0] == done * (FRAMES - 1) + 1

    graph[SAMPLER]["inputs"]["segments"] = SEGMENTS
    steps, outputs = run(client, graph)
    whole = pixels(client, outputs)
    assert [step for step in steps if step > done * STEPS] == list(range(done * STEPS + 1, SEGMENTS * STEPS + 1))
    assert whole.shape[0] == SEGMENTS * (FRAMES - 1) + 1
    assert np.abs(whole[: so_far.shape[0]].astype(int) - so_far).max() <= 1  # a level of rounding: batches of other sizes
    assert outputs["12"]["text"][0].count("\nsegment ") == SEGMENTS


def test_a_mistake_is_one_sentence(client, graph):
    graph[SAMPLER]["inputs"]["overlap"] = FRAMES - 1
    with pytest.raises(WorkflowError, match=r"CinemoExtendVideo failed: The overlap is 2 frame\(s\) and a segment has 3; choose 0 to 1"):
        client.run(graph)
