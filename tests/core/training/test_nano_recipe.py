"""The recipe of nano: every stage is a valid run, the ablation differs in its prediction alone, nothing measured is trained on."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from cinemo_pack.cinemo_core.evaluation.claims.cases import PHOTOGRAPHS
from cinemo_pack.cinemo_core.models.cinemo.skeleton import expected_shapes
from cinemo_pack.cinemo_core.training.config import Config, read_toml
from cinemo_pack.cinemo_core.training.nano.__main__ import STAGES
from cinemo_pack.cinemo_core.training.nano.autoencoder.config import AutoencoderConfig
from cinemo_pack.cinemo_core.training.nano.photographs import TRAINING, collect_photographs
from cinemo_pack.cinemo_core.training.nano.procedural import TRAINING_SEEDS
from cinemo_pack.cinemo_core.training.nano.procedural.textures import read_photographs

FOLDER = Path(__file__).parents[3] / "cinemo_core" / "training" / "nano"
KINDS = {"autoencoder": AutoencoderConfig, "residual": Config, "zooms": Config, "ablation_residual": Config, "ablation_direct": Config}


@pytest.fixture(scope="module")
def stages() -> dict:
    return {stage: read_toml(FOLDER / f"{stage}.toml", KINDS[stage]) for stage in STAGES}


def test_each_stage_uses_what_the_one_before_makes(stages):
    assert Path(stages["residual"].model.vae) == stages["autoencoder"].output / "vae"
    assert {Path(s.data.photographs).name for s in stages.values()} == {"photographs"}
    assert Path(stages["zooms"].model.start) == Path(stages["residual"].run.output) / "export"
    assert Path(stages["ablation_residual"].model.text_encoder) == Path(stages["zooms"].run.output) / "export" / "text_encoder"
    assert len({s.output if stage == "autoencoder" else s.run.output for stage, s in stages.items()}) == len(STAGES)


def test_the_ablation_is_trained_equally(stages):
    residual, direct = stages["ablation_residual"], stages["ablation_direct"]
    assert (residual.objective.prediction, direct.objective.prediction) == ("residual", "direct")
    assert replace(direct, objective=residual.objective, run=residual.run) == residual
    assert replace(direct.run, output=residual.run.output) == residual.run


def test_the_checkpoint_stays_small(stages):
    config = stages["residual"]
    shapes = expected_shapes(config.unet.config(config.text.width))
    parameters = sum(math.prod(shape) for shape in shapes.values())
    assert 2 * parameters < 20e6  # bytes in fp16; with the text encoder's 7 and the autoencoder's 9 it is below 40 million


def test_nothing_that_is_measured_is_trained_on(stages, tmp_path):
    collect_photographs(tmp_path / "photographs")
    assert len(read_photographs(tmp_path / "photographs")) == len(TRAINING) == 12
    assert not {Path(name).stem for name in TRAINING} & set(PHOTOGRAPHS)
    for stage in ("residual", "zooms", "ablation_residual", "ablation_direct"):
        data = stages[stage].data
        assert data.seed + data.clips < TRAINING_SEEDS
        assert all(case.seed >= TRAINING_SEEDS for case in stages[stage].validation.cases)


def test_training_on_sees_other_clips(stages):
    first, then = stages["residual"].data, stages["zooms"].data
    assert then.seed == first.seed + first.clips


def test_the_recipe_states_the_weights_that_are_held_and_where_the_words_begin(stages):
    for stage in ("residual", "zooms", "ablation_residual", "ablation_direct"):
        assert stages[stage].model.held_weights == "pass_through", stage
    assert stages["residual"].text.initial_weights == "bag_of_words"  # the others read the text encoder of an earlier stage
