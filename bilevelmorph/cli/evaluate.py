"""Score a model or a linear alignment on pairs with label maps or landmarks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bilevelmorph.cli.options import ModelOptions
from bilevelmorph.compilation_cache import shared_compilations
from bilevelmorph.config.codec import to_dict
from bilevelmorph.config.flags import File, Folder
from bilevelmorph.errors import argument, fail

if TYPE_CHECKING:
    from bilevelmorph.datasets.pairs import Pair


@dataclass(frozen=True)
class Options:
    """Options of an evaluation.

    >>> Options(data="scans").split
    'val'
    """

    data: Folder = None
    """Folder with a dataset.json, of the Decathlon, Learn2Reg or nnU-Net."""
    split: Literal["val", "test"] = "val"
    """Split of --data to score."""
    pairs: File = None
    """CSV with the header moving,fixed,moving_seg,fixed_seg, or a VoxelMorph list with two names per line."""
    img_prefix: str = ""
    """Prefix added to every name in a VoxelMorph list."""
    img_suffix: str = ""
    """Suffix added to every name in a VoxelMorph list."""
    seg_prefix: str = ""
    """Prefix added to a name in a VoxelMorph list to give that of its label map."""
    seg_suffix: str = ""
    """Suffix added to a name in a VoxelMorph list to give that of its label map."""
    labels: File = None
    """npy or text file with the label values to score; by default all in dataset.json or in the pair."""
    limit: int = 0
    """Number of pairs to score, starting with the first; 0 for all."""
    method: Literal["model", "affine", "rigid", "identity"] = "model"
    """Method to score; identity, rigid and affine use no model."""
    out: File = None
    """Where to write a CSV of the scores, one row per pair; a JSON summary is written next to it."""
    save_moved: Folder = None
    """Folder for the warped label maps."""
    submission: Folder = None
    """Folder for the displacements as Learn2Reg takes them (disp_FIXED_MOVING.nii.gz)."""
    masks: bool = False
    """Use the masks of the data set: what counts, in the affine step, instance optimisation and report."""
    quiet: bool = False
    """Hide the progress bar."""
    registration: ModelOptions = field(default_factory=ModelOptions)
    """How pairs are registered."""


@shared_compilations()
def run(options: Options) -> None:
    """Evaluate, write the scores and print their means."""
    if bool(options.data) == bool(options.pairs):
        raise fail(
            "pairs",
            _both_or_neither(bool(options.data)),
            "one of them",
        )
    if options.out and Path(options.out).suffix != ".csv":
        raise fail("out", options.out, "a name ending in .csv")
    if options.out and not Path(options.out).parent.is_dir():
        raise fail(
            "out", options.out, "a file in an existing folder", f"make {Path(options.out).parent} first"
        )
    from bilevelmorph.io.volumes import add_reader

    add_reader(options.registration.reader)
    pairs, labels = _pairs(options)
    moved, submission = (Path(p) if p else None for p in (options.save_moved, options.submission))
    for folder in (moved, submission):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    from bilevelmorph.devices import choose_gpu
    from bilevelmorph.registration.evaluation import evaluate, summarise, write_results
    from bilevelmorph.registration.registrar import Registrar

    choose_gpu(options.registration.gpu)
    if options.method == "model":
        registrar = Registrar(**options.registration.registrar_arguments, compiled=True)
    else:
        linear = "none" if options.method == "identity" else options.method
        registrar = Registrar(None, linear, options.registration.init, deformable=False)
    rows = evaluate(
        registrar, pairs, labels, moved, options.quiet, submission=submission, masks=options.masks
    )
    facts = {
        "data": options.data or options.pairs,
        "split": options.split if options.data else None,
        "method": options.method,
        "model": options.registration.model if options.method == "model" else None,
        "affine": registrar.affine,
        "init": registrar.init,
        "quality": registrar.quality,
        "settings": None if registrar.settings is None else to_dict(registrar.settings),
    }
    summary = summarise(rows, facts)
    written = f"; {options.out}, {write_results(options.out, rows, summary)}" if options.out else ""
    for key, text in (
        ("dice", "Dice"),
        ("hd95_mm", "HD95 mm"),
        ("tre_mm", "TRE mm"),
        ("folding_percent", "folding %"),
        ("seconds", "seconds"),
    ):
        if key in summary:
            print(f"{text:<10} {summary[key]['mean']:.4f}  (s.d. {summary[key]['std']:.4f})")
    print(f"{len(rows)} pairs{written}")


def _both_or_neither(both: bool) -> str:
    data, pairs = argument("data"), argument("pairs")
    return f"both {data} and {pairs}" if both else f"neither {data} nor {pairs}"


def _pairs(options: Options) -> tuple[list[Pair], list[int] | None]:
    from bilevelmorph.datasets.decathlon import DecathlonDataset
    from bilevelmorph.datasets.pairs import annotated, read_csv, read_labels, read_list

    labels, source = None, str(options.data or options.pairs)
    if options.data:
        folder = DecathlonDataset.open(options.data)
        pairs, labels = folder.pairs(options.split), folder.labels or None
    elif source.lower().endswith(".csv"):
        pairs = read_csv(source)
    else:
        ends = (options.img_prefix, options.img_suffix, options.seg_prefix, options.seg_suffix)
        single, pairs = read_list(source, *ends)
        if single:
            raise fail(source, "single names", "two names per line, moving and fixed")
    if options.labels:
        labels = read_labels(options.labels)
    if options.limit < 0:
        raise fail("limit", options.limit, "0 or more")
    return annotated(pairs[: options.limit or None], source), labels
