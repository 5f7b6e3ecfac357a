"""What voxels are, by what they hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from bilevelmorph.data.kinds import kind_of
from bilevelmorph.errors import InputError


def parcels(count, ids, shape=(40, 44, 36)):
    """A ball, divided into regions with these ids."""
    where = np.argwhere(np.linalg.norm(np.indices(shape).T - np.array(shape) / 2, axis=-1).T < 15)
    seeds = where[np.random.default_rng(5).permutation(len(where))[:count]]
    out = np.zeros(shape, ids.dtype)
    out[tuple(where.T)] = ids[cKDTree(seeds).query(where)[1]]
    return out


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(parcels(5, np.arange(1, 6, dtype=np.uint8)), id="few"),
        pytest.param(parcels(5, np.arange(1.0, 6.0)), id="float"),
        pytest.param(parcels(300, np.arange(1, 301, dtype=np.float32) * 7), id="many, float"),
        pytest.param(parcels(700, np.arange(1, 701, dtype=np.uint32) * 824719), id="Allen"),
        pytest.param(parcels(40, np.arange(-20, 20)), id="negative"),
        pytest.param(np.eye(9, dtype=bool), id="mask"),
    ],
)
def test_labels(labels):
    assert kind_of(labels, "labels") == "labels"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("width", [0.0, 0.7])
def test_images(dtype, width, rng):
    """A noisy and a smooth image, in whole numbers of any type, with an empty background."""
    body = parcels(5, np.arange(1.0, 6.0)) * 40
    image = ndimage.gaussian_filter(body, 1) + (body > 0) * ndimage.gaussian_filter(
        rng.normal(0, 25, body.shape), width
    )
    assert kind_of(np.clip(np.rint(image), 0, 255).astype(dtype), "scan") == "image"


def test_fractions_are_no_labels(rng):
    assert kind_of(rng.random((4, 5)), "scan") == "image"
    assert kind_of(np.full((4, 5), np.nan), "scan") == "image"


def test_what_may_be_either_is_asked():
    """A third of the neighbours are equal."""
    with pytest.raises(InputError, match=r"may be labels or intensities \(35%"):
        kind_of(np.repeat(np.arange(200).reshape(20, 10), 3, axis=0), "odd")
