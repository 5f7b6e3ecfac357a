"""Loading of models and weights from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from bilevelmorph.compat.voxelmorph.h5 import is_h5, load_h5, network_of_h5
from bilevelmorph.errors import InputError, fail


def load_network(path: str | Path) -> keras.Model:
    """Load a `.keras` model in Keras's safe mode, or VoxelMorph's network from its `.h5`.

    Raises:
        InputError: The file is not a model, or contains arbitrary code.
    """
    path = Path(path)
    if not path.is_file():
        raise fail(str(path), "no such file", "a .keras model")
    if is_h5(path):
        return network_of_h5(path)
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except InputError as error:
        raise fail(str(path), f"a model that cannot be built ({error})", "a .keras model") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise fail(str(path), f"a file that cannot be loaded ({reason})", "a .keras model") from error
    for weight in model.weights:
        values = np.asarray(weight)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            came = f"weights that are not finite, in {_inside(weight)}"
            raise fail(str(path), came, "a trained model", "train again with a lower rate")
    return model


def load_weights(network: keras.Model, path: str | Path) -> list[str]:
    """Load weights into a network from a `.keras` file or VoxelMorph's `.h5`.

    Args:
        network: A built network.
        path: ``.keras`` (the same architecture, or one that lacks some layers, as a
            deterministic encoder lacks variances) or ``.h5`` (matched by layer name).

    Returns:
        Notes on layers of an `.h5` file that did not fit, and on weights that were left unchanged.

    Raises:
        InputError: No layer fits, or the architecture differs.
    """
    if is_h5(path):
        return load_h5(network, path)
    other = load_network(path)
    theirs, ours = other.weights, network.weights
    if [w.shape for w in theirs] == [w.shape for w in ours]:
        pairs = list(zip(ours, theirs, strict=True))
    else:
        table = {_inside(w): w for w in ours}
        pairs = [(table.get(_inside(w)), w) for w in theirs]
    if any(mine is None or mine.shape != weight.shape for mine, weight in pairs):
        raise fail(
            str(path), f"{other.count_params()} weights of another network", f"{network.count_params()}"
        )
    for mine, weight in pairs:
        mine.assign(weight)
    filled = {id(mine) for mine, _ in pairs}
    return [f"{_inside(w)}: not in the file" for w in ours if id(w) not in filled]


def _inside(weight: Any) -> str:
    """The path of a weight within its network, independent of the network's name."""
    return weight.path.split("/", 1)[-1]
