"""What the child process of a search does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bilevelmorph.config import SearchConfig


def trial_runner(
    config: SearchConfig, labelled: bool, xla: str = "auto"
) -> Callable[[Any], dict[str, float]]:
    """Make the function that trains candidates, for a `ChildProcess`.

    Args:
        config: Configuration of the search.
        labelled: Whether candidates are scored by Dice.
        xla: Which functions XLA compiles, see `using_xla`.

    Returns:
        A function of the arguments of `run_trial` after the data, with the genotype as a dictionary.
    """
    from bilevelmorph.devices import choose_gpu, use_threads, using_xla

    choose_gpu(config.device.gpu)
    use_threads(config.device.threads)
    from bilevelmorph.autoreg.trial import open_search_data, run_trial
    from bilevelmorph.networks.genotype import Genotype

    with using_xla(xla):
        data = open_search_data(config, labelled)

    def train(request: Any) -> dict[str, float]:
        genotype, *rest = request
        with using_xla(xla):
            return run_trial(config, data, Genotype.from_dict(genotype), *rest)

    return train
