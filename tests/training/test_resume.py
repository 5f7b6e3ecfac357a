"""Training runs: resumed or repeated they end with the same bits, and they leave what they promise."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import yaml
from refusals import refusal
from scans import TINY

from bilevelmorph.config import TrainingConfig
from bilevelmorph.errors import InputError
from bilevelmorph.io.volumes import load_volume
from bilevelmorph.metrics import mean_dice
from bilevelmorph.models import load_model
from bilevelmorph.networks.build import build_network
from bilevelmorph.registration import Registrar
from bilevelmorph.training.build import make_optimizer
from bilevelmorph.training.checkpoint import newest_checkpoint
from bilevelmorph.training.data import open_data
from bilevelmorph.training.run import train

AUGMENTED = {"augment_affine": 0.05, "augment_shift": 1.0, "augment_intensity": 0.2}
PROPAGATION = {
    **TINY,
    "image_loss": "ncc",
    "window": 5,
    **AUGMENTED,
}
PROBABILISTIC = {
    "enc": (4,),
    "dec": (4, 4),
    "int_steps": 2,
    "lr": 1e-2,
    "batch_size": 2,
    "use_probs": True,
    "ema": 0.5,
}
FEATURES = {**PROPAGATION, "probabilistic": True, "feature_kl": 0.01, "alternate": 2, "ema": 0.5}
NETWORKS = {"propagation": PROPAGATION, "vxm use_probs": PROBABILISTIC, "probabilistic features": FEATURES}


@pytest.fixture(scope="module")
def start(scans, tmp_path_factory):
    """Train in a new folder with these options; the folder comes back."""

    def go(folder=None, **options):
        folder = folder or tmp_path_factory.mktemp("run")
        values = {"img_list": str(scans / "list.txt"), "steps_per_epoch": 3, "seed": 5, "lr": 1e-3}
        if "data" in options:
            del values["img_list"]
        train(TrainingConfig.of(**{**values, **options, "model_dir": str(folder)}), quiet=True)
        return folder

    return go


@pytest.fixture(scope="module", params=NETWORKS)
def runs(request, start):
    """Four epochs at a stretch; two epochs; a copy of the two, resumed up to four."""
    options = NETWORKS[request.param]
    whole, half = start(epochs=4, **options), start(epochs=2, **options)
    resumed = half.with_name(half.name + "_resumed")
    shutil.copytree(half, resumed)
    return whole, half, start(resumed, epochs=4, resume=True, **options)


def weights(folder, epoch):
    return load_model(str(folder / f"{epoch:04d}.keras")).get_weights()


def rows(folder):
    """The log without the times."""
    with (folder / "log.csv").open(newline="", encoding="utf-8") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


def assert_same_weights(first, second, epoch):
    for one, other in zip(weights(first, epoch), weights(second, epoch), strict=True):
        np.testing.assert_array_equal(one, other)


def test_resumed_run_ends_with_the_same_bits(runs):
    whole, _, resumed = runs
    assert rows(resumed) == rows(whole)
    for epoch in (3, 4):
        assert_same_weights(whole, resumed, epoch)
    with np.load(whole / "0004.state.npz") as a, np.load(resumed / "0004.state.npz") as b:
        assert a.files == b.files
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name])


def test_the_same_run_twice_has_the_same_bits(runs):
    whole, half, _ = runs
    assert rows(half) == rows(whole)[:2]
    for epoch in (1, 2):
        assert_same_weights(whole, half, epoch)


def test_a_folder_that_holds_a_run_is_left_alone(runs, start):
    whole = runs[0]
    before = {p.name: p.stat().st_mtime_ns for p in whole.iterdir()}
    said = refusal(start, whole)
    assert f"got {whole}, which holds a run of 4 epochs, expected a folder without a run" in said
    assert {p.name: p.stat().st_mtime_ns for p in whole.iterdir()} == before


def test_what_a_run_leaves(runs):
    whole, half, resumed = runs
    for folder, epochs in ((whole, 4), (half, 2), (resumed, 4)):
        names = {p.name for p in folder.iterdir()}
        checkpoints = {f"{i + 1:04d}.keras" for i in range(epochs)}
        assert names == checkpoints | {f"{epochs:04d}.state.npz", "log.csv", "config.json", "tensorboard"}
        assert newest_checkpoint(folder) == (folder / f"{epochs:04d}.keras", epochs)
        table = rows(folder)
        assert [r["epoch"] for r in table] == [str(i + 1) for i in range(epochs)]
        assert {"loss", "similarity"} < set(table[0])
        assert all(np.isfinite(float(v)) for r in table for v in r.values())
    assert rows(whole)[0]["loss"] != rows(whole)[1]["loss"]
    assert any((a != b).any() for a, b in zip(weights(whole, 3), weights(whole, 4), strict=True))


def test_the_model_knows_how_scans_were_prepared(runs, scans):
    network = load_model(str(runs[0] / "0004.keras"))
    assert network.preprocessing == {"percentiles": [0.5, 99.5], "grid": "centre", "shape": [16, 16]}
    moving, fixed = (load_volume(scans / "imagesTr" / f"{i}.npz") for i in (0, 1))
    result = Registrar(network, quality="fast")(moving, fixed)
    assert result.displacement.shape == (14, 16, 2)


def test_diverging_run_names_the_term_and_keeps_its_checkpoint(runs, start):
    """A resumed run takes its new learning rate, here one at which nothing converges."""
    folder = runs[1].with_name(runs[1].name + "_diverged")
    shutil.copytree(runs[1], folder)
    before = {p.name: p.read_bytes() for p in folder.glob("000*")}
    before_config = TrainingConfig.load(folder / "config.json")
    kind = "vxm use_probs" if before_config.network.use_probs else "propagation"
    kind = "probabilistic features" if before_config.network.probabilistic else kind
    options = {**NETWORKS[kind], "lr": 1e30, "clip_norm": 0.0}
    with pytest.raises(InputError) as caught:
        start(folder, epochs=4, resume=True, **options)
    message = str(caught.value)
    found = re.match(r"training diverged: (\w+) is no longer finite at step (\d+) \(epoch (\d)\); ", message)
    assert found
    assert found[1] in ("similarity", "kl" if kind == "vxm use_probs" else "regularity", "feature_kl")
    # The first step with the new rate is still good, that of the deformation too where they take turns.
    assert int(found[2]) in ((7, 8, 9) if kind == "probabilistic features" else (7, 8))
    assert found[3] == "3"
    assert "lower lr than 1e+30" in message
    assert "\n" not in message
    assert {p.name: p.read_bytes() for p in folder.glob("000*")} == before
    assert len(rows(folder)) == 2


def test_validation(start, scans):
    folder = start(data=str(scans), epochs=3, val_every=2, **{**PROPAGATION, "lr": 0.05})
    table = rows(folder)
    assert table[0]["val_dice"] == ""
    scores = [float(r["val_dice"]) for r in table[1:]]
    assert all(0 < s < 1 for s in scores)
    assert all(float(r["val_folding"]) >= 0 for r in table[1:])
    best = 2 if scores[0] >= scores[1] else 3
    assert (folder / "best.keras").read_bytes() == (folder / f"{best:04d}.keras").read_bytes()


def test_validation_scores_the_start_as_it_is(scans):
    """A network that moves nothing has the Dice of the labels as they lie."""
    source, validation, _ = open_data(TrainingConfig.of(data=str(scans)))
    network = build_network(TrainingConfig.of(**PROPAGATION), source.shape)
    pairs = [(source.labels(p.moving), source.labels(p.fixed)) for p in validation.pairs]
    assert len(pairs) == 2
    values = validation(network)
    assert values["val_dice"] == pytest.approx(np.mean([mean_dice(m, f) for m, f in pairs]))
    assert values["val_folding"] == 0
    assert open_data(TrainingConfig.of(data=str(scans), val_pairs=1))[1].pairs == validation.pairs[:1]
    assert open_data(TrainingConfig.of(data=str(scans), val_pairs=0))[1] is None


def test_configuration_round_trip(tmp_path, runs):
    config = TrainingConfig.load(runs[0] / "config.json")
    assert config.schedule.epochs == 4
    assert config.optimization.lr == (1e-2 if config.network.use_probs else 1e-3)
    config.save(tmp_path / "config.json")
    assert TrainingConfig.load(tmp_path / "config.json") == config
    odd = TrainingConfig.of(encoder=((), (1, 2)), shape=(3, 4), stage_weights=(0.5,), descriptor="mind")
    odd.save(tmp_path / "odd.json")
    assert TrainingConfig.load(tmp_path / "odd.json") == odd
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(dataclasses.asdict(odd)), encoding="utf-8")
    assert TrainingConfig.load(tmp_path / "odd.yaml") == odd
    # Version 0.1 wrote one table for everything, under the names of its flags.
    (tmp_path / "old.json").write_text(
        json.dumps({"lr": 0.1, "upper": "dice", "guides": []}), encoding="utf-8"
    )
    assert TrainingConfig.load(tmp_path / "old.json").optimization.lr == 0.1
    values = {**dataclasses.asdict(odd), "epoch": 3}
    (tmp_path / "unknown.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(InputError, match=r"unknown\.json: got unknown key epoch"):
        TrainingConfig.load(tmp_path / "unknown.json")


def test_checkpoints_without_a_state_are_passed_over(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    for name in ("0002.keras", "0002.state.npz", "0010.keras", "best.keras", "best.state.npz"):
        (tmp_path / name).touch()
    assert newest_checkpoint(tmp_path) == (tmp_path / "0002.keras", 2)


def test_rate_falls_to_a_hundredth_on_a_cosine():
    rate = make_optimizer(
        TrainingConfig.of(lr=0.1, lr_schedule="cosine", epochs=2, steps_per_epoch=5)
    )._learning_rate
    np.testing.assert_allclose(
        [float(rate(k)) for k in (0, 5, 10, 99)], [0.1, 0.0505, 0.001, 0.001], rtol=1e-5
    )
