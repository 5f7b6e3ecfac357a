"""Download a public data set and lay it out for training and evaluation."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All flags."""
    parser.add_argument(
        "name", help="hippocampus: 220 labelled MR scans of the Medical Segmentation Decathlon"
    )
    parser.add_argument("--out", help="folder to make (default: the name)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> None:
    """Fetch one data set."""
    from bilevelmorph.volumes.fetch import fetch

    folder = options.out or options.name
    content = fetch(options.name, folder, options.quiet)
    counts = ", ".join(f"{len(content[part])} {part}" for part in ("training", "validation", "test"))
    print(f"{folder}: {counts}; {content['licence']}; please cite {content['reference']}")
