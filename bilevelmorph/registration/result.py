"""The result of registering a pair."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bilevelmorph.data.volume import Volume
from bilevelmorph.registration.level_report import LevelReport
from bilevelmorph.temporary import temporary_folder

if TYPE_CHECKING:
    import nibabel as nib
    import SimpleITK as sitk


@dataclass
class Registration:
    """The result for one pair.

    Attributes:
        moving, fixed: The images that were registered.
        moved: `moving` on the fixed grid.
        displacement: ``[*fixed, N]`` float32, voxels of the fixed grid, including the
            affine part: ``moved(x) = moving(world(x + u(x)))``.
        affine: ``[4, 4]`` world matrix of the linear part, from fixed to moving.
        report: Similarity before and after, mean displacement, folding and seconds.
        levels: What instance optimisation did at each level, if there was any.
        warnings: Reasons to look at the result before trusting it.
        inverse: Inverse displacement, ``[*moving, N]`` voxels of the moving grid, if requested.
        uncertainty: Standard deviation of the displacement over samples of the
            network, mm, on the fixed grid, if requested.
        init: The initial placement, see `Registrar`.
        seconds: Seconds of each part; those of the report and the inverse are not in that of `report`.

    >>> from bilevelmorph.registration import Registrar
    >>> scan = Volume(np.eye(8), np.eye(4))
    >>> result = Registrar(None)(scan, scan)
    >>> result.moved.shape, result.displacement.shape, result.report["folding_percent"], result.warnings
    ((8, 8), (8, 8, 2), 0.0, [])
    """

    moving: Volume
    fixed: Volume
    moved: Volume
    displacement: np.ndarray
    affine: np.ndarray
    report: dict[str, float]
    warnings: list[str] = field(default_factory=list)
    inverse: np.ndarray | None = None
    uncertainty: Volume | None = None
    init: str = "header"
    levels: list[LevelReport] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def summary(self) -> dict[str, Any]:
        """The report with names, levels and warnings, as written to report.json."""
        names = {"moving": self.moving.name, "fixed": self.fixed.name}
        levels = {"instance_optimization": [x._asdict() for x in self.levels]} if self.levels else {}
        parts = {"seconds_by_part": self.seconds}
        return {**names, **self.report, **levels, **parts, "warnings": self.warnings}

    def save(self, folder: str | Path, warp_format: str = "voxelmorph") -> list[Path]:
        """Write the moved image, warps, Jacobian, figure and report to a folder, which is created.

        Args:
            folder: Folder of this pair.
            warp_format: ``"voxelmorph"`` (in voxels) or ``"itk"`` (in millimetres, as ITK, ANTs
                and 3D Slicer read warps).

        Returns:
            Paths of the written files.

        Raises:
            InputError: The folder cannot be created or written.

        >>> from bilevelmorph.registration import Registrar
        >>> scan = Volume(np.eye(8), np.eye(4))
        >>> with temporary_folder() as folder:
        ...     sorted(path.name for path in Registrar(None)(scan, scan).save(folder))
        ['figure.png', 'jacobian.nii.gz', 'moved.nii.gz', 'report.json', 'warp.nii.gz']
        """
        from bilevelmorph.registration.output_paths import OutputPaths

        outputs = OutputPaths.in_folder(
            folder,
            self.moving.name,
            self.fixed.name,
            uncertainty=self.uncertainty is not None,
            inverse_warp=self.inverse is not None,
            report=True,
            warp_format=warp_format,
        )
        outputs.write(self)
        return outputs.files

    def to_nibabel(self) -> nib.Nifti1Image:
        """The moved image as a nibabel image."""
        from bilevelmorph.io.volumes import to_nifti

        return to_nifti(self.moved)

    def to_sitk_transform(self) -> sitk.DisplacementFieldTransform:
        """The whole map for SimpleITK: from points of the fixed image to points of the moving image, LPS.

        >>> from bilevelmorph.registration import Registrar
        >>> scan = Volume(np.eye(8), np.eye(4))
        >>> Registrar(None)(scan, scan).to_sitk_transform().TransformPoint((3.0, 4.0))
        (3.0, 4.0)
        """
        from bilevelmorph.io.itk import displacement_transform

        return displacement_transform(self.displacement, self.fixed.affine)

    def _repr_html_(self) -> str:
        """The figure and the report, for notebooks."""
        from bilevelmorph.registration.output_paths import draw

        with temporary_folder() as folder:
            path = Path(folder, "figure.png")
            draw(path, self)
            picture = base64.b64encode(path.read_bytes()).decode()
        rows = "".join(
            f"<tr><td>{k.replace('_', ' ')}</td><td>{v:.4g}</td></tr>" for k, v in self.report.items()
        )
        notes = "".join(f"<p>&#9888; {html.escape(text)}</p>" for text in self.warnings)
        return f'<img alt="registration" src="data:image/png;base64,{picture}">{notes}<table>{rows}</table>'
