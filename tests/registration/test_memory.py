"""Pairs that do not fit into memory are registered on larger voxels, or refused with the estimate."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import refusal
from scipy import ndimage

from bilevelmorph.data.volume import Volume
from bilevelmorph.registration import Registrar
from bilevelmorph.registration.memory import LIMIT, available_memory, coarser_by, needed_memory


def test_what_the_system_says(monkeypatch):
    assert 2**28 < available_memory() < 2**50
    monkeypatch.setenv(LIMIT, "3")
    assert available_memory() == 3 * 2**30
    monkeypatch.setenv(LIMIT, "-1")
    assert LIMIT in refusal(available_memory)


def test_the_factor_is_as_small_as_fits():
    shape, native = (512, 512, 300), 2 * 512 * 512 * 300
    available = 12 * 2**30
    factor = coarser_by(shape, native, available)
    work = [int(np.prod(shape) / f**3) for f in (factor, factor - 0.1)]
    assert needed_memory(work[0], native) <= available < needed_memory(work[1], native)
    assert coarser_by(shape, native, None) == 1
    assert "about" in refusal(coarser_by, shape, native, 4 * 2**30)


def test_on_larger_voxels(rng, monkeypatch):
    """The displacement is that of full resolution, but for what coarse voxels cannot show."""
    fixed = ndimage.gaussian_filter(rng.random((96, 96, 96), np.float32), 4)
    moving = np.roll(fixed, 2, 0)
    pair = Volume(moving, np.eye(4)), Volume(fixed, np.eye(4))
    registrar = Registrar(quality="fast")
    whole = registrar(*pair)
    assert not any("memory" in text for text in whole.warnings)
    monkeypatch.setenv(LIMIT, str(needed_memory(96**3 // 3, 2 * 96**3) / 2**30))
    coarse = registrar(*pair)
    assert any("computed on voxels of 1.50 mm" in text for text in coarse.warnings)
    assert coarse.displacement.shape == whole.displacement.shape
    inside = (slice(16, -16),) * 3
    assert np.abs(coarse.displacement - whole.displacement)[inside].mean() < 0.5
    assert coarse.displacement[inside][..., 0].mean() == pytest.approx(2, abs=0.5)
