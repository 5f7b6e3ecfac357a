"""Rigid and affine alignment with SimpleITK."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from bilevelmorph.data.geometry import centre_translation
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError, argument, fail, one_of
from bilevelmorph.io.simpleitk import to_sitk

MODES = ("none", "rigid", "affine")
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Approximate number of voxels along each side of the images that are registered.
_SIDE = 64
# The same where right angles are compared, how many of these are refined, and how many times as similar
# as the start one has to be.
_TURN_SIDE = 24
_TURNS = 3
_MARGIN = 1.15
# Number of voxels sampled for the similarity.
_SAMPLES = 65_000


class _Masks(NamedTuple):
    """Where the similarity is computed, in both images."""

    fixed: sitk.Image | None = None
    moving: sitk.Image | None = None


def _mask(image: Volume, mask: np.ndarray | None) -> sitk.Image | None:
    return None if mask is None else to_sitk(image.with_data(mask.astype(np.uint8), "labels"))


def align(
    moving: Volume,
    fixed: Volume,
    mode: str = "affine",
    start: str = "header",
    mask: np.ndarray | None = None,
    moving_mask: np.ndarray | None = None,
) -> np.ndarray:
    """Find the world matrix that maps `fixed` onto `moving`.

    Several initial placements (by the headers, the centres of the grids and the centres
    of mass, also turned by right angles) are compared by mutual information; the best is
    refined from coarse to fine.

    Args:
        moving, fixed: 3-D images; 2-D ones only with ``"none"``.
        mode: ``"none"`` (only the initial placement), ``"rigid"`` or ``"affine"``.
        start: Initial placement: ``"header"`` trusts the world coordinates, ``"centre"`` aligns the
            centres of the grids.
        mask, moving_mask: Masks on the grids of both images; the similarity is computed inside them.

    Returns:
        ``[4, 4]`` matrix from the world of `fixed` to the world of `moving`, millimetres, RAS.
    """
    one_of("affine", mode, MODES)
    one_of("init", start, ("header", "centre"))
    initial = centre_translation(moving, fixed) if start == "centre" else np.eye(4)
    if mode == "none":
        return initial
    if fixed.ndims != 3:
        raise fail("affine", f"{mode} for 2-D images", "3-D volumes", f"set {argument('affine', 'none')}")
    with _one_thread():
        return _search(moving, fixed, mode, initial, mask, moving_mask)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread, so that sums are reproducible; the metric obeys only this global setting."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _search(
    moving: Volume,
    fixed: Volume,
    mode: str,
    initial: np.ndarray,
    mask: np.ndarray | None,
    moving_mask: np.ndarray | None,
) -> np.ndarray:
    """Compare several initial placements and refine the best."""
    thin_fixed, thin_moving = _thinned(fixed, _SIDE), _thinned(moving, _SIDE)
    target, source = to_sitk(thin_fixed), to_sitk(thin_moving)
    region = _Masks(*(_mask(image, m) for image, m in ((fixed, mask), (moving, moving_mask))))
    centre = _centre_of_mass(fixed if mask is not None else thin_fixed, mask)
    across = _centre_of_mass(moving if moving_mask is not None else thin_moving, moving_mask) - centre
    candidates = [initial, centre_translation(moving, fixed), _translation(across)]
    scores = [_score(target, source, region, c, centre) for c in candidates]
    best = candidates[int(np.argmin(scores))]
    starts, patient = _upright(target, source, region, best, candidates[2], centre)
    found, scores = [], []
    for start in starts:
        try:
            found.append(_refined(target, source, region, start, centre, mode, patient))
        except InputError:
            if start is starts[-1] and not found:
                raise
        else:
            scores.append(_score(target, source, region, found[-1], centre))
    return found[int(np.argmin(scores))]


def _refined(
    target: sitk.Image,
    source: sitk.Image,
    region: _Masks,
    start: np.ndarray,
    centre: np.ndarray,
    mode: str,
    patient: bool,
) -> np.ndarray:
    """A placement after the rigid and, if it is asked for, the affine step."""
    found = _optimise(target, source, region, start, centre, "rigid", patient or mode == "rigid")
    if mode == "affine":
        found = _optimise(target, source, region, found, centre, "affine", patient)
    return found


def seems_turned(moving: Volume, fixed: Volume, matrix: np.ndarray) -> bool:
    """Whether the images would be much more similar if one were turned, by a right angle or so.

    Args:
        moving, fixed: 3-D images.
        matrix: ``[4, 4]`` present placement, from the world of `fixed` to the world of `moving`.

    >>> scan = np.zeros((24, 24, 24), np.float32)
    >>> scan[4:20, 8:16, 10:14], scan[12:16, 8:16, 14:18] = 1, 2
    >>> upright, turned = Volume(scan, np.eye(4)), Volume(np.rot90(scan).copy(), np.eye(4))
    >>> seems_turned(upright, upright, np.eye(4)), seems_turned(turned, upright, np.eye(4))
    (False, True)
    """
    moving, fixed = _thinned(moving, _TURN_SIDE), _thinned(fixed, _TURN_SIDE)
    with _one_thread():
        target, source = to_sitk(fixed), to_sitk(moving)
        centre = _centre_of_mass(fixed)
        aligned = _translation(_centre_of_mass(moving) - centre)
        upright = min(_score(target, source, _Masks(), m, centre) for m in (matrix, aligned))
        return _turned(target, source, _Masks(), aligned, centre)[0][0] < _MARGIN * upright


def _thinned(volume: Volume, side: int) -> Volume:
    """Means of blocks of voxels, about so many per side."""
    factors = [max(1, round(n / side)) for n in volume.shape]
    data = volume.data.astype(np.float32)
    for axis, factor in enumerate(factors):
        whole = data.shape[axis] // factor * factor
        data = np.take(data, range(whole), axis) if whole < data.shape[axis] else data
        parts = [*data.shape[:axis], whole // factor, factor, *data.shape[axis + 1 :]]
        data = data.reshape(parts).mean(axis + 1)
    scaled = np.diag([*map(float, factors), 1.0])
    scaled[:3, 3] = (np.array(factors) - 1) / 2
    return Volume(data, volume.affine @ scaled, "image", volume.name)


def _turned(
    target: sitk.Image,
    source: sitk.Image,
    region: _Masks,
    aligned: np.ndarray,
    centre: np.ndarray,
) -> list[tuple[float, np.ndarray]]:
    """Placements turned by right angles about the centre, the most similar first, with their scores."""
    placements = [aligned @ _about(turn, centre) for turn in right_angles()[1:]]
    scores = [_score(target, source, region, matrix, centre) for matrix in placements]
    return [(scores[i], placements[i]) for i in np.argsort(scores, kind="stable")]


def _upright(
    target: sitk.Image,
    source: sitk.Image,
    region: _Masks,
    start: np.ndarray,
    aligned: np.ndarray,
    centre: np.ndarray,
) -> tuple[list[np.ndarray], bool]:
    """The start and, where it is much more similar, the images aligned by centres of mass and turned.

    Small images say too little to decide by: of 60 pairs of crops of the hippocampus, 3 seemed turned that
    were not, and of all of these the start was the better one after both were refined at full detail.

    Returns:
        The placements to refine, and whether a turn came near the start, so that it may still be far from
        the truth.
    """
    target, source = _smoothed(target), _smoothed(source)
    turned = _turned(target, source, region, aligned, centre)
    # Scores are negative.
    if _score(target, source, region, start, centre) < _MARGIN * turned[0][0]:
        return [start], False
    candidates = [start, *(matrix for _, matrix in turned[:_TURNS])]
    scores = []
    for matrix in candidates:
        try:
            refined = _optimise(target, source, region, matrix, centre, "rigid")
        except InputError:  # no overlap
            scores.append(np.inf)
        else:
            scores.append(_score(target, source, region, refined, centre))
    best = int(np.argmin(scores))
    # What is turned has to be much better, because heads are nearly symmetric.
    if scores[best] < _MARGIN * min(scores[0], 0):
        return [start, candidates[best]], True
    return [start], True


def right_angles() -> list[np.ndarray]:
    """The 24 rotations by right angles, ``[3, 3]``, that without a turn first.

    >>> found = right_angles()
    >>> len(found), bool((found[0] == np.eye(3)).all()), {round(np.linalg.det(r)) for r in found}
    (24, True, {1})
    """
    signed = itertools.product(itertools.permutations(range(3)), itertools.product((1.0, -1.0), repeat=3))
    matrices = [np.eye(3)[list(order)] * np.array(signs)[:, None] for order, signs in signed]
    return [m for m in matrices if np.linalg.det(m) > 0]


def _about(turn: np.ndarray, centre: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, centre - turn @ centre
    return matrix


def _centre_of_mass(volume: Volume, mask: np.ndarray | None = None) -> np.ndarray:
    data = np.clip(volume.data, *np.percentile(volume.data, (0.5, 99.5))).astype(np.float64)
    weight = (data - data.min()) * (1 if mask is None else mask > 0)
    total = weight.sum()
    if total <= 0:
        return volume.centre
    index = []
    for d, n in enumerate(volume.shape):
        profile = weight.sum(tuple(a for a in range(3) if a != d))
        index.append(float((profile * np.arange(n)).sum() / total))
    return volume.affine[:3, :3] @ np.array(index) + volume.affine[:3, 3]


def _translation(shift: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return matrix


def _transform(matrix: np.ndarray, centre: np.ndarray, kind: str) -> sitk.Transform:
    lps = _LPS @ matrix @ _LPS
    middle = (_LPS @ np.append(centre, 1.0))[:3]
    transform = sitk.AffineTransform(3) if kind == "affine" else sitk.Euler3DTransform()
    transform.SetCenter(middle.tolist())
    linear = lps[:3, :3]
    values = linear.ravel().tolist()
    if kind == "affine":
        transform.SetMatrix(values)
    else:
        transform.SetMatrix(values, 1e-4)  # type: ignore[call-arg]
    transform.SetTranslation((lps[:3, 3] - middle + linear @ middle).tolist())
    return transform


def _matrix(transform: sitk.Transform) -> np.ndarray:
    out = np.eye(4)
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    out[:3, 3] = origin
    for axis in range(3):
        unit = [0.0, 0.0, 0.0]
        unit[axis] = 1.0
        out[:3, axis] = np.array(transform.TransformPoint(unit)) - origin
    return _LPS @ out @ _LPS


def _smoothed(image: sitk.Image) -> sitk.Image:
    """Smoothed and subsampled to about `_TURN_SIDE` voxels per side."""
    factors = [max(1, round(n / _TURN_SIDE)) for n in image.GetSize()]
    variances = [
        (0.5 * f * s) ** 2 if f > 1 else 0.0 for f, s in zip(factors, image.GetSpacing(), strict=True)
    ]
    return sitk.Shrink(sitk.DiscreteGaussian(image, variances), factors)


def _method(target: sitk.Image, region: _Masks) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    share = min(1.0, _SAMPLES / target.GetNumberOfPixels())
    method.SetMetricSamplingPercentage(share, 2022)  # seed of the jitter of the samples
    method.SetInterpolator(sitk.sitkLinear)
    # One thread, so that sums are reproducible.
    method.SetNumberOfThreads(1)
    if region.fixed is not None:
        method.SetMetricFixedMask(region.fixed)
    if region.moving is not None:
        method.SetMetricMovingMask(region.moving)
    return method


def _score(
    target: sitk.Image, source: sitk.Image, region: _Masks, matrix: np.ndarray, centre: np.ndarray
) -> float:
    """Negated mutual information of an initial placement; infinite if the images do not overlap."""
    method = _method(target, region)
    method.SetInitialTransform(_transform(matrix, centre, "affine"))
    try:
        return float(method.MetricEvaluate(target, source))
    except RuntimeError:
        return float("inf")


def _optimise(
    target: sitk.Image,
    source: sitk.Image,
    region: _Masks,
    matrix: np.ndarray,
    centre: np.ndarray,
    kind: str,
    patient: bool = True,
) -> np.ndarray:
    """Refine a placement, from coarse to fine.

    Args:
        target, source, region: What is registered.
        matrix: ``[4, 4]`` placement to start from.
        centre: World position about which the transform turns.
        kind: ``"rigid"`` or ``"affine"``.
        patient: Take more and smaller steps, and for a rigid transform, also at the finest level.
    """
    method = _method(target, region)
    transform = _transform(matrix, centre, kind)
    method.SetInitialTransform(transform, inPlace=True)
    factors = [4, 2, 1] if min(target.GetSize()) >= 40 else [2, 1]
    if kind == "affine":
        factors = factors[-2:]
    elif not patient:
        factors = factors[:-1]
    method.SetShrinkFactorsPerLevel(factors)
    method.SetSmoothingSigmasPerLevel([f / 2 if f > 1 else 0.0 for f in factors])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    # Steps are physical lengths, so they have to scale with the voxel size.
    voxel = float(np.mean(target.GetSpacing()))
    longest = voxel if kind == "rigid" else voxel / 2
    shortest, relaxed = (voxel / 1000, 0.9) if patient else (voxel / 300, 0.7)
    method.SetOptimizerAsRegularStepGradientDescent(longest, shortest, 300, relaxed, 1e-9)
    method.SetOptimizerScalesFromPhysicalShift()
    try:
        method.Execute(target, source)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(
            f"the {kind} alignment failed ({reason}); "
            f"set {argument('affine', 'none')}, or use images that overlap more"
        ) from error
    return _matrix(transform)
