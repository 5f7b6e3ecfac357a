"""Training of the methods that learn, on the training scans of the data that are compared on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bilevelmorph.benchmark.method import Method, constants
from bilevelmorph.benchmark.method_process import MethodProcess
from bilevelmorph.benchmark.prepared_case import prepared_image
from bilevelmorph.datasets.pairs import Pair, Subject
from bilevelmorph.errors import fail
from bilevelmorph.io.json import read_json, write_json


@dataclass(frozen=True)
class TrainingPlan:
    """What methods are trained on, and for how long.

    Attributes:
        scans: The training scans.
        pairs: Validation pairs, on which a weight is chosen.
        seconds: Seconds of training with each weight.
        seed: Random seed.

    >>> TrainingPlan([], [], 2400.0).seed
    0
    """

    scans: Sequence[Subject]
    pairs: Sequence[Pair]
    seconds: float
    seed: int = 0


def is_trained(method: Method) -> bool:
    """Whether a method has to be trained.

    >>> is_trained(Method.of("voxelmorph")), is_trained(Method.of("greedy"))
    (True, False)
    """
    return "WEIGHTS" in constants(method.adapter)


def train_method(
    plan: TrainingPlan,
    method: Method,
    process: MethodProcess,
    folder: Path,
    shape: Sequence[int],
    score: Callable[[Pair, str], float],
) -> str:
    """Train a method with each of its weights, and choose one on validation pairs.

    What was trained before is not trained again.

    Args:
        plan: What to train on.
        method: The method.
        process: Its process.
        folder: Where to write the scans and the models.
        shape: See `PreparedCase.of`.
        score: The score of a validation pair with a model, larger is better.

    Returns:
        The model, a path without its ending.

    Raises:
        InputError: The scans have different sizes.
        RuntimeError: The training failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = folder / f"{method.adapter.stem}-{method.setting}.json"
    scores: dict[str, Any] = read_json(chosen, "scores by weight") if chosen.is_file() else {}
    models = {}
    for weight in constants(method.adapter)["WEIGHTS"]:
        name = f"{weight:g}"
        models[name] = str(folder.absolute() / f"{method.adapter.stem}-{method.setting}-{name}")
        if name in scores:
            continue
        images = _written(plan.scans, folder, shape)
        job = {"images": images, "weight": weight, "seconds": plan.seconds, "seed": plan.seed}
        process.train(setting=method.setting, out=models[name], **job)
        scores[name] = float(np.mean([score(pair, models[name]) for pair in plan.pairs]))
        write_json(chosen, scores)
    return models[max(models, key=lambda name: scores[name])]


def _written(scans: Sequence[Subject], folder: Path, shape: Sequence[int]) -> list[str]:
    """The prepared training scans as npy files."""
    paths = []
    for number, scan in enumerate(scans):
        path = folder.absolute() / f"scan-{number:04d}.npy"
        if not path.is_file():
            np.save(path, prepared_image(scan, shape).data)
        paths.append(str(path))
    sizes = {np.load(path, mmap_mode="r").shape for path in paths}
    if len(sizes) != 1:
        came = "training scans of " + ", ".join("x".join(map(str, size)) for size in sorted(sizes)[:3])
        raise fail("shape", came, "one size for all that a network is trained on", "choose one")
    return paths
