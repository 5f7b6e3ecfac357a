"""A pair as all methods of a benchmark get it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bilevelmorph.data.geometry import onto, resample
from bilevelmorph.data.preprocessing import crop_or_pad, normalise, to_canonical
from bilevelmorph.data.volume import Volume
from bilevelmorph.datasets.landmarks import landmark_pair
from bilevelmorph.datasets.pairs import Pair, Subject
from bilevelmorph.io.volumes import load_volume, save_volume
from bilevelmorph.registration.affine import align


@dataclass(frozen=True)
class PreparedCase:
    """The images of a pair, and what its registration is judged by.

    Attributes:
        moving, fixed: The images, clipped to their 0.5 and 99.5 percentiles and scaled to [0, 1].
        moving_labels, fixed_labels: Label maps; the moving one on its own grid, with the affine
            that takes it to where the moving image is.
        points: World positions of landmarks in the moving and the fixed image, ``[P, N]`` mm, or None.
        needs_affine: Whether the methods still have to align the pair affinely.

    >>> image = Volume(np.eye(8), np.eye(4))
    >>> PreparedCase(image, image, None, None, None, True).swapped().needs_affine
    True
    """

    moving: Volume
    fixed: Volume
    moving_labels: Volume | None
    fixed_labels: Volume | None
    points: tuple[np.ndarray, np.ndarray] | None
    needs_affine: bool

    @classmethod
    def of(cls, pair: Pair, shape: Sequence[int] = (), start: str = "files") -> PreparedCase:
        """Read and prepare a pair.

        Args:
            pair: The files.
            shape: Crop or pad all images to this size and lay them on one another by their centres, for
                crops whose headers say nothing about their place; empty for the grids of the files.
            start: ``"files"``, or ``"affine"``: our affine step first, for all methods, which then get
                the moving image on the grid of the fixed one.
        """
        moving, fixed = (load_volume(scan.image) for scan in (pair.moving, pair.fixed))
        segs = [
            _labels(s, image) for s, image in zip((pair.moving, pair.fixed), (moving, fixed), strict=True)
        ]
        marked = pair.moving.points is not None and pair.fixed.points is not None
        points = landmark_pair(pair.moving, pair.fixed, (moving, fixed)) if marked and not shape else None
        moving, fixed = (_prepared(volume, shape) for volume in (moving, fixed))
        if shape:
            segs = [seg and _centred(seg, shape) for seg in segs]
        if start == "affine":
            matrix = align(moving, fixed, "affine", "header")
            moving = resample(moving, fixed.shape, fixed.affine, matrix)
            back = np.linalg.inv(matrix)
            if segs[0] is not None:  # kept on its own voxels, so that it is resampled only once
                segs[0] = Volume(segs[0].data, back @ segs[0].affine, "labels", segs[0].name)
            if points is not None:
                points[0] = _mapped(back, points[0])
        both = None if points is None else (points[0], points[1])
        return cls(moving, fixed, segs[0], segs[1], both, start != "affine")

    def swapped(self) -> PreparedCase:
        """The pair in the other direction."""
        points = None if self.points is None else (self.points[1], self.points[0])
        labels = self.fixed_labels, self.moving_labels
        return PreparedCase(self.fixed, self.moving, labels[0], labels[1], points, self.needs_affine)

    def write(self, folder: Path) -> dict[str, str | bool]:
        """Write the images for a method.

        Args:
            folder: Where to write ``fixed.nii`` and ``moving.nii``.

        Returns:
            What a method is told: ``fixed``, ``moving``, ``affine``.
        """
        files = {name: str(folder / f"{name}.nii") for name in ("fixed", "moving")}
        save_volume(files["fixed"], self.fixed)
        save_volume(files["moving"], self.moving)
        return {**files, "affine": self.needs_affine}


def prepared_image(scan: Subject, shape: Sequence[int] = ()) -> Volume:
    """The image of a scan as methods get it, see `PreparedCase.of`."""
    return _prepared(load_volume(scan.image), shape)


def _prepared(volume: Volume, shape: Sequence[int]) -> Volume:
    volume = volume.with_data(normalise(volume.data))
    return _centred(volume, shape) if shape else volume


def _labels(scan: Subject, image: Volume) -> Volume | None:
    return None if scan.labels is None else onto(load_volume(scan.labels, "labels"), image)


def _centred(volume: Volume, shape: Sequence[int]) -> Volume:
    volume = crop_or_pad(to_canonical(volume), shape)
    return Volume(
        volume.data, np.diag([*volume.spacing, *[1.0] * (4 - volume.ndims)]), volume.kind, volume.name
    )


def _mapped(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    n = points.shape[1]
    return points @ matrix[:n, :n].T + matrix[:n, 3]
