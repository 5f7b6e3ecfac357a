"""The three levels of AutoReg in one run: all of them move, in their order, the same way every time."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from bilevelmorph.bilevel import FirstOrder, OneStepDifferences
from bilevelmorph.checks import InputError
from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks import CellNetwork, Genotype
from bilevelmorph.training.level import upper_adam
from bilevelmorph.training.loss_weights import LossWeights
from bilevelmorph.training.search_trainer import SearchTrainer
from bilevelmorph.training.upper_objective import UpperObjective

pytestmark = pytest.mark.usefixtures("plain_graphs")
OPERATIONS = ("skip", "conv1", "conv3")


def search(epochs=2, **options):
    """Two epochs of eight steps on smooth random images; the trainer comes back."""
    keras.utils.set_random_seed(0)
    images = tf.image.resize(tf.random.stateless_uniform([4, 5, 5, 1], [0, 1]), [16, 16])
    pairs = tf.data.Dataset.from_tensor_slices({"moving": images, "fixed": images[::-1]}).batch(1)
    network = CellNetwork.space(2, (4, 2), OPERATIONS, layers=1, filters=4, int_steps=1)
    weights = LossWeights({"similarity": 1.0, "regularity": 0.1}, frozen=["similarity"])
    trainer = SearchTrainer(network, Energy("mse", weights=weights))
    trainer.compile(
        keras.optimizers.Adam(1e-3),
        UpperObjective("label-free", 5),
        OneStepDifferences(),
        every=4,
        upper_optimizer=keras.optimizers.Adam(0.1),
        architecture_optimizer=keras.optimizers.Adam(0.1),
        **{"warmup": 2, **options},
    )
    trainer.fit(pairs.take(2), pairs.skip(2), epochs=epochs, steps_per_epoch=8)
    return trainer


@pytest.fixture(scope="module")
def found():
    return search()


def test_every_level_moves_after_the_warm_up(found):
    trainer = found
    assert [row["step"] for row in trainer.search] == [4, 6, 8, 10, 12, 14, 16]
    assert [row["step"] for row in trainer.trajectory] == [6, 10, 14]
    assert trainer.weights.numbers()["regularity"] != pytest.approx(0.1, rel=1e-3)
    entropies = [row["entropy"] for row in trainer.search]
    assert 0.9 < entropies[0] <= 1
    assert entropies[-1] < entropies[0]
    assert isinstance(trainer.network.genotype(), Genotype)


def test_only_the_gate_that_is_compared_moves():
    """One step of the topology is due: one logit differs, and afterwards all gates are decided."""
    trainer = search(epochs=1, warmup=6)
    logits = np.concatenate([np.asarray(g.logits) for g in trainer.network.gates])
    moved = np.flatnonzero(logits != 2.0)
    assert moved.tolist() == [0]
    assert all(np.asarray(g()).all() for g in trainer.network.gates)


def test_gates_are_drawn_by_the_step_alone(found):
    def drawn(step):
        found.seed_noise(tf.constant(step, tf.int64))
        return np.concatenate([np.asarray(g()) for g in found.network.gates])

    draws = np.array([drawn(k) for k in range(200)])
    chances = np.concatenate([np.asarray(g.probabilities) for g in found.network.gates])
    np.testing.assert_array_equal(drawn(7), draws[7])
    assert set(np.unique(draws)) == {0, 1}
    np.testing.assert_allclose(draws.mean(0), chances, atol=0.12)
    found.network.decide_gates()


def test_a_weight_on_cost_makes_it_cheaper(found):
    free, cheap = found, search(cost_weight=10.0)
    assert cheap.search[-1]["cost"] < free.search[-1]["cost"] - 0.01
    assert cheap.search[-1]["cost"] < 1


@pytest.fixture(scope="module")
def told():
    """Blobs that have to be moved, of labels of their own, and far too much regularity; told its weight."""
    keras.utils.set_random_seed(0)
    x, y = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    moving, fixed = (np.exp(-((x - 8) ** 2 + (y - at) ** 2) / 8)[None, ..., None] for at in (6.5, 9.0))
    images = {"moving": tf.constant(moving, tf.float32), "fixed": tf.constant(fixed, tf.float32)}
    labels = {f"{k}_labels": tf.cast(v > 0.5, tf.float32) for k, v in images.items()}
    pairs = tf.data.Dataset.from_tensors({**images, **labels})
    network = CellNetwork.space(2, (4, 2), OPERATIONS, layers=1, filters=4, int_steps=1, conditions=1)
    weights = LossWeights({"similarity": 1.0, "regularity": 10.0}, frozen=["similarity"])
    trainer = SearchTrainer(network, Energy("mse", weights=weights))
    options = {"upper_optimizer": upper_adam(0.1), "every": 2, "warmup": 30}
    trainer.compile(keras.optimizers.Adam(1e-2), UpperObjective("dice"), FirstOrder(), **options)
    trainer.fit(pairs, pairs, epochs=1, steps_per_epoch=70)
    return trainer, next(iter(pairs))


def test_a_network_that_is_told_its_weights_is_told_what_they_are(told):
    trainer, _ = told
    regularity = trainer.weights.numbers()["regularity"]
    assert np.asarray(trainer.network.condition) == pytest.approx([np.log(regularity / 10)], abs=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(trainer.network))
    assert again.conditions == 1
    assert CellNetwork.of(trainer.network.genotype(), 2).conditions == 0


def test_too_much_regularity_is_seen_by_what_less_would_do(told):
    trainer, _ = told
    assert trainer.weights.numbers()["regularity"] < 5
    # More regularity is answered by shorter velocities.
    assert all(np.asarray(s.modulations[1].kernel).mean() < 0 for s in trainer.network.stages)


def test_the_slope_of_the_weights_is_that_of_the_upper_loss(told):
    trainer, batch = told
    network, level = trainer.network, trainer.levels[-1]
    start = float(network.condition[0])
    for gate in network.gates:
        gate.logits.assign(20 * tf.ones_like(gate.logits))
    network.decide_gates()

    def upper(at):
        network.condition.assign([at])
        return float(level.criterion(network.fields(batch["moving"], batch["fixed"]), batch))

    # Very small: labels that are moved have kinks.
    numeric = (upper(start + 0.0001) - upper(start - 0.0001)) / 0.0002
    network.condition.assign([start])
    found = trainer._level_step(level, tf.constant(70, tf.int64), batch, batch)
    assert float(found["slope_regularity"]) == pytest.approx(abs(numeric), rel=0.01)


def test_what_cannot_be_searched():
    decided = CellNetwork.of(Genotype.uniform("conv3", (4, 2), 1, 4), 2)
    weights = LossWeights({"similarity": 1.0, "regularity": 0.1})
    with pytest.raises(InputError, match="something is searched"):
        SearchTrainer(decided, Energy("mse", weights=weights))
    other = CellNetwork.space(2, (2,), OPERATIONS, layers=1, filters=4, conditions=1)
    with pytest.raises(InputError, match="conditions: got 1, expected 2, as many"):
        SearchTrainer(other, Energy("mse", weights=weights))
