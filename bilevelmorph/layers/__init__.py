"""Keras layers, all registered for serialisation."""

import keras  # noqa: F401  first, so that classes are registered when Keras is fully imported

from bilevelmorph.layers.cell import Cell
from bilevelmorph.layers.compose_transform import ComposeTransform
from bilevelmorph.layers.data_matching import DataMatching
from bilevelmorph.layers.descent import Descent
from bilevelmorph.layers.feature_encoder import FeatureEncoder
from bilevelmorph.layers.film import FiLM
from bilevelmorph.layers.mixed_op import MixedOp
from bilevelmorph.layers.probabilistic_encoder import ProbabilisticEncoder
from bilevelmorph.layers.propagation import Propagation
from bilevelmorph.layers.regularization import Regularization
from bilevelmorph.layers.rescale_transform import RescaleTransform
from bilevelmorph.layers.spatial_transformer import SpatialTransformer
from bilevelmorph.layers.vec_int import VecInt

__all__ = [
    "Cell",
    "ComposeTransform",
    "DataMatching",
    "Descent",
    "FeatureEncoder",
    "FiLM",
    "MixedOp",
    "ProbabilisticEncoder",
    "Propagation",
    "Regularization",
    "RescaleTransform",
    "SpatialTransformer",
    "VecInt",
]
