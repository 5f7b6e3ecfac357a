"""What the result of a registration is like: the numbers of its report, and reasons for doubt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bilevelmorph.data.geometry import map_grid, not_covered, outside_of, resample, targets_of
from bilevelmorph.data.preprocessing import background, normalise
from bilevelmorph.errors import fail
from bilevelmorph.io.headers import doubts as header_doubts
from bilevelmorph.metrics.deformation import jacobian_measures
from bilevelmorph.metrics.similarity import local_correlation
from bilevelmorph.registration.affine import align, seems_turned, seems_unlike
from bilevelmorph.registration.result import Registration


def assess(
    result: Registration,
    percentiles: Sequence[float],
    region: np.ndarray | None = None,
    linear: str = "none",
) -> None:
    """Fill in the report and the warnings of a result.

    What lies outside the moving image is unknown: it has no part in the similarities, which
    therefore do not depend on the value that it was given.

    Args:
        result: The result to assess.
        percentiles: Percentiles of the intensity normalisation.
        region: Bool ``[*fixed]``, to which similarities and the mean displacement are restricted.
        linear: The linear step: ``"none"``, ``"rigid"`` or ``"affine"``.

    Raises:
        InputError: The region is empty, because the masks of both images do not meet.
    """
    if region is not None and not region.any():
        raise fail("masks", "masks that leave nothing of the fixed image", "masks that overlap once aligned")
    moving, fixed = result.moving, result.fixed
    start = align(moving, fixed, "none", result.init)
    before = resample(moving, fixed.shape, fixed.affine, start, background(moving.data)).data
    to_moving = np.linalg.inv(moving.affine) @ start @ fixed.affine
    whole = result.displacement

    def outside(rows: slice) -> np.ndarray:
        return outside_of(moving.shape, targets_of(whole, fixed.affine, moving.affine, rows))

    lost = map_grid(outside, fixed.shape)
    target = normalise(fixed.data, percentiles)

    def similarity_of(data: np.ndarray, unknown: np.ndarray) -> float:
        return local_correlation(target, normalise(data, percentiles), region, known=~unknown)

    compared = before, result.moved.data
    unknown = not_covered(moving.shape, to_moving, fixed.shape), lost
    similarity = [similarity_of(*pair) for pair in zip(compared, unknown, strict=True)]
    spacing = fixed.spacing.astype(np.float32)
    distance = map_grid(lambda rows: np.linalg.norm(whole[rows] * spacing, axis=-1), fixed.shape)
    inside = slice(None) if region is None else region
    result.report |= {
        "similarity_before": similarity[0],
        "similarity_after": similarity[1],
        "mean_displacement_mm": float(distance[inside].mean(dtype=np.float64)),
        **jacobian_measures(result.displacement),
    }
    result.warnings += [text for v in (moving, fixed) for text in header_doubts(v.header, v.name)]
    for volume in (moving, fixed):
        if volume.offset:
            what = f"{volume.offset:.17g} is subtracted from all voxels"
            result.warnings.append(f"{volume.name}: {what}, whose differences float32 would lose")
    result.warnings += _doubts(result, similarity, lost, linear)


def _doubts(result: Registration, similarity: list[float], lost: np.ndarray, linear: str) -> list[str]:
    moving, fixed, doubts = result.moving, result.fixed, []
    if similarity[1] < similarity[0] - 1e-4:
        doubts.append(f"similarity fell from {similarity[0]:.3f} to {similarity[1]:.3f}")
    extent = np.linalg.norm(np.array(fixed.shape) * fixed.spacing)
    apart = np.linalg.norm(moving.centre - fixed.centre)
    if linear == "none" and result.init == "header" and apart > 0.25 * extent:
        doubts.append(f"the centres are {apart:.0f} mm apart; an affine step, or init centre, may help")
    elif (
        linear == "none"
        and result.init == "header"
        and fixed.ndims == 3
        and seems_turned(moving, fixed, np.eye(4))
    ):
        doubts.append("one image seems to be turned against the other; an affine step turns it back")
    if linear != "none" and seems_unlike(moving, fixed, result.affine):
        doubts.append(
            f"the {linear} step found no placement that fits much better than others; do both show the same?"
        )
    elif seems_unlike(result.moved, fixed, np.eye(4), ~lost):
        doubts.append("the moved image is hardly like the fixed one; do both show the same?")
    body = fixed.data > fixed.data.min() + 0.05 * np.ptp(fixed.data)
    share = float(lost[body].mean()) if body.any() else 0.0
    if share > 0.3:
        doubts.append(f"{share:.0%} of the fixed image lies outside the moving one")
    if result.report["folding_percent"] > 1:
        doubts.append(f"{result.report['folding_percent']:.1f} % of voxels fold")
    return doubts
