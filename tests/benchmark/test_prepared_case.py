"""What methods get: the same images, on grids that the scores agree with."""

from __future__ import annotations

import numpy as np
import pytest

from bilevelmorph.benchmark.prepared_case import PreparedCase
from bilevelmorph.benchmark.scores import scores_of
from bilevelmorph.data.geometry import resample
from bilevelmorph.io.volumes import load_volume
from bilevelmorph.metrics.overlap import mean_dice
from bilevelmorph.registration.affine import align


def displacement(case, along=0.0):
    out = np.zeros((*case.fixed.shape, 3), np.float32)
    out[..., 0] = along
    return out


def test_images_are_normalised_and_labels_kept(pairs):
    case = PreparedCase.of(pairs[0])
    raw = load_volume(pairs[0].fixed.image)
    assert (case.fixed.data.min(), case.fixed.data.max()) == (0, 1)
    np.testing.assert_array_equal(case.fixed.affine, raw.affine)
    assert set(np.unique(case.fixed_labels.data)) == {0, 1, 2}
    assert case.needs_affine


def test_the_true_displacement_scores_one(pairs, shift):
    case = PreparedCase.of(pairs[0])
    assert scores_of(case, displacement(case, shift), None)["dice"] == 1
    assert scores_of(case, displacement(case), None)["dice"] < 0.9


def test_centred_on_a_shape(pairs, shift):
    case = PreparedCase.of(pairs[0], (28, 28, 24))
    for volume in (case.moving, case.fixed, case.moving_labels, case.fixed_labels):
        assert volume.shape == (28, 28, 24)
        np.testing.assert_array_equal(volume.affine, np.diag([2.0, 1.5, 1.0, 1.0]))
    # The first axis points to the left in the files, and to the right here.
    assert scores_of(case, displacement(case, -shift), None)["dice"] == 1


def test_an_affine_start_is_part_of_the_scores(pairs):
    case = PreparedCase.of(pairs[0], start="affine")
    assert not case.needs_affine
    np.testing.assert_array_equal(case.moving.affine, case.fixed.affine)
    assert case.moving.shape == case.fixed.shape
    raw = PreparedCase.of(pairs[0])
    matrix = align(raw.moving, raw.fixed)
    moved = resample(raw.moving_labels, raw.fixed.shape, raw.fixed.affine, matrix)
    expected = mean_dice(moved.data, raw.fixed_labels.data)
    assert scores_of(case, displacement(case), None)["dice"] == pytest.approx(expected)
    assert expected > scores_of(raw, displacement(raw), None)["dice"]


def test_files_of_a_method(pairs, tmp_path):
    case = PreparedCase.of(pairs[0])
    told = case.write(tmp_path)
    assert told["affine"] is True
    for name, volume in (("fixed", case.fixed), ("moving", case.moving)):
        back = load_volume(told[name])
        np.testing.assert_array_equal(back.data, volume.data)
        np.testing.assert_allclose(back.affine, volume.affine)


@pytest.mark.parametrize("start", ["files", "affine"])
def test_the_other_way_round(pairs, shift, start):
    case = PreparedCase.of(pairs[0], start=start)
    other = case.swapped()
    assert other.fixed is case.moving
    assert other.needs_affine == case.needs_affine
    if start == "files":
        assert scores_of(other, displacement(other, -shift), None)["dice"] == 1
