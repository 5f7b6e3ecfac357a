"""One layer whose operation is searched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import fail, one_of, positive, spatial_rank
from bilevelmorph.layers.convolution import SLOPE
from bilevelmorph.ops.grid import as_field
from bilevelmorph.ops.kernels import compose_separable, dilate, embed, identity_kernel

OPERATIONS = ("skip", "conv1", "conv3", "conv5", "conv7", "sep3", "sep5", "sep7", "dil3", "dil5", "dil7")
DILATION = 2


@keras.saving.register_keras_serializable("bilevelmorph")
class MixedOp(keras.layers.Layer):
    """A softmax mixture of operations (or a single one), then bias and leaky ReLU.

    Every operation is linear, so the mixture of the operations is one convolution
    with the mixture of their kernels, and costs as much as the largest of them.

    In a mixture, each kernel is its weight times the gain of its operation (`gain_of`);
    initial kernels are scaled as without a gain. Adam moves all weights by about the same
    amount, which is a larger share of the initial magnitude for a kernel of many taps.
    Without the gain such a kernel would win because it learns faster, even if it is no
    better in the end.

    Args:
        ndims: 2 or 3.
        filters: Channels of the output.
        operations: Names from `OPERATIONS`: ``convK``, a convolution of kernel size K;
            ``sepK``, K-tap convolutions along one axis after another; ``dilK``, a
            convolution of K taps with dilation 2; ``skip``, the input itself.
        temperature: Temperature of the softmax; lower values make it more decisive.

    The logits `alpha` are not trainable weights: only `ArchitectureProblem` updates
    them.

    Input: ``[B, *S, C]``. Output: ``[B, *S, filters]``.

    Reference: Fan et al., AutoReg, TIP 2023; Liu et al., DARTS, ICLR 2019.

    >>> MixedOp(2, 4, ["conv1", "conv3", "skip"])(tf.ones([1, 8, 8, 3])).shape.as_list()
    [1, 8, 8, 4]
    """

    def __init__(
        self,
        ndims: int,
        filters: int,
        operations: Sequence[str] = OPERATIONS,
        temperature: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ndims = spatial_rank("ndims", ndims, (2, 3))
        self.filters = int(positive("filters", filters, whole=True))
        self.operations = [one_of("operations", name, OPERATIONS) for name in operations]
        if not self.operations or len(set(self.operations)) < len(self.operations):
            raise fail("operations", self.operations, "at least one, each once")
        self.temperature = positive("temperature", temperature)

    @property
    def extent(self) -> int:
        """Voxels that the largest operation spans along every axis."""
        return max(extent_of(name) for name in self.operations)

    def build(self, input_shape: Any) -> None:
        channels = input_shape[-1]
        self._kernels = {name: self._add_kernels(name, channels) for name in self.operations}
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        if len(self.operations) > 1:
            count = (len(self.operations),)
            self.alpha = self.add_weight(name="alpha", shape=count, initializer="zeros", trainable=False)
            self.softmax_temperature = self.add_weight(
                name="temperature",
                shape=(),
                initializer=keras.initializers.Constant(self.temperature),
                trainable=False,
            )
        self.built = True

    def _add_kernels(self, name: str, channels: int) -> list[Any]:
        """The weights of an operation: none, one kernel, or one factor per axis."""
        kind, size = _parse(name)
        if kind == "skip":
            return []
        if kind != "sep":
            shapes = [(*[size] * self.ndims, channels, self.filters)]
        else:
            inputs = [channels, *[self.filters] * (self.ndims - 1)]
            shapes = [(size, n, self.filters) for n in inputs]
        # He initialisation of the kernel after its gain.
        initial = ("fan_in", "truncated_normal")
        initializers = [
            keras.initializers.VarianceScaling(2.0 / self._gain(name) ** 2, *initial) for _ in shapes
        ]
        return [
            self.add_weight(name=f"{name}_{i}", shape=shape, initializer=initializer)
            for i, (shape, initializer) in enumerate(zip(shapes, initializers, strict=True))
        ]

    def _gain(self, name: str) -> float:
        return gain_of(name, self.ndims) if len(self.operations) > 1 else 1.0

    @property
    def kernels(self) -> dict[str, tf.Tensor]:
        """All kernels, or their factors, by the path of the weight."""
        return {
            weight.path: kernel
            for name in self.operations
            for weight, kernel in zip(
                self._kernels[name], self._parts(name, self.variable_dtype), strict=True
            )
        }

    def _parts(self, name: str, dtype: Any) -> list[tf.Tensor]:
        """The kernel of an operation, or its factors."""
        parts = [tf.cast(tf.convert_to_tensor(k), dtype) for k in self._kernels[name]]
        gain = self._gain(name)
        # Keeps pointless multiplications out of decoded networks and exported graphs.
        return parts if gain == 1.0 else [gain * p for p in parts]

    @property
    def probabilities(self) -> tf.Tensor:
        """Probabilities of the operations, ``[len(operations)]`` float32."""
        if len(self.operations) == 1:
            return tf.ones([1])
        return tf.nn.softmax(as_field(self.alpha) / as_field(self.softmax_temperature))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if len(self.operations) == 1:
            y = self._apply(self.operations[0], x)
        else:
            shares = tf.unstack(tf.cast(self.probabilities, x.dtype), len(self.operations))
            kernels = [self._dense(name, x) for name in self.operations]
            kernel = tf.add_n([p * k for p, k in zip(shares, kernels, strict=True)])
            y = tf.nn.convolution(x, kernel, padding="SAME")
        return tf.nn.leaky_relu(y + tf.cast(self.bias, x.dtype), SLOPE)

    def _dense(self, name: str, x: tf.Tensor) -> tf.Tensor:
        """The dense kernel of an operation, padded to the common extent."""
        kind, _ = _parse(name)
        parts = self._parts(name, x.dtype)
        if kind == "skip":
            kernel = tf.constant(identity_kernel(self.ndims, x.shape[-1], self.filters), x.dtype)
        elif kind == "sep":
            kernel = compose_separable(parts)
        else:
            kernel = dilate(parts[0], DILATION) if kind == "dil" else parts[0]
        return embed(kernel, self.extent)

    def _apply(self, name: str, x: tf.Tensor) -> tf.Tensor:
        """A single operation, computed as cheaply as possible."""
        kind, _ = _parse(name)
        parts = self._parts(name, x.dtype)
        if kind == "skip":
            surplus = self.filters - x.shape[-1]
            return (
                tf.pad(x, [*[[0, 0]] * (self.ndims + 1), [0, surplus]])
                if surplus > 0
                else x[..., : self.filters]
            )
        if kind == "sep":
            for axis, part in enumerate(parts):
                shape = [part.shape[0] if a == axis else 1 for a in range(self.ndims)]
                x = tf.nn.convolution(x, tf.reshape(part, [*shape, *part.shape[1:]]), padding="SAME")
            return x
        return tf.nn.convolution(x, parts[0], padding="SAME", dilations=DILATION if kind == "dil" else 1)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return (*tuple(input_shape)[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "ndims": self.ndims,
            "filters": self.filters,
            "operations": self.operations,
            "temperature": self.temperature,
        }


def _parse(name: str) -> tuple[str, int]:
    return ("skip", 1) if name == "skip" else (name[:-1], int(name[-1]))


def extent_of(name: str) -> int:
    """Voxels that an operation spans along every axis.

    >>> extent_of("dil3"), extent_of("sep5"), extent_of("skip")
    (5, 5, 1)
    """
    kind, size = _parse(name)
    return DILATION * (size - 1) + 1 if kind == "dil" else size


def gain_of(name: str, ndims: int) -> float:
    """Factor of the weights of an operation in a mixture.

    With this gain a step of Adam changes all kernels by the same share of their initial
    (He) magnitude, namely that of a ``conv3``, whose gain is 1.

    >>> [round(gain_of(name, 3), 2) for name in ("conv1", "conv3", "conv5", "sep3", "sep5")]
    [5.2, 1.0, 0.46, 1.0, 0.77]
    """
    kind, size = _parse(name)
    if kind == "skip":
        return 1.0
    # A separable kernel changes with each of its factors, so their shares add up.
    taps = ndims**2 * size if kind == "sep" else size**ndims
    return math.sqrt(3**ndims / taps)


def multiply_adds(name: str, ndims: int, inputs: int, outputs: int) -> int:
    """Multiply-adds of an operation per voxel.

    >>> multiply_adds("conv3", 3, 8, 16), multiply_adds("sep3", 3, 8, 16), multiply_adds("skip", 3, 8, 16)
    (3456, 1920, 0)
    """
    kind, size = _parse(name)
    if kind == "skip":
        return 0
    if kind == "sep":
        return size * outputs * (inputs + (ndims - 1) * outputs)
    return size**ndims * inputs * outputs
