"""Score a model, or a linear alignment, over pairs with label maps."""

from __future__ import annotations

import argparse
from pathlib import Path

from bilevelmorph.checks import fail


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All flags."""
    add = parser.add_argument
    add("--data", help="folder with a dataset.json")
    add("--split", choices=("val", "test"), default="val", help="which pairs of --data")
    add(
        "--pairs",
        help="or a CSV (moving,fixed,moving_seg,fixed_seg), or VoxelMorph's list of two names a line",
    )
    add("--img-prefix", default="", help="of such a list: put before every name")
    add("--img-suffix", default="", help="put after every name")
    add("--seg-prefix", default="", help="put before every name for its label map")
    add("--seg-suffix", default="", help="put after it")
    add(
        "--labels",
        help="npy or text: the label values that count (default: all in dataset.json, or in the pair)",
    )
    add("--limit", type=int, default=0, help="only the first so many pairs; 0 for all")
    add("--model", default="general", help="bundled model, .keras file, or VoxelMorph's .h5")
    add(
        "--method",
        choices=("model", "affine", "rigid", "identity"),
        default="model",
        help="identity, rigid and affine use no model",
    )
    add("--affine", choices=("none", "rigid", "affine"), default="none", help="linear step before the model")
    add("--start", choices=("header", "centre"), help="initial placement (default: as the model was trained)")
    add("--instance-steps", type=int, default=0, help="iterations that refine each pair after the model")
    add("--samples", type=int, default=0, help="draws of a probabilistic model; adds uncertainty_mm")
    add("--out", help="CSV, one row a pair; a JSON summary is written beside it")
    add("--save-moved", help="folder for the warped label maps")
    add("-g", "--gpu", default="0", help="GPU number; -1 for the CPU")
    add("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> None:
    """Evaluate, write, print the means."""
    if bool(options.data) == bool(options.pairs):
        raise fail(
            "pairs",
            "both --data and --pairs" if options.data else "neither --data nor --pairs",
            "one of them",
        )
    if options.out and Path(options.out).suffix != ".csv":
        raise fail("--out", options.out, "a name ending in .csv")
    if options.out and not Path(options.out).parent.is_dir():
        raise fail(
            "--out", options.out, "a file in an existing folder", f"make {Path(options.out).parent} first"
        )
    pairs, labels = _pairs(options)
    moved = Path(options.save_moved) if options.save_moved else None
    if moved is not None:
        moved.mkdir(parents=True, exist_ok=True)

    from bilevelmorph.devices import choose_gpu
    from bilevelmorph.inference.register import Registrar
    from bilevelmorph.report.evaluate import evaluate, summarise, write_results

    choose_gpu(options.gpu)
    if options.method == "model":
        registrar = Registrar(
            options.model,
            options.affine,
            options.start,
            compiled=True,
            instance_steps=options.instance_steps,
            samples=options.samples,
        )
    else:
        linear = "none" if options.method == "identity" else options.method
        registrar = Registrar(None, linear, options.start, deformable=False)
    rows = evaluate(registrar, pairs, labels, moved, options.quiet)
    facts = {
        "data": options.data or options.pairs,
        "split": options.split if options.data else None,
        "method": options.method,
        "model": options.model if options.method == "model" else None,
        "affine": registrar.affine,
        "start": registrar.start,
        "instance_steps": options.instance_steps if options.method == "model" else 0,
    }
    summary = summarise(rows, facts)
    written = f"; {options.out}, {write_results(options.out, rows, summary)}" if options.out else ""
    for key, text in (
        ("dice", "Dice"),
        ("hd95_mm", "HD95 mm"),
        ("folding_percent", "folding %"),
        ("seconds", "seconds"),
    ):
        if key in summary:
            print(f"{text:<10} {summary[key]['mean']:.4f}  (s.d. {summary[key]['std']:.4f})")
    print(f"{len(rows)} pairs{written}")


def _pairs(options: argparse.Namespace):
    from bilevelmorph.volumes.pairs import DatasetFolder, read_csv, read_labels, read_list, with_labels

    labels = None
    if options.data:
        folder = DatasetFolder.open(options.data)
        pairs, labels = folder.pairs(options.split), folder.labels or None
    elif options.pairs.lower().endswith(".csv"):
        pairs = read_csv(options.pairs)
    else:
        ends = (options.img_prefix, options.img_suffix, options.seg_prefix, options.seg_suffix)
        single, pairs = read_list(options.pairs, *ends)
        if single:
            raise fail(options.pairs, "single names", "two names a line, moving and fixed")
    if options.labels:
        labels = read_labels(options.labels)
    if options.limit < 0:
        raise fail("--limit", options.limit, "0 or more")
    return with_labels(pairs[: options.limit or None], options.data or options.pairs), labels
