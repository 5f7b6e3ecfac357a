"""The one switch that decides what goes through XLA.

On a CPU, convolutions are several times slower through XLA than through
oneDNN while warps are several times faster; so there only the warps, the
integration and the losses are compiled ("islands"). On a GPU the whole
training step is compiled.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import tensorflow as tf

from bilevelmorph.checks import one_of

MODES = ("auto", "off", "islands", "step")
F = TypeVar("F", bound=Callable[..., Any])

_mode = one_of("BILEVELMORPH_XLA", os.environ.get("BILEVELMORPH_XLA", "auto"), MODES)


def mode() -> str:
    """The mode in force: ``"off"``, ``"islands"`` or ``"step"``."""
    if _mode != "auto":
        return _mode
    return "step" if tf.config.list_logical_devices("GPU") else "islands"


@contextmanager
def using(chosen: str) -> Iterator[None]:
    """Set the mode for a block of code; already traced functions keep theirs.

    Args:
        chosen: ``"auto"`` (by device), ``"off"`` (plain TensorFlow, what other
            runtimes can read), ``"islands"`` or ``"step"``.

    >>> with using("off"):
    ...     mode()
    'off'
    """
    global _mode
    before, _mode = _mode, one_of("XLA mode", chosen, MODES)
    try:
        yield
    finally:
        _mode = before


def island(function: F) -> F:
    """Compile a pure tensor function by itself, inside any surrounding graph."""

    # One graph a signature: a shared one would be relaxed to unknown shapes, even ranks.
    @functools.lru_cache(maxsize=512)
    def compiled(signature: Any) -> Any:
        return tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if mode() == "off":
            return function(*args, **kwargs)
        named = tuple((name, _signature(value)) for name, value in sorted(kwargs.items()))
        signature = (*map(_signature, args), *named)
        return compiled(signature)(*args, **kwargs)

    return call  # type: ignore[return-value]


def _signature(value: Any) -> Any:
    """What a graph depends on: dtype and shape of arrays, the value of anything else."""
    shape = getattr(value, "shape", None)
    if shape is None:
        return repr(value)
    sizes = shape.as_list() if hasattr(shape, "as_list") and shape.rank is not None else shape
    return (str(value.dtype), str(sizes))


def compile_step(function: F) -> F:
    """Make a graph of a training step, compiled whole where `mode` says so."""
    return tf.function(function, jit_compile=mode() == "step", autograph=False)
