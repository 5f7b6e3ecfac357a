"""Bilevel optimisation of anything that TensorFlow differentiates; knows nothing of images."""

from bilevelmorph.bilevel.adam import Adam
from bilevelmorph.bilevel.aligned import Aligned
from bilevelmorph.bilevel.conjugate_gradient import ConjugateGradient
from bilevelmorph.bilevel.first_order import FirstOrder
from bilevelmorph.bilevel.gradient_descent import GradientDescent
from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.inner_optimizer import InnerOptimizer
from bilevelmorph.bilevel.neumann import Neumann
from bilevelmorph.bilevel.one_step import OneStep
from bilevelmorph.bilevel.one_step_differences import OneStepDifferences
from bilevelmorph.bilevel.problem import BilevelProblem
from bilevelmorph.bilevel.strategy import Strategy
from bilevelmorph.bilevel.truncated import Truncated

STRATEGIES: dict[str, type[Strategy]] = {
    "first-order": FirstOrder,
    "one-step": OneStep,
    "one-step-differences": OneStepDifferences,
    "truncated": Truncated,
    "neumann": Neumann,
    "conjugate-gradient": ConjugateGradient,
    "aligned": Aligned,
}

__all__ = [
    "STRATEGIES",
    "Adam",
    "Aligned",
    "BilevelProblem",
    "ConjugateGradient",
    "FirstOrder",
    "GradientDescent",
    "Hypergradient",
    "InnerOptimizer",
    "Neumann",
    "OneStep",
    "OneStepDifferences",
    "Strategy",
    "Truncated",
]
