"""Keras Tuner as the searcher: every kind, after a kill, over several processes, and without growing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import keras_tuner as kt
import pytest
from processes import free_ports
from scans import TINY_SEARCH

from bilevelmorph.autoreg import budgeted_tuner
from bilevelmorph.autoreg.budgeted_tuner import budgeted_oracle
from bilevelmorph.autoreg.run import search
from bilevelmorph.autoreg.time_budget import TimeBudget
from bilevelmorph.autoreg.trial_worker import TrialWorker
from bilevelmorph.autoreg.tuners import await_chief
from bilevelmorph.config import SearchConfig
from bilevelmorph.errors import InputError
from bilevelmorph.io.csv import read_rows
from bilevelmorph.networks import Genotype

pytestmark = pytest.mark.usefixtures("plain_graphs")
SMALL = {**TINY_SEARCH, "steps_per_epoch": 2, "trial_steps": 4}
FLAGS = "--scales 2 --layers 1 --filters 4 --operations skip conv1 conv3 --int-steps 2 --steps-per-epoch 2 "
FLAGS += "--trial-steps 4 --seed 3 --searcher tuner-random --gpu -1 --quiet"


def start(scans, folder, trials, **environment):
    """A search as a process of its own."""
    command = [sys.executable, "-m", "bilevelmorph.cli.main", "search", "--data", str(scans)]
    command += ["--out", str(folder), "--trials", str(trials), *FLAGS.split()]
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("searcher", ["tuner-bayesian", "tuner-hyperband"])
def test_the_other_searchers(scans, tmp_path, searcher):
    # Hyperband has brackets, not a number of trials: there the time ends it, after one at least.
    budget = "1s" if searcher == "tuner-hyperband" else "10m"
    options = {**SMALL, "searcher": searcher, "trials": 2, "budget": budget}
    result = search(SearchConfig.of(data=str(scans), out=str(tmp_path), **options), quiet=True)
    assert len(result.candidates) == (1 if searcher == "tuner-hyperband" else 2)
    assert all(0 < c.score <= 1 and c.ms > 0 for c in result.candidates)


def test_a_file_that_is_not_written_to_its_end_leaves_the_one_before(tmp_path, monkeypatch):
    """Keras Tuner's own way would leave an empty one."""
    budget = TimeBudget(tmp_path / "clock.json")
    options = {"objective": kt.Objective("score", "max"), "max_trials": 3}
    oracle = budgeted_oracle(kt.oracles.RandomSearchOracle, budget, "tuner-random", 60.0, **options)
    oracle._set_project_dir(str(tmp_path), "tuner-random")
    oracle.save()
    path = tmp_path / "tuner-random" / "oracle.json"
    before = path.read_bytes()
    assert json.loads(before)["ongoing_trials"] == {}

    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(budgeted_tuner.json, "dumps", full)
    with pytest.raises(OSError, match="no space"):
        oracle.save()
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["oracle.json"]


@pytest.fixture
def oracle(tmp_path):
    """Makes oracles of one folder, with a parameter to search."""

    def make():
        budget, options = TimeBudget(tmp_path / "clock.json"), {"objective": kt.Objective("score", "max")}
        base = kt.oracles.RandomSearchOracle
        made = budgeted_oracle(base, budget, "tuner-random", 60.0, **options, max_trials=2)
        made._set_project_dir(str(tmp_path), "tuner-random")
        return made

    first = make()
    first.hyperparameters.Int("width", 1, 9)
    first.save()
    return make


def test_a_trial_that_the_oracle_does_not_list_is_tried_again(oracle, tmp_path):
    """Killed between writing a new trial and its own list."""
    first = oracle()
    first.reload()
    before = (tmp_path / "tuner-random" / "oracle.json").read_bytes()
    trial = first.create_trial("tuner0")
    (tmp_path / "tuner-random" / "oracle.json").write_bytes(before)
    second = oracle()
    second.reload()
    again = second.create_trial("tuner0")
    assert again.trial_id == trial.trial_id
    assert again.hyperparameters.values == trial.hyperparameters.values
    assert second.start_order == [trial.trial_id]


@pytest.mark.parametrize("listed", [False, True])
def test_a_trial_that_has_ended_is_not_tried_again(oracle, tmp_path, listed):
    """Killed as it had ended, before or after the list said so."""
    first, path = oracle(), tmp_path / "tuner-random" / "oracle.json"
    first.reload()
    trial = first.create_trial("tuner0")
    before = path.read_bytes()
    first.update_trial(trial.trial_id, {"score": 0.5, "seconds": 1.0})
    trial.status = "COMPLETED"
    first.end_trial(trial)
    expected = json.loads(path.read_bytes())
    if not listed:
        path.write_bytes(before)
    second = oracle()
    second.reload()
    assert second.create_trial("tuner0").trial_id != trial.trial_id
    assert second.end_order == [trial.trial_id]
    found = json.loads(path.read_bytes())
    assert {k: found[k] for k in ("end_order", "run_times")} == {
        k: expected[k] for k in ("end_order", "run_times")
    }


def test_a_killed_search_loses_one_trial_at_most(scans, tmp_path):
    process = start(scans, tmp_path, 2)
    folder, until = tmp_path / "tuner-random", time.monotonic() + 240
    while len(list(folder.glob("trial_*/trial.json"))) < 2:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    first = json.loads((folder / "trial_0" / "trial.json").read_text(encoding="utf-8"))
    assert first["status"] == "COMPLETED"
    again = start(scans, tmp_path, 2)
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert re.search(r"best of 2: trial \d", out)
    assert json.loads((folder / "trial_0" / "trial.json").read_text(encoding="utf-8")) == first
    assert len(read_rows(tmp_path / "trials.csv")) == 2


def test_a_chief_and_two_workers(scans, tmp_path):
    """Three trials over two workers on loopback, no two the same."""
    port = str(free_ports(1)[0])
    shared = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    names = ("chief", "worker-0", "worker-1")
    processes = [start(scans, tmp_path, 3, KERASTUNER_TUNER_ID=n, **shared) for n in names]
    said = [p.communicate(timeout=400) for p in processes]
    assert [p.returncode for p in processes] == [0, 0, 0], said
    assert "best of 3" in said[0][0]
    assert all("this worker's trials are done" in out for out, _ in said[1:])
    assert len(read_rows(tmp_path / "trials.csv")) == 3
    assert len({r["genotype"] + r["weight_regularity"] for r in read_rows(tmp_path / "trials.csv")}) == 3


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"KERASTUNER_TUNER_ID": "worker-0"}, "KERASTUNER_ORACLE_IP: got nothing"),
        (
            {
                "KERASTUNER_TUNER_ID": "worker-0",
                "KERASTUNER_ORACLE_IP": "127.0.0.1",
                "KERASTUNER_ORACLE_PORT": "x",
            },
            "the number of a port",
        ),
        (
            {
                "KERASTUNER_TUNER_ID": "worker-0",
                "KERASTUNER_ORACLE_IP": "127.0.0.1",
                "KERASTUNER_ORACLE_PORT": "1",
            },
            "the chief: got no answer from 127.0.0.1:1",
        ),
    ],
)
def test_a_worker_without_its_chief(monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        await_chief(seconds=0.1)


def test_gradients_are_for_one_process(scans, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    with pytest.raises(InputError, match="one of Keras Tuner's"):
        search(SearchConfig.of(data=str(scans), out=str(tmp_path), **SMALL), quiet=True)


def test_memory_does_not_grow_over_trials(scans, tmp_path, monkeypatch):
    """Every trial has a graph of its own; what TensorFlow keeps of them goes with their process."""
    monkeypatch.setattr("bilevelmorph.autoreg.trial_worker.RECYCLED_AFTER", 1)
    children, kept = [], TrialWorker._renewed

    def renewed(self):
        child = kept(self)
        children.append(child.pid)
        return child

    monkeypatch.setattr(TrialWorker, "_renewed", renewed)
    options = {**SMALL, "searcher": "tuner-random", "data": str(scans), "out": str(tmp_path)}
    search(SearchConfig.of(**options, trials=1), quiet=True)
    before = rss()
    search(SearchConfig.of(**options, trials=2), quiet=True)
    assert rss() - before < 20
    assert len(children) == 2
    assert not any(os.path.exists(f"/proc/{pid}") for pid in children)


def rss():
    """Memory of this process, MiB."""
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("no /proc here")
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_a_trial_whose_process_dies_is_a_failed_trial(scans, tmp_path):
    train = TrialWorker(SearchConfig.of(data=str(scans), out=str(tmp_path), **SMALL), labelled=True)
    train._renewed()
    os.kill(train._child.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="died"):
        train(Genotype.uniform("conv1", (2,), 1, 4), {"similarity": 1.0, "regularity": 1.0})
    train.close()
