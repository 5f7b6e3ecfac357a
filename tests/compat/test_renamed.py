"""Models of version 0.1, saved under the names that classes and arguments had then, give what they gave."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from bilevelmorph.errors import InputError
from bilevelmorph.losses.energy import Energy
from bilevelmorph.models import bundled_models, load_model
from bilevelmorph.models.weights import load_network, load_weights

pytestmark = pytest.mark.usefixtures("plain_graphs")
FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "v0_1"
CLASSES = {
    "cells": "AutoRegNetwork",
    "propagation": "PropagationNetwork",
    "propagation-probabilistic": "PropagationNetwork",
    "still": "IdentityNetwork",
    "supernet": "AutoRegNetwork",
    "vxm": "VxmDense",
}


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as content:
        return dict(content)


def in_double_precision(network, inputs):
    """What a network gives in 64 bits, the same on every processor."""
    before = keras.config.dtype_policy().name
    keras.config.set_dtype_policy("float64")
    try:
        double = type(network).from_config({**network.get_config(), "dtype": "float64"})
        double.build([x.shape for x in inputs])
        double.set_weights(network.get_weights())
        return double([x.astype(np.float64) for x in inputs])
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("load", [load_network, keras.models.load_model])
@pytest.mark.parametrize("name", CLASSES)
def test_networks(expected, name, load):
    network = load(FOLDER / f"{name}.keras")
    assert type(network).__name__ == CLASSES[name]
    out = in_double_precision(network, [expected["moving"], expected["fixed"]])
    for part in ("moved", "displacement"):
        np.testing.assert_allclose(out[part], expected[f"{name}/{part}"], atol=1e-10)


def test_layers_in_a_functional_model(expected):
    model = keras.models.load_model(FOLDER / "layers.keras")
    moved, displacement = model([expected[f"layers/{i}"] for i in range(3)])
    np.testing.assert_allclose(moved, expected["layers/moved"], atol=1e-5)
    np.testing.assert_allclose(displacement, expected["layers/displacement"], atol=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_saved_again_they_load_again(expected, name, tmp_path):
    network = load_network(FOLDER / f"{name}.keras")
    network.save(tmp_path / "now.keras")
    again = load_network(tmp_path / "now.keras")
    for one, other in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert load_weights(again, FOLDER / f"{name}.keras") == []


def test_what_they_were_trained_with(expected):
    objective = load_network(FOLDER / "propagation.keras").objective
    assert Energy.from_config(objective).weights == {"similarity": 1.0, "regularity": 0.3}


@pytest.mark.parametrize("name", bundled_models())
def test_bundled_models_load(name):
    network = load_model(name)
    assert network.objective
    assert network.terms >= set(network.objective["weights"])


def test_a_damaged_model_is_refused(tmp_path):
    whole = (FOLDER / "supernet.keras").read_bytes()
    (tmp_path / "half.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_network(tmp_path / "half.keras")
