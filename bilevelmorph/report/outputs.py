"""What a registration leaves on disk."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bilevelmorph.checks import fail
from bilevelmorph.inference.affine import align
from bilevelmorph.inference.register import Registration
from bilevelmorph.metrics.deformation import jacobian_determinant
from bilevelmorph.report.figures import registration_figure
from bilevelmorph.volumes.bids import bids_folder, bids_names
from bilevelmorph.volumes.files import save_volume
from bilevelmorph.volumes.geometry import resample, warp_volume
from bilevelmorph.volumes.itk import save_itk_affine
from bilevelmorph.volumes.preprocessing import normalise
from bilevelmorph.volumes.volume import Volume
from bilevelmorph.volumes.warps import save_warp

_VOLUMES = (".nii", ".nii.gz", ".npz")
_ENDINGS = {
    "moved": _VOLUMES,
    "moved_seg": _VOLUMES,
    "warp": _VOLUMES,
    "inverse_warp": _VOLUMES,
    "jacobian": _VOLUMES,
    "uncertainty": _VOLUMES,
    "figure": (".png",),
    "affine_file": (".txt", ".mat", ".tfm"),
}


@dataclass(frozen=True)
class Outputs:
    """Names of the files; what has none is not written.

    Args:
        moved: The moving image on the fixed grid.
        moved_seg: Its label map there.
        warp, inverse_warp: Displacements, affine part included.
        warp_format: Of both; see `save_warp`.
        affine_file: The linear part for ITK and ANTs.
        jacobian: Determinant of the Jacobian, on the fixed grid.
        uncertainty: Standard deviation of the displacement, mm.
        figure: PNG.

    >>> Outputs(moved="m.nii.gz", figure="f.jpg").check()
    Traceback (most recent call last):
    bilevelmorph.checks.InputError: --figure: got f.jpg, expected a name ending in .png
    """

    moved: str | None = None
    moved_seg: str | None = None
    warp: str | None = None
    inverse_warp: str | None = None
    warp_format: str = "voxelmorph"
    affine_file: str | None = None
    jacobian: str | None = None
    uncertainty: str | None = None
    figure: str | None = None

    @classmethod
    def in_folder(
        cls,
        folder: str | Path,
        moving: str | Path,
        fixed: str | Path,
        *,
        bids: bool = False,
        seg: bool = False,
        samples: bool = False,
        warp_format: str = "voxelmorph",
    ) -> Outputs:
        """The usual set in one folder, which is made: moved, warp, Jacobian, figure.

        Args:
            folder: Of this pair; with `bids` the root of the derivatives.
            moving, fixed: Names of the images.
            bids: Name them as BIDS derivatives.
            seg: There is a label map to be moved.
            samples: There is a map of uncertainty.
            warp_format: See `save_warp`.
        """
        wanted = ["moved", "warp", "jacobian", "figure", *(["moved_seg"] if seg else [])]
        wanted += ["uncertainty"] if samples else []
        if bids:
            place, names = bids_folder(folder, moving), bids_names(moving, fixed)
        else:
            place, names = Path(folder), {n: f"{n}.nii.gz" for n in wanted} | {"figure": "figure.png"}
            place.mkdir(parents=True, exist_ok=True)
        return cls(**{n: str(place / names[n]) for n in wanted}, warp_format=warp_format)

    def check(self) -> None:
        """Refuse names that cannot be written, before the work is done.

        Raises:
            InputError: Another ending, or a folder that is not there.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "warp_format" or not value:
                continue
            flag, allowed = "--" + field.name.replace("_", "-"), _ENDINGS[field.name]
            if self.warp_format == "itk" and field.name in ("warp", "inverse_warp"):
                allowed = (".nii", ".nii.gz")
            if not value.lower().endswith(allowed):
                raise fail(flag, value, "a name ending in " + ", ".join(allowed))
            if not Path(value).parent.is_dir():
                raise fail(flag, value, "a file in an existing folder", f"make {Path(value).parent} first")

    def write(
        self,
        result: Registration,
        moving: Volume,
        fixed: Volume,
        seg: Volume | None = None,
        start: str = "header",
    ) -> None:
        """Write what has a name.

        Args:
            result: Of the registration of these.
            moving, fixed: The images.
            seg: Label map of the moving one.
            start: The registrar's initial placement, for the figure.
        """
        if self.moved:
            save_volume(self.moved, result.moved)
        if self.moved_seg and seg is not None:
            save_volume(self.moved_seg, warp_volume(seg, result.displacement, fixed.affine))
        if self.warp:
            save_warp(self.warp, result.displacement, fixed.affine, self.warp_format)
        if self.inverse_warp and result.inverse is not None:
            save_warp(self.inverse_warp, result.inverse, moving.affine, self.warp_format)
        if self.affine_file:
            save_itk_affine(self.affine_file, result.affine, fixed.ndims)
        if self.jacobian:
            save_volume(self.jacobian, jacobian_map(result.displacement, fixed))
        if self.uncertainty and result.uncertainty is not None:
            save_volume(self.uncertainty, result.uncertainty)
        if self.figure:
            placed = resample(moving, fixed.shape, fixed.affine, align(moving, fixed, "none", start)).data
            begin, target, end = (normalise(x) for x in (placed, fixed.data, result.moved.data))
            registration_figure(self.figure, begin, target, end, result.displacement)


def jacobian_map(displacement: np.ndarray, grid: Volume) -> Volume:
    """Determinant of the Jacobian of a map in voxels, which is that in millimetres too.

    Args:
        displacement: ``[*S, N]`` voxels, affine part included.
        grid: Any volume on the grid.

    Returns:
        float32; above 1 where the moving image is shrunk, below 1 where it grows.
    """
    values = jacobian_determinant(displacement).astype(np.float32)
    return Volume(values, grid.affine, "image", grid.name, grid.header)
