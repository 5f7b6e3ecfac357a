"""Inverses of displacements."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from bilevelmorph.ops import compose, integrate, invert


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
