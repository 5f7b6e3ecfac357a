"""What a search may choose, what choices cost, and what cannot be searched."""

from __future__ import annotations

import json
import random
from itertools import product

import keras_tuner as kt
import pytest

from bilevelmorph.autoreg.latency import expected_ms, network_ms, operation_costs
from bilevelmorph.autoreg.run import check_search
from bilevelmorph.autoreg.search_space import draw_genotype, draw_weights
from bilevelmorph.autoreg.time_budget import TimeBudget
from bilevelmorph.config import SearchConfig
from bilevelmorph.errors import InputError
from bilevelmorph.networks import AutoRegNetwork, Genotype

pytestmark = pytest.mark.usefixtures("plain_graphs")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400), (" 2H ", 7200)]
)
def test_budgets(text, seconds):
    assert SearchConfig.of(budget=text).seconds == seconds


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("budget", "soon", "budget: got 'soon'"),
        ("budget", "0h", "budget: got 0.0"),
        ("budget", "-2h", "budget"),
        ("searcher", "luck", "searcher: got 'luck'"),
        ("scales", (8, 2), "scales: got 8 2"),
        ("operations", ("conv3",), "two or more"),
        ("layers", 0, "layers"),
        ("filters", (16, 0), "filters"),
        ("steps", (0,), "steps"),
        ("latency_weight", -1.0, "latency_weight"),
        ("temperature", 0.0, "temperature"),
        ("warmup_share", 1.0, "warmup_share"),
        ("data", None, "data"),
    ],
)
def test_what_cannot_be_searched(option, value, message):
    with pytest.raises(InputError, match=message):
        check_search(SearchConfig.of(**{"data": "scans", option: value}))


def test_every_draw_is_a_genotype():
    config = SearchConfig.of(scales=(8, 4, 2), layers=2, filters=(4, 8), steps=(3,))
    start = {"similarity": 1.0, "regularity": 0.5}
    space = kt.HyperParameters()
    draw_genotype(space, config)
    draw_weights(space, start)
    chance, drawn = random.Random(0), []
    for _ in range(40):
        hp = space.copy()
        hp.values = {p.name: p.random_sample(chance.randrange(2**31)) for p in space.space}
        genotype, weights = draw_genotype(hp, config), draw_weights(hp, start)
        assert Genotype.from_dict(json.loads(json.dumps(genotype.to_dict()))) == genotype
        assert 0.05 <= weights["regularity"] <= 5
        assert weights["similarity"] == 1.0
        drawn.append(genotype)
    assert {len(g.deformation) for g in drawn} == {1, 2, 3}
    assert {n for g in drawn for cell in g.features.values() for n in cell} == set(config.space.operations)
    assert {(g.filters[2], g.filters[4]) for g in drawn if 4 in g.filters} == set(product((4, 8), repeat=2))
    assert {g.steps[2] for g in drawn} == {1, 2, 3}
    assert {len(cell) for g in drawn for cell in g.deformation.values()} == {1, 2}
    assert {"coarser" in g.inputs[2] for g in drawn if len(g.deformation) > 1} == {True, False}


def test_costs_are_measured_for_every_choice_and_larger_kernels_cost_more():
    network = AutoRegNetwork.space(3, (4, 2), ["skip", "conv1", "conv5"], layers=1, filters=8, int_steps=2)
    network.build()
    costs = operation_costs(network, (32, 32, 32))
    assert set(costs) == {(s, n) for s in (2, 4) for n in ("skip", "conv1", "conv5", "stage")}
    assert costs[2, "conv5"] > costs[2, "conv1"]
    assert costs[2, "conv5"] > costs[4, "conv5"]
    before = expected_ms(network, costs)
    for layer in (c for cell in network.encoder.cells for c in cell.choices):
        layer.alpha.assign([0.0, 0.0, 9.0])
    assert expected_ms(network, costs) > before
    assert network_ms(network, (16, 16, 16)) > 0


def test_time_used_survives_the_process(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    clock = TimeBudget(tmp_path / "clock.json")
    clock.begin("one")
    now[0] += 5
    clock.begin("two")
    now[0] += 2
    clock.save()
    now[0] += 3
    later = TimeBudget(tmp_path / "clock.json")
    assert (later.used("one"), later.used("two"), clock.used("two")) == (5, 2, 5)
    assert (later.total, clock.total) == (7, 10)
