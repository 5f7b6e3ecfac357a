"""Does memory stay flat over long runs? Registrations and validations in one process, trials of a search.

Prints the resident memory in the course of each, and its slope in kB an item with its standard error,
after the first fifth, in which graphs are made. The items are taken in twenty blocks, whose medians are
fitted by a line: neighbouring items are not independent. Workers of a cohort, which meet new sizes of images
all the time, are renewed as they grow; here are three sizes. A search trains its trials in child processes,
so that what counts is the memory of the parent. --limit ends each part so many seconds
after the first few items.
Run: python benchmarks/memory.py --registrations 1000 --validations 500 --trials 50
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from tqdm import tqdm

SHAPES = ((24, 32, 28), (32, 24, 24), (28, 28, 36))
BLOCKS = 20


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def course(name: str, count: int, limit: float, once: Callable[[int], object]) -> dict[str, object]:
    """Call a function so many times, or until the time is up; memory in its course, and the slope."""
    memory, until = [], float("inf")
    for i in tqdm(range(count), desc=name):
        once(i)
        memory.append(resident_mb())
        if i == len(SHAPES):  # there is a graph for each by now
            until = time.monotonic() + limit
        if time.monotonic() > until:
            break
    late = np.array(memory[len(memory) // 5 :])
    slope, error = slope_of(late)
    return {
        "count": len(memory),
        "mb": [round(m) for m in memory[:: max(1, len(memory) // BLOCKS)]],
        "kb_per_item": round(1024 * slope, 1),
        "standard_error": round(1024 * error, 1),
    }


def slope_of(values: np.ndarray) -> tuple[float, float]:
    """Slope per item of a line through the medians of blocks, and its standard error."""
    blocks = np.array_split(np.arange(len(values)), min(BLOCKS, len(values)))
    x, y = (np.array([np.median(v[b]) for b in blocks]) for v in (np.arange(len(values)), values))
    if len(x) < 3:
        return float("nan"), float("nan")
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    return slope, float(np.sqrt(rest @ rest / (len(x) - 2) / (x @ x)))


def registrations(count: int, limit: float) -> dict[str, object]:
    """One `Registrar` for images of three sizes in turn, with instance optimisation."""
    from bilevelmorph.data.volume import Volume
    from bilevelmorph.registration import Registrar

    rng = np.random.default_rng(0)
    pairs = [[Volume(rng.random(s, np.float32), np.eye(4)) for _ in range(2)] for s in SHAPES]
    registrar = Registrar(affine="affine", instance_steps=2)
    return course("registrations", count, limit, lambda i: registrar(*pairs[i % len(pairs)]))


def validations(count: int, limit: float, scans: Path) -> dict[str, object]:
    """The validation of a training run, on a network that does not change."""
    from bilevelmorph.config import TrainingConfig
    from bilevelmorph.networks.build import build_network
    from bilevelmorph.training.data import open_data

    config = TrainingConfig.of(data=str(scans), network="propagation")
    data = open_data(config)
    network = build_network(config, data.pairs.shape)
    assert data.validation is not None
    return course("validations", count, limit, lambda _: data.validation(network))


def trials(count: int, limit: float, scans: Path) -> dict[str, object]:
    """Trials of a random search."""
    from bilevelmorph.autoreg.trial_worker import TrialWorker
    from bilevelmorph.config import SearchConfig
    from bilevelmorph.networks.genotype import Genotype

    config = SearchConfig.of(data=str(scans), trial_steps=4, steps_per_epoch=4, scales=(2,))
    train = TrialWorker(config, labelled=True)
    genotype = Genotype.uniform("conv1", (2,), 1, 4)
    try:
        return course(
            "trials", count, limit, lambda _: train(genotype, {"similarity": 1.0, "regularity": 0.1})
        )
    finally:
        train.close()


def write_scans(folder: Path) -> Path:
    """A small data set of labelled blobs."""
    rng = np.random.default_rng(0)
    (folder / "imagesTr").mkdir()
    (folder / "labelsTr").mkdir()
    x, y = np.meshgrid(np.arange(24), np.arange(24), indexing="ij")
    for i in range(6):
        near = np.hypot(x - rng.uniform(9, 15), y - rng.uniform(9, 15))
        image = np.exp(-((near / 5) ** 2)) + 0.02 * rng.random((24, 24))
        np.savez(folder / "imagesTr" / f"{i}.npz", vol=image.astype(np.float32), affine=np.eye(4))
        np.savez(folder / "labelsTr" / f"{i}.npz", seg=(near < 5).astype(np.uint8), affine=np.eye(4))
    names = [f"imagesTr/{i}.npz" for i in range(6)]
    pairs = [{"moving": names[4], "fixed": names[5]}]
    content = {"labels": {"0": "background", "1": "blob"}, "training": names[:4], "validation": names[4:]}
    (folder / "dataset.json").write_text(json.dumps(content | {"registration_val": pairs}), encoding="utf-8")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("registrations", 1000), ("validations", 500), ("trials", 50)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds for each of the three")
    options = parser.parse_args()
    found, limit = {}, options.limit
    with tempfile.TemporaryDirectory() as folder:
        scans = write_scans(Path(folder))
        if options.registrations:
            found["registrations"] = registrations(options.registrations, limit)
        if options.validations:
            found["validations"] = validations(options.validations, limit, scans)
        if options.trials:
            found["trials"] = trials(options.trials, limit, scans)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
