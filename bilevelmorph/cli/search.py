"""Search for a network and its loss weights on a folder of scans, within a time budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import arg

from bilevelmorph.compilation_cache import shared_compilations
from bilevelmorph.config import SearchConfig
from bilevelmorph.config.flags import File


@dataclass(frozen=True)
class Options:
    """Options of a search.

    >>> Options().search.budget.budget
    '2h'
    """

    config_file: Annotated[File, arg(name="config")] = None
    """YAML or JSON file of options; flags take precedence over it."""
    quiet: bool = False
    """Hide the progress bars."""
    search: SearchConfig = field(default_factory=SearchConfig)


@shared_compilations()
def run(options: Options) -> None:
    """Run the search."""
    config = options.search
    from bilevelmorph.devices import choose_gpu, use_threads

    choose_gpu(config.device.gpu)
    use_threads(config.device.threads)
    from bilevelmorph.autoreg.run import search

    result = search(config, options.quiet)
    if result is None:
        print("this worker's trials are done; the chief has the result")
        return
    from bilevelmorph.report.search_page import train_command, write_search_page

    page, best = write_search_page(config, result), result.candidates[0]
    unit = "Dice" if result.labelled else "label-free score"
    print(f"best of {len(result.candidates)}: {best.name}, {unit} {best.score:.4f}, {best.ms:.0f} ms a pair")
    print(f"report: {page}")
    print(f"train it in full: {train_command(config, best.genotype)}")
