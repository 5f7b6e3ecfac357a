"""Registration of volumes with trained models, from native space to native space."""

from bilevelmorph.registration.registrar import Registrar, Registration, register

__all__ = ["Registrar", "Registration", "register"]
