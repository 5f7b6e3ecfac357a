"""Whole searches on small scans: what they leave, how they go on, what the same seed gives."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from scans import TINY_SEARCH

from bilevelmorph.autoreg import supernet
from bilevelmorph.autoreg.run import search
from bilevelmorph.autoreg.supernet import gradient_search
from bilevelmorph.autoreg.time_budget import TimeBudget
from bilevelmorph.autoreg.trial import open_search_data
from bilevelmorph.cli.main import main
from bilevelmorph.config import SearchConfig
from bilevelmorph.errors import InputError
from bilevelmorph.io.csv import read_rows
from bilevelmorph.io.json import read_json, write_json
from bilevelmorph.models import load_model
from bilevelmorph.networks import AutoRegNetwork, Genotype
from bilevelmorph.report.search_page import train_command, write_search_page
from bilevelmorph.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("plain_graphs")
SMALL = {**TINY_SEARCH, "steps_per_epoch": 6, "search_steps": 18, "trial_steps": 6, "trials": 2}


@pytest.fixture(scope="module")
def found(scans, tmp_path_factory):
    """A small search by gradients, done; its configuration and result."""
    config = SearchConfig.of(data=str(scans), out=str(tmp_path_factory.mktemp("found")), **SMALL)
    return config, search(config, quiet=True)


def test_what_a_search_leaves(found, scans):
    config, result = found
    folder = config.budget.out
    names = sorted(c.name for c in result.candidates)
    ours = ["gradient", "gradient-drawn-1", "gradient-given", "gradient-start"]
    assert names == [*ours, "trial 0", "trial 1"]
    scores = [c.score for c in result.candidates]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < s <= 1 for s in scores)
    assert Genotype.load(f"{folder}/genotype.json") == result.candidates[0].genotype
    assert read_json(f"{folder}/weights.json", "") == pytest.approx(dict(result.candidates[0].weights))
    assert [r["name"] for r in read_rows(f"{folder}/trials.csv")] == [c.name for c in result.candidates]
    rows = read_rows(f"{folder}/gradient/search.csv")
    assert [r["epoch"] for r in rows] == ["1", "2", "3"]
    assert float(rows[-1]["entropy"]) < float(rows[0]["entropy"])
    assert set(result.seconds) == {"gradient", "tuner-random", "trial"}


def test_the_page_says_what_won(found):
    config, result = found
    page = write_search_page(config, result).read_text(encoding="utf-8")
    best = result.candidates[0]
    assert f"<b>{best.name}</b>, Dice {best.score:.4f}" in page
    assert page.count("<tr") == 1 + len(result.candidates)
    assert page.count("data:image/png;base64,") == 3
    drawing = (write_search_page(config, result).parent / "genotype.svg").read_bytes()
    write_search_page(config, result)
    assert (write_search_page(config, result).parent / "genotype.svg").read_bytes() == drawing


def test_a_search_that_is_done_is_not_done_again(found, scans):
    config, result = found
    trained = Path(config.budget.out, "gradient", "0003.keras")
    before = trained.read_bytes()
    assert search(config, quiet=True).candidates == result.candidates
    assert trained.read_bytes() == before
    with pytest.raises(InputError, match=r"layers: got 2, where .* has 1"):
        search(config.with_(layers=2), quiet=True)


def test_what_is_drawn_depends_on_the_seed_and_what_was_tried_before_alone(found):
    config, result = found
    trials = Path(config.budget.out, "gradient", "trials")
    assert sorted(p.name for p in trials.iterdir()) == ["0.json", "1.json", "2.json", "3.json"]
    last = trials / "3.json"
    kept = read_json(last, "")
    write_json(last, {k: v for k, v in kept.items() if k != "name"})
    with pytest.raises(InputError, match=r"3\.json: got a trial with .*, expected one of this version"):
        search(config, quiet=True)
    last.unlink()  # as if killed in the last of them
    again = {c.name: c for c in search(config, quiet=True).candidates}
    for before in result.candidates:
        after = again.pop(before.name)
        assert (after.genotype, after.weights) == (before.genotype, before.weights)
        assert after.score == pytest.approx(before.score, abs=1e-6)
    assert not again


def test_the_same_seed_gives_the_same_genotype_even_when_stopped_between(found, scans, tmp_path, monkeypatch):
    config, _ = found
    mine = config.with_(out=str(tmp_path))
    data = open_search_data(mine, labelled=True)
    kept = supernet._Schedule.on_epoch_end

    def killed(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt
        kept(self, epoch, logs)

    monkeypatch.setattr(supernet._Schedule, "on_epoch_end", killed)
    with pytest.raises(KeyboardInterrupt):
        gradient_search(mine, data, TimeBudget(tmp_path / "clock.json"), 60, quiet=True)
    monkeypatch.undo()
    there = gradient_search(mine, data, TimeBudget(tmp_path / "clock.json"), 60, quiet=True)
    whole = load_model(f"{config.budget.out}/gradient/0003.keras")
    for a, b in zip(there.network.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert there.genotype == whole.genotype()
    assert read_rows(tmp_path / "gradient" / "search.csv") == read_rows(
        f"{config.budget.out}/gradient/search.csv"
    )


def test_time_decides_and_too_little_is_refused(scans, tmp_path, monkeypatch):
    options = {**SMALL, "search_steps": 0, "data": str(scans), "out": str(tmp_path)}
    config = SearchConfig.of(**options)
    data = open_search_data(config, labelled=True)
    monkeypatch.setattr(Trainer, "seconds_per_step", lambda *_: 10.0)
    with pytest.raises(InputError, match=r"budget: got 10m, .* expected 60 s for an epoch at least"):
        gradient_search(config, data, TimeBudget(tmp_path / "clock.json"), 30, quiet=True)
    assert not list(tmp_path.rglob("*.keras"))
    # A plan of very many epochs, which the clock ends after the first.
    monkeypatch.setattr(Trainer, "seconds_per_step", lambda *_: 1e-6)
    done = tmp_path / "gradient" / "0001.keras"
    monkeypatch.setattr(TimeBudget, "used", lambda *_: 2.0 if done.is_file() else 0.0)
    gradient_search(config, data, TimeBudget(tmp_path / "other.json"), 1, quiet=True)
    assert read_json(tmp_path / "gradient" / "plan.json", "")["epochs"] == 1
    assert [r["epoch"] for r in read_rows(tmp_path / "gradient" / "search.csv")] == ["1"]
    # Nothing is added by the same command again.
    gradient_search(config, data, TimeBudget(tmp_path / "other.json"), 1, quiet=True)
    assert [p.name for p in tmp_path.rglob("*.keras")] == ["0001.keras"]
    assert [r["epoch"] for r in read_rows(tmp_path / "gradient" / "search.csv")] == ["1"]


def test_without_labels_the_search_says_so_and_goes_on(scans, tmp_path, capsys):
    folder = tmp_path / "scans"
    shutil.copytree(scans, folder)
    shutil.rmtree(folder / "labelsTr")
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    del content["labels"]
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    options = {**SMALL, "searcher": "tuner-random", "trials": 1}
    result = search(SearchConfig.of(data=str(folder), out=str(tmp_path / "out"), **options))
    assert not result.labelled
    assert result.candidates[0].score < 0 or np.isfinite(result.candidates[0].score)
    said = capsys.readouterr().out
    assert "no labels" in said
    line = r"trial 0: label-free score -?\d\.\d{4}, \d+ ms a pair; best .*; \d+ min used"
    assert re.search(line, said)


def test_the_winner_is_trained_by_its_file(found, scans, tmp_path):
    config, result = found
    line = shlex.split(train_command(config.with_(stage_weights=(0.3, 0.1)), result.candidates[0].genotype))
    run = ["--epochs", "1", "--steps-per-epoch", "2", "--int-steps", "2", "--quiet", "--gpu", "-1"]
    assert main([*line[1:], *run, "--model-dir", str(tmp_path)]) == 0
    network = load_model(str(tmp_path / "0001.keras"))
    assert isinstance(network, AutoRegNetwork)
    assert network.genotype() == result.candidates[0].genotype
    stages = {2: 0.3, 4: 0.1}
    weights = {f"similarity_{s}": w if s in network.scales else 0.0 for s, w in stages.items()}
    weights |= result.candidates[0].weights
    assert network.objective["weights"] == pytest.approx(weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"features": {"2": ["conv9"]}}, "conv9"),
        ({"features": {"2": []}}, "no layers"),
        ({"filters": {}}, "filters"),
        ({"deformation": {"64": ["conv3"]}}, "deformation"),
    ],
)
def test_genotypes_that_cannot_be_used(found, scans, tmp_path, capsys, change, message):
    content = Genotype.uniform("conv3", (2,), 1, 4).to_dict() | change
    path = tmp_path / "genotype.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    flags = ["--genotype", str(path), "--data", str(scans), "--model-dir", str(tmp_path / "out")]
    assert main(["train", *flags, "--gpu", "-1"]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "no table"),
        ('{"depth": 1}', "a weight of depth"),
        ('{"regularity": "x"}', "a number"),
        ("{", "broken"),
    ],
)
def test_loss_weights_that_cannot_be_used(scans, tmp_path, capsys, content, message):
    path = tmp_path / "weights.json"
    path.write_text(content, encoding="utf-8")
    flags = ["--loss-weights", str(path), "--data", str(scans), "--model-dir", str(tmp_path / "out")]
    assert main(["train", *flags, "--gpu", "-1"]) == 2
    assert message in capsys.readouterr().err
