"""Bilevel runs: they tune, resume to the same bits, and refuse what cannot be tuned."""

from __future__ import annotations

import csv
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from scans import TINY

from bilevelmorph.config import TrainingConfig
from bilevelmorph.errors import InputError
from bilevelmorph.losses.energy import Energy
from bilevelmorph.models import load_model
from bilevelmorph.networks import Deformation, PropagationNetwork
from bilevelmorph.registry import METHODS, OUTER_OBJECTIVES
from bilevelmorph.training.data import open_data
from bilevelmorph.training.divergence_error import DivergenceError
from bilevelmorph.training.feature_problem import FeatureProblem
from bilevelmorph.training.loss_weight_problem import LossWeightProblem
from bilevelmorph.training.loss_weights import LossWeights
from bilevelmorph.training.outer_objective import (
    LabelFreeObjective,
    landmark_distance,
)
from bilevelmorph.training.run import train
from bilevelmorph.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("plain_graphs")
OPTIONS = {
    **TINY,
    "image_loss": "mse",
    "lambda_weight": 0.1,
    "lr": 1e-3,
    "steps_per_epoch": 4,
    "epochs": 2,
    "bilevel": True,
    "outer_every": 2,
    "outer_lr": 0.1,
    "bilevel_warmup": 2,
    "seed": 3,
}


def config(scans, folder, **options):
    return TrainingConfig.of(**{**OPTIONS, **options, "data": str(scans), "model_dir": str(folder)})


def table(folder, name="log.csv"):
    with (folder / name).open(newline="", encoding="utf-8") as stream:
        return [{k: float(v) for k, v in r.items() if v and k != "seconds"} for r in csv.DictReader(stream)]


def make_trainer(scans, method="one-step", outer_loss="dice", every=1, features=None, **adam):
    """A trainer of a small network, with loss weights (and features) above it, and its data."""
    keras.utils.set_random_seed(0)
    data = open_data(config(scans, "unused", outer_loss=outer_loss))
    network = PropagationNetwork(2, (2,), ((), (4,)), (4,), (4,), int_steps=2)
    weights = LossWeights({"similarity": 1.0, "regularity": 0.1}, frozen=["similarity"])
    energy = Energy("mse", weights=weights)
    objective = OUTER_OBJECTIVES.make(outer_loss, window=5, energy=energy)
    adam_of_weights = keras.optimizers.Adam(0.1)
    problems = [LossWeightProblem(weights, data.outer_pairs, objective, method, adam_of_weights, every)]
    if features:
        problems.append(FeatureProblem(network, data.outer_pairs, **features))
    return Trainer(network, energy, problems).compile(keras.optimizers.Adam(1e-3, **adam)), data


def loss_weights(trainer):
    return trainer.problems[0].weights


def test_resumed_run_ends_with_the_same_bits(scans, tmp_path):
    whole, half = tmp_path / "whole", tmp_path / "half"
    train(config(scans, whole, epochs=3), quiet=True)
    train(config(scans, half, epochs=1), quiet=True)
    resumed = tmp_path / "resumed"
    shutil.copytree(half, resumed)
    train(config(scans, resumed, epochs=3, resume=True), quiet=True)
    assert table(resumed) == table(whole)
    assert table(resumed, "weights.csv") == table(whole, "weights.csv")
    with np.load(whole / "0003.state.npz") as a, np.load(resumed / "0003.state.npz") as b:
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name])
    models = [load_model(str(f / "0003.keras")) for f in (whole, resumed)]
    for one, other in zip(*(m.get_weights() for m in models), strict=True):
        np.testing.assert_array_equal(one, other)
    tuned = models[0].objective["weights"]
    assert tuned["similarity"] == 1.0
    assert tuned["regularity"] == pytest.approx(table(whole)[-1]["weight_regularity"])
    assert tuned["regularity"] != pytest.approx(0.1, rel=1e-3)
    rows = table(whole, "weights.csv")
    assert [r["step"] for r in rows] == [4, 6, 8, 10, 12]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_a_step(scans, method):
    few = {"steps": 2} if method in ("truncated", "forward") else {}
    trainer, data = make_trainer(scans, METHODS.make(method, **few))
    before = loss_weights(trainer).numbers()
    values = trainer.fit(data.pairs, steps_per_epoch=2).history
    after = loss_weights(trainer).numbers()
    row = trainer.problems[0].trajectory[-1]
    assert np.isfinite(row["slope_regularity"])
    assert after["similarity"] == before["similarity"]
    # Dice does not contain the weights: their direct derivative is zero.
    if method == "first-order":
        assert row["slope_regularity"] == 0
    # An implicit method far from a minimum may refuse, and then nothing moves.
    elif not values["skipped"][0]:
        assert after["regularity"] != before["regularity"]
    if values["skipped"] == [1]:
        assert after == pytest.approx(before)


def test_the_hypergradient_is_the_derivative_of_training(scans):
    """Against finite differences over a training step that is really taken."""
    trainer, data = make_trainer(scans)
    batches = list(data.pairs.dataset(0, 3, 1))
    for step, batch in batches[:2]:
        trainer.steps[0](step, batch)
    held = next(iter(data.outer_pairs.dataset(0, 1, 1)))[1]
    state = [*trainer.network.weights, *trainer.state_variables]
    kept = [np.array(v) for v in state]

    def outer_after(shift):
        for variable, value in zip(state, kept, strict=True):
            variable.assign(value)
        log = loss_weights(trainer).variables[0]
        log.assign(log + shift)
        trainer.steps[0](*batches[2])
        deformation = trainer.network.deform(held["moving"], held["fixed"])
        return float(trainer.problems[0].objective(deformation, held))

    size = 0.3
    expected = (outer_after(size) - outer_after(-size)) / (2 * size)
    for variable, value in zip(state, kept, strict=True):
        variable.assign(value)
    result = trainer.outer_steps["weights"](*batches[2], held)
    assert float(result["slope_regularity"]) == pytest.approx(expected, rel=0.1, abs=2e-6)


def test_with_moving_averages_the_weights_are_tuned_there(scans):
    trainer, data = make_trainer(scans, "finite-difference", use_ema=True, ema_momentum=0.8)
    batches = list(data.pairs.dataset(0, 4, 1))
    for step, batch in batches[:3]:
        trainer.steps[0](step, batch)
    held = next(iter(data.outer_pairs.dataset(0, 1, 1)))[1]
    problem = trainer.problems[0]
    state = [*trainer.network.trainable_variables, *trainer.optimizer.variables]
    kept = [np.array(v) for v in state]
    there = trainer.outer_steps["weights"](*batches[3], held)
    for variable, value in zip(state, kept, strict=True):
        np.testing.assert_array_equal(variable, value)

    log = loss_weights(trainer).variables[0]
    log.assign(np.log(0.1))
    trainer.optimizer.use_ema = False
    here = problem.step(trainer, *batches[3], held)
    log.assign(np.log(0.1))
    averages = trainer.optimizer._model_variables_moving_average
    for variable, average in zip(trainer.variables, averages, strict=True):
        variable.assign(average)
    again = problem.step(trainer, *batches[3], held)
    name = "slope_regularity"
    assert float(there[name]) == pytest.approx(float(again[name]), rel=1e-3)
    assert float(there["upper"]) == pytest.approx(float(again["upper"]), rel=1e-5)
    assert float(there["upper"]) != pytest.approx(float(here["upper"]), rel=1e-5)


def test_no_retracing_after_the_first_step(scans):
    trainer, data = make_trainer(scans)
    trainer.fit(data.pairs, steps_per_epoch=2)
    counts = [f.experimental_get_tracing_count() for f in (*trainer.steps, *trainer.outer_steps.values())]
    trainer.fit(data.pairs, epochs=2, steps_per_epoch=4, initial_epoch=1)
    assert (
        [f.experimental_get_tracing_count() for f in (*trainer.steps, *trainer.outer_steps.values())]
        == counts
        == [1, 1]
    )


def test_features_moved_by_the_upper_level_alone(scans, tmp_path):
    """Training leaves them alone, the outer level moves them, and a resumed run ends with the same bits."""
    options = {"outer_features": 2, "bilevel_warmup": 0, "epochs": 2}
    train(config(scans, tmp_path / "whole", **options), quiet=True)
    train(config(scans, tmp_path / "run", **{**options, "epochs": 1}), quiet=True)
    train(config(scans, tmp_path / "run", **options, resume=True), quiet=True)
    models = [load_model(str(tmp_path / f / "0002.keras")) for f in ("whole", "run")]
    for one, other in zip(*(m.get_weights() for m in models), strict=True):
        np.testing.assert_array_equal(one, other)
    rows = table(tmp_path / "whole")
    assert all(0 < row["features"] < 1 for row in rows)

    trainer, data = make_trainer(scans, every=100, features={"every": 2})
    features, deformation = trainer.network.variable_groups
    moved = []

    class Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.before = [np.array(v[0]) for v in (features, deformation)]

        def on_train_batch_end(self, batch, logs=None):
            now = [np.array(v[0]) for v in (features, deformation)]
            moved.append([not np.array_equal(a, b) for a, b in zip(self.before, now, strict=True)])
            self.before = now

    trainer.fit(data.pairs, steps_per_epoch=4, callbacks=[Watch()])
    assert moved == [[False, True], [True, True]] * 2


def test_the_whole_network_moved_by_both_levels(scans):
    """Every step moves it, and the steps of the outer level go down its own objective."""
    trainer, data = make_trainer(scans, every=100, features={"every": 1, "part": "network"})
    step, batch = next(iter(data.pairs.dataset(0, 1)))
    _, held = next(iter(data.outer_pairs.dataset(0, 1)))
    run = trainer.outer_steps["features"]
    losses = [float(run(step, batch, held)["upper"]) for _ in range(12)]
    assert losses[-1] < losses[0]
    before = [np.array(v) for v in trainer.network.trainable_variables]
    trainer.steps[0](step, batch)
    assert not any(
        np.array_equal(a, b) for a, b in zip(before, trainer.network.trainable_variables, strict=True)
    )
    with pytest.raises(InputError, match="outer_part"):
        make_trainer(scans, features={"part": "half"})


def test_upper_pairs_are_validation_pairs(scans):
    data = open_data(config(scans, "unused"))
    given = json.loads((scans / "dataset.json").read_text(encoding="utf-8"))["registration_val"]
    names = {(p["moving"], p["fixed"]) for p in given}
    drawn = {(p.moving.image.name, p.fixed.image.name) for p in (data.outer_pairs.draw(k) for k in range(20))}
    assert drawn == names


def test_training_labels_in_the_objective(scans, tmp_path):
    options = {"bilevel": False, "dice_weight": 1.0, "augment_affine": 0.05, "epochs": 2, "lr": 1e-2}
    train(config(scans, tmp_path / "run", **options), quiet=True)
    rows = table(tmp_path / "run")
    assert all(0 < r["dice"] < 1 for r in rows)


def test_landmarks():
    """The distance by SciPy's interpolation of the field."""
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng(0)
    field = rng.normal(size=(1, 9, 8, 7, 3)).astype(np.float32)
    fixed = rng.uniform(1, 5, (1, 11, 3)).astype(np.float32)
    moving = rng.uniform(1, 5, (1, 11, 3)).astype(np.float32)
    at = np.stack([map_coordinates(field[0, ..., i], fixed[0].T, order=1) for i in range(3)], -1)
    expected = np.linalg.norm(fixed[0] + at - moving[0], axis=-1).mean()
    out = landmark_distance(tf.constant(field), tf.constant(moving), tf.constant(fixed))
    assert float(out) == pytest.approx(expected, rel=1e-5)


def with_landmarks(scans, folder, counts=(3, 3, 3, 3)):
    """A copy of the scans without labels, with points."""
    shutil.copytree(scans, folder)
    shutil.rmtree(folder / "labelsTr")
    (folder / "landmarksTr").mkdir()
    rng = np.random.default_rng(0)
    for i, count in enumerate(counts):
        lines = [f"{x:.3f},{y:.3f}" for x, y in rng.uniform(3, 11, (count, 2))]
        (folder / "landmarksTr" / f"{i}.csv").write_text("\n".join(["x,y", *lines]), encoding="utf-8")
    return folder


def test_landmarks_of_files_tune_the_weights(scans, tmp_path):
    folder = with_landmarks(scans, tmp_path / "scans")
    run = tmp_path / "run"
    train(config(folder, run, outer_loss="landmarks"), quiet=True)
    rows = table(run, "weights.csv")
    assert rows[-1]["weight_regularity"] != pytest.approx(0.1, rel=1e-3)
    # Random points are some voxels apart.
    assert all(1 < row["upper"] < 10 for row in rows)


def test_landmarks_that_do_not_belong_together(scans, tmp_path):
    folder = with_landmarks(scans, tmp_path / "scans", (3, 2, 3, 3))
    with pytest.raises(InputError, match=r"3 landmarks, and 2 of 1\.npz"):
        train(config(folder, tmp_path / "run", outer_loss="landmarks"), quiet=True)
    (folder / "landmarksTr" / "1.csv").unlink()
    with pytest.raises(InputError, match="no landmarks"):
        train(config(folder, tmp_path / "run", outer_loss="landmarks"), quiet=True)


def test_label_free_upper_objective_sees_folding():
    image = tf.random.stateless_uniform([1, 12, 12, 1], [0, 1])
    outer = LabelFreeObjective(5)
    flat = Deformation(tf.zeros([1, 12, 12, 2]), [], [])
    folded = Deformation(tf.random.stateless_normal([1, 12, 12, 2], [0, 1]) * 3, [], [])
    batch = {"moving": image, "fixed": image}
    assert float(outer(folded, batch)) > float(outer(flat, batch)) + 1


def test_weights_are_positive_and_start_anywhere():
    weights = LossWeights({"similarity": 1e-4, "regularity": 1e3})
    assert weights.numbers() == pytest.approx({"similarity": 1e-4, "regularity": 1e3})
    for variable in weights.variables:
        variable.assign(variable - 3.0)
    assert all(v > 0 for v in weights.numbers().values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lambda_weight": 0.0}, "weight of regularity"),
        ({"lambda_weight": -1.0}, "lambda"),
        ({"hypergradient": "magic"}, "hypergradient"),
        ({"outer_loss": "magic"}, "outer_loss"),
        ({"freeze": ("nothing",)}, "freeze"),
        ({"freeze": ("similarity", "regularity")}, "freeze"),
        ({"val_pairs": 0}, "val_pairs"),
        ({"outer_every": 0}, "outer_every"),
        ({"outer_lr": 0.0}, "outer_lr"),
    ],
)
def test_what_cannot_be_tuned(scans, tmp_path, options, message):
    with pytest.raises(InputError, match=message) as caught:
        train(config(scans, tmp_path / "run", **options), quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_label_that_validation_lacks(scans, tmp_path):
    folder = tmp_path / "scans"
    shutil.copytree(scans, folder)
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    content["labels"]["2"] = "nowhere"
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="no voxel of label 2"):
        train(config(folder, tmp_path / "run"), quiet=True)


def test_divergence_names_the_weight(scans):
    trainer, data = make_trainer(scans)
    trainer.fit(data.pairs, steps_per_epoch=1)
    loss_weights(trainer).variables[0].assign(200.0)  # its exponential is infinite
    with pytest.raises(DivergenceError, match="the weight of regularity is no longer finite"):
        trainer.fit(data.pairs, epochs=2, steps_per_epoch=1, initial_epoch=1)
