"""Landmarks: read from CSV, brought to the voxels of the training grid."""

from __future__ import annotations

import numpy as np
import pytest

from bilevelmorph.data.geometry import transform_points
from bilevelmorph.data.volume import Volume
from bilevelmorph.datasets.pair_dataset import PairDataset
from bilevelmorph.datasets.pairs import Pair, Subject
from bilevelmorph.errors import InputError
from bilevelmorph.io.points import read_points
from bilevelmorph.io.volumes import save_volume


def test_a_landmark_lies_where_its_voxel_does(tmp_path):
    """A single bright voxel and its world position, whatever the axes, after flips and padding."""
    affines = [
        np.diag([-2.0, 2, 3, 1]),
        np.array([[0, 1.5, 0, 4], [0, 0, -2, 9], [1, 0, 0, -3], [0, 0, 0, 1.0]]),
    ]
    subjects, at = [], np.array([[3.0, 5, 2]])
    for i, affine in enumerate(affines):
        data = np.zeros((7, 9, 6), np.float32)
        data[3, 5, 2] = 1
        save_volume(tmp_path / f"{i}.nii.gz", Volume(data, affine))
        world = transform_points(affine, at)[0]
        text = "name,x,y,z\ntip," + ",".join(f"{v:.6f}" for v in world)
        (tmp_path / f"{i}.csv").write_text(text, encoding="utf-8")
        subjects.append(Subject(tmp_path / f"{i}.nii.gz", points=tmp_path / f"{i}.csv"))
    source = PairDataset(pairs=[Pair(*subjects)], shape=(10, 10, 10), percentiles=(0, 100), points=True)
    _, batch = next(iter(source.dataset(0, 1, 1)))
    for side in ("moving", "fixed"):
        brightest = np.argwhere(batch[side][0, ..., 0].numpy() == 1)
        np.testing.assert_allclose(batch[f"{side}_points"][0], brightest, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no points"),
        ("x,y,z\n", "no points"),
        ("x,y\n1,2\n", "columns x,y,z"),
        ("x,y,z\n1,2,3\n1,2\n", "line 3"),
        ("x,y,z\n1,2,nan\n", "line 2: got 'nan'"),
        ("x,y,z\n1,2,three\n", "line 2: got 'three'"),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "points.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_points(path, 3)
