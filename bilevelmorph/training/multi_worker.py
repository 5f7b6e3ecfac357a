"""Keras's `fit` over several machines."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class MultiWorkerStrategy(tf.distribute.MultiWorkerMirroredStrategy):
    """TensorFlow's strategy for several machines, adapted to the `fit` of Keras 3.

    Keras 3 passes whole batches and scalars to `reduce`, to be averaged along their
    first axis, which TensorFlow's own class rejects (keras issue 20585). Create the
    strategy on every machine, each with its `TF_CONFIG`, before any other computation.

    Args:
        **kwargs: Arguments of `tf.distribute.MultiWorkerMirroredStrategy`.

    >>> MultiWorkerStrategy.__base__.__name__
    'CollectiveAllReduceStrategy'
    """

    def reduce(self, reduce_op: Any, value: Any, axis: int | None) -> Any:
        """Reduce a value or a structure of values; scalars have no axis to reduce over."""

        def one(part: Any) -> Any:
            flat = self.experimental_local_results(part)[0].shape.rank == 0
            return super(MultiWorkerStrategy, self).reduce(reduce_op, part, None if flat else axis)

        return tf.nest.map_structure(one, value)
