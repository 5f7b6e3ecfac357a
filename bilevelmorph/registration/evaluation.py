"""Evaluation of a method on a list of pairs."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bilevelmorph.data.geometry import onto, targets_of, voxel_positions, warp_volume
from bilevelmorph.data.preprocessing import background
from bilevelmorph.data.volume import Volume
from bilevelmorph.datasets.decathlon import DecathlonDataset, submission_name
from bilevelmorph.datasets.landmarks import landmark_pair
from bilevelmorph.datasets.pairs import Pair, Subject, annotated
from bilevelmorph.errors import fail
from bilevelmorph.io.csv import write_csv
from bilevelmorph.io.json import write_json
from bilevelmorph.io.volumes import load_volume, save_volume
from bilevelmorph.io.warps import save_warp, warp_points
from bilevelmorph.metrics.overlap import dice
from bilevelmorph.metrics.surface import mean_hausdorff95
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.registration.registrar import Registrar


def evaluate(
    registrar: Registrar | RegistrationNetwork | str,
    pairs: Sequence[Pair] | str | Path,
    labels: Sequence[int] | None = None,
    save_moved: Path | None = None,
    quiet: bool = False,
    split: str = "val",
    submission: Path | None = None,
    masks: bool = False,
) -> list[dict[str, float | str]]:
    """Register every pair and score it in the native space of its fixed scan.

    The same displacement warps the label maps, with nearest-neighbour interpolation, and takes the
    landmarks of the fixed scan to the moving one.

    Args:
        registrar: A registrar, or the name, file or network of a model.
        pairs: Pairs with label maps or landmarks, or a folder with a dataset.json.
        labels: Foreground label values; by default those of dataset.json, or those in each pair.
        save_moved: Folder for the warped label maps.
        quiet: Suppress the progress bar.
        split: ``"val"`` or ``"test"``, if `pairs` is a folder.
        submission: Folder for the displacements in the form in which Learn2Reg takes them.
        masks: Use the masks of the scans, see `Registrar`.

    Returns:
        One row of scores per pair: ``dice`` and ``hd95_mm`` where both scans have label maps,
        ``tre_mm``, the mean distance of landmarks, where both have these.
    """
    method: Any = registrar if isinstance(registrar, Registrar) else Registrar(registrar, compiled=True)
    if isinstance(pairs, (str, Path)):
        folder = DecathlonDataset.open(pairs)
        pairs, labels = annotated(folder.pairs(split), str(pairs)), labels or folder.labels or None
    names = [submission_name(pair) for pair in pairs] if submission is not None else []
    rows: list[dict[str, float | str]] = []
    for number, pair in enumerate(tqdm(pairs, desc="pairs", disable=quiet or None), 1):
        moving, fixed = (load_volume(s.image) for s in (pair.moving, pair.fixed))
        segs, scans = None, (pair.moving, pair.fixed)
        marked = all(scan.points is not None for scan in scans)
        if not marked or all(scan.labels is not None for scan in scans):
            segs = labels_of(pair.moving, moving), labels_of(pair.fixed, fixed)
        inside = [mask_of(s) if masks else None for s in (pair.fixed, pair.moving)]
        register = functools.partial(method, moving, fixed, inside[0], moving_mask=inside[1])
        if number == 1:
            for _ in range(2):  # the second call compiles, which must not be timed
                register()
        began = time.perf_counter()
        result = register()
        total = time.perf_counter() - began
        row: dict[str, float | str] = {"moving": pair.moving.name, "fixed": pair.fixed.name}
        if segs is not None:
            moved = warp_volume(segs[0], result.displacement, fixed.affine)
            row |= _scores(moved, segs[1], labels)
        if marked:
            places = landmark_pair(pair.moving, pair.fixed, (moving, fixed))
            there = warp_points(places[1], result.displacement, fixed.affine)
            apart = there[:, : places[0].shape[1]] - places[0]
            row["tre_mm"] = float(np.linalg.norm(apart, axis=1).mean())
        row |= {
            "folding_percent": result.report["folding_percent"],
            "log_jacobian_sd": result.report["log_jacobian_sd"],
            "seconds": result.report["seconds"],
            "seconds_with_report": total,
        }
        if result.levels:
            row["iterations"] = sum(level.iterations for level in result.levels)
        if result.uncertainty is not None:
            body = fixed.data > background(fixed.data) if segs is None else segs[1].data > 0
            row["uncertainty_mm"] = (
                float(result.uncertainty.data[body].mean()) if body.any() else float("nan")
            )
        rows.append(row)
        if submission is not None:
            # In voxels of the moving image, from which its evaluation reads at the same index.
            at = targets_of(result.displacement, fixed.affine, moving.affine)
            save_warp(submission / names[number - 1], at - voxel_positions(fixed.shape), fixed.affine)
        if save_moved is not None and segs is not None:
            save_volume(
                save_moved / f"{number:04d}_{_stem(pair.moving.name)}_to_{_stem(pair.fixed.name)}.nii.gz",
                moved,
            )
    return rows


def labels_of(subject: Subject, image: Volume) -> Volume:
    """The label map of a scan.

    Args:
        subject: Files of the scan.
        image: Its image.

    Raises:
        InputError: There is none, or its grid is another one.
    """
    if subject.labels is None:
        raise fail(str(subject.image), "no label map", "one, to score the registration")
    return onto(load_volume(subject.labels, "labels"), image)


def mask_of(subject: Subject) -> Volume | None:
    """The mask of a scan, if it has one."""
    return None if subject.mask is None else load_volume(subject.mask, "labels")


def _scores(moved: Volume, fixed: Volume, labels: Sequence[int] | None) -> dict[str, float]:
    found = dice(moved.data, fixed.data, labels)
    present = [v for v in found.values() if not np.isnan(v)]
    spacing = list(fixed.spacing)
    return {
        "dice": float(np.mean(present)) if present else float("nan"),
        "hd95_mm": mean_hausdorff95(moved.data, fixed.data, spacing, list(found)),
        **{f"dice_{label}": value for label, value in found.items()},
    }


def summarise(rows: Sequence[Mapping[str, Any]], facts: dict[str, Any]) -> dict[str, Any]:
    """Mean, standard deviation and median of every score over the pairs.

    >>> summarise([{"dice": 0.5}, {"dice": 1.0}], {})["dice"]["mean"]
    0.75
    """
    out: dict[str, Any] = {**facts, "pairs": len(rows)}
    for key in dict.fromkeys(k for r in rows for k in r if k not in ("moving", "fixed")):
        values = np.array([r.get(key, np.nan) for r in rows], float)
        values = values[~np.isnan(values)]
        if len(values):
            out[key] = {
                "mean": float(values.mean()),
                "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
                "median": float(np.median(values)),
            }
    return out


def write_results(path: str | Path, rows: Sequence[Mapping[str, Any]], summary: dict[str, Any]) -> Path:
    """Write the rows as CSV and the summary as JSON beside it.

    Returns:
        The path of the summary.
    """
    path = Path(path)
    shown = [{k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    write_csv(path, shown)
    beside = path.with_suffix(".json")
    write_json(beside, summary)
    return beside


def _stem(name: str) -> str:
    return name.split(".")[0]
