"""Animates one picture with the real ComfyUI and this pack: an MP4 and a contact sheet. Run by `python dev.py demo`."""

import argparse
import io
import json
import re
import tempfile
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from cinemo_core import included
from cinemo_core.motion import SAME_BUCKET

from .client import Client, Progress, Workflow
from .console import DevError, say
from .contact_sheet import contact_sheet
from .environment import ROOT, current_comfyui
from .server import Server

WORKFLOW = ROOT / "tests" / "workflows" / "image_to_video.json"
REAL_SIZE = (512, 320)  # what the published checkpoint was trained on
REAL_CFG = 7.5  # the authors'


class ProgressBar:
    """One bar per node that reports progress, on the terminal."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.node = ""

    def __call__(self, progress: Progress) -> None:
        if self.bar is None or progress.node != self.node:
            self.close()
            self.bar, self.node = tqdm(total=progress.maximum, desc=f"  {progress.title}", unit="step"), progress.node
        self.bar.total = progress.maximum
        self.bar.update(progress.value - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def find(workflow: Workflow, class_type: str) -> dict:
    """The inputs of the only node of this type."""
    (inputs,) = (node["inputs"] for node in workflow.values() if node["class_type"] == class_type)
    return inputs


def fill_in(workflow: Workflow, bundle: str, size: tuple[int, int], prompt: str | None, bucket: int | None) -> str:
    """Set the workflow's inputs to what was asked for; gives the caption that says what it will run."""
    find(workflow, "CinemoBundleLoader")["bundle"] = bundle
    conditioning = find(workflow, "CinemoMotionConditioning")
    conditioning["width"], conditioning["height"] = size
    if bundle != included.NAME:  # the workflow's are nano's
        conditioning["negative_bucket"] = SAME_BUCKET
        find(workflow, "CinemoResidualKSampler")["cfg"] = REAL_CFG
    text = workflow[conditioning["positive"][0]]["inputs"]
    text["text"] = text["text"] if prompt is None else prompt
    conditioning["motion_bucket"] = conditioning["motion_bucket"] if bucket is None else bucket
    seed = find(workflow, "CinemoDCTInitNoise")["seed"]
    return f'"{text["text"]}", motion bucket {conditioning["motion_bucket"]}, seed {seed}, {bundle}'


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
    bar = ProgressBar()
    try:
        outputs = client.run(workflow, bar)
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
    options = parser.parse_args()

    comfyui = current_comfyui()
    image = options.image or comfyui / "input" / "example.png"
    check_image(image)
    options.output.mkdir(parents=True, exist_ok=True)
    checkpoint = options.checkpoint and options.checkpoint.resolve()
    if checkpoint and not checkpoint.is_dir():
        raise DevError(f"{checkpoint} is not a folder; give the downloaded checkpoint's, the one that holds unet/ and text_encoder/.")
    bundle, size = (checkpoint.name, REAL_SIZE) if checkpoint else (included.NAME, included.SIZE)
    workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    caption = fill_in(workflow, bundle, size, options.prompt, options.motion_bucket)

    with tempfile.TemporaryDirectory(prefix="cinemo-demo-") as base:
        say("* starting ComfyUI")
        with Server(comfyui, Path(base), {bundle: checkpoint} if checkpoint else None, log=options.output / "comfyui.log") as server:
            say(f"* animating {image}: {caption}, {size[0]}x{size[1]}")
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
