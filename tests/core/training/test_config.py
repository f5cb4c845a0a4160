"""What a TOML file may say, and the sentence for everything else."""

import json
import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from cinemo_pack.cinemo_core.errors import CheckpointError, InputError
from cinemo_pack.cinemo_core.training.additions import HELD_WEIGHTS, TEXT_WEIGHTS
from cinemo_pack.cinemo_core.training.config import Config, Model, Text, read_config

SMALLEST = """
[data]
source = "procedural"
clips = 10
width = 64
height = 64
[model]
vae = "parts/vae"
[run]
output = "out"
steps = 10
batch = 2
"""


def read(tmp_path, text: str) -> Config:
    path = tmp_path / "run.toml"
    path.write_text(text)
    return read_config(path)


def test_defaults_are_the_papers(tmp_path):
    config = read(tmp_path, SMALLEST)
    assert (config.data.frames, config.data.interval) == (16, (3, 10))
    assert (config.objective.prediction, config.objective.motion, config.objective.text_dropout) == ("residual", "ssim", 0.5)
    assert (config.validation.initial_noise, config.validation.cfg) == ("dctinit", 7.5)


def test_paths_are_relative_to_the_file(tmp_path):
    config = read(tmp_path, SMALLEST)
    assert Path(config.model.vae) == tmp_path / "parts" / "vae"
    assert config.output == tmp_path / "out"
    assert config.model.start == "scratch"


def test_numbers_lists_and_tables(tmp_path):
    config = read(tmp_path, SMALLEST + "[unet]\nmultipliers = [1, 1.5]\nattention = [true, false]\n[validation]\ncases = [{seed = 3}]\n")
    assert config.unet.multipliers == (1.0, 1.5)
    assert config.validation.cases[0].seed == 3
    assert config.unet.config(context_dim=16).widths == (64, 96)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps = 10", "steps = 10\nspeed = 3"), "run.speed is not a key of the configuration"),
        (("[run]", "[walk]\n[run]"), "walk is not a key"),
        (("steps = 10", ""), "run.steps is missing"),
        (("steps = 10", 'steps = "10"'), "run.steps is '10', expected a whole number"),
        (("steps = 10", "steps = 10.0"), "run.steps is 10.0, expected a whole number"),
        (("steps = 10", "steps = true"), "run.steps is True, expected a whole number"),
        (("steps = 10", "steps = 0"), "run.steps is 0; choose a number that is at least 1."),
        (
            ("[run]", "[objective]\ntext_dropout = 1.5\n[run]"),
            "text_dropout is 1.5; choose a number that is at least 0 and at most 1.",
        ),
        (("[run]", "[objective]\nnoise_offset = nan\n[run]"), "objective.noise_offset is nan"),
        (("[run]", "[objective]\nsnr_power = 0.5\nmin_snr_gamma = 5\n[run]"), "min_snr_gamma and objective.snr_power are both set"),
        (
            ('vae = "parts/vae"', 'vae = "v"\nstart = "s"\nlora_rank = 4\n[optimizer]\nmuon_rate = 0.01'),
            "muon_rate and model.lora_rank are both set",
        ),
        (
            ("[run]", "[optimizer]\nbetas = [0.9, 1.0]\n[run]"),
            r"optimizer.betas\[1\] is 1.0; choose a number that is at least 0 and at most",
        ),
        (
            ('vae = "parts/vae"', 'vae = "v"\nstart = "s"\nlora_rank = 4\nlora_layers = []'),
            "model.lora_layers is empty, so nothing would train",
        ),
        (("[run]", "[export]\nstart_share = 0.5\n[run]"), "start_share is set, but nothing to start from"),
        (
            ('vae = "parts/vae"', 'vae = "v"\nstart = "s"\nlora_rank = 4\n[export]\nstart_share = 0.5'),
            "start_share and model.lora_rank are both set",
        ),
        (("[run]", '[objective]\nprediction = "frames"\n[run]'), "objective.prediction is 'frames'; choose one of residual, direct."),
        (('"procedural"', '"camera"'), "data.source is 'camera'; choose one of videos, procedural."),
        (('"procedural"', '"videos"'), "data.path is missing"),
        (("clips = 10", ""), "data.clips is missing"),
        (("clips = 10", 'clips = 10\nscore = "decoded"\ncache = false'), "data.score = .decoded. is measured when the cache is made"),
        (("width = 64", "width = 60"), "data.width is 60; choose a multiple of 8"),
        (("clips = 10", "clips = 10\ninterval = 3"), "data.interval is 3, expected a list of 2 values."),
        (("clips = 10", "clips = 10\ninterval = [3]"), r"data.interval is \[3\], expected a list of 2 values."),
        (("clips = 10", 'clips = 10\ninterval = [3, "b"]'), r"data.interval\[1\] is 'b', expected a whole number."),
        (("clips = 10", "clips = 10\ninterval = [9, 3]"), r"data.interval is \[9, 3\]; give the smaller"),
        (('vae = "parts/vae"', 'vae = "v"\nlora_rank = 4'), "model.lora_rank is set, but nothing to start from"),
        (('vae = "parts/vae"', 'vae = "v"\nlora_rank = 4\ntrain_text_encoder = true'), "model.lora_rank and model.train_text_encoder"),
        (('vae = "parts/vae"', 'vae = "v"\nlora_layers = ["conv"]'), r"model.lora_layers\[0\] is 'conv'; choose one of attn1"),
        (("[run]", "[unet]\nattention = [true]\n[run]"), "unet.attention has 1 entries and unet.multipliers 4"),
        (("[run]", "[unet]\nmultipliers = [0.5, 1.0]\nattention = [true, true]\n[run]"), "unet.multipliers gives a level of 32 channels"),
        (("[run]", "[validation]\ncases = [{}]\n[run]"), "A case of validation.cases needs either image"),
        (("[run]", "[validation]\ncases = [{seed = 1, bucket = 20}]\n[run]"), r"validation.cases\[0\].bucket is 20"),
        (("[run]", "[validation]\ncases = [3]\n[run]"), r"validation.cases\[0\] is 3, expected a table"),
        (("[model]", 'repeats = [{ words = "red", times = 1 }]\n[model]'), r"repeats\[0\].times is 1; choose a number that is at least 2."),
        (("[model]", 'repeats = [{ words = "", times = 2 }]\n[model]'), "An entry of data.repeats has no words"),
        (("[model]", 'cache = false\nrepeats = [{ words = "red", times = 2 }]\n[model]'), "data.repeats is set, but captions"),
        (
            ('vae = "parts/vae"', 'vae = "v"\nheld_weights = "pass_through"'),
            r'held_weights is "pass_through", but optimizer.weight_decay = 0.01 would change what is held; set optimizer',
        ),
        (('vae = "parts/vae"', 'vae = "v"\nheld_weights = "all"'), "model.held_weights is 'all'; choose one of none, pass_through."),
        (("[run]", '[text]\ninitial_weights = "words"\n[run]'), "text.initial_weights is 'words'; choose one of random, bag_of_words."),
        (("[run]", "[run"), "is not valid TOML"),
    ],
)
def test_one_sentence_for_each_mistake(tmp_path, change, message):
    assert change[0] in SMALLEST
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, SMALLEST.replace(*change))
    assert "\n" not in str(error.value)


def test_sizes_that_the_network_cannot_have(tmp_path):
    config = read(tmp_path, SMALLEST + "[unet]\nheads = 3\n")
    with pytest.raises(CheckpointError, match="3 attention heads do not divide"):
        config.unet.config(64)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="does not exist or cannot be reached; give the TOML file"):
        read_config(tmp_path / "none.toml")


def test_the_page_names_every_key(root):
    page = (root / "docs" / "training.md").read_text(encoding="utf-8")
    for section in fields(Config):
        for key in fields(section.type):
            assert f"`{section.name}.{key.name}`" in page, f"docs/training.md lacks {section.name}.{key.name}"


def test_the_pages_example_is_valid(root, tmp_path):
    page = (root / "docs" / "training.md").read_text(encoding="utf-8")
    config = read(tmp_path, page.split("```toml")[1].split("```")[0])
    assert config.optimizer.learning_rate == 1e-5


def test_the_page_gives_the_true_defaults(root):
    page = (root / "docs" / "training.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \|(.*?)\|", page, re.MULTILINE))
    for section in fields(Config):
        for key in fields(section.type):
            written = rows[f"{section.name}.{key.name}"].strip(" `")
            if key.default is MISSING:
                assert written == "", key.name
            elif re.match(r'[\d\["]|true$|false$', written):
                value = json.loads(written)
                assert (tuple(value) if isinstance(value, list) else value) == key.default, key.name


def test_what_may_be_asked_for_by_name_is_there():
    choices = {item.name: item.metadata["choices"] for section in (Model, Text) for item in fields(section)}
    assert choices["held_weights"] == ("none", *HELD_WEIGHTS)
    assert choices["initial_weights"] == ("random", *TEXT_WEIGHTS)
