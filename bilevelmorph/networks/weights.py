"""Weights from other files: ours, and VoxelMorph's HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from bilevelmorph.checks import fail


def load_network(path: str | Path) -> keras.Model:
    """Load a `.keras` model in Keras's safe mode.

    Raises:
        InputError: Not a model, or one that asks for arbitrary code.
    """
    path = Path(path)
    if not path.is_file():
        raise fail(str(path), "no such file", "a .keras model")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise fail(str(path), f"a file that cannot be loaded ({reason})", "a .keras model") from error


def load_weights(network: keras.Model, path: str | Path) -> list[str]:
    """Fill a network from a `.keras` file or from VoxelMorph's `.h5`.

    Args:
        network: Built.
        path: ``.keras`` (the same architecture, or one that lacks a part, as a
            deterministic encoder lacks variances) or ``.h5`` (matched by layer name).

    Returns:
        What of an `.h5` file did not fit, and what of the network it left as it was.

    Raises:
        InputError: Nothing fits, or another architecture.
    """
    if str(path).lower().endswith((".h5", ".hdf5")):
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
    """Where a weight is in its network, whatever that is called."""
    return weight.path.split("/", 1)[-1]


def load_h5(network: keras.Model, path: str | Path) -> list[str]:
    """Read VoxelMorph weights by layer name; see `load_weights`."""
    arrays = read_h5(path)
    layers = network._flatten_layers(include_self=False)
    table = {layer.name: layer for layer in layers if layer.weights}
    notes = []
    used = set()
    for name, values in arrays.items():
        key = _translate(name, table)
        if key is None:
            notes.append(f"{name}: no such layer")
            continue
        shapes = [tuple(w.shape) for w in table[key].weights]
        if [v.shape for v in values] != shapes:
            notes.append(f"{name}: shapes {[v.shape for v in values]}, expected {shapes}")
            continue
        table[key].set_weights(values)
        used.add(key)
    if not used:
        raise fail(
            str(path),
            "no layer that fits this network",
            "VoxelMorph dense weights",
            notes[0] if notes else "",
        )
    return notes + [f"{name}: not in the file" for name in table if name not in used]


def read_h5(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Arrays of every layer with weights in a Keras HDF5 file, by layer name."""
    try:
        with h5py.File(path, "r") as file:
            group = file["model_weights"] if "model_weights" in file else file
            found: dict[str, list[tuple[str, np.ndarray]]] = {}

            def visit(name: str, item: object) -> None:
                if isinstance(item, h5py.Dataset):
                    parts = name.split("/")
                    layer = parts[-2] if len(parts) > 1 else name
                    found.setdefault(layer, []).append((parts[-1], np.asarray(item)))

            group.visititems(visit)
    except OSError as error:
        raise fail(str(path), "a file that is not HDF5", "VoxelMorph's .h5 weights") from error
    order = {"kernel:0": 0, "bias:0": 1, "kernel": 0, "bias": 1}
    return {k: [a for _, a in sorted(v, key=lambda x: order.get(x[0], 2))] for k, v in found.items()}


def _translate(name: str, table: dict[str, keras.layers.Layer]) -> str | None:
    """The layer of this network that a layer name of the file means."""
    if name in table:
        return name
    for ours in table:
        # VoxelMorph prefixes names with that of the model, which its user may choose.
        for part in ("_enc_conv_", "_dec_conv_", "_dec_final_conv_", "_flow", "_log_sigma"):
            if part in name and part in ours and name.split(part, 1)[1] == ours.split(part, 1)[1]:
                return ours
    return None
