"""ConvexAdam (Siebert et al.): discrete optimisation on MIND, then Adam; it has no affine step."""

from __future__ import annotations

from typing import Any

PACKAGES = ("convexAdam",)
MODULES = ("convexAdam",)
SETTINGS = {
    "default": "its defaults: grid of 6 voxels, 80 iterations at half resolution",
    "slow": "160 iterations, smoother by averaging",
}
_OPTIONS: dict[str, dict[str, Any]] = {"default": {}, "slow": {"selected_niter": 160, "selected_smooth": 3}}


def prepare(case: Any) -> Any:
    """Read the images."""
    import nibabel
    import numpy
    import torch

    torch.set_num_threads(case.threads)
    files: list[Any] = [nibabel.load(file) for file in (case.fixed, case.moving)]
    if files[0].shape != files[1].shape or not numpy.allclose(files[0].affine, files[1].affine, atol=1e-3):
        raise ValueError("needs both images on one grid: compare with --start affine")
    return case, [numpy.asarray(file.dataobj, "float32") for file in files]


def register(prepared: Any) -> Any:
    """Register."""
    import torch
    from convexAdam.convex_adam_MIND import convex_adam_pt

    case, images = prepared
    return convex_adam_pt(*images, dtype=torch.float32, device=torch.device("cpu"), **_OPTIONS[case.setting])


def save(prepared: Any, result: Any, path: str) -> None:
    """Write the displacement."""
    import numpy

    numpy.save(f"{path}.npy", numpy.asarray(result, "float32"))
