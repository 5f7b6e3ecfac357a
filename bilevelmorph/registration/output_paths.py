"""The files that a registration writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bilevelmorph.data.geometry import resample, warp_volume
from bilevelmorph.data.preprocessing import background, normalise
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import argument, fail
from bilevelmorph.io.atomic import suffix
from bilevelmorph.io.bids import bids_folder, bids_names
from bilevelmorph.io.itk import save_itk_affine, save_itk_composite
from bilevelmorph.io.json import write_json
from bilevelmorph.io.volumes import WRITABLE, save_volume
from bilevelmorph.io.warps import save_warp
from bilevelmorph.metrics.deformation import jacobian_determinant
from bilevelmorph.registration.affine import align
from bilevelmorph.registration.result import Registration
from bilevelmorph.report.profile_figure import profile_figure
from bilevelmorph.report.registration_figure import registration_figure
from bilevelmorph.report.registration_page import write_registration_page
from bilevelmorph.temporary import temporary_folder

_WARPS = (".nii", ".nii.gz", ".npz")
_ENDINGS = {
    "moved": WRITABLE,
    "moved_seg": WRITABLE,
    "warp": _WARPS,
    "inverse_warp": _WARPS,
    "jacobian": WRITABLE,
    "uncertainty": WRITABLE,
    "figure": (".png",),
    "report": (".json", ".html"),
    "profile": (".png",),
    "affine_file": (".txt", ".mat", ".tfm"),
    "transform": (".h5",),
    "inverse_transform": (".h5",),
}


@dataclass(frozen=True)
class OutputPaths:
    """Names of the output files; a file without a name is not written.

    Args:
        moved: The moving image on the fixed grid.
        moved_seg: The moving label map on the fixed grid.
        warp, inverse_warp: Displacements, including the affine part.
        warp_format: Format of both warps; see `save_warp`.
        affine_file: The linear part, for ITK and ANTs.
        transform, inverse_transform: Both parts in one file, for ITK, ANTs and 3D Slicer.
        jacobian: Determinant of the Jacobian, on the fixed grid.
        uncertainty: Standard deviation of the displacement, mm.
        figure: Figure (PNG).
        report: Metrics and warnings: JSON, or an HTML page to look at.
        profile: Figure of the seconds of each part (PNG).

    >>> OutputPaths(moved="m.nii.gz", figure="f.jpg").check()
    Traceback (most recent call last):
    bilevelmorph.errors.InputError: figure: got f.jpg, expected a name ending in .png
    """

    moved: str | None = None
    moved_seg: str | None = None
    warp: str | None = None
    inverse_warp: str | None = None
    warp_format: str = "voxelmorph"
    affine_file: str | None = None
    transform: str | None = None
    inverse_transform: str | None = None
    jacobian: str | None = None
    uncertainty: str | None = None
    figure: str | None = None
    report: str | None = None
    profile: str | None = None

    @classmethod
    def in_folder(
        cls,
        folder: str | Path,
        moving: str | Path,
        fixed: str | Path,
        *,
        bids: bool = False,
        seg: bool = False,
        uncertainty: bool = False,
        inverse_warp: bool = False,
        report: bool = False,
        warp_format: str = "voxelmorph",
    ) -> OutputPaths:
        """Name the usual files (moved image, warp, Jacobian, figure) in a folder, which is created.

        With BIDS names there is also the transform for ITK, which BEP014 asks for.

        Args:
            folder: Folder of this pair; with `bids`, the root of the derivatives.
            moving, fixed: File names of the images.
            bids: Name the files as BIDS derivatives.
            seg: Write the warped label map as well.
            uncertainty, inverse_warp: Write these as well.
            report: Write the report as well.
            warp_format: See `save_warp`.
        """
        wanted = ["moved", "warp", "jacobian", "figure", *(["moved_seg"] if seg else [])]
        further = {"uncertainty": uncertainty, "inverse_warp": inverse_warp, "report": report}
        wanted += [name for name, there in further.items() if there]
        if bids:
            wanted.append("transform")
            place, names = bids_folder(folder, moving), bids_names(moving, fixed)
        else:
            place, names = Path(folder), {n: f"{n}.nii.gz" for n in wanted}
            names |= {"figure": "figure.png", "report": "report.json"}
            place.mkdir(parents=True, exist_ok=True)
        return cls(**{n: str(place / names[n]) for n in wanted}, warp_format=warp_format)

    def check(self, inputs: Sequence[str | Path | None] = ()) -> None:
        """Check that the files can be written, before any work is done.

        Args:
            inputs: Files that are read, and must not be overwritten.

        Raises:
            InputError: An extension is wrong, a folder is missing, or a file would be overwritten by another
                one.
        """
        taken = {Path(path).resolve(): "an input" for path in inputs if path}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "warp_format" or not value:
                continue
            allowed = _ENDINGS[field.name]
            if self.warp_format == "itk" and field.name in ("warp", "inverse_warp"):
                allowed = (".nii", ".nii.gz")
            if not value.lower().endswith(allowed):
                raise fail(field.name, value, "a name ending in " + ", ".join(allowed))
            if not Path(value).parent.is_dir():
                raise fail(
                    field.name, value, "a file in an existing folder", f"make {Path(value).parent} first"
                )
            if (there := Path(value).resolve()) in taken:
                raise fail(field.name, f"{value}, which is {taken[there]} as well", "a name of its own")
            taken[there] = f"that of {argument(field.name)}"

    def numbered(self, number: int) -> OutputPaths:
        """The files of one frame of a series, whose moved images are one file for all.

        >>> [p.name for p in OutputPaths(moved="m.nii.gz", warp="w.nii.gz", figure="f.png").numbered(3).files]
        ['w_0003.nii.gz', 'f_0003.png']
        """
        names = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "warp_format"}
        kept = {k: beside(v, f"{number:04d}") for k, v in names.items() if v and k != "moved"}
        return OutputPaths(**kept, warp_format=self.warp_format)

    @property
    def files(self) -> list[Path]:
        """The files that have a name."""
        names = (f.name for f in dataclasses.fields(self) if f.name != "warp_format")
        return [Path(getattr(self, name)) for name in names if getattr(self, name)]

    def write(self, result: Registration, seg: Volume | None = None) -> None:
        """Write every file that has a name.

        Args:
            result: Result of a registration.
            seg: Label map of the moving image.
        """
        moving, fixed = result.moving, result.fixed
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
        if self.transform:
            save_itk_composite(self.transform, result.displacement, fixed.affine, result.affine)
        if self.inverse_transform and result.inverse is not None:
            back = np.linalg.inv(result.affine)
            save_itk_composite(self.inverse_transform, result.inverse, moving.affine, back)
        if self.jacobian:
            save_volume(self.jacobian, jacobian_map(result.displacement, fixed))
        if self.uncertainty and result.uncertainty is not None:
            save_volume(self.uncertainty, result.uncertainty)
        self._write_pictures(result)

    def _write_pictures(self, result: Registration) -> None:
        """Write what is looked at rather than computed with."""
        if self.figure:
            draw(self.figure, result)
        if self.report and self.report.lower().endswith(".html"):
            write_page(self.report, result)
        elif self.report:
            write_json(self.report, result.summary)
        if self.profile:
            profile_figure(self.profile, result.seconds)


def beside(path: str, word: str) -> str:
    """The name of a further output next to a file.

    >>> beside("out/moved.nii.gz", "uncertainty")
    'out/moved_uncertainty.nii.gz'
    """
    ending = suffix(path)
    return f"{path[: len(path) - len(ending)]}_{word}{path[len(path) - len(ending) :]}"


def draw(path: str | Path, result: Registration) -> None:
    """Draw the images before and after, their differences and the deformation as PNG."""
    images = _pictures(result)
    registration_figure(path, images["moving"], images["fixed"], images["moved"], result.displacement)


def write_page(path: str | Path, result: Registration) -> None:
    """Write a self-contained HTML page with the images, the deformation, the numbers and the warnings."""
    with temporary_folder() as folder:
        figure = Path(folder, "figure.png")
        draw(figure, result)
        drawn = figure.read_bytes()
    write_registration_page(path, _pictures(result), result.fixed.spacing.tolist(), drawn, result.summary)


def _pictures(result: Registration) -> dict[str, np.ndarray]:
    """Moving image before registration, fixed and moved image, on the fixed grid, in [0, 1]."""
    moving, fixed = result.moving, result.fixed
    start = align(moving, fixed, "none", result.init)
    placed = resample(moving, fixed.shape, fixed.affine, start, background(moving.data)).data
    images = {"moving": placed, "fixed": fixed.data, "moved": result.moved.data}
    return {name: normalise(data) for name, data in images.items()}


def jacobian_map(displacement: np.ndarray, grid: Volume) -> Volume:
    """Jacobian determinant of a displacement in voxels, which is the same in millimetres.

    Args:
        displacement: ``[*S, N]`` voxels, including the affine part.
        grid: Any volume on the grid of the displacement.

    Returns:
        float32 Volume; above 1 where the moving image shrinks, below 1 where it grows.
    """
    values = jacobian_determinant(displacement).astype(np.float32)
    return Volume(values, grid.affine, "image", grid.name, grid.header)
