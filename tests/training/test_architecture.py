"""The three levels of AutoReg in one run: all of them move, in their order, the same way every time."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from bilevelmorph.errors import InputError
from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks import AutoRegNetwork, Genotype
from bilevelmorph.training.architecture_cost import ArchitectureCost
from bilevelmorph.training.architecture_problem import ArchitectureProblem
from bilevelmorph.training.conditional_loss_weight_problem import ConditionalLossWeightProblem
from bilevelmorph.training.loss_weight_problem import LossWeightProblem
from bilevelmorph.training.loss_weights import LossWeights
from bilevelmorph.training.outer_objective import DiceObjective, LabelFreeObjective
from bilevelmorph.training.outer_problem import outer_adam
from bilevelmorph.training.topology_problem import TopologyProblem
from bilevelmorph.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("plain_graphs")
OPERATIONS = ("skip", "conv1", "conv3")


def problem(trainer, name):
    return next(p for p in trainer.problems if p.name == name)


def search(epochs=2, warmup=2, cost_weight=0.0):
    """Two epochs of eight steps on smooth random images; the trainer comes back."""
    keras.utils.set_random_seed(0)
    images = tf.image.resize(tf.random.stateless_uniform([4, 5, 5, 1], [0, 1]), [16, 16])
    pairs = tf.data.Dataset.from_tensor_slices({"moving": images, "fixed": images[::-1]}).batch(1)
    network = AutoRegNetwork.space(2, (4, 2), OPERATIONS, layers=1, filters=4, int_steps=1)
    network.build()
    weights = LossWeights({"similarity": 1.0, "regularity": 0.1}, frozen=["similarity"])
    loss, held, cost = Energy("mse", weights=weights), pairs.skip(2), ArchitectureCost(network, cost_weight)
    adam = keras.optimizers.Adam(0.1)
    problems = [
        ArchitectureProblem(network, loss, held, optimizer=adam, cost=cost, warmup=warmup),
        TopologyProblem(network, loss, held, cost=cost, warmup=warmup),
        LossWeightProblem(
            weights,
            held,
            LabelFreeObjective(5),
            "finite-difference",
            keras.optimizers.Adam(0.1),
            every=4,
            warmup=warmup,
        ),
    ]
    trainer = Trainer(network, loss, problems).compile(keras.optimizers.Adam(1e-3))
    trainer.fit(pairs.take(2), epochs=epochs, steps_per_epoch=8)
    return trainer


@pytest.fixture(scope="module")
def found():
    return search()


def test_every_level_moves_after_the_warm_up(found):
    trainer = found
    assert [row["step"] for row in problem(trainer, "architecture").trajectory] == [4, 6, 8, 10, 12, 14, 16]
    assert [row["step"] for row in problem(trainer, "weights").trajectory] == [6, 10, 14]
    assert trainer.values()["weight_regularity"] != pytest.approx(0.1, rel=1e-3)
    entropies = [row["entropy"] for row in problem(trainer, "architecture").trajectory]
    assert 0.9 < entropies[0] <= 1
    assert entropies[-1] < entropies[0]
    assert isinstance(trainer.network.genotype(), Genotype)


@pytest.mark.usefixtures("eagerly")
def test_only_the_gate_that_is_compared_moves():
    """One step of the topology is due: one logit differs, and afterwards all gates are decided."""
    trainer = search(epochs=1, warmup=6)
    logits = np.concatenate([np.asarray(g.logits) for g in trainer.network.gates])
    moved = np.flatnonzero(logits != 2.0)
    assert moved.tolist() == [0]
    assert all(np.asarray(g()).all() for g in trainer.network.gates)


def test_gates_are_drawn_by_the_step_alone(found):
    def drawn(step):
        found.sample(tf.constant(step, tf.int64))
        return np.concatenate([np.asarray(g()) for g in found.network.gates])

    draws = np.array([drawn(k) for k in range(200)])
    chances = np.concatenate([np.asarray(g.probabilities) for g in found.network.gates])
    np.testing.assert_array_equal(drawn(7), draws[7])
    assert set(np.unique(draws)) == {0, 1}
    np.testing.assert_allclose(draws.mean(0), chances, atol=0.12)
    found.network.decide_gates()


@pytest.mark.usefixtures("eagerly")
def test_a_weight_on_cost_makes_it_cheaper(found):
    free, cheap = found, search(cost_weight=10.0)
    free, cheap = (problem(t, "architecture").trajectory[-1]["cost"] for t in (free, cheap))
    assert cheap < free - 0.01
    assert cheap < 1


@pytest.fixture(scope="module")
def conditional():
    """Blobs to be moved, with labels, and far too much regularity; the network knows its weight."""
    keras.utils.set_random_seed(0)
    x, y = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    moving, fixed = (np.exp(-((x - 8) ** 2 + (y - at) ** 2) / 8)[None, ..., None] for at in (6.5, 9.0))
    images = {"moving": tf.constant(moving, tf.float32), "fixed": tf.constant(fixed, tf.float32)}
    labels = {f"{k}_labels": tf.cast(v > 0.5, tf.float32) for k, v in images.items()}
    pairs = tf.data.Dataset.from_tensors({**images, **labels})
    network = AutoRegNetwork.space(2, (4, 2), OPERATIONS, layers=1, filters=4, int_steps=1, conditions=1)
    weights = LossWeights({"similarity": 1.0, "regularity": 10.0}, frozen=["similarity"])
    network.build()
    loss, schedule = Energy("mse", weights=weights), {"every": 2, "warmup": 30}
    problems = [
        ArchitectureProblem(network, loss, pairs, **schedule),
        TopologyProblem(network, loss, pairs, **schedule),
        ConditionalLossWeightProblem(network, weights, pairs, DiceObjective(), outer_adam(0.1), **schedule),
    ]
    trainer = Trainer(network, loss, problems).compile(keras.optimizers.Adam(1e-2))
    trainer.fit(pairs, epochs=1, steps_per_epoch=70)
    return trainer, next(iter(pairs))


def test_the_condition_is_what_the_loss_weights_are(conditional):
    trainer, _ = conditional
    regularity = trainer.values()["weight_regularity"]
    assert np.asarray(trainer.network.condition) == pytest.approx([np.log(regularity / 10)], abs=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(trainer.network))
    assert again.conditions == 1
    assert AutoRegNetwork.of(trainer.network.genotype(), 2).conditions == 0


def test_too_much_regularity_is_seen_by_what_less_would_do(conditional):
    trainer, _ = conditional
    assert trainer.values()["weight_regularity"] < 5
    # More regularity is answered by shorter velocities.
    assert all(np.asarray(s.modulations[1].kernel).mean() < 0 for s in trainer.network.stages)


def test_the_slope_of_the_weights_is_that_of_the_upper_loss(conditional):
    trainer, batch = conditional
    # The blobs themselves are the labels, because the loss of sharp ones has a kink at every voxel
    # that they pass.
    batch = {**batch, "moving_labels": batch["moving"], "fixed_labels": batch["fixed"]}
    network, weights = trainer.network, problem(trainer, "weights")
    start = float(network.condition[0])
    for gate in network.gates:
        gate.logits.assign(20 * tf.ones_like(gate.logits))
    network.decide_gates()

    def outer(at):
        network.condition.assign([at])
        return float(weights.objective(network.deform(batch["moving"], batch["fixed"]), batch))

    numeric = (outer(start + 0.003) - outer(start - 0.003)) / 0.006
    network.condition.assign([start])
    found = weights.step(trainer, tf.constant(70, tf.int64), batch, batch)
    assert float(found["slope_regularity"]) == pytest.approx(abs(numeric), rel=0.005)


def test_what_cannot_be_searched():
    decided = AutoRegNetwork.of(Genotype.uniform("conv3", (4, 2), 1, 4), 2)
    weights = LossWeights({"similarity": 1.0, "regularity": 0.1})
    for kind in (ArchitectureProblem, TopologyProblem):
        with pytest.raises(InputError, match="something is searched"):
            kind(decided, Energy("mse", weights=weights), None)
    other = AutoRegNetwork.space(2, (2,), OPERATIONS, layers=1, filters=4, conditions=1)
    with pytest.raises(InputError, match="conditions: got 1, expected 2, as many"):
        ConditionalLossWeightProblem(other, weights, None)
