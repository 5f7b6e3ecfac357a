"""Registration of volumes with trained models, with input and output in native space."""

from bilevelmorph.registration.registrar import Registrar, Registration, register

__all__ = ["Registrar", "Registration", "register"]
