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

    if case.setting not in _registrars:
        choose_gpu("0")
        use_threads(case.threads)
        _registrars[case.setting] = registrar_of(case.setting, case.affine)
    return _registrars[case.setting], load_volume(case.moving), load_volume(case.fixed)


def registrar_of(setting: str, affine: bool) -> Any:
    """The `bilevelmorph.registration.Registrar` of a setting, with an affine step or without."""
    from bilevelmorph.registration.registrar import Registrar

    model, quality, settings = [*setting.split(":", 2), "", ""][:3]
    alone = model == "none"
    return Registrar(
        None if alone else model,
        "affine" if affine else "none",
        deformable=not alone,
        compiled=True,
        quality=quality or ("best" if alone else None),
        settings=settings or None,
        report=False,
    )


def register(prepared: Any) -> Any:
    """Register, without a report."""
    registrar, moving, fixed = prepared
    return registrar(moving, fixed)


def save(prepared: Any, result: Any, path: str) -> None:
    """Write the displacement."""
    import numpy

    numpy.save(f"{path}.npy", result.displacement)
