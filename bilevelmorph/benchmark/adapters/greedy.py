"""Greedy (Yushkevich et al.), from picsl-greedy: affine, then diffeomorphic, local correlation."""

from __future__ import annotations

from typing import Any

PACKAGES = ("picsl-greedy", "SimpleITK")
MODULES = ("picsl_greedy", "SimpleITK")
SETTINGS = {
    "default": "NCC 2x2x2, 100x50x20 iterations",
    "slow": "NCC 2x2x2, 200x100x100 iterations, smoothing of 1.5 and 0.5 voxels",
}
_DEFORMABLE = {"default": "-n 100x50x20", "slow": "-n 200x100x100 -s 1.5vox 0.5vox"}


def prepare(case: Any) -> Any:
    """Read the images."""
    import SimpleITK
    from picsl_greedy import Greedy3D

    images = {name: SimpleITK.ReadImage(getattr(case, name), 8) for name in ("fixed", "moving")}
    return Greedy3D(), images, case


def register(prepared: Any) -> Any:
    """Register."""
    tool, images, case = prepared
    usual = f"-m NCC 2x2x2 -threads {case.threads} -V 0"
    start = ""
    if case.affine:
        line = f"-i fixed moving -a -dof 12 -ia-image-centers -n 100x50x20 {usual} -o affine"
        tool.execute(line, **images, affine=None)
        start, images = "-it affine", {}
    tool.execute(f"-i fixed moving {start} {_DEFORMABLE[case.setting]} {usual} -o warp", **images, warp=None)


def save(prepared: Any, result: Any, path: str) -> None:
    """Write the composed displacement."""
    import SimpleITK

    tool, _, case = prepared
    chain = "warp affine" if case.affine else "warp"
    tool.execute(f"-rf fixed -rc whole -r {chain}", whole=None)
    SimpleITK.WriteImage(tool["whole"], f"{path}.nii.gz")
