"""Animates one picture with the real ComfyUI and this pack: an MP4 and a contact sheet. Run by `python dev.py demo`."""

import argparse
import io
import json
import re
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from cinemo_core import included
from cinemo_core.errors import CinemoError
from cinemo_core.models.cinemo.config import CinemoConfig
from cinemo_core.motion.buckets import SAME_BUCKET

from .client import Client, Progress, Workflow, title
from .console import DevError, say
from .contact_sheet import contact_sheet
from .environment import ROOT, current_comfyui
from .estimate import Sampling, in_words, processor_speed, read_config, seconds
from .server import Server, has_gpu

WORKFLOW = ROOT / "tests" / "workflows" / "image_to_video.json"
REAL_SIZE = (512, 320)  # what the published checkpoint was trained on
REAL_CFG = 7.5  # the authors'
FAST_STEPS = 16  # how near they come to 50 of ddim: docs/performance.md
DETAIL = "detail"  # a node
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:g}/{total:g} [{elapsed}<{remaining}, {rate_fmt}]"  # tqdm's own, n may be a fraction
LONG = 60  # seconds of sampling that are worth a word beforehand


@dataclass(frozen=True)
class Wishes:
    """What was asked for on the command line; None leaves it to the workflow, or to what the checkpoint was trained on."""

    prompt: str | None = None
    motion_bucket: int | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    steps: int | None = None
    cfg: float | None = None
    fast: bool = False
    detail: bool = False


class ProgressBar:
    """One bar per node that reports progress, on the terminal; a sampler's stands at 0 from its start, and counts its steps."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.bar: tqdm | None = None
        self.node = ""

    def start(self, node: str) -> None:
        """A node runs."""
        self.close()
        if steps := self.steps(node):
            self.open(node, steps)

    def update(self, progress: Progress) -> None:
        """A node reports; its maximum need not be its steps, since samplers may report parts of one."""
        total = self.steps(progress.node) or progress.maximum
        if self.bar is None or progress.node != self.node:
            self.close()
            self.open(progress.node, total)
        if self.bar is not None and progress.maximum:
            self.bar.total = total
            self.bar.update(total * progress.value / progress.maximum - self.bar.n)

    def steps(self, node: str) -> int:
        """The steps that a node's input asks for, 0 if it has none."""
        return self.workflow.get(node, {}).get("inputs", {}).get("steps", 0)

    def open(self, node: str, total: float) -> None:
        self.bar = tqdm(total=total, desc=f"  {title(self.workflow, node)}", unit="step", bar_format=BAR)
        self.node = node

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def find(workflow: Workflow, class_type: str) -> dict:
    """The inputs of the only node of this type."""
    (inputs,) = (node["inputs"] for node in workflow.values() if node["class_type"] == class_type)
    return inputs


def fill_in(workflow: Workflow, bundle: str, wishes: Wishes) -> None:
    """Set the workflow's inputs to what was asked for."""
    find(workflow, "CinemoBundleLoader")["bundle"] = bundle
    conditioning, sampler = find(workflow, "CinemoMotionConditioning"), find(workflow, "CinemoResidualKSampler")
    text = workflow[conditioning["positive"][0]]["inputs"]
    conditioning["width"], conditioning["height"] = included.SIZE if bundle == included.NAME else REAL_SIZE
    if bundle != included.NAME:  # the workflow's are nano's
        conditioning["negative_bucket"] = SAME_BUCKET
        sampler["cfg"] = REAL_CFG
    if wishes.fast:
        sampler.update(steps=FAST_STEPS, sampler_name="dpmpp_2m", scheduler="cinemo_fast")
    for inputs, name, value in (
        (text, "text", wishes.prompt),
        (conditioning, "motion_bucket", wishes.motion_bucket),
        (conditioning, "width", wishes.width),
        (conditioning, "height", wishes.height),
        (conditioning, "frames", wishes.frames),
        (sampler, "steps", wishes.steps),
        (sampler, "cfg", wishes.cfg),
    ):
        if value is not None:
            inputs[name] = value
    if wishes.detail:
        transfer_detail(workflow)


def transfer_detail(workflow: Workflow) -> None:
    """Put Detail Transfer behind the frames: what read them reads its output, and the picture is the one that is animated."""
    (decoder,) = (number for number, node in workflow.items() if node["class_type"] == "CinemoVideoDecode")
    picture, fit = (find(workflow, "CinemoMotionConditioning")[name] for name in ("image", "resize"))
    readers = [node["inputs"] for node in workflow.values() if node["inputs"].get("images") == [decoder, 0]]
    inputs = {"images": [decoder, 0], "picture": picture, "strength": 1.0, "width": 0, "fit": fit}
    workflow[DETAIL] = {"class_type": "CinemoDetailTransfer", "inputs": inputs, "_meta": {"title": "Detail Transfer"}}
    for reader in readers:
        reader["images"] = [DETAIL, 0]


def caption_of(workflow: Workflow) -> str:
    """What the workflow will make, for the contact sheet."""
    conditioning = find(workflow, "CinemoMotionConditioning")
    prompt = workflow[conditioning["positive"][0]]["inputs"]["text"]
    seed, bundle = find(workflow, "CinemoDCTInitNoise")["seed"], find(workflow, "CinemoBundleLoader")["bundle"]
    return f'"{prompt}", motion bucket {conditioning["motion_bucket"]}, seed {seed}, {bundle}'


def config_of(checkpoint: Path) -> CinemoConfig:
    """The sizes of a checkpoint's UNet, read before ComfyUI starts, so that a folder without one is refused at once."""
    try:
        return read_config(checkpoint)
    except CinemoError as error:
        raise DevError(str(error)) from None


def settings_of(workflow: Workflow) -> Sampling:
    conditioning, sampler = find(workflow, "CinemoMotionConditioning"), find(workflow, "CinemoResidualKSampler")
    return Sampling(conditioning["width"], conditioning["height"], conditioning["frames"], sampler["steps"], sampler["cfg"])


def forecast(config: CinemoConfig, settings: Sampling, speed: float, fast: bool) -> str | None:
    """A sentence about how long sampling takes on a CPU of this speed; None where it is not worth one."""
    taken = seconds(config, settings, speed)
    if taken < LONG:
        return None
    offer = "" if fast else f"; --fast takes about {in_words(taken * FAST_STEPS / settings.steps)}"
    return f"* sampling takes about {in_words(taken)} on this processor, an estimate{offer}; Ctrl-C ends it"


def check_image(path: Path) -> None:
    try:
        with Image.open(path) as image:
            image.verify()
    except (OSError, SyntaxError) as error:
        raise DevError(f"{path} is not a picture that can be read ({error}); give a PNG, JPEG or WebP file.") from None


def free_stem(folder: Path) -> Path:
    """The first of cinemo-001, cinemo-002, ... in the folder that no file has."""
    taken = [int(found[1]) for file in folder.iterdir() if (found := re.fullmatch(r"cinemo-(\d+)", file.stem))]
    return folder / f"cinemo-{max(taken, default=0) + 1:03}"


def animate(client: Client, workflow: Workflow, image: Path) -> tuple[bytes, list[Image.Image]]:
    """Run the workflow on an image; the MP4 and the frames."""
    find(workflow, "LoadImage")["image"] = client.upload(image)
    bar = ProgressBar(workflow)
    try:
        outputs = client.run(workflow, bar.update, bar.start)
    finally:
        bar.close()
    files = {workflow[node]["class_type"]: output["images"] for node, output in outputs.items() if "images" in output}
    video = client.fetch(files["SaveVideo"][0])
    return video, [Image.open(io.BytesIO(client.fetch(file))) for file in files["SaveImage"]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py demo", description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path)
    parser.add_argument("--prompt")
    parser.add_argument("--motion-bucket", type=int)
    parser.add_argument("--output", type=Path, default=ROOT / "output")
    parser.add_argument("--checkpoint", type=Path)
    for name in ("width", "height", "frames", "steps"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--cfg", type=float)
    for name in ("fast", "detail"):
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()

    comfyui = current_comfyui()
    image = options.image or comfyui / "input" / "example.png"
    check_image(image)
    options.output.mkdir(parents=True, exist_ok=True)
    checkpoint = options.checkpoint and options.checkpoint.resolve()
    if checkpoint and not checkpoint.is_dir():
        raise DevError(f"{checkpoint} is not a folder; give the downloaded checkpoint's, the one that holds unet/ and text_encoder/.")
    bundle = checkpoint.name if checkpoint else included.NAME
    workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    fill_in(workflow, bundle, Wishes(**{field.name: getattr(options, field.name) for field in fields(Wishes)}))
    caption, settings = caption_of(workflow), settings_of(workflow)
    config = config_of(checkpoint) if checkpoint else None

    with tempfile.TemporaryDirectory(prefix="cinemo-demo-") as base:
        say("* starting ComfyUI")
        with Server(comfyui, Path(base), {bundle: checkpoint} if checkpoint else None, log=options.output / "comfyui.log") as server:
            say(f"* animating {image}: {caption}, {settings}")
            if config and not has_gpu() and (sentence := forecast(config, settings, processor_speed(), options.fast)):
                say(sentence)
            video, frames = animate(Client(server.url), workflow, image)
    stem = free_stem(options.output)
    stem.with_suffix(".mp4").write_bytes(video)
    contact_sheet(frames, caption).save(stem.with_suffix(".png"))
    if options.checkpoint is None:
        say("* made by nano, the small model that comes with the pack (docs/nano.md); for the published one: --checkpoint DIR")
    say(f"video:          {stem.with_suffix('.mp4')}")
    say(f"contact sheet:  {stem.with_suffix('.png')}")


if __name__ == "__main__":
    main()
