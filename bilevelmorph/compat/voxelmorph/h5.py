"""HDF5 files of VoxelMorph's dense networks, including those of 2018."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np

from bilevelmorph.compat.voxelmorph.network_2018 import Vxm2018
from bilevelmorph.errors import InputError, fail
from bilevelmorph.io.hdf5 import datasets
from bilevelmorph.networks.vxm_dense import VxmDense

_PARTS = ("_enc_conv_", "_dec_conv_", "_dec_final_conv_", "_flow", "_log_sigma")
_PLAIN = re.compile(r"conv[123]d(?:_(\d+))?")
# Constructor arguments stored by VoxelMorph 0.2; filters are inferred from the arrays.
_KEPT = ("int_steps", "int_resolution", "int_downsize", "svf_resolution", "bidir", "fill_value")


class H5(NamedTuple):
    """The content of a Keras HDF5 file.

    Attributes:
        arrays: Kernel and bias of every layer that has them, by layer name.
        layers: Names of all layers; empty if the file does not list them.
        config: Constructor arguments of the network; empty if the file has none.

    >>> file = H5({"flow": [np.zeros([3, 3, 16, 2]), np.zeros([2])]}, ["input", "flow"], {"int_steps": 5})
    >>> [array.shape for array in file.arrays["flow"]]
    [(3, 3, 16, 2), (2,)]
    """

    arrays: dict[str, list[np.ndarray]]
    layers: list[str]
    config: dict[str, Any]


def is_h5(path: str | Path) -> bool:
    """Whether the name of a file marks it as HDF5."""
    return str(path).lower().endswith((".h5", ".hdf5"))


def read_h5(path: str | Path) -> H5:
    """Read a Keras HDF5 file without running any code in it.

    Raises:
        InputError: The file cannot be read.
    """
    with _reading(path), h5py.File(path, "r") as file:
        if not isinstance(file.get("model_weights", getlink=True), (h5py.HardLink, type(None))):
            raise ValueError("model_weights is a link to somewhere else")
        group = file["model_weights"] if "model_weights" in file else file
        found: dict[str, list[tuple[str, np.ndarray]]] = {}

        for name, item in datasets(group, path):
            parts = name.split("/")
            layer = parts[-2] if len(parts) > 1 else name
            found.setdefault(layer, []).append((parts[-1], np.asarray(item)))
        layers = [_text(name) for name in group.attrs.get("layer_names", ())]
        config = _config(file.attrs.get("model_config"))
    order = {"kernel:0": 0, "bias:0": 1, "kernel": 0, "bias": 1}
    arrays = {k: [a for _, a in sorted(v, key=lambda x: order.get(x[0], 2))] for k, v in found.items()}
    return H5(arrays, layers, config)


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    """Turn any error that a damaged or unrelated file causes into a one-line `InputError`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) and str(path) in str(error):
            raise
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        came = f"a file that cannot be read ({reason})"
        raise fail(str(path), came, "VoxelMorph's .h5 of a dense network") from error


def _text(name: Any) -> str:
    return name.decode("utf-8") if isinstance(name, bytes) else str(name)


def _config(content: Any) -> dict[str, Any]:
    if content is None:
        return {}
    # Broken JSON is an error, because defaults in its place would describe another network.
    table = json.loads(_text(content))
    config = table.get("config") if isinstance(table, dict) else None
    return config if isinstance(config, dict) else {}


def network_of_h5(path: str | Path, **options: Any) -> VxmDense:
    """Build the network of a VoxelMorph HDF5 file, with its weights.

    Args:
        path: File saved by VoxelMorph 0.1 or 0.2, or by its code of 2018.
        **options: Arguments of `VxmDense` or `Vxm2018` that the file does not contain.
            The defaults are 7 squarings, or none for a network of CVPR 2018, and ``ij``
            order, or ``xy`` for a network of 2018 that integrates without `VecInt`.

    Returns:
        `VxmDense` or `Vxm2018`.

    Raises:
        InputError: The file does not contain such a network.
    """
    file = read_h5(path)
    shapes = {name: arrays[0].shape for name, arrays in file.arrays.items() if arrays[0].ndim > 2}
    flow = next((s for name, s in shapes.items() if name.split("/")[-1].endswith("flow")), None)
    if flow is None or len(flow) - 2 not in (2, 3):
        raise fail(str(path), "a file without a layer `flow`", "a dense network of VoxelMorph")
    make = _dense if any("_enc_conv_" in name for name in shapes) else _of_2018
    with _reading(path):
        network = make(path, file, shapes, len(flow) - 2, options)
        network.build()
        notes = load_h5(network, path)
    if notes:
        raise fail(str(path), notes[0], "a dense network of VoxelMorph")
    return network


def _dense(
    path: str | Path, file: H5, shapes: Mapping[str, Any], ndims: int, options: dict[str, Any]
) -> VxmDense:
    def widths(part: str, rising: bool = True) -> list[int]:
        found = {name.split(part, 1)[1]: shape[-1] for name, shape in shapes.items() if part in name}
        return [found[k] for k in sorted(found, key=lambda k: int(k.split("_")[0]), reverse=not rising)]

    encoder = widths("_enc_conv_")
    decoder = widths("_dec_conv_", rising=False) + widths("_dec_final_conv_")
    first = next(s for name, s in shapes.items() if "_enc_conv_0_0" in name)
    kept = {key: file.config[key] for key in _KEPT if file.config.get(key) is not None}
    if file.config.get("unet_half_res"):  # the former name
        kept["svf_resolution"] = 2
    sources = int(file.config.get("src_feats") or first[-2] // 2)
    shared = {"src_feats": sources, "trg_feats": first[-2] - sources}
    probable = any(name.endswith("log_sigma") for name in shapes)
    return VxmDense(ndims, [encoder, decoder], use_probs=probable, **{**shared, **kept, **options})


def _of_2018(
    path: str | Path, file: H5, shapes: Mapping[str, Any], ndims: int, options: dict[str, Any]
) -> VxmDense:
    names = _plain(shapes)
    if len(names) < Vxm2018.LEVELS + 5:
        raise fail(str(path), f"{len(names)} convolutions", "a dense network of VoxelMorph")
    convolutions = [shapes[name] for name in names]
    inputs, last = convolutions[0][-2], Vxm2018.LEVELS + 5
    # Networks at full resolution concatenate the images with the features once more.
    full = len(names) > last and convolutions[last][-2] == convolutions[last - 1][-1] + inputs
    filters = [s[-1] for s in convolutions]
    features = [filters[: Vxm2018.LEVELS], filters[Vxm2018.LEVELS :]]
    probable, scaled = "log_sigma" in shapes, any("int" in name.split("-") for name in file.layers)
    guessed = {
        "int_steps": 0 if full and not probable else 7,
        "scaled": scaled or full,
        "indexing": "ij" if scaled or full else "xy",
    }
    channels = {"src_feats": inputs // 2, "trg_feats": inputs - inputs // 2}
    return Vxm2018(ndims, features, not full, use_probs=probable, **{**channels, **guessed, **options})


def _plain(names: Any) -> list[str]:
    """Convolutions with names generated by Keras, in order of creation."""
    found = {name: match for name in names if (match := _PLAIN.fullmatch(name))}
    return sorted(found, key=lambda name: int(found[name].group(1) or 0))


def load_h5(network: keras.Model, path: str | Path) -> list[str]:
    """Load VoxelMorph's weights into a network by layer name.

    Args:
        network: A built network.
        path: VoxelMorph's ``.h5`` file.

    Returns:
        Notes on layers of the file that did not fit, and on layers that were left unchanged.

    Raises:
        InputError: The file cannot be read, or no layer fits.
    """
    arrays = read_h5(path).arrays
    layers = network._flatten_layers(include_self=False)
    table = {layer.name: layer for layer in layers if layer.weights}
    order = {name: i for i, name in enumerate(_plain(arrays))}
    notes = []
    used = set()
    for name, values in arrays.items():
        key = _translate(name, table, order)
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


def _translate(name: str, table: Mapping[str, keras.layers.Layer], order: Mapping[str, int]) -> str | None:
    """Name of the network's layer that corresponds to a layer of the file; None without one."""
    if name in table:
        return name
    for ours in table:
        # VoxelMorph prefixes layer names with the name of the model, which users may choose.
        for part in _PARTS:
            if part in f"_{name}" and part in ours and f"_{name}".split(part, 1)[1] == ours.split(part, 1)[1]:
                return ours
        if name in order and ours.endswith(f"_plain_conv_{order[name]}"):
            return ours
    return None
