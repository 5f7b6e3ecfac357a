"""Runs that are killed at any of their writes and then resumed: do they leave the files of a run left alone?

Every run has a process of its own, forked once everything is imported, which ends itself with SIGKILL
as a file gets its name, or right after; nothing is cleaned up. Another one resumes, and the files of
both are compared by their bits, but for times and for the name of the folder. Trials of a search and
pairs of a cohort run in the process of their parent, so that it is one process that dies.

Run: python tests/killing.py [train bilevel template search random bayesian hyperband cohort]
A name such as search:5 means every fifth write.
"""

from __future__ import annotations

import argparse
import csv
import functools
import hashlib
import json
import os
import re
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import h5py
import keras_tuner as kt
import numpy as np
import tensorflow as tf
from scans import TINY, TINY_SEARCH, write_scans

from bilevelmorph.autoreg import trial, trial_worker
from bilevelmorph.autoreg.run import search
from bilevelmorph.autoreg.time_budget import TimeBudget
from bilevelmorph.config import SearchConfig, TemplateConfig, TrainingConfig
from bilevelmorph.datasets.pairs import read_csv
from bilevelmorph.io import atomic
from bilevelmorph.networks.genotype import Genotype
from bilevelmorph.registration import batch
from bilevelmorph.training.run import train
from bilevelmorph.training.template import make_template

# A training that finds a better network in the second epoch, and tunes its loss weights.
SHARED = {**TINY, "image_loss": "mse", "epochs": 2, "steps_per_epoch": 2, "lr": 1e-2, "seed": 3}
TRAIN = {**SHARED, "val_pairs": 1}
BILEVEL = {**TRAIN, "bilevel": True, "bilevel_warmup": 0, "outer_every": 1}
SEARCH = {
    **{**TINY_SEARCH, "steps_per_epoch": 1, "search_steps": 2, "trial_steps": 1, "trials": 2},
    **{"architecture_every": 1, "outer_every": 1, "warmup_share": 0.0},
}
# What is different each time: clocks, and where it lies.
TIMES = ("seconds", "ms", "out", "model_dir", "resume")


class Here:
    """Stands for a `ChildProcess`: answers in this process."""

    def __init__(self, make: Callable[..., Callable[[Any], Any]], *arguments: Any) -> None:
        self.function = make(*arguments)

    def send(self, request: Any) -> None:
        self.answer = self.function(request)

    def receive(self) -> Any:
        return self.answer

    def close(self) -> None:
        pass


class Pool:
    """Stands for a `WorkerPool`: one pair after the other in this process."""

    def __init__(self, _: int, make: Callable[..., Callable[[Any], Any]], *arguments: Any) -> None:
        self.function = make(*arguments)

    def answers(self, requests: Any) -> Iterator[tuple[Any, Any, str]]:
        for request in requests:
            yield request, self.function(request), ""


def run_training(options: dict[str, Any], scans: Path, folder: Path, resume: bool = False) -> None:
    """`train`."""
    train(TrainingConfig.of(data=str(scans), **options, model_dir=str(folder), resume=resume), quiet=True)


def run_template(scans: Path, folder: Path, resume: bool = False) -> None:
    """`template`."""
    listed = {"img_list": str(scans / "list.txt"), "model_dir": str(folder), "resume": resume}
    make_template(TemplateConfig.of(**SHARED, **listed), quiet=True)


def run_search(options: dict[str, Any], scans: Path, folder: Path, resume: bool = False) -> None:
    """`search`, which resumes by itself; Hyperband ends after six trials and not by the clock."""
    trial_worker.ChildProcess, trial.run_trial = Here, try_untrained
    kt.oracles.BayesianOptimizationOracle = _Soon
    if options.get("searcher") == "tuner-hyperband":
        TimeBudget.used = lambda self, _: 101.0 * _completed(self.path.parent)
    search(SearchConfig.of(data=str(scans), out=str(folder), **options), quiet=True)


def try_untrained(
    config: SearchConfig,
    data: Any,
    genotype: Genotype,
    weights: Mapping[str, float],
    epochs: int = 0,
    initial_epoch: int = 0,
    start: str | None = None,
    end: str | None = None,
) -> dict[str, float]:
    """Stands for `run_trial`: the score depends on the same things, and the same files are written."""
    tf.keras.utils.set_random_seed(config.device.seed)
    said = [genotype.to_dict(), dict(weights), epochs, initial_epoch]
    if end:
        network = trial.candidate_network(config, data, genotype)
        network.build()
        if start:
            network.load_weights(start)
            said.append(float(network.weights[0].numpy().sum()))
        for weight in network.weights:
            weight.assign(weight + 1.0)
        network.save_weights(end)
    score = int(hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:6], 16) / 16**6
    return {"score": score, "ms": time.monotonic() % 100, "seconds": 0.1}


class _Soon(kt.oracles.BayesianOptimizationOracle):
    """Begins to model the scores after two random trials."""

    def __init__(self, **options: Any) -> None:
        super().__init__(num_initial_points=2, **options)


def _completed(folder: Path) -> int:
    states = folder.glob("tuner-*/trial_*/trial.json")
    return sum('"COMPLETED"' in path.read_text(encoding="utf-8") for path in states)


def run_cohort(scans: Path, folder: Path, resume: bool = False) -> None:
    """`register --pairs`, which resumes by itself."""
    batch.WorkerPool = Pool
    settings = {"model": None, "affine": "none", "warp_format": "voxelmorph", "bids": False}
    pairs = read_csv(str(scans / "pairs.csv"))
    if batch.register_batch(pairs, settings, folder, workers=1, quiet=True).failed:
        raise RuntimeError("a pair failed")


COMMANDS: dict[str, Callable[..., None]] = {
    "train": functools.partial(run_training, TRAIN),
    "bilevel": functools.partial(run_training, BILEVEL),
    "template": run_template,
    "search": functools.partial(run_search, SEARCH),
    "random": functools.partial(run_search, {**SEARCH, "searcher": "tuner-random", "trials": 3}),
    "bayesian": functools.partial(run_search, {**SEARCH, "searcher": "tuner-bayesian", "trials": 5}),
    "hyperband": functools.partial(run_search, {**SEARCH, "searcher": "tuner-hyperband", "trial_steps": 3}),
    "cohort": run_cohort,
}


def content(folder: Path) -> dict[str, Any]:
    """What the files of a run say, without times and without the folder's name."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as stream:
                found[name] = arrays(stream)
        elif path.suffix == ".h5":
            found[name] = arrays(path)
        elif path.suffix == ".npz":
            with np.load(path) as state:
                found[name] = {k: state[k].tobytes() for k in state.files}
        elif path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
            found[name] = [{k: of(folder, v) for k, v in row.items() if k not in TIMES} for row in rows]
        elif path.suffix == ".json" and path.name != "clock.json":
            found[name] = timeless(json.loads(of(folder, path.read_text(encoding="utf-8"))))
        elif "tfevents" in name:
            found.setdefault("events", []).extend(events(path))
        elif path.suffix == ".html":
            found[name] = re.sub(r"\d+\.\d s", "", of(folder, path.read_text(encoding="utf-8")))
        elif path.is_file() and path.name != "clock.json":
            found[name] = path.read_bytes()
    return found | {"events": sorted(found.get("events", ()))}


def of(folder: Path, text: str) -> str:
    """A text without the name of the folder."""
    return text.replace(str(folder), "FOLDER")


def timeless(value: Any) -> Any:
    """Part of a JSON file without times."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in TIMES}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def arrays(stream: Any) -> dict[str, bytes]:
    """All arrays of an HDF5 file."""
    with h5py.File(stream) as file:
        found: dict[str, bytes] = {}
        file.visititems(lambda k, v: found.__setitem__(k, v[()].tobytes()) if hasattr(v, "dtype") else None)
    return found


def events(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """Scalars of a file of TensorBoard; TensorFlow's own reader would start threads, which do not fork."""
    from tensorflow.core.util.event_pb2 import Event

    data, at = path.read_bytes(), 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        at += 16 + length
        for value in event.summary.value:
            if value.tag != "seconds":
                yield event.step, value.tag, value.tensor.SerializeToString()


def count_writes(replace: Callable[[str, Path], None], end: Callable[[], None], at: int, after: bool) -> Any:
    """A function to put in place of `atomic.replace`, which ends the run before or after one write.

    Its attribute `names` lists the files that got their names.
    """
    names: list[str] = []

    def counting(temporary: str, path: Path) -> None:
        number = len(names)
        names.append(path.name)
        if number == at and not after:
            end()
        replace(temporary, path)
        if number == at:
            end()

    counting.names = names  # type: ignore[attr-defined]
    return counting


def forked(work: Callable[[], None]) -> int:
    """Do something in a process of its own; its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        try:
            tf.config.run_functions_eagerly(True)
            warnings.filterwarnings(
                "ignore", "Even though the `tf.config.experimental_run_functions_eagerly`"
            )
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_and_resumed(
    command: str, scans: Path, folder: Path, every: int = 1
) -> tuple[list[str], dict[int, str]]:
    """Kill a command at its writes and resume it.

    Args:
        command: A key of `COMMANDS`.
        scans: Folder of `write_scans`.
        folder: Empty folder for all runs.
        every: 1 for each of the writes.

    Returns:
        The files that an undisturbed run writes in order, and what is wrong after a death at one of them.
    """
    run, listed = COMMANDS[command], folder / "names.json"

    def undisturbed() -> None:
        atomic.replace = counting = count_writes(os.replace, lambda: None, -1, False)
        run(scans, folder / "whole")
        listed.write_text(json.dumps(counting.names), encoding="utf-8")

    if status := forked(undisturbed):
        raise RuntimeError(f"{command} left alone: status {status}")
    names = json.loads(listed.read_text(encoding="utf-8"))
    expected, wrong = content(folder / "whole"), {}
    for at in range(0, len(names), every):
        there = folder / str(at)

        def fatal(at: int = at, there: Path = there) -> None:
            end = functools.partial(os.kill, os.getpid(), signal.SIGKILL)
            atomic.replace = count_writes(os.replace, end, at, after=bool(at // every % 2))
            run(scans, there)

        if (status := forked(fatal)) != -signal.SIGKILL:
            wrong[at] = f"status {status} instead of a death"
        elif status := forked(lambda there=there: run(scans, there, resume=True)):
            wrong[at] = f"status {status} of the resumed run"
        elif different := differences(expected, content(there)):
            wrong[at] = "other " + ", ".join(different)
    return names, wrong


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Names of files that are not the same."""
    return [k for k in sorted({*expected, *found}) if expected.get(k) != found.get(k)]


def write_inputs(folder: Path) -> Path:
    """Scans for all commands."""
    write_scans(folder)
    pairs = [("0", "1"), ("2", "1")]
    lines = [f"{folder}/imagesTr/{a}.npz,{folder}/imagesTr/{b}.npz" for a, b in pairs]
    (folder / "pairs.csv").write_text("\n".join(["moving,fixed", *lines]) + "\n", encoding="utf-8")
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", default=[*COMMANDS], metavar="COMMAND[:N]")
    options = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as temporary:
        scans = Path(temporary, "scans")
        scans.mkdir()
        write_inputs(scans)
        for given in options.commands:
            command, _, number = given.partition(":")
            every, began, folder = int(number or 1), time.monotonic(), Path(temporary, command)
            folder.mkdir()
            names, wrong = killed_and_resumed(command, scans, folder, every)
            bad += len(wrong)
            count = len(range(0, len(names), every))
            took = time.monotonic() - began
            print(
                f"{command}: {len(names)} writes, {count} deaths, {len(wrong)} wrong, {took:.0f} s",
                flush=True,
            )
            for at, what in wrong.items():
                print(f"    at write {at}, {names[at]}: {what}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
