"""`SpatialTransformer` and `VecInt` do what VoxelMorph's own layers do, gradients included."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bilevelmorph import layers
from bilevelmorph.compat.voxelmorph.import_hook import require
from bilevelmorph.devices import using_xla

SIZES = {1: (9,), 2: (7, 6), 3: (5, 6, 4)}
SQUARE = {2: (6, 6), 3: (5, 5, 4)}  # the parent fails on affine with "xy" where the first two sizes differ

# VoxelMorph's layer warns so about every displacement with its own vectors for each channel.
pytestmark = pytest.mark.filterwarnings("ignore:Dense transform shape .* does not match:UserWarning")


def parent(name):
    """VoxelMorph's own layer class."""
    return getattr(require().layers, name)


def values_and_slopes(layer, weight, *inputs):
    """The output of a layer, and the gradient of its weighted sum to every input."""
    inputs = [tf.constant(x) for x in inputs]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        out = layer(inputs if len(inputs) > 1 else inputs[0])
        total = tf.reduce_sum(out * weight)
    slopes = tape.gradient(total, inputs, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return out.numpy(), [tf.convert_to_tensor(s).numpy() for s in slopes]


def assert_parity(rng, name, options, *inputs, mode="off"):
    """The same values to 1e-5 and the same gradients to 1e-4.

    In plain TensorFlow, which spares a compilation a case; the tests of
    compiled layers ask for XLA.
    """
    weight = rng.normal(size=inputs[0].shape).astype(np.float32)
    expected, expected_slopes = values_and_slopes(parent(name)(**options), weight, *inputs)
    with using_xla(mode):
        out, slopes = values_and_slopes(getattr(layers, name)(**options), weight, *inputs)
    np.testing.assert_allclose(out, expected, atol=1e-5)
    for slope, wanted in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_allclose(slope, wanted, atol=1e-4)
    return expected, expected_slopes


def image_and_field(rng, shape, channels=2):
    """An image and a displacement that leaves it in many places."""
    image = rng.normal(size=(2, *shape, channels)).astype(np.float32)
    return image, rng.normal(size=(2, *shape, len(shape)), scale=2).astype(np.float32)


def random_affine(rng, ndims):
    """Matrices near the identity, with shifts."""
    matrix = np.eye(ndims, ndims + 1) + rng.normal(size=(2, ndims, ndims + 1), scale=0.2)
    return matrix.astype(np.float32)


@pytest.mark.parametrize("fill_value", [None, -2.0])
@pytest.mark.parametrize("method", ["linear", "nearest"])
@pytest.mark.parametrize("ndims", [1, 2, 3])
def test_dense(rng, ndims, method, fill_value):
    options = {"interp_method": method, "fill_value": fill_value}
    image, field = image_and_field(rng, SIZES[ndims])
    out, slopes = assert_parity(rng, "SpatialTransformer", options, image, field)
    assert (fill_value is None) == (not np.any(out == -2.0))
    assert np.abs(slopes[0]).max() > 0.1
    assert (method == "linear") == (np.abs(slopes[1]).max() > 0.1)


@pytest.mark.parametrize("method", ["linear", "nearest"])
@pytest.mark.parametrize("ndims", [2, 3])
def test_dense_xy(rng, ndims, method):
    options = {"interp_method": method, "indexing": "xy"}
    assert_parity(rng, "SpatialTransformer", options, *image_and_field(rng, SIZES[ndims]))


@pytest.mark.parametrize("shift_center", [True, False])
@pytest.mark.parametrize("indexing", ["ij", "xy"])
@pytest.mark.parametrize("ndims", [2, 3])
def test_affine(rng, ndims, indexing, shift_center):
    options = {"indexing": indexing, "shift_center": shift_center}
    image, _ = image_and_field(rng, SQUARE[ndims])
    assert_parity(rng, "SpatialTransformer", options, image, random_affine(rng, ndims))


@pytest.mark.parametrize(("method", "fill_value"), [("nearest", None), ("linear", 1.5)])
def test_affine_other_modes(rng, method, fill_value):
    options = {"interp_method": method, "fill_value": fill_value}
    image, _ = image_and_field(rng, SIZES[2])
    assert_parity(rng, "SpatialTransformer", options, image, random_affine(rng, 2))


@pytest.mark.parametrize("kind", ["dense", "affine", "channelwise"])
def test_single_transform(rng, kind):
    image, field = image_and_field(rng, SIZES[2])
    if kind == "affine":
        field = random_affine(rng, 2)
    if kind == "channelwise":
        field = rng.normal(size=(2, *SIZES[2], 2, 2), scale=2).astype(np.float32)
    _, slopes = assert_parity(rng, "SpatialTransformer", {"single_transform": True}, image, field)
    assert np.abs(slopes[1][0]).max() > 0.1
    np.testing.assert_array_equal(slopes[1][1], 0)


@pytest.mark.parametrize(
    ("ndims", "options"),
    [
        (1, {}),
        (2, {"fill_value": -2.0}),
        (2, {"indexing": "xy"}),
        (2, {"interp_method": "nearest"}),
        (3, {}),
    ],
)
def test_displacement_for_each_channel(rng, ndims, options):
    image, _ = image_and_field(rng, SIZES[ndims])
    field = rng.normal(size=(*image.shape, ndims), scale=2).astype(np.float32)
    assert_parity(rng, "SpatialTransformer", options, image, field)


def test_integer_image_of_labels(rng):
    labels = rng.integers(0, 9, (2, *SIZES[2], 1)).astype(np.int32)
    field = tf.constant(image_and_field(rng, SIZES[2])[1])
    inputs = [tf.constant(labels), field]
    # Under the default policy a Keras layer casts only floating inputs.
    expected = parent("SpatialTransformer")("nearest")(inputs)
    out = layers.SpatialTransformer("nearest")(inputs)
    assert out.dtype == expected.dtype == tf.int32
    np.testing.assert_array_equal(out, expected)


def random_velocity(rng, ndims):
    """A velocity whose paths cross several voxels."""
    return rng.normal(size=(2, *SIZES[ndims], ndims)).astype(np.float32)


@pytest.mark.parametrize(
    ("ndims", "steps"), [(1, 0), (1, 1), (1, 5), (1, 7), (2, 0), (2, 1), (2, 5), (2, 7), (3, 0), (3, 5)]
)
def test_scaling_and_squaring(rng, ndims, steps):
    _, slopes = assert_parity(rng, "VecInt", {"int_steps": steps}, random_velocity(rng, ndims))
    assert np.abs(slopes[0]).max() > 0.1


@pytest.mark.parametrize(
    ("ndims", "options"),
    [
        (2, {"indexing": "xy", "int_steps": 2}),
        (3, {"indexing": "xy", "int_steps": 1}),
        (2, {"method": "scaling_and_squaring", "int_steps": 2}),
    ],
)
def test_other_modes_of_integration(rng, ndims, options):
    assert_parity(rng, "VecInt", options, random_velocity(rng, ndims))


@pytest.mark.parametrize(("ndims", "steps"), [(1, 5), (2, 1), (2, 5), (3, 3)])
def test_quadrature(rng, ndims, steps):
    options = {"method": "quadrature", "int_steps": steps}
    assert_parity(rng, "VecInt", options, random_velocity(rng, ndims))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("dense", {"fill_value": -2.0}),
        ("dense", {"interp_method": "nearest"}),
        ("affine", {"indexing": "xy"}),
        ("channelwise", {"single_transform": True}),
    ],
)
def test_compiled_transformer(rng, kind, options):
    image, field = image_and_field(rng, SQUARE[2])
    if kind == "affine":
        field = random_affine(rng, 2)
    if kind == "channelwise":
        field = rng.normal(size=(*image.shape, 2), scale=2).astype(np.float32)
    assert_parity(rng, "SpatialTransformer", options, image, field, mode="islands")


@pytest.mark.parametrize("ndims", [1, 2, 3])
def test_compiled_integration(rng, ndims):
    assert_parity(rng, "VecInt", {"int_steps": 2}, random_velocity(rng, ndims), mode="islands")


@pytest.mark.parametrize("ndims", [2, 3])
def test_compose(rng, ndims):
    fields = [tf.constant(random_velocity(rng, ndims)) for _ in range(2)]
    expected = parent("ComposeTransform")()(fields)
    np.testing.assert_allclose(layers.ComposeTransform()(fields), expected, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 0.5])
@pytest.mark.parametrize("ndims", [2, 3])
def test_rescale(rng, ndims, factor):
    field = tf.constant(random_velocity(rng, ndims))
    # The parent rescales one batch entry after another only in its function.
    function = require().tf.utils.rescale_dense_transform
    expected = np.stack([function(f, factor) for f in field])
    np.testing.assert_allclose(layers.RescaleTransform(factor)(field), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["SpatialTransformer", "VecInt"])
def test_configuration_of_the_parent(name):
    """Made with the parent's configuration, the layer has the same one."""
    config = parent(name)(indexing="xy", name="same").get_config()
    config = {k: v for k, v in config.items() if k != "dtype"}
    own = getattr(layers, name).from_config(config).get_config()
    assert {k: own[k] for k in config} == config


@pytest.mark.parametrize("name", ["SpatialTransformer", "VecInt"])
def test_is_a_kind_of_the_parent(name):
    assert issubclass(getattr(layers, name), parent(name))
