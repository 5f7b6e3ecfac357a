"""Registration of volumes with trained models."""

from bilevelmorph.inference.models import bundled_models, load_model
from bilevelmorph.inference.register import Registrar, Registration, register

__all__ = ["Registrar", "Registration", "bundled_models", "load_model", "register"]
