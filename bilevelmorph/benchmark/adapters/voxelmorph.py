"""VoxelMorph 0.2 itself (Balakrishnan, Dalca et al.), trained on the training scans of the same data."""

from __future__ import annotations

from typing import Any

PACKAGES = ("tensorflow", "tf-keras", "neurite==0.2", "voxelmorph==0.2")
MODULES = ("tensorflow", "tf_keras", "neurite", "voxelmorph")
SETTINGS = {
    "vm": "local correlation, squared gradient, Adam 1e-4; weight chosen on validation pairs",
    "vm-diff": "the same with a velocity that is integrated in 7 steps",
}
# It is trained once with each, and the best on validation pairs is taken.
WEIGHTS = (0.5, 1.0, 2.0)
WARM_UP = 2
_INTEGRATION = {"vm": 0, "vm-diff": 7}
_models: dict[str, Any] = {}


def train(job: Any) -> None:
    """Train on random pairs of `job.images`, npy files of one shape, for `job.seconds`.

    The result is written to ``job.out + ".h5"``. `job` also has ``weight``, ``setting``, ``seed`` and
    ``threads``.
    """
    import time

    import numpy

    tensorflow, voxelmorph = _imported(job.threads)
    tensorflow.random.set_seed(job.seed)
    rng = numpy.random.default_rng(job.seed)
    scans = [numpy.load(path)[None, ..., None] for path in job.images]
    shape = scans[0].shape[1:-1]
    model = voxelmorph.networks.VxmDense(shape, int_steps=_INTEGRATION[job.setting])
    losses = [voxelmorph.losses.NCC().loss, voxelmorph.losses.Grad("l2", loss_mult=2).loss]
    optimizer = tensorflow.keras.optimizers.Adam(1e-4)
    model.compile(optimizer, loss=losses, loss_weights=[1.0, job.weight])
    nothing = numpy.zeros((1, *model.outputs[1].shape[1:]), "float32")
    begun = time.perf_counter()
    while time.perf_counter() - begun < job.seconds:
        moving, fixed = (scans[i] for i in rng.choice(len(scans), 2, replace=False))
        model.train_on_batch([moving, fixed], [fixed, nothing])
    model.save(f"{job.out}.h5")


def prepare(case: Any) -> Any:
    """Load the model, once, and read the images."""
    import nibabel
    import numpy

    _, voxelmorph = _imported(case.threads)
    if case.model not in _models:
        _models[case.model] = voxelmorph.networks.VxmDense.load(f"{case.model}.h5", input_model=None)
    files: list[Any] = [nibabel.load(file) for file in (case.moving, case.fixed)]
    if files[0].shape != files[1].shape or not numpy.allclose(files[0].affine, files[1].affine, atol=1e-3):
        raise ValueError("needs both images on one grid: compare with --shape or --start affine")
    images = [numpy.asarray(file.dataobj, "float32")[None, ..., None] for file in files]
    return _models[case.model], images


def register(prepared: Any) -> Any:
    """One pass."""
    model, images = prepared
    return model.register(*images)


def save(prepared: Any, result: Any, path: str) -> None:
    """Write the displacement."""
    import numpy

    numpy.save(f"{path}.npy", numpy.asarray(result[0], "float32"))


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
