"""A loss, a regularizer, a network, a method, an outer objective and a reader, each from one file outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plugins
import pytest
import tensorflow as tf
from scans import TINY

import bilevelmorph as bm
from bilevelmorph.bilevel import BilevelProblem
from bilevelmorph.cli.main import main
from bilevelmorph.errors import InputError
from bilevelmorph.io.csv import read_rows
from bilevelmorph.losses.energy import Energy
from bilevelmorph.registry import LOSSES, METHODS, READERS

pytestmark = pytest.mark.usefixtures("plain_graphs")
RUN = {"steps_per_epoch": 2, "epochs": 1, "lr": 1e-3, "quiet": True}


def test_a_loss_and_a_regularizer_through_training_and_registration(scans, tmp_path):
    options = {**TINY, "image_loss": "plugins:Absolute", "regularity": "plugins:small", "image_sigma": 0.5}
    bm.train(data=str(scans), model_dir=str(tmp_path), **options, **RUN)
    network = bm.load_model(str(tmp_path / "0001.keras"))
    assert network.objective["similarity"] == "plugins:Absolute"
    pair = [bm.load_volume(scans / "imagesTr" / f"{i}.npz") for i in (0, 1)]
    result = bm.register(*pair, network, instance_steps=3, similarity="plugins:Absolute")
    assert np.isfinite(result.displacement).all()
    assert result.levels[0].after < result.levels[0].before
    energy = Energy.from_config(network.objective)
    assert isinstance(energy.similarity, plugins.Absolute)
    assert energy.similarity.image_sigma == 0.5
    assert energy.regularity is plugins.small


def test_an_instance_is_kept_with_its_configuration(scans):
    energy = Energy(plugins.Absolute(image_sigma=3.0), weights={"similarity": 1.0})
    config = energy.get_config()
    assert config["similarity"]["identifier"] == "plugins:Absolute"
    assert Energy.from_config(config).similarity.image_sigma == 3.0
    function = Energy(lambda fixed, moved: tf.reduce_mean(moved - fixed), weights={"similarity": 1.0})
    assert float(function.similarity(tf.zeros([2]), tf.ones([2]))) == 1.0


def test_a_network_on_the_command_line(scans, tmp_path):
    flags = ["--data", scans, "--model-dir", tmp_path, "--network", "plugins:OneConvolution", "--gpu", "-1"]
    flags += ["--int-steps", 2, "--epochs", 1, "--steps-per-epoch", 2, "--quiet"]
    assert main(["train", *map(str, flags)]) == 0
    network = bm.load_model(str(tmp_path / "0001.keras"))
    assert isinstance(network, plugins.OneConvolution)
    assert network.int_steps == 2
    assert main(["train", *map(str, flags), "--enc", "4"]) == 2
    images = [scans / "imagesTr" / f"{i}.npz" for i in (0, 1)]
    out = ["--moving", images[0], "--fixed", images[1], "--moved", tmp_path / "moved.nii.gz", "--gpu", "-1"]
    assert main(["register", *map(str, out), "--model", str(tmp_path / "0001.keras")]) == 0


def test_a_method_and_an_outer_objective(scans, tmp_path):
    """With a loss and a regularizer besides, all on the command line."""
    bm.config.TrainingConfig.of(**TINY).save(tmp_path / "tiny.json")
    flags = ["--config", tmp_path / "tiny.json", "--data", scans, "--model-dir", tmp_path, "--gpu", "-1"]
    flags += ["--bilevel", "--bilevel-warmup", 0, "--outer-every", 1, "--quiet", "--steps-per-epoch", 2]
    flags += ["--hypergradient", "plugins:TwiceTheDirectTerm", "--outer-loss", "plugins:MeanDisplacement"]
    flags += ["--image-loss", "plugins:Absolute", "--regularity", "plugins:small", "--epochs", 1]
    assert main(["train", *map(str, flags)]) == 0
    rows = read_rows(tmp_path / "weights.csv")
    # Their direct term is zero, so the weights stay.
    assert [float(r["slope_regularity"]) for r in rows] == [0, 0]
    network = bm.load_model(str(tmp_path / "0001.keras"))
    assert network.objective["similarity"] == "plugins:Absolute"
    assert network.objective["regularity"] == "plugins:small"
    w, a = tf.Variable(1.0), tf.Variable(2.0)
    problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: (w + a) ** 2)
    assert float(METHODS.make(plugins.TwiceTheDirectTerm)(problem).gradients[0]) == 12.0


def test_a_reader(tmp_path, monkeypatch):
    built_in = dict(READERS._entries)
    monkeypatch.setattr(READERS, "_entries", dict(built_in))
    for name in ("a", "b"):
        np.savetxt(tmp_path / f"{name}.grey", np.random.default_rng(ord(name)).random((12, 14)))
    network = plugins.OneConvolution(2)
    network.build()
    network.save(tmp_path / "flat.keras")
    flags = ["--moving", tmp_path / "a.grey", "--fixed", tmp_path / "b.grey"]
    flags += ["--moved", tmp_path / "m.nii.gz", "--warp", tmp_path / "warp.nii.gz"]
    command = ["register", *map(str, flags), "--gpu", "-1", "--model", str(tmp_path / "flat.keras")]
    assert main(command) == 2
    assert main([*command, "--reader", ".grey=plugins:read_text"]) == 0
    assert bm.load_volume(tmp_path / "m.nii.gz").shape == (12, 14)
    monkeypatch.setattr(READERS, "_entries", dict(built_in))
    flags = ["--moving", tmp_path / "a.grey", "--warp", tmp_path / "warp.nii.gz"]
    again = ["warp", *map(str, flags), "--moved", str(tmp_path / "again.nii.gz")]
    assert main(again) == 2
    assert main([*again, "--reader", ".grey=plugins:read_text"]) == 0
    moved = [bm.load_volume(tmp_path / f"{name}.nii.gz").data for name in ("m", "again")]
    np.testing.assert_allclose(*moved, atol=1e-4)
    for wrong in ("grey", ".grey=plugins", ".grey=nowhere:read"):
        assert main([*command, "--reader", wrong]) == 2


def test_what_a_file_asks_for_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "never_imported.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="a module of yours that is imported; import it first"):
        Energy.from_config({"similarity": "never_imported:Loss"})


def test_names_that_are_not_there():
    with pytest.raises(InputError, match="image_loss: got 'l7', expected one of mse, ncc, mind"):
        LOSSES.find("l7")
    assert METHODS.find("aligned") is METHODS.find("gradient-alignment")
    assert "aligned" not in list(METHODS)
    assert Path(plugins.__file__).parent.name == "tests"
