"""Runs a search from its configuration and writes its results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bilevelmorph.autoreg.evolution import PART as EVOLVED
from bilevelmorph.autoreg.evolution import evolve
from bilevelmorph.autoreg.progress import Progress
from bilevelmorph.autoreg.supernet import gradient_search
from bilevelmorph.autoreg.time_budget import TimeBudget
from bilevelmorph.autoreg.trial import Candidate, open_search_data, ranked
from bilevelmorph.autoreg.tuners import is_worker, tuner_search
from bilevelmorph.config import SearchConfig
from bilevelmorph.config.budget_config import SEARCHERS
from bilevelmorph.config.search_config import RESPONSE
from bilevelmorph.datasets.decathlon import DecathlonDataset
from bilevelmorph.errors import argument, fail, one_of, positive
from bilevelmorph.io.csv import write_csv
from bilevelmorph.io.json import write_json
from bilevelmorph.layers.mixed_op import OPERATIONS
from bilevelmorph.networks.genotype import Genotype
from bilevelmorph.temporary import remove_abandoned_below
from bilevelmorph.training.build import make_energy
from bilevelmorph.training.check import check
from bilevelmorph.training.data import TrainingData

# Shares of the budget: supernet, then evolved candidates; random candidates get as much time as both.
SHARE, TRIALS = 0.2, 0.3
RANDOM = "tuner-random"


class SearchResult(NamedTuple):
    """The result of a search.

    Attributes:
        candidates: All trained candidates, the best first.
        labelled: Whether they were scored by Dice.
        seconds: Time used by each part.

    >>> genotype, scores = Genotype.uniform("conv1", (2,), 1), {"random-1": 0.71, "random-2": 0.78}
    >>> tried = [Candidate(name, genotype, {}, score, 5.0, 60.0) for name, score in scores.items()]
    >>> result = SearchResult(ranked(tried), labelled=True, seconds={RANDOM: 120.0})
    >>> row_of(result.candidates[0])["name"]
    'random-2'
    """

    candidates: list[Candidate]
    labelled: bool
    seconds: dict[str, float]


def search(config: SearchConfig | None = None, quiet: bool = False, **options: object) -> SearchResult | None:
    """Search for the best network and loss weights for a folder of scans.

    Writes ``genotype.json`` and ``weights.json`` of the winner, ``trials.csv`` and
    ``config.json`` to the folder `out`, together with the state from which a later call
    with the same configuration resumes.

    Args:
        config: Configuration of the search; the defaults if None.
        quiet: Suppress messages and progress bars.
        options: Values that override the configuration, named as the flags of `bilevelmorph search`.

    Returns:
        The result; None in a worker process, because only the chief has it.

    Raises:
        InputError: Data or options are unusable, or the budget is too small.
    """
    config = (config or SearchConfig()).with_(**options)
    check_all(config)
    labelled = _labelled(config)
    folder = Path(config.budget.out)
    data = open_search_data(config, labelled)
    folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned_below(folder)
    _same_search(config, folder)
    budget = TimeBudget(folder / "clock.json")
    progress = Progress(config, budget, "Dice" if labelled else "label-free score", quiet)
    if not labelled:
        progress.say("no labels on the validation pairs: loss weights are tuned for the label-free objective")
    if config.budget.searcher == "gradient":
        candidates = _by_gradients(config, data, labelled, budget, folder, progress)
    else:
        candidates = tuner_search(
            config, data, labelled, budget, config.seconds, config.budget.searcher, folder, progress
        )
    if is_worker():
        return None
    candidates = ranked(candidates, config.architecture.target_ms)
    parts = ("gradient", EVOLVED, config.budget.searcher, RANDOM)
    used = {part: budget.used(part) for part in dict.fromkeys(parts) if budget.used(part)}
    result = SearchResult(candidates, labelled, used)
    _write(result, folder)
    return result


def check_search(config: SearchConfig) -> None:
    """Reject invalid options of the search itself."""
    _ = config.seconds
    budget, space, own = config.budget, config.space, config.architecture
    one_of("searcher", budget.searcher, SEARCHERS)
    positive("trial_steps", budget.trial_steps, whole=True)
    for name in ("search_steps", "trials"):
        positive(name, getattr(budget, name), zero=True, whole=True)
    positive("search_spacing", budget.search_spacing, zero=True)
    positive("layers", space.layers, whole=True)
    for name in ("filters", "steps"):
        for value in getattr(space, name):
            positive(name, value, whole=True)
    positive("architecture_every", own.architecture_every, whole=True)
    for name in ("architecture_lr", "temperature"):
        positive(name, getattr(own, name))
    for name in ("latency_weight", "target_ms"):
        positive(name, getattr(own, name), zero=True)
    if not 0 <= own.warmup_share < 1:
        raise fail("warmup_share", own.warmup_share, "a number from 0 to below 1")
    scales = sorted(space.scales)
    if not scales or scales != [2 ** (k + 1) for k in range(len(scales))]:
        raise fail("scales", " ".join(map(str, space.scales)), "2, 4, 8, ... without a gap")
    chosen = len(set(space.operations))
    if chosen < 2:
        raise fail("operations", f"{chosen} distinct", "two or more to choose from")
    if not config.scans.folder:
        raise fail("data", "nothing", "a folder whose dataset.json names training and validation scans")


def check_all(config: SearchConfig) -> None:
    """Reject invalid options before any file is opened."""
    check_search(config)
    training = config.training(outer_loss="label-free")
    response = config.tuning.hypergradient == RESPONSE
    check(training.with_(hypergradient="first-order") if response else training)
    for operation in config.space.operations:
        one_of("operations", operation, OPERATIONS)
    if config.budget.searcher == "gradient" and "KERASTUNER_ORACLE_IP" in os.environ:
        came = "gradient, which runs in a single process, although KERASTUNER_ORACLE_IP is set"
        raise fail("searcher", came, "one of Keras Tuner's searchers")


def _by_gradients(
    config: SearchConfig,
    data: TrainingData,
    labelled: bool,
    budget: TimeBudget,
    folder: Path,
    progress: Progress,
) -> list[Candidate]:
    """Run the gradient search, evolve its result, then try random candidates for the same time."""
    progress.say("1/3  supernet: optimising loss weights, architecture and network weights together")
    found = gradient_search(config, data, budget, SHARE * config.seconds, progress.quiet)
    progress.say("2/3  evolution: training candidates sampled from the supernet")
    given = {k: float(v) for k, v in make_energy(config.training()).weights.items()}
    ours = evolve(config, found, given, budget, TRIALS * config.seconds, progress, labelled)
    progress.say("3/3  baseline: training random candidates for the same time")
    # With search_steps and trials given, the result does not depend on the speed of the machine.
    seconds = config.seconds
    if not (config.budget.search_steps and config.budget.trials):
        seconds = budget.used("gradient") + budget.used(EVOLVED)
    return [*ours, *tuner_search(config, data, labelled, budget, seconds, RANDOM, folder, progress)]


def _labelled(config: SearchConfig) -> bool:
    """Whether every validation pair has the labels that the outer loss needs."""
    folder = DecathlonDataset.open(str(config.scans.folder))
    pairs = folder.pairs("val")[: config.scans.val_pairs]
    if not pairs:
        raise fail(
            str(config.scans.folder),
            "no validation pairs",
            f"at least one in dataset.json, and {argument('val_pairs')} above 0",
        )
    return bool(folder.labels) and all(s.labels is not None for p in pairs for s in (p.moving, p.fixed))


def _same_search(config: SearchConfig, folder: Path) -> None:
    """Save the configuration, or refuse to resume a search whose configuration differs."""
    path = folder / "config.json"
    if not path.is_file():
        config.save(path)
        return
    there = SearchConfig.load(path)
    free = ("budget", "trials", "threads", "gpu", "xla", "out")
    old_values, new_values = there.flat(), config.flat()
    for name, new in new_values.items():
        old = old_values[name]
        if name not in free and old != new:
            raise fail(
                name, f"{new}, where {path} has {old}", f"the same value, or another {argument('out')}"
            )
    config.save(path)


def _write(result: SearchResult, folder: Path) -> None:
    best = result.candidates[0]
    best.genotype.save(folder / "genotype.json")
    # Training rejects weights of stages that the network lacks.
    stages = {f"similarity_{scale}" for scale in best.genotype.deformation}
    served = [k for k in best.weights if not k.startswith("similarity_") or k in stages]
    weights = {k: float(best.weights[k]) for k in served}
    write_json(folder / "weights.json", weights)
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
    """A genotype in one line: the cells of every scale from fine to coarse, channels and repetitions."""

    def cells(table: Mapping[int, Sequence[str]], kind: str, numbers: Mapping[int, int], unit: str) -> str:
        return "; ".join(f"{kind}{s} {' '.join(table[s])} {unit}{numbers[s]}" for s in sorted(table))

    features = cells(genotype.features, "F", genotype.filters, "/")
    return f"{features}; {cells(genotype.deformation, 'D', genotype.steps, 'x')}"
