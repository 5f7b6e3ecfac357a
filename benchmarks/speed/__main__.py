"""Time every case at every size, ours and others in turn; write a table, JSON and a figure.

python -m benchmarks.speed --out runs/speed [--environments peers] [--sizes 48x64x48 ...] [--cases warp ...]

All are warmed up; then, in every round, each runs once. Others run in environments of their own, made by
`bilevelmorph benchmark --install benchmarks/speed/pytorch.py ... --environments peers`.
The cases training_step and bilevel_step are not run at the largest size, where they do not fit everywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.speed.figure import draw
from bilevelmorph.benchmark.method import Method
from bilevelmorph.benchmark.method_process import MethodProcess
from bilevelmorph.benchmark.summary import markdown

HERE = Path(__file__).parent
# What each side can do, ours first.
CASES = {
    "copy": ("ours",),
    "warp": ("ours", "voxelmorph", "pytorch"),
    "warp_gradient": ("ours", "voxelmorph", "pytorch"),
    "integration": ("ours", "voxelmorph", "pytorch"),
    "convolution": ("ours", "pytorch"),
    "forward": ("ours", "voxelmorph"),
    "forward_vxm_dense": ("ours", "voxelmorph"),
    "descent": ("ours", "greedy"),
    "affine": ("ours", "greedy"),
    "register_cold": ("ours",),
    "register_warm": ("ours",),
    "training_step": ("ours", "voxelmorph"),
    "bilevel_step": ("ours",),
}
TRAINING, LARGEST = ("training_step", "bilevel_step"), 2_000_000


def inputs(size: tuple[int, ...], folder: Path) -> Path:
    """A smooth pair, a displacement and a velocity at half resolution, as npz, and the pair as NIfTI."""
    path = folder / f"{'x'.join(map(str, size))}.npz"
    if not path.is_file():
        import tensorflow as tf

        from bilevelmorph.data.volume import Volume
        from bilevelmorph.datasets.phantoms import smooth_noise
        from bilevelmorph.io.volumes import save_volume
        from bilevelmorph.ops import warp

        fixed = tf.nn.sigmoid(smooth_noise(size, 6, 1, tf.constant([0, 1])))
        field = 3 * smooth_noise(size, 24, 3, tf.constant([0, 2]))
        half = [n // 2 for n in size]
        arrays = {
            "fixed": fixed[0, ..., 0],
            "moving": warp(fixed, field)[0, ..., 0],
            "field": field[0],
            "velocity": 2 * smooth_noise(half, 16, 3, tf.constant([0, 3]))[0],
        }
        arrays = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
        np.savez(path, **arrays)
        for name in ("fixed", "moving"):
            save_volume(f"{path.with_suffix('')}-{name}.nii.gz", Volume(arrays[name], np.eye(4)))
    return path


def measure(
    sides: dict[str, MethodProcess], case: str, path: Path, repeats: int
) -> dict[str, dict[str, Any]]:
    """Seconds of each round and peak memory of every side that can do the case."""
    asked = {"fixed": str(path), "moving": str(path), "affine": False, "out": str(path.with_name("none"))}
    found: dict[str, dict[str, Any]] = {}
    for turn in range(repeats + 1):  # the first brings what is loaded on demand
        for name in CASES[case]:
            if name not in sides or "error" in found.get(name, {}):
                continue
            row = found.setdefault(name, {"seconds": [], "memory_mb": 0.0})
            try:
                answer = sides[name].register(**asked, setting=f"{case}@{path.stem}")
            except RuntimeError as error:
                row["error"] = str(error)
                continue
            if turn:
                row["seconds"].append(answer["seconds"])
                row["memory_mb"] = max(row["memory_mb"], answer["memory_mb"] or 0.0)
    return found


def table(results: dict[str, Any]) -> str:
    """Medians with minimum and maximum, and the ratio of medians to ours, in Markdown."""
    lines = []
    for case, by_size in results.items():
        for size, found in by_size.items():
            ours = found.get("ours", {}).get("seconds")
            for name, row in found.items():
                if not row["seconds"]:
                    lines.append([case, size, name, row.get("error", ""), "", ""])
                    continue
                middle = float(np.median(row["seconds"]))
                low, high = min(row["seconds"]), max(row["seconds"])
                spread = f"{1000 * middle:.1f} ({1000 * low:.1f}-{1000 * high:.1f})"
                ratio = f"{middle / float(np.median(ours)):.2f}" if ours else ""
                lines.append([case, size, name, spread, ratio, f"{row['memory_mb']:.0f}"])
    return markdown(["case", "size", "", "ms, median (min-max)", "x ours", "peak, MB"], lines)


def growth(results: dict[str, Any]) -> dict[str, float]:
    """The power of the number of voxels with which our time grows, from the smallest to the largest size."""
    out = {}
    for case, by_size in results.items():
        rows = [
            (np.prod([int(n) for n in size.split("x")]), np.median(found["ours"]["seconds"]))
            for size, found in by_size.items()
            if found.get("ours", {}).get("seconds")
        ]
        if len(rows) > 1:
            (n0, t0), (n1, t1) = rows[0], rows[-1]
            out[case] = float(np.log(t1 / t0) / np.log(n1 / n0))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for inputs and results")
    parser.add_argument("--environments", type=Path, help="environments of the others")
    parser.add_argument("--sizes", nargs="+", default=["48x64x48", "80x96x112", "160x192x224"])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sizes = [tuple(int(n) for n in size.split("x")) for size in options.sizes]
    paths = [inputs(size, options.out.absolute()) for size in sizes]
    results: dict[str, Any] = {}
    for case in options.cases:
        for size, path in zip(sizes, paths, strict=True):
            if case in TRAINING and np.prod(size) > LARGEST:
                continue
            # New processes for each, so that their peaks of memory are their own.
            sides = {}
            for name in CASES[case]:
                method = Method.of(str(HERE / f"{name}.py"))
                python = method.python(options.environments)
                if python is not None:
                    sides[name] = MethodProcess(python, method.adapter, options.threads, 3600.0)
            try:
                found = measure(sides, case, path, options.repeats)
            finally:
                for process in sides.values():
                    process.close()
            results.setdefault(case, {})[path.stem] = found
            print(table({case: {path.stem: found}}).partition("\n")[2].partition("\n")[2], end="", flush=True)
            facts = {"cores": options.threads, "machine": platform.processor() or platform.machine()}
            written = {**facts, "results": results, "growth": growth(results)}
            (options.out / "speed.json").write_text(json.dumps(written, indent=1), encoding="utf-8")
            (options.out / "speed.md").write_text(table(results), encoding="utf-8")
    draw(results, options.out / "speed.png")
    for case, power in growth(results).items():
        print(f"{case}: time grows with the voxels to the power of {power:.2f}")


if __name__ == "__main__":
    main()
