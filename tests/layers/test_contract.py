"""What every layer promises to Keras."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from bilevelmorph import layers
from bilevelmorph.config import DescentConfig
from bilevelmorph.devices import using_xla


class Case(NamedTuple):
    """A layer's options, and the shapes of its inputs for spatial sizes, without the batch."""

    name: str
    options: dict[str, Any]
    shapes: Callable[[tuple[int | None, ...]], list[tuple[int | None, ...]]]

    def make(self) -> keras.layers.Layer:
        return getattr(layers, self.name)(**self.options)

    def inputs(self, size=(8, 12), batch=2) -> Any:
        """Random inputs, the same at every call; one tensor where the layer takes one."""
        rng = np.random.default_rng(1)
        arrays = [rng.normal(size=(batch, *s)).astype(np.float32) for s in self.shapes(size)]
        return self.pack([tf.constant(a) for a in arrays])

    def symbols(self, size, dtype="float32") -> Any:
        return self.pack([keras.Input(s, dtype=dtype) for s in self.shapes(size)])

    @staticmethod
    def pack(tensors: list[Any]) -> Any:
        return tensors if len(tensors) > 1 else tensors[0]


def descent(**options) -> dict[str, Any]:
    """The table of settings of a short descent."""
    chosen = {"levels": (2, 1), "iterations": (1, 1), "window": 3, **options}
    return dataclasses.asdict(DescentConfig(**chosen))


CASES = {
    "transform-dense": Case("SpatialTransformer", {}, lambda s: [(*s, 3), (*s, 2)]),
    "transform-affine": Case(
        "SpatialTransformer",
        {"indexing": "xy", "shift_center": False},
        lambda s: [(*s, 1), (2, 3)],
    ),
    "transform-channels": Case("SpatialTransformer", {"fill_value": 0.5}, lambda s: [(*s, 2), (*s, 2, 2)]),
    "transform-single": Case(
        "SpatialTransformer",
        {"single_transform": True, "interp_method": "nearest"},
        lambda s: [(*s, 1), (*s, 2)],
    ),
    "integrate": Case("VecInt", {"int_steps": 3}, lambda s: [(*s, 2)]),
    "integrate-xy": Case("VecInt", {"int_steps": 2, "indexing": "xy"}, lambda s: [(*s, 2)]),
    "integrate-quadrature": Case("VecInt", {"int_steps": 2, "method": "quadrature"}, lambda s: [(*s, 2)]),
    "compose": Case("ComposeTransform", {}, lambda s: [(*s, 2)] * 3),
    "rescale-up": Case("RescaleTransform", {"zoom_factor": 2}, lambda s: [(*s, 2)]),
    "rescale-down": Case("RescaleTransform", {"zoom_factor": 0.5}, lambda s: [(*s, 2)]),
    "encoder": Case("FeatureEncoder", {"ndims": 2, "widths": [[4], [4, 6], [8]]}, lambda s: [(*s, 2)]),
    "encoder-probabilistic": Case(
        "ProbabilisticEncoder",
        {"ndims": 2, "widths": [[4], [4, 6], [8]], "scales": [1, 4]},
        lambda s: [(*s, 2)],
    ),
    "mixed-op": Case(
        "MixedOp",
        {
            "ndims": 2,
            "filters": 3,
            "operations": ["conv1", "conv3", "sep3", "dil3", "skip"],
            "temperature": 0.7,
        },
        lambda s: [(*s, 2)],
    ),
    "modulation": Case("FiLM", {"conditions": 2}, lambda s: [(*s, 3), (2,)]),
    "fixed-op": Case("MixedOp", {"ndims": 2, "filters": 3, "operations": ["sep5"]}, lambda s: [(*s, 2)]),
    "cell": Case(
        "Cell",
        {"ndims": 2, "filters": 3, "operations": [["conv1", "conv3"], ["skip"], ["dil3", "conv3"]]},
        lambda s: [(*s, 2)],
    ),
    "encoder-skipping": Case("FeatureEncoder", {"ndims": 2, "widths": [[], [4]]}, lambda s: [(*s, 1)]),
    "encoder-descriptor": Case(
        "FeatureEncoder",
        {"ndims": 2, "widths": [[], [4], [6]], "descriptor": "mind"},
        lambda s: [(*s, 2)],
    ),
    "matching": Case("DataMatching", {"ndims": 2, "widths": [6, 4]}, lambda s: [(*s, 3), (*s, 3), (*s, 2)]),
    "matching-radius": Case(
        "DataMatching",
        {"ndims": 2, "widths": [4], "radius": 1},
        lambda s: [(*s, 3), (*s, 3), (*s, 2)],
    ),
    "matching-analytic": Case(
        "DataMatching",
        {"ndims": 2, "widths": [4], "radius": 1, "analytic_steps": ["argmin", "gradient"]},
        lambda s: [(*s, 3), (*s, 3), (*s, 2)],
    ),
    "matching-formula": Case(
        "DataMatching",
        {"ndims": 2, "widths": [], "analytic_steps": ["gradient"]},
        lambda s: [(*s, 3), (*s, 3), (*s, 2)],
    ),
    "propagation": Case(
        "Propagation",
        {"ndims": 2, "matching": [4], "regularization": [4], "int_steps": 3, "steps": 2},
        lambda s: [(*s, 3), (*s, 3), (*s, 2)],
    ),
    "propagation-unshared": Case(
        "Propagation",
        {
            "ndims": 2,
            "matching": [4],
            "regularization": [],
            "steps": 2,
            "shared": False,
            "analytic_steps": ["gradient"],
        },
        lambda s: [(*s, 3), (*s, 3), (*s, 2)],
    ),
    "descent": Case("Descent", {"settings": descent()}, lambda s: [(*s, 1), (*s, 1), (*s, 2)]),
    "descent-masked": Case(
        "Descent", {"settings": descent()}, lambda s: [(*s, 1), (*s, 1), (*s, 2), (*s, 1)]
    ),
    "descent-symmetric": Case(
        "Descent",
        {"settings": descent(levels=(1,), iterations=(1,), symmetric=True)},
        lambda s: [(*s, 1), (*s, 1), (*s, 2)],
    ),
    "regularization": Case(
        "Regularization",
        {"ndims": 2, "widths": [4, 4], "dilations": [1, 2]},
        lambda s: [(*s, 2)],
    ),
}

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@contextmanager
def policy(name: str) -> Iterator[None]:
    """A global policy of Keras for a block of code."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@pytest.fixture(autouse=True)
def _plain_descents(request) -> Iterator[None]:
    """The many small functions of a descent take XLA longer to compile than all the rest together."""
    plain = "descent" in request.node.name
    with using_xla("off" if plain else "auto"):
        yield


def assert_same(out: Any, expected: Any, tolerance: float = 1e-6) -> None:
    """Equal structures of equal arrays."""
    tf.nest.assert_same_structure(out, expected)
    for a, b in zip(tf.nest.flatten(out), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def specs(tensors: Any) -> list[tuple[tuple[int | None, ...], str]]:
    """Shapes and types, in order."""
    return [(tuple(t.shape), keras.backend.standardize_dtype(t.dtype)) for t in tf.nest.flatten(tensors)]


def test_every_layer_has_a_case():
    assert {c.name for c in CASES.values()} == set(layers.__all__)


@every_case
def test_configuration_round_trip(case):
    layer = case.make()
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    for name, value in case.options.items():
        assert copy.get_config()[name] == value
    inputs = case.inputs()
    layer(inputs), copy(inputs)
    copy.set_weights(layer.get_weights())
    assert_same(copy(inputs), layer(inputs))


@every_case
def test_saved_model_with_free_sizes(case, tmp_path):
    symbols = case.symbols((None, None))
    model = keras.Model(symbols, case.make()(symbols))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for inputs in (case.inputs(), case.inputs((4, 8), 3)):
        assert_same(loaded(inputs), model(inputs))


@every_case
def test_symbolic_shape_and_type_are_the_real_ones(case):
    symbols, inputs = case.symbols((8, 12)), case.inputs()
    layer = case.make()
    promised, out = specs(layer(symbols)), specs(layer(inputs))
    assert [((2, *shape[1:]), dtype) for shape, dtype in promised] == out


@every_case
def test_symbolic_shape_is_free_where_the_input_is(case):
    promised = specs(case.make()(case.symbols((None, None))))
    real = specs(case.make()(case.inputs()))
    assert [(len(s), s[:3], s[-1]) for s, _ in promised] == [
        (len(s), (None, None, None), s[-1]) for s, _ in real
    ]


@every_case
def test_inside_a_graph(case):
    layer, inputs = case.make(), case.inputs()
    expected = layer(inputs)
    assert_same(tf.function(layer)(inputs), expected, 1e-5)


@every_case
def test_mixed_precision(case):
    """Finite, of the promised type, and near the values of single precision."""
    single, inputs = case.make(), case.inputs()
    expected = single(inputs)
    with policy("mixed_float16"):
        layer = case.make()
        out = layer(inputs)
        layer.set_weights(single.get_weights())
        out = layer(inputs)
        promised = specs(case.make()(case.symbols((8, 12))))
    assert [dtype for _, dtype in specs(out)] == [dtype for _, dtype in promised]
    assert_same(tf.nest.map_structure(lambda t: tf.cast(t, tf.float32), out), expected, 0.05)


@every_case
def test_double_precision(case):
    """Everything is computed in 64 bits, so that it is the same on every processor to 1e-10."""
    single, inputs = case.make(), case.inputs()
    expected = single(inputs)
    with policy("float64"):
        layer, inputs = case.make(), tf.nest.map_structure(lambda t: tf.cast(t, tf.float64), inputs)
        layer(inputs)
        layer.set_weights(single.get_weights())
        out = layer(inputs)
        promised = specs(case.make()(case.symbols((8, 12), "float64")))
    assert [dtype for _, dtype in specs(out)] == [dtype for _, dtype in promised]
    assert_same(tf.nest.map_structure(lambda t: tf.cast(t, tf.float32), out), expected, 1e-4)
    assert {dtype for _, dtype in specs(out)} <= {"float64"}


@every_case
def test_policy_of_its_own(case):
    """A layer with a policy of its own keeps it, whatever the global one is."""
    inputs = case.inputs()
    with policy("mixed_float16"):
        expected = specs(case.make()(inputs))
    layer = getattr(layers, case.name)(**case.options, dtype="mixed_float16")
    assert specs(layer(inputs)) == expected
    assert specs(type(layer).from_config(layer.get_config())(inputs)) == expected


@every_case
def test_gradients_are_finite(case):
    layer, inputs = case.make(), case.inputs()
    layer(inputs)
    variables = [v.value for v in layer.trainable_variables]
    sources = [*variables, *tf.nest.flatten(inputs)]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        value = tf.add_n([tf.reduce_sum(tf.square(t)) for t in tf.nest.flatten(layer(inputs))])
    slopes = tape.gradient(value, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    assert all(np.isfinite(slope).all() for slope in slopes)
    assert all(np.abs(slope).max() > 0 for slope in slopes[: len(variables) + 1])
