"""Registration of a synthetic pair whose deformation is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from bilevelmorph.data.geometry import sample_field, voxel_positions, warp_volume
from bilevelmorph.data.preprocessing import normalise
from bilevelmorph.data.volume import Volume
from bilevelmorph.datasets.mni_template import mni152
from bilevelmorph.datasets.phantoms import corrupt, fold, random_displacement
from bilevelmorph.io.volumes import save_volume
from bilevelmorph.io.warps import save_warp
from bilevelmorph.metrics.overlap import dice
from bilevelmorph.ops.warping import warp
from bilevelmorph.registration.registrar import Registrar
from bilevelmorph.report.registration_figure import registration_figure

TISSUES = {1: "grey matter", 2: "white matter"}


@dataclass(frozen=True)
class SyntheticPair:
    """A pair whose deformation is known.

    Attributes:
        moving, fixed: Images of different contrast.
        moving_tissues, fixed_tissues: Label maps: 1 for grey and 2 for white matter.
        moving_like_fixed: The deformed template in its original contrast.
        truth: ``[*S, 3]`` voxels: position ``y`` of `moving` shows the anatomy
            that `fixed` has at ``y + truth(y)``.

    >>> scan = Volume(np.ones([4, 4]), np.eye(4))
    >>> pair = SyntheticPair(scan, scan, scan, scan, scan, truth=np.full([4, 4, 2], [3.0, 4.0]))
    >>> still, brain = np.zeros([4, 4, 2]), pair.fixed.data > 0
    >>> [float(registration_error(u, pair.truth, brain, 1.0).max()) for u in (still, -pair.truth)]
    [5.0, 0.0]
    """

    moving: Volume
    fixed: Volume
    moving_tissues: Volume
    fixed_tissues: Volume
    moving_like_fixed: Volume
    truth: np.ndarray


def known_pair(seed: int, amplitude: float, resolution: int = 2) -> SyntheticPair:
    """Deform the MNI152 template and change its contrast.

    Args:
        seed: Random seed.
        amplitude: Standard deviation of the velocity in voxels.
        resolution: Voxel size in millimetres.

    Returns:
        The pair: `fixed` is the template with bias field and noise, `moving` its
        deformed copy with inverted contrast, like T2 relative to T1.
    """
    template = mni152(resolution)
    t1, grey, white = (template[k] for k in ("t1", "grey", "white"))
    background = np.maximum(1 - grey.data - white.data, 0.2)
    tissues = np.stack([background, grey.data, white.data]).argmax(0).astype(np.uint8)
    key = tf.constant([seed, 2022])
    truth = random_displacement(t1.shape, amplitude, 24, fold(key, 0))
    brain = t1.data > 0.05
    other = np.where(brain, np.clip(1.25 - t1.data, 0, 1), 0).astype(np.float32)

    def image(data: np.ndarray, number: int) -> np.ndarray:
        return corrupt(tf.constant(data[None, ..., None]), fold(key, number)).numpy()[0, ..., 0]

    moved = warp(tf.constant(other[None, ..., None]), truth).numpy()[0, ..., 0]
    same = warp(tf.constant(t1.data[None, ..., None]), truth).numpy()[0, ..., 0]
    labels = warp(tf.constant(tissues[None, ..., None]), truth, "nearest").numpy()[0, ..., 0]
    return SyntheticPair(
        Volume(image(moved, 1), t1.affine, name="moving"),
        Volume(image(t1.data, 2), t1.affine, name="fixed"),
        Volume(labels, t1.affine, "labels", "moving tissues"),
        Volume(tissues, t1.affine, "labels", "fixed tissues"),
        Volume(same, t1.affine, name="moving in the contrast of fixed"),
        truth.numpy()[0],
    )


def registration_error(
    displacement: np.ndarray, truth: np.ndarray, where: np.ndarray, voxel: float
) -> np.ndarray:
    """Distance in millimetres between estimated and true positions of voxels.

    Args:
        displacement: Estimated displacement, ``[*S, 3]`` voxels.
        truth: True displacement, see `SyntheticPair`.
        where: Bool ``[*S]``, voxels of the fixed image to score.
        voxel: Voxel size in millimetres.

    Returns:
        One distance per voxel of `where`.
    """
    here = voxel_positions(truth.shape[:-1])
    there = here + displacement
    miss = there + sample_field(truth, there) - here
    return voxel * np.linalg.norm(miss[where], axis=-1)


def demo(out: Path, model: str, seed: int, amplitude: float) -> list[str]:
    """Run the demonstration.

    Args:
        out: Existing folder.
        model: Name or file of a model.
        seed, amplitude: See `known_pair`.

    Returns:
        Lines of text with the results.
    """
    with tqdm(total=4, bar_format="{desc:<32} {bar} {n_fmt}/{total_fmt} [{elapsed}]") as bar:
        bar.set_description("making the pair")
        pair = known_pair(seed, amplitude)
        bar.update()
        bar.set_description("loading the model")
        registrar = Registrar(model)
        bar.update()
        bar.set_description("registering")
        result = registrar(pair.moving, pair.fixed)
        bar.update()
        bar.set_description("writing and drawing")
        lines = _score(pair, result.displacement)
        _write(out, pair, result.moved, result.displacement)
        moving, fixed, moved = (normalise(v.data) for v in (pair.moving, pair.fixed, result.moved))
        same = pair.moving_like_fixed
        after = warp_volume(same, result.displacement, pair.fixed.affine).data
        registration_figure(
            out / "figure.png",
            moving,
            fixed,
            moved,
            result.displacement,
            like_fixed=(normalise(same.data), normalise(after)),
            title="the contrasts differ on purpose; differences are shown in the original contrast",
        )
        bar.update()
    report = result.report
    lines.append(f"folded voxels             {report['folding_percent']:.3f} %")
    lines.append(f"registration              {report['seconds']:.1f} s")
    return lines


def _score(pair: SyntheticPair, displacement: np.ndarray) -> list[str]:
    after = warp_volume(pair.moving_tissues, displacement, pair.fixed.affine).data
    before, target = pair.moving_tissues.data, pair.fixed_tissues.data
    lines = [f"{'':<26}before    after"]
    scores = [dice(x, target, list(TISSUES)) for x in (before, after)]
    for label, name in TISSUES.items():
        lines.append(f"Dice of {name:<18}{scores[0][label]:6.3f}   {scores[1][label]:6.3f}")
    voxel, brain = float(pair.fixed.spacing[0]), target > 0
    errors = [
        registration_error(u, pair.truth, brain, voxel) for u in (np.zeros_like(displacement), displacement)
    ]
    lines.append(f"{'registration error, mean':<26}{errors[0].mean():6.2f}   {errors[1].mean():6.2f}  mm")
    p95 = [np.percentile(e, 95) for e in errors]
    lines.append(f"{'registration error, 95 %':<26}{p95[0]:6.2f}   {p95[1]:6.2f}  mm")
    return lines


def _write(out: Path, pair: SyntheticPair, moved: Volume, displacement: np.ndarray) -> None:
    for name, volume in (("moving", pair.moving), ("fixed", pair.fixed), ("moved", moved)):
        save_volume(out / f"{name}.nii.gz", volume)
    save_warp(out / "displacement.nii.gz", displacement, pair.fixed.affine)
