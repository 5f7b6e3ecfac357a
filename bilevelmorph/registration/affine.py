"""Rigid and affine alignment with SimpleITK."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk

from bilevelmorph.data.geometry import centre_translation
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError, argument, fail, one_of

MODES = ("none", "rigid", "affine")
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Approximate size, in voxels, of each side of the downsampled images that are registered.
_SIDE = 64
# Number of voxels sampled for the similarity.
_SAMPLES = 65_000


def align(
    moving: Volume, fixed: Volume, mode: str = "affine", start: str = "header", mask: np.ndarray | None = None
) -> np.ndarray:
    """Find the world matrix that maps `fixed` onto `moving`.

    Several initial placements (by the headers, the centres of the grids and the centres
    of mass) are compared by mutual information; the best is refined from coarse to fine.

    Args:
        moving, fixed: 3-D images; 2-D ones only with ``"none"``.
        mode: ``"none"`` (only the initial placement), ``"rigid"`` or ``"affine"``.
        start: Initial placement: ``"header"`` trusts the world coordinates, ``"centre"`` aligns the
            centres of the grids.
        mask: Mask on the fixed grid; the similarity is computed inside it.

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
        return _search(moving, fixed, mode, initial, mask)


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
    moving: Volume, fixed: Volume, mode: str, initial: np.ndarray, mask: np.ndarray | None
) -> np.ndarray:
    """Compare several initial placements and refine the best."""
    target, source = _shrunk(to_sitk(fixed)), _shrunk(to_sitk(moving))
    region = None if mask is None else to_sitk(fixed.with_data(mask.astype(np.uint8), "labels"))
    centre = _centre_of_mass(fixed, mask)
    candidates = [initial, centre_translation(moving, fixed), _translation(_centre_of_mass(moving) - centre)]
    scores = [_score(target, source, region, c, centre) for c in candidates]
    best = candidates[int(np.argmin(scores))]
    found = _optimise(target, source, region, best, centre, "rigid")
    if mode == "affine":
        found = _optimise(target, source, region, found, centre, "affine")
    return found


def to_sitk(volume: Volume) -> sitk.Image:
    """Convert to a SimpleITK image at the same world position."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data.T))
    affine = _LPS @ volume.affine
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(0))
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([float(o) for o in affine[:3, 3]])
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image


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


def _shrunk(image: sitk.Image) -> sitk.Image:
    """Smooth and subsample to about `_SIDE` voxels per side."""
    image = sitk.Cast(image, sitk.sitkFloat32)
    factors = [max(1, round(n / _SIDE)) for n in image.GetSize()]
    variances = [
        (0.5 * f * s) ** 2 if f > 1 else 0.0 for f, s in zip(factors, image.GetSpacing(), strict=True)
    ]
    return sitk.Shrink(sitk.DiscreteGaussian(image, variances), factors)


def _method(target: sitk.Image, region: sitk.Image | None) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    share = min(1.0, _SAMPLES / target.GetNumberOfPixels())
    method.SetMetricSamplingPercentage(share, 2022)  # seed of the jitter of the samples
    method.SetInterpolator(sitk.sitkLinear)
    # One thread, so that sums are reproducible.
    method.SetNumberOfThreads(1)
    if region is not None:
        method.SetMetricFixedMask(region)
    return method


def _score(
    target: sitk.Image, source: sitk.Image, region: sitk.Image | None, matrix: np.ndarray, centre: np.ndarray
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
    region: sitk.Image | None,
    matrix: np.ndarray,
    centre: np.ndarray,
    kind: str,
) -> np.ndarray:
    method = _method(target, region)
    transform = _transform(matrix, centre, kind)
    method.SetInitialTransform(transform, inPlace=True)
    factors = [4, 2, 1] if min(target.GetSize()) >= 40 else [2, 1]
    if kind == "affine":
        factors = factors[-2:]
    method.SetShrinkFactorsPerLevel(factors)
    method.SetSmoothingSigmasPerLevel([f / 2 if f > 1 else 0.0 for f in factors])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    # Steps are physical lengths, so they have to scale with the voxel size.
    voxel = float(np.mean(target.GetSpacing()))
    longest = voxel if kind == "rigid" else voxel / 2
    method.SetOptimizerAsRegularStepGradientDescent(longest, voxel / 1000, 300, 0.9, 1e-9)
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
