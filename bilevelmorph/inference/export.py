"""Models in the forms that other runtimes read."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from bilevelmorph.checks import fail
from bilevelmorph.inference.serving import Serving
from bilevelmorph.networks.base import RegistrationNetwork


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


def free_folder(folder: str | Path) -> Path:
    """The folder's path, if it does not exist or is empty."""
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise fail("--out", f"{folder}, which is not empty", "a new or empty folder")
    if not folder.resolve().parent.is_dir():
        raise fail("--out", f"{folder}", "a folder in an existing one", f"make {folder.parent} first")
    return folder
