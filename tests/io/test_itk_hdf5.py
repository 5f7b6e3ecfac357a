"""ITK transforms in HDF5."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from bilevelmorph.errors import InputError
from bilevelmorph.io.itk import load_itk_affine


def test_damaged_names_are_refused_without_a_word_of_the_library(tmp_path, capfd):
    """The names of transforms are text of any length, kept apart; where that is damaged, ITK reads beyond."""
    path = tmp_path / "affine.h5"
    transform = SimpleITK.AffineTransform(3)
    transform.SetTranslation([1.0, 2.0, 3.0])
    SimpleITK.WriteTransform(transform, str(path))
    np.testing.assert_allclose(load_itk_affine(path)[:3, 3], [-1, -2, 3])
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 24 : heap + 32] = (3).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot read"):
        load_itk_affine(path)
    assert capfd.readouterr() == ("", "")
