"""Evolutionary search around the best candidate, with cells sampled from the supernet's distribution."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bilevelmorph.autoreg.progress import Progress
from bilevelmorph.autoreg.search_space import start
from bilevelmorph.autoreg.supernet import SupernetResult
from bilevelmorph.autoreg.time_budget import TimeBudget
from bilevelmorph.autoreg.trial import Candidate, ranked
from bilevelmorph.autoreg.trial_worker import TrialWorker
from bilevelmorph.config import SearchConfig
from bilevelmorph.errors import InputError, argument, fail
from bilevelmorph.io.json import read_json, write_json
from bilevelmorph.networks.genotype import Genotype

PART = "trial"
# Names of the first candidates: likeliest network, plain network, likeliest with initial loss weights.
FIRST = ("gradient", "gradient-start", "gradient-given")
# Share of its cells that a candidate inherits from the best so far; the others are sampled.
KEPT = 0.5
# Standard deviation of the logarithms of its loss weights around those of the best so far.
SPREAD = 0.4
# Step beyond the best loss weight, as a logarithm, if it is the largest or smallest of those tried.
BEYOND = 1.1
# Number of samples after which a network that was tried before is accepted.
TRIES = 20


def evolve(
    config: SearchConfig,
    found: SupernetResult,
    given: Mapping[str, float],
    budget: TimeBudget,
    seconds: float,
    progress: Progress,
    labelled: bool,
) -> list[Candidate]:
    """Train the result of the gradient search, then candidates evolved from it, until the time is up.

    The first candidates are the likeliest network with the loss weights found,
    `search_space.start` with the initial loss weights, and the likeliest network with the
    initial loss weights, because a supernet trained only briefly may favour larger kernels
    and stronger regularisation than a fully trained network needs. Then two mutations of
    the best candidate so far alternate. One keeps the network and changes each loss weight:
    beyond its value if that is the largest or smallest of all tried, otherwise around it.
    The other keeps the loss weights and about half of the cells and samples the others from
    the learned probabilities; channels, which the gradient search does not optimise, are
    sampled from `filters`.

    Args:
        config: Configuration of the search.
        found: Result of the gradient search.
        given: Initial loss weights, by name.
        budget: Records the time used, under ``"trial"``.
        seconds: Time available; `trials` takes precedence if given. At least two candidates are trained.
        progress: Reports every candidate.
        labelled: Whether candidates are scored by Dice.

    Returns:
        The candidates in the order in which they were tried. Finished trials are read from disk.

    Raises:
        InputError: A candidate cannot be trained.
    """
    folder = Path(config.budget.out) / "gradient" / "trials"
    folder.mkdir(parents=True, exist_ok=True)
    budget.begin(PART)
    train, tried = TrialWorker(config, labelled), list[Candidate]()
    try:
        while True:
            path = folder / f"{len(tried)}.json"
            if not path.is_file():
                if _is_over(config, tried, budget, seconds):
                    return tried
                name, genotype, weights = propose(config, found, given, tried)
                facts = train(genotype, weights)
                write_json(path, {"name": name, "genotype": genotype.to_dict(), "weights": weights, **facts})
                budget.save()
            tried.append(_read(path))
            progress.scored(tried[-1])
    except RuntimeError as error:
        raise InputError(f"training a candidate of the gradient search failed: {error}") from error
    finally:
        train.close()
        budget.save()


def _is_over(config: SearchConfig, tried: list[Candidate], budget: TimeBudget, seconds: float) -> bool:
    if len(tried) < 2:
        return False
    if config.budget.trials:
        return len(tried) >= 2 + config.budget.trials
    # The last trial is the estimate, because the first one includes compilation.
    return budget.used(PART) + tried[-1].seconds > seconds


def propose(
    config: SearchConfig, found: SupernetResult, given: Mapping[str, float], tried: list[Candidate]
) -> tuple[str, Genotype, dict[str, float]]:
    """The next candidate, which depends only on those tried and on the seed.

    Args:
        config, found, given: See `evolve`.
        tried: The candidates so far, in order.

    Returns:
        A name, a genotype and loss weights.
    """
    moved = [name for name in found.weights if found.weights[name] != given[name]]
    first = [(found.genotype, found.weights), (start(config), given), (found.genotype, given)]
    # If the loss weights have not changed, the third would equal the first.
    number, count = len(tried), len(first) if moved else 2
    if number < count:
        return FIRST[number], first[number][0], dict(first[number][1])
    name = f"{FIRST[0]}-drawn-{number - count + 1}"
    best = ranked(tried, config.architecture.target_ms)[0]
    random = np.random.default_rng([config.device.seed, number])
    # Change one thing at a time: resampling cells would mask the effect of other loss weights.
    if moved and (number - count) % 2 == 0:
        tuned = {n: mutate(best.weights[n], [c.weights[n] for c in tried], random) for n in moved}
        return name, best.genotype, {n: float(w) for n, w in best.weights.items()} | tuned
    for _ in range(TRIES):
        sampled = found.network.genotype(random)
        filters = {s: int(random.choice(config.space.filters)) for s in sampled.filters}
        genotype = crossover(best.genotype, dataclasses.replace(sampled, filters=filters), random)
        if genotype not in [c.genotype for c in tried]:
            break
    return name, genotype, {n: float(w) for n, w in best.weights.items()}


def mutate(best: float, tried: Sequence[float], random: np.random.Generator) -> float:
    """Sample a new loss weight: beyond the best if that is an extreme of those tried, otherwise near it.

    Args:
        best: The best value so far.
        tried: All values so far.
        random: Random number generator.

    >>> random = np.random.default_rng(0)
    >>> mutate(1.0, [1.0, 5.0], random) < 1.0 < 5.0 < mutate(5.0, [1.0, 5.0], random)
    True
    """
    less, more = (any(sign * t > sign * best for t in tried) for sign in (-1, 1))
    return float(best * math.exp(BEYOND * (less - more) + SPREAD * random.normal()))


def crossover(
    first: Genotype, second: Genotype, random: np.random.Generator, share: float = KEPT
) -> Genotype:
    """Combine two genotypes: the scales of one parent, and cells of either at scales that both have.

    Args:
        first, second: Genotypes of the same search space.
        random: Random number generator.
        share: Expected share of cells taken from the first.

    >>> a, b = (Genotype.uniform(name, (4, 2), 1) for name in ("conv1", "conv3"))
    >>> crossover(a, b, np.random.default_rng(0), 1.0) == a
    True
    >>> crossover(a, b, np.random.default_rng(4)).features
    {2: ('conv3',), 4: ('conv1',)}
    """
    base, other = (first, second) if random.random() < share else (second, first)
    chance = share if base is first else 1 - share

    def either(part: str) -> dict[int, Any]:
        mine, theirs = getattr(base, part), getattr(other, part)
        return {
            s: mine[s] if s not in theirs or random.random() < chance else theirs[s] for s in sorted(mine)
        }

    inputs, steps = either("inputs"), either("steps")
    coarsest = max(base.deformation)
    inputs[coarsest] = tuple(n for n in inputs[coarsest] if n != "coarser") or base.inputs[coarsest]
    return Genotype(either("features"), either("deformation"), inputs, either("filters"), steps)


def _read(path: Path) -> Candidate:
    facts: dict[str, Any] = dict(read_json(path, "a trial"))
    genotype = Genotype.from_dict(facts.pop("genotype", {}), str(path))
    try:
        return Candidate(genotype=genotype, **facts)
    except TypeError:
        came = f"a trial with {', '.join(facts)}"
        raise fail(
            str(path), came, f"one of this version of a search, or another {argument('out')}"
        ) from None
