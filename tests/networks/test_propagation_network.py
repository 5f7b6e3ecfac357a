"""`PropagationNetwork`: any size, the identity at the start, inverses, files, learning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from bilevelmorph.devices import using_xla
from bilevelmorph.errors import InputError
from bilevelmorph.losses.energy import Energy, kl_to_normal
from bilevelmorph.models.weights import load_weights
from bilevelmorph.networks import Deformation, PropagationNetwork
from bilevelmorph.ops import compose, integrate, warp, xla

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"encoder": ((), (4,), (6,)), "matching": (6,), "regularization": (6,)}


def images(rng, shape, batch=1):
    """Two smooth images in [0, 1], ``[B, *S, 1]``."""
    noise = gaussian_filter(rng.random((2, batch, *shape)), (0, 0, *[2] * len(shape)))
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    return [tf.constant(x[..., None].astype(np.float32)) for x in noise]


def small(ndims=2, **options):
    keras.utils.set_random_seed(0)
    return PropagationNetwork(ndims, **{**SMALL, **options})


def heads(network):
    """The last convolutions of all blocks."""
    matching = [b.head for s in network.stages for b in s.matching]
    return matching + [b.head for s in network.stages for b in s.regularization]


def randomise_heads(network, scale):
    """Give the last convolutions weights that move something."""
    rng = np.random.default_rng(3)
    network.build()
    for head in heads(network):
        shape = head.kernel.shape
        head.kernel.assign(rng.normal(size=shape, scale=scale / np.prod(shape[:-1]) ** 0.5))
    return network


@pytest.mark.parametrize("shape", [(13, 10), (16, 12), (5, 4), (7, 9, 6)])
def test_any_size(rng, shape):
    moving, fixed = images(rng, shape, batch=2)
    with using_xla("off"):
        network = randomise_heads(small(len(shape)), 1.0)
        out = network([moving, fixed])
        np.testing.assert_allclose(out["moved"], warp(moving, out["displacement"]), atol=1e-6)
    assert out["moved"].shape == (2, *shape, 1)
    assert out["displacement"].shape == (2, *shape, len(shape))
    assert np.abs(out["displacement"]).max() > 1e-3


@pytest.mark.parametrize(
    "options", [{}, {"radius": 1}, {"int_steps": 0}, {"regularization": ()}, {"descriptor": "mind"}]
)
def test_starts_near_the_identity(rng, options):
    moving, fixed = images(rng, (13, 10))
    with using_xla("off"):
        out = small(**options)({"moving": moving, "fixed": fixed})
    assert np.abs(out["displacement"]).max() < 1e-2
    np.testing.assert_allclose(out["moved"], moving, atol=1e-3)


@pytest.mark.parametrize(
    ("scales", "radius"), [((4, 2, 1), 0), ((4, 2, 1), (2, 1, 0)), ((4, 1), 1), ((1,), 0)]
)
def test_stages(rng, scales, radius):
    moving, fixed = images(rng, (13, 10))
    network = small(scales=scales, encoder=((8,), (16,), (16,)), radius=radius)
    with using_xla("off"):
        deformation = network.deform(moving, fixed)
    padded = (16, 12)
    assert deformation.displacement.shape == (1, *padded, 2)
    expected = [(1, *[n // s for n in padded], 2) for s in scales]
    assert [tuple(v.shape) for v in deformation.velocities] == expected
    assert [tuple(d.shape) for d in deformation.displacements] == expected


def test_images_of_a_batch_do_not_mix(rng):
    moving, fixed = images(rng, (13, 10), batch=2)
    with using_xla("off"):
        network = randomise_heads(small(), 1.0)
        both = network([moving, fixed])["displacement"]
        one = network([moving[1:], fixed[1:]])["displacement"]
    np.testing.assert_allclose(both[1:], one, atol=1e-5)


def test_plain_tensorflow_gives_what_xla_gives(rng):
    moving, fixed = images(rng, (13, 10))
    network = randomise_heads(small(), 1.0)
    compiled = network([moving, fixed])["displacement"]
    with using_xla("off"):
        plain = network([moving, fixed])["displacement"]
    np.testing.assert_allclose(compiled, plain, atol=1e-5)


def test_parameters_of_the_default():
    network = PropagationNetwork()
    network.build()
    assert network.count_params() == 571804


@pytest.mark.parametrize("scales", [(4, 2), (4, 2, 1)])
def test_inverse_undoes_the_displacement(rng, scales):
    moving, fixed = images(rng, (40, 36))
    network = randomise_heads(small(scales=scales, encoder=((4,), (4,), (6,))), 1.0)
    with using_xla("off"):
        deformation = network.deform(moving, fixed)
        # Towards 1.5 voxels; the displacement does not grow in proportion to the weights.
        for _ in range(4):
            for head in heads(network):
                head.kernel.assign(head.kernel * float(1.5 / np.abs(deformation.displacement).max()))
            deformation = network.deform(moving, fixed)
        forward, backward = deformation.displacement, deformation.inverse()
        left = [compose(forward, backward).numpy(), compose(backward, forward).numpy()]
    inside = (0, slice(6, -6), slice(6, -6))
    moved = np.abs(forward.numpy()[inside])
    assert moved.max() > 1
    for error in (np.abs(x[inside]) for x in left):
        assert error.mean() < 0.15 * moved.mean()
        assert error.max() < 0.3 * moved.max()


def test_iterations_continue_one_another(rng):
    """Two shared iterations are the stage applied to its own result; unshared ones differ."""
    moving, fixed = images(rng, (16, 12))
    once = randomise_heads(small(scales=(2,), encoder=((), (4,))), 1.0)
    twice = small(scales=(2,), encoder=((), (4,)), steps=2)
    twice.build()
    twice.set_weights(once.get_weights())
    with using_xla("off"):
        source, target = tf.split(once.encoder(tf.concat([moving, fixed], 0))[1], 2, 0)
        first, _ = once.stages[0]([target, source, tf.zeros([1, 8, 6, 2])])
        second, velocity = once.stages[0]([target, source, first])
        deformation = twice.deform(moving, fixed)
    np.testing.assert_allclose(deformation.displacements[-1], second, atol=1e-6)
    np.testing.assert_allclose(deformation.velocities[1], velocity, atol=1e-6)
    assert len(deformation.velocities) == 2
    assert len(deformation.displacements) == 1
    own = small(scales=(2,), encoder=((), (4,)), steps=2, shared=False)
    own.build()
    assert len(own.weights) == len(once.weights) + len(once.stages[0].weights)


def test_inverse_takes_the_stages_back_in_reverse():
    """A turn and then a shift do not commute; interpolation is exact for both."""
    place = np.moveaxis(np.indices((33, 33)), 0, -1) - 16.0
    turn = tf.constant((place @ [[0, 0.4], [-0.4, 0]])[None].astype(np.float32))
    shift = tf.fill([1, 33, 33, 2], 3.0)
    steps = [integrate(turn), integrate(shift)]
    deformation = Deformation(compose(*steps), [turn, shift], [steps[0], compose(*steps)])
    inside = (0, slice(10, -10), slice(10, -10))
    for pair in [
        (deformation.displacement, deformation.inverse()),
        (deformation.inverse(), deformation.displacement),
    ]:
        np.testing.assert_allclose(compose(*pair)[inside], np.zeros((13, 13, 2)), atol=0.02)
    turned = deformation._replace(velocities=deformation.velocities[::-1]).inverse()
    assert np.abs(compose(deformation.displacement, turned)[inside]).max() > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": (2, 4)}, "falling powers of two"),
        ({"scales": (4, 4)}, "falling powers of two"),
        ({"scales": ()}, "falling powers of two"),
        ({"scales": (3,)}, "some of"),
        ({"scales": (8, 4)}, "give `encoder` more entries"),
        ({"radius": (1, 1, 1)}, "radius"),
        ({"encoder": ((), (4,), ())}, "at least one convolution"),
        ({"ndims": 4}, "ndims"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        PropagationNetwork(**{"ndims": 2, **SMALL, **options})


def test_one_image_is_refused(rng):
    with pytest.raises(InputError, match="moving, fixed"):
        small()(images(rng, (13, 10))[:1])


def functional(network, ndims=2):
    """The network inside a functional model of free size."""
    inputs = [keras.Input((*[None] * ndims, 1)) for _ in range(2)]
    return keras.Model(inputs, network(inputs))


def test_functional_model_of_free_size(rng, tmp_path):
    network = randomise_heads(small(), 1.0)
    model = functional(network)
    assert {k: v.shape for k, v in model.output.items()} == {
        "moved": (None, None, None, 1),
        "displacement": (None, None, None, 2),
    }
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for shape in [(13, 10), (8, 12)]:
        pair = images(rng, shape)
        expected = network(pair)
        for out in (model(pair), loaded(pair), model.predict(pair, verbose=0)):
            for key, value in expected.items():
                np.testing.assert_allclose(out[key], value, atol=1e-6)


READ = """
import sys
import bilevelmorph, keras, numpy as np
folder = sys.argv[1]
pair = np.load(folder + "/pair.npz")
network = keras.models.load_model(folder + "/network.keras")
out = network([pair["moving"], pair["fixed"]])
assert type(network).__name__ == "PropagationNetwork", type(network)
assert network.preprocessing == {"spacing": [1.0, 1.0]}, network.preprocessing
np.savez(folder + "/out.npz", **{k: v.numpy() for k, v in out.items()})
"""


def test_file_is_read_in_another_process(rng, tmp_path):
    moving, fixed = images(rng, (13, 10))
    analytic = {"radius": (1, 0), "analytic_steps": ["argmin", "gradient"], "steps": (1, 2), "shared": False}
    options = {**analytic, "int_steps": 4, "descriptor": "mind", "name": "mine"}
    network = small(**options, preprocessing={"spacing": [1.0, 1.0]})
    expected = randomise_heads(network, 1.0)([moving, fixed])
    network.save(tmp_path / "network.keras")
    np.savez(tmp_path / "pair.npz", moving=moving, fixed=fixed)
    run = [sys.executable, "-W", "ignore", "-c", READ, str(tmp_path)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    out = np.load(tmp_path / "out.npz")
    assert np.abs(out["displacement"]).max() > 1e-3
    for key, value in expected.items():
        np.testing.assert_allclose(out[key], value, atol=1e-6)


def test_mixed_precision_keeps_the_displacement_precise(rng):
    moving, fixed = images(rng, (13, 10))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with using_xla("off"):
            out = small()([moving, fixed])
    finally:
        keras.config.set_dtype_policy(before)
    assert out["displacement"].dtype == tf.float32
    assert all(np.isfinite(x).all() for x in out.values())


def test_learns_to_move_a_blob():
    """Thirty steps on one pair at least average_pool the difference of the images."""
    x, y = np.indices((32, 32))
    moving, fixed = (
        tf.constant(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 40)[None, ..., None].astype(np.float32))
        for a, b in [(14, 18), (18, 15)]
    )
    network = small()
    network.build()
    energy = Energy("mse", weights={"similarity": 1.0, "regularity": 1e-3})
    optimizer = keras.optimizers.Adam(1e-2)

    @xla.compile_step
    def step():
        with tf.GradientTape() as tape:
            terms = energy.terms(network.deform(moving, fixed, training=True), moving, fixed)
            total = energy.total(terms)
        slopes = tape.gradient(total, network.trainable_variables)
        optimizer.apply_gradients(zip(slopes, network.trainable_variables, strict=True))
        return terms["similarity"]

    optimizer.build(network.trainable_variables)
    values = [float(step()) for _ in range(31)]
    assert values[0] == pytest.approx(float(tf.reduce_mean((moving - fixed) ** 2)), rel=1e-2)
    assert values[-1] < values[0] / 2


def test_probabilistic_features_are_the_deterministic_ones_with_a_spread(rng, tmp_path):
    moving, fixed = images(rng, (16, 12))
    plain = randomise_heads(small(), 1.0)
    plain.save(tmp_path / "plain.keras")
    network = small(probabilistic=True)
    network.build()
    assert load_weights(network, tmp_path / "plain.keras") == [
        f"encoder/log_variance_{scale}/{kind}: not in the file"
        for scale in (2, 4)
        for kind in ("kernel", "bias")
    ]
    with using_xla("off"):
        expected = plain([moving, fixed])["displacement"]
        np.testing.assert_allclose(network([moving, fixed])["displacement"], expected, atol=1e-6)
        deformation = network.deform(moving, fixed)
        generator = network.seed_generators[0]

        def drawn(seed):
            generator.state.assign(tf.constant([0, seed], generator.state.dtype))
            return network.deform(moving, fixed, training=True).displacement.numpy()

        first, again, other = drawn(1), drawn(1), drawn(2)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert [f.shape.as_list() for f in deformation.extra["features"]] == [[2, 8, 6, 8], [2, 4, 3, 12]]
    mean, log_variance = np.split(deformation.extra["features"][0].numpy().astype(np.float64), 2, -1)
    kl = [kl_to_normal(f) for f in deformation.extra["features"]]
    assert float(kl[0]) == pytest.approx(
        np.mean((mean**2 + np.exp(log_variance) - 1 - log_variance) / 2), rel=1e-5
    )
    weights = {"feature_kl": 1.0}
    terms = Energy("mse", weights=weights).terms(deformation, moving, fixed)
    assert float(terms["feature_kl"]) == pytest.approx(np.mean(kl), rel=1e-6)


def test_weights_of_another_network_are_refused(tmp_path):
    other = small(matching=(7,))
    other.build()
    other.save(tmp_path / "other.keras")
    network = small()
    network.build()
    with pytest.raises(InputError, match="weights of another network"):
        load_weights(network, tmp_path / "other.keras")
