"""VoxelMorph 0.2 itself (Balakrishnan, Dalca et al.), trained on the training scans of the same data."""

from __future__ import annotations

from typing import Any

PACKAGES = ("tensorflow", "tf-keras", "neurite==0.2", "voxelmorph==0.2")
MODULES = ("tensorflow", "tf_keras", "neurite", "voxelmorph")
SETTINGS = {
    "vm": "local correlation, squared gradient, Adam 1e-4; weight chosen on validation pairs",
    "vm-diff": "the same with a velocity that is integrated in 7 steps",
    "hypermorph": "the same network as vm, conditioned on the weight (Hoopes et al.)",
}
# The weights of the squared gradient: VoxelMorph is trained with each, HyperMorph once for as long in all.
WEIGHTS = (0.5, 1.0, 2.0)
WARM_UP = 2
_INTEGRATION = {"vm": 0, "vm-diff": 7, "hypermorph": 0}
_models: dict[str, Any] = {}


def train(job: Any) -> None:
    """Train on random pairs of `job.images`, npy files of one shape, for `job.seconds`.

    The weights are written to ``job.out + ".h5"``. `job` also has ``weight``, ``setting``, ``seed`` and
    ``threads``.
    """
    import os
    import shutil
    import time

    import numpy

    tf, vxm = _imported(job.threads)
    conditioned = job.setting == "hypermorph"
    common = os.path.join(os.path.dirname(job.out), "hypermorph.h5")
    if conditioned and os.path.isfile(common):
        shutil.copy(common, f"{job.out}.h5")
        return
    tf.random.set_seed(job.seed)
    rng = numpy.random.default_rng(job.seed)
    scans = [tf.constant(numpy.load(path)[None, ..., None]) for path in job.images]
    model = _network(vxm, job.setting, scans[0].shape[1:-1])
    similarity, regularity = vxm.losses.NCC().loss, vxm.losses.Grad("l2", loss_mult=2).loss
    optimizer = tf.keras.optimizers.Adam(1e-4)

    @tf.function
    def step(moving: Any, fixed: Any, share: Any) -> None:
        given = [moving, fixed, tf.reshape(share, [1, 1])] if conditioned else [moving, fixed]
        with tf.GradientTape() as tape:
            moved, flow = model(given, training=True)
            loss = (1 - share) * tf.reduce_mean(similarity(fixed, moved))
            loss += share * tf.reduce_mean(regularity(None, flow))
        found = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(found, model.trainable_variables, strict=True))

    seconds = job.seconds * (len(WEIGHTS) if conditioned else 1)
    begun: float | None = None  # the first step, which compiles, is not counted
    while begun is None or time.perf_counter() - begun < seconds:
        moving, fixed = (scans[i] for i in rng.choice(len(scans), 2, replace=False))
        share = rng.random() if conditioned else _share(job.weight)
        step(moving, fixed, tf.constant(share, tf.float32))
        begun = begun or time.perf_counter()
    model.save_weights(f"{job.out}.h5")
    if conditioned:
        shutil.copy(f"{job.out}.h5", common)


def prepare(case: Any) -> Any:
    """Load the model, once, and read the images."""
    import nibabel
    import numpy

    tf, vxm = _imported(case.threads)
    files: list[Any] = [nibabel.load(file) for file in (case.moving, case.fixed)]
    if files[0].shape != files[1].shape or not numpy.allclose(files[0].affine, files[1].affine, atol=1e-3):
        raise ValueError("needs both images on one grid: compare with --shape or --start affine")
    images = [tf.constant(numpy.asarray(file.dataobj, "float32")[None, ..., None]) for file in files]
    key = f"{case.model} {files[0].shape}"
    if key not in _models:
        model = _network(vxm, case.setting, files[0].shape)
        model.load_weights(f"{case.model}.h5")
        deformation = tf.keras.Model(model.inputs, model.references.pos_flow)
        _models[key] = tf.function(lambda given: deformation(given, training=False), autograph=False)
    if case.setting == "hypermorph":
        images.append(tf.constant([[_share(float(case.model.rpartition("-")[2]))]], tf.float32))
    return _models[key], images


def register(prepared: Any) -> Any:
    """One pass."""
    model, images = prepared
    return model(images).numpy()


def save(prepared: Any, result: Any, path: str) -> None:
    """Write the displacement."""
    import numpy

    numpy.save(f"{path}.npy", result[0])


def _share(weight: float) -> float:
    """The weight of the squared gradient where both weights sum to one."""
    return weight / (1 + weight)


def _network(vxm: Any, setting: str, shape: Any) -> Any:
    kind = vxm.networks.HyperVxmDense if setting == "hypermorph" else vxm.networks.VxmDense
    return kind(tuple(shape), int_steps=_INTEGRATION[setting])


def _imported(threads: int) -> Any:
    """TensorFlow and VoxelMorph, which runs on legacy Keras and on what Python had before 3.11."""
    import inspect
    import os
    import sys

    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    first = "tensorflow" not in sys.modules
    previous: Any = inspect
    if not hasattr(inspect, "getargspec"):
        previous.getargspec = lambda function: tuple(inspect.getfullargspec(function)[:4])
    import tensorflow
    import voxelmorph

    if first:
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    return tensorflow, voxelmorph
