"""Deformable registration of medical images on TensorFlow and Keras.

Importing this package makes `import voxelmorph` (0.2) work with current versions of
Python and Keras, and registers the Keras classes of this package as soon as Keras is
imported. TensorFlow itself is imported on first use.

>>> import bilevelmorph as bm
>>> "register" in dir(bm)
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from bilevelmorph.compat.voxelmorph import import_hook as _import_hook

if TYPE_CHECKING:
    from bilevelmorph import (
        autoreg,
        bilevel,
        config,
        data,
        datasets,
        io,
        layers,
        losses,
        metrics,
        models,
        networks,
        ops,
        registration,
        report,
        training,
    )
    from bilevelmorph.autoreg.run import search
    from bilevelmorph.config import SearchConfig, TrainingConfig
    from bilevelmorph.data.volume import Volume
    from bilevelmorph.errors import InputError
    from bilevelmorph.io.volumes import load_volume, save_volume
    from bilevelmorph.models.bundled import load_model
    from bilevelmorph.registration.apply_warp import warp
    from bilevelmorph.registration.evaluation import evaluate
    from bilevelmorph.registration.registrar import Registrar, register
    from bilevelmorph.registration.result import Registration
    from bilevelmorph.training.run import train
    from bilevelmorph.training.trainer import Trainer

__version__ = "0.2.0.dev0"

# The module that defines each public name; it is imported on first use.
_PLACES = {
    "InputError": "errors",
    "Registrar": "registration.registrar",
    "Registration": "registration.result",
    "SearchConfig": "config",
    "Trainer": "training.trainer",
    "TrainingConfig": "config",
    "Volume": "data.volume",
    "evaluate": "registration.evaluation",
    "load_model": "models.bundled",
    "load_volume": "io.volumes",
    "register": "registration.registrar",
    "save_volume": "io.volumes",
    "search": "autoreg.run",
    "train": "training.run",
    "warp": "registration.apply_warp",
}

__all__ = [
    "InputError",
    "Registrar",
    "Registration",
    "SearchConfig",
    "Trainer",
    "TrainingConfig",
    "Volume",
    "__version__",
    "autoreg",
    "bilevel",
    "config",
    "data",
    "datasets",
    "evaluate",
    "io",
    "layers",
    "load_model",
    "load_volume",
    "losses",
    "metrics",
    "models",
    "networks",
    "ops",
    "register",
    "registration",
    "report",
    "save_volume",
    "search",
    "train",
    "training",
    "warp",
]

_import_hook.install()


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(importlib.import_module(f"bilevelmorph.{_PLACES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"bilevelmorph.{name}")
    raise AttributeError(f"module 'bilevelmorph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
