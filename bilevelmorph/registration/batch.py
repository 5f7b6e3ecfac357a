"""Registration of many pairs by several processes, each pair exactly once."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
from tqdm import tqdm

from bilevelmorph.config.codec import to_dict
from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.datasets.pairs import Pair
from bilevelmorph.devices import xla_request
from bilevelmorph.errors import argument, fail, positive
from bilevelmorph.io.bids import BidsName, bids_names
from bilevelmorph.io.csv import write_csv
from bilevelmorph.io.json import read_json, write_json
from bilevelmorph.models.bundled import find_model
from bilevelmorph.registration.batch_worker import job_runner
from bilevelmorph.registration.dask_workers import DaskWorkers
from bilevelmorph.registration.worker_pool import WorkerPool
from bilevelmorph.report.cohort_page import write_cohort_page
from bilevelmorph.temporary import remove_abandoned_below

# Pairs with fixed images of one grid from which it pays to compile for that grid.
MANY = 10
# Settings of version 0.1 with their current names.
RENAMED = {"start": "init", "samples": "mc_samples"}


class BatchResult(NamedTuple):
    """The outcome of a batch.

    Attributes:
        rows: One row per pair that has a result.
        failed: One row per pair without a result, with the error.
        skipped: Number of pairs that an earlier run had registered.

    >>> batch = BatchResult([{"moving": "a.nii.gz"}, {"moving": "b.nii.gz"}], failed=[], skipped=1)
    >>> len(batch.rows) - batch.skipped  # registered now
    1
    """

    rows: list[dict[str, Any]]
    failed: list[dict[str, Any]]
    skipped: int


def register_batch(
    pairs: Sequence[Pair],
    settings: dict[str, Any],
    folder: str | Path,
    workers: int = 2,
    scheduler: str | None = None,
    quiet: bool = False,
) -> BatchResult:
    """Register all pairs that earlier runs have not registered yet.

    Every pair gets a folder of its own (except with BIDS names) and a report, which is
    written last and marks the pair as done. ``results.csv`` has one row per pair, in the
    order of the list, and ``index.html`` shows them, doubtful ones first.

    Args:
        pairs: Pairs with or without label maps; duplicates are registered once.
        settings: Arguments of `Registrar`, and ``reader``, ``warp_format``, ``bids``, ``gpu``; see
            the flags of `bilevelmorph register`.
        folder: Folder for the results.
        workers: Number of worker processes on this machine, which open no port.
        scheduler: Address of a running Dask scheduler, whose workers are used instead.
        quiet: Suppress the progress bar.

    Returns:
        The results of all pairs, from this and earlier runs.

    Raises:
        InputError: There is no such model, the scheduler does not answer, the folder holds
            results of other settings, or two pairs have the same BIDS names.
    """
    model = settings["model"]
    settings = {**settings, "model": None if model is None else find_model(model), "xla": xla_request()}
    if isinstance(settings.get("settings"), (str, Path)):
        # The contents, which workers then need not read and which must not change before the last pair.
        settings["settings"] = to_dict(DescentConfig.load(settings["settings"]))
    folder = Path(folder).absolute()
    _check_settings(settings, folder)
    jobs = _jobs(pairs, folder)
    if settings.get("bids"):
        _check_names(jobs)
    open_jobs = [job for job in jobs if not Path(job["report"]).is_file()]
    done = len(jobs) - len(open_jobs)
    errors: dict[str, str] = {}
    if open_jobs:
        with _workers(settings, workers, scheduler) as pool:
            (folder / "pairs").mkdir(parents=True, exist_ok=True)
            write_json(folder / "settings.json", _kept(settings))
            bar = tqdm(total=len(jobs), initial=done, desc="pairs", disable=quiet or None)
            try:
                with closing(pool.answers(open_jobs)) as answers:
                    for job, answer, error in answers:
                        bar.update(1)
                        if error or answer:
                            errors[job["name"]] = error or answer
            except BaseException:  # the workers were killed, whatever they were writing
                remove_abandoned_below(folder)
                raise
            finally:
                bar.close()
    table = [_row(job, errors) for job in jobs]
    write_csv(folder / "results.csv", table)
    rows, failed = ([r for r in table if bool(r["error"]) is bad] for bad in (False, True))
    write_cohort_page(folder / "index.html", rows, failed)
    return BatchResult(rows, failed, done)


def _workers(settings: dict[str, Any], workers: int, scheduler: str | None) -> Any:
    """A context whose value has `answers`: processes of this machine, or a scheduler's workers."""
    if scheduler:
        return DaskWorkers(scheduler, settings)
    count = int(positive("workers", workers, whole=True))
    threads = max(1, (os.cpu_count() or 1) // count)
    return nullcontext(WorkerPool(count, job_runner, {**settings, "threads": threads}))


def _row(job: dict[str, Any], errors: dict[str, str]) -> dict[str, Any]:
    if Path(job["report"]).is_file():
        return read_json(job["report"], "a report")
    return {"moving": job["moving"], "fixed": job["fixed"], "error": errors.get(job["name"], "no report")}


def _check_settings(settings: dict[str, Any], folder: Path) -> None:
    path = folder / "settings.json"
    begun = any(folder.glob("pairs/*.json"))
    if begun and path.is_file() and _kept(read_json(path, "settings")) != _kept(settings):
        raise fail(
            str(folder), "results of other settings", "the same settings", f"choose another {argument('out')}"
        )


def _kept(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that results depend on, by their current names, as they are read from JSON.

    Unset ones are left out, and one number of iterations stands for a list of one, so that
    batches of earlier versions resume.
    """
    given = {RENAMED.get(k, k): v for k, v in settings.items() if v is not None}
    kept = json.loads(json.dumps({k: v for k, v in given.items() if k not in ("gpu", "xla", "threads")}))
    steps = kept.get("instance_steps")
    return kept | ({"instance_steps": steps[0]} if isinstance(steps, list) and len(steps) == 1 else {})


def _jobs(pairs: Sequence[Pair], folder: Path) -> list[dict[str, Any]]:
    """Everything a worker needs to register each pair, under a name that is unique in any list."""
    jobs: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        paths = (pair.moving.image, pair.fixed.image, pair.moving.labels, pair.fixed.labels)
        sides = ("moving", "fixed", "moving_seg", "fixed_seg")
        files = {k: str(Path(p).absolute()) if p else None for k, p in zip(sides, paths, strict=True)}
        # In many data sets, file names are the same in the folders of all subjects.
        mark = hashlib.sha256(f"{files['moving']}\n{files['fixed']}".encode()).hexdigest()[:8]
        name = f"{_stem(pair.moving.image)}_to_{_stem(pair.fixed.image)}-{mark}"
        report = str(folder / "pairs" / f"{name}.json")
        jobs.setdefault(name, {"name": name, "root": str(folder), "report": report, **files})
    grids = {name: _grid(job["fixed"]) for name, job in jobs.items()}
    counts = Counter(grids.values())
    return [{**job, "compiled": counts[grids[name]] >= MANY} for name, job in jobs.items()]


def _grid(path: str) -> Any:
    """Size and spacing of an image as its header has them, or the file itself where that is not NIfTI's."""
    try:
        header: Any = nib.load(path).header
        return (*header.get_data_shape(), *map(float, header.get_zooms()))
    except Exception:  # whatever is wrong with it, its own registration will say
        return path


def _check_names(jobs: Sequence[dict[str, Any]]) -> None:
    """Refuse pairs whose BIDS names are equal, because one would overwrite the other."""
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    for job in jobs:
        parts = BidsName.of(job["moving"]).entities
        place = "/".join(parts.get(key, "") for key in ("sub", "ses"))
        other = seen.setdefault((place, bids_names(job["moving"], job["fixed"])["moved"]), job)
        if other is not job:
            names = f"{other['moving']} to {other['fixed']} and {job['moving']} to {job['fixed']}"
            raise fail("bids", f"one name for {names}", "files whose BIDS names differ")


def _stem(path: Path) -> str:
    return path.name.split(".")[0]
