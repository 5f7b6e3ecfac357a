"""Trained models: those bundled with the package, and your own files."""

from bilevelmorph.models.bundled import BundledModel, bundled_models, load_model

__all__ = ["BundledModel", "bundled_models", "load_model"]
