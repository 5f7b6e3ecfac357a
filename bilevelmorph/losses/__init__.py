"""Losses between images and penalties on fields."""

import keras  # noqa: F401  first, so that classes are registered when Keras is fully imported

from bilevelmorph.losses.dice import SoftDice
from bilevelmorph.losses.end_point_error import EndPointError
from bilevelmorph.losses.local_ncc import LocalNCC
from bilevelmorph.losses.mind import MIND
from bilevelmorph.losses.mse import MSE
from bilevelmorph.losses.nmi import NMI
from bilevelmorph.losses.regularity import bending, diffusion, folding

__all__ = ["MIND", "MSE", "NMI", "EndPointError", "LocalNCC", "SoftDice", "bending", "diffusion", "folding"]
