"""What Animate Anyone adds to sampling, at full size, random, for 16 frames of 20x32; each measurement prints one line of JSON.

conditioning  seconds of the image encoder and of ReferenceNet, which run once a clip, and of evaluations of the denoising network
held          bytes of weights held while a clip is sampled, those of ReferenceNet, and those of the bank, counted from the tensors

Two networks take about 9 GB in float32, so each is measured and let go before the next is built.
"""

import argparse
import json
from pathlib import Path

from .on_cpu import choose_cpu

IMAGE_SIZE = 224  # of the picture that the image encoder sees

parser = argparse.ArgumentParser()
parser.add_argument("what", choices=("conditioning", "held"))
parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
parser.add_argument("--rounds", type=int, default=3)
options = parser.parse_args()
if options.device == "cpu":
    choose_cpu()  # before anything of ComfyUI that chooses a device

import comfy.clip_model
import comfy.clip_vision
import comfy.ops
import torch

from cinemo_core.comfyui.animate_anyone.model import AnimateAnyoneNetwork
from cinemo_core.comfyui.animate_anyone.reference import ReferenceNetwork

from .bench_parts import FRAMES, HEIGHT, WARM_UP, WIDTH, Run, banked, fill, seconds
from .bench_sizes import ANIMATE_ANYONE

DEVICE = torch.device(options.device)
DTYPE = torch.float16 if options.device == "cuda" else torch.float32
ENCODER = Path(comfy.clip_vision.__file__).with_name("clip_vision_config_vitl.json")


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator(DEVICE).manual_seed(1), device=DEVICE).to(DTYPE)


def factory(device: torch.device = DEVICE) -> dict:
    return {"dtype": DTYPE, "device": device, "operations": comfy.ops.disable_weight_init}


def encoder() -> Run:
    sizes = json.loads(ENCODER.read_text(encoding="utf-8"))
    network = fill(comfy.clip_model.CLIPVisionModelProjection(sizes, **factory()).to(DEVICE, DTYPE))
    picture = random(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    return lambda: network(picture)


def reference() -> Run:
    network = fill(ReferenceNetwork(**ANIMATE_ANYONE.unet_config(), **factory()))
    latent, embeds = random(1, 4, HEIGHT, WIDTH), random(1, 1, ANIMATE_ANYONE.context_dim)
    return lambda: network(latent, embeds)


def denoiser() -> tuple[Run, Run]:
    """The positive's evaluation, with the bank, and the negative's, without."""
    network = fill(AnimateAnyoneNetwork(**ANIMATE_ANYONE.unet_config(), **factory()))
    x, embeds = random(FRAMES, 4, HEIGHT, WIDTH), random(1, 1, ANIMATE_ANYONE.context_dim)
    timesteps, poses = torch.full((FRAMES,), 501.0, device=DEVICE), [random(FRAMES, 3, 8 * HEIGHT, 8 * WIDTH)]

    def evaluation(bank: list[torch.Tensor]) -> Run:
        return lambda: network(x, timesteps, embeds, transformer_options={}, poses=poses, bank=bank)

    return evaluation([random(1, *size) for size in banked(ANIMATE_ANYONE)]), evaluation([])


def times(run: Run) -> list[float]:
    return [seconds(run, DEVICE) for _ in range(WARM_UP + options.rounds)][WARM_UP:]


def conditioning() -> dict:
    once = {"encoder": times(encoder()), "reference": times(reference())}  # each network goes when its times are taken
    positive, negative = denoiser()
    return once | {"positive": times(positive), "negative": times(negative)}


def size(*tensors: torch.Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def held() -> dict:
    """Networks without memory are enough to count."""
    nowhere = torch.device("meta")
    sampling, reference = (kind(**ANIMATE_ANYONE.unet_config(), **factory(nowhere)) for kind in (AnimateAnyoneNetwork, ReferenceNetwork))
    parts = {"unet": 0, "motion": 0, "pose_guider": 0}
    for name, tensor in sampling.state_dict().items():
        parts["pose_guider" if name.startswith("pose_guiders.") else "motion" if ".motion." in name else "unet"] += size(tensor)
    bank = [torch.empty(1, *shape, dtype=DTYPE, device=nowhere) for shape in banked(ANIMATE_ANYONE)]
    return parts | {"bank": size(*bank), "reference": size(*reference.state_dict().values())}


MEASUREMENTS = {"conditioning": conditioning, "held": held}

if __name__ == "__main__":
    with torch.inference_mode():
        print(json.dumps(MEASUREMENTS[options.what]()))
