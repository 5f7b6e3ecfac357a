"""The settings of a descent as the variables of an outer problem."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from bilevelmorph.config.descent_config import DescentConfig

# Range of each number; the kernels of `bilevelmorph.layers.descent` reach far enough for them.
RANGES = {
    "step": (0.1, 4.0),
    "update_sigma": (0.3, 2.2),
    "warp_sigma": (0.1, 1.1),
    "window": (3.0, 9.0),
    "weight": (0.01, 100.0),
    "iterations": (0.4, 200.0),
}


class DescentNumbers:
    """The numbers of a `DescentConfig` that tuning changes, as the logarithms in one variable.

    These are the step, both smoothings, the window of ncc, the weights of further similarities
    relative to the first, the weight of the regulariser if there is one, and the
    iterations at each level that has any.

    Args:
        base: Settings to start from; those that are not numbers stay as they are.

    >>> numbers = DescentNumbers(DescentConfig())
    >>> numbers.names
    ['step', 'update_sigma', 'warp_sigma', 'window', 'iterations/2', 'iterations/1']
    >>> numbers.config() == DescentConfig()
    True
    """

    def __init__(self, base: DescentConfig) -> None:
        self.base = base
        start = self.of(base)
        self.names = list(start)
        self.low, self.high = (np.log([self.range(n)[k] for n in self.names]) for k in (0, 1))
        values = np.clip(np.log(np.maximum(list(start.values()), 1e-6)), self.low, self.high)
        self.variable = tf.Variable(values, dtype=tf.float32, name="descent_numbers")

    @property
    def anchor(self) -> str:
        """The similarity whose weight stays, because the scale of the objective has no effect."""
        pairs = zip(self.base.similarity, self.base.similarity_weights, strict=True)
        return next(name for name, weight in pairs if weight > 0)

    def of(self, settings: DescentConfig) -> dict[str, float]:
        """The numbers of settings, by name.

        Args:
            settings: Settings with the levels and similarities of the base.
        """
        base = self.base
        found: dict[str, float] = {n: getattr(settings, n) for n in ("step", "update_sigma", "warp_sigma")}
        if "ncc" in base.similarity:
            found["window"] = settings.window
        weights = dict(zip(settings.similarity, settings.similarity_weights, strict=True))
        first = weights.pop(self.anchor)
        found |= {f"weight/{n}": w / first for n, w in weights.items() if w > 0}
        if base.regularity_weight:
            found["weight/regularity"] = settings.regularity_weight / first
        for level, start, count in zip(base.levels, base.iterations, settings.iterations, strict=True):
            if start:
                found[f"iterations/{level}"] = count
        return found

    @staticmethod
    def range(name: str) -> tuple[float, float]:
        """The smallest and the largest value of a number."""
        return RANGES[name.partition("/")[0]]

    def tensors(self) -> dict[str, tf.Tensor]:
        """The numbers by name, as scalar functions of the variable."""
        return dict(zip(self.names, tf.unstack(tf.exp(self.variable)), strict=True))

    def assign(self, logarithms: Any) -> None:
        """Set the variable, within the ranges."""
        self.variable.assign(np.clip(logarithms, self.low, self.high))

    def of_level(self, numbers: dict[str, Any], level: int) -> dict[str, Any]:
        """The numbers as `bilevelmorph.layers.Descent.optimise` takes them, and the iterations.

        Args:
            numbers: By name, as from `tensors`.
            level: Index of the level.
        """
        found = {n: v for n, v in numbers.items() if "/" not in n}
        found["similarity_weights"] = self._weights(numbers)
        found["iterations"] = numbers[f"iterations/{self.base.levels[level]}"]
        if "weight/regularity" in numbers:
            found["regularity_weight"] = numbers["weight/regularity"]
        return found

    def _weights(self, numbers: dict[str, Any]) -> list[Any]:
        """The weights of the similarities, of which the first is 1."""
        pairs = zip(self.base.similarity, self.base.similarity_weights, strict=True)
        return [numbers.get(f"weight/{n}", 1.0 if w > 0 else 0.0) for n, w in pairs]

    def config(self, values: dict[str, float] | None = None) -> DescentConfig:
        """The settings with these numbers, rounded to three digits.

        Args:
            values: By name; by default those of the variable.
        """
        if values is None:
            values = {n: float(v) for n, v in self.tensors().items()}
        rounded = {n: float(f"{v:.3g}") for n, v in values.items()}
        base = self.base
        changes: dict[str, Any] = {n: v for n, v in rounded.items() if "/" not in n}
        changes["similarity_weights"] = tuple(float(w) for w in self._weights(rounded))
        if base.regularity_weight:
            changes["regularity_weight"] = rounded["weight/regularity"]
        pairs = zip(base.levels, base.iterations, strict=True)
        changes["iterations"] = tuple(round(rounded.get(f"iterations/{s}", n)) for s, n in pairs)
        return base.with_(**changes)


def spent(numbers: dict[str, Any], ndims: int) -> Any:
    """Iterations of a descent, in units of one at full resolution.

    Args:
        numbers: Iterations at each level, by the names of `DescentNumbers`.
        ndims: Number of spatial dimensions.

    >>> spent({"iterations/2": 80, "iterations/1": 30, "step": 1.0}, 3)
    40.0
    """
    parts = [(n.partition("/"), v) for n, v in numbers.items()]
    return sum(v / int(level) ** ndims for (kind, _, level), v in parts if kind == "iterations")
