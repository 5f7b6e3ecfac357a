"""Our networks as citizens of Keras: in other people's models, in `fit`, over devices, in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from processes import free_ports

from bilevelmorph.devices import using_xla  # noqa: F401  for the processes
from bilevelmorph.losses import LocalNCC
from bilevelmorph.networks import AutoRegNetwork, Genotype, IdentityNetwork, PropagationNetwork, VxmDense

pytestmark = pytest.mark.usefixtures("plain_graphs")


def make(kind):
    """A small network; the same weights every time."""
    keras.utils.set_random_seed(1)
    if kind == "vxm":
        network = VxmDense(2, [[4, 4], [4, 4]], int_steps=2)
    elif kind == "cells":
        network = AutoRegNetwork.of(Genotype.uniform("conv3", (4, 2), 1, 4), 2, int_steps=2)
    elif kind == "still":
        network = IdentityNetwork(2)
    elif kind == "one scale":  # a graph for each device: half as much to trace
        network = PropagationNetwork(2, (2,), ((), (4,)), (4,), (4,), int_steps=1)
    else:
        network = PropagationNetwork(2, (4, 2), ((), (4,), (4,)), (4,), (4,), int_steps=2)
    network.build()
    return network


def pairs(count=4, seed=0):
    """Smooth images in pairs."""
    noise = tf.random.stateless_uniform([2 * count, 5, 5, 1], [0, seed])
    images = tf.image.resize(noise, [16, 20])
    return images[:count], images[count:]


@pytest.mark.parametrize("kind", ["propagation", "cells"])
def test_as_a_layer_in_another_model_that_is_fitted_saved_and_loaded(kind, tmp_path):
    """Someone's own normalisation before it, someone's own loss after it, in `model.fit` with tf.data."""
    moving, fixed = (keras.Input([16, 20, 1], name=n) for n in ("moving", "fixed"))
    out = make(kind)([keras.layers.Rescaling(0.5)(moving), keras.layers.Rescaling(0.5)(fixed)])
    model = keras.Model([moving, fixed], out["moved"])
    model.compile(keras.optimizers.Adam(3e-3), LocalNCC(5))
    m, f = pairs()
    data = tf.data.Dataset.from_tensor_slices(((m, f), f / 2)).batch(2).repeat(8)
    losses = model.fit(data, verbose=0, epochs=2, shuffle=False).history["loss"]
    assert losses[1] < losses[0]
    model.save(tmp_path / "other.keras")
    again = keras.models.load_model(tmp_path / "other.keras")
    np.testing.assert_allclose(again.predict([m, f], verbose=0), model.predict([m, f], verbose=0), atol=1e-6)


@pytest.mark.parametrize("kind", ["vxm", "cells", "still"])
def test_loaded_in_a_fresh_process_with_nothing_but_the_import(kind, tmp_path):
    network, (m, f) = make(kind), pairs(1)
    network.save(tmp_path / "model.keras")
    np.savez(tmp_path / "pair.npz", m=m, f=f)
    code = "import sys, numpy as np, bilevelmorph, keras\n"
    code += "model = keras.models.load_model(sys.argv[1] + '/model.keras')\n"
    code += "pair = np.load(sys.argv[1] + '/pair.npz')\n"
    code += "out = model.predict([pair['m'], pair['f']], verbose=0)\n"
    code += "np.save(sys.argv[1] + '/out.npy', out['displacement'])\n"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), network([m, f])["displacement"], atol=1e-6)


def test_under_mixed_precision_in_fit():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        network = make("propagation")
        network.compile(keras.optimizers.Adam(1e-3), {"moved": LocalNCC(5), "displacement": None})
        m, f = pairs()
        losses = network.fit([m, f], {"moved": f}, epochs=2, batch_size=2, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy(before)
    assert np.isfinite(losses).all()
    assert all(w.dtype == "float32" for w in network.trainable_weights)


# Prints the losses of two epochs: with one device and two, or as one of several processes.
FIT = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import tensorflow as tf
if sys.argv[3] == "workers":
    from bilevelmorph.training.multi_worker import MultiWorkerStrategy
    strategies = [MultiWorkerStrategy()]
else:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategies = [tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])]
from test_in_keras import LocalNCC, keras, make, pairs, using_xla
def losses(strategy):
    with strategy.scope():
        network = make("one scale")
        network.compile(keras.optimizers.Adam(1e-3), {"moved": LocalNCC(5), "displacement": None})
    m, f = pairs(4)
    data = tf.data.Dataset.from_tensor_slices(((m, f), {"moved": f})).batch(2)
    return network.fit(data, epochs=2, shuffle=False, verbose=0).history["loss"]
with using_xla("off"):
    print(json.dumps([losses(s) for s in strategies]))
"""


def start(kind, **environment):
    """A process that fits."""
    folder = Path(__file__).parent
    command = [sys.executable, "-c", FIT, str(folder), str(folder.parent), kind]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, **environment}, **pipes)


def result(process):
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error[-2000:]
    return json.loads(out.splitlines()[-1])


def test_two_devices_and_two_processes_give_the_loss_of_one():
    ports = free_ports(2)
    addresses = [f"localhost:{port}" for port in ports]
    workers = []
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        workers.append(start("workers", TF_CONFIG=json.dumps(task)))
    one, two = result(start("devices"))
    assert one[1] < one[0]
    np.testing.assert_allclose(two, one, atol=1e-5)
    for worker in workers:
        np.testing.assert_allclose(result(worker)[0], one, atol=1e-5)
