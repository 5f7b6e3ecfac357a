"""A VoxelMorph file says nothing but what it holds itself."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from refusals import refusal

from bilevelmorph.compat.voxelmorph.h5 import read_h5

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def raw(path):
    (path.parent / "secret.bin").write_bytes(VALUES.tobytes())
    with h5py.File(path, "w") as file:
        kind = [("secret.bin", 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("flow/kernel:0", VALUES.shape, "f4", external=kind)


def virtual(path):
    with h5py.File(path.parent / "other.h5", "w") as file:
        file["a"] = VALUES
    layout = h5py.VirtualLayout(VALUES.shape, "f4")
    layout[:] = h5py.VirtualSource(path.parent / "other.h5", "a", VALUES.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("flow/kernel:0", layout)


def link(path):
    with h5py.File(path.parent / "other.h5", "w") as file:
        file["flow/kernel:0"] = VALUES
    with h5py.File(path, "w") as file:
        file["model_weights"] = h5py.ExternalLink("other.h5", "/")


@pytest.mark.parametrize(
    ("make", "said"), [(raw, "in another file"), (virtual, "in another file"), (link, "a link to somewhere")]
)
def test_values_elsewhere_are_not_followed(tmp_path, make, said):
    make(tmp_path / "network.h5")
    assert said in refusal(read_h5, tmp_path / "network.h5")


def test_links_within_layers_are_not_followed(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = VALUES
    with h5py.File(tmp_path / "network.h5", "w") as file:
        file["flow/kernel:0"] = h5py.ExternalLink("other.h5", "a")
        file["flow/bias:0"] = VALUES
    assert [a.shape for a in read_h5(tmp_path / "network.h5").arrays["flow"]] == [(2, 3)]
