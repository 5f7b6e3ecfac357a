"""Requests that TensorFlow Serving makes at start-up, so that the first caller does not wait."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from bilevelmorph.errors import fail

# Where TensorFlow Serving looks for these requests in the folder of a SavedModel.
FILE = Path("assets.extra") / "tf_serving_warmup_requests"


def write_warm_up(folder: str | Path, shape: Sequence[int], channels: int = 1) -> Path:
    """Add a warm-up request for `register` and one for `warp` to a SavedModel.

    Args:
        folder: Folder of the SavedModel.
        shape: Image size ``[*S]``.
        channels: Channels of each image.

    Returns:
        The path of the file with the requests.

    Raises:
        InputError: tensorflow-serving-api is not installed.
    """
    try:
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
    except ImportError as error:
        fix = "pip install 'bilevelmorph[serving]'"
        raise fail("serving_warmup", "no installation of tensorflow-serving-api", "one", fix) from error
    images = tf.random.stateless_uniform([2, 1, *shape, channels], [0, 0])
    requests = {
        "register": {"moving": images[0], "fixed": images[1]},
        "warp": {
            "image": images[0],
            "displacement": tf.zeros([1, *shape, len(shape)]),
            "nearest": tf.constant(False),
        },
    }
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            log = PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
            writer.write(log.SerializeToString())
    return path
