"""What is drawn from what the gradients learned."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bilevelmorph.autoreg.evolution import BEYOND, SPREAD, crossover, mutate, propose
from bilevelmorph.autoreg.search_space import start
from bilevelmorph.autoreg.supernet import SupernetResult, below_target
from bilevelmorph.autoreg.trial import Candidate, ranked
from bilevelmorph.config import SearchConfig
from bilevelmorph.errors import InputError
from bilevelmorph.networks import AutoRegNetwork, Genotype

pytestmark = pytest.mark.usefixtures("plain_graphs")
OPERATIONS = ("skip", "conv1", "conv3")
DECIDED = 1e4


@pytest.fixture(scope="module")
def network():
    """A small space in which one mixture and one gate are nearly decided."""
    found = AutoRegNetwork.space(2, (8, 4, 2), OPERATIONS, layers=2, filters=4, steps=3, int_steps=1)
    found.build()
    found.encoder.cells[0].choices[0].alpha.assign(np.log([0.1, 0.2, 0.7]))
    found.stages[0].gate.logits.assign([np.log(0.25 / 0.75)])
    found.stages[2].repeat.logits.assign([0.0, DECIDED])
    return found


def test_genotypes_are_drawn_by_the_shares(network):
    random = np.random.default_rng(0)
    drawn = [network.genotype(random) for _ in range(400)]
    first = [g.features[2][0] for g in drawn]
    assert [first.count(n) / 400 for n in OPERATIONS] == pytest.approx([0.1, 0.2, 0.7], abs=0.06)
    assert np.mean([8 in g.deformation for g in drawn]) == pytest.approx(0.25, abs=0.06)
    assert np.mean([len(g.features[2]) for g in drawn]) == pytest.approx(1.5, abs=0.08)
    assert np.mean([g.steps[2] for g in drawn if 2 in g.steps]) == pytest.approx(2.5, abs=0.08)
    assert network.genotype().features[2][0] == "conv3"
    again = np.random.default_rng(0)
    assert [network.genotype(again) for _ in range(20)] == drawn[:20]


@pytest.mark.parametrize("seed", range(8))
def test_every_part_of_a_cross_is_of_one_of_the_two_and_it_can_be_built(network, seed):
    random = np.random.default_rng(seed)
    for _ in range(40):
        first, second = network.genotype(random), network.genotype(random)
        made = crossover(first, second, random)
        assert set(made.deformation) in (set(first.deformation), set(second.deformation))
        for part in ("features", "deformation", "filters", "steps"):
            for scale, cell in getattr(made, part).items():
                assert cell in [getattr(g, part).get(scale) for g in (first, second)]
        assert Genotype.from_dict(made.to_dict()) == made
    AutoRegNetwork.of(made, 2, int_steps=1).build()


def test_a_cross_keeps_the_share_that_it_is_told():
    one, other = (Genotype.uniform(n, (8, 4, 2), 1) for n in ("conv1", "conv3"))
    random = np.random.default_rng(1)
    cells = [c for _ in range(200) for c in crossover(one, other, random, 0.8).features.values()]
    assert np.mean([c == ("conv1",) for c in cells]) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(
    ("tried", "way"), [([1.0, 5.0], -1), ([1.0, 0.1], 1), ([1.0, 0.1, 5.0], 0), ([1.0, 1.0], 0)]
)
def test_loss_weights_go_on_beyond_the_best_until_something_there_was_worse(tried, way):
    random = np.random.default_rng(0)
    logs = np.log([mutate(1.0, tried, random) for _ in range(400)])
    assert logs.mean() == pytest.approx(way * BEYOND, abs=0.08)
    assert logs.std() == pytest.approx(SPREAD, abs=0.05)


def test_loss_weights_and_networks_are_tried_in_turn(network):
    config = SearchConfig.of(filters=(4, 8), seed=3, scales=(8, 4, 2), layers=2)
    given = {"similarity": 1.0, "regularity": 1.0}
    found = SupernetResult(network.genotype(), given | {"regularity": 5.0}, network)
    tried: list[Candidate] = []
    first = [
        ("gradient", found.genotype, found.weights),
        ("gradient-start", start(config), given),
        ("gradient-given", found.genotype, given),
    ]
    for number in range(9):
        name, genotype, weights = propose(config, found, given, tried)
        assert (name, genotype, weights) == propose(config, found, given, tried)
        best = ranked(tried)[0] if tried else None
        assert name not in [c.name for c in tried]
        if number < 3:
            assert (name, genotype, weights) == first[number]
        elif number % 2 == 1:
            assert genotype == best.genotype
            assert weights["similarity"] == 1.0
            assert weights["regularity"] not in [c.weights["regularity"] for c in tried]
        else:
            assert weights == best.weights
            assert genotype not in [c.genotype for c in tried]
        # The less regularity the better, and what one begins with the best.
        score = 1.0 - weights["regularity"] - (genotype != start(config))
        tried.append(Candidate(name, genotype, weights, score, 1.0, 1.0))
    assert ranked(tried)[0].weights["regularity"] < 0.2


def test_loss_weights_that_stay_leave_the_time_to_networks(network):
    config = SearchConfig.of(filters=(4, 8), seed=3, scales=(8, 4, 2), layers=2)
    given = {"similarity": 1.0, "regularity": 1.0}
    found, tried = SupernetResult(network.genotype(), given, network), list[Candidate]()
    for _ in range(6):
        name, genotype, weights = propose(config, found, given, tried)
        assert weights == given
        tried.append(Candidate(name, genotype, weights, 0.5, 1.0, 1.0))
    assert len({str(c.genotype.to_dict()) for c in tried}) == 6


def test_what_takes_too_long_does_not_win():
    genotype = Genotype.uniform("conv1", (2,), 1)
    rows = {"slow": (0.9, 50.0), "quick": (0.7, 10.0), "better": (0.8, 20.0)}
    tried = [Candidate(name, genotype, {}, score, ms, 1.0) for name, (score, ms) in rows.items()]
    assert [c.name for c in ranked(tried)] == ["slow", "better", "quick"]
    assert [c.name for c in ranked(tried, most=30.0)] == ["better", "quick", "slow"]
    assert [c.name for c in ranked(tried, most=5.0)] == ["slow", "better", "quick"]


def test_a_target_that_no_network_reaches(monkeypatch):
    config = SearchConfig.of(data="scans", scales=(2,), operations=OPERATIONS, filters=(4,), int_steps=1)
    data = SimpleNamespace(pairs=SimpleNamespace(shape=(16, 16), channels=1))
    costs = {(2, name): 1.0 for name in (*OPERATIONS, "stage")}
    monkeypatch.setattr("bilevelmorph.autoreg.supernet.network_ms", lambda *_: 9.0)
    # Two feature cells, a stage and its cell of a layer each are known: 4 of the 9.
    config = config.with_(target_ms=7.0)
    assert below_target(config, data, costs) == pytest.approx(2.0)
    config = config.with_(target_ms=5.0)
    with pytest.raises(InputError, match=r"target_ms: got 5, 5 of which .* beside its cells"):
        below_target(config, data, costs)
