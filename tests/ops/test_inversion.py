"""Inverses of displacements."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from bilevelmorph.devices import using_xla
from bilevelmorph.ops import compose, integrate, invert
from bilevelmorph.ops.derivatives import jacobian_determinant


@pytest.mark.parametrize("shape", [(40,), (32, 28), (20, 18, 22)])
def test_undoes_a_flow(rng, shape):
    """The inverse of a flow is that of the negative velocity."""
    ndims = len(shape)
    velocity = gaussian_filter(rng.normal(size=(1, *shape, ndims)), [0, *[4] * ndims, 0])
    velocity = tf.constant(3 * velocity / np.abs(velocity).max(), tf.float32)
    forward = integrate(velocity)
    inverse = invert(forward)
    inside = (0, *[slice(5, -5)] * ndims)
    np.testing.assert_allclose(inverse[inside], integrate(-velocity)[inside], atol=0.05)
    for rest in (compose(forward, inverse), compose(inverse, forward)):
        np.testing.assert_allclose(rest[inside], 0, atol=0.05)


@pytest.mark.parametrize("shape", [(60,), (48, 44), (32, 34, 36)])
def test_undoes_strong_flows(rng, shape):
    """Where space grows to several times its width, and shrinks to a tenth, without folding."""
    ndims = len(shape)
    velocity = gaussian_filter(rng.normal(size=(1, *shape, ndims)), [0, *[4] * ndims, 0])
    forward = integrate(tf.constant(9 * velocity / np.abs(velocity).max(), tf.float32))
    assert 0 < tf.reduce_min(jacobian_determinant(forward)) < 0.35
    assert tf.reduce_max(jacobian_determinant(forward)) > 2.5
    inverse = invert(forward)
    inside = (0, *[slice(8, -8)] * ndims)
    assert np.abs(compose(forward, inverse)[inside]).max() < 0.01
    assert np.abs(compose(inverse, forward)[inside]).mean() < 0.05
    assert tf.reduce_min(jacobian_determinant(inverse)[inside]) > 0


@pytest.mark.parametrize("kind", ["step", "auto"])
def test_the_same_within_a_graph(rng, kind):
    forward = integrate(
        tf.constant(gaussian_filter(rng.normal(size=(1, 20, 18, 2)), [0, 3, 3, 0]), tf.float32)
    )
    with using_xla(kind):
        graph = tf.function(invert, jit_compile=kind == "step")
        np.testing.assert_allclose(graph(forward), invert(forward), atol=1e-4)
