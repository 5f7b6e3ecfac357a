"""Cost of a bilevel step in time and memory, relative to a plain training step.

A bilevel step is one step of the network and one of the loss weights, each on one
batch. Times are medians of interleaved rounds in one process, after compilation.
Memory is the peak of a separate process for each kind of step, minus the memory
used before its first step.
Run: python benchmarks/bilevel_cost.py [--rounds 7] [--shape 48 64 48]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
METHODS = ("first-order", "gradient-alignment", "finite-difference", "one-step")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shape", type=int, nargs=3, default=[48, 64, 48])
    parser.add_argument("--scales", type=int, nargs="+", default=[8, 4, 2])
    parser.add_argument("--memory-of", choices=("plain", *METHODS), help=argparse.SUPPRESS)
    return parser.parse_args()


def jobs(options: argparse.Namespace, methods: tuple[str, ...]) -> dict:
    """A function for the plain step and one for the outer step of each method."""
    import keras
    import tensorflow as tf

    from bilevelmorph.datasets.phantoms import smooth_noise
    from bilevelmorph.losses.energy import Energy
    from bilevelmorph.networks import PropagationNetwork
    from bilevelmorph.training.loss_weight_problem import LossWeightProblem
    from bilevelmorph.training.loss_weights import LossWeights
    from bilevelmorph.training.trainer import Trainer

    keras.utils.set_random_seed(0)
    first, second = (smooth_noise(options.shape, 3, 1, tf.constant([0, k])) for k in (1, 2))
    batch = {"moving": tf.nn.sigmoid(first), "fixed": tf.nn.sigmoid(second)}
    labels = {f"{k}_labels": tf.cast(tf.concat([v > 0.5, v > 0.7], -1), tf.float32) for k, v in batch.items()}
    network = PropagationNetwork(
        3,
        options.scales,
        ([8], [16, 16], [32, 32], [32, 32]),
        [32, 16],
        [16, 16],
        1,
        analytic_steps=["argmin"],
    )
    out = {}
    for method in methods:
        weights = LossWeights({"similarity": 1.0, "regularity": 1.0}, ["similarity"])
        problem = LossWeightProblem(weights, None, method=method)
        trainer = Trainer(network, Energy("ncc", 5, weights=weights), [problem])
        trainer.compile(keras.optimizers.Adam(1e-4))
        if not out:
            out["plain"] = lambda step=trainer.steps[0]: step(tf.constant(0, tf.int64), batch)
        if method != "plain":
            out[method] = lambda step=trainer.outer_steps["weights"]: step(
                tf.constant(0, tf.int64), batch, batch | labels
            )
    return out


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(options: argparse.Namespace) -> None:
    """Print by how much a few steps raise the peak memory of this process, in MiB."""
    kind = options.memory_of
    work = jobs(options, ("first-order" if kind == "plain" else kind,))
    before = peak()
    for _ in range(3):
        work["plain"]()
        if kind != "plain":
            work[kind]()
    print(json.dumps({"mib": peak() - before}))


def main() -> None:
    options = parse()
    if options.memory_of:
        return memory(options)
    rises = {}
    for kind in ("plain", *METHODS):
        command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", kind]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rises[kind] = json.loads(done.stdout.splitlines()[-1])["mib"]
    import numpy as np

    work = jobs(options, METHODS)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for round_ in range(options.rounds + 2):
        for name, run in work.items():
            began = time.perf_counter()
            {k: np.asarray(v) for k, v in run().items()}
            if round_ > 1:
                seconds[name].append(time.perf_counter() - began)
    plain = float(np.median(seconds["plain"]))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.shape}")
    print(f"plain step {1000 * plain:.0f} ms, {rises['plain']:.0f} MiB")
    for name in METHODS:
        outer = float(np.median(seconds[name]))
        ratio, room = (plain + outer) / plain, rises[name] / rises["plain"]
        print(
            f"{name:<22} bilevel step {1000 * (plain + outer):.0f} ms, {ratio:.2f} times; memory {room:.2f}"
        )


if __name__ == "__main__":
    main()
