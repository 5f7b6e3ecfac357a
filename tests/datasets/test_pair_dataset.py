"""Training pairs: decided by a seed and a step's number, prepared, batched."""

from __future__ import annotations

import numpy as np
import pytest

from bilevelmorph.data.preprocessing import crop_or_pad, normalise, to_canonical
from bilevelmorph.data.volume import Volume
from bilevelmorph.datasets.pair_dataset import PairDataset
from bilevelmorph.datasets.pairs import Pair, Subject
from bilevelmorph.errors import InputError
from bilevelmorph.io.volumes import save_volume

SIZES = [(9, 12, 14), (10, 20, 11), (8, 8, 16), (11, 13, 12)]


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    """Four scans of different size, spacing and orientation, with labels."""
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    out = []
    for i, shape in enumerate(SIZES):
        affine = np.diag([(-1.0) ** i, 1.0, 1.0 + i, 1.0])
        image, labels = folder / f"{i}.nii.gz", folder / f"{i}_seg.nii.gz"
        save_volume(image, Volume(rng.gamma(2, 300 * (i + 1), shape).astype(np.float32), affine))
        save_volume(labels, Volume(rng.integers(0, 3, shape).astype(np.uint8), affine, "labels"))
        out.append(Subject(image, labels))
    return out


def names(source, steps):
    return [(p.moving.name, p.fixed.name) for p in map(source.draw, steps)]


def arrays(dataset):
    return [[step.numpy(), *(x.numpy() for x in batch.values())] for step, batch in dataset]


def test_same_seed_same_pairs(subjects):
    first, second = PairDataset(subjects, seed=3), PairDataset(subjects, seed=3)
    drawn = names(first, range(40))
    assert names(second, reversed(range(40))) == drawn[::-1]
    assert names(PairDataset(subjects, seed=4), range(40)) != drawn
    assert all(m != f for m, f in drawn)
    assert len(set(drawn)) > 6


def test_items_of_a_batch_differ(subjects):
    source = PairDataset(subjects, seed=3)
    assert len({source.draw(0, item) for item in range(12)}) > 3


@pytest.mark.parametrize("batch_size", [1, 2])
def test_any_start_gives_the_same_batches(subjects, batch_size):
    whole = arrays(PairDataset(subjects, seed=1).dataset(0, 4, batch_size))
    again = PairDataset(subjects, seed=1)
    parts = arrays(again.dataset(2, 4, batch_size))
    parts = arrays(again.dataset(0, 2, batch_size)) + parts
    assert [int(b[0]) for b in whole] == [0, 1, 2, 3]
    for one, other in zip(whole, parts, strict=True):
        for x, y in zip(one, other, strict=True):
            np.testing.assert_array_equal(x, y)
    assert whole[0][1].shape == (batch_size, 16, 32, 16, 1)
    assert whole[0][1].dtype == np.float32


def test_batches_hold_the_pairs_that_were_drawn(subjects):
    source = PairDataset(subjects, seed=5)
    for step, batch in source.dataset(0, 3, 2):
        for item in range(2):
            pair = source.draw(int(step), item)
            for side in ("moving", "fixed"):
                np.testing.assert_array_equal(batch[side][item], source.image(getattr(pair, side)))


def test_shapes_are_static(subjects):
    spec = PairDataset(subjects).dataset(0, 2, 3).element_spec
    assert spec[1]["moving"].shape.as_list() == [3, 16, 32, 16, 1]


def test_atlas_is_always_fixed(subjects):
    source = PairDataset(subjects[:3], atlas=subjects[3])
    drawn = [source.draw(step) for step in range(30)]
    assert {p.fixed for p in drawn} == {subjects[3]}
    assert {p.moving for p in drawn} == set(subjects[:3])


def test_pairs_given(subjects):
    pairs = [Pair(subjects[0], subjects[1]), Pair(subjects[2], subjects[0])]
    source = PairDataset(pairs=pairs)
    assert {source.draw(step) for step in range(30)} == set(pairs)


def test_common_shape(subjects):
    assert PairDataset(subjects).shape == (16, 32, 16)
    assert PairDataset(subjects[:1] + subjects[2:]).shape == (16, 16, 16)
    assert PairDataset(subjects, shape=(12, 20, 24)).shape == (12, 20, 24)


@pytest.mark.parametrize("number", [0, 1])
def test_needs_two_scans(subjects, number):
    with pytest.raises(InputError, match=f"training scans: got {number}, expected at least 2"):
        PairDataset(subjects[:number])


def test_images_are_prepared_as_at_inference(subjects):
    source = PairDataset(subjects)
    for subject in subjects:
        image = source.image(subject)
        assert (image.min(), image.max()) == (0, 1)
        assert image.shape == (16, 32, 16, 1)
        assert image.dtype == np.float32
    assert source.image(subjects[0]) is source.image(subjects[0])


def test_image_and_labels_are_oriented_and_centred(tmp_path):
    data = np.zeros((6, 7, 8), np.float32)
    data[1, 2, 3] = 5
    volume = Volume(data, np.diag([-1.0, 1, -2, 1]))
    save_volume(tmp_path / "a.nii", volume)
    save_volume(tmp_path / "seg.nii", Volume(data.astype(np.int16), volume.affine, "labels"))
    subject = Subject(tmp_path / "a.nii", tmp_path / "seg.nii")
    source = PairDataset([subject, subject], percentiles=(0, 100))
    expected = crop_or_pad(to_canonical(volume), (16, 16, 16)).data
    np.testing.assert_array_equal(source.image(subject)[..., 0], normalise(expected, (0, 100)))
    np.testing.assert_array_equal(source.labels(subject)[..., 0], expected)
    assert np.issubdtype(source.labels(subject).dtype, np.integer)


def test_labels_have_to_be_there(subjects):
    source = PairDataset(subjects)
    assert set(np.unique(source.labels(subjects[1]))) == {0, 1, 2}
    with pytest.raises(InputError, match=r"1\.nii\.gz: got no label map"):
        source.labels(Subject(subjects[1].image))


def test_several_channels(tmp_path, rng):
    made = []
    for i in range(2):
        np.save(tmp_path / f"{i}.npy", rng.normal(size=(10, 12, 3)) * [1, 50, 1000])
        made.append(Subject(tmp_path / f"{i}.npy"))
    source = PairDataset(made, multichannel=True)
    assert source.shape == (16, 16)
    assert source.channels == 3
    image = source.image(made[0])
    assert image.shape == (16, 16, 3)
    np.testing.assert_array_equal(image.min((0, 1)), 0)
    np.testing.assert_array_equal(image.max((0, 1)), 1)


def test_scans_of_two_kinds_are_refused(tmp_path, subjects, rng):
    np.save(tmp_path / "flat.npy", rng.random((9, 9)))
    flat = Subject(tmp_path / "flat.npy")
    with pytest.raises(InputError, match="both 2-D and 3-D"):
        PairDataset([*subjects, flat])
    with pytest.raises(InputError, match=r"flat\.npy: got 2-D data, expected 3-D"):
        PairDataset([flat, *subjects], shape=(16, 16, 16))


def test_a_scan_that_cannot_be_read_is_named(tmp_path, subjects):
    (tmp_path / "bad.nii.gz").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.nii\.gz"):
        PairDataset([*subjects, Subject(tmp_path / "bad.nii.gz")])
