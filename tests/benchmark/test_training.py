"""Methods that are trained, by a user's method that learns what it is told."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bilevelmorph.benchmark.method import Method
from bilevelmorph.benchmark.prepared_case import prepared_image
from bilevelmorph.benchmark.run import BenchmarkPlan, run_benchmark
from bilevelmorph.benchmark.training import TrainingPlan
from bilevelmorph.datasets.decathlon import DecathlonDataset
from bilevelmorph.errors import InputError

# Its weight is the shift that it applies, so one of its weights is the true one.
LEARNER = """
import pathlib

PACKAGES = ("numpy",)
MODULES = ("nibabel",)
SETTINGS = {"default": ""}
WEIGHTS = (0.0, 2.0, 4.0)


def train(job):
    import numpy

    log = pathlib.Path(job.out).with_name("log.txt")
    log.open("a").write(f"{job.weight} {len(job.images)} {numpy.load(job.images[0]).shape} {job.seconds}\\n")
    numpy.save(job.out + ".npy", job.weight)


def prepare(case):
    import nibabel

    return nibabel.load(case.fixed).shape, case.model


def register(prepared):
    import numpy

    found = numpy.zeros((*prepared[0], 3), "float32")
    found[..., 0] = numpy.load(prepared[1] + ".npy")
    return found


def save(prepared, result, path):
    import numpy

    numpy.save(path + ".npy", result)
"""


@pytest.fixture
def learner(tmp_path):
    path = tmp_path / "learner.py"
    path.write_text(LEARNER.replace("\\\\", "\\"), encoding="utf-8")
    return path


def plan_of(scans, learner, out, **options):
    folder = DecathlonDataset.open(scans)
    pairs = folder.pairs("val")
    training = TrainingPlan(folder.subjects("val")[:4], pairs[:2], 5.0)
    return BenchmarkPlan(pairs, [Method.of(str(learner))], [1, 2], out, training=training, **options)


def test_the_best_weight_on_validation_pairs_is_taken(scans, learner, tmp_path):
    out = tmp_path / "out"
    rows = run_benchmark(plan_of(scans, learner, out), quiet=True)
    assert [r["dice"] for r in rows] == [1, 1, 1]
    scores = json.loads((out / "training" / "learner-default.json").read_text(encoding="utf-8"))
    assert list(scores) == ["0", "2", "4"]
    assert scores["2"] == 1
    log = (out / "training" / "log.txt").read_text(encoding="utf-8").splitlines()
    assert log == [f"{w} 4 (24, 22, 20) 5.0" for w in ("0.0", "2.0", "4.0")]
    image = np.load(out / "training" / "scan-0000.npy")
    assert (image.min(), image.max()) == (0, 1)

    # A repeated run trains nothing again.
    (out / "pairs.csv").unlink()
    assert run_benchmark(plan_of(scans, learner, out), quiet=True)[0]["dice"] == 1
    assert len((out / "training" / "log.txt").read_text(encoding="utf-8").splitlines()) == 3


def test_without_training_its_rows_fail(scans, learner, tmp_path):
    folder = DecathlonDataset.open(scans)
    plan = BenchmarkPlan(folder.pairs("val")[:1], [Method.of(str(learner))], None, tmp_path / "out")
    assert "not trained" in run_benchmark(plan, quiet=True)[0]["error"]


def test_scans_of_different_sizes_are_refused(scans, learner, tmp_path):
    plan = plan_of(scans, learner, tmp_path / "out")
    (tmp_path / "out" / "training").mkdir(parents=True)
    image = prepared_image(plan.training.scans[0]).data
    np.save(tmp_path / "out" / "training" / "scan-0001.npy", image[1:])
    with pytest.raises(InputError, match="one size for all"):
        run_benchmark(plan, quiet=True)
