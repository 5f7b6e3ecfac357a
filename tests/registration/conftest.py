"""Phantoms with a known linear map between them."""

from __future__ import annotations

import numpy as np
import pytest

from bilevelmorph.data.geometry import transform_points, voxel_positions
from bilevelmorph.data.volume import Volume

SHAPE, SPACING = (40, 40, 40), np.diag([2.0, 2.0, 2.0])
# Centre, half axes in millimetres, grey value.
ELLIPSOIDS = [
    ((0, 0, 0), (28, 22, 25), 1.0),
    ((10, 5, 4), (7, 9, 6), 0.6),
    ((-9, 6, -5), (6, 5, 9), -0.5),
    ((2, -10, 8), (9, 5, 5), 0.9),
    ((-14, -8, 6), (5, 7, 5), 0.8),
    ((12, -9, -9), (6, 5, 7), -0.4),
    ((-3, 8, 14), (8, 5, 4), -0.6),
    ((4, 12, -12), (5, 4, 6), 0.7),
]


def ellipsoids(world):
    """A head of a kind: smooth edges, no symmetry."""
    total = 0
    for centre, axes, grey in ELLIPSOIDS:
        radius = np.linalg.norm((world - np.array(centre)) / axes, axis=-1)
        total = total + grey / (1 + np.exp((radius - 1) * 12))
    return total


def turned(angles):
    a, b, c = np.radians(angles)
    about_x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    about_y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    about_z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    return np.array(about_x) @ about_y @ about_z


def pair(linear, shift, apart):
    """The map from the fixed world to the moving one, moving, fixed."""
    truth = np.eye(4)
    truth[:3, :3] = linear
    truth[:3, 3] = np.array(shift) + apart
    affine = np.eye(4)
    affine[:3, :3] = SPACING
    affine[:3, 3] = -SPACING @ ((np.array(SHAPE) - 1) / 2)
    moving_affine = np.diag([-1.0, -1, 1, 1]) @ affine
    moving_affine[:3, 3] += apart
    volumes = []
    for grid, back in ((moving_affine, np.linalg.inv(truth)), (affine, np.eye(4))):
        world = transform_points(back @ grid, voxel_positions(SHAPE).astype(float))
        volumes.append(Volume((100 * ellipsoids(world)).astype(np.float32), grid))
    return truth, *volumes


@pytest.fixture(scope="session")
def phantoms():
    """Pairs by name: ``(truth, moving, fixed)``."""
    rigid, scale = turned((8, -6, 10)), np.diag([1.08, 0.94, 1.04])
    nowhere, far = np.zeros(3), np.array([100.0, 0, 0])
    return {
        "rigid": pair(rigid, (5, -4, 3), nowhere),
        "rigid far": pair(rigid, (5, -4, 3), far),
        "affine": pair(rigid @ scale, (5, -4, 3), nowhere),
        "affine far": pair(rigid @ scale, (5, -4, 3), far),
    }
