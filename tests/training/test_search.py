"""The three levels of AutoReg in one run: all of them move, in their order, the same way every time."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from bilevelmorph.bilevel import OneStepDifferences
from bilevelmorph.checks import InputError
from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks import CellNetwork, Genotype
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


def test_what_cannot_be_searched():
    decided = CellNetwork.of(Genotype.uniform("conv3", (4, 2), 1, 4), 2)
    weights = LossWeights({"similarity": 1.0, "regularity": 0.1})
    with pytest.raises(InputError, match="something is searched"):
        SearchTrainer(decided, Energy("mse", weights=weights))
