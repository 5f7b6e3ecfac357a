"""The device that TensorFlow runs on, and what XLA compiles."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from bilevelmorph.errors import fail, one_of

XLA_MODES = ("auto", "off", "islands", "step")
# `using_xla` overrides the environment variable, in its own thread only.
_DEFAULT: str = one_of("BILEVELMORPH_XLA", os.environ.get("BILEVELMORPH_XLA", "auto"), XLA_MODES)
_xla: ContextVar[str] = ContextVar("xla", default=_DEFAULT)


def xla_request() -> str:
    """The requested mode, one of `XLA_MODES`, to be passed on to worker processes."""
    return _xla.get()


def xla_mode() -> str:
    """The mode in force here: ``"off"``, ``"islands"`` or ``"step"``."""
    chosen = xla_request()
    if chosen != "auto":
        return chosen
    import tensorflow as tf

    return "step" if tf.config.list_logical_devices("GPU") else "islands"


@contextmanager
def using_xla(mode: str) -> Iterator[None]:
    """Set what XLA compiles in a block of code; graphs already traced are not affected.

    Args:
        mode: ``"auto"`` keeps the current mode, which depends on the device unless an outer
            block or ``BILEVELMORPH_XLA`` sets it; ``"off"`` compiles nothing, so that
            other runtimes can read the graphs; ``"islands"`` compiles warps, integration
            and losses separately; ``"step"`` compiles whole training steps.

    >>> with using_xla("off"):
    ...     xla_mode()
    'off'
    """
    one_of("xla", mode, XLA_MODES)
    token = _xla.set(_xla.get() if mode == "auto" else mode)
    try:
        yield
    finally:
        _xla.reset(token)


@contextmanager
def _silence() -> Iterator[None]:
    """Silence stderr, including C++ output, because TensorFlow prints at start-up at any log level."""
    keep, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(keep, 2)
        os.close(keep)
        os.close(nothing)


# Keras and TensorFlow import these, where they are installed, for data frames, plots and conversions
# that the programs do not use; they would take a third of the start.
_UNUSED = ("jax", "matplotlib", "pandas", "sklearn")


@contextmanager
def _without_unused() -> Iterator[None]:
    """Import TensorFlow as if these packages were not installed; afterwards they can be imported."""
    hidden = [name for name in _UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None stops an import
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def choose_gpu(number: str) -> None:
    """Import TensorFlow and restrict it to the given GPUs; ``-1`` selects the CPU.

    For programs: in this process Keras takes no data frames of pandas.

    Args:
        number: Comma-separated GPU numbers, from 0. On a machine without a GPU, ``0`` selects the CPU.
    """
    with _silence(), _without_unused():
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    if number in ("-1", "") or (not gpus and number == "0"):
        tf.config.set_visible_devices([], "GPU")
        return
    try:
        chosen = [gpus[int(i)] for i in number.split(",")]
    except (ValueError, IndexError) as error:
        here = f"numbers from 0 to {len(gpus) - 1}, or -1" if gpus else "-1, because there is no GPU"
        raise fail("gpu", number, here) from error
    tf.config.set_visible_devices(chosen, "GPU")
    for gpu in chosen:
        tf.config.experimental.set_memory_growth(gpu, True)


def use_threads(count: int) -> None:
    """Limit TensorFlow to this many CPU threads; 0 leaves the choice to TensorFlow."""
    if count:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(count)
