"""One configuration: dataclasses, flags, JSON and YAML say the same thing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import plugins
import pytest
import yaml

from bilevelmorph.cli.main import COMMANDS, command_module
from bilevelmorph.cli.parsing import FORMER_FLAGS, parse
from bilevelmorph.config import SearchConfig, TemplateConfig, TrainingConfig
from bilevelmorph.config.codec import from_dict, to_dict
from bilevelmorph.config.flags import flags_of, leaves
from bilevelmorph.errors import InputError

CONFIGURATIONS = (TrainingConfig, SearchConfig, TemplateConfig)
PAIR = ["--moving", "a", "--fixed", "b", "--moved", "c"]
FLAT_V0_1 = {
    "data": "scans",
    "network": "propagation",
    "scales": [8, 4, 2],
    "encoder": [[], [16, 16], [32], [32]],
    "lambda": 2.0,
    "bilevel": True,
    "upper": "label-free",
    "strategy": "aligned",
    "upper_every": 4,
    "warmup": 30,
    "guides": ["argmin"],
}


def options_of(command, words):
    return parse(command_module(command).Options, words, command)


@pytest.mark.parametrize("cls", CONFIGURATIONS)
def test_they_are_frozen_and_come_back(cls, tmp_path):
    config = cls.of(seed=7, lr=0.02, spacing=1.5)
    assert from_dict(cls, to_dict(config)) == config
    assert cls.of(**config.flat()) == config
    config.save(tmp_path / "config.json")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(json.loads((tmp_path / "config.json").read_text())))
    assert cls.load(tmp_path / "config.json") == config
    assert cls.load(tmp_path / "config.yaml") == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.device = None


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_has_a_help_and_one_meaning(command):
    options = command_module(command).Options
    names = [name for *_, name in leaves(options)]
    assert len(names) == len(set(names))
    assert set(flags_of(options).values()) >= {"--" + name.replace("_", "-") for name in names}


def test_a_flag_beside_a_configuration_wins(tmp_path):
    TrainingConfig.of(data="scans", lr=0.02, epochs=9, enc=(4,)).save(tmp_path / "run.json")
    config = options_of("train", ["--config", str(tmp_path / "run.json"), "--lr", "0.5"]).training
    assert config == TrainingConfig.of(data="scans", lr=0.5, epochs=9, enc=(4,))
    assert config == options_of("train", ["--lr", "0.5", f"--config={tmp_path / 'run.json'}"]).training


def test_a_configuration_of_version_0_1(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(FLAT_V0_1), encoding="utf-8")
    config = TrainingConfig.load(tmp_path / "config.json")
    assert config.bilevel.outer_loss == "label-free"
    assert config.bilevel.tuning.outer_every == 4
    assert config.bilevel.tuning.hypergradient == "gradient-alignment"
    assert config.bilevel.bilevel_warmup == 30
    assert config.network.analytic_steps == ("argmin",)
    assert config.network.encoder == ((), (16, 16), (32,), (32,))
    assert config.objective.lambda_weight == 2.0


@pytest.mark.parametrize(("old", "new"), FORMER_FLAGS.items())
def test_former_flags_are_understood(old, new, capsys):
    values = {
        "--upper": "dice",
        "--strategy": "one-step",
        "--upper-part": "network",
        "--guides": "argmin",
        "--start": "centre",
    }
    command = {"--start": "register", "--samples": "register", "--warm-up": "export"}.get(old, "train")
    needed = {"register": PAIR, "instance": PAIR, "export": ["--out", "x"]}
    words = [*needed.get(command, []), old]
    if old != "--warm-up":
        words.append(values.get(old, "3"))
    found = options_of(command, words)
    assert capsys.readouterr().err == f"{command}: {old} is called {new} now\n"
    assert found == options_of(command, [new if word == old else word for word in words])
    assert capsys.readouterr().err == ""


def test_voxelmorph_flags_and_defaults():
    config = options_of("train", ["--img-list", "list.txt", "--atlas", "atlas.npz", "--int-steps", "5"])
    assert config.training.network.int_steps == 5
    plain = TrainingConfig()
    assert (plain.optimization.lr, plain.schedule.epochs, plain.optimization.steps_per_epoch) == (
        1e-4,
        1500,
        100,
    )
    assert plain.objective.image_loss == "mse"
    assert plain.objective.lambda_weight == 0.01


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": "ten"}, "epochs: got 'ten', expected a whole number"),
        ({"epochs": 1.5}, "epochs: got 1.5, expected a whole number"),
        ({"epochs": True}, "epochs: got True, expected a whole number"),
        ({"lr": "fast"}, "lr: got 'fast', expected a number"),
        ({"enc": 16}, "enc: got 16, expected a list, each a whole number"),
        ({"enc": ["a"]}, "expected a list, each a whole number"),
        ({"bilevel": "yes"}, "bilevel: got 'yes', expected true or false"),
        ({"lr_schedule": "linear"}, "lr_schedule: got 'linear', expected one of constant, cosine"),
        ({"descriptor": "hog"}, "descriptor: got 'hog', expected one of mind, none"),
        ({"learning_rate": 1.0}, "unknown key learning_rate"),
        ({"network": {"depth": 3}}, "unknown key depth"),
        ({"image_loss": lambda a, b: 0}, "define it in one"),
    ],
)
def test_values_of_another_kind(values, message):
    with pytest.raises(InputError) as caught:
        TrainingConfig.of(**values)
    assert message in str(caught.value)


def test_values_as_python_and_yaml_have_them():
    config = TrainingConfig.of(
        lr="1e-3", data=Path("scans"), enc=np.array([8, 16]), lambda_weight=np.float32(2), epochs=np.int64(3)
    )
    assert config == TrainingConfig.of(lr=1e-3, data="scans", enc=(8, 16), lambda_weight=2.0, epochs=3)
    assert TrainingConfig.of(lr=1).optimization.lr == 1
    components = TrainingConfig.of(image_loss=plugins.Absolute, regularity=plugins.small)
    assert components.objective.image_loss == "plugins:Absolute"
    assert components.objective.regularity == "plugins:small"


@pytest.mark.parametrize("text", ["lr: [", "- a\n- b\n", "", "\x00"])
def test_files_that_are_no_configuration(text, tmp_path, capsys):
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.yaml: got"):
        TrainingConfig.load(tmp_path / "run.yaml")
    with pytest.raises(InputError, match="no such file"):
        TrainingConfig.load(tmp_path / "nothing.yaml")
