"""Components from outside the package, as a user's own file has them; see test_plugins.py."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from bilevelmorph.bilevel import HypergradientMethod
from bilevelmorph.bilevel.hypergradient_method import finished
from bilevelmorph.losses.base import ImageLoss, masked_mean
from bilevelmorph.networks import Deformation, RegistrationNetwork
from bilevelmorph.training.outer_objective import OuterObjective


class Absolute(ImageLoss):
    """Mean absolute difference, in units of `image_sigma`."""

    def __init__(self, image_sigma=1.0, **kwargs):
        super().__init__(**kwargs)
        self.image_sigma = image_sigma

    def compute(self, fixed, moved, mask):
        return masked_mean(tf.abs(fixed - moved), mask) / self.image_sigma

    def get_config(self):
        return {**super().get_config(), "image_sigma": self.image_sigma}


def small(velocity):
    """A penalty on the size of a velocity."""
    return tf.reduce_mean(tf.square(velocity))


@keras.saving.register_keras_serializable("plugins")
class OneConvolution(RegistrationNetwork):
    """A velocity from one convolution of both images."""

    multiple = 2

    def __init__(self, ndims=3, int_steps=3, **kwargs):
        super().__init__(ndims=ndims, **kwargs)
        self.int_steps = int_steps
        conv = getattr(keras.layers, f"Conv{ndims}D")
        self.convolution = conv(ndims, 4, strides=2, padding="same", kernel_initializer="zeros")

    def build_layers(self, image):
        self.convolution.build((*image[:-1], 2 * self.channels))

    def estimate(self, moving, fixed, training=False):
        velocity = tf.cast(self.convolution(tf.concat([moving, fixed], -1)), tf.float32)
        return Deformation.of_velocities([velocity], fixed.shape.as_list()[1:-1], self.int_steps)

    def get_config(self):
        return {**super().get_config(), "int_steps": self.int_steps}


class TwiceTheDirectTerm(HypergradientMethod):
    """Twice the direct derivative; right for nothing."""

    def __call__(self, problem):
        loss, _, direct = problem.outer_gradients()
        return finished([2 * g for g in direct], loss, 1)


class MeanDisplacement(OuterObjective):
    """How far voxels move."""

    def __call__(self, deformation, batch):
        return tf.reduce_mean(tf.square(deformation.displacement))


def read_text(path):
    """A 2-D image as lines of numbers."""
    return np.loadtxt(path), np.eye(4)
