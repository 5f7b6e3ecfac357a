"""Settings to variables and back."""

from __future__ import annotations

import numpy as np
import pytest

from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.tuning.descent_numbers import DescentNumbers, spent

SETTINGS = {
    "default": {},
    "one level": {"levels": (1,), "iterations": (7,)},
    "an idle level": {"levels": (4, 2, 1), "iterations": (40, 0, 20)},
    "mixture": {"similarity": ("ncc", "mind"), "similarity_weights": (2.0, 0.5), "window": 6.4},
    "without ncc": {"similarity": ("mse",)},
    "a weight of zero": {"similarity": ("mse", "ncc"), "similarity_weights": (0.0, 1.0)},
    "regularity": {"regularity_weight": 0.3},
}


def same(one, other):
    """Equal up to the scale of the weights, which has no effect."""
    first = next(w for w in other.similarity_weights if w)
    scaled = {
        "similarity_weights": tuple(w / first for w in other.similarity_weights),
        "regularity_weight": other.regularity_weight / first,
    }
    return one == other.with_(**scaled)


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_round_trip(changes):
    settings = DescentConfig.of(**changes)
    numbers = DescentNumbers(settings)
    assert same(numbers.config(), settings)
    assert same(numbers.config(numbers.of(settings)), settings)
    assert list(numbers.tensors()) == numbers.names == list(numbers.of(settings))


def test_names_of_a_mixture():
    names = DescentNumbers(DescentConfig.of(**SETTINGS["mixture"], regularity_weight=0.3)).names
    assert names[3:6] == ["window", "weight/mind", "weight/regularity"]


def test_without_ncc_there_is_no_window():
    assert "window" not in DescentNumbers(DescentConfig.of(**SETTINGS["without ncc"])).names


def test_values_stay_in_their_ranges():
    numbers = DescentNumbers(DescentConfig())
    for far in (-50.0, 50.0):
        numbers.assign(np.full(len(numbers.names), far))
        for name, value in numbers.tensors().items():
            low, high = numbers.range(name)
            assert low * 0.999 <= float(value) <= high * 1.001
        assert numbers.config().step > 0


def test_iterations_are_counted_by_voxels():
    assert spent({"iterations/4": 64, "iterations/1": 2.0}, 3) == 3.0
    assert spent({"iterations/2": 8}, 2) == 2.0
