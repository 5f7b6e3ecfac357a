"""Tunes the descent along hypergradients."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np

from bilevelmorph.bilevel import Adam
from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.config.descent_tuning_config import DescentTuningConfig
from bilevelmorph.registry import OUTER_OBJECTIVES
from bilevelmorph.tuning.case import Case
from bilevelmorph.tuning.descent_numbers import DescentNumbers
from bilevelmorph.tuning.unrolled_descent import UnrolledDescent

# Labels scored in one step, drawn at random, because every one is a volume in memory.
LABELS = 16
# Steps between two settings that are scored, at least.
STEPS = 4


def bilevel_search(
    config: DescentTuningConfig,
    numbers: DescentNumbers,
    cases: Sequence[Case],
    on_time: Callable[[], bool] = lambda: True,
) -> Generator[DescentConfig, float, None]:
    """Descend on the logarithms of the numbers with Adam, one pair per step.

    Args:
        config: Criterion, learning rate and seed.
        numbers: The outer variables, at their start.
        cases: Pairs to tune on.
        on_time: Whether there is time for a further step.

    Yields:
        The settings after each pass over the pairs, of which the caller sends the score.

    >>> numbers = DescentNumbers(DescentConfig(levels=(1,), iterations=(2,)))
    >>> wave = np.sin(np.arange(16, dtype=np.float32))
    >>> scan = np.add.outer(wave, wave)
    >>> case = Case(scan, np.roll(scan, 1, 0), np.zeros((16, 16, 2), np.float32))
    >>> search = bilevel_search(DescentTuningConfig(criterion="label-free"), numbers, [case])
    >>> next(search).step > 1.0  # a longer step helps
    True
    """
    objective = OUTER_OBJECTIVES.make(config.criterion)
    unrolled = UnrolledDescent(numbers, objective, config.price, config.hypergradient, config.horizon)
    random = np.random.default_rng(config.seed)
    state = Adam().initial_state([numbers.variable.read_value()])
    passes = 0
    while True:
        rate = config.outer_lr / np.sqrt(1 + passes)
        order = [cases[k] for _ in range(-(-STEPS // len(cases))) for k in random.permutation(len(cases))]
        for case in order:
            if not on_time():
                break
            present = case.present()
            drawn = random.permutation(np.array(present, int))[:LABELS]
            found = unrolled(case, sorted(drawn.tolist()))
            if found.converged:
                (values,), state = Adam(rate).update([numbers.variable.read_value()], found.gradients, state)
                numbers.assign(values)
        passes += 1
        yield numbers.config()
