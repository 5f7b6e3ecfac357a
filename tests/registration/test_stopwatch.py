"""The seconds of a registration, part by part."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from matplotlib.image import imread

from bilevelmorph.cli.main import main
from bilevelmorph.data.volume import Volume
from bilevelmorph.io.volumes import save_volume
from bilevelmorph.registration import Registrar
from bilevelmorph.registration.stopwatch import Stopwatch


def test_all_time_is_counted_once():
    began = time.perf_counter()
    watch = Stopwatch()
    for part in ("a", "b", "a"):
        time.sleep(0.02)
        watch.lap(part)
    total = time.perf_counter() - began
    assert sum(watch.parts.values()) == pytest.approx(total, abs=0.01)
    assert watch.parts["a"] > watch.parts["b"] > 0.019


def test_parts_of_a_registration(rng):
    pair = [Volume(rng.random((12, 12, 12)).astype(np.float32), np.eye(4)) for _ in range(2)]
    began = time.perf_counter()
    result = Registrar(None, "rigid", deformable=False)(*pair)
    total = time.perf_counter() - began
    assert list(result.seconds) == [
        "preparation",
        "deformation",
        "native grid",
        "inverse, uncertainty",
        "report",
    ]
    assert sum(result.seconds.values()) <= total
    assert result.report["seconds"] == pytest.approx(sum(list(result.seconds.values())[:3]))


def test_the_command_draws_them(rng, tmp_path):
    for name in "ab":
        save_volume(tmp_path / f"{name}.nii.gz", Volume(rng.random((9, 8)).astype(np.float32), np.eye(4)))
    files = {
        "moving": "a.nii.gz",
        "fixed": "b.nii.gz",
        "moved": "m.nii.gz",
        "profile": "p.png",
        "report": "r.json",
    }
    flags = [part for key, name in files.items() for part in (f"--{key}", str(tmp_path / name))]
    assert main(["register", "--model", "none", "--instance-steps", "0", "--gpu", "-1", *flags]) == 0
    assert imread(tmp_path / "p.png").shape[2] == 4
    parts = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["seconds_by_part"]
    assert next(iter(parts)) == "imports, reading, model"
    assert all(seconds >= 0 for seconds in parts.values())
