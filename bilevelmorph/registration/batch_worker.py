"""What a worker of a batch does: it registers pairs."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.data.geometry import onto
from bilevelmorph.errors import InputError
from bilevelmorph.io.json import write_json
from bilevelmorph.io.volumes import add_reader


def job_runner(settings: dict[str, Any]) -> Callable[[dict[str, Any]], str]:
    """Make the function that registers pairs, for a `ChildProcess`."""
    return functools.partial(register_job, settings)


def register_job(settings: dict[str, Any], job: dict[str, Any]) -> str:
    """Register one pair in a worker.

    Returns:
        The error message if it failed, else an empty string.
    """
    # Done already, if the worker died or its answer was lost after it was written.
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
    registrar = _registrar(json.dumps(settings, sort_keys=True), bool(job.get("compiled")))
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


@functools.lru_cache(maxsize=2)
def _registrar(settings: str, compiled: bool) -> Any:
    """One registrar per worker, so that all its pairs share the model and the graphs of the descent.

    Compiled for a grid at once or never: whether a pair is the first of its size in a worker would show
    in its bits, which then go on to differ in the descent.
    """
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
    chosen |= {"compiled": "at once" if compiled else False, "xla": values.get("xla", "auto")}
    return Registrar(values["model"], deformable=not alone, **chosen)
