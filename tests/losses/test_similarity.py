"""The losses between images: values, stability, masks, invariances, and life inside Keras."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import convolve, gaussian_filter

from bilevelmorph.errors import InputError
from bilevelmorph.losses import MIND, MSE, NMI, LocalNCC, SoftDice
from bilevelmorph.ops.descriptors import mind

LOSSES = {
    "mse": MSE(0.5),
    "ncc": LocalNCC(5),
    "mind": MIND(),
    "nmi": NMI(16),
    "dice": SoftDice(),
    "dice-squares": SoftDice(squares=True),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
SHAPE = (2, 12, 10, 1)


def images(rng, shape=SHAPE):
    """Two images of [0, 1] that have something in common."""
    noise = gaussian_filter(rng.random((3, *shape)), (0, 0, 1, 1, 0))
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    fixed, moved = (0.7 * noise[0] + 0.3 * noise[i] for i in (1, 2))
    return fixed.astype(np.float32), moved.astype(np.float32)


def value_and_slope(loss, fixed, moved, mask=None):
    """The loss and its gradient to the moved image."""
    fixed, moved = tf.constant(fixed), tf.constant(moved)
    with tf.GradientTape() as tape:
        tape.watch(moved)
        value = loss(fixed, moved, mask)
    return float(value), tape.gradient(value, moved).numpy()


def numpy_ncc(fixed, moved, width, eps):
    """Mean squared correlation, the zeros outside the image not counted."""
    window = np.ones((1, width, width, 1))

    def mean(x):
        return convolve(x, window, mode="constant") / convolve(np.ones_like(x), window, mode="constant")

    cross = mean(fixed * moved) - mean(fixed) * mean(moved)
    variances = [mean(x * x) - mean(x) ** 2 for x in (fixed, moved)]
    return cross**2 / (variances[0] * variances[1] + eps**2)


def numpy_nmi(fixed, moved, bins):
    """The loss of one pair from a joint histogram, each voxel shared by two bins linearly."""

    def share(x):
        place = (x.ravel() - x.min()) / (x.max() - x.min()) * (bins - 1)
        return np.maximum(1 - np.abs(place[:, None] - np.arange(bins)), 0)

    def entropy(p):
        return -np.sum(p[p > 0] * np.log(p[p > 0]))

    joint = share(fixed).T @ share(moved) / fixed.size
    return 2 - (entropy(joint.sum(0)) + entropy(joint.sum(1))) / entropy(joint)


def test_mse_of_numpy(rng):
    fixed, moved = images(rng)
    np.testing.assert_allclose(MSE(0.5)(fixed, moved), np.mean((fixed - moved) ** 2) / 0.25, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
def test_ncc_of_numpy(rng, channels):
    fixed, moved = (np.concatenate([x] * channels, -1) for x in images(rng))
    moved[..., -1] **= 2
    expected = 1 - numpy_ncc(fixed.astype(float), moved.astype(float), 5, 1e-4).mean()
    assert 0.05 < expected < 0.95
    np.testing.assert_allclose(LocalNCC(5)(fixed, moved), expected, atol=1e-4)


def test_nmi_of_numpy(rng):
    fixed, moved = (x.astype(np.float64) for x in images(rng))
    expected = np.mean([numpy_nmi(f, m, 16) for f, m in zip(fixed, moved, strict=True)])
    np.testing.assert_allclose(NMI(16)(fixed, moved), expected, rtol=1e-5)


def test_mind_of_its_descriptors(rng):
    fixed, moved = images(rng)
    expected = np.mean((mind(tf.constant(fixed), 5, 2) - mind(tf.constant(moved), 5, 2)) ** 2)
    np.testing.assert_allclose(MIND(5, 2)(fixed, moved), expected, rtol=1e-5)


def test_dice_of_numpy(rng):
    fixed, moved = (rng.integers(0, 4, (2, 12, 10)) for _ in range(2))
    moved[1][moved[1] == 3] = fixed[1][fixed[1] == 3] = 0  # a label absent from the second pair
    scores = [
        2 * np.sum((f == k) & (m == k)) / (np.sum(f == k) + np.sum(m == k))
        for f, m in zip(fixed, moved, strict=True)
        for k in range(4)
        if np.any(f == k) or np.any(m == k)
    ]
    assert len(scores) == 7
    out = SoftDice()(tf.one_hot(fixed, 4), tf.one_hot(moved, 4))
    np.testing.assert_allclose(out, 1 - np.mean(scores), rtol=1e-5)


def test_squares_below_the_line_charge_less_for_a_shift_by_half_a_voxel():
    fixed = np.zeros((1, 20, 1), np.float32)
    fixed[:, 5:15] = 1
    shifted = (fixed + np.roll(fixed, 1, 1)) / 2
    plain, squared = (float(SoftDice(squares=s)(fixed, shifted)) for s in (False, True))
    # Of ten voxels half of one is lost; by squares half of that does not count.
    assert plain == pytest.approx(1 - 19 / 20, abs=1e-5)
    assert squared == pytest.approx(1 - 19 / 19.5, abs=1e-5)


@every_loss
def test_equal_images_are_best(rng, loss):
    """The value of a perfect match is finite, has a finite gradient, and lies below any other."""
    fixed, moved = images(rng)
    if isinstance(loss, SoftDice):
        fixed, moved = np.round(fixed), np.round(moved)
    best, slope = value_and_slope(loss, fixed, fixed)
    assert np.isfinite(slope).all()
    assert best < value_and_slope(loss, fixed, moved)[0] - 1e-3
    if not isinstance(loss, NMI):  # linear bins blur the joint histogram a little
        assert best == pytest.approx(0, abs=1e-3)


@every_loss
@pytest.mark.parametrize(("left", "right"), [(0.0, 0.0), (0.3, 0.8), (0.7, None), (None, 0.2)])
def test_constant_images_are_finite(rng, loss, left, right):
    fixed, moved = images(rng)
    fixed = fixed if left is None else np.full_like(fixed, left)
    moved = moved if right is None else np.full_like(moved, right)
    value, slope = value_and_slope(loss, fixed, moved)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@every_loss
def test_half_precision_images(rng, loss):
    fixed, moved = (x.astype(np.float16) for x in images(rng))
    value, slope = value_and_slope(loss, fixed, moved)
    expected = float(loss(fixed.astype(np.float32), moved.astype(np.float32)))
    assert value == pytest.approx(expected, abs=1e-4)
    assert slope.dtype == np.float16
    assert np.isfinite(slope).all()
    large = np.linspace(0, 6e4, 240).reshape(SHAPE).astype(np.float16)
    assert np.isfinite(loss(large, large[:, ::-1]))


@every_loss
def test_gradient_of_finite_differences(rng, loss):
    fixed, moved = (x.astype(np.float64) for x in images(rng))
    way = rng.normal(size=SHAPE)
    way[(moved == moved.max((1, 2), keepdims=True)) | (moved == moved.min((1, 2), keepdims=True))] = 0
    exact = np.sum(value_and_slope(loss, fixed, moved)[1] * way)
    step = 1e-7
    numeric = (loss(fixed, moved + step * way) - loss(fixed, moved - step * way)) / (2 * step)
    np.testing.assert_allclose(exact, numeric, rtol=1e-4)


@pytest.mark.parametrize(("scale", "offset"), [(3, 0), (0.5, -2), (-1, 1), (1, 1000), (10, -300)])
def test_ncc_ignores_linear_rescaling(rng, scale, offset):
    fixed, moved = images(rng)
    loss = LocalNCC(5, eps=1e-6)
    expected = float(loss(fixed, moved))
    assert float(loss(fixed, scale * moved + offset)) == pytest.approx(expected, abs=5e-3)


def test_ncc_stays_in_its_range(rng):
    """Flat regions beside bright ones must not make correlations out of rounding."""
    fixed, moved = np.zeros((2, *SHAPE), np.float32)
    fixed[:, 6:], moved[:, 6:] = 1, 0.9
    fixed[:, 8:] += rng.random((2, 4, 10, 1))
    for offset in (0, 100):
        value, slope = value_and_slope(LocalNCC(3), fixed + offset, moved + offset)
        assert 0 <= value <= 1
        assert np.isfinite(slope).all()


def test_mind_ignores_inversion(rng):
    fixed, moved = images(rng)
    expected = float(MIND()(fixed, moved))
    assert float(MIND()(fixed, 1 - moved)) == pytest.approx(expected, abs=1e-3)
    assert float(MIND()(fixed, 1 - fixed)) < 1e-5 < expected


def test_nmi_ignores_one_to_one_remapping(rng):
    """Nearly, as bins are of equal width; exactly for as many grey values as bins."""
    fixed, moved = images(rng)
    expected = float(NMI(16)(fixed, moved))
    for remapped in (1 - moved, moved**1.5, 5 * moved - 2):
        assert float(NMI(16)(fixed, remapped)) == pytest.approx(expected, abs=0.05)
    grey = rng.integers(0, 4, SHAPE)
    assert float(NMI(4)(grey, np.array([2, 0, 3, 1])[grey])) == pytest.approx(0, abs=1e-5)
    assert float(NMI(4)(grey, rng.integers(0, 4, SHAPE))) > 0.9


@pytest.mark.parametrize("name", ["mse", "nmi", "dice"])
def test_what_lies_outside_the_mask_does_not_matter(rng, name):
    loss = LOSSES[name]
    fixed, moved = images(rng)
    mask = np.zeros(SHAPE, np.float32)
    mask[:, 3:9, 2:8] = 1
    expected, expected_slope = value_and_slope(loss, fixed, moved, mask)
    garbage = [
        np.where(mask > 0, x, rng.normal(size=SHAPE, scale=9)).astype(np.float32) for x in (fixed, moved)
    ]
    value, slope = value_and_slope(loss, *garbage, mask)
    assert value == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(slope * mask, expected_slope * mask, atol=1e-5)
    assert np.abs(expected_slope * mask).max() > 1e-4
    np.testing.assert_array_equal(slope * (1 - mask), 0)


def test_ncc_sees_no_further_than_its_window_outside_the_mask(rng):
    fixed, moved = images(rng)
    mask = np.zeros(SHAPE, np.float32)
    mask[:, :6] = 1
    expected = float(LocalNCC(5)(fixed, moved, mask))
    fixed[:, 8:], moved[:, 8:] = rng.random((2, 2, 4, 10, 1))
    assert float(LocalNCC(5)(fixed, moved, mask)) == pytest.approx(expected, abs=1e-5)


@every_loss
def test_forms_of_masks(rng, loss):
    fixed, moved = images(rng)
    whole = float(loss(fixed, moved))
    ones, mask = np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
    mask[:, 3:9, 2:8] = 1
    assert float(loss(fixed, moved, ones)) == pytest.approx(whole, rel=1e-4)
    part = float(loss(fixed, moved, mask))
    assert part != pytest.approx(whole, rel=1e-4)
    assert float(loss(fixed, moved, mask[..., 0])) == pytest.approx(part, rel=1e-6)
    value, slope = value_and_slope(loss, fixed, moved, 0 * mask)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("dtype", ["float64", "bool", "uint8"])
@every_loss
def test_masks_of_any_type(rng, loss, dtype):
    fixed, moved = images(rng)
    mask = rng.random(SHAPE) > 0.5
    expected = float(loss(fixed, moved, mask.astype(np.float32)))
    assert float(loss(fixed, moved, mask.astype(dtype))) == pytest.approx(expected, rel=1e-5)


def tiny_model(loss):
    """One convolution, compiled with a loss."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((12, 10, 1)), keras.layers.Conv2D(1, 3, padding="same")])
    model.compile(keras.optimizers.Adam(1e-2), loss=loss)
    return model


@every_loss
def test_fit_with_masks_as_sample_weights(rng, loss):
    fixed, moved = images(rng)
    mask = (rng.random(SHAPE) > 0.5).astype(np.float32)
    model = tiny_model(loss)
    expected = float(loss(fixed, model(moved), mask))
    assert model.evaluate(moved, fixed, sample_weight=mask, verbose=0) == pytest.approx(expected, rel=1e-4)
    history = model.fit(moved, fixed, sample_weight=mask, epochs=4, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert min(history) < history[0] - 1e-5


def test_fit_with_one_weight_a_sample(rng):
    """The other form of Keras' sample weights: an image of weight 0 does not count."""
    fixed, moved = images(rng)
    model = tiny_model(MSE())
    expected = float(MSE()(fixed[:1], model(moved[:1])))
    value = model.evaluate(moved, fixed, sample_weight=np.array([1.0, 0.0]), verbose=0)
    assert value == pytest.approx(expected, rel=1e-4)


@every_loss
def test_serialisation(rng, loss):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()
    fixed, moved = images(rng)
    assert float(copy(fixed, moved)) == float(loss(fixed, moved))


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (LocalNCC, {"width": 0.5}),
        (LocalNCC, {"eps": 0}),
        (MSE, {"image_sigma": 0}),
        (NMI, {"bins": 0}),
        (MIND, {"width": -3}),
    ],
)
def test_wrong_options_are_refused(make, options):
    with pytest.raises(InputError, match=next(iter(options))):
        make(**options)
