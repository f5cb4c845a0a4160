"""The evaluation's command on nano, small: what it measures well enough is in docs/nano.md."""

import json

from cinemo_pack.cinemo_core.evaluation.claims.__main__ import NOISES, main


def test_the_command_measures_what_is_asked_for_and_ends_as_its_verdict_says(tmp_path, capsys):
    status = main(["--claims", "consistency", "noise", "--seeds", "1", "--steps", "2", "--output", str(tmp_path)])
    rows = json.loads((tmp_path / "claims.json").read_text())["rows"]
    assert [row["claim"] for row in rows] == ["consistency with the input", *["DCTInit removes sudden changes"] * 2, "smoothness"]
    assert rows[0]["result"] == "not measured: no --direct" and not rows[0]["passed"]
    assert all(len(values) == NOISES for row in rows[1:] for values in row["values"].values())
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert status == 1 and last.startswith("verdict: missed: PSNR of frames warped back")
    assert (tmp_path / "claims.png").stat().st_size and "smoothness" in (tmp_path / "claims.md").read_text()
