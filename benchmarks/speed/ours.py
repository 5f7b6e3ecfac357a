"""Our side of the comparison of speed; run by `benchmarks.speed`, with the setting CASE@SIZE."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES = ("bilevelmorph",)
MODULES = ("bilevelmorph",)
SETTINGS: dict[str, str] = {}
_ready: dict[str, Callable[[], Any]] = {}
# Iterations that are timed together.
ITERATIONS = 10


def prepare(case: Any) -> Callable[[], Any]:
    """The function to time, warmed up."""
    if case.setting not in _ready:
        import numpy as np

        name = case.setting.partition("@")[0]
        with np.load(case.fixed) as file:
            arrays = {key: file[key] for key in file.files}
        if name not in ("affine", "register_cold"):
            from bilevelmorph.devices import choose_gpu, use_threads

            choose_gpu("-1")
            use_threads(case.threads)
        _ready[case.setting] = _CASES[name](arrays, Path(case.fixed))
        for _ in range(0 if name == "register_cold" else 2):
            _ready[case.setting]()
    return _ready[case.setting]


def register(prepared: Callable[[], Any]) -> Any:
    """The timed call."""
    return prepared()


def save(prepared: Any, result: Any, path: str) -> None:
    """Nothing is kept."""


def _copy(arrays: dict[str, Any], path: Path) -> Callable[[], Any]:
    """As many bytes as a warp reads and writes: the limit of any warp."""
    import numpy as np

    parts = [arrays["moving"], arrays["field"]]
    places = [np.empty_like(part) for part in parts]
    return lambda: [np.copyto(place, part) for place, part in zip(places, parts, strict=True)]


def _warp(arrays: dict[str, Any], path: Path) -> Callable[[], Any]:
    import tensorflow as tf

    from bilevelmorph.layers import SpatialTransformer

    layer, image, field = SpatialTransformer(), *(_tensor(arrays[k]) for k in ("moving", "field"))
    run = tf.function(lambda x, u: layer([x, u]), autograph=False)
    return lambda: run(image, field).numpy()


def _warp_gradient(arrays: dict[str, Any], path: Path) -> Callable[[], Any]:
    """Gradients by image and displacement."""
    import tensorflow as tf

    from bilevelmorph.layers import SpatialTransformer

    layer, image, field = SpatialTransformer(), *(_tensor(arrays[k]) for k in ("moving", "field"))

    @tf.function(autograph=False)
    def run(x: Any, u: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, u])
            total = tf.reduce_sum(layer([x, u]) ** 2)
        return tape.gradient(total, [x, u])

    return lambda: [g.numpy() for g in run(image, field)]


def _integration(arrays: dict[str, Any], path: Path) -> Callable[[], Any]:
    import tensorflow as tf

    from bilevelmorph.layers import VecInt

    layer, velocity = VecInt(int_steps=7), _tensor(arrays["velocity"])
    run = tf.function(layer.call, autograph=False)
    return lambda: run(velocity).numpy()


def _convolution(arrays: dict[str, Any], path: Path) -> Callable[[], Any]:
    """16 to 16 channels at half resolution, which is most of an encoder."""
    import keras
    import numpy as np
    import tensorflow as tf

    features = tf.constant(np.repeat(arrays["velocity"][None, ..., :1], 16, -1))
    layer = keras.layers.Conv3D(16, 3, padding="same")
    layer.build(features.shape)
    run = tf.function(layer, autograph=False)
    return lambda: run(features).numpy()


def _forward(model: str) -> Callable[..., Callable[[], Any]]:
    def make(arrays: dict[str, Any], path: Path) -> Callable[[], Any]:
        from bilevelmorph.models import load_model
        from bilevelmorph.networks import VxmDense
        from bilevelmorph.registration.predictor import Predictor

        network = VxmDense(3) if model == "vxm_dense" else load_model(model)
        predictor = Predictor(network, compiled=True)
        return lambda: predictor(arrays["moving"], arrays["fixed"]).displacement

    return make


def _descent(arrays: dict[str, Any], path: Path) -> Callable[[], Any]:
    """Iterations at full resolution."""
    import numpy as np

    from bilevelmorph.config import DescentConfig
    from bilevelmorph.registration.instance_optimizer import InstanceOptimizer

    settings = DescentConfig(levels=(1,), iterations=(ITERATIONS,), tolerance=0.0, patience=ITERATIONS)
    optimizer = InstanceOptimizer(settings)
    start = np.zeros((*arrays["fixed"].shape, 3), np.float32)
    return lambda: optimizer(start, arrays["moving"], arrays["fixed"]).displacement


def _affine(arrays: dict[str, Any], path: Path) -> Callable[[], Any]:
    import numpy as np

    from bilevelmorph.data.volume import Volume
    from bilevelmorph.registration.affine import align

    moving, fixed = (Volume(arrays[k], np.eye(4)) for k in ("moving", "fixed"))
    return lambda: align(moving, fixed)


def _register_cold(arrays: dict[str, Any], path: Path) -> Callable[[], Any]:
    """The whole command, from files to files, in a new process."""
    files = [f"{path.with_suffix('')}-{name}.nii.gz" for name in ("moving", "fixed")]
    line = [
        sys.executable,
        "-m",
        "bilevelmorph.cli.main",
        "register",
        "--moving",
        files[0],
        "--fixed",
        files[1],
    ]
    line += ["--affine", "affine", "--quality", "fast", "--quiet", "--gpu", "-1"]
    line += ["--moved", str(path.with_name("moved.nii.gz"))]
    return lambda: subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _register_warm(arrays: dict[str, Any], path: Path) -> Callable[[], Any]:
    """The same in a process that has registered a pair of this size."""
    from bilevelmorph.io.volumes import load_volume, save_volume
    from bilevelmorph.registration import Registrar

    registrar = Registrar("general", "affine", compiled=True, quality="fast")

    def run() -> None:
        pair = (load_volume(f"{path.with_suffix('')}-{name}.nii.gz") for name in ("moving", "fixed"))
        save_volume(path.with_name("moved.nii.gz"), registrar(*pair).moved)

    return run


def _training_step(arrays: dict[str, Any], path: Path) -> Callable[[], Any]:
    """A step of the network of `general`."""
    return _steps(arrays)["plain"]


def _bilevel_step(arrays: dict[str, Any], path: Path) -> Callable[[], Any]:
    """A step of the network, and one of its loss weights."""
    steps = _steps(arrays)
    return lambda: (steps["plain"](), steps["outer"]())


def _steps(arrays: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    import keras
    import tensorflow as tf

    from bilevelmorph.losses.energy import Energy
    from bilevelmorph.models import load_model
    from bilevelmorph.training.loss_weight_problem import LossWeightProblem
    from bilevelmorph.training.loss_weights import LossWeights
    from bilevelmorph.training.trainer import Trainer

    weights = LossWeights({"similarity": 1.0, "regularity": 1.0}, ["similarity"])
    problem = LossWeightProblem(weights, None)
    trainer = Trainer(load_model("general"), Energy("ncc", 7, weights=weights), [problem])
    trainer.compile(keras.optimizers.Adam(1e-4))
    batch = {key: _tensor(arrays[key]) for key in ("moving", "fixed")}
    labels = {f"{key}_labels": tf.cast(value > 0.5, tf.float32) for key, value in batch.items()}
    zero = tf.constant(0, tf.int64)

    def plain() -> Any:
        return {key: value.numpy() for key, value in trainer.steps[0](zero, batch).items()}

    def outer() -> Any:
        found = trainer.outer_steps["weights"](zero, batch, batch | labels)
        return {key: value.numpy() for key, value in found.items()}

    return {"plain": plain, "outer": outer}


def _tensor(array: Any) -> Any:
    """With a batch axis and, if it is an image, channels."""
    import tensorflow as tf

    return tf.constant(array[None] if array.ndim == 4 else array[None, ..., None])


_CASES: dict[str, Callable[..., Callable[[], Any]]] = {
    "copy": _copy,
    "warp": _warp,
    "warp_gradient": _warp_gradient,
    "integration": _integration,
    "convolution": _convolution,
    "forward": _forward("general"),
    "forward_vxm_dense": _forward("vxm_dense"),
    "descent": _descent,
    "affine": _affine,
    "register_cold": _register_cold,
    "register_warm": _register_warm,
    "training_step": _training_step,
    "bilevel_step": _bilevel_step,
}
