"""The evaluation's command on nano and on the pair that comes with it, small: what it measures well enough is in docs/nano.md."""

import json

import pytest
from cinemo_pack.cinemo_core import included
from cinemo_pack.cinemo_core.evaluation.claims import __main__ as command
from cinemo_pack.cinemo_core.evaluation.claims.animate import prediction_of
from cinemo_pack.cinemo_core.files.checkpoint import read_state_dict, shapes_of
from cinemo_pack.cinemo_core.files.folder import read_bundle


@pytest.fixture
def measure(tmp_path, capsys):
    """Runs the command; gives its status, its rows, and the last line of what it prints."""

    def run(*claims, seeds=1):
        status = command.main(["--claims", *claims, "--seeds", str(seeds), "--steps", "2", "--output", str(tmp_path)])
        rows = json.loads((tmp_path / "claims.json").read_text())["rows"]
        return status, rows, capsys.readouterr().out.strip().splitlines()[-1]

    return run


def test_the_command_measures_what_is_asked_for_and_ends_as_its_verdict_says(measure, tmp_path):
    status, rows, last = measure("consistency", "noise")
    assert [row["claim"] for row in rows] == ["consistency with the input", *["DCTInit removes sudden changes"] * 2, "smoothness"]
    assert set(rows[0]["values"]) == {"residual", "direct"} and "(p = " in rows[0]["result"]
    assert all(len(values) == command.NOISES for row in rows[1:] for values in row["values"].values())
    assert not rows[0]["passed"]  # one picture proves nothing
    assert status == 1 and last.startswith("verdict: missed: PSNR of frames warped back")
    assert (tmp_path / "claims.png").stat().st_size and "smoothness" in (tmp_path / "claims.md").read_text()


def test_nanos_own_bars_are_measured_where_they_are_named(measure):
    status, rows, last = measure("pictures", seeds=2)
    assert [row["claim"] for row in rows] == ["a person recognises the picture"] * 5
    back, kept, share, real, ways = (row["result"] for row in rows)
    assert 15 < float(back.split()[0]) < 30 and back.endswith("dB of 2 stills")
    assert 5 < float(kept.split()[0]) < 30 and "% of the width in the mean, 2 stills" in kept
    assert "at timestep 900" in share and "of 2 clips, buckets" in real
    assert ways.startswith("pans ") and all(f", {way} " in ways for way in ("tilts", "zooms in", "zooms out", "things"))
    assert status == 1 and last.startswith("verdict: missed: PSNR of the autoencoder alone")


def test_without_the_pair_its_claim_is_not_measured(measure, tmp_path, monkeypatch):
    """As in the registry's archive, which leaves the pair out."""
    monkeypatch.setattr(included, "ABLATION", tmp_path / "absent")
    status, (row,), last = measure("consistency")
    assert row["result"] == command.MISSING and not row["passed"]
    assert status == 1 and last == "verdict: missed: PSNR of frames warped back"


def test_the_pair_differs_in_what_it_predicts_alone():
    residual, direct = (read_bundle(included.ABLATION / name) for name in ("residual", "direct"))
    assert (prediction_of(residual), prediction_of(direct)) == ("residual", "direct")
    assert shapes_of(read_state_dict(residual.unet)) == shapes_of(read_state_dict(direct.unet))
    assert sum(path.stat().st_size for path in included.ABLATION.rglob("*") if path.is_file()) < 21e6
