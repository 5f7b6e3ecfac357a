"""Networks that compute in another precision."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from bilevelmorph.errors import InputError
from bilevelmorph.models import load_model
from bilevelmorph.networks import AutoRegNetwork, PropagationNetwork, VxmDense
from bilevelmorph.networks.genotype import Genotype
from bilevelmorph.networks.precision import in_precision

NETWORKS = {
    "propagation": lambda: PropagationNetwork(2, matching=[4], regularization=[4], int_steps=2),
    "autoreg": lambda: AutoRegNetwork.of(Genotype.uniform("conv3", (4, 2), 1, 4), 2, int_steps=2),
    "vxm": lambda: VxmDense(2, [[4, 4], [4, 4, 4]], int_steps=2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_same_weights_and_a_displacement_in_float32(name, rng):
    network = NETWORKS[name]()
    network.build()
    for weight in network.trainable_variables:
        weight.assign(weight + 0.05 * rng.normal(size=weight.shape))
    copy = in_precision(network, "bfloat16")
    assert keras.config.dtype_policy().name == "float32"
    pair = [tf.constant(rng.random((1, 20, 24, 1)), tf.float32) for _ in range(2)]
    fine, coarse = (n.deform(*pair).displacement for n in (network, copy))
    assert coarse.dtype == tf.float32
    apart = np.abs(fine - coarse)
    assert 0 < apart.mean() < 0.06 * np.abs(fine).mean()  # a few layers of eight bits each
    for mine, theirs in zip(copy.weights, network.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == "float32" or not np.issubdtype(mine.dtype, np.floating)


def test_a_trained_model_moves_the_same_way():
    """Of a bundled model, the displacement changes by hundredths of a voxel."""
    model = load_model("hippocampus")
    x = np.linspace(-1, 1, 32, dtype=np.float32)
    ball = np.exp(-4 * (x[:, None, None] ** 2 + x[:, None] ** 2 + x**2))
    pair = [tf.constant(v[None, ..., None]) for v in (np.roll(ball, 2, 0), ball)]
    fine, coarse = (m.deform(*pair).displacement for m in (model, in_precision(model, "bfloat16")))
    assert np.abs(fine).max() > 1
    assert np.abs(fine - coarse).mean() < 0.03 * np.abs(fine).max()


def test_no_other_precision():
    with pytest.raises(InputError, match="precision: got 'float16'"):
        in_precision(NETWORKS["vxm"](), "float16")
