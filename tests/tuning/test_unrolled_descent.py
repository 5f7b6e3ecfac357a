"""The derivatives of the criterion after a descent."""

from __future__ import annotations

import numpy as np
import pytest

from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.errors import InputError
from bilevelmorph.training.outer_objective import DiceObjective, LabelFreeObjective, LandmarkObjective
from bilevelmorph.tuning.descent_numbers import DescentNumbers
from bilevelmorph.tuning.unrolled_descent import UnrolledDescent

pytestmark = pytest.mark.usefixtures("plain_graphs")
MIXTURE = {"similarity": ("ncc", "mse"), "similarity_weights": (1.0, 0.5), "regularity_weight": 0.1}
# At odd numbers, the derivative by the window is that of neither side.
WINDOW = 4.3


def values(numbers, unrolled, case, labels=None, at=None):
    if at is not None:
        numbers.assign(at)
    found = unrolled(case, labels)
    return float(found.outer_loss), found.gradients[0].numpy()


@pytest.mark.parametrize("changes", [{}, MIXTURE, {"levels": (2,)}], ids=["ncc", "mixture", "coarse"])
def test_one_iteration_against_differences(cases, changes):
    """Of one iteration, nothing is left out."""
    numbers = DescentNumbers(DescentConfig.of(**{"levels": (1,), **changes}, iterations=(1,), window=WINDOW))
    at = numbers.variable.numpy()
    at[-1] = np.log(0.7)  # seven tenths of an iteration, which can be differentiated
    numbers.assign(at)
    unrolled = UnrolledDescent(numbers, LabelFreeObjective(5), price=0.01)
    _, found = values(numbers, unrolled, cases[0])
    for k, name in enumerate(numbers.names):
        ends = [
            values(numbers, unrolled, cases[0], at=at + s * 0.02 * np.eye(len(at))[k])[0] for s in (1, -1)
        ]
        assert found[k] == pytest.approx((ends[0] - ends[1]) / 0.04, rel=0.05, abs=2e-4), name
    numbers.assign(at)


def test_forward_and_reverse_agree(cases):
    numbers = DescentNumbers(DescentConfig.of(levels=(1,), iterations=(3,)))
    both = [
        values(numbers, UnrolledDescent(numbers, DiceObjective(), 1e-3, direction, 2), cases[0], [1, 2])
        for direction in ("forward", "reverse")
    ]
    assert both[0][0] == pytest.approx(both[1][0], rel=1e-5)
    np.testing.assert_allclose(both[0][1], both[1][1], rtol=2e-3, atol=1e-5)


def test_a_longer_way_wants_more_iterations_until_they_cost_more(cases):
    slopes = []
    for price in (0.0, 1.0):
        numbers = DescentNumbers(DescentConfig.of(levels=(1,), iterations=(2,), step=0.3))
        unrolled = UnrolledDescent(numbers, LandmarkObjective(), price)
        slopes.append(values(numbers, unrolled, cases[0])[1][numbers.names.index("iterations/1")])
    assert slopes[0] < 0 < slopes[1]


def test_a_symmetric_descent_is_refused(cases):
    numbers = DescentNumbers(DescentConfig(symmetric=True))
    with pytest.raises(InputError, match=r"settings: got settings that move both images"):
        UnrolledDescent(numbers, DiceObjective())
