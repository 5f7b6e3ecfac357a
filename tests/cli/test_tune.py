"""The command that tunes instance optimisation."""

from __future__ import annotations

import json

import pytest

from bilevelmorph.cli.main import main
from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.io.csv import read_rows

pytestmark = pytest.mark.usefixtures("plain_graphs")


def test_what_it_writes_can_be_used(scans, tmp_path, capsys):
    start, out = tmp_path / "start.json", tmp_path / "tuned.json"
    DescentConfig(levels=(1,), iterations=(3,), step=0.5).save(start)
    words = (
        f"tune --data {scans} --model none --settings {start} --out {out} --tune-pairs 1 --trials 2 --quiet"
    )
    assert main(words.split()) == 0
    told = capsys.readouterr().out
    assert "2 settings on 1 pairs" in told
    assert f"bilevelmorph register --settings {out}" in told
    rows = read_rows(tmp_path / "tuned.csv")
    assert rows[0]["step"] == "0.5"
    best = max(rows, key=lambda row: float(row["score"]))
    assert DescentConfig.load(out).step == float(best["step"])
    assert (tmp_path / "tuned.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "--data: got neither --data nor --pairs, expected one of them"),
        ("--data DIR --pairs x.csv", "both --data and --pairs"),
        ("--data DIR --out tuned.txt", "--out: got tuned.txt, expected a name ending in .json"),
        ("--data DIR --out nowhere/tuned.json", "make nowhere first"),
        ("--data DIR --criterion landmarks", "no landmarks, expected landmarksTr/NAME.csv"),
        ("--data DIR --searcher bilevel --settings SETTINGS", "settings that move both images"),
        ("--data DIR --instance-steps 0", "no iterations"),
    ],
)
def test_bad_input(scans, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    DescentConfig(symmetric=True).save("settings.json")
    words = words.replace("DIR", str(scans)).replace("SETTINGS", "settings.json")
    assert main(["tune", "--model", "none", "--quiet", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_budget_that_is_no_time(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["tune", "--budget", "soon"])
    assert stopped.value.code == 2
    assert "budget: got 'soon', expected a time such as 45m" in capsys.readouterr().err


def test_the_settings_are_json(scans, tmp_path):
    out = tmp_path / "t.json"
    words = (
        f"tune --data {scans} --model none --instance-steps 1 --out {out} --tune-pairs 1 --trials 1 --quiet"
    )
    assert main(words.split()) == 0
    assert json.loads(out.read_text(encoding="utf-8"))["iterations"] == [1, 1]
