"""Motion transfer on a live server: a clip inverted, its motion given to another picture, and the error shown on the node."""

import asyncio
import io

import aiohttp
import numpy as np
import pytest
from cinemo_pack.cinemo_core.included import NAME
from cinemo_pack.tools.client import Client, WorkflowError
from PIL import Image

WIDTH, HEIGHT, FRAMES, STEPS = 48, 32, 4, 2
TEXT_MESSAGE = 3  # ComfyUI's number for text shown on a node


@pytest.fixture
def workflow(server) -> dict:
    """Two pictures as a clip of two frames, made four; its noise moves a third picture. The motion is also moved over directly."""
    for name, colour in (("first", (200, 30, 60)), ("second", (20, 180, 90)), ("other", (90, 90, 220))):
        Image.new("RGB", (70, 50), colour).save(server.base / "input" / f"{name}.png")
    return {
        "bundle": {"class_type": "CinemoBundleLoader", "inputs": {"bundle": NAME, "weight_dtype": "default", "decoder": "image"}},
        "first": {"class_type": "LoadImage", "inputs": {"image": "first.png"}},
        "second": {"class_type": "LoadImage", "inputs": {"image": "second.png"}},
        "other": {"class_type": "LoadImage", "inputs": {"image": "other.png"}},
        "clip": {"class_type": "ImageBatch", "inputs": {"image1": ["first", 0], "image2": ["second", 0]}},
        "text": {"class_type": "CLIPTextEncode", "inputs": {"text": "a wave", "clip": ["bundle", 1]}},
        "invert": {
            "class_type": "CinemoInvertVideo",
            "inputs": {
                "model": ["bundle", 0],
                "positive": ["text", 0],
                "negative": ["text", 0],
                "width": WIDTH,
                "height": HEIGHT,
                "frames": FRAMES,
                "steps": STEPS,
                "cfg": 1.0,
                "motion_bucket": 9,
                "resize": "cover",
                "motion_id": -1.0,
                "measure": True,
                "images": ["clip", 0],
                "vae": ["bundle", 2],
            },
        },
        "report": {"class_type": "PreviewAny", "inputs": {"source": ["invert", 2]}},
        "condition": {
            "class_type": "CinemoMotionConditioning",
            "inputs": {
                "positive": ["text", 0],
                "negative": ["text", 0],
                "vae": ["bundle", 2],
                "image": ["other", 0],
                "width": WIDTH,
                "height": HEIGHT,
                "frames": FRAMES,
                "motion_bucket": 9,
                "resize": "cover",
                "motion_id": -1.0,
            },
        },
        "sample": {
            "class_type": "CinemoResidualKSampler",
            "inputs": {
                "model": ["bundle", 0],
                "positive": ["condition", 0],
                "negative": ["condition", 1],
                "latent_image": ["condition", 2],
                "seed": 0,
                "steps": STEPS,
                "cfg": 1.0,
                "sampler_name": "ddim",
                "scheduler": "cinemo_ddim",
                "denoise": 1.0,
                "noise": ["invert", 0],
            },
        },
        "decode": {"class_type": "CinemoVideoDecode", "inputs": {"samples": ["sample", 0], "vae": ["bundle", 2]}},
        "transferred": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": "transferred"}},
        "split": {"class_type": "CinemoResidualSplit", "inputs": {"clip": ["invert", 1]}},
        "merge": {
            "class_type": "CinemoResidualMerge",
            "inputs": {"first_frame": ["condition", 2], "residual": ["split", 1], "gain": 0.0},
        },
        "decode_merged": {"class_type": "CinemoVideoDecode", "inputs": {"samples": ["merge", 0], "vae": ["bundle", 2]}},
        "merged": {"class_type": "SaveImage", "inputs": {"images": ["decode_merged", 0], "filename_prefix": "merged"}},
    }


async def run_and_listen(client: Client, workflow: dict) -> tuple[dict, list[bytes]]:
    """The outputs of a run, and the texts that the server sent to browsers meanwhile."""
    async with aiohttp.ClientSession(client.url) as session, session.ws_connect("/ws", params={"clientId": "listener"}) as socket:
        outputs = await asyncio.to_thread(client.run, workflow)
        texts = []
        while True:
            try:
                message = await socket.receive(timeout=1)
            except TimeoutError:
                return outputs, texts
            if message.type is aiohttp.WSMsgType.BINARY and int.from_bytes(message.data[:4], "big") == TEXT_MESSAGE:
                texts.append(message.data[4:])


def pixels(client: Client, files: list[dict]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(client.fetch(file)))) for file in files]).astype(float)


def test_motion_transfer(client, workflow):
    outputs, texts = asyncio.run(run_and_listen(client, workflow))
    report = outputs["report"]["text"][0]
    assert report.startswith(f"Inverted and sampled back in {STEPS} steps: the motion returns with a relative error of ")
    node = b"invert"
    assert len(node).to_bytes(4, "big") + node + report.encode() in texts

    transferred, merged = (pixels(client, outputs[name]["images"]) for name in ("transferred", "merged"))
    assert transferred.shape == merged.shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert np.abs(transferred[1:] - transferred[:1]).mean() > 2
    assert np.abs(transferred[0] - merged[0]).max() <= 1  # both begin with the other picture
    assert np.abs(merged - merged[0]).max() <= 1  # a gain of 0 keeps it still


def test_two_clips_at_once_are_refused_in_a_sentence(client, workflow):
    workflow["encode"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["clip", 0], "vae": ["bundle", 2]}}
    workflow["invert"]["inputs"]["latent"] = ["encode", 0]
    with pytest.raises(WorkflowError, match="CinemoInvertVideo failed: Cinemo Invert Video got both images and a latent; connect the clip"):
        client.run(workflow)
