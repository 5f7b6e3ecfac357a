"""Networks on prepared pairs."""

from __future__ import annotations

import numpy as np
import pytest

from bilevelmorph.networks import AutoRegNetwork, IdentityNetwork, PropagationNetwork, VxmDense
from bilevelmorph.networks.genotype import Genotype
from bilevelmorph.registration import predictor
from bilevelmorph.registration.predictor import Predictor

NETWORKS = {
    "propagation": lambda: PropagationNetwork(2, matching=[4], regularization=[4], int_steps=2),
    "autoreg": lambda: AutoRegNetwork.of(Genotype.uniform("conv3", (4, 2), 1, 4), 2, int_steps=2),
    "vxm": lambda: VxmDense(2, [[4, 4], [4, 4, 4]], int_steps=2),
    "identity": lambda: IdentityNetwork(2),
}


def counted(network):
    """The network, and a list that grows with each call of its Python code."""
    calls, deform = [], network.deform
    network.deform = lambda *a, **k: calls.append(1) or deform(*a, **k)
    return network, calls


def build(name):
    network = NETWORKS[name]()
    network.build()
    rng = np.random.default_rng(0)
    for weight in network.trainable_variables:  # heads begin at zero, which would hide differences
        weight.assign(weight + 0.05 * rng.normal(size=weight.shape))
    return network


@pytest.mark.parametrize("name", NETWORKS)
def test_compiled_as_not_compiled_for_any_size(name, rng):
    network, calls = counted(build(name))
    plain, compiled = Predictor(network), Predictor(network, "at once")
    for shape in ((20, 17), (16, 24), (13, 13)):
        pair = rng.random((2, *shape))
        ours, expected = compiled(*pair, inverse=True), plain(*pair, inverse=True)
        np.testing.assert_allclose(ours.displacement, expected.displacement, atol=1e-4)
        np.testing.assert_allclose(ours.inverse, expected.inverse, atol=1e-4)
        assert ours.displacement.shape == (*shape, 2)
    assert len(calls) == 3 + (1 if network.any_size else 3)


def test_compiled_when_large_or_when_a_size_recurs(monkeypatch, rng):
    network, calls = counted(build("propagation"))
    predict = Predictor(network, True)

    def told(shape):
        before = len(calls)
        predict(*rng.random((2, *shape)))
        return len(calls) - before

    assert [told((16, 16)), told((16, 20)), told((16, 16)), told((16, 20)), told((20, 16))] == [1, 1, 1, 0, 1]
    monkeypatch.setattr(predictor, "LARGE", 16 * 24)
    assert [told((16, 24)), told((24, 20)), told((12, 12))] == [0, 0, 1]
