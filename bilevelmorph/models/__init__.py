"""Trained models: those that come with the package, and files of your own."""

from bilevelmorph.models.bundled import BundledModel, bundled_models, load_model

__all__ = ["BundledModel", "bundled_models", "load_model"]
