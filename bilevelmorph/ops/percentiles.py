"""Percentiles without sorting, because sorting takes quadratic time in some runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

PARTS = 10**4


def percentiles(x: tf.Tensor, percents: Sequence[float]) -> tf.Tensor:
    """Percentiles of every row, interpolated linearly between ranks, as in NumPy.

    Bisection narrows an interval until it contains only the value of the required rank,
    which takes about twenty passes over the data in any runtime.

    Args:
        x: ``[B, N]`` float32, finite.
        percents: P numbers from 0 to 100, rounded to two decimals.

    Returns:
        ``[B, P]``.

    >>> percentiles(tf.constant([[4.0, 0.0, 1.0, 3.0, 2.0]]), (0, 50, 87.5)).numpy().tolist()
    [[0.0, 2.0, 3.5]]
    """
    # Integers, because float32 cannot represent the ranks of large volumes; computed in parts,
    # because products would overflow in runtimes that compute all integers in 32 bits.
    parts = tf.constant([[round(p * PARTS / 100) for p in percents]], tf.int32)
    last = tf.shape(x)[1] - 1
    fine = (last % PARTS) * parts
    rank = (last // PARTS) * parts + fine // PARTS + 1
    share = tf.cast(fine % PARTS, tf.float32) / PARTS
    lowest = tf.repeat(tf.reduce_min(x, 1, keepdims=True), len(percents), 1)
    highest = tf.repeat(tf.reduce_max(x, 1, keepdims=True), len(percents), 1)

    def count(limit: tf.Tensor) -> tf.Tensor:
        return _each(lambda few: tf.reduce_sum(tf.cast(few, tf.int32), 1), x, limit)

    def middle(low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
        return low + (high - low) / 2

    def open_still(low: tf.Tensor, high: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        between = middle(low, high)
        return tf.reduce_any((found != rank) & (between > low) & (between < high))

    def bisect(low: tf.Tensor, high: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, ...]:
        between = middle(low, high)
        n = count(between)
        enough = (n >= rank) & (found != rank)
        low = tf.where(n < rank, between, low)
        return low, tf.where(enough, between, high), tf.where(enough, n, found)

    # The required value is often the lowest one: the background.
    first = count(lowest)
    done = first >= rank
    start = (lowest, tf.where(done, lowest, highest), tf.where(done, first, tf.shape(x)[1]))
    _, high, found = tf.while_loop(open_still, bisect, start)
    value = _each(lambda few: tf.reduce_max(tf.where(few, x, x.dtype.min), 1), x, high)
    after = _each(lambda few: tf.reduce_min(tf.where(few, x.dtype.max, x), 1), x, high)
    # A value that also occupies the next rank, or the highest value, is its own successor.
    after = tf.where((found > rank) | (value >= highest), value, after)
    return value + share * (after - value)


def _each(function: Any, x: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Apply `function` to ``x <= limit`` for each column of ``limit``, one at a time to save memory."""
    return tf.stack([function(x <= limit[:, i : i + 1]) for i in range(limit.shape[1])], 1)
