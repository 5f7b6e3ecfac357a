"""VoxelMorph's networks of 2018, under legacy Keras; not a test, started by test_vxm_2018.py."""

import inspect
import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
inspect.getargspec = lambda function: tuple(inspect.getfullargspec(function)[:4])

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_keras  # noqa: E402
import voxelmorph as vxm  # noqa: E402

SHAPE = (32, 48, 32)
K = tf_keras.layers
# name: filters of the decoder, full resolution, integration, order of components
KINDS = {
    "cvpr1": ((6, 6, 6, 6, 4, 4), True, None, "ij"),
    "cvpr2": ((6, 6, 6, 6, 6, 4, 4), True, None, "xy"),
    "miccai": ((6, 6, 6, 6, 4, 3), False, "by hand", "xy"),
    "miccai-layer": ((6, 6, 6, 6, 4, 3), False, "VecInt", "ij"),
}


def double(field):
    """Twice the size and twice the values, read at half of every index."""
    size = [2 * n for n in field.shape[1:-1]]
    axes = tf.meshgrid(*[tf.range(n, dtype=tf.float32) for n in size], indexing="ij")
    index = tf.stack(axes, -1)[None]
    padded = tf.pad(field, [[0, 0], *[[0, n] for n in field.shape[1:-1]], [0, 0]], "SYMMETRIC")
    edge = [tf.minimum(index[..., i] / 2, n - 1) - index[..., i] for i, n in enumerate(field.shape[1:-1])]
    return 2 * vxm.layers.SpatialTransformer(indexing="ij")([padded, tf.stack(edge, -1)])


def network(decoder, full, integration, indexing):
    tf_keras.backend.clear_session()
    block = lambda x, f, s=1: K.LeakyReLU(0.2)(K.Conv3D(f, 3, s, "same")(x))  # noqa: E731
    moving, fixed = K.Input((*SHAPE, 1)), K.Input((*SHAPE, 1))
    levels = [K.concatenate([moving, fixed])]
    for f in (4, 6, 6, 6):
        levels.append(block(levels[-1], f, 2))
    x = block(levels[-1], decoder[0])
    for i in (1, 2, 3):
        x = block(K.concatenate([K.UpSampling3D()(x), levels[-1 - i]]), decoder[i])
    x = block(x, decoder[4])
    if full:
        x = block(K.concatenate([K.UpSampling3D()(x), levels[0]]), decoder[5])
    if len(decoder) == 7:
        x = block(x, decoder[6])
    flow = K.Conv3D(3, 3, padding="same", name="flow")(x)
    if not full:
        sigma = K.Conv3D(3, 3, padding="same", name="log_sigma")(x)
        flow = K.Lambda(lambda v: v[0] + 0 * v[1], name="z_sample")([flow, sigma])
    if integration == "VecInt":
        flow = vxm.layers.VecInt(method="ss", int_steps=7, indexing=indexing, name="flow-int")(flow)
    elif integration:
        for _ in range(7):
            flow = K.add([flow, vxm.layers.SpatialTransformer(indexing=indexing)([flow, flow])])
    if not full:
        flow = K.Lambda(double, name="diffflow")(flow)
    moved = vxm.layers.SpatialTransformer(indexing=indexing)([moving, flow])
    return tf_keras.Model([moving, fixed], [moved, flow])


# Every network answers once or twice: to trace it would take longer than that.
tf.config.run_functions_eagerly(True)
rng = np.random.default_rng(0)
for number, (kind, options) in enumerate(KINDS.items()):
    tf_keras.utils.set_random_seed(number)
    model = network(*options)
    layer = model.get_layer("flow")
    size = 0.002 if options[2] == "by hand" else 0.3
    layer.set_weights([rng.normal(0, size, w.shape) for w in layer.get_weights()])
    pair = [rng.random((1, *SHAPE, 1)).astype(np.float32) for _ in range(2)]
    moved, flow = model.predict(pair, verbose=0)
    if options[3] == "xy":
        flow = flow[..., [1, 0, 2]]
    model.save_weights(f"{sys.argv[1]}/{kind}.h5")
    np.savez(f"{sys.argv[1]}/{kind}.npz", moving=pair[0], fixed=pair[1], moved=moved, displacement=flow)
