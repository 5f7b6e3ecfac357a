"""Bilevel optimisation of any losses that TensorFlow can differentiate, independent of images."""

from bilevelmorph.bilevel.adam import Adam
from bilevelmorph.bilevel.bome import BOME
from bilevelmorph.bilevel.chain import Chain, Stage
from bilevelmorph.bilevel.conjugate_gradient import ConjugateGradient
from bilevelmorph.bilevel.f2sa import F2SA
from bilevelmorph.bilevel.finite_difference_unroll import FiniteDifferenceUnroll
from bilevelmorph.bilevel.first_order import FirstOrder
from bilevelmorph.bilevel.forward_mode import ForwardMode
from bilevelmorph.bilevel.gradient_alignment import GradientAlignment
from bilevelmorph.bilevel.gradient_descent import GradientDescent
from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.hypergradient_method import HypergradientMethod
from bilevelmorph.bilevel.inner_optimizer import InnerOptimizer
from bilevelmorph.bilevel.lbfgs import LBFGS
from bilevelmorph.bilevel.learned_inverse import LearnedInverse
from bilevelmorph.bilevel.neumann import Neumann
from bilevelmorph.bilevel.one_step_unroll import OneStepUnroll
from bilevelmorph.bilevel.problem import BilevelProblem
from bilevelmorph.bilevel.truncated_unroll import TruncatedUnroll

__all__ = [
    "BOME",
    "F2SA",
    "LBFGS",
    "Adam",
    "BilevelProblem",
    "Chain",
    "ConjugateGradient",
    "FiniteDifferenceUnroll",
    "FirstOrder",
    "ForwardMode",
    "GradientAlignment",
    "GradientDescent",
    "Hypergradient",
    "HypergradientMethod",
    "InnerOptimizer",
    "LearnedInverse",
    "Neumann",
    "OneStepUnroll",
    "Stage",
    "TruncatedUnroll",
]
