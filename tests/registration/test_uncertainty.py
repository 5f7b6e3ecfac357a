"""Maps of uncertainty: their numbers, their grid, and what has none."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from bilevelmorph.cli.main import main
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError
from bilevelmorph.io.volumes import save_volume
from bilevelmorph.networks import PropagationNetwork, VxmDense
from bilevelmorph.registration import Registrar
from bilevelmorph.registration.uncertainty import Uncertainty


def image(seed, shape=(24, 20)):
    return gaussian_filter(np.random.default_rng(seed).random(shape), 2).astype(np.float32)


def probabilistic(ndims=2, log_variance=0.0):
    """A network whose head moves things, so that the noise of its features does too."""
    network = PropagationNetwork(ndims, (4, 2), ((), (4,), (4,)), (4,), (), probabilistic=True)
    network.build()
    rng = np.random.default_rng(1)
    for stage in network.stages:
        head = stage.matching[0].head
        head.kernel.assign(rng.normal(size=head.kernel.shape, scale=0.3))
    for head in network.encoder.spreads.values():
        head.bias.assign(tf.fill(head.bias.shape, log_variance))
    return network


def test_it_is_the_standard_deviation_of_the_draws():
    network = probabilistic()
    moving, fixed = (tf.constant(image(seed)[None, ..., None]) for seed in (0, 1))
    draws = []
    for k in range(4):
        generator = network.seed_generators[0]
        generator.state.assign(tf.constant([7, k], generator.state.dtype))
        draws.append(network.deform(moving, fixed, training=True).displacement.numpy()[0])
    found = Uncertainty(network, 4, seed=7)(moving, fixed)
    np.testing.assert_allclose(found, np.std(draws, 0, ddof=1), atol=1e-4)
    assert found.min() > 0
    np.testing.assert_array_equal(found, Uncertainty(network, 4, seed=7)(moving, fixed))


def test_it_grows_with_the_variance_of_the_features():
    moving, fixed = (tf.constant(image(seed)[None, ..., None]) for seed in (0, 1))
    means = [Uncertainty(probabilistic(log_variance=v), 6)(moving, fixed).mean() for v in (-12.0, -6.0, 0.0)]
    assert means[0] < means[1] < means[2]


def test_in_millimetres_on_the_fixed_grid():
    """Twice the spacing of both scans: the same draws, twice the length."""
    network = probabilistic()
    maps = []
    for spacing in (1.0, 2.0):
        affine = np.diag([spacing, spacing, 1.0, 1.0])
        pair = [Volume(image(seed), affine) for seed in (0, 1)]
        maps.append(Registrar(network, quality="fast", mc_samples=3)(*pair).uncertainty)
    np.testing.assert_allclose(maps[1].data, 2 * maps[0].data, rtol=1e-5)
    np.testing.assert_array_equal(maps[1].affine, np.diag([2.0, 2.0, 1.0, 1.0]))
    assert maps[0].shape == (24, 20)


def test_velocities_that_are_drawn_count_too():
    network = VxmDense(2, [[4], [4]], int_steps=2, use_probs=True)
    network.build()
    moving, fixed = (tf.constant(image(seed)[None, ..., None]) for seed in (0, 1))
    assert Uncertainty(network, 3)(moving, fixed).max() > 0


@pytest.mark.parametrize("samples", [-1, 1, 2.5])
def test_bad_numbers(samples):
    with pytest.raises(InputError, match="mc_samples"):
        Registrar(probabilistic(), mc_samples=samples)


def test_a_network_that_draws_nothing():
    with pytest.raises(InputError, match="draws nothing"):
        Registrar(PropagationNetwork(2, (2,), ((), (4,)), (4,)), mc_samples=4)
    with pytest.raises(InputError, match="without a model"):
        Registrar(None, deformable=False, mc_samples=4)


def test_register_writes_the_map(tmp_path, capsys):
    probabilistic(3).save(tmp_path / "model.keras")
    for seed, name in enumerate(("moving", "fixed")):
        save_volume(tmp_path / f"{name}.nii.gz", Volume(image(seed, (12, 14, 16)), np.diag([2.0, 2, 3, 1])))
    common = [
        "register",
        "--quality",
        "fast",
        "--model",
        tmp_path / "model.keras",
        "--moving",
        tmp_path / "moving.nii.gz",
    ]
    common += ["--fixed", tmp_path / "fixed.nii.gz", "--moved", tmp_path / "moved.nii.gz", "--gpu", "-1"]
    assert main([str(x) for x in [*common, "--mc-samples", 3]]) == 0
    found = nib.load(tmp_path / "moved_uncertainty.nii.gz")
    assert found.shape == (12, 14, 16)
    np.testing.assert_allclose(found.affine, np.diag([2.0, 2, 3, 1]))
    assert found.get_fdata().min() > 0
    capsys.readouterr()
    assert main([str(x) for x in [*common, "--uncertainty", tmp_path / "u.nii.gz"]]) == 2
    assert "--mc-samples" in capsys.readouterr().err
