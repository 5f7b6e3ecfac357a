"""Searchers for the settings of instance optimisation at equal time, judged on pairs that none of them saw.

python -m benchmarks.descent_tuning --data hippocampus --model hippocampus --budget 10m --out runs/tuning
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from bilevelmorph.cli.options import ModelOptions
from bilevelmorph.config.descent_tuning_config import DescentTuningConfig


@dataclass(frozen=True)
class Options:
    """Options of the comparison."""

    data: str
    """Folder with a dataset.json; its validation pairs are split into pairs to tune on and the others."""
    out: str
    """Folder for the table, the trials and the figure."""
    held_out: int = 16
    """Number of pairs to judge by, after those to tune on."""
    searchers: tuple[str, ...] = ("bilevel", "random", "bayesian")
    """Searchers, in their order."""
    tuning: DescentTuningConfig = field(default_factory=DescentTuningConfig)
    """Budget of each searcher."""
    registration: ModelOptions = field(default_factory=ModelOptions)
    """How pairs are registered."""


def main(options: Options) -> None:
    """Run all searchers one after another, and print a table."""
    from bilevelmorph.config.descent_config import DescentConfig
    from bilevelmorph.datasets.decathlon import DecathlonDataset
    from bilevelmorph.devices import choose_gpu
    from bilevelmorph.registration.registrar import Registrar
    from bilevelmorph.report.tuning_figure import tuning_figure
    from bilevelmorph.tuning.case import open_cases
    from bilevelmorph.tuning.descent_numbers import DescentNumbers
    from bilevelmorph.tuning.run import tune, write_trials
    from bilevelmorph.tuning.scorer import Scorer

    choose_gpu(options.registration.gpu)
    folder, out = DecathlonDataset.open(options.data), Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    given = {**options.registration.registrar_arguments, "quality": "best"}
    registrar = Registrar(**given, compiled=True)
    base = registrar.settings or DescentConfig()
    count = options.tuning.tune_pairs
    pairs, labels = folder.pairs("val"), folder.labels or None
    criterion = options.tuning.criterion
    cases = open_cases(registrar, pairs[:count], criterion, labels)
    held = open_cases(registrar, pairs[count : count + options.held_out], criterion, labels)
    judge = Scorer(DescentNumbers(base), held)
    if held:
        print(f"start: held-out {judge(base):.4f}")
    tables = {}
    for name in options.searchers:
        trials = tune(options.tuning.with_(searcher=name), base, cases)
        tables[name] = out / f"{name}.csv"
        write_trials(tables[name], trials)
        best = max(trials, key=lambda t: t.score)
        best.settings.save(out / f"{name}.json")
        judged = f", held-out {judge(best.settings):.4f}" if held else ""
        print(
            f"{name}: {len(trials)} settings, tuned on {best.score:.4f} (start {trials[0].score:.4f}){judged}"
        )
        tuning_figure(out / "tuning.png", tables)


if __name__ == "__main__":
    main(tyro.cli(Options, config=(tyro.conf.OmitArgPrefixes,)))
