"""Deformable registration of medical images on TensorFlow and Keras.

Importing this package opens the doorway to VoxelMorph 0.2 and arranges for
its Keras classes to be registered; TensorFlow itself is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

from bilevelmorph import vxm as _vxm

__version__ = "0.1.0"

_LAZY = ("inference", "layers", "losses", "metrics", "networks", "ops", "report", "training", "volumes")

_vxm.install()


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"bilevelmorph.{name}")
    if name == "load_model":
        return importlib.import_module("bilevelmorph.inference.models").load_model
    if name == "register":
        return importlib.import_module("bilevelmorph.inference.register").register
    raise AttributeError(f"module 'bilevelmorph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_LAZY, "load_model", "register"]
