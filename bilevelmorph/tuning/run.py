"""Tunes instance optimisation to pairs within a time budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.config.descent_tuning_config import DescentTuningConfig
from bilevelmorph.errors import fail
from bilevelmorph.io.csv import write_csv
from bilevelmorph.tuning.bilevel_search import bilevel_search
from bilevelmorph.tuning.case import Case
from bilevelmorph.tuning.descent_numbers import DescentNumbers
from bilevelmorph.tuning.oracle_search import oracle_search
from bilevelmorph.tuning.scorer import Scorer
from bilevelmorph.tuning.trial import Trial
from bilevelmorph.tuning.unrolled_descent import UnrolledDescent


def check(config: DescentTuningConfig, base: DescentConfig) -> None:
    """Refuse what cannot be tuned; see `tune`.

    Args:
        config, base: See `tune`.

    Raises:
        InputError: There is nothing to tune, or the settings cannot be differentiated.

    >>> check(DescentTuningConfig(), DescentConfig())
    """
    if base.idle:
        raise fail("settings", "no iterations at any level", "at least one level with iterations")
    if config.searcher == "bilevel":
        UnrolledDescent.check(base)


def tune(
    config: DescentTuningConfig, base: DescentConfig, cases: Sequence[Case], quiet: bool = False
) -> list[Trial]:
    """Score settings until the time is used up.

    Args:
        config: Budget, criterion and searcher.
        base: Settings to start from.
        cases: Pairs to tune on.
        quiet: Suppress the progress bar.

    Returns:
        All trials in their order; the first is that of `base`.

    Raises:
        InputError: There is nothing to tune, or the settings cannot be differentiated.

    >>> import numpy as np
    >>> wave = np.sin(np.arange(16, dtype=np.float32))
    >>> scan = np.add.outer(wave, wave)
    >>> case = Case(scan, np.roll(scan, 1, 0), np.zeros((16, 16, 2), np.float32))
    >>> options = DescentTuningConfig(criterion="label-free", searcher="random", trials=3)
    >>> trials = tune(options, DescentConfig(levels=(1,), iterations=(2,)), [case], quiet=True)
    >>> len(trials), max(t.score for t in trials) >= trials[0].score
    (3, True)
    """
    check(config, base)
    began = time.perf_counter()
    numbers = DescentNumbers(base)
    scorer = Scorer(numbers, cases, config.price)
    trials: list[Trial] = []
    last = 0.0

    def used() -> float:
        return time.perf_counter() - began

    with tqdm(
        total=round(config.seconds), desc="tuning", unit="s", leave=False, disable=quiet or None
    ) as bar:

        def tick() -> bool:
            nonlocal last
            bar.update(min(used(), bar.total) - last)
            last = min(used(), bar.total)
            return used() < config.seconds

        def scored(settings: DescentConfig) -> float:
            score = scorer(settings, tick)
            trials.append(Trial(used(), score, settings))
            bar.set_postfix(best=f"{max(t.score for t in trials):.4f}", refresh=False)
            return score

        scored(base)
        if config.searcher == "bilevel":
            search = bilevel_search(config, numbers, cases, tick)
        else:
            search = oracle_search(config, numbers)
        settings = next(search)
        while used() < config.seconds and len(trials) != config.trials:
            settings = search.send(scored(settings))
        search.close()
    return trials


def write_trials(path: str | Path, trials: Sequence[Trial]) -> None:
    """Write the trials as CSV, one row each."""
    numbers = DescentNumbers(trials[0].settings)
    write_csv(
        path,
        [
            {"seconds": round(t.seconds, 2), "score": round(t.score, 6), **numbers.of(t.settings)}
            for t in trials
        ],
    )
