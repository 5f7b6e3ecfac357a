"""Registration of all pairs of a benchmark by all of its methods, in turn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bilevelmorph.benchmark.look import save_look
from bilevelmorph.benchmark.method import Method
from bilevelmorph.benchmark.method_process import MethodProcess
from bilevelmorph.benchmark.prepared_case import PreparedCase
from bilevelmorph.benchmark.scores import inconsistency, read_displacement, scores_of
from bilevelmorph.benchmark.training import TrainingPlan, is_trained, train_method
from bilevelmorph.datasets.pairs import Pair
from bilevelmorph.errors import fail
from bilevelmorph.io.csv import read_rows, write_csv
from bilevelmorph.io.json import read_json, write_json
from bilevelmorph.registration.memory import available_memory
from bilevelmorph.temporary import remove_abandoned, temporary_folder

NOT_INSTALLED = "not installed"
# Processes of methods that wait for their next turn are ended when less than this is free.
SPARE_BYTES = 6 * 2**30


@dataclass(frozen=True)
class BenchmarkPlan:
    """What is compared, and how.

    Attributes:
        pairs: Pairs of scans.
        methods: The methods; the others are compared with the first.
        labels: Foreground labels; None for those in each pair.
        out: Folder of the results.
        shape, start: See `PreparedCase.of`.
        threads: Threads of each method.
        limit: Seconds after which a registration is given up.
        both_directions: Also register each pair the other way round.
        environments: Folder of the methods' environments.
        training: What methods are trained on that have to be; without it, their rows fail.

    >>> BenchmarkPlan([], [Method.of("greedy")], None, Path("compared"), threads=2).settings["threads"]
    2
    """

    pairs: Sequence[Pair]
    methods: Sequence[Method]
    labels: Sequence[int] | None
    out: Path
    shape: Sequence[int] = ()
    start: str = "files"
    threads: int = 1
    limit: float = 3600.0
    both_directions: bool = False
    environments: Path | None = None
    training: TrainingPlan | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What must be the same for scores to be compared."""
        named = {"shape": list(self.shape), "start": self.start, "threads": self.threads}
        return {**named, "both_directions": self.both_directions}


def run_benchmark(plan: BenchmarkPlan, quiet: bool = False) -> list[dict[str, Any]]:
    """Register every pair with every method, the methods taking turns, and score the results.

    Scores are written to ``pairs.csv`` after each registration. What is there already is not
    computed again; what failed is tried again.

    Args:
        plan: What to do.
        quiet: Hide the progress bar.

    Returns:
        The rows of ``pairs.csv``: ``method``, ``pair`` (its number), ``moving``, ``fixed``, the scores,
        ``seconds``, ``memory_mb``, and ``error``, empty if there was none.

    Raises:
        InputError: The folder has results of other settings, or another run is writing there.
    """
    plan.out.joinpath("looks").mkdir(parents=True, exist_ok=True)
    with _alone(plan.out):
        _check_settings(plan)
        return _run(plan, quiet)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse to write where another run is writing."""
    remove_abandoned(folder)
    if any(folder.glob("bilevelmorph-*")):
        raise fail("out", f"{folder}, where another run is writing", "a folder of this run alone")
    with temporary_folder(parent=folder):
        yield


def _run(plan: BenchmarkPlan, quiet: bool) -> list[dict[str, Any]]:
    table = plan.out / "pairs.csv"
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    if table.is_file():
        rows = {(row["method"], row["pair"]): dict(row) for row in read_rows(table) if not row["error"]}
    processes: dict[str, MethodProcess] = {}
    try:
        for number, pair in enumerate(tqdm(plan.pairs, desc="pairs", disable=quiet or None)):
            open_methods = [m for m in plan.methods if (m.name, str(number)) not in rows]
            if not open_methods:
                continue
            case = PreparedCase.of(pair, plan.shape, plan.start)
            for method in open_methods:
                _make_room(processes, method.name)
                row = {"method": method.name, "pair": str(number)}
                row |= {"moving": pair.moving.name, "fixed": pair.fixed.name, "error": ""}
                try:
                    row |= _scored(plan, method, case, number, processes)
                except RuntimeError as error:
                    row["error"] = str(error)
                rows[method.name, str(number)] = row
                write_csv(table, list(rows.values()))
    finally:
        for process in processes.values():
            process.close()
    wanted = {m.name for m in plan.methods}
    return [r for r in rows.values() if r["method"] in wanted and int(r["pair"]) < len(plan.pairs)]


def _check_settings(plan: BenchmarkPlan) -> None:
    path = plan.out / "settings.json"
    names = [f"{pair.moving.image} {pair.fixed.image}" for pair in plan.pairs]
    if path.is_file():
        before = read_json(path, "the settings of a benchmark")
        there = before.pop("pairs", []) if isinstance(before, dict) else []
        common = min(len(there), len(names))
        if before != plan.settings or there[:common] != names[:common]:
            raise fail("out", f"{plan.out} with results of other pairs or settings", "a new folder")
        names = max(there, names, key=len)
    write_json(path, {**plan.settings, "pairs": names})


def _scored(
    plan: BenchmarkPlan, method: Method, case: PreparedCase, number: int, processes: dict[str, MethodProcess]
) -> dict[str, Any]:
    """Register with one method; the scores."""
    if method.name not in processes:
        python = method.python(plan.environments)
        if python is None:
            raise RuntimeError(NOT_INSTALLED)
        processes[method.name] = MethodProcess(python, method.adapter, plan.threads, plan.limit)
    process = processes[method.name]
    told = {"setting": method.setting}
    if is_trained(method):
        told["model"] = _trained(plan, method, process)
    displacement, answer = _registered(process, case, told)
    scores: dict[str, Any] = scores_of(case, displacement, plan.labels)
    if plan.both_directions:
        back, _ = _registered(process, case.swapped(), told)
        scores["inconsistency_mm"] = inconsistency(case, displacement, back)
    reference = method.name == plan.methods[0].name
    save_look(look_path(plan.out, method.name, number), case, displacement, reference)
    versions = " ".join(f"{name} {version}" for name, version in answer["versions"].items())
    return {**scores, "seconds": answer["seconds"], "memory_mb": answer["memory_mb"], "versions": versions}


def _registered(
    process: MethodProcess, case: PreparedCase, told: dict[str, str]
) -> tuple[np.ndarray, dict[str, Any]]:
    """The displacement of a pair, and what the process says of it."""
    with temporary_folder() as folder:
        out = str(folder / "displacement")
        answer = process.register(**case.write(folder), **told, out=out)
        return read_displacement(out, case.fixed), answer


def _trained(plan: BenchmarkPlan, method: Method, process: MethodProcess) -> str:
    """The model of a method that has to be trained, chosen on validation pairs."""
    if plan.training is None:
        raise RuntimeError("not trained: there are no training scans, or no time for it")

    def score(pair: Pair, model: str) -> float:
        case = PreparedCase.of(pair, plan.shape, plan.start)
        displacement, _ = _registered(process, case, {"setting": method.setting, "model": model})
        found = scores_of(case, displacement, plan.labels)
        return found["dice"] if "dice" in found else -found["tre_mm"]

    return train_method(plan.training, method, process, plan.out / "training", plan.shape, score)


def look_path(out: Path, method: str, number: int) -> Path:
    """Where what is drawn of a registration is kept.

    >>> look_path(Path("runs"), "general:best", 3).as_posix()
    'runs/looks/general_best-3.npz'
    """
    name = "".join(c if c.isalnum() or c in "-._" else "_" for c in method)
    return out / "looks" / f"{name}-{number}.npz"


def _make_room(processes: dict[str, MethodProcess], wanted: str) -> None:
    """End waiting processes where memory is short; they start anew, and warm up, at their next turn."""
    for name, process in processes.items():
        if (available_memory() or math.inf) > SPARE_BYTES:
            return
        if name != wanted and process.running:
            process.close()
