"""The objective of registration: which terms, which weights, which values."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from bilevelmorph.devices import using_xla
from bilevelmorph.errors import InputError
from bilevelmorph.losses import bending, diffusion, folding
from bilevelmorph.losses.energy import Energy, kl_to_prior
from bilevelmorph.networks import Deformation, PropagationNetwork
from bilevelmorph.ops import average_pool, integrate, resize_field, warp
from bilevelmorph.registry import LOSSES

SHAPE = (16, 12)


def images(rng):
    """A moving and a fixed image ``[1, *S, 1]`` that differ."""
    noise = gaussian_filter(rng.random((2, *SHAPE)), (0, 1, 1))
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    return tuple(tf.constant(x[None, ..., None].astype(np.float32)) for x in noise)


def velocity(rng, shape=SHAPE):
    field = gaussian_filter(rng.normal(size=(1, *shape, 2)), (0, 2, 2, 0))
    return tf.constant((1.5 * field / np.abs(field).max()).astype(np.float32))


def one_stage(v, **extra):
    """The deformation of one stage at full resolution."""
    displacement = integrate(v)
    return Deformation(displacement, [v], [displacement], 7, extra=extra)


def two_stages(rng):
    """Deformation with stages at factors 4 and 2."""
    coarse, fine = velocity(rng, (4, 3)), velocity(rng, (8, 6))
    stages = [integrate(coarse), integrate(fine)]
    return Deformation(resize_field(stages[1], list(SHAPE)), [coarse, fine], stages)


def test_total_is_the_weighted_sum(rng):
    moving, fixed = images(rng)
    deformation = one_stage(3 * velocity(rng))
    energy = Energy("mse", weights={"similarity": 2.0, "regularity": 0.5, "folding": 10})
    terms = energy.terms(deformation, moving, fixed)
    moved = warp(moving, deformation.displacement)
    expected = {
        "similarity": np.mean((fixed - moved) ** 2),
        "regularity": float(diffusion(deformation.velocities[0])),
        "folding": float(folding(deformation.displacement)),
    }
    assert {k: float(v) for k, v in terms.items()} == pytest.approx(expected, rel=1e-4)
    total = 2 * expected["similarity"] + 0.5 * expected["regularity"] + 10 * expected["folding"]
    assert float(energy.total(terms)) == pytest.approx(total, rel=1e-4)


def test_weights_may_be_variables(rng):
    moving, fixed = images(rng)
    weight = tf.Variable(1.0)
    energy = Energy("mse", weights={"similarity": 1.0, "regularity": weight})
    terms = energy.terms(one_stage(velocity(rng)), moving, fixed)
    before = float(energy.total(terms))
    weight.assign(3.0)
    after = float(energy.total(terms))
    assert after - before == pytest.approx(2 * float(terms["regularity"]), rel=1e-4)
    assert after > before


@pytest.mark.parametrize(
    "names",
    [
        ["similarity"],
        ["similarity", "regularity"],
        ["similarity", "similarity_2", "folding"],
        ["similarity", "similarity_4", "similarity_2", "regularity"],
        ["regularity"],
        ["similarity_2", "regularity"],
    ],
)
def test_terms_with_a_weight_are_the_terms_there_are(rng, names):
    moving, fixed = images(rng)
    energy = Energy("mse", weights=dict.fromkeys(names, 1.0))
    terms = energy.terms(two_stages(rng), moving, fixed)
    assert set(terms) == set(names)
    assert float(energy.total(terms)) == pytest.approx(sum(float(t) for t in terms.values()), rel=1e-5)


def test_similarity_at_the_scale_of_a_stage(rng):
    moving, fixed = images(rng)
    deformation = two_stages(rng)
    weights = {"similarity": 1.0, "similarity_2": 1.0, "similarity_4": 1.0}
    terms = Energy("mse", weights=weights).terms(deformation, moving, fixed)
    for scale, stage in [(4, deformation.displacements[0]), (2, deformation.displacements[1])]:
        small = [average_pool(x) if scale == 2 else average_pool(average_pool(x)) for x in (fixed, moving)]
        expected = np.mean((small[0] - warp(small[1], stage)) ** 2)
        assert float(terms[f"similarity_{scale}"]) == pytest.approx(expected, rel=1e-4)


def test_every_term_of_a_network_on_an_odd_size(rng):
    moving, fixed = (x[:, :13, :11] for x in images(rng))
    network = PropagationNetwork(2, matching=[4], regularization=[4], encoder=[[], [4], [4]])
    names = ["similarity", "similarity_2", "similarity_4", "regularity", "folding"]
    energy = Energy("mse", weights=dict.fromkeys(names, 1.0), bidir=True)
    with tf.GradientTape() as tape, using_xla("off"):
        terms = energy.terms(network.deform(moving, fixed, training=True), moving, fixed)
        total = energy.total(terms)
    assert set(terms) == set(names)
    for slope in tape.gradient(total, [v.value for v in network.trainable_variables]):
        assert np.isfinite(slope).all()


def test_bidir_is_symmetric(rng):
    moving, fixed = images(rng)
    v = velocity(rng)
    there = Energy("mse", weights={"similarity": 1.0}, bidir=True)
    forth = float(there.terms(one_stage(v), moving, fixed)["similarity"])
    back = float(there.terms(one_stage(-v), fixed, moving)["similarity"])
    assert forth == pytest.approx(back, rel=1e-5)
    single = Energy("mse", weights={"similarity": 1.0})
    one, other = (
        float(single.terms(deformation, *pair)["similarity"])
        for deformation, pair in [(one_stage(v), (moving, fixed)), (one_stage(-v), (fixed, moving))]
    )
    assert one != pytest.approx(other, rel=1e-3)
    assert forth == pytest.approx((one + other) / 2, rel=1e-5)


def test_regularity_is_asked_of_every_stage(rng):
    moving, fixed = images(rng)
    deformation = two_stages(rng)
    for name, penalty in [("diffusion", diffusion), ("bending", bending)]:
        energy = Energy("mse", regularity=name, weights={"similarity": 1.0, "regularity": 1.0})
        expected = np.mean([float(penalty(v)) for v in deformation.velocities])
        assert float(energy.terms(deformation, moving, fixed)["regularity"]) == pytest.approx(
            expected, rel=1e-5
        )


@pytest.mark.parametrize("name", LOSSES)
def test_every_similarity_by_name(rng, name):
    moving, fixed = images(rng)
    energy = Energy(name, width=5, weights={"similarity": 1.0})
    deformation = one_stage(velocity(rng))
    value = energy.terms(deformation, moving, fixed)["similarity"]
    expected = LOSSES.make(name, width=5)(fixed, warp(moving, deformation.displacement))
    assert float(value) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), "much"])
def test_wrong_weights_are_refused(weight):
    with pytest.raises(InputError, match="similarity"):
        Energy("mse", weights={"similarity": weight})


@pytest.mark.parametrize("options", [{"similarity": "ssd"}, {"regularity": "tv"}])
def test_unknown_names_are_refused(options):
    with pytest.raises(InputError, match="one of"):
        Energy(**options)


def precision_matrix(shape, precision):
    """The prior's precision: `precision` times the Laplacian of the grid."""
    index = np.arange(np.prod(shape)).reshape(shape)
    laplacian = np.zeros((index.size, index.size))
    for axis in range(len(shape)):
        low = index.take(range(shape[axis] - 1), axis).ravel()
        high = index.take(range(1, shape[axis]), axis).ravel()
        for a, b in ((low, high), (high, low)):
            laplacian[a, a] += 1
            laplacian[a, b] -= 1
    return precision * laplacian


def test_kl_is_that_of_the_gaussians(rng):
    """Up to a constant: trace and quadratic form with the precision, less the log variances, a voxel."""
    shape, precision = (16, 12), 10.0
    mean, log_variance = rng.normal(size=(2, 1, *shape, 2))
    matrix = precision_matrix(shape, precision)
    expected = 0
    for c in range(2):
        m, s = mean[..., c].ravel(), log_variance[..., c].ravel()
        expected += 0.5 * (np.diag(matrix) @ np.exp(s) + m @ matrix @ m - s.sum()) / s.size
    parameters = tf.constant(np.concatenate([mean, log_variance], -1))
    # The edges are averaged over their own number, a little less than that of the voxels.
    assert float(kl_to_prior(parameters, precision)) == pytest.approx(expected, rel=0.1)
    flat = tf.constant(np.concatenate([0 * mean, log_variance], -1))
    smooth = (
        expected - sum(0.5 * mean[..., c].ravel() @ matrix @ mean[..., c].ravel() for c in range(2)) / 192
    )
    assert float(kl_to_prior(flat, precision)) == pytest.approx(smooth, rel=1e-6)


@pytest.mark.parametrize("shape", [(6, 5), (4, 5, 3)])
def test_kl_is_least_at_the_variance_of_the_prior(rng, shape):
    precision, n = 10.0, len(shape)
    neighbours = np.diag(precision_matrix(shape, 1.0)).reshape(1, *shape, 1)
    best = np.repeat(-np.log(precision * neighbours), n, -1)
    parameters = tf.constant(np.concatenate([0 * best, best], -1))
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        least = kl_to_prior(parameters, precision)
    np.testing.assert_allclose(tape.gradient(least, parameters), np.zeros(parameters.shape), atol=1e-12)
    for _ in range(3):
        other = parameters + rng.normal(size=parameters.shape, scale=0.1)
        assert float(kl_to_prior(other, precision)) > float(least)


def test_kl_is_a_term(rng):
    moving, fixed = images(rng)
    parameters = tf.constant(rng.normal(size=(1, 8, 6, 4)).astype(np.float32))
    energy = Energy("mse", weights={"similarity": 1.0, "kl": 0.01}, kl_lambda=20)
    terms = energy.terms(one_stage(velocity(rng), flow_parameters=parameters), moving, fixed)
    assert float(terms["kl"]) == pytest.approx(float(kl_to_prior(parameters, 20)))
    assert np.isfinite(energy.total(terms))
