"""Run times of several networks, measured in turn so that other load affects all of them equally.

Prints the median milliseconds per pair of each network, on one thread, as JSON.
Run: python benchmarks/interleaved.py --shape 48 64 48 NAME=MODEL.keras ...
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

ROUNDS = 15


def interleaved_ms(models: Mapping[str, Path], shape: Sequence[int]) -> dict[str, float]:
    """Run this script in a new process, because the number of threads can be set only once in each."""
    named = [f"{name}={path}" for name, path in models.items()]
    line = [sys.executable, __file__, "--shape", *map(str, shape), "--", *named]
    return {k: float(v) for k, v in json.loads(subprocess.check_output(line)).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs="+", required=True, help="grid size of the pair")
    parser.add_argument("models", nargs="+", help="NAME=MODEL.keras")
    options = parser.parse_args()
    import tensorflow as tf

    from bilevelmorph.devices import use_threads
    from bilevelmorph.models import load_model

    use_threads(1)
    pair = [tf.random.stateless_uniform([1, *options.shape, 1], [0, k]) for k in (1, 2)]
    calls = {}
    for name, path in (word.rsplit("=", 1) for word in options.models):
        network = load_model(path)
        calls[name] = tf.function(lambda a, b, n=network: n([a, b], training=False)["displacement"])
        for _ in range(2):
            calls[name](*pair)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            began = time.perf_counter()
            call(*pair).numpy()
            seconds[name].append(time.perf_counter() - began)
    print(json.dumps({name: round(1000 * float(np.median(s)), 2) for name, s in seconds.items()}))


if __name__ == "__main__":
    main()
