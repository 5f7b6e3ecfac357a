"""Run VoxelMorph 0.2 itself, under legacy Keras; not a test, started by test_vxm_dense.py."""

import inspect
import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
inspect.getargspec = lambda function: tuple(inspect.getfullargspec(function)[:4])

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import voxelmorph as vxm  # noqa: E402

FEATURES = [[8, 8, 8, 8], [8, 8, 8, 8, 8, 4]]
KINDS = {
    "vm": {"int_steps": 0},
    "diff": {"int_steps": 7, "int_resolution": 2},
    "probs": {"use_probs": True},
    "bidir": {"bidir": True, "fill_value": 0.25},
}
# Every network answers once or twice: to trace it would take longer than that.
tf.config.run_functions_eagerly(True)
rng = np.random.default_rng(0)
for kind, options in KINDS.items():
    tf.random.set_seed(0)
    model = vxm.networks.VxmDense((32, 48, 32), nb_unet_features=FEATURES, **options)
    flow = model.get_layer("vxm_dense_flow")
    flow.set_weights([rng.normal(0, 0.15, w.shape) for w in flow.get_weights()])
    if kind == "probs":  # no variance: VoxelMorph samples at inference too
        sigma = model.get_layer("vxm_dense_log_sigma")
        sigma.set_weights([0 * w - (60 if w.ndim == 1 else 0) for w in sigma.get_weights()])
    pair = [rng.random((1, 32, 48, 32, 1)).astype(np.float32) for _ in range(2)]
    results = {"displacement": model.register(*pair), "moved": model.predict(pair, verbose=0)[0]}
    if kind == "bidir":
        results["moved_fixed"] = model.predict(pair, verbose=0)[1]
    model.save(f"{sys.argv[1]}/{kind}.h5")
    np.savez(f"{sys.argv[1]}/{kind}.npz", moving=pair[0], fixed=pair[1], **results)
