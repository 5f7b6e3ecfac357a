"""Searches for settings of the descent with Keras Tuner."""

from __future__ import annotations

import io
from collections.abc import Generator
from contextlib import redirect_stdout
from typing import Any

import keras_tuner as kt

from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.config.descent_tuning_config import DescentTuningConfig
from bilevelmorph.temporary import temporary_folder
from bilevelmorph.tuning.descent_numbers import DescentNumbers

ORACLES = {"random": kt.oracles.RandomSearchOracle, "bayesian": kt.oracles.BayesianOptimizationOracle}
# Largest factor by which a number may differ from that of the settings to start from.
SPREAD = 3.0


def oracle_search(
    config: DescentTuningConfig, numbers: DescentNumbers
) -> Generator[DescentConfig, float, None]:
    """Draw settings at random, or where a Gaussian process expects a good score.

    Every number is drawn on a logarithmic scale, within a factor of three of that of the
    settings to start from.

    Args:
        config: Searcher and seed.
        numbers: The numbers that change.

    Yields:
        Settings, of which the caller sends the score.

    >>> search = oracle_search(DescentTuningConfig(searcher="random"), DescentNumbers(DescentConfig()))
    >>> first = next(search)
    >>> second = search.send(0.8)
    >>> first.step != second.step
    True
    """
    space = kt.HyperParameters()
    for name, start in numbers.of(numbers.base).items():
        low, high = numbers.range(name)
        bounds = max(low, start / SPREAD), min(high, start * SPREAD)
        space.Float(name, *bounds, sampling="log")
    with temporary_folder() as folder:
        # Keras Tuner treats a seed of 0 as none.
        oracle: Any = ORACLES[config.searcher](
            objective=kt.Objective("score", "max"),
            max_trials=10**6,
            hyperparameters=space,
            seed=config.seed + 1,
        )
        oracle._set_project_dir(str(folder), "tuning")
        while True:
            with redirect_stdout(io.StringIO()):  # Keras Tuner prints a table of every trial
                trial = oracle.create_trial("tuner0")
            score = yield numbers.config({n: float(trial.hyperparameters.get(n)) for n in numbers.names})
            oracle.update_trial(trial.trial_id, {"score": score})
            trial = oracle.get_trial(trial.trial_id)
            trial.status = "COMPLETED"
            with redirect_stdout(io.StringIO()):
                oracle.end_trial(trial)
