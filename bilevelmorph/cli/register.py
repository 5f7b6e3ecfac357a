"""Align a moving image with a fixed image, or all pairs of a list, of any size, spacing and orientation."""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tqdm import tqdm
from tyro.conf import arg

from bilevelmorph.cli.options import ModelOptions, WarpFormat
from bilevelmorph.compilation_cache import shared_compilations
from bilevelmorph.config.flags import File, Folder
from bilevelmorph.errors import argument, fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from bilevelmorph.data.volume import Volume
    from bilevelmorph.registration.output_paths import OutputPaths
    from bilevelmorph.registration.result import Registration

_LINES = {
    "similarity_before": "local correlation before  {:.3f}",
    "similarity_after": "local correlation after   {:.3f}",
    "mean_displacement_mm": "mean displacement         {:.2f} mm",
    "folding_percent": "folded voxels             {:.3f} %",
    "seconds": "time                      {:.1f} s",
}
WORKERS = 2


@dataclass(frozen=True)
class PairOptions:
    """Files of one pair.

    >>> PairOptions(moving="a.nii.gz", fixed="b.nii.gz", moved="moved.nii.gz").figure is None
    True
    """

    moving: File = None
    """Moving image: NIfTI, mgz, NRRD, MetaImage, DICOM (file or folder), PNG, TIFF, npy, npz and others."""
    fixed: File = None
    """Fixed image; its grid and header are those of the output."""
    moved: File = None
    """Where to write the moved image (nii, nii.gz, nrrd, mha, npz)."""
    warp: File = None
    """Where to write the displacement, including the affine part (nii, nii.gz, npz)."""
    inverse_warp: File = None
    """Where to write the inverse displacement, on the moving grid."""
    affine_file: File = None
    """Where to write the linear part for ITK and ANTs (txt, mat, tfm)."""
    transform: File = None
    """Where to write the linear part and the displacement in one file for ITK, ANTs and 3D Slicer (h5)."""
    inverse_transform: File = None
    """The same for the inverse, from the moving to the fixed image (h5)."""
    jacobian: File = None
    """Where to write the Jacobian determinant, on the fixed grid."""
    uncertainty: File = None
    """Where to write the standard deviation of the displacement in mm; by default next to --moved."""
    moving_seg: File = None
    """Label map of the moving image, which is warped as well."""
    moved_seg: File = None
    """Where to write the warped label map."""
    fixed_mask: File = None
    """Mask on the fixed grid; the affine step, instance optimisation and the report look only inside it."""
    moving_mask: File = None
    """The same for the moving image, on its grid."""
    exclude_mask: File = None
    """Mask on the fixed grid of what is not looked at, such as a lesion."""
    start_warp: File = None
    """Displacement of the fixed grid from which instance optimisation begins, in place of the affine step
    and the model, such as one of ITK, ANTs or Greedy."""
    frames: Annotated[Literal["each", "first", "mean"] | None, arg(metavar="each|first|mean")] = None
    """The moving image is a series, whose last axis is time: register each frame, which numbers all outputs
    but --moved, or only the first or the mean, whose displacement then moves all frames."""
    figure: File = None
    """Where to write a figure of the result (png)."""
    report: File = None
    """Where to write a page to look at (html), or the numbers alone (json)."""
    profile: File = None
    """Where to write a figure of the seconds of each part (png)."""


@dataclass(frozen=True)
class BatchOptions:
    """Options for many pairs.

    >>> BatchOptions().workers
    2
    """

    pairs: File = None
    """CSV with the header moving,fixed[,moving_seg,fixed_seg]; requires --out."""
    workers: int = WORKERS
    """Number of worker processes on this machine."""
    scheduler: Annotated[str | None, arg(metavar="ADDRESS")] = None
    """Address of a running Dask scheduler, whose workers are used instead."""


@dataclass(frozen=True)
class Options:
    """Options of a registration.

    >>> Options().warp_format
    'voxelmorph'
    """

    pair: PairOptions = field(default_factory=PairOptions)
    """Registration of one pair."""
    batch: BatchOptions = field(default_factory=BatchOptions)
    """Registration of many pairs."""
    out: Folder = None
    """Folder for moved image, warp, Jacobian, report and figure (of many pairs, only doubtful ones)."""
    bids: bool = False
    """Name the files in --out as BIDS derivatives."""
    warp_format: WarpFormat = "voxelmorph"
    """Displacements in voxels, or in millimetres as read by ITK, ANTs and 3D Slicer."""
    quiet: bool = False
    """Hide the progress bar."""
    registration: ModelOptions = field(default_factory=ModelOptions)
    """How pairs are registered."""


@shared_compilations()
def run(options: Options) -> int:
    """Register one pair, or all pairs of a list."""
    if options.bids and not options.out:
        raise fail("bids", f"no {argument('out')}", f"{argument('out', 'DIR')} beside it")
    if options.out and Path(options.out).is_file():
        raise fail("out", f"the file {options.out}", "a folder")
    from bilevelmorph.io.volumes import add_reader

    add_reader(options.registration.reader)
    return _many(options) if options.batch.pairs else _one(options)


def _many(options: Options) -> int:
    given = [name for name, value in vars(options.pair).items() if value]
    if given:
        raise fail("pairs", f"{argument(given[0])} beside it", "one of the two")
    if not options.out:
        raise fail("pairs", f"no {argument('out')}", f"{argument('out', 'DIR')} beside it")
    from bilevelmorph.datasets.pairs import read_csv
    from bilevelmorph.registration.batch import register_batch

    pairs = read_csv(str(options.batch.pairs))
    if options.bids:
        from bilevelmorph.io.bids import BidsName, describe_dataset

        for pair in pairs:
            BidsName.of(pair.moving.image)
    chosen = options.registration
    settings = {**chosen.registrar_arguments, "reader": chosen.reader, "gpu": chosen.gpu}
    settings |= {"warp_format": options.warp_format, "bids": options.bids}
    del settings["deformable"]
    batch = options.batch
    found = register_batch(pairs, settings, options.out, batch.workers, batch.scheduler, options.quiet)
    if options.bids:
        from bilevelmorph import __version__

        describe_dataset(options.out, __version__)
    there = f", {found.skipped} of them before" if found.skipped else ""
    total = len(found.rows) + len(found.failed)
    print(f"{options.out}: {len(found.rows)} of {total} pairs registered{there}; results.csv, index.html")
    for row in found.failed:
        print(f"failed: {row['moving']} to {row['fixed']}: {row['error']}", file=sys.stderr)
    return 1 if found.failed else 0


def _check_one(options: Options) -> None:
    """Refuse options that do not make sense for one pair."""
    pair, batch = options.pair, options.batch
    if batch.scheduler or batch.workers != WORKERS:
        name = "scheduler" if batch.scheduler else "workers"
        raise fail(name, "one pair", f"{argument('pairs', 'FILE')} beside it")
    for name in ("moving", "fixed"):
        if not getattr(pair, name):
            raise fail(name, "nothing", "an image", f"or {argument('pairs', 'FILE')} for many")
    if not pair.moved and not options.out:
        fix = f"or {argument('out', 'DIR')} for all outputs"
        raise fail("moved", "nothing", "where to write the moved image", fix)
    if not options.out and bool(pair.moving_seg) != bool(pair.moved_seg):
        both = f"{argument('moving_seg')} and {argument('moved_seg')}"
        raise fail(both, "one of them", "both or neither")
    if pair.frames and pair.moved and not pair.moved.lower().endswith((".nii", ".nii.gz")):
        raise fail("moved", f"{pair.moved} for a series", "a name ending in .nii.gz or .nii")
    if pair.uncertainty and not options.registration.mc_samples:
        name = argument("mc_samples")
        raise fail("uncertainty", f"no {name}", f"{name} beside it, such as {argument('mc_samples', 16)}")


def _one(options: Options) -> int:
    began = time.perf_counter()
    _check_one(options)
    pair, chosen = options.pair, options.registration
    from bilevelmorph.data.geometry import onto
    from bilevelmorph.io.json import write_json
    from bilevelmorph.io.series import load_series
    from bilevelmorph.io.volumes import load_volume
    from bilevelmorph.io.warps import load_start
    from bilevelmorph.registration.output_paths import OutputPaths, beside
    from bilevelmorph.registration.quality import descent_settings
    from bilevelmorph.registration.region import region_of
    from bilevelmorph.registration.series import reference_of

    names = {f.name for f in dataclasses.fields(OutputPaths)}
    wanted: dict[str, Any] = {k: v for k, v in vars(pair).items() if k in names and v}
    wanted["warp_format"] = options.warp_format
    outputs = OutputPaths(**wanted)
    inputs = [pair.moving, pair.fixed, pair.moving_seg]
    inputs += [pair.fixed_mask, pair.exclude_mask, pair.moving_mask, pair.start_warp]
    outputs.check(inputs)
    frames = load_series(str(pair.moving)) if pair.frames else []
    moving = reference_of(frames, str(pair.frames)) if frames else load_volume(str(pair.moving))
    fixed = load_volume(str(pair.fixed))
    _check_grids(options, outputs, moving, fixed)
    seg = onto(load_volume(pair.moving_seg, "labels"), moving) if pair.moving_seg else None
    *masks, moving_mask = [
        load_volume(m, "labels") if m else None
        for m in (pair.fixed_mask, pair.exclude_mask, pair.moving_mask)
    ]
    mask = region_of(fixed, *masks)
    start_warp = load_start(pair.start_warp, fixed) if pair.start_warp else None

    from bilevelmorph.devices import choose_gpu

    choose_gpu(chosen.gpu)
    from bilevelmorph.registration.registrar import Registrar

    registrar = Registrar(**chosen.registrar_arguments)
    if options.out:
        kinds = {"bids": options.bids, "seg": seg is not None, "uncertainty": bool(chosen.mc_samples)}
        usual = OutputPaths.in_folder(
            options.out, str(pair.moving), str(pair.fixed), warp_format=options.warp_format, **kinds
        )
        outputs = dataclasses.replace(usual, **wanted)
        outputs.check(inputs)
    elif chosen.mc_samples and not outputs.uncertainty:
        outputs = dataclasses.replace(outputs, uncertainty=beside(str(pair.moved), "uncertainty"))
    back = bool(pair.inverse_warp or pair.inverse_transform)
    most, hidden = registrar.iterations(fixed.shape), options.quiet or None

    def register(image: Volume) -> Registration:
        with tqdm(total=most, desc="iterations", leave=False, disable=hidden) as bar:
            return registrar(image, fixed, mask, back, bar.update, moving_mask, start_warp)

    if frames:
        _register_frames(options, register, frames, outputs, seg)
        return 0
    start = time.perf_counter() - began
    result = register(moving)
    result.seconds = {"imports, reading, model": start, **result.seconds}
    outputs.write(result, seg)
    if options.out:
        write_json(_report_path(options), result.summary | {"moving": pair.moving, "fixed": pair.fixed})
    _say(result)
    own = getattr(registrar.network, "descent", None)
    best = descent_settings("best", chosen.settings, similarity=chosen.similarity, own=own)
    if registrar.quality != "best" and best is not None and sum(best.iterations) > most:
        print("--quality best takes longer and optimises further, up to full resolution")
    return 0


def _say(result: Registration) -> None:
    for key, line in _LINES.items():
        if key in result.report:
            print(line.format(result.report[key]))
    for level in result.levels:
        print(f"optimised at {level.text}")
    for doubt in result.warnings:
        print(f"warning: {doubt}", file=sys.stderr)


def _register_frames(
    options: Options,
    register: Callable[[Volume], Registration],
    frames: list[Volume],
    outputs: OutputPaths,
    seg: Volume | None,
) -> None:
    """Register a series, and write its moved frames as one file."""
    from bilevelmorph.io.json import write_json
    from bilevelmorph.io.series import save_series
    from bilevelmorph.registration.series import register_series

    which, moved, summaries = str(options.pair.frames), [], []
    found = register_series(register, frames, which)
    total = len(frames) if which == "each" else 1
    for number, (result, images) in enumerate(tqdm(found, "frames", total, disable=options.quiet or None)):
        here = outputs.numbered(number) if which == "each" else dataclasses.replace(outputs, moved=None)
        here.write(result, seg)
        moved += images
        summaries.append(result.summary | {"frame": number if which == "each" else which})
        tqdm.write(f"{'frame ' + str(number) if which == 'each' else which}:")
        _say(result)
    save_series(str(outputs.moved), moved, frames[0].header)
    if options.out:
        files = {"moving": options.pair.moving, "fixed": options.pair.fixed}
        write_json(_report_path(options), files | {"frames": summaries})


def _check_grids(options: Options, outputs: OutputPaths, moving: Volume, fixed: Volume) -> None:
    """Refuse grids whose warps the chosen form cannot hold, before the work and not after it."""
    from bilevelmorph.io.warps import check_form

    if outputs.warp or outputs.inverse_warp or options.out:
        for image in (fixed, moving) if outputs.inverse_warp else (fixed,):
            check_form(options.warp_format, image.affine, image.name)
    for path, image in ((outputs.transform or options.bids, fixed), (outputs.inverse_transform, moving)):
        if path:
            check_form("itk", image.affine, image.name)


def _report_path(options: Options) -> Path:
    out = str(options.out)
    if not options.bids:
        return Path(out, "report.json")
    from bilevelmorph import __version__
    from bilevelmorph.io.bids import bids_folder, bids_names, describe_dataset

    describe_dataset(out, __version__)
    moving, fixed = str(options.pair.moving), str(options.pair.fixed)
    return bids_folder(out, moving) / bids_names(moving, fixed)["report"]
