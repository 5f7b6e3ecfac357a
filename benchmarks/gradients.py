"""Searches by gradients alone, without the trials that follow: for looking at the search itself."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bilevelmorph.io.csv import read_rows


def searched(folder: Path, words: Sequence[Any]) -> list[dict[str, str]]:
    """What a search with these flags logged; made unless there, with the likeliest genotype.

    Args:
        folder: For `genotype.json` and `gradient/search.csv`.
        words: Flags of `bilevelmorph search`, `--search-steps` among them.
    """
    if not (folder / "genotype.json").is_file():
        from bilevelmorph.autoreg.config import SearchConfig

        from bilevelmorph.autoreg.run import check_all
        from bilevelmorph.autoreg.supernet import gradient_search
        from bilevelmorph.autoreg.time_budget import TimeBudget
        from bilevelmorph.cli.search import add_arguments
        from bilevelmorph.devices import choose_gpu, use_threads
        from bilevelmorph.training.data import open_data

        parser = argparse.ArgumentParser()
        add_arguments(parser)
        values = vars(parser.parse_args([*map(str, words), "--out", str(folder), "--quiet"]))
        values.pop("quiet")
        config = SearchConfig.from_dict(values)
        check_all(config)
        config = dataclasses.replace(config, bilevel=True)
        choose_gpu(config.gpu)
        use_threads(config.threads)
        folder.mkdir(parents=True, exist_ok=True)
        found = gradient_search(config, open_data(config), TimeBudget(folder / "clock.json"), 0.0, quiet=True)
        found.genotype.save(folder / "genotype.json")
    return read_rows(folder / "gradient" / "search.csv")
