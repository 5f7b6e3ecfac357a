"""A short part of `make fuzz`: damaged files of every kind are read or refused with one line."""

from __future__ import annotations

import numpy as np
import pytest
from fuzzing import Fuzzer
from refusals import refusal

from bilevelmorph.io.claims import check_dicom

COUNT = 400


# nibabel leaves files open until their images are collected.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_files_before_they_are_damaged(tmp_path):
    Fuzzer(tmp_path).check_samples()


def test_damaged_files(tmp_path):
    fuzzer = Fuzzer(tmp_path, seed=7)
    try:
        found = [fuzzer.one() for _ in range(COUNT)]
    finally:
        fuzzer.close()
    assert {path.name: said for said, path in found if said} == {}


def test_whole_dicom_files_are_taken(tmp_path):
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.arange(600, dtype=np.int16).reshape(20, 30))
    for compressed in (True, False):
        path = tmp_path / f"{compressed}.dcm"
        SimpleITK.WriteImage(image, str(path), useCompression=compressed)
        check_dicom(path)
    content = path.read_bytes()
    (tmp_path / "cut.dcm").write_bytes(content[:-200])
    assert "bytes with" in refusal(check_dicom, tmp_path / "cut.dcm")
