"""What the process of the trials runs; it imports TensorFlow itself, in silence."""

from __future__ import annotations

from typing import Any

from bilevelmorph.search.config import SearchConfig


def serve(pipe: Any, config: SearchConfig) -> None:
    """Train what comes through the pipe until the parent hangs up or is no more.

    Args:
        pipe: Gives the arguments of `run_trial`, the genotype as a dictionary; takes the answers.
        config: Of the search.
    """
    from bilevelmorph.devices import choose_gpu, use_threads

    choose_gpu(config.gpu)
    use_threads(config.threads)
    from bilevelmorph.networks.genotype import Genotype
    from bilevelmorph.search.trial import run_trial
    from bilevelmorph.training.data import open_data

    data = open_data(config)
    while True:
        try:
            genotype, *rest = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer: Any = ("done", run_trial(config, data, Genotype.from_dict(genotype), *rest))
        except KeyboardInterrupt:
            return
        except Exception as error:
            answer = ("failed", f"{type(error).__name__}: {error}")
        try:
            pipe.send(answer)
        except OSError:
            return
