"""Registration of many pairs by Dask workers, each pair exactly once."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from bilevelmorph.config.codec import to_dict
from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.data.geometry import onto
from bilevelmorph.datasets.pairs import Pair
from bilevelmorph.devices import xla_request
from bilevelmorph.errors import InputError, argument, fail, positive
from bilevelmorph.io.bids import BidsName, bids_names
from bilevelmorph.io.csv import write_csv
from bilevelmorph.io.json import read_json, write_json
from bilevelmorph.io.volumes import add_reader
from bilevelmorph.models.bundled import find_model
from bilevelmorph.report.cohort_page import write_cohort_page

# Pairs submitted per worker, one running and one waiting, so that the rest takes no memory.
WAITING = 2
ANSWER_SECONDS = 20
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
        workers: Number of worker processes on this machine.
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
        with _client(workers, scheduler) as (client, count):
            if not scheduler:
                settings["threads"] = max(1, (os.cpu_count() or 1) // count)
            (folder / "pairs").mkdir(parents=True, exist_ok=True)
            write_json(folder / "settings.json", _kept(settings))
            bar = tqdm(total=len(jobs), initial=done, desc="pairs", disable=quiet or None)
            for job, error in _results(client, settings, open_jobs, WAITING * count):
                bar.update(1)
                if error:
                    errors[job["name"]] = error
            bar.close()
    table = [_row(job, errors) for job in jobs]
    write_csv(folder / "results.csv", table)
    rows, failed = ([r for r in table if bool(r["error"]) is bad] for bad in (False, True))
    write_cohort_page(folder / "index.html", rows, failed)
    return BatchResult(rows, failed, done)


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
    return list(jobs.values())


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


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[tuple[Any, int]]:
    """A Dask client and its number of workers."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        came = "no installation of Dask"
        raise fail("pairs", came, "dask and distributed", "pip install 'bilevelmorph[batch]'") from error
    if scheduler:
        try:
            client = Client(scheduler, timeout=ANSWER_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise fail(
                "scheduler", f"no answer from {scheduler}", "the address of a Dask scheduler"
            ) from error
        with client:
            count = len(client.scheduler_info(n_workers=-1)["workers"])
            if not count:
                raise fail("scheduler", f"{scheduler} without workers", "at least one worker")
            yield client, count
        return
    count = int(positive("workers", workers, whole=True))
    cluster = LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs="CRITICAL",
    )
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client, count


def _results(
    client: Any, settings: dict[str, Any], jobs: Sequence[dict[str, Any]], most: int
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield every job as it finishes, with its error message (empty if it succeeded)."""
    from distributed import as_completed

    # A running scheduler may hold tasks of the same names from another batch.
    left, of, token = iter(jobs), {}, uuid.uuid4().hex

    def submit() -> Any:
        job = next(left, None)
        if job is None:
            return None
        future = client.submit(register_job, settings, job, key=f"{token}-{job['name']}")
        of[future.key] = job
        return future

    first = [f for f in (submit() for _ in range(most)) if f is not None]
    running = as_completed(first, loop=client.loop)
    for future in running:
        job = of.pop(future.key)
        if future.status == "finished":
            yield job, future.result()
        else:
            error = future.exception()
            yield job, f"{type(error).__name__}: {error}"
        following = submit()
        if following is not None:
            running.add(following)


def register_job(settings: dict[str, Any], job: dict[str, Any]) -> str:
    """Register one pair in a worker.

    Returns:
        The error message if it failed, else an empty string.
    """
    # Dask repeats a task if its result was lost with a worker.
    if Path(job["report"]).is_file():
        return ""
    try:
        add_reader(settings.get("reader"))
        _register(settings, job)
    except InputError as error:
        return str(error)
    return ""


def _register(settings: dict[str, Any], job: dict[str, Any]) -> None:
    from bilevelmorph.data.geometry import warp_volume
    from bilevelmorph.io.volumes import load_volume
    from bilevelmorph.metrics.overlap import mean_dice
    from bilevelmorph.registration.output_paths import OutputPaths

    moving, fixed = load_volume(job["moving"]), load_volume(job["fixed"])
    segs = [load_volume(job[k], "labels") if job[k] else None for k in ("moving_seg", "fixed_seg")]
    segs = [s and onto(s, image) for s, image in zip(segs, (moving, fixed), strict=True)]
    registrar = _registrar(json.dumps(settings, sort_keys=True))
    result = registrar(moving, fixed)
    bids = bool(settings.get("bids"))
    outputs = OutputPaths.in_folder(
        job["root"] if bids else Path(job["root"], "pairs", job["name"]),
        job["moving"],
        job["fixed"],
        bids=bids,
        seg=segs[0] is not None,
        uncertainty=bool(settings.get("mc_samples")),
        warp_format=settings.get("warp_format", "voxelmorph"),
    )
    # A batch may have thousands of pairs, so figures are drawn only for doubtful ones.
    outputs = outputs if result.warnings else dataclasses.replace(outputs, figure=None)
    outputs.write(result, segs[0])
    row = {"moving": job["moving"], "fixed": job["fixed"], **result.report}
    if segs[0] is not None and segs[1] is not None:
        moved = warp_volume(segs[0], result.displacement, fixed.affine)
        row["dice"] = mean_dice(moved.data, segs[1].data)
    row |= {"warnings": "; ".join(result.warnings), "moved": outputs.moved, "error": ""}
    write_json(job["report"], row)


@functools.lru_cache(maxsize=1)
def _registrar(settings: str) -> Any:
    """One registrar per worker, so that all its pairs share the compiled graphs."""
    from bilevelmorph.devices import choose_gpu, use_threads

    values = json.loads(settings)
    choose_gpu(values.get("gpu", "0"))
    use_threads(values.get("threads", 0))
    from bilevelmorph.registration.registrar import Registrar

    names = ("affine", "init", "quality", "instance_steps", "similarity", "settings", "mc_samples", "fill")
    chosen = {name: values[name] for name in names if name in values}
    if isinstance(chosen.get("settings"), dict):
        chosen["settings"] = DescentConfig.of(**chosen["settings"])
    alone = values["model"] is None
    return Registrar(
        values["model"], deformable=not alone, compiled=True, xla=values.get("xla", "auto"), **chosen
    )
