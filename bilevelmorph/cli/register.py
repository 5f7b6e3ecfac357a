"""Align a moving volume with a fixed one: any sizes, spacings and orientations."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bilevelmorph.checks import fail

_LINES = {
    "similarity_before": "local correlation before  {:.3f}",
    "similarity_after": "local correlation after   {:.3f}",
    "mean_displacement_mm": "mean displacement         {:.2f} mm",
    "folding_percent": "folded voxels             {:.3f} %",
    "seconds_a_step": "a refinement step         {:.3f} s",
    "seconds": "time                      {:.1f} s",
}


# Those of `bilevelmorph.volumes.warps`, which the help must not import; a test compares them.
_FORMATS = ("voxelmorph", "itk")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """VoxelMorph's flags, and ours."""
    add = parser.add_argument
    add("--moving", required=True, help="image to be moved (nii, nii.gz, mgz, npy, npz)")
    add("--fixed", required=True, help="image that stays; gives the output's grid and header")
    add("--moved", required=True, help="where to write the moved image (nii, nii.gz, npz)")
    add("--warp", help="where to write the displacement, affine part included (nii, nii.gz, npz)")
    add("--inverse-warp", help="where to write the inverse displacement, on the moving grid")
    add(
        "--warp-format",
        choices=_FORMATS,
        default="voxelmorph",
        help="of both: voxels, or as ITK, ANTs, Slicer",
    )
    add("--affine-file", help="where to write the linear part for ITK and ANTs (txt, mat, tfm)")
    add("--model", default="general", help="bundled model or .keras file")
    add("--affine", choices=("none", "rigid", "affine"), default="none", help="linear alignment first")
    add("--start", choices=("header", "centre"), help="initial placement (default: as the model was trained)")
    add("--instance-steps", type=int, default=0, help="iterations that refine each pair after the model")
    add("--samples", type=int, default=0, help="draws of a probabilistic model for a map of uncertainty")
    add("--uncertainty", help="where to write it, s.d. of the displacement in mm (default: beside --moved)")
    add("--moving-seg", help="label map to be moved along")
    add("--moved-seg", help="where to write it")
    add("--fixed-mask", help="mask on the fixed grid: affine step and report look inside only")
    add("--figure", help="where to write a picture (png)")
    add("--gpu", default="0", help="GPU number; -1 for the CPU")


def run(options: argparse.Namespace) -> None:
    """Register one pair."""
    if bool(options.moving_seg) != bool(options.moved_seg):
        raise fail("--moving-seg and --moved-seg", "one of them", "both or neither")
    if options.uncertainty and not options.samples:
        raise fail("--uncertainty", "no --samples", "--samples N beside it, such as --samples 16")
    _check_outputs(options)
    from bilevelmorph.volumes.files import load_volume, save_volume
    from bilevelmorph.volumes.geometry import warp_volume
    from bilevelmorph.volumes.itk import save_itk_affine
    from bilevelmorph.volumes.warps import save_warp

    moving, fixed = load_volume(options.moving), load_volume(options.fixed)
    seg = load_volume(options.moving_seg, "labels") if options.moving_seg else None
    if seg is not None and seg.shape != moving.shape:
        raise fail(options.moving_seg, f"shape {seg.shape}", f"that of {options.moving}, {moving.shape}")
    mask = load_volume(options.fixed_mask, "labels") if options.fixed_mask else None

    from bilevelmorph.cli.devices import choose_gpu
    from bilevelmorph.inference.register import Registrar

    choose_gpu(options.gpu)
    registrar = Registrar(
        options.model,
        options.affine,
        options.start,
        instance_steps=options.instance_steps,
        samples=options.samples,
    )
    result = registrar(moving, fixed, mask, inverse=bool(options.inverse_warp))
    save_volume(options.moved, result.moved)
    if seg is not None:
        save_volume(options.moved_seg, warp_volume(seg, result.displacement, fixed.affine))
    if options.warp:
        save_warp(options.warp, result.displacement, fixed.affine, options.warp_format)
    if result.inverse is not None:
        save_warp(options.inverse_warp, result.inverse, moving.affine, options.warp_format)
    if options.affine_file:
        save_itk_affine(options.affine_file, result.affine, fixed.ndims)
    if result.uncertainty is not None:
        save_volume(options.uncertainty or beside(options.moved, "uncertainty"), result.uncertainty)
    if options.figure:
        _figure(options.figure, moving, fixed, result, registrar)
    for key, line in _LINES.items():
        if key in result.report:
            print(line.format(result.report[key]))
    for doubt in result.warnings:
        print(f"warning: {doubt}", file=sys.stderr)


def beside(path: str, word: str) -> str:
    """A name for a further output.

    >>> beside("out/moved.nii.gz", "uncertainty")
    'out/moved_uncertainty.nii.gz'
    """
    ending = next(e for e in (".nii.gz", ".nii", ".npz") if path.lower().endswith(e))
    return f"{path[: -len(ending)]}_{word}{path[-len(ending) :]}"


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse outputs that cannot be written before the work is done."""
    endings: dict[str, tuple[str, ...]] = {
        "moved": (".nii", ".nii.gz", ".npz"),
        "figure": (".png",),
        "affine_file": (".txt", ".mat", ".tfm"),
    }
    if options.warp_format == "itk":
        endings |= dict.fromkeys(("warp", "inverse_warp"), (".nii", ".nii.gz"))
    for name in ("moved", "moved_seg", "warp", "inverse_warp", "uncertainty", "figure", "affine_file"):
        value = getattr(options, name)
        if not value:
            continue
        flag = "--" + name.replace("_", "-")
        allowed = endings.get(name, endings["moved"])
        if not value.lower().endswith(allowed):
            raise fail(flag, value, "a name ending in " + ", ".join(allowed))
        if not Path(value).parent.is_dir():
            raise fail(flag, value, "a file in an existing folder", f"make {Path(value).parent} first")


def _figure(path: str, moving, fixed, result, registrar) -> None:
    from bilevelmorph.inference.affine import align
    from bilevelmorph.report.figures import registration_figure
    from bilevelmorph.volumes.geometry import resample
    from bilevelmorph.volumes.preprocessing import normalise

    start = align(moving, fixed, "none", registrar.start)
    before = resample(moving, fixed.shape, fixed.affine, start).data
    begin, target, end = (normalise(x) for x in (before, fixed.data, result.moved.data))
    registration_figure(path, begin, target, end, result.displacement)
