"""Refinement of single pairs."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import binary_dilation, gaussian_filter

import bilevelmorph as bm
from bilevelmorph.config import DescentConfig
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError
from bilevelmorph.layers import Descent
from bilevelmorph.networks import PropagationNetwork
from bilevelmorph.ops import compose, warp
from bilevelmorph.registration.instance_optimizer import InstanceOptimizer
from bilevelmorph.registration.quality import LARGE, descent_settings, for_grid
from bilevelmorph.registration.registrar import Registrar, register

pytestmark = pytest.mark.usefixtures("plain_graphs")
SHORT = DescentConfig(levels=(2, 1), iterations=(12, 8))


@functools.cache
def optimizer_of(settings):
    """One optimizer for all tests with these settings: tracing takes longer than running."""
    return InstanceOptimizer(settings)


def smooth(seed, shape=(32, 30), sigma=2.0):
    noise = gaussian_filter(np.random.default_rng(seed).random(shape), sigma)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def displaced(shape=(32, 30), size=2.0):
    """A moving image, the fixed image that a known displacement makes of it, and the displacement."""
    moving = smooth(0, shape)
    field = 2 * size * (np.stack([smooth(k, shape, 5) for k in range(1, len(shape) + 1)], -1) - 0.5)
    fixed = warp(tf.constant(moving[None, ..., None]), tf.constant(field[None])).numpy()[0, ..., 0]
    return moving, fixed, field


def error(found, field):
    inside = tuple([slice(4, -4)] * (field.ndim - 1))
    return np.linalg.norm((found - field)[inside], axis=-1).mean()


def test_finds_a_displacement_from_coarse_to_fine():
    moving, fixed, field = displaced()
    found = optimizer_of(SHORT)(np.zeros_like(field), moving, fixed)
    assert error(found.displacement, field) < 0.3 * error(0, field)
    assert [r.level for r in found.levels] == [2, 1]
    assert all(r.after < r.before for r in found.levels)


def test_never_worse_than_it_began():
    """Not even with steps that overshoot wildly, nor where the coarse level leads astray."""
    moving, fixed, field = displaced()
    optimizer = InstanceOptimizer(DescentConfig(levels=(4, 1), iterations=(5, 5), step=30.0))
    found = optimizer(field, moving, fixed)
    last = found.levels[-1]
    assert last.after <= last.before < 0.02
    assert error(found.displacement, field) < 0.2 * error(0, field)


def test_symmetric_directions_agree():
    moving, fixed, field = displaced()
    optimizer = InstanceOptimizer(SHORT.with_(symmetric=True, step=0.5))
    there = optimizer(np.zeros_like(field), moving, fixed, inverse=True)
    back = optimizer(np.zeros_like(field), fixed, moving, inverse=True)
    np.testing.assert_allclose(there.displacement, back.inverse, atol=1e-4)
    for found in (there, back):
        rest = compose(*(tf.constant(x[None]) for x in (found.displacement, found.inverse)))
        assert np.linalg.norm(rest[0, 3:-3, 3:-3], axis=-1).mean() < 0.05
    assert error(there.displacement, field) < 0.4 * error(0, field)


def test_inverse_of_a_plain_descent():
    moving, fixed, field = displaced()
    found = optimizer_of(SHORT)(np.zeros_like(field), moving, fixed, inverse=True)
    rest = compose(*(tf.constant(x[None]) for x in (found.displacement, found.inverse)))
    assert np.linalg.norm(rest[0, 3:-3, 3:-3], axis=-1).mean() < 0.05


def test_progress_is_told_of_every_iteration():
    moving, fixed, field = displaced()
    told = []
    optimizer = optimizer_of(SHORT)
    found = optimizer(np.zeros_like(field), moving, fixed, on_iteration=lambda: told.append(1))
    assert len(told) == sum(r.iterations for r in found.levels) > 0
    optimizer(np.zeros_like(field), moving, fixed, on_iteration=lambda: told.append(2))
    assert told.count(1) == told.count(2) == len(told) / 2  # each caller hears of its own pair
    optimizer(np.zeros_like(field), moving, fixed, on_iteration=lambda: told.append(3))
    assert told.count(3) == told.count(1)
    quiet = optimizer(np.zeros_like(field), moving, fixed)
    np.testing.assert_array_equal(quiet.displacement, found.displacement)


def test_one_graph_for_all_sizes_and_levels():
    optimizer = InstanceOptimizer(SHORT)
    traced = []
    optimise = optimizer.layer.optimise
    optimizer.layer.optimise = lambda *a, **k: traced.append(1) or optimise(*a, **k)
    for shape in ((32, 30), (30, 27)):
        moving, fixed, field = displaced(shape)
        found = optimizer(np.zeros_like(field), moving, fixed)
        layer = Descent(SHORT)(
            [tf.constant(x[None]) for x in (fixed[..., None], moving[..., None], 0 * field)]
        )
        np.testing.assert_allclose(found.displacement, layer[0], atol=1e-4)
    assert len(traced) == 1


def volumes():
    moving, fixed, _ = displaced()
    return Volume(moving, np.eye(4)), Volume(fixed, np.eye(4))


def untrained(**options):
    network = PropagationNetwork(2, (4, 2), ((), (4,), (4,)), (4,), (4,), **options)
    network.build()
    return network


def test_qualities_after_a_model_and_without():
    pair = volumes()
    fast = Registrar(untrained(), quality="fast")(*pair)
    best = Registrar(untrained(), settings=SHORT)(*pair)
    alone = Registrar(None, settings=SHORT, quality="best")(*pair)
    assert not fast.levels
    assert len(best.levels) == len(alone.levels) == 2
    assert best.report["similarity_after"] > fast.report["similarity_after"] + 0.05
    assert alone.report["similarity_after"] > fast.report["similarity_after"] + 0.05
    assert json.loads(json.dumps(best.summary))["instance_optimization"][0]["level"] == 2


def test_inverse_and_mask_by_the_registrar():
    moving, fixed = volumes()
    mask = Volume(np.ones(fixed.shape, np.int16), fixed.affine, "labels")
    # Few iterations, because rounding grows two and a half times with each.
    few = Registrar(None, settings=SHORT.with_(iterations=(3, 2)), quality="best")
    np.testing.assert_allclose(
        few(moving, fixed, mask).displacement, few(moving, fixed).displacement, atol=1e-5
    )
    result = Registrar(None, settings=SHORT, quality="best")(moving, fixed, mask, inverse=True)
    rest = compose(*(tf.constant(x[None]) for x in (result.displacement, result.inverse)))
    assert np.linalg.norm(rest[0, 3:-3, 3:-3], axis=-1).mean() < 0.05


def test_a_lesion_that_is_excluded_does_not_pull():
    moving, fixed = volumes()
    lesion = np.zeros(fixed.shape, np.uint8)
    lesion[12:18, 10:16] = 1
    data = fixed.data.copy()
    data[lesion > 0] = np.random.default_rng(0).permutation(data[lesion > 0])
    options = {"settings": SHORT.with_(levels=(1,), iterations=(12,)), "similarity": "mse", "quality": "best"}
    sick, mask = fixed.with_data(data), Volume(lesion, fixed.affine, "labels")
    sound, pulled, excluded = (
        register(moving, image, None, exclude_mask=out, **options).displacement
        for image, out in ((fixed, mask), (sick, None), (sick, mask))
    )
    np.testing.assert_array_equal(sound, excluded)
    assert np.abs(sound - pulled).max() > 0.1


def test_a_lesion_of_the_moving_image_is_masked_there():
    moving, fixed = volumes()
    lesion = np.zeros(moving.shape, bool)
    lesion[12:18, 10:16] = True
    data = moving.data.copy()
    data[lesion] = np.random.default_rng(0).permutation(data[lesion])
    around = Volume((~binary_dilation(lesion, iterations=3)).astype(np.uint8), moving.affine, "labels")
    options = {"settings": SHORT.with_(levels=(1,), iterations=(12,)), "similarity": "mse", "quality": "best"}
    sick = moving.with_data(data)
    sound, pulled, masked = (
        register(image, fixed, None, moving_mask=inside, **options)
        for image, inside in ((moving, around), (sick, None), (sick, around))
    )
    np.testing.assert_allclose(masked.displacement, sound.displacement, atol=1e-6)
    assert np.abs(pulled.displacement - sound.displacement).max() > 0.1
    reports = [x.report["mean_displacement_mm"] for x in (masked, sound, pulled)]
    assert reports[0] == pytest.approx(reports[1], abs=1e-6)
    assert abs(reports[2] - reports[1]) > 1e-3


def test_model_carries_its_settings(tmp_path):
    network = untrained(descent={"levels": [1], "iterations": [3], "similarity": ["mse"]})
    network.save(tmp_path / "model.keras")
    registrar = Registrar(str(tmp_path / "model.keras"))
    assert registrar.settings.similarity == ("mse",)
    assert registrar.settings.levels == (1,)
    assert registrar.settings.step == DescentConfig().step
    result = registrar(*volumes())
    assert [r.level for r in result.levels] == [1]
    assert result.levels[0].iterations <= 3


def test_settings_from_a_file(tmp_path):
    path = tmp_path / "tuned.json"
    SHORT.save(path)
    assert descent_settings("fast", path) is None
    assert descent_settings("best", path) == SHORT
    assert descent_settings("best", path, (0, 7)).iterations == (0, 7)
    assert descent_settings("best", path, similarity="mind").similarity == ("mind",)
    path.write_text(json.dumps({"stepp": 1.0}))
    with pytest.raises(InputError, match="unknown key stepp"):
        descent_settings("best", path)


def test_balanced_spares_full_resolution_of_large_images():
    settings = DescentConfig()
    assert for_grid(settings, "balanced", (LARGE, 2)).levels == (2,)
    assert for_grid(settings, "balanced", (48, 64, 48)).levels == (2, 1)
    assert for_grid(settings, "best", (LARGE, 2)).levels == (2, 1)
    assert for_grid(DescentConfig(levels=(1,), iterations=(9,)), "balanced", (LARGE, 2)).levels == (1,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"instance_steps": -1}, "instance_steps"),
        ({"instance_steps": (1, 2, 3)}, "instance_steps: got 3 numbers, expected 1, or 2"),
        ({"instance_steps": ()}, "instance_steps"),
        ({"quality": "good"}, "quality"),
        ({"quality": "best", "similarity": "nnc"}, "similarity: got 'nnc'"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(InputError, match=message):
        bm.register(*((v.data, v.affine) for v in volumes()), None, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"levels": ()},
        {"levels": (1, 2)},
        {"levels": (2, 1), "iterations": (3,)},
        {"iterations": (3, -1)},
        {"step": 0.0},
        {"warp_sigma": -1.0},
        {"similarity": ()},
        {"similarity_weights": (1.0, 1.0)},
        {"similarity_weights": (0.0,)},
    ],
)
def test_settings_that_make_no_sense(options):
    with pytest.raises(InputError, match=next(reversed(options))):
        DescentConfig(**options)
