"""Weights of 2018, against VoxelMorph's layers under legacy Keras in a process of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from processes import run_script

from bilevelmorph.compat.voxelmorph.h5 import network_of_h5
from bilevelmorph.compat.voxelmorph.network_2018 import Vxm2018
from bilevelmorph.errors import InputError
from bilevelmorph.models import load_model

KINDS = ["cvpr1", "cvpr2", "miccai", "miccai-layer"]


@pytest.fixture(scope="module")
def peer(tmp_path_factory) -> Path:
    """Weights and results of 2018's networks."""
    out = tmp_path_factory.mktemp("voxelmorph")
    run_script(Path(__file__).with_name("run_voxelmorph_2018.py"), out)
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_enough(peer, kind):
    """Architecture, integration and order of components come from what the file holds."""
    # Nothing in the file of a network without integration tells the order of its components.
    network = network_of_h5(peer / f"{kind}.h5", **({"indexing": "xy"} if kind == "cvpr2" else {}))
    assert isinstance(network, Vxm2018)
    with np.load(peer / f"{kind}.npz", allow_pickle=False) as expected:
        out = network([expected["moving"], expected["fixed"]])
        assert np.abs(expected["displacement"]).max() > 0.5  # the test would see a difference
        np.testing.assert_allclose(out["displacement"], expected["displacement"], atol=1e-4)
        np.testing.assert_allclose(out["moved"], expected["moved"], atol=1e-4)


def test_as_a_model_by_its_file(peer, tmp_path, rng):
    network = load_model(str(peer / "miccai.h5"))
    pair = [rng.random((1, 20, 33, 17, 1), dtype=np.float32) for _ in range(2)]
    network.save(tmp_path / "mine.keras")
    again = keras.models.load_model(tmp_path / "mine.keras")
    np.testing.assert_array_equal(network(pair)["displacement"], again(pair)["displacement"])


def test_a_file_of_something_else(peer, tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["dense/dense/kernel:0"] = np.ones((3, 3))
    with pytest.raises(InputError, match=r"other\.h5.*flow"):
        load_model(str(other))
    more = tmp_path / "more.h5"
    shutil.copy(peer / "cvpr1.h5", more)
    with h5py.File(more, "r+") as file:
        file["affine/affine/kernel:0"] = np.ones((3, 3))
    with pytest.raises(InputError, match=r"more\.h5.*affine"):
        load_model(str(more))


@pytest.mark.parametrize(("half", "count"), [(False, 5), (True, 4)])
def test_too_few_filters(half, count):
    with pytest.raises(InputError, match="nb_unet_features"):
        Vxm2018(2, [[4] * 4, [4] * count], half=half)
