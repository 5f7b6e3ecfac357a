"""Overlap and time of our methods beside Greedy and ANTs, on the same pairs, one after another for each pair.

python -m benchmarks.overlap --data lpba40 --split val --out runs/lpba40 --ours fast=general:fast \
    best=general:best:settings.json --peers greedy ants --peer-python peers/bin/python

The peers run in an environment of their own (`pip install picsl-greedy antspyx SimpleITK`). Every method
includes its own affine step; labels are warped with nearest neighbour. A run that is repeated goes on where
it was interrupted.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from tqdm import tqdm

PEER = Path(__file__).with_name("peer.py")


@dataclass(frozen=True)
class Options:
    """Options of the comparison."""

    data: str
    """Folder with a dataset.json."""
    out: str
    """Folder for the scores of all pairs and the table."""
    split: Literal["val", "test"] = "val"
    """Split of the folder."""
    limit: int = 0
    """Number of pairs, starting with the first; 0 for all."""
    ours: tuple[str, ...] = ("fast=general:fast", "best=general:best")
    """Our methods: NAME=MODEL:QUALITY, or NAME=MODEL:QUALITY:SETTINGS."""
    peers: tuple[Literal["greedy", "ants"], ...] = ()
    """Other programs."""
    peer_python: str = "python"
    """Python of the environment in which they are installed."""
    peer_shape: tuple[int, ...] = ()
    """Grid on which they get the images, normalised and centred; by default the files as they are."""


def main(options: Options) -> None:
    """Register, score, and print a table."""
    from bilevelmorph.datasets.decathlon import DecathlonDataset
    from bilevelmorph.io.csv import read_rows, write_csv
    from bilevelmorph.registration.registrar import Registrar

    folder, out = DecathlonDataset.open(options.data), Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    pairs = folder.pairs(options.split)[: options.limit or None]
    ours: dict[str, Any] = {}
    for text in options.ours:
        name, _, how = text.partition("=")
        model, quality, *settings = how.split(":")
        chosen: dict[str, Any] = {"quality": quality, "settings": settings[0] if settings else None}
        ours[name] = Registrar(model, "affine", compiled=True, **chosen)
    table = out / "pairs.csv"
    rows: list[dict[str, Any]] = list(read_rows(table)) if table.is_file() else []
    done = {(row["method"], row["pair"]) for row in rows}
    warm: set[str] = set()
    for number, pair in enumerate(tqdm(pairs, desc="pairs")):
        for name in (*ours, *options.peers):
            if (name, str(number)) in done:
                continue
            if name in ours:
                scores = _ours(ours[name], pair, folder.labels, 1 if name in warm else 3)
                warm.add(name)
            else:
                scores = _peer(name, pair, folder.labels, options)
            rows.append({"method": name, "pair": str(number), "fixed": pair.fixed.name, **scores})
            write_csv(table, rows)
    lines = ["| method | pairs | Dice | folding % | s, median |", "|---|---|---|---|---|"]
    for name in (*ours, *options.peers):
        own = [row for row in rows if row["method"] == name and int(row["pair"]) < len(pairs)]
        dice, folding, seconds = (
            np.array([float(r[k]) for r in own]) for k in ("dice", "folding", "seconds")
        )
        spread = f"{dice.mean():.4f} ({dice.std(ddof=1):.4f})"
        lines.append(f"| {name} | {len(own)} | {spread} | {folding.mean():.4f} | {np.median(seconds):.2f} |")
    (out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _ours(registrar: Any, pair: Any, labels: list[int], calls: int) -> dict[str, float]:
    """Scores of one of our methods; at first the last of several calls, as the second one compiles."""
    from bilevelmorph.data.geometry import warp_volume
    from bilevelmorph.io.volumes import load_volume
    from bilevelmorph.metrics.overlap import mean_dice
    from bilevelmorph.registration.evaluation import labels_of

    moving, fixed = (load_volume(scan.image) for scan in (pair.moving, pair.fixed))
    for _ in range(calls):
        result = registrar(moving, fixed)
    moved = warp_volume(labels_of(pair.moving, moving), result.displacement, fixed.affine)
    return {
        "dice": mean_dice(moved.data, labels_of(pair.fixed, fixed).data, labels),
        "folding": result.report["folding_percent"],
        "seconds": result.report["seconds"],
    }


def _peer(name: str, pair: Any, labels: list[int], options: Options) -> dict[str, float]:
    """Scores of another program."""
    from bilevelmorph.data.preprocessing import crop_or_pad, normalise
    from bilevelmorph.data.volume import Volume
    from bilevelmorph.io.volumes import load_volume, save_volume
    from bilevelmorph.metrics.overlap import mean_dice

    files = [pair.fixed.image, pair.moving.image, pair.moving.labels, pair.fixed.labels]
    with tempfile.TemporaryDirectory() as place:
        if options.peer_shape:
            for i, path in enumerate(files):
                volume = load_volume(path, "labels" if i > 1 else "image")
                volume = volume if i > 1 else volume.with_data(normalise(volume.data))
                volume = crop_or_pad(volume, options.peer_shape)
                # Grids that lie on one another, whatever the headers say.
                place_of = np.diag([*volume.spacing, 1.0])
                files[i] = Path(place, f"{i}.nii.gz")
                save_volume(files[i], Volume(volume.data, place_of, volume.kind))
        *given, target = map(str, files)
        moved = str(Path(place, "moved.nii.gz"))
        line = [options.peer_python, str(PEER), name, *given, moved, str(os.cpu_count())]
        began = time.perf_counter()
        said = subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()
        total = time.perf_counter() - began
        score = mean_dice(load_volume(moved, "labels").data, load_volume(target, "labels").data, labels)
    return {"dice": score, "folding": float("nan"), "seconds": float(said[-1]), "with_start": total}


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
