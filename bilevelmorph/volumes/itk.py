"""Linear transforms as ITK, ANTs and 3D Slicer read and write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bilevelmorph.checks import fail, one_of
from bilevelmorph.volumes.files import replacing

ENDINGS = (".txt", ".mat", ".tfm")


def save_itk_affine(path: str | Path, matrix: np.ndarray, ndims: int = 3) -> None:
    """Write a world matrix as an ITK affine transform.

    Args:
        path: txt, mat or tfm.
        matrix: ``[4, 4]``, fixed to moving, millimetres, RAS.
        ndims: 2 or 3.
    """
    import SimpleITK

    one_of(f"ending of {path}", Path(path).suffix.lower(), ENDINGS)
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    lps = flip @ np.asarray(matrix, float) @ flip
    transform = SimpleITK.AffineTransform(ndims)
    transform.SetMatrix(lps[:ndims, :ndims].ravel().tolist())
    transform.SetTranslation(lps[:ndims, 3].tolist())
    with replacing(path) as temporary:
        SimpleITK.WriteTransform(transform, str(temporary))


def load_itk_affine(path: str | Path) -> np.ndarray:
    """Read an ITK linear transform (rigid, similarity, affine).

    Args:
        path: Of the file.

    Returns:
        ``[4, 4]``, fixed to moving, millimetres, RAS.

    Raises:
        InputError: Not a file of one linear transform.
    """
    import SimpleITK

    if not Path(path).is_file():
        raise fail(str(path), "no such file", "an ITK transform")
    try:
        transform = SimpleITK.ReadTransform(str(path))
    except RuntimeError as error:
        raise fail(str(path), "a file that ITK cannot read", "an ITK transform") from error
    if not transform.IsLinear():
        raise fail(str(path), f"a {transform.GetName()}", "a linear transform")
    ndims = transform.GetDimension()
    origin = np.array(transform.TransformPoint([0.0] * ndims))
    columns = [np.array(transform.TransformPoint(e)) - origin for e in np.eye(ndims).tolist()]
    lps = np.eye(4)
    lps[:ndims, :ndims] = np.stack(columns, 1)
    lps[:ndims, 3] = origin
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ lps @ flip
