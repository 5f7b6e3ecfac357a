"""Import of VoxelMorph 0.2 and neurite 0.2 on current Python and Keras.

Both fail to import on Python >= 3.11 with Keras 3, which no longer have
`inspect.getargspec` and two loss functions in `tensorflow.keras.losses`. A
finder on `sys.meta_path` restores these while either package is being imported
and removes them afterwards; the packages' files are not modified. The same
finder registers this package's Keras classes once Keras itself has been
imported, so that `keras.models.load_model` knows them, although importing
`bilevelmorph` does not import TensorFlow.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

REPAIRED = ("neurite", "voxelmorph")
_MEND = "install the TensorFlow releases: pip install voxelmorph==0.2 neurite==0.2"


def _getargspec(function: Any) -> tuple[Any, ...]:
    """The result of `inspect.getargspec` before Python 3.11."""
    return tuple(inspect.getfullargspec(function)[:4])


@contextmanager
def _repair() -> Iterator[None]:
    """Restore the functions that the two packages need while they are being imported."""
    # Imported by name, because tf.keras.losses is the same file loaded as another module.
    losses = importlib.import_module("tensorflow.keras.losses")
    wanted: list[tuple[Any, str, Any]] = [(inspect, "getargspec", _getargspec)]
    for name in ("mean_absolute_error", "mean_squared_error"):
        wanted.append((losses, name, losses.get(name)))
    added = []
    for holder, name, value in wanted:
        if not hasattr(holder, name):
            setattr(holder, name, value)
            added.append((holder, name))
    try:
        yield
    finally:
        for holder, name in added:
            delattr(holder, name)


# The packages of REPAIRED that are being imported, and "keras" while our classes await registration.
_importing: list[str] = []


class _Loader(importlib.abc.Loader):
    """Run a package's own loader, inside the repair or followed by registration."""

    def __init__(self, inner: Any, name: str) -> None:
        self.inner, self.name = inner, name

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.inner
        if module.__spec__ is not None:
            module.__spec__.loader = self.inner
        if self.name == "keras":
            self.inner.exec_module(module)
            _importing.append(self.name)
        elif _is_tensorflow_release(self.name):
            _importing.insert(0, self.name)
            try:
                with _repair():
                    self.inner.exec_module(module)
            finally:
                _importing.remove(self.name)
        else:
            self.inner.exec_module(module)
        # Our layers are subclasses of voxelmorph's, so registration waits until its import has finished.
        if _importing == ["keras"]:
            _importing.clear()
            register()


class _Finder(importlib.abc.MetaPathFinder):
    """Wraps the loaders of voxelmorph, neurite and keras only."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in (*REPAIRED, "keras"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        spec.loader = _Loader(spec.loader, fullname)
        return spec


def install() -> None:
    """Install the import hook; ``import bilevelmorph`` calls this."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    if "keras" in sys.modules and hasattr(sys.modules["keras"], "saving"):
        register()


def register() -> None:
    """Import every module that registers Keras classes, if Keras runs on TensorFlow."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        for name in ("layers", "losses", "networks", "compat.voxelmorph.network_2018"):
            importlib.import_module(f"bilevelmorph.{name}")


def require() -> ModuleType:
    """Import VoxelMorph 0.2.

    Returns:
        The module `voxelmorph`.

    Raises:
        ImportError: VoxelMorph or neurite is missing, is the PyTorch release, or is
            configured for PyTorch or legacy Keras; the message explains the remedy.

    >>> require().__version__
    '0.2'
    """
    for name in REPAIRED:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise ImportError(f"{name} 0.2 is not installed; {_MEND}") from error
        if not _is_tensorflow_release(name):
            raise ImportError(
                f"{name} {version} found, which runs on PyTorch; bilevelmorph extends the "
                f"TensorFlow release 0.2; {_MEND}"
            )
    if os.environ.get("VXM_BACKEND") == "pytorch" or os.environ.get("NEURITE_BACKEND") == "pytorch":
        raise ImportError("VXM_BACKEND or NEURITE_BACKEND is set to pytorch; unset it to use TensorFlow")
    if os.environ.get("TF_USE_LEGACY_KERAS", "0").lower() in ("1", "true"):
        raise ImportError("TF_USE_LEGACY_KERAS is set; unset it, because bilevelmorph needs Keras 3")
    install()
    return importlib.import_module("voxelmorph")


def _is_tensorflow_release(name: str) -> bool:
    try:
        numbers = importlib.metadata.version(name).split(".")[:2]
        return tuple(int(n) for n in numbers) < (0, 3)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False
