"""The trainers as Keras users meet them: compile, fit, callbacks, history."""

from __future__ import annotations

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from bilevelmorph.errors import InputError
from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks import PropagationNetwork
from bilevelmorph.training.loss_weight_problem import LossWeightProblem
from bilevelmorph.training.loss_weights import LossWeights
from bilevelmorph.training.outer_objective import LabelFreeObjective
from bilevelmorph.training.pair_provider import as_provider
from bilevelmorph.training.trainer import Trainer

BILEVEL = {"single-level": False, "bilevel": True}


@pytest.fixture(params=BILEVEL)
def fit(request):
    """Train with these options; the network and the history come back."""
    images = tf.random.stateless_uniform([6, 16, 16, 1], [0, 1])
    pairs = tf.data.Dataset.from_tensor_slices({"moving": images, "fixed": images[::-1]}).batch(2)

    def go(use_ema=False, ema_momentum=0.99, xla="auto", **options):
        keras.utils.set_random_seed(0)
        adam = keras.optimizers.Adam(1e-2, use_ema=use_ema, ema_momentum=ema_momentum)
        network = PropagationNetwork(2, (2,), ((), (4,)), (4,), (4,), int_steps=2)
        weights, problems = {"similarity": 1.0, "regularity": 0.1}, []
        if BILEVEL[request.param]:
            weights = LossWeights(weights, ["similarity"])
            problems.append(LossWeightProblem(weights, pairs.take(1), LabelFreeObjective(5), every=2))
        trainer = Trainer(network, Energy("mse", weights=weights), problems).compile(adam, xla=xla)
        return network, trainer.fit(pairs, steps_per_epoch=4, **options)

    return go


def test_a_whole_step_compiled_by_xla_trains_the_same(fit):
    """As on a GPU: loss, gradients, optimizer and outer step in one program."""
    plain, history = fit(xla="off", epochs=2)
    compiled, again = fit(xla="step", epochs=2)
    assert again.history["loss"] == pytest.approx(history.history["loss"], rel=1e-4)
    for one, other in zip(compiled.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_history_and_callbacks(fit, tmp_path):
    steps = []
    callbacks = [
        keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
        keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras"), monitor="loss"),
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(logs["loss"])),
    ]
    network, history = fit(epochs=3, callbacks=callbacks)
    losses = history.history["loss"]
    assert history.epoch == [0, 1, 2]
    assert losses == pytest.approx(np.reshape(steps, (3, 4)).mean(1))
    assert losses[-1] < losses[0]
    with (tmp_path / "log.csv").open(newline="", encoding="utf-8") as stream:
        assert [float(row["loss"]) for row in csv.DictReader(stream)] == pytest.approx(losses)
    again = keras.models.load_model(tmp_path / "3.keras")
    for one, other in zip(again.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_callback_stops_it(fit):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    _, history = fit(epochs=5, callbacks=[Stop()])
    assert history.epoch == [0, 1]


def test_a_dataset_as_source_repeats_and_skips():
    source = as_provider(tf.data.Dataset.range(3).map(lambda i: {"moving": i, "fixed": i + 10}))
    got = [(int(k), int(b["moving"]), int(b["fixed"])) for k, b in source.dataset(2, 6, 1)]
    assert got == [(2, 2, 12), (3, 0, 10), (4, 1, 11), (5, 2, 12)]


def test_fit_before_compile():
    trainer = Trainer(PropagationNetwork(2, (2,), ((), (4,)), (4,)), Energy("mse"))
    with pytest.raises(InputError, match="not compiled"):
        trainer.fit(tf.data.Dataset.range(1))


def test_features_and_deformation_in_turn():
    images = tf.random.stateless_uniform([2, 16, 16, 1], [0, 1])
    pairs = tf.data.Dataset.from_tensors({"moving": images, "fixed": images[::-1]})
    keras.utils.set_random_seed(0)
    network = PropagationNetwork(2, (2,), ((), (4,)), (4,), (4,), int_steps=2, probabilistic=True)
    weights = {"similarity": 1.0, "regularity": 0.1, "feature_kl": 0.01}
    trainer = Trainer(network, Energy("mse", weights=weights))
    trainer.compile(keras.optimizers.Adam(1e-2), alternate=1)
    features, deformation = network.variable_groups
    assert len(features) + len(deformation) == len(network.trainable_variables)
    moved = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.before = [np.array(v) for v in (features[0], deformation[0])]

        def on_train_batch_end(self, batch, logs=None):
            now = [np.array(v) for v in (features[0], deformation[0])]
            moved.append([not np.array_equal(a, b) for a, b in zip(self.before, now, strict=True)])

    trainer.fit(pairs, steps_per_epoch=4, callbacks=[Watch()])
    assert moved == [[True, False], [False, True]] * 2


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_the_network_has_the_moving_average_between_epochs(fit, momentum):
    class Weights(keras.callbacks.Callback):
        def __init__(self):
            self.first, self.last = [], []

        def on_train_batch_begin(self, batch, logs=None):
            self.first.append([np.array(v) for v in self.model.trainable_variables])

        def on_train_batch_end(self, batch, logs=None):
            self.last.append([np.array(v) for v in self.model.trainable_variables])

    watch = Weights()
    network, _ = fit(epochs=2, callbacks=[watch], use_ema=True, ema_momentum=momentum)
    # Training itself goes on from where it was, in the next epoch too.
    for before, after in zip(watch.last, watch.first[1:], strict=False):
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)
    expected = watch.last[0]
    for weights in watch.last[1:]:
        pairs = zip(expected, weights, strict=True)
        expected = [momentum * average + (1 - momentum) * now for average, now in pairs]
    for one, other, now in zip(expected, network.trainable_variables, watch.last[-1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        assert not np.array_equal(now, other)
