"""Greedy's side of the comparison of speed; run by `benchmarks.speed`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PACKAGES = ("picsl-greedy", "SimpleITK", "numpy")
MODULES = ("picsl_greedy", "SimpleITK")
SETTINGS: dict[str, str] = {}
# `{n}` iterations at full resolution, with windows as wide as ours.
_LINES = {
    "affine": "-i fixed moving -a -dof 12 -ia-image-centers -m NCC 2x2x2 -n 100x50x20",
    "descent": "-i fixed moving -m NCC 2x2x2 -n 10",
}


def prepare(case: Any) -> Callable[[], Any]:
    """The function to time."""
    import numpy as np
    import SimpleITK
    from picsl_greedy import Greedy3D

    with np.load(case.fixed) as file:
        images = {key: SimpleITK.GetImageFromArray(file[key].T) for key in ("fixed", "moving")}
    line = f"{_LINES[case.setting.partition('@')[0]]} -threads {case.threads} -V 0 -o result"
    tool = Greedy3D()
    return lambda: tool.execute(line, **images, result=None)


def register(prepared: Callable[[], Any]) -> Any:
    """The timed call."""
    return prepared()


def save(prepared: Any, result: Any, path: str) -> None:
    """Nothing is kept."""
