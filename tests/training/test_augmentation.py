"""Random augmentation of pairs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bilevelmorph.training.augmentation import Augmentation


@pytest.fixture
def batch(rng):
    moving, fixed = (tf.constant(rng.random((1, 8, 10, 1)).astype(np.float32)) for _ in range(2))
    return {"moving": moving, "fixed": fixed, "moving_labels": tf.round(moving)}


def seed(number):
    return tf.constant([3, number])


def test_nothing_is_asked_and_nothing_changes(batch):
    assert Augmentation()(batch, seed(0)) == batch


def test_a_pair_is_mirrored_as_a_whole(batch):
    """Each of the four mirror images occurs, and everything in the batch is mirrored alike."""
    augment, seen = Augmentation(flip=0.5), set()
    for number in range(40):
        out = augment(batch, seed(number))
        found = [
            (a, b)
            for a in (False, True)
            for b in (False, True)
            if all(
                np.array_equal(out[k], np.flip(x, [i for i, on in ((1, a), (2, b)) if on]))
                for k, x in batch.items()
            )
        ]
        assert len(found) == 1
        seen |= set(found)
    assert len(seen) == 4


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_a_contrast_depends_on_grey_alone_and_is_not_compared(batch, probability):
    augment, changed = Augmentation(contrast=probability, flip=0.5), []
    levels = tf.round(batch["moving"] * 3) / 3
    given = {"moving": levels, "fixed": batch["fixed"]}
    for number in range(30):
        out = augment(given, seed(number))
        plain = Augmentation(flip=0.5)(given, seed(number))
        for side in ("moving", "fixed"):
            np.testing.assert_array_equal(out.get(f"{side}_target", out[side]), plain[side])
            changed.append(not np.array_equal(out[side], plain[side]))
        for grey in np.unique(levels):
            assert len(np.unique(out["moving"].numpy()[plain["moving"].numpy() == grey])) == 1
    assert {0.0: sum(changed) == 0, 0.5: 15 < sum(changed) < 45, 1.0: all(changed)}[probability]


def test_targets_are_warped_like_the_images(batch):
    augment = Augmentation(affine=0.1, shift=2.0)
    given = {**batch, "moving_target": batch["moving"], "fixed_target": batch["fixed"]}
    out = augment(given, seed(1))
    for side in ("moving", "fixed"):
        assert not np.array_equal(out[side], batch[side])
        np.testing.assert_array_equal(out[f"{side}_target"], out[side])
