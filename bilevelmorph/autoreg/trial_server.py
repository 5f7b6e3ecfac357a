"""The child process that trains candidates."""

from __future__ import annotations

from typing import Any

from bilevelmorph.config import SearchConfig


def serve(pipe: Any, config: SearchConfig, labelled: bool, xla: str = "auto") -> None:
    """Train the candidates received through a pipe until the parent closes it or exits.

    Args:
        pipe: Connection that delivers the arguments of `run_trial`, with the genotype as a dictionary,
            and takes the results.
        config: Configuration of the search.
        labelled: Whether candidates are scored by Dice.
        xla: Which functions XLA compiles, see `using_xla`.
    """
    from bilevelmorph.devices import choose_gpu, use_threads, using_xla

    with using_xla(xla):
        choose_gpu(config.device.gpu)
        use_threads(config.device.threads)
        from bilevelmorph.autoreg.trial import open_search_data, run_trial
        from bilevelmorph.networks.genotype import Genotype

        data = open_search_data(config, labelled)
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
