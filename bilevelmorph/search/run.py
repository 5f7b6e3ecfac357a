"""A search from its configuration: what is tried, what wins, and what is left behind."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bilevelmorph.checks import fail, one_of
from bilevelmorph.layers.mixed_op import OPERATIONS
from bilevelmorph.networks.genotype import Genotype
from bilevelmorph.search.clock import Clock
from bilevelmorph.search.config import RESPONSE, SearchConfig, check_search
from bilevelmorph.search.drawn import PART as DRAWN
from bilevelmorph.search.drawn import drawn_search
from bilevelmorph.search.gradient import gradient_search
from bilevelmorph.search.progress import Progress
from bilevelmorph.search.trial import Candidate, ranked
from bilevelmorph.search.tuners import is_worker, tuner_search
from bilevelmorph.training.data import TrainingData, open_data
from bilevelmorph.training.run import check, make_energy
from bilevelmorph.volumes.pairs import DatasetFolder
from bilevelmorph.volumes.tables import write_csv, write_json

# Of the budget: the network of all operations, trials of what it learned; as much as both for random ones.
SHARE, TRIALS = 0.2, 0.3
RANDOM = "tuner-random"


class Result(NamedTuple):
    """What a search ends with.

    Attributes:
        candidates: All that were trained, the best first.
        labelled: Whether they were scored by Dice.
        seconds: Used by each part.

    >>> genotype, scores = Genotype.uniform("conv1", (2,), 1), {"random-1": 0.71, "random-2": 0.78}
    >>> tried = [Candidate(name, genotype, {}, score, 5.0, 60.0) for name, score in scores.items()]
    >>> result = Result(ranked(tried), labelled=True, seconds={RANDOM: 120.0})
    >>> row_of(result.candidates[0])["name"]
    'random-2'
    """

    candidates: list[Candidate]
    labelled: bool
    seconds: dict[str, float]


def search(config: SearchConfig, quiet: bool = False) -> Result | None:
    """Search a network for a folder of scans.

    Leaves in its folder ``genotype.json`` and ``weights.json`` of the winner,
    ``trials.csv``, ``config.json`` and the state that a second call with the same
    configuration goes on from.

    Args:
        config: Of the search.
        quiet: No progress bars.

    Returns:
        The result; None in a worker, whose chief has it.

    Raises:
        InputError: Data or values that cannot be used, too little time.
    """
    check_all(config)
    labelled = _labelled(config)
    config = dataclasses.replace(config, bilevel=True, upper="dice" if labelled else "label-free")
    folder = Path(config.model_dir)
    data = open_data(config)
    folder.mkdir(parents=True, exist_ok=True)
    _same_search(config, folder)
    clock = Clock(folder / "clock.json")
    progress = Progress(config, clock, "Dice" if labelled else "label-free score", quiet)
    if not labelled:
        progress.say("no labels on the validation pairs: loss weights are tuned for the label-free objective")
    if config.searcher == "gradient":
        candidates = _by_gradients(config, data, clock, folder, progress)
    else:
        candidates = tuner_search(config, data, clock, config.seconds, config.searcher, folder, progress)
    if is_worker():
        return None
    candidates = ranked(candidates, config.target_ms)
    parts = ("gradient", DRAWN, config.searcher, RANDOM)
    used = {part: clock.used(part) for part in dict.fromkeys(parts) if clock.used(part)}
    result = Result(candidates, labelled, used)
    _write(result, folder)
    return result


def check_all(config: SearchConfig) -> None:
    """Refuse what cannot work, before anything is opened."""
    check_search(config)
    check(dataclasses.replace(config, strategy="first-order") if config.strategy == RESPONSE else config)
    for operation in config.operations:
        one_of("--operations", operation, OPERATIONS)
    if config.searcher == "gradient" and "KERASTUNER_ORACLE_IP" in os.environ:
        came = "gradient, in a process that is one of many (KERASTUNER_ORACLE_IP)"
        raise fail("--searcher", came, "one of Keras Tuner's, which spread over processes")


def _by_gradients(
    config: SearchConfig, data: TrainingData, clock: Clock, folder: Path, progress: Progress
) -> list[Candidate]:
    """What gradients find and what is drawn from it, and as much time for random candidates."""
    progress.say("1/3  network of all operations: loss weights, architecture and weights together")
    found = gradient_search(config, data, clock, SHARE * config.seconds, progress.quiet)
    progress.say("2/3  what it learned, trained as networks by themselves")
    given = {k: float(v) for k, v in make_energy(config).weights.items()}
    ours = drawn_search(config, found, given, clock, TRIALS * config.seconds, progress)
    progress.say("3/3  the same time for random candidates")
    # With --search-steps and --trials the numbers decide, not how fast the machine is.
    seconds = config.seconds
    if not (config.search_steps and config.trials):
        seconds = clock.used("gradient") + clock.used(DRAWN)
    return [*ours, *tuner_search(config, data, clock, seconds, RANDOM, folder, progress)]


def _labelled(config: SearchConfig) -> bool:
    """Whether every validation pair has the labels that the upper level asks for."""
    folder = DatasetFolder.open(str(config.data))
    pairs = folder.pairs("val")[: config.val_pairs]
    if not pairs:
        raise fail(str(config.data), "no validation pairs", "some in dataset.json, and --val-pairs above 0")
    return bool(folder.labels) and all(s.labels is not None for p in pairs for s in (p.moving, p.fixed))


def _same_search(config: SearchConfig, folder: Path) -> None:
    """Go on only from the same search; begin it where there is none."""
    path = folder / "config.json"
    if not path.is_file():
        config.save(path)
        return
    there = SearchConfig.load(path)
    free = ("budget", "trials", "threads", "gpu", "model_dir")
    for field in dataclasses.fields(config):
        old, new = getattr(there, field.name), getattr(config, field.name)
        if field.name not in free and old != new:
            name = "--" + field.name.replace("_", "-")
            raise fail(name, f"{new}, where {path} has {old}", "the same search, or another --out")
    config.save(path)


def _write(result: Result, folder: Path) -> None:
    best = result.candidates[0]
    best.genotype.save(folder / "genotype.json")
    write_json(folder / "weights.json", {k: float(v) for k, v in best.weights.items()})
    write_csv(folder / "trials.csv", [row_of(c) for c in result.candidates])


def row_of(candidate: Candidate) -> dict[str, Any]:
    """A candidate as a row of a table."""
    return {
        "name": candidate.name,
        "score": round(candidate.score, 5),
        "ms": round(candidate.ms, 2),
        "seconds": round(candidate.seconds, 1),
        **{f"weight_{k}": round(float(v), 6) for k, v in candidate.weights.items()},
        "genotype": summary(candidate.genotype),
    }


def summary(genotype: Genotype) -> str:
    """A genotype in a line: the cells of every scale, fine to coarse, channels and repetitions."""

    def cells(table: Mapping[int, Sequence[str]], kind: str, numbers: Mapping[int, int], unit: str) -> str:
        return "; ".join(f"{kind}{s} {' '.join(table[s])} {unit}{numbers[s]}" for s in sorted(table))

    features = cells(genotype.features, "F", genotype.filters, "/")
    return f"{features}; {cells(genotype.deformation, 'D', genotype.steps, 'x')}"
