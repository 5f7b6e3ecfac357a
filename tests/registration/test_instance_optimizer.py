"""Refinement of single pairs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError
from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks import Deformation, PropagationNetwork
from bilevelmorph.ops import warp
from bilevelmorph.registration.instance_optimizer import InstanceOptimizer
from bilevelmorph.registration.registrar import Registrar

WEIGHTS = {"similarity": 1.0, "similarity_2": 0.5, "regularity": 0.01}


def smooth(seed, shape=(24, 20)):
    noise = gaussian_filter(np.random.default_rng(seed).random(shape), 2)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


@pytest.fixture
def pair():
    """An image and itself, a voxel and a half away."""
    fixed = tf.constant(smooth(0)[None, ..., None])
    return warp(fixed, tf.fill([1, 24, 20, 2], 1.5)), fixed


def still(scales=(4, 2)):
    velocities = [tf.zeros([1, 24 // s, 20 // s, 2]) for s in scales]
    return Deformation.of_velocities(velocities, [24, 20])


def test_finds_the_shift(pair):
    energy = Energy("mse", weights=WEIGHTS)
    deformation, before, after = InstanceOptimizer(energy, 60, 0.05)(still(), *pair)
    assert float(after) < 0.2 * float(before)
    inside = deformation.displacement[0, 6:-6, 6:-6].numpy()
    np.testing.assert_allclose(inside.mean((0, 1)), [-1.5, -1.5], atol=0.2)


@pytest.mark.parametrize("rate", [0.05, 50.0])
def test_never_worse_than_it_began(pair, rate):
    """Not even with steps that overshoot wildly."""
    energy = Energy("mse", weights=WEIGHTS)
    start = still()
    deformation, before, after = InstanceOptimizer(energy, 5, rate)(start, *pair)
    assert float(after) <= float(before)
    again = energy.total(energy.terms(deformation, *pair))
    np.testing.assert_allclose(again, after, rtol=1e-4)


def test_fields_of_velocities_are_those_of_the_network(pair):
    network = PropagationNetwork(2, (4, 2), ((), (4,), (4,)), (4,), (4,), steps=(1, 2))
    network.build()
    rng = np.random.default_rng(1)
    for stage in network.stages:
        head = stage.matching[0].head
        head.kernel.assign(rng.normal(size=head.kernel.shape, scale=0.3))
    deformation = network.deform(*pair)
    again = Deformation.of_velocities(deformation.velocities, [24, 20])
    assert np.abs(deformation.displacement).max() > 0.1
    np.testing.assert_allclose(again.displacement, deformation.displacement, atol=1e-5)
    assert len(again.displacements) == len(deformation.displacements) == 2
    for a, b in zip(again.displacements, deformation.displacements, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_registrar_refines_by_the_objective_of_the_model():
    network = PropagationNetwork(2, (4, 2), ((), (4,), (4,)), (4,), (4,))
    network.build()
    moving, fixed = (Volume(smooth(0), np.eye(4)), Volume(np.roll(smooth(0), 1, 0), np.eye(4)))
    with pytest.raises(InputError, match="without an objective"):
        Registrar(network, instance_steps=3)
    # What the network alone can be asked about is left out.
    network.objective = Energy("mse", weights={**WEIGHTS, "feature_kl": 1.0, "dice": 1.0}).get_config()
    plain = Registrar(network)(moving, fixed).report
    refined = Registrar(network, instance_steps=40)(moving, fixed).report
    assert refined["similarity_after"] > plain["similarity_after"] + 0.05
    assert 0 < refined["seconds_a_step"] * 40 < refined["seconds"]
    assert "seconds_a_step" not in plain
    with pytest.raises(InputError, match="instance_steps"):
        Registrar(network, instance_steps=-1)
