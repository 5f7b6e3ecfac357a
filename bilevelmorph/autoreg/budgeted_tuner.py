"""Keras Tuner's oracles and tuners, with a time budget and atomically written files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras_tuner as kt
import numpy as np

from bilevelmorph.autoreg.time_budget import TimeBudget
from bilevelmorph.io.atomic import atomic_path


def is_done(trial: Any) -> bool:
    """Whether a trial of Keras Tuner has a score."""
    return trial.status == "COMPLETED" and trial.score is not None


def budgeted_oracle(
    base: type[kt.Oracle], budget: TimeBudget, part: str, seconds: float, **options: Any
) -> kt.Oracle:
    """Make an oracle that stops when a trial as long as the longest so far would exceed the time available.

    Args:
        base: Oracle class of Keras Tuner to derive from.
        budget: Records the time used.
        part: Name under which the time is recorded.
        seconds: Time available.
        options: Arguments of the constructor.
    """

    class Budgeted(base):
        trials: dict[str, Any]
        _retry_queue: list[str]

        def populate_space(self, trial_id: str) -> dict[str, Any]:
            budget.save()
            if isinstance(self, kt.oracles.BayesianOptimizationOracle):
                # Its own state is not in the file, so that what is drawn depends on the trial alone.
                self._random_state = np.random.RandomState([self.seed, len(self.trials)])
            done = [t.metrics.get_best_value("seconds") for t in self.trials.values() if is_done(t)]
            if self.trials and budget.used(part) + max(done, default=0.0) > seconds:
                return {"status": kt.engine.trial.TrialStatus.STOPPED}
            return super().populate_space(trial_id)

        def save(self) -> None:
            state = self.get_state()
            # A set, whose order is another one in every process.
            _write(self._get_oracle_fname(), state | {"tried_so_far": sorted(state["tried_so_far"])})

        def reload(self) -> None:
            """Read the state; a trial that a killed process had begun is as if it had not, or has ended."""
            self.verbose = 0
            super().reload()
            known = {*self.start_order}
            # The list is written after the trial: it draws the same once more.
            self.trials = {k: t for k, t in sorted(self.trials.items()) if k in known}
            begun, self._retry_queue = [*dict.fromkeys(self._retry_queue)], []
            for name in begun:
                trial = self.trials[name]
                if trial.status == "RUNNING":
                    trial.metrics = type(trial.metrics)()
                    self._retry_queue.append(name)
                elif name not in self.end_order:
                    self.end_trial(trial)

        def _save_trial(self, trial: Any) -> None:
            _write(Path(self._get_trial_dir(trial.trial_id), "trial.json"), trial.get_state())

    return Budgeted(**options)


class _WholeFiles:
    """Writes the tuner's state atomically: Keras Tuner cannot resume from a truncated file."""

    def on_search_begin(self: Any) -> None:
        """Write the state before the first trial: without it, that one would not be found again."""
        self.save()

    def save(self: Any) -> None:
        if not self._is_worker():
            self.oracle.save()
        _write(self._get_tuner_fname(), self.get_state())


class BudgetedTuner(_WholeFiles, kt.Tuner):
    """Keras Tuner's base tuner, which trains every trial in full.

    >>> BudgetedTuner.__mro__[2].__name__
    'Tuner'
    """


class BudgetedHyperband(_WholeFiles, kt.Hyperband):
    """Keras Tuner's Hyperband, whose trials continue those of the previous rung.

    >>> BudgetedHyperband.__mro__[2].__name__
    'Hyperband'
    """

    def __init__(self, oracle: kt.Oracle, hypermodel: kt.HyperModel, **options: Any) -> None:
        # Skips Hyperband's own constructor, which would create an oracle without a budget.
        kt.Tuner.__init__(self, oracle=oracle, hypermodel=hypermodel, **options)


def _write(path: str | Path, state: Any) -> None:
    with atomic_path(path) as temporary:
        Path(temporary).write_text(json.dumps(state), encoding="utf-8")
