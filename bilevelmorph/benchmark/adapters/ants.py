"""ANTs SyN (Avants et al.), from antspyx: affine, then symmetric diffeomorphic."""

from __future__ import annotations

from typing import Any

PACKAGES = ("antspyx",)
MODULES = ("ants",)
SETTINGS = {
    "default": "SyN with its defaults: mutual information, 40x20x0 iterations",
    "slow": "SyN, local correlation of radius 4, 100x70x50x20 iterations",
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "slow": {"syn_metric": "CC", "syn_sampling": 4, "reg_iterations": (100, 70, 50, 20)},
}


def prepare(case: Any) -> Any:
    """Read the images."""
    import ants

    return case, ants.image_read(case.fixed), ants.image_read(case.moving)


def register(prepared: Any) -> Any:
    """Register."""
    import ants

    case, fixed, moving = prepared
    kind = "SyN" if case.affine else "SyNOnly"
    start = None if case.affine else "Identity"
    return ants.registration(fixed, moving, kind, initial_transform=start, **_OPTIONS[case.setting])


def save(prepared: Any, result: Any, path: str) -> None:
    """Write the composed displacement, and remove ANTs' files."""
    import os
    import shutil

    import ants

    _, fixed, moving = prepared
    whole = ants.apply_transforms(fixed, moving, result["fwdtransforms"], compose=path)
    shutil.move(whole, f"{path}.nii.gz")
    for file in {*result["fwdtransforms"], *result["invtransforms"]}:
        if os.path.isfile(file):
            os.remove(file)
