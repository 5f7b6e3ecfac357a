"""The steps of a registration end with its result."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bilevelmorph.config import DescentConfig
from bilevelmorph.data.volume import Volume
from bilevelmorph.networks import PropagationNetwork
from bilevelmorph.registration import Registrar
from bilevelmorph.registration.steps import steps_of


@pytest.fixture
def images():
    scan = gaussian_filter(np.random.default_rng(0).random((26, 24)), 2).astype(np.float32)
    return tuple(Volume(x, np.eye(4)) for x in (np.roll(scan, 1, 0), scan))


@pytest.fixture
def network():
    network = PropagationNetwork(2, (4, 2), ((), (4,), (4,)), (4,), (4,), int_steps=2)
    network.build()
    return network


@pytest.mark.usefixtures("plain_graphs")
def test_it_ends_with_what_the_registrar_finds(images, network):
    settings = DescentConfig(levels=(2, 1), iterations=(3, 2))
    registrar = Registrar(network, quality="best", settings=settings)
    pair, steps = steps_of(registrar, *images)
    assert [s.name for s in steps] == [
        "start",
        "network at 1/4",
        "network at 1/2",
        "descent at 1/2",
        "descent at 1/1",
    ]
    assert not steps[0].displacement.any()
    assert all(s.displacement.shape == (*pair.fixed.shape, 2) for s in steps)
    np.testing.assert_allclose(steps[2].displacement, registrar.prepare(*images)[1], atol=1e-5)
    np.testing.assert_allclose(steps[-1].displacement, registrar(*images).displacement, atol=1e-4)


@pytest.mark.usefixtures("plain_graphs")
def test_one_pass_ends_with_the_network(images, network):
    steps = steps_of(Registrar(network, quality="fast"), *images)[1]
    assert steps[-1].name == "network at 1/2"
