"""Tune instance optimisation to your scans, within a time budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bilevelmorph.cli.options import ModelOptions
from bilevelmorph.compilation_cache import shared_compilations
from bilevelmorph.config.descent_tuning_config import DescentTuningConfig
from bilevelmorph.config.flags import File, Folder
from bilevelmorph.errors import argument, fail

if TYPE_CHECKING:
    from bilevelmorph.datasets.pairs import Pair


@dataclass(frozen=True)
class Options:
    """Options of a tuning.

    >>> Options("scans").out
    'tuned.json'
    """

    data: Folder = None
    """Folder with a dataset.json, whose validation pairs are tuned on."""
    pairs: File = None
    """CSV with the header moving,fixed,moving_seg,fixed_seg, in place of --data."""
    out: str = "tuned.json"
    """Where to write the settings, for --settings; a CSV and a figure of all trials are written beside it."""
    quiet: bool = False
    """Hide the progress bars."""
    tuning: DescentTuningConfig = field(default_factory=DescentTuningConfig)
    """Budget and searcher."""
    registration: ModelOptions = field(default_factory=ModelOptions)
    """How pairs are registered; --settings are those to start from."""


@shared_compilations()
def run(options: Options) -> None:
    """Tune, and write the best settings."""
    out = Path(options.out)
    if out.suffix != ".json":
        raise fail("out", options.out, "a name ending in .json")
    if not out.parent.is_dir():
        raise fail("out", options.out, "a file in an existing folder", f"make {out.parent} first")
    config = options.tuning
    pairs, labels = _pairs(options)

    from bilevelmorph.config.descent_config import DescentConfig
    from bilevelmorph.devices import choose_gpu
    from bilevelmorph.io.volumes import add_reader
    from bilevelmorph.registration.registrar import Registrar
    from bilevelmorph.report.tuning_figure import tuning_figure
    from bilevelmorph.tuning.case import open_cases
    from bilevelmorph.tuning.run import check, tune, write_trials

    add_reader(options.registration.reader)
    choose_gpu(options.registration.gpu)
    given: dict[str, Any] = options.registration.registrar_arguments
    registrar = Registrar(**{**given, "quality": "best"}, compiled=True)
    base = registrar.settings or DescentConfig(iterations=(0, 0))
    check(config, base)
    cases = open_cases(registrar, pairs[: config.tune_pairs or None], config.criterion, labels, options.quiet)
    trials = tune(config, base, cases, options.quiet)
    best = max(trials, key=lambda t: t.score)
    best.settings.save(out)
    write_trials(out.with_suffix(".csv"), trials)
    tuning_figure(out.with_suffix(".png"), {config.searcher: out.with_suffix(".csv")})
    unit = {"dice": "Dice", "landmarks": "distance of landmarks"}.get(config.criterion, "label-free score")
    print(f"{len(trials)} settings on {len(cases)} pairs in {trials[-1].seconds:.0f} s")
    print(f"{unit} less the price of iterations: {trials[0].score:.4f} before, {best.score:.4f} tuned")
    before = trials[0].settings.flat()
    for name, value in best.settings.flat().items():
        if value != before[name]:
            print(f"  {name}: {_shown(before[name])} -> {_shown(value)}")
    print(f"use them: bilevelmorph register --settings {out} ...")


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _pairs(options: Options) -> tuple[list[Pair], list[int] | None]:
    from bilevelmorph.datasets.decathlon import DecathlonDataset
    from bilevelmorph.datasets.pairs import read_csv

    if bool(options.data) == bool(options.pairs):
        data, pairs = argument("data"), argument("pairs")
        came = f"both {data} and {pairs}" if options.data else f"neither {data} nor {pairs}"
        raise fail("data", came, "one of them")
    if options.pairs:
        return read_csv(options.pairs), None
    folder = DecathlonDataset.open(str(options.data))
    return folder.pairs("val"), folder.labels or None
