"""Gradient searches without the trials that follow, to study the search itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bilevelmorph.io.csv import read_rows


def searched(folder: Path, words: Sequence[Any]) -> list[dict[str, str]]:
    """Run a search unless done, save its likeliest genotype, and return the rows of its log.

    Args:
        folder: Folder for `genotype.json` and `gradient/search.csv`.
        words: Flags of `bilevelmorph search`, including `--search-steps`.
    """
    if not (folder / "genotype.json").is_file():
        from bilevelmorph.autoreg.run import check_all
        from bilevelmorph.autoreg.supernet import gradient_search
        from bilevelmorph.autoreg.time_budget import TimeBudget
        from bilevelmorph.autoreg.trial import open_search_data
        from bilevelmorph.cli.parsing import parse
        from bilevelmorph.cli.search import Options
        from bilevelmorph.devices import choose_gpu, use_threads

        config = parse(Options, [*map(str, words), "--out", str(folder)], "search").search
        check_all(config)
        choose_gpu(config.device.gpu)
        use_threads(config.device.threads)
        folder.mkdir(parents=True, exist_ok=True)
        data = open_search_data(config, labelled=True)
        found = gradient_search(config, data, TimeBudget(folder / "clock.json"), 0.0, quiet=True)
        found.genotype.save(folder / "genotype.json")
    return read_rows(folder / "gradient" / "search.csv")
