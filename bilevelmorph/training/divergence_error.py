"""The error that ends a training run whose values are no longer finite."""

from __future__ import annotations


class DivergenceError(RuntimeError):
    """A loss became NaN or infinite; the last checkpoint is still good.

    >>> raise DivergenceError("similarity is no longer finite at step 7 (epoch 1)")
    Traceback (most recent call last):
    bilevelmorph.training.divergence_error.DivergenceError: similarity is no longer finite at step 7 (epoch 1)
    """
