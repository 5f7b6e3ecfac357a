"""Download a public data set and prepare it for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from bilevelmorph.config.flags import Folder


@dataclass(frozen=True)
class Options:
    """Options of a download.

    >>> Options("hippocampus").out is None
    True
    """

    name: tyro.conf.Positional[str]
    """Data set: hippocampus (220 labelled MR scans of the Medical Segmentation Decathlon)."""
    out: Folder = None
    """Folder to create; by default named after the data set."""
    quiet: bool = False
    """Hide the progress bar."""


def run(options: Options) -> None:
    """Fetch one data set."""
    from bilevelmorph.datasets.fetch import fetch

    folder = options.out or options.name
    content = fetch(options.name, folder, options.quiet)
    counts = ", ".join(f"{len(content[part])} {part}" for part in ("training", "validation", "test"))
    print(f"{folder}: {counts}; {content['licence']}; please cite {content['reference']}")
