"""Export of models for other runtimes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.errors import fail, one_of, positive
from bilevelmorph.io.atomic import atomic_path
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.registration.serving import Serving
from bilevelmorph.registration.serving_warmup import write_warm_up
from bilevelmorph.temporary import temporary_folder

# ONNX operator set, supported by the runtimes of recent years.
OPSET = 18


def export_savedmodel(
    network: RegistrationNetwork,
    folder: str | Path,
    precision: str = "float32",
    warm_up: Sequence[int] = (),
    settings: DescentConfig | None = None,
) -> Path:
    """Write a SavedModel that needs only TensorFlow.

    Args:
        network: The network to export.
        folder: A new or empty folder.
        precision: Precision of the stored weights, see `Serving`.
        warm_up: Size ``[*S]`` of the images that TensorFlow Serving registers at start-up;
            by default it registers none.
        settings: Settings of instance optimisation, see `Serving`.

    Returns:
        The folder. It holds the signatures `serving_default`, `register` and
        `warp`; see `Serving`.

    Raises:
        InputError: The folder is not empty or cannot be created.
    """
    folder = free_folder(folder)
    if warm_up:
        check_sizes("serving_warmup", warm_up, network)
    module, serving = tf.Module(), Serving(network, precision, settings)
    module.weights = serving.weights
    graphs = {
        name: tf.function(function, autograph=False).get_concrete_function(*inputs)
        for name, (function, inputs) in serving.signatures().items()
    }
    # Traced once for both names.
    signatures = {**graphs, "serving_default": graphs["register"]}
    save = tf.saved_model.SaveOptions(experimental_debug_stripper=True)
    with temporary_folder(".writing", folder.parent) as temporary:
        tf.saved_model.save(module, str(temporary / "model"), signatures, save)
        if warm_up:
            write_warm_up(temporary / "model", warm_up, network.channels)
        if folder.is_dir():
            folder.rmdir()
        (temporary / "model").rename(folder)
    return folder


def export_onnx(
    network: RegistrationNetwork, path: str | Path, settings: DescentConfig | None = None
) -> Path:
    """Write `Serving.register` as ONNX, for images of any size.

    The inputs are ``moving`` and ``fixed``, the outputs ``moved`` and ``displacement``.

    Args:
        network: The network to export.
        path: File to write; it appears whole or not at all.
        settings: Settings of instance optimisation, see `Serving`.

    Returns:
        The path.

    Raises:
        InputError: The extension is wrong, the folder is missing, the file exists, or
            tf2onnx is not installed.
    """
    path = free_file(path, ".onnx")
    try:
        import tf2onnx
    except ImportError as error:
        raise fail("ONNX", "no installation of tf2onnx", "one", "pip install 'bilevelmorph[onnx]'") from error
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    function, inputs = Serving(network, settings=settings).signatures()["register"]
    graph = tf.function(function, autograph=False)
    model, _ = tf2onnx.convert.from_function(graph, inputs, opset=OPSET)
    with atomic_path(path) as temporary:
        Path(temporary).write_bytes(model.SerializeToString())
    return path


def export_stablehlo(
    network: RegistrationNetwork,
    path: str | Path,
    shape: Sequence[int],
    settings: DescentConfig | None = None,
) -> Path:
    """Write `Serving.register` as StableHLO bytecode from ``(moving, fixed)`` to ``(moved, displacement)``.

    Args:
        network: The network to export; its weights become constants.
        path: File to write; it appears whole or not at all.
        shape: Image size ``[*S]``, which StableHLO fixes; the batch size is 1.
        settings: Settings of instance optimisation, see `Serving`.

    Returns:
        The path.

    Raises:
        InputError: The extension is wrong, the folder is missing, the file exists, or the
            network cannot take images of this size.
    """
    path = free_file(path, ".stablehlo")
    check_sizes("shape", shape, network)
    function, _ = Serving(network, settings=settings).signatures()["register"]
    image = [1, *shape, network.channels]
    inputs = [tf.TensorSpec(image, tf.float32, name=name) for name in ("moving", "fixed")]

    def pair(moving: tf.Tensor, fixed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        out = function(moving, fixed)
        return out["moved"], out["displacement"]

    graph = tf.function(pair, autograph=False).get_concrete_function(*inputs)
    frozen = convert_variables_to_constants_v2(graph, lower_control_flow=False)
    whole = tf.function(lambda *images: tuple(frozen(*images)), jit_compile=True, autograph=False)
    code = whole.experimental_get_compiler_ir(*inputs)(stage="stablehlo_serialized")
    with atomic_path(path) as temporary:
        Path(temporary).write_bytes(code)
    return path


def check_sizes(name: str, shape: Sequence[int], network: RegistrationNetwork) -> None:
    """Refuse image sizes that the network cannot take."""
    if len(shape) != network.ndims:
        raise fail(name, f"{len(shape)} sizes", f"{network.ndims}, one per axis of the model")
    for size in shape:
        positive(name, size, whole=True)


def free_file(path: str | Path, ending: str) -> Path:
    """Return the path of a new file, or raise `InputError` if it exists or cannot be written."""
    path = Path(path)
    one_of(f"ending of {path}", path.suffix.lower(), (ending,))
    if path.exists():
        raise fail("out", f"{path}, which is there", "a new file")
    if not path.resolve().parent.is_dir():
        raise fail("out", f"{path}", "a file in an existing folder", f"make {path.parent} first")
    return path


def free_folder(folder: str | Path) -> Path:
    """Return the path of a new or empty folder, else raise `InputError`."""
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise fail("out", f"{folder}, which is not empty", "a new or empty folder")
    if not folder.resolve().parent.is_dir():
        raise fail("out", f"{folder}", "a folder in an existing one", f"make {folder.parent} first")
    return folder
