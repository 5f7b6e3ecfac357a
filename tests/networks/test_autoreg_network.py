"""`AutoRegNetwork` and `Genotype`: what is read off a searched network is that network, decided."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from bilevelmorph.devices import using_xla
from bilevelmorph.errors import InputError
from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks import AutoRegNetwork, Genotype

pytestmark = pytest.mark.usefixtures("plain_graphs")
DECIDED = 1e4
OPERATIONS = ("skip", "conv1", "conv3", "sep3", "dil3")


def space(ndims=2, scales=(8, 4, 2), **options):
    keras.utils.set_random_seed(0)
    network = AutoRegNetwork.space(ndims, scales, OPERATIONS, layers=2, filters=4, int_steps=3, **options)
    network.build()
    rng = np.random.default_rng(1)
    for stage in network.stages:
        stage.head.kernel.assign(rng.normal(size=stage.head.kernel.shape, scale=0.1))
    return network


def decide(network, seed):
    """Push every mixture and gate to one side, at random, but so that gates agree with one another."""
    rng = np.random.default_rng(seed)
    for cell in network.cells:
        for logits in (*(layer.alpha for layer in cell.choices), cell.depth):
            count = logits.shape[0]
            logits.assign(DECIDED * np.eye(count)[rng.integers(count)])
    kept = rng.random(len(network.stages)) < 0.7
    kept[rng.integers(len(kept))] = True
    for i, stage in enumerate(network.stages):
        stage.gate.logits.assign([DECIDED if kept[i] else -DECIDED])
        opened = rng.random(len(stage.feed.names)) < 0.6
        opened[rng.integers(2)] = True
        if "coarser" in stage.feed.names:
            opened[stage.feed.names.index("coarser")] &= kept[i - 1]
        stage.feed.gates.logits.assign(np.where(opened, DECIDED, -DECIDED))
        if stage.repeat is not None:
            repeated = rng.random(stage.steps - 1) < 0.5
            stage.repeat.logits.assign(np.where(repeated, DECIDED, -DECIDED))
    network.decide_gates()
    return network


def images(ndims=2, shape=(19, 14, 11)):
    rng = np.random.default_rng(5)
    return [tf.constant(rng.random((1, *shape[:ndims], 1)).astype(np.float32)) for _ in range(2)]


@pytest.mark.parametrize("seed", range(6))
def test_a_decoded_network_is_the_searched_one_restricted(seed):
    ndims = 2 + seed % 2
    network = decide(space(ndims, steps=1 + seed % 3), seed)
    decoded = network.decoded()
    assert sum(decoded.steps.values()) == len(decoded.deform(*images(ndims)).velocities)
    # Weight for weight, to the last bit; fields then differ by how operations are computed alone.
    layers = [layer for cell in network.cells for layer in cell.choices]
    kernels = {p.split("/", 1)[-1]: k for layer in layers for p, k in layer.kernels.items()}
    taken = {w.path.split("/", 1)[-1]: w for w in decoded.weights}
    assert kernels.keys() & taken.keys()
    for path in kernels.keys() & taken.keys():
        np.testing.assert_array_equal(taken[path], kernels[path])
    pair = images(ndims, (24, 16, 16))
    with using_xla("off"):
        expected = network.deform(*pair).displacement
        found = decoded.deform(*pair).displacement
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=5e-5)
    assert not decoded.architecture
    assert decoded.count_params() < network.count_params()
    # What it costs is what its operations cost.
    assert float(network.expected_cost()) == pytest.approx(float(decoded.expected_cost()), rel=1e-5)


def test_the_genotype_of_a_decoded_network_is_its_own(tmp_path):
    network = decide(space(), 3)
    genotype = network.genotype()
    assert network.decoded().genotype() == genotype
    genotype.save(tmp_path / "genotype.json")
    assert Genotype.load(tmp_path / "genotype.json") == genotype
    assert json.loads((tmp_path / "genotype.json").read_text(encoding="utf-8"))["version"] == 2


@pytest.mark.parametrize("searched", [False, True])
def test_files_and_sizes(tmp_path, searched):
    network = (
        decide(space(), 2) if searched else AutoRegNetwork.of(Genotype.uniform("conv5", (4, 2), 3, 4), 2)
    )
    network.build()
    network.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_config() == network.get_config()
    for shape in ((19, 14), (8, 8), (5, 3)):
        pair = images(2, shape)
        out = again(pair)
        assert out["displacement"].shape == (1, *shape, 2)
        np.testing.assert_allclose(out["displacement"], network(pair)["displacement"], atol=1e-5)


def test_the_architecture_has_gradients_and_is_left_alone_by_training():
    network = space()
    moving, fixed = images()
    names = {id(v) for v in network.trainable_variables}
    assert not any(id(v) in names for v in network.architecture)
    # 3 F cells and 3 D cells of 2 layers, their lengths, 3 sets of inputs, 3 stages.
    assert len(network.architecture) == 12 + 6 + 3 + 3
    values = [v.value for v in network.mixtures]
    energy = Energy("mse", weights={"similarity": 1.0, "regularity": 0.1})
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = energy.total(energy.terms(network.deform(moving, fixed), moving, fixed))
    slopes = tape.gradient(loss, values)
    assert all(np.abs(s).max() > 0 for s in slopes)


def test_shares_of_an_operation():
    """Equal at first, however many there are; all, where everything is decided for it."""
    network = space()
    assert network.share("skip") == pytest.approx(1 / len(OPERATIONS))
    assert network.share("conv7") == 0
    for cell in (*network.encoder.cells, *(s.cell for s in network.stages)):
        for layer in cell.choices:
            layer.alpha.assign(DECIDED * np.eye(len(OPERATIONS))[0])
    assert network.share("skip") == pytest.approx(1)


def test_cost_falls_along_its_gradient():
    network = space()
    values = [v.value for v in network.architecture]
    with tf.GradientTape() as tape:
        tape.watch(values)
        before = network.expected_cost()
    slopes = tape.gradient(before, values)
    for variable, slope in zip(network.architecture, slopes, strict=True):
        if slope is not None:
            variable.assign_sub(slope / (tf.norm(slope) + 1e-9))
    assert float(network.expected_cost()) < float(before)
    # A table of costs that knows of one operation alone.
    table = {(s, o): float(o == "dil3") for s in (2, 4, 8) for o in OPERATIONS}
    cell = network.encoder.cells[0]
    shares = [layer.probabilities[OPERATIONS.index("dil3")] for layer in cell.choices]
    first = network._cost_of(cell, 2, table)
    assert float(first) == pytest.approx(float(shares[0] + cell.probabilities[1] * shares[1]), rel=1e-5)


@pytest.mark.parametrize("operation", ["conv1", "conv3", "conv5", "conv7"])
def test_networks_of_one_operation(operation):
    network = AutoRegNetwork.of(Genotype.uniform(operation, (4, 2), 3, 4), 3)
    out = network(images(3))
    # It begins as the formula alone, which moves nothing far.
    assert out["displacement"].shape == (1, 19, 14, 11, 3)
    kernels = [w for w in network.trainable_variables if f"{operation}_0" in w.path]
    assert len(kernels) == 12


BAD = {
    "another version": ({"version": 1}, "version 1"),
    "unknown operation": ({"features": {"2": ["conv9"], "4": ["conv3"]}}, "conv9"),
    "a gap": ({"features": {"2": ["conv3"], "8": ["conv3"]}}, "without a gap"),
    "no layers": ({"deformation": {"2": [], "4": ["conv3"]}}, "no layers"),
    "nothing in": ({"inputs": {"2": [], "4": ["cost"]}}, "none"),
    "coarser than the coarsest": ({"inputs": {"2": ["cost"], "4": ["coarser"]}}, "coarser"),
    "no filters": ({"filters": {"2": 0, "4": 4}}, "filters at scale 2"),
    "a list": ({"filters": [4, 4]}, "another form"),
    "no steps": ({"steps": {"2": 1, "4": 0}}, "steps at scale 4"),
    "steps elsewhere": ({"steps": {"8": 1}}, "genotype, steps"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_genotypes(tmp_path, name):
    change, message = BAD[name]
    content = Genotype.uniform("conv3", (4, 2), 1, 4).to_dict() | change
    path = tmp_path / "genotype.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        Genotype.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", "{}", "{broken"])
def test_files_that_are_no_genotypes(tmp_path, text):
    path = tmp_path / "genotype.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"genotype\.json"):
        Genotype.load(path)
