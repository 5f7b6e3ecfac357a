"""Scores settings of the descent on pairs, without compiling anew for each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.layers.descent import Descent
from bilevelmorph.ops.xla import compile_for_any_size
from bilevelmorph.tuning.case import Case
from bilevelmorph.tuning.descent_numbers import DescentNumbers, spent


class Scorer:
    """Runs the whole descent, with its rule to stop, and scores the results.

    Args:
        numbers: The numbers that change; all other settings stay.
        cases: Pairs to score on.
        price: Subtracted for each iteration at full resolution.

    >>> numbers = DescentNumbers(DescentConfig(levels=(1,), iterations=(3,)))
    >>> wave = np.sin(np.arange(16, dtype=np.float32))
    >>> scan = np.add.outer(wave, wave)
    >>> case = Case(scan, np.roll(scan, 1, 0), np.zeros((16, 16, 2), np.float32))
    >>> scorer = Scorer(numbers, [case])
    >>> scorer(DescentConfig(levels=(1,), iterations=(3,))) > case.score(case.start)
    True
    """

    def __init__(self, numbers: DescentNumbers, cases: Sequence[Case], price: float = 0.0) -> None:
        self.numbers, self.cases, self.price = numbers, list(cases), price
        self.layer = Descent(numbers.base)
        self._graph: Any = None

    def __call__(self, settings: DescentConfig, on_pair: Callable[[], Any] | None = None) -> float:
        """The mean score of settings that differ from the base in the numbers alone.

        Args:
            settings: Settings.
            on_pair: Called after each pair.
        """
        numbers = self.numbers.of(settings)
        scores = []
        for case in self.cases:
            scores.append(case.score(self.displacement(case, numbers)))
            if on_pair is not None:
                on_pair()
        return float(np.mean(scores)) - self.price * spent(numbers, self.cases[0].fixed.ndim)

    def displacement(self, case: Case, numbers: dict[str, float]) -> np.ndarray:
        """The displacement of a pair, ``[*S, N]`` voxels.

        Args:
            case: The pair.
            numbers: By the names of `DescentNumbers`.
        """
        fixed, moving = (tf.constant(x[None, ..., None], tf.float32) for x in (case.fixed, case.moving))
        start = field = self.layer.begin(tf.constant(case.start[None], tf.float32))
        for level, count in enumerate(self.numbers.base.iterations):
            if count:
                given = self.numbers.of_level(numbers, level)
                steps = tf.constant(round(given.pop("iterations")))
                tensors = tf.nest.map_structure(lambda v: tf.constant(v, tf.float32), given)
                inputs = [*self.layer.at_level(level, fixed, moving, field, start), steps, tensors]
                self._graph = self._graph or compile_for_any_size(self._optimise, inputs)
                field = self._graph(*inputs)
        return self.layer.finish(field, list(case.fixed.shape))[0].numpy()[0]

    def _optimise(self, *values: Any) -> tf.Tensor:
        *inputs, steps, numbers = values
        return self.layer.optimise(*inputs, iterations=steps, numbers=numbers).best
