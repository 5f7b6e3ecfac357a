"""VoxelMorph 0.2's side of the comparison of speed, under legacy Keras; run by `benchmarks.speed`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PACKAGES = ("tensorflow", "tf-keras", "neurite==0.2", "voxelmorph==0.2")
MODULES = ("tensorflow", "tf_keras", "neurite", "voxelmorph")
SETTINGS: dict[str, str] = {}
_ready: dict[str, Callable[[], Any]] = {}


def prepare(case: Any) -> Callable[[], Any]:
    """The function to time, warmed up."""
    if case.setting not in _ready:
        import inspect
        import os

        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        previous: Any = inspect
        previous.getargspec = lambda function: tuple(inspect.getfullargspec(function)[:4])
        import numpy as np
        import tensorflow as tf
        import voxelmorph as vxm

        if not _ready:
            tf.config.threading.set_intra_op_parallelism_threads(case.threads)
        with np.load(case.fixed) as file:
            arrays = {key: file[key] for key in file.files}
        name = case.setting.partition("@")[0]
        _ready[case.setting] = globals()[f"_{name}"](tf, vxm, arrays)
        for _ in range(2):
            _ready[case.setting]()
    return _ready[case.setting]


def register(prepared: Callable[[], Any]) -> Any:
    """The timed call."""
    return prepared()


def save(prepared: Any, result: Any, path: str) -> None:
    """Nothing is kept."""


def _pair(arrays: dict[str, Any]) -> list[Any]:
    return [arrays[key][None, ..., None] for key in ("moving", "fixed")]


def _warp(tf: Any, vxm: Any, arrays: dict[str, Any]) -> Callable[[], Any]:
    layer = vxm.layers.SpatialTransformer()
    image, field = tf.constant(arrays["moving"][None, ..., None]), tf.constant(arrays["field"][None])
    run = tf.function(lambda x, u: layer([x, u]), autograph=False)
    return lambda: run(image, field).numpy()


def _warp_gradient(tf: Any, vxm: Any, arrays: dict[str, Any]) -> Callable[[], Any]:
    layer = vxm.layers.SpatialTransformer()
    image, field = tf.constant(arrays["moving"][None, ..., None]), tf.constant(arrays["field"][None])

    @tf.function(autograph=False)
    def run(x: Any, u: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, u])
            total = tf.reduce_sum(layer([x, u]) ** 2)
        return tape.gradient(total, [x, u])

    return lambda: [tf.convert_to_tensor(g).numpy() for g in run(image, field)]


def _integration(tf: Any, vxm: Any, arrays: dict[str, Any]) -> Callable[[], Any]:
    layer, velocity = vxm.layers.VecInt(int_steps=7), tf.constant(arrays["velocity"][None])
    run = tf.function(layer.__call__, autograph=False)
    return lambda: run(velocity).numpy()


def _forward(tf: Any, vxm: Any, arrays: dict[str, Any]) -> Callable[[], Any]:
    """One pass of VxmDense with its defaults, to moved image and displacement."""
    model = vxm.networks.VxmDense(arrays["fixed"].shape)
    pair = [tf.constant(x) for x in _pair(arrays)]
    inner = model.get_registration_model()
    run = tf.function(lambda a, b: inner([a, b], training=False), autograph=False)
    return lambda: run(*pair).numpy()


_forward_vxm_dense = _forward


def _training_step(tf: Any, vxm: Any, arrays: dict[str, Any]) -> Callable[[], Any]:
    model = vxm.networks.VxmDense(arrays["fixed"].shape)
    losses = [vxm.losses.NCC().loss, vxm.losses.Grad("l2", loss_mult=2).loss]
    model.compile(tf.keras.optimizers.Adam(1e-4), loss=losses, loss_weights=[1.0, 1.0])
    pair, shape = _pair(arrays), model.outputs[1].shape[1:]
    import numpy as np

    nothing = np.zeros((1, *shape), "float32")
    return lambda: model.train_on_batch(pair, [pair[1], nothing])
