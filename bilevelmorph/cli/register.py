"""Align a moving volume with a fixed one, or every pair of a list: any sizes, spacings and orientations."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from bilevelmorph.checks import fail
from bilevelmorph.cli.flags import WARP_FORMATS

_LINES = {
    "similarity_before": "local correlation before  {:.3f}",
    "similarity_after": "local correlation after   {:.3f}",
    "mean_displacement_mm": "mean displacement         {:.2f} mm",
    "folding_percent": "folded voxels             {:.3f} %",
    "seconds_a_step": "a refinement step         {:.3f} s",
    "seconds": "time                      {:.1f} s",
}
# Flags of one pair, which has names of its own; a cohort's outputs are named by their pairs.
_IN = ("moving", "fixed", "moving_seg", "fixed_mask")
_OUT = ("moved", "moved_seg", "warp", "inverse_warp", "affine_file", "jacobian", "uncertainty", "figure")
WORKERS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """VoxelMorph's flags, and ours."""
    add = parser.add_argument_group("one pair").add_argument
    add("--moving", help="image to be moved (nii, nii.gz, mgz, npy, npz)")
    add("--fixed", help="image that stays; gives the output's grid and header")
    add("--moved", help="where to write the moved image (nii, nii.gz, npz)")
    add("--warp", help="where to write the displacement, affine part included (nii, nii.gz, npz)")
    add("--inverse-warp", help="where to write the inverse displacement, on the moving grid")
    add("--affine-file", help="where to write the linear part for ITK and ANTs (txt, mat, tfm)")
    add("--jacobian", help="where to write the determinant of the Jacobian, on the fixed grid")
    add("--uncertainty", help="where to write it, s.d. of the displacement in mm (default: beside --moved)")
    add("--moving-seg", help="label map to be moved along")
    add("--moved-seg", help="where to write it")
    add("--fixed-mask", help="mask on the fixed grid: affine step and report look inside only")
    add("--figure", help="where to write a picture (png)")

    add = parser.add_argument_group("many pairs").add_argument
    add("--pairs", help="CSV with the header moving,fixed[,moving_seg,fixed_seg]; needs --out")
    add("--workers", type=int, default=WORKERS, help="processes on this machine")
    add("--scheduler", help="address of a running Dask scheduler, whose workers are used instead")

    add = parser.add_argument_group("both").add_argument
    add(
        "--out",
        help="folder for moved image, warp, Jacobian, report and figure (of many pairs: of doubtful ones)",
    )
    add("--bids", action="store_true", help="name what lies in --out as BIDS derivatives")
    add("--warp-format", choices=WARP_FORMATS, default="voxelmorph", help="voxels, or as ITK, ANTs, Slicer")
    add("--model", default="general", help="bundled model, .keras file, or VoxelMorph's .h5")
    add("--affine", choices=("none", "rigid", "affine"), default="none", help="linear alignment first")
    add("--start", choices=("header", "centre"), help="initial placement (default: as the model was trained)")
    add("--instance-steps", type=int, default=0, help="iterations that refine each pair after the model")
    add("--samples", type=int, default=0, help="draws of a probabilistic model for a map of uncertainty")
    add("-g", "--gpu", default="0", help="GPU number; -1 for the CPU")
    add("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    """Register one pair, or all of a list."""
    if options.bids and not options.out:
        raise fail("--bids", "no --out", "--out DIR beside it")
    if options.out and Path(options.out).is_file():
        raise fail("--out", f"the file {options.out}", "a folder")
    return _many(options) if options.pairs else _one(options)


def _many(options: argparse.Namespace) -> int:
    given = ["--" + n.replace("_", "-") for n in (*_IN, *_OUT) if getattr(options, n)]
    if given:
        raise fail("--pairs", f"{given[0]} beside it", "one of the two")
    if not options.out:
        raise fail("--pairs", "no --out", "--out DIR beside it")
    from bilevelmorph.report.cohort import register_cohort
    from bilevelmorph.volumes.pairs import read_csv

    pairs = read_csv(options.pairs)
    if options.bids:
        from bilevelmorph.volumes.bids import BidsName, describe_dataset

        for pair in pairs:
            BidsName.of(pair.moving.image)
    names = ("model", "affine", "start", "instance_steps", "samples", "warp_format", "bids", "gpu")
    settings = {n: getattr(options, n) for n in names}
    found = register_cohort(pairs, settings, options.out, options.workers, options.scheduler, options.quiet)
    if options.bids:
        from bilevelmorph import __version__

        describe_dataset(options.out, __version__)
    there = f", {found.skipped} of them before" if found.skipped else ""
    total = len(found.rows) + len(found.failed)
    print(f"{options.out}: {len(found.rows)} of {total} pairs registered{there}; results.csv")
    for row in found.failed:
        print(f"failed: {row['moving']} to {row['fixed']}: {row['error']}", file=sys.stderr)
    return 1 if found.failed else 0


def _check_one(options: argparse.Namespace) -> None:
    """Refuse what one pair cannot be registered by."""
    if options.scheduler or options.workers != WORKERS:
        flag = "--scheduler" if options.scheduler else "--workers"
        raise fail(flag, "one pair", "--pairs FILE beside it")
    for name in ("moving", "fixed"):
        if not getattr(options, name):
            raise fail(f"--{name}", "nothing", "an image", "or --pairs FILE for many")
    if not options.moved and not options.out:
        raise fail("--moved", "nothing", "where to write the moved image", "or --out DIR for all there is")
    if not options.out and bool(options.moving_seg) != bool(options.moved_seg):
        raise fail("--moving-seg and --moved-seg", "one of them", "both or neither")
    if options.uncertainty and not options.samples:
        raise fail("--uncertainty", "no --samples", "--samples N beside it, such as --samples 16")


def _one(options: argparse.Namespace) -> int:
    _check_one(options)
    from bilevelmorph.report.outputs import Outputs
    from bilevelmorph.volumes.files import load_volume
    from bilevelmorph.volumes.tables import write_json

    names = {f.name for f in dataclasses.fields(Outputs)}
    wanted: dict[str, Any] = {k: v for k, v in vars(options).items() if k in names and v}
    outputs = Outputs(**wanted)
    outputs.check()
    moving, fixed = load_volume(options.moving), load_volume(options.fixed)
    seg = load_volume(options.moving_seg, "labels") if options.moving_seg else None
    if seg is not None and seg.shape != moving.shape:
        raise fail(options.moving_seg, f"shape {seg.shape}", f"that of {options.moving}, {moving.shape}")
    mask = load_volume(options.fixed_mask, "labels") if options.fixed_mask else None

    from bilevelmorph.devices import choose_gpu

    choose_gpu(options.gpu)
    from bilevelmorph.inference.register import Registrar

    registrar = Registrar(
        options.model,
        options.affine,
        options.start,
        instance_steps=options.instance_steps,
        samples=options.samples,
    )
    if options.out:
        kinds = {"bids": options.bids, "seg": seg is not None, "samples": bool(options.samples)}
        usual = Outputs.in_folder(
            options.out, options.moving, options.fixed, warp_format=options.warp_format, **kinds
        )
        outputs = dataclasses.replace(usual, **wanted)
    elif options.samples and not outputs.uncertainty:
        outputs = dataclasses.replace(outputs, uncertainty=beside(options.moved, "uncertainty"))
    result = registrar(moving, fixed, mask, inverse=bool(options.inverse_warp))
    outputs.write(result, moving, fixed, seg, registrar.start)
    if options.out:
        report = {"moving": options.moving, "fixed": options.fixed, **result.report}
        write_json(_report_path(options), report | {"warnings": result.warnings})
    for key, line in _LINES.items():
        if key in result.report:
            print(line.format(result.report[key]))
    for doubt in result.warnings:
        print(f"warning: {doubt}", file=sys.stderr)
    return 0


def _report_path(options: argparse.Namespace) -> Path:
    if not options.bids:
        return Path(options.out, "report.json")
    from bilevelmorph import __version__
    from bilevelmorph.volumes.bids import bids_folder, bids_names, describe_dataset

    describe_dataset(options.out, __version__)
    return bids_folder(options.out, options.moving) / bids_names(options.moving, options.fixed)["report"]


def beside(path: str, word: str) -> str:
    """A name for a further output.

    >>> beside("out/moved.nii.gz", "uncertainty")
    'out/moved_uncertainty.nii.gz'
    """
    ending = next(e for e in (".nii.gz", ".nii", ".npz") if path.lower().endswith(e))
    return f"{path[: -len(ending)]}_{word}{path[-len(ending) :]}"
