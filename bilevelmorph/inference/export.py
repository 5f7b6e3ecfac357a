"""Models in the forms that other runtimes read."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from bilevelmorph.checks import fail, one_of
from bilevelmorph.inference.serving import Serving
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.volumes.files import replacing

# Of ONNX's operators, what runtimes of the last years read.
OPSET = 18


def export_savedmodel(network: RegistrationNetwork, folder: str | Path) -> Path:
    """Write a SavedModel that needs nothing but TensorFlow.

    Args:
        network: To be exported.
        folder: New or empty.

    Returns:
        The folder. It holds the signatures `serving_default`, `register` and
        `warp`; see `Serving`.

    Raises:
        InputError: The folder holds something, or cannot be made.
    """
    folder = free_folder(folder)
    archive = keras.export.ExportArchive()
    archive.track(network)
    serving = Serving(network)
    for name, (function, inputs) in serving.signatures().items():
        archive.add_endpoint(name, tf.function(function, autograph=False), inputs)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
    try:
        archive.write_out(str(temporary / "model"), verbose=False)
        if folder.is_dir():
            folder.rmdir()
        (temporary / "model").rename(folder)
    finally:
        shutil.rmtree(temporary)
    return folder


def export_onnx(network: RegistrationNetwork, path: str | Path) -> Path:
    """Write `Serving.register` as ONNX: ``moving`` and ``fixed`` to ``moved`` and ``displacement``, any size.

    Args:
        network: To be exported.
        path: Of the file; it appears whole or not at all.

    Returns:
        The path.

    Raises:
        InputError: Another ending, no such folder, or tf2onnx is not installed.
    """
    one_of(f"ending of {path}", Path(path).suffix.lower(), (".onnx",))
    try:
        import tf2onnx
    except ImportError as error:
        raise fail("--format onnx", "no tf2onnx here", "it", "pip install 'bilevelmorph[onnx]'") from error
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    function, inputs = Serving(network).signatures()["register"]
    graph = tf.function(function, autograph=False)
    model, _ = tf2onnx.convert.from_function(graph, inputs, opset=OPSET)
    with replacing(path) as temporary:
        Path(temporary).write_bytes(model.SerializeToString())
    return Path(path)


def free_folder(folder: str | Path) -> Path:
    """The folder's path, if it does not exist or is empty."""
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise fail("--out", f"{folder}, which is not empty", "a new or empty folder")
    if not folder.resolve().parent.is_dir():
        raise fail("--out", f"{folder}", "a folder in an existing one", f"make {folder.parent} first")
    return folder
