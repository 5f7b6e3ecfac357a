"""Smooth pairs whose deformation is known, with label maps and landmarks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bilevelmorph.tuning.case import Case


def make_case(seed: int, size: int = 24, shift: float = 1.5) -> Case:
    """A smooth random image and the same shifted, with three bands of labels."""
    rng = np.random.default_rng(seed)
    fixed = ndimage.gaussian_filter(rng.random((size, size)), 1.5)
    fixed = ((fixed - fixed.min()) / np.ptp(fixed)).astype(np.float32)
    moving = ndimage.shift(fixed, (shift, 0), order=3, mode="nearest").astype(np.float32)
    bands = (np.indices((size, size))[0] // (size // 4)).astype(np.int32)
    labels = bands, ndimage.shift(bands, (shift, 0), order=0, mode="nearest")
    points = rng.uniform(8, size - 8, (5, 2))
    start = np.zeros((size, size, 2), np.float32)
    return Case(fixed, moving, start, labels, (points, points + np.array([shift, 0])))


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [make_case(seed) for seed in range(2)]
