"""Registration of volumes with trained models, native space in and out."""

from bilevelmorph.registration.registrar import Registrar, Registration, register

__all__ = ["Registrar", "Registration", "register"]
