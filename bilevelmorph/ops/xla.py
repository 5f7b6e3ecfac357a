"""Compilation of operations and of training steps by XLA.

On a CPU, XLA makes convolutions several times slower than oneDNN but warps
several times faster; there, XLA compiles only the warps, the integration and
the losses ("islands"). On a GPU it compiles the whole training step.
`bilevelmorph.devices.using_xla` overrides the choice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tensorflow as tf

from bilevelmorph.devices import using_xla, xla_mode

F = TypeVar("F", bound=Callable[..., Any])


def xla_jit(function: F) -> F:
    """Compile a pure tensor function separately from any surrounding graph."""

    # One graph per signature: TensorFlow would relax a shared one to unknown shapes and even ranks.
    @functools.lru_cache(maxsize=512)
    def compiled(signature: Any) -> Any:
        graph = tf.function(function, jit_compile=True, autograph=False)
        # A graph per signature is meant; TensorFlow would warn of frequent retracing.
        graph._omit_frequent_tracing_warning = True
        return graph

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if xla_mode() == "off":
            return function(*args, **kwargs)
        named = tuple((name, _signature(value)) for name, value in sorted(kwargs.items()))
        signature = (*map(_signature, args), *named)
        return compiled(signature)(*args, **kwargs)

    return call  # type: ignore[return-value]


def _signature(value: Any) -> Any:
    """Key of an argument of a traced graph: dtype and shape of an array, the value of anything else."""
    shape = getattr(value, "shape", None)
    if shape is None:
        return repr(value)
    sizes = shape.as_list() if hasattr(shape, "as_list") and shape.rank is not None else shape
    return (str(value.dtype), str(sizes))


def compile_step(function: F, xla: str = "auto") -> F:
    """Turn a training step into a TensorFlow graph.

    Args:
        function: Function of tensors.
        xla: Parts that XLA compiles, see `using_xla`.
    """

    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        with using_xla(xla):
            return function(*args, **kwargs)

    with using_xla(xla):
        return tf.function(traced, jit_compile=xla_mode() == "step", autograph=False)


def compile_for_any_size(function: Callable[..., Any], arguments: Sequence[Any], xla: str = "auto") -> Any:
    """Trace a function once for images of all sizes.

    Args:
        function: Function of tensors.
        arguments: Examples of its arguments, nested structures of tensors; what is ``[B, *S, C]`` may
            have other spatial sizes later.
        xla: See `compile_step`.

    Returns:
        The graph, a function of such arguments.

    >>> double = compile_for_any_size(lambda image: 2 * image, [tf.ones([1, 4, 4, 1])])
    >>> double(tf.ones([1, 5, 6, 1])).shape.as_list()
    [1, 5, 6, 1]
    """

    def free(x: tf.Tensor) -> tf.TensorSpec:
        sizes = x.shape.as_list()
        if len(sizes) > 2:
            sizes = [sizes[0], *[None] * (len(sizes) - 2), sizes[-1]]
        return tf.TensorSpec(sizes, x.dtype)

    graph: Any = compile_step(function, xla)
    return graph.get_concrete_function(*tf.nest.map_structure(free, list(arguments)))
