"""The stages of the larger nano in miniature: they run one after the other, resume exactly, and what they write loads."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cinemo_pack.cinemo_core import included
from cinemo_pack.cinemo_core.files.folder import read_bundle
from cinemo_pack.cinemo_core.models.temporal_vae.keys import VAEConfig
from cinemo_pack.cinemo_core.training import frozen
from cinemo_pack.cinemo_core.training.latents import mean_ssim
from cinemo_pack.cinemo_core.training.nano import library, motion_trainer, sharp_autoencoder, templates
from cinemo_pack.cinemo_core.training.nano.autoencoder.network import make_vae, write_vae
from cinemo_pack.cinemo_core.training.nano.camera_clips import read_stills
from cinemo_pack.cinemo_core.training.nano.grow_large import main
from cinemo_pack.cinemo_core.training.nano.pass_through import hold_again
from cinemo_pack.cinemo_core.training.nano.scene_clips import SceneClip, read_scenes
from PIL import Image
from safetensors.torch import load_file

AUTOENCODER = """
library = "library"
start = "start"
[model]
widths = [64, 64, 64, 128]
res_blocks = 1
[optimizer]
learning_rate = 1e-3
warmup = 1
ema = 0.5
[run]
output = "autoencoder"
steps = {steps}
pixels = 9216
log_every = 1
validate_every = 100
precision = "no"
"""
MOTION = """
tokenizer = "{tokenizer}"
[data]
train = "stills.pt"
held_out = "held_out_stills.pt"
sizes = [4, 4, 1, 6, 4, 1]
sides = [16, 12]
watched_size = 6
watched = 6
places = 40
[unet]
multipliers = [1, 1]
res_blocks = [1, 1]
[optimizer]
learning_rate = 1e-3
muon_rate = 1e-2
weight_decay = 0.0
[run]
output = "{output}"
steps = {steps}
log_every = 1
validate_every = 2
precision = "no"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Template pictures, an autoencoder to start from, and a library of them."""
    place = tmp_path_factory.mktemp("nano")
    media = place / "media"
    media.mkdir()
    for i in range(12):
        field = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(i))
        picture = F.interpolate(field, size=(208, 200), mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0).numpy()
        Image.fromarray((picture * 255).astype(np.uint8)).save(media / f"{i}.webp", lossless=True)
    Image.new("RGB", (200, 200)).save(
        media / "clip.webp", save_all=True, append_images=[Image.new("RGB", (200, 200), "white")], lossless=True
    )
    write_vae(make_vae(VAEConfig((64, 64, 64, 64), 1, temporal=False), 0), place / "start", torch.float16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "find_templates", lambda: [templates.measure(path) for path in sorted(media.iterdir())])
        library.Library(place / "library")
    return place


def losses(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


def kept(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name not in ("cpu", "wall")} for row in rows]


def write(folder: Path, tokenizer: Path, autoencoder: int, motion: int, output: str = "motion") -> None:
    (folder / "autoencoder.toml").write_text(AUTOENCODER.format(steps=autoencoder))
    (folder / "motion.toml").write_text(MOTION.format(steps=motion, output=output, tokenizer=tokenizer.as_posix()))


@pytest.fixture(scope="module")
def trained(folder, tokenizer_folder) -> Path:
    write(folder, tokenizer_folder, 3, 4)
    assert main([str(folder)]) == 0
    return folder


def test_the_autoencoder_loads_with_latents_of_unit_size(trained):
    vae = frozen.load_vae(trained / "autoencoder" / "vae")
    stills = read_stills(trained / "stills.pt")
    assert len(stills) == 2 * (len(library.Library(trained / "library").training))
    assert {still.latents.shape[2] for still in stills} == {16, 12}
    assert torch.cat([still.latents.float().flatten() for still in stills]).std().item() == pytest.approx(1, abs=0.3)
    assert frozen.encode(vae, stills[0].decoded[None, :, :64, :64]).shape == (1, 4, 8, 8)
    assert [row["step"] for row in losses(trained / "autoencoder")][:3] == [1, 2, 3]
    assert json.loads((trained / "autoencoder" / "finished.json").read_text())["held_out_psnr"] > 3


def test_a_decoder_trained_alone_reads_the_latents_that_were(folder):
    """The encoder of nano's autoencoder stays as it is, so a UNet that was trained on its latents fits."""
    start = included.FOLDER / "vae"
    config = AUTOENCODER.format(steps=2).replace('"start"', f'"{start.as_posix()}"').replace("64, 64, 64, 128", "64, 64, 128, 128")
    (folder / "decoder.toml").write_text("decoder_only = true\n" + config.replace('output = "autoencoder"', 'output = "decoder"'))
    assert sharp_autoencoder.main([str(folder / "decoder.toml")]) == 0
    before, after = (frozen.load_vae(place).state_dict() for place in (start, folder / "decoder" / "vae"))
    changed = {name.partition(".")[0] for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {"decoder"}


def test_the_saved_state_has_the_names_that_runs_under_way_rely_on(trained):
    """A run that was started with an earlier version resumes with this one."""
    common = {"model.safetensors", "optimizer.bin", "custom_checkpoint_0.pkl", "random_states_0.pkl"}
    for stage, more, parts in (
        ("autoencoder", {"custom_checkpoint_1.pkl"}, {"vae"}),  # the averaged weights
        ("motion", {"optimizer_1.bin"}, {"unet", "text_encoder"}),  # Muon's
    ):
        (folder,) = (trained / stage / "checkpoints").iterdir()
        assert {path.name for path in folder.iterdir()} == common | more
        assert {name.partition(".")[0] for name in load_file(folder / "model.safetensors")} == parts
        progress = torch.load(folder / "custom_checkpoint_0.pkl", weights_only=True)
        assert progress == {"step": int(folder.name[-8:]), "position": 0}


def test_what_is_watched_is_reported_against_its_bound(trained):
    watched = [row["explained"] for row in losses(trained / "motion") if "explained" in row]
    assert len(watched) == 2
    assert all(set(row) == {"bound", "981", "900", "700", "500", "300"} and max(row.values()) < 1 for row in watched)


def test_a_stopped_run_resumes_exactly(trained, tokenizer_folder):
    """Two steps, then two more, have the losses of four at once."""
    write(trained, tokenizer_folder, 3, 4, "parts")
    text = (trained / "motion.toml").read_text()
    (trained / "motion.toml").write_text(text.replace("steps = 4", "steps = 2"))
    assert main([str(trained)]) == 0
    (trained / "motion.toml").write_text(text)
    assert main([str(trained)]) == 0
    parts = kept(losses(trained / "parts"))
    (trained / "motion.toml").write_text(text.replace('output = "parts"', 'output = "whole"'))
    assert main([str(trained)]) == 0
    whole = kept(losses(trained / "whole"))
    assert [row["step"] for row in parts] == [row["step"] for row in whole]
    for part, once in zip(parts, whole, strict=True):
        assert part.keys() == once.keys()
        assert part.get("explained", {}) == pytest.approx(once.get("explained", {}), abs=1e-3)
        assert part.get("loss", 0) == pytest.approx(once.get("loss", 0), rel=1e-5)


@pytest.fixture(scope="module")
def further(trained, tokenizer_folder) -> Path:
    """Nano, trained on for two steps, with scenes."""
    write(trained, tokenizer_folder, 3, 2, "further")
    text = (trained / "motion.toml").read_text().replace("sizes = [4, 4, 1, 6, 4, 1]", "sizes = [8, 8, 1]")
    start = included.FOLDER.as_posix()
    text = text.replace("watched_size = 6", "watched_size = 8").replace("stills.pt", "of_nano.pt").replace('"no"', '"bf16"')
    text = text.replace("[data]", '[data]\nscenes = "scenes.pt"\nscene_sides = [8]\nscene_count = 2\nscene_share = 0.5')
    (trained / "further.toml").write_text(f'start = "{start}"\nlibrary = "library"\n{text}')
    assert motion_trainer.main([str(trained / "further.toml")]) == 0
    return trained


def test_a_run_continues_from_a_whole_cinemo(further):
    """Something else is learnt, and the copy of X_t that its training held is held."""
    vae = frozen.load_vae(included.FOLDER / "vae")
    for still in read_stills(further / "held_out_of_nano.pt"):
        assert (frozen.decode(vae, still.latents[None].float())[0].float() - still.decoded.float()).abs().mean() < 3
    (checkpoint,) = (further / "further" / "checkpoints").iterdir()
    weights = load_file(checkpoint / "model.safetensors")
    unet, _ = motion_trainer.start_from(included.FOLDER)
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    unet.load_state_dict({name.removeprefix("unet."): t for name, t in weights.items() if name.startswith("unet.")})
    assert any((tensor - before[name]).abs().max() > 1e-4 for name, tensor in unet.state_dict().items())
    assert hold_again(unet)
    bundle = read_bundle(further / "further" / "export")
    exported, _ = motion_trainer.start_from(bundle.folder)
    assert bundle.vae_image and bundle.text_encoder and hold_again(exported)


def test_scenes_have_a_caption_and_no_camera(further):
    """Latents of nano's autoencoder."""
    scenes = read_scenes(further / "scenes.pt")
    assert len(scenes) == 2
    vae = frozen.load_vae(included.FOLDER / "vae")
    for scene in scenes:
        assert scene.latents.shape == (16, 4, 8, 8)
        assert scene.caption and "camera" not in scene.caption
        assert scene.ssim == pytest.approx(mean_ssim(frozen.decode(vae, scene.latents)), abs=0.05)  # that of a few pairs of frames


def test_a_share_of_the_batches_are_scenes(further):
    stills = read_stills(further / "of_nano.pt")
    scene = SceneClip(torch.zeros(16, 4, 4, 4), 0.9, "the red star turns")
    options = motion_trainer.Motion("", "", scenes="scenes.pt", scene_sides=(4,), scene_share=0.3, sizes=(8, 8, 1), places=64)
    batches = motion_trainer.MotionBatches(stills, options, 0, [scene])
    sizes = [batches[step].latents.shape for step in range(60)]
    assert set(sizes) == {(4, 16, 4, 4, 4), (1, 16, 4, 8, 8)}
    assert 8 <= sizes.count((4, 16, 4, 4, 4)) <= 28


def test_a_folder_without_its_settings_says_so(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "autoencoder.toml does not exist" in capsys.readouterr().err
    shutil.rmtree(tmp_path)
