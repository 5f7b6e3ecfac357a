"""Run time of SpatialTransformer and VecInt compared with VoxelMorph's and PyTorch's grid_sample.

All functions are warmed up and then run in turn, round after round, in one process;
medians and ratios of medians are printed. PyTorch is used if it is installed.
Run: python benchmarks/layers.py [--rounds 7] [--size 160 192 224]
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import bilevelmorph
from bilevelmorph.compat.voxelmorph import import_hook
from bilevelmorph.datasets.phantoms import smooth_noise


def contestants(size: list[int], rng: np.random.Generator) -> dict[str, dict[str, Callable[[], object]]]:
    """Two tables of functions to time: warping at full and integration at half resolution."""
    parent, ours = import_hook.require().layers, bilevelmorph.layers
    half = [n // 2 for n in size]
    image = rng.random((1, *size, 1), dtype=np.float32)
    field = rng.normal(0, 3, (1, *size, 3)).astype(np.float32)
    # A smooth velocity, because a rough one folds, and folds amplify rounding errors beyond comparison.
    velocity = 3 * smooth_noise(half, 16, 3, tf.constant([0, 1])).numpy()
    x, u, v = tf.constant(image), tf.constant(field), tf.constant(velocity)
    warp_parent, warp_ours = parent.SpatialTransformer(), ours.SpatialTransformer()
    ss_parent, ss_ours = parent.VecInt(int_steps=7), ours.VecInt(int_steps=7)
    error = [
        float(tf.reduce_max(tf.abs(warp_parent([x, u]) - warp_ours([x, u])))),
        float(tf.reduce_max(tf.abs(ss_parent(v) - ss_ours(v)))),
    ]
    print(f"largest difference to the parent: warp {error[0]:.1e}, integration {error[1]:.1e}")
    tables: dict[str, dict[str, Callable[[], object]]] = {
        f"warp {'x'.join(map(str, size))}x1": {
            "voxelmorph": lambda: warp_parent([x, u]).numpy(),
            "bilevelmorph": lambda: warp_ours([x, u]).numpy(),
        },
        f"integration, 7 steps, {'x'.join(map(str, half))}x3": {
            "voxelmorph": lambda: ss_parent(v).numpy(),
            "bilevelmorph": lambda: ss_ours(v).numpy(),
        },
    }
    for table, functions in zip(tables.values(), _torch(image, field, velocity), strict=False):
        table["torch grid_sample"] = functions
    return tables


def _torch(image: np.ndarray, field: np.ndarray, velocity: np.ndarray) -> list[Callable[[], object]]:
    """Warping and integration with grid_sample, as in VoxelMorph's PyTorch release."""
    try:
        import torch
        from torch.nn.functional import grid_sample
    except ImportError:
        print("PyTorch is not installed: no comparison with grid_sample")
        return []

    def grid_of(shape: tuple[int, ...]) -> torch.Tensor:
        axes = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in shape], indexing="ij")
        return torch.stack(axes)[None]

    def warp(x: torch.Tensor, u: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        sizes = torch.tensor(u.shape[2:], dtype=torch.float32).view(1, 3, 1, 1, 1)
        where = 2 * (grid + u) / (sizes - 1) - 1
        where = where.permute(0, 2, 3, 4, 1).flip(-1)
        return grid_sample(x, where, align_corners=True, padding_mode="border")

    x, u, v = (torch.from_numpy(np.moveaxis(a, -1, 1).copy()) for a in (image, field, velocity))
    full, half = grid_of(image.shape[1:-1]), grid_of(velocity.shape[1:-1])

    def integrate() -> torch.Tensor:
        step = v / 2**7
        for _ in range(7):
            step = step + warp(step, step, half)
        return step

    return [lambda: warp(x, u, full).numpy(), lambda: integrate().numpy()]


def main() -> None:
    """Time everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, nargs=3, default=[160, 192, 224])
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, TensorFlow {tf.__version__}"
    )
    for title, functions in contestants(options.size, np.random.default_rng(0)).items():
        times: dict[str, list[float]] = {name: [] for name in functions}
        for function in functions.values():
            function()
            function()
        for _ in range(options.rounds):
            for name, function in functions.items():
                began = time.perf_counter()
                function()
                times[name].append(time.perf_counter() - began)
        print(title)
        ours = np.median(times["bilevelmorph"])
        for name, values in times.items():
            middle = np.median(values)
            print(f"  {name:<18} {1000 * middle:8.1f} ms   {middle / ours:5.2f} x ours")


if __name__ == "__main__":
    main()
