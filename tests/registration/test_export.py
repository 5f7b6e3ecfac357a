"""Exported models: the same numbers without any of our code, and outputs that are never overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from bilevelmorph.cli.main import main
from bilevelmorph.config import DescentConfig
from bilevelmorph.data import preprocessing
from bilevelmorph.networks import PropagationNetwork, VxmDense
from bilevelmorph.registration.instance_optimizer import InstanceOptimizer
from bilevelmorph.registration.serving import Serving, normalise

# Makes an environment in which nothing of ours or of VoxelMorph can be imported.
REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("bilevelmorph", "voxelmorph", "neurite"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
"""
ALONE = """
import sys
import numpy as np, tensorflow as tf
folder, arrays = sys.argv[1:]
model = tf.saved_model.load(folder)
with np.load(arrays) as a:
    pair = {k: tf.constant(a[k]) for k in ("moving", "fixed")}
    out = model.signatures["register"](**pair)
    same = model.signatures["serving_default"](**pair)
    moved = model.signatures["warp"](
        image=tf.constant(a["labels"]), displacement=out["displacement"], nearest=tf.constant(True))
np.savez(arrays + ".out.npz", labels=moved["moved"], default=same["displacement"], **out)
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The environment of a process that has TensorFlow and nothing of ours."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "sitecustomize.py").write_text(REFUSE, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", "import bilevelmorph"]
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 1
    return environment


def make(kind):
    keras.utils.set_random_seed(0)
    if kind == "propagation":
        network = PropagationNetwork(
            3, (4, 2), ((), (4,), (4,)), (4,), (4,), 1, analytic_steps=["argmin", "gradient"]
        )
    else:
        network = VxmDense(3, [[4, 4], [4, 4]], int_steps=3)
    network.build()
    return network


@pytest.mark.parametrize("percentiles", [(0.5, 99.5), (0, 100), (10, 60)])
@pytest.mark.parametrize("shape", [(7, 9), (5, 6, 4)])
def test_normalisation_is_that_of_the_files(percentiles, shape):
    images = np.random.default_rng(0).gamma(1, 300, (3, *shape, 1)).astype(np.float32)
    images[2] = 5
    expected = [preprocessing.normalise(x, percentiles) for x in images]
    np.testing.assert_allclose(normalise(tf.constant(images), percentiles), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["propagation", "vxm"])
def test_a_savedmodel_needs_tensorflow_alone(tmp_path, kind, rng, alone):
    network = make(kind)
    network.save(tmp_path / "model.keras")
    command = ["export", "--model", str(tmp_path / "model.keras"), "--out", str(tmp_path / "saved")]
    assert main(command) == 0
    pair = {k: rng.gamma(1, 300, (2, 13, 10, 11, 1)).astype(np.float32) for k in ("moving", "fixed")}
    labels = rng.integers(0, 4, (2, 13, 10, 11, 1)).astype(np.float32)
    np.savez(tmp_path / "arrays", **pair, labels=labels)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path / "saved"), str(tmp_path / "arrays.npz")],
        env=alone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    serving = Serving(network)
    expected = serving.register(*(tf.constant(x) for x in pair.values()))
    moved = serving.warp(tf.constant(labels), expected["displacement"], tf.constant(True))["moved"]
    with np.load(tmp_path / "arrays.npz.out.npz") as found:
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5 * np.abs(value).max())
        np.testing.assert_allclose(found["default"], found["displacement"], atol=1e-5)
        assert (found["labels"] == moved.numpy()).mean() > 0.999
    assert np.abs(expected["displacement"]).max() > 0


def test_iterations_inside(small, tmp_path, rng):
    """Of one SavedModel for all sizes; each sample of a batch is optimised on its own."""
    settings = DescentConfig(iterations=(0, 4), similarity=("mse",))
    settings.save(tmp_path / "tuned.json")
    command = ["export", "--model", small[1], "--quality", "best", "--settings", str(tmp_path / "tuned.json")]
    assert main([*command, "--out", str(tmp_path / "saved")]) == 0
    register = tf.saved_model.load(str(tmp_path / "saved")).signatures["register"]
    for shape in ((2, 13, 18, 1), (1, 16, 12, 1)):
        images = gaussian_filter(rng.random((2, *shape)), (0, 0, 2, 2, 0)).astype(np.float32)
        found = register(moving=tf.constant(images[0]), fixed=tf.constant(images[1]))
        alone = Serving(small[0]).register(*(tf.constant(x) for x in images))
        for k in range(shape[0]):
            optimizer = InstanceOptimizer(settings, xla="off")
            pair = [normalise(tf.constant(x[k : k + 1])).numpy()[0, ..., 0] for x in images]
            expected = optimizer(alone["displacement"][k].numpy(), *pair)
            np.testing.assert_allclose(found["displacement"][k], expected.displacement, atol=1e-4)
        assert np.abs(found["displacement"] - alone["displacement"]).max() > 0.5


def test_nothing_is_overwritten(tmp_path, capsys):
    make("vxm").save(tmp_path / "model.keras")
    command = ["export", "--model", str(tmp_path / "model.keras"), "--out"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("precious", encoding="utf-8")
    for out, message in (("full", "not empty"), ("model.keras", "not empty"), ("no/such", "existing one")):
        assert main([*command, str(tmp_path / out)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert message in lines[0]
    assert (tmp_path / "full" / "file").read_text(encoding="utf-8") == "precious"
    assert main(["export", "--model", "none-such", "--out", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small 2-D network, in a file too."""
    keras.utils.set_random_seed(0)
    network = PropagationNetwork(
        2, (4, 2), ((), (4,), (4,)), (4,), (4,), 1, int_steps=3, analytic_steps=["argmin"]
    )
    network.build()
    path = tmp_path_factory.mktemp("small") / "small.keras"
    network.save(path)
    return network, str(path)


@pytest.fixture(scope="module")
def saved(small, tmp_path_factory):
    """The small network as a SavedModel, with requests to warm up by."""
    pytest.importorskip("tensorflow_serving")
    folder = tmp_path_factory.mktemp("saved") / "1"
    command = ["export", "--model", small[1], "--serving-warmup", "13", "18", "--out", str(folder)]
    assert main(command) == 0
    return folder


@pytest.fixture
def pair(rng):
    return {k: rng.random((1, 13, 18, 1)).astype(np.float32) for k in ("moving", "fixed")}


def test_tensorflows_own_command_runs_it(small, saved, pair, alone, tmp_path):
    np.savez(tmp_path / "pair.npz", **pair)
    tool = Path(sys.executable).with_name("saved_model_cli")
    inputs = ";".join(f"{k}={tmp_path}/pair.npz[{k}]" for k in pair)
    flags = ["--tag_set", "serve", "--signature_def", "register", "--inputs", inputs]
    command = [str(tool), "run", "--dir", str(saved), *flags, "--outdir", str(tmp_path)]
    done = subprocess.run(command, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for name, value in Serving(small[0]).register(**pair).items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), value, atol=1e-5)


def test_openvino_reads_it(small, saved, rng):
    """Its integers have 32 bits, so there have to be voxels enough for ranks to overflow."""
    openvino = pytest.importorskip("openvino")
    pair = {k: rng.gamma(1, 1, (1, 190, 170, 1)).astype(np.float32) for k in ("moving", "fixed")}
    run = openvino.Core().compile_model(str(saved), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = run(pair)
    for name, value in Serving(small[0]).register(**pair).items():
        np.testing.assert_allclose(found[name], value, atol=1e-4 * np.abs(value).max())


def test_warm_up_requests_are_answered(saved):
    """By the signatures that they name; TensorFlow Serving sends them to itself."""
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    model, names = tf.saved_model.load(str(saved)), []
    for record in tf.data.TFRecordDataset(str(saved / "assets.extra" / "tf_serving_warmup_requests")):
        request = PredictionLog.FromString(record.numpy()).predict_log.request
        names.append(request.model_spec.signature_name)
        inputs = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
        out = model.signatures[names[-1]](**inputs)
        assert out["moved"].shape == (1, 13, 18, 1)
    assert names == ["register", "warp"]


def test_half_as_many_bytes(tmp_path, rng):
    keras.utils.set_random_seed(0)
    network = VxmDense(2, [[32, 64], [64, 64]], int_steps=3)
    network.build()
    network.flow.kernel.assign(0.1 * rng.normal(size=network.flow.kernel.shape))
    network.save(tmp_path / "model.keras")
    pair = {k: tf.constant(rng.random((1, 16, 12, 1)), tf.float32) for k in ("moving", "fixed")}
    sizes, fields = [], []
    for precision in ("float32", "float16"):
        folder = tmp_path / precision
        command = ["export", "--model", str(tmp_path / "model.keras"), "--precision", precision]
        assert main([*command, "--out", str(folder)]) == 0
        sizes.append(sum(p.stat().st_size for p in (folder / "variables").iterdir()))
        out = tf.saved_model.load(str(folder)).signatures["register"](**pair)
        fields.append(out["displacement"].numpy())
    assert sizes[1] < 0.55 * sizes[0]
    assert 0 < np.abs(fields[1] - fields[0]).max() < 0.01 * np.abs(fields[0]).max()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--serving-warmup", "13"], "--serving-warmup: got 1 sizes"),
        (["--serving-warmup", "13", "0"], "--serving-warmup: got 0"),
        (["--serving-warmup", "13", "18", "--format", "onnx"], "--serving-warmup: got --format onnx"),
        (["--precision", "float16", "--format", "stablehlo"], "--precision: got --format stablehlo"),
        (["--shape", "13", "18"], "--shape: got --format savedmodel"),
    ],
)
def test_what_does_not_fit_a_savedmodel(small, tmp_path, capsys, flags, message):
    assert main(["export", "--model", small[1], *flags, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_onnx_is_the_same_in_its_runtime(small, tmp_path):
    """On sizes that need padding and on those that do not, from one file."""
    runtime = pytest.importorskip("onnxruntime")
    network, file = small
    out, flags = tmp_path / "small.onnx", ["--model", file, "--format", "onnx"]
    assert main(["export", *flags, "--out", str(tmp_path / "small.txt")]) == 2
    assert main(["export", *flags, "--out", str(out)]) == 0
    session = runtime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for batch, shape in ((1, (16, 20)), (2, (13, 18))):
        pair = {k: rng.random((batch, *shape, 1)).astype(np.float32) for k in ("moving", "fixed")}
        expected = Serving(network).register(**{k: tf.constant(v) for k, v in pair.items()})
        names = [o.name for o in session.get_outputs()]
        found = dict(zip(names, session.run(None, pair), strict=True))
        assert set(found) == {"moved", "displacement"}
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], atol=1e-4)


# Runs in a process that TensorFlow is not imported into.
XLA = """
import sys
import jax, numpy as np
from jaxlib import xla_client
code, arrays = sys.argv[1:]
devices = jax.devices("cpu")[:1]
program = open(code, "rb").read()
options = xla_client.CompileOptions()
run = devices[0].client.compile_and_load(program, xla_client.DeviceList(tuple(devices)), options)
with np.load(arrays) as a:
    out = run.execute_sharded([jax.device_put(a[k], devices[0]) for k in ("moving", "fixed")])
moved, displacement = (np.asarray(x[0]) for x in out.disassemble_into_single_device_arrays())
assert "tensorflow" not in sys.modules
np.savez(arrays + ".out.npz", moved=moved, displacement=displacement)
"""


@pytest.mark.parametrize("steps", [0, 2])
def test_stablehlo_is_the_same_without_tensorflow(small, tmp_path, capsys, steps):
    pytest.importorskip("jax")
    network, file = small
    out, flags = tmp_path / "small.stablehlo", ["--model", file, "--format", "stablehlo"]
    for wrong, message in (
        (["--out", str(out)], "--shape: got nothing"),
        (["--out", str(out), "--shape", "13"], "--shape: got 1 sizes"),
        (["--out", str(out), "--shape", "13", "0"], "--shape: got 0"),
        (["--out", str(tmp_path / "small.txt"), "--shape", "13", "18"], ".stablehlo"),
    ):
        assert main(["export", *flags, *wrong]) == 2
        assert message in capsys.readouterr().err
    flags += ["--instance-steps", str(steps)]
    assert main(["export", *flags, "--out", str(out), "--shape", "13", "18"]) == 0
    rng = np.random.default_rng(0)
    pair = {k: rng.random((1, 13, 18, 1)).astype(np.float32) for k in ("moving", "fixed")}
    np.savez(tmp_path / "pair.npz", **pair)
    command = [sys.executable, "-c", XLA, str(out), str(tmp_path / "pair.npz")]
    subprocess.run(command, check=True, capture_output=True)
    settings = DescentConfig(iterations=(steps, steps)) if steps else None
    serving = Serving(network, settings=settings)
    expected = serving.register(**{k: tf.constant(v) for k, v in pair.items()})
    with np.load(tmp_path / "pair.npz.out.npz") as found:
        for name in ("moved", "displacement"):
            np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
