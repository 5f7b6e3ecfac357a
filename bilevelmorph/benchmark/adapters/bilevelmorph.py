"""Our models and qualities; the settings are MODEL:QUALITY or MODEL:QUALITY:FILE."""

from __future__ import annotations

from typing import Any

PACKAGES = ("bilevelmorph",)
MODULES = ("bilevelmorph",)
SETTINGS: dict[str, str] = {}
# The second registration of a grid compiles.
WARM_UP = 2
_registrars: dict[str, Any] = {}


def prepare(case: Any) -> Any:
    """Load the model, once, and read the images."""
    from bilevelmorph.devices import choose_gpu, use_threads
    from bilevelmorph.io.volumes import load_volume
    from bilevelmorph.registration.registrar import Registrar

    if case.setting not in _registrars:
        choose_gpu("0")
        use_threads(case.threads)
        model, quality, settings = [*case.setting.split(":", 2), "", ""][:3]
        alone = model == "none"
        _registrars[case.setting] = Registrar(
            None if alone else model,
            "affine" if case.affine else "none",
            deformable=not alone,
            compiled=True,
            quality=quality or ("best" if alone else None),
            settings=settings or None,
            report=False,
        )
    return _registrars[case.setting], load_volume(case.moving), load_volume(case.fixed)


def register(prepared: Any) -> Any:
    """Register, without a report."""
    registrar, moving, fixed = prepared
    return registrar(moving, fixed)


def save(prepared: Any, result: Any, path: str) -> None:
    """Write the displacement."""
    import numpy

    numpy.save(f"{path}.npy", result.displacement)
