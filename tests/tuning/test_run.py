"""Whole tunings of small pairs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.config.descent_tuning_config import DescentTuningConfig
from bilevelmorph.errors import InputError
from bilevelmorph.io.csv import read_rows
from bilevelmorph.registration.instance_optimizer import InstanceOptimizer
from bilevelmorph.tuning.case import Case
from bilevelmorph.tuning.descent_numbers import DescentNumbers
from bilevelmorph.tuning.oracle_search import oracle_search
from bilevelmorph.tuning.run import tune, write_trials
from bilevelmorph.tuning.scorer import Scorer
from bilevelmorph.tuning.trial import Trial

pytestmark = pytest.mark.usefixtures("plain_graphs")
# A step too short for the distance.
POOR = DescentConfig(levels=(1,), iterations=(4,), step=0.2)


def options(**changes):
    return DescentTuningConfig.of(
        **{"criterion": "landmarks", "searcher": "bilevel", "trials": 3, "price": 0.0, **changes}
    )


def test_bilevel_lengthens_a_short_step_and_repeats_itself(cases):
    marked = [dataclasses.replace(case, labels=None) for case in cases]
    trials = tune(options(outer_lr=0.2), POOR, marked, quiet=True)
    assert len(trials) == 3
    assert trials[0].settings == POOR
    assert trials[-1].settings.step > 1.2 * POOR.step
    assert trials[-1].score > trials[0].score + 0.1
    again = tune(options(outer_lr=0.2), POOR, marked, quiet=True)
    assert [t[1:] for t in again] == [t[1:] for t in trials]


@pytest.mark.parametrize("searcher", ["random", "bayesian"])
def test_the_other_searchers_depend_on_the_seed(searcher):
    def drawn(seed):
        search = oracle_search(options(searcher=searcher, seed=seed), DescentNumbers(POOR))
        return [next(search), *(search.send(score) for score in (0.5, 0.6, 0.4))]

    assert drawn(1) == drawn(1) != drawn(2)
    assert all(0.066 < settings.step < 0.601 for settings in drawn(1))


def test_scores_are_those_of_the_descent_itself(cases):
    settings = DescentConfig(levels=(2, 1), iterations=(4, 3), symmetric=True)
    scorer = Scorer(DescentNumbers(settings), cases[:1])
    case = cases[0]
    found = scorer.displacement(case, scorer.numbers.of(settings))
    expected = InstanceOptimizer(settings)(case.start, case.moving, case.fixed).displacement
    # Kernels of another reach differ in their tails.
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert scorer(settings) == pytest.approx(case.score(found))


def test_iterations_are_paid_for(cases):
    settings = DescentConfig(levels=(1,), iterations=(5,))
    free, paid = (Scorer(DescentNumbers(settings), cases[:1], price)(settings) for price in (0.0, 0.01))
    assert free - paid == pytest.approx(0.05)


def test_scores_by_labels_landmarks_or_neither(cases):
    case, truth = cases[0], np.zeros((24, 24, 2), np.float32)
    truth[..., 0] = 1.5
    bare = Case(case.fixed, case.moving, case.start)
    marked = Case(case.fixed, case.moving, case.start, points=case.points)
    assert marked.score(truth) == pytest.approx(0, abs=1e-5)
    assert marked.score(case.start) == pytest.approx(-1.5, abs=1e-5)
    for one in (case, bare):
        assert one.score(truth) > one.score(case.start)


def test_trials_are_written(tmp_path):
    trials = [Trial(k, 0.5 + k, POOR.with_(step=0.2 + k)) for k in range(3)]
    write_trials(tmp_path / "trials.csv", trials)
    rows = read_rows(tmp_path / "trials.csv")
    assert [float(r["step"]) for r in rows] == [t.settings.step for t in trials]
    assert [float(r["score"]) for r in rows] == pytest.approx([t.score for t in trials], abs=1e-6)


def test_nothing_to_tune_is_refused(cases):
    with pytest.raises(InputError, match=r"settings: got no iterations"):
        tune(options(), DescentConfig(iterations=(0, 0)), cases)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": "soon"}, "budget: got 'soon'"),
        ({"outer_lr": 0.0}, "outer_lr: got 0.0"),
        ({"price": -1.0}, "price: got -1.0"),
        ({"horizon": -1}, "horizon: got -1"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        DescentTuningConfig.of(**changes)
