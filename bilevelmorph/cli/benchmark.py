"""Compare registration methods, ours and those of others, on the same pairs."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from bilevelmorph.config.flags import File, Folder
from bilevelmorph.errors import argument, fail, positive

if TYPE_CHECKING:
    from bilevelmorph.benchmark.method import Method
    from bilevelmorph.benchmark.training import TrainingPlan
    from bilevelmorph.datasets.pairs import Pair

Size = Annotated[tuple[int, ...], arg(metavar="INT ...")]
# Validation pairs on which the weight of a method is chosen.
CHOICE_PAIRS = 10
Methods = Annotated[tuple[str, ...], arg(metavar="METHOD ...")]


@dataclass(frozen=True)
class Options:
    """Options of a comparison.

    >>> Options("scans").start
    'files'
    """

    data: Folder = None
    """Folder with a dataset.json, of the Decathlon, Learn2Reg or nnU-Net."""
    split: Literal["val", "test"] = "val"
    """Split of --data to compare on; tune on val, and touch test once."""
    pairs: File = None
    """CSV with the header moving,fixed,moving_seg,fixed_seg, in place of --data."""
    limit: int = 0
    """Number of pairs, starting with the first; 0 for all."""
    methods: Methods = ("general:best", "general:fast", "none:best", "greedy", "ants", "elastix", "niftyreg")
    """Methods, the first being compared with the others: ants, convexadam, elastix, greedy, niftyreg,
    identity, each perhaps with :slow; ours as MODEL:QUALITY or MODEL:QUALITY:SETTINGS, where the model
    none is instance optimisation alone, and none:fast the affine step; your own as a Python file,
    perhaps with :SETTING."""
    out: str = "benchmark"
    """Folder for the scores, tables, figures and report.html; a run that was interrupted goes on."""
    shape: Size = ()
    """Crop or pad all images to this size, centre on centre, where headers say nothing about places."""
    start: Literal["files", "affine"] = "files"
    """Whether all methods start from the files, with an affine step of their own, or from our affine step."""
    train_budget: str | None = None
    """How long to train methods that learn, such as voxelmorph, with each of their weights: 40m, 1.5h; the
    training scans of --data are taken, and the weight is chosen on its validation pairs."""
    both_directions: bool = False
    """Also register each pair the other way round, for the inconsistency of both."""
    threads: int = 0
    """Threads of each method; 0 for all cores."""
    time_limit: float = 3600.0
    """Seconds after which a registration is given up."""
    environments: Folder = None
    """Folder with the environments of the methods, see --install."""
    install: Methods = ()
    """Make environments for these methods below --environments, with the packages that they need."""
    quiet: bool = False
    """Hide the progress bar."""


def run(options: Options) -> int:
    """Install methods, or compare them.

    Returns:
        0, or 1 if a registration of a method that is installed failed.
    """
    from bilevelmorph.benchmark.method import Method

    positive("time_limit", options.time_limit)
    for name in ("limit", "threads"):
        positive(name, getattr(options, name), zero=True, whole=True)
    if options.install:
        _install(options)
        if not options.data and not options.pairs:
            return 0
    if not options.methods or len(set(options.methods)) < len(options.methods):
        raise fail("methods", " ".join(options.methods) or "none", "different methods")
    methods = [Method.of(text) for text in options.methods]
    pairs, labels, names, title = _pairs(options)

    from bilevelmorph.benchmark.results import write_benchmark
    from bilevelmorph.benchmark.run import NOT_INSTALLED, BenchmarkPlan, run_benchmark

    plan = BenchmarkPlan(
        pairs,
        methods,
        labels,
        Path(options.out),
        options.shape,
        options.start,
        options.threads or os.cpu_count() or 1,
        options.time_limit,
        options.both_directions,
        Path(options.environments) if options.environments else None,
        _training(options),
    )
    rows = run_benchmark(plan, options.quiet)
    command = f"bilevelmorph benchmark {shlex.join(sys.argv[2:] if len(sys.argv) > 2 else [])}".strip()
    print(write_benchmark(plan, rows, title, names, command), end="")
    print(f"see {plan.out / 'report.html'}")
    return int(any(row["error"] not in ("", NOT_INSTALLED) for row in rows))


def _install(options: Options) -> None:
    from bilevelmorph.benchmark.environment import make_environment
    from bilevelmorph.benchmark.method import Method

    if not options.environments:
        raise fail("environments", "nothing", f"the folder for {argument('install')}")
    methods: list[Method] = [Method.of(text) for text in options.install]
    for method in methods:
        folder = make_environment(method, Path(options.environments))
        print(f"{method.adapter.stem}: {folder}")


def _training(options: Options) -> TrainingPlan | None:
    """What methods are trained on that have to be."""
    from bilevelmorph.benchmark.training import TrainingPlan
    from bilevelmorph.config.budget_config import seconds_of
    from bilevelmorph.datasets.decathlon import DecathlonDataset

    if options.train_budget is None:
        return None
    if not options.data:
        raise fail("train_budget", options.train_budget, f"{argument('data')}, with training scans")
    folder = DecathlonDataset.open(options.data)
    scans, pairs = folder.subjects("train"), folder.pairs("val")[:CHOICE_PAIRS]
    if len(scans) < 2:
        raise fail("train_budget", f"{len(scans)} training scans", "at least 2")
    return TrainingPlan(scans, pairs, seconds_of(options.train_budget, "train_budget"))


def _pairs(options: Options) -> tuple[list[Pair], list[int] | None, dict[int, str], str]:
    """The pairs, their labels and the names of these, and a title."""
    from bilevelmorph.datasets.decathlon import DecathlonDataset
    from bilevelmorph.datasets.pairs import annotated, read_csv

    if bool(options.data) == bool(options.pairs):
        data, pairs = argument("data"), argument("pairs")
        came = f"both {data} and {pairs}" if options.data else f"neither {data} nor {pairs}"
        raise fail("data", came, "one of them")
    if options.pairs:
        found = annotated(read_csv(options.pairs), options.pairs)
        return found[: options.limit or None], None, {}, Path(options.pairs).stem
    folder = DecathlonDataset.open(str(options.data))
    found = annotated(folder.pairs(options.split), str(options.data))[: options.limit or None]
    title = f"{folder.name}, {len(found)} {'test' if options.split == 'test' else 'validation'} pairs"
    return found, folder.labels or None, folder.label_names, title
