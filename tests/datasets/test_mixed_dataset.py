"""Pairs from several sources."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from bilevelmorph.datasets.mixed_dataset import MixedPairDataset
from bilevelmorph.datasets.pair_dataset import PairDataset
from bilevelmorph.datasets.pairs import Subject
from bilevelmorph.datasets.synthetic import SyntheticPairDataset
from bilevelmorph.errors import InputError

SHAPE = (16, 16, 16)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    for name in "abc":
        np.save(folder / f"{name}.npy", rng.random((20, 18, 12)))
    return [Subject(folder / f"{name}.npy") for name in "abc"]


@pytest.fixture(scope="module")
def mixed(scans):
    synthetic = SyntheticPairDataset(SHAPE, target="anatomy")
    return MixedPairDataset([PairDataset(scans, shape=SHAPE, seed=3), synthetic], [3, 1], seed=5)


def arrays(dataset):
    return [(int(step), {k: v.numpy() for k, v in batch.items()}) for step, batch in dataset]


def test_sources_come_as_often_as_their_weights_say(mixed):
    drawn = [mixed.source_of(step) for step in range(2000)]
    assert binomtest(sum(drawn), 2000, 0.25).pvalue > 1e-3


def test_any_start_gives_the_same_batches(mixed):
    whole = arrays(mixed.dataset(0, 6))
    parts = arrays(mixed.dataset(0, 2)) + arrays(mixed.dataset(2, 6))
    assert [step for step, _ in whole] == list(range(6))
    for (step, one), (again, other) in zip(whole, parts, strict=True):
        assert step == again
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_scans_are_compared_as_they_are_and_synthetic_pairs_without_contrast(mixed):
    for step, batch in arrays(mixed.dataset(0, 8)):
        for side in ("moving", "fixed"):
            image, target = batch[side], batch[f"{side}_target"]
            assert image.shape == target.shape == (1, *SHAPE, 1)
            assert np.array_equal(image, target) == (mixed.source_of(step) == 0)


@pytest.mark.parametrize(
    ("shapes", "weights", "part"),
    [
        ((SHAPE, SHAPE), [1], "2 numbers"),
        ((SHAPE, SHAPE), [0, 0], "at least one above 0"),
        ((SHAPE, SHAPE), [1, -1], "weight of a source"),
        ((SHAPE, (16, 16, 32)), [1, 1], "one shape for all"),
    ],
)
def test_what_cannot_be_mixed(scans, shapes, weights, part):
    sources = [PairDataset(scans, shape=shape) for shape in shapes]
    with pytest.raises(InputError, match=part):
        MixedPairDataset(sources, weights)


def test_crops_of_a_pair_lie_at_the_same_place_and_move(scans, tmp_path):
    """A ramp says where each crop begins; along axes that are too small it is padded."""
    ramp = np.broadcast_to(np.arange(40.0)[:, None, None], (40, 20, 8))
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", ramp)
    subjects = [Subject(tmp_path / f"{name}.npy") for name in "ab"]
    source = PairDataset(subjects, shape=SHAPE, random_crop=True, percentiles=(0, 100))
    starts = set()
    for _, batch in arrays(source.dataset(0, 12)):
        np.testing.assert_array_equal(batch["moving"], batch["fixed"])
        inner = batch["moving"][0, :, :, 4:12, 0] * 39
        np.testing.assert_allclose(np.diff(inner, axis=0), 1, atol=1e-4)
        assert not batch["moving"][0, :, :, :4].any()
        starts.add(round(float(inner[0, 0, 0])))
    assert min(starts) >= 0
    assert max(starts) <= 40 - 16
    assert len(starts) > 5
