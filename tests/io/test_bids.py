"""Names of derivatives."""

from __future__ import annotations

import pytest

from bilevelmorph.io.bids import bids_folder


@pytest.mark.parametrize(
    ("scan", "folder"),
    [
        ("sub-01_T1w.nii.gz", "sub-01/anat"),
        ("sub-01_ses-a_T2w.nii.gz", "sub-01/ses-a/anat"),
        ("sub-01_task-rest_bold.nii.gz", "sub-01/func"),
        ("sub-01_dwi.nii.gz", "sub-01/dwi"),
        ("sub-01_asl.nii.gz", "sub-01/perf"),
        ("sub-01_phasediff.nii.gz", "sub-01/fmap"),
        ("data/sub-01/func/sub-01_task-rest_T1w.nii.gz", "sub-01/func"),
        ("data/sub-01/dwi/sub-01_desc-mean_map.nii.gz", "sub-01/dwi"),
    ],
)
def test_the_folder_is_that_of_the_datatype(tmp_path, scan, folder):
    """Of the folder where the scan lies, otherwise of its suffix."""
    assert bids_folder(tmp_path, scan) == tmp_path / folder
    assert (tmp_path / folder).is_dir()
