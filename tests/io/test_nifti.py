"""Writing of NIfTI files."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from bilevelmorph.io.nifti import write_nifti


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_compressed_is_the_same_file(tmp_path, rng, dtype):
    """More than is compressed at once, read back by nibabel and by gzip."""
    data = (255 * rng.random((70, 90, 80, 3))).astype(dtype)
    image = nib.Nifti1Image(data, np.diag([1, 2, 3, 1]))
    for name in ("plain.nii", "packed.nii.gz", "again.NII.GZ"):
        write_nifti(str(tmp_path / name), image)
    plain = (tmp_path / "plain.nii").read_bytes()
    assert gzip.decompress((tmp_path / "packed.nii.gz").read_bytes()) == plain
    assert (tmp_path / "packed.nii.gz").read_bytes() == (tmp_path / "again.NII.GZ").read_bytes()
    nib.save(image, tmp_path / "theirs.nii")
    assert (tmp_path / "theirs.nii").read_bytes() == plain
    np.testing.assert_array_equal(nib.load(tmp_path / "packed.nii.gz").dataobj, data)
