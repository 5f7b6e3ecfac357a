"""Configurations in files, damaged or hostile, that ask for what no registration needs."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from refusals import refusal

from bilevelmorph.models.weights import load_network
from bilevelmorph.networks import AutoRegNetwork, Genotype, IdentityNetwork, PropagationNetwork, VxmDense

SMALL = {
    "vxm": lambda: VxmDense(2, [[4], [4, 4]]),
    "propagation": lambda: PropagationNetwork(2, (2,), ((), (4,)), (4,), ()),
    "autoreg": lambda: AutoRegNetwork.of(Genotype.uniform("conv1", (2,), 1, 4), 2),
    "identity": lambda: IdentityNetwork(2),
}


@pytest.fixture(scope="module", params=SMALL)
def saved(request, tmp_path_factory):
    network = SMALL[request.param]()
    network.build()
    path = tmp_path_factory.mktemp(request.param) / "model.keras"
    network.save(path)
    return path


def changed(saved, path, **values):
    """The same file with another configuration."""
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as out:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                table = json.loads(content)
                table["config"].update(values)
                content = json.dumps(table).encode()
            out.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"int_steps": 10**9}, "int_steps"),
        ({"int_steps": 1e30}, "int_steps"),
        ({"int_steps": float("inf")}, "int_steps"),
        ({"preprocessing": {"percentiles": []}}, "percentiles"),
        ({"preprocessing": {"percentiles": [90, 10]}}, "percentiles"),
        ({"preprocessing": {"percentiles": [0, float("nan")]}}, "percentiles"),
        ({"preprocessing": {"shape": [10**9] * 3}}, "shape"),
        ({"preprocessing": {"spacing": -1}}, "spacing"),
        ({"preprocessing": {"spacing": "1"}}, "spacing"),
        ({"preprocessing": {"grid": "mine"}}, "grid"),
        ({"preprocessing": {"other": 1}}, "preprocessing"),
    ],
)
def test_of_every_network(saved, tmp_path, values, message):
    said = refusal(load_network, changed(saved, tmp_path / "changed.keras", **values))
    assert message in said
    assert "changed.keras" in said


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("vxm", {"nb_unet_features": [[10**7], [4, 4]]}),
        ("vxm", {"int_resolution": 0}),
        ("propagation", {"channels": 10**7}),
        ("propagation", {"channels": 0}),
        ("propagation", {"steps": [10**6]}),
        ("propagation", {"radius": [10**4]}),
        ("propagation", {"matching": [10**7]}),
        ("autoreg", {"filters": {"2": 10**7}}),
        ("identity", {"int_resolution": 0}),
    ],
)
def test_of_one_network(tmp_path, kind, values):
    network = SMALL[kind]()
    network.build()
    network.save(tmp_path / "model.keras")
    assert next(iter(values)) in refusal(
        load_network, changed(tmp_path / "model.keras", tmp_path / "changed.keras", **values)
    )


def test_weights_that_are_not_finite(tmp_path):
    network = SMALL["vxm"]()
    network.build()
    network.weights[2].assign(np.full(network.weights[2].shape, np.nan))
    network.save(tmp_path / "nan.keras")
    assert "weights that are not finite" in refusal(load_network, tmp_path / "nan.keras")


def test_genotypes(tmp_path):
    table = Genotype.uniform("conv1", (2,), 1, 4).to_dict()
    for change in ({"filters": {"2": 10**7}}, {"steps": {"2": 10**7}}, {"features": {"2": ["conv1"] * 1000}}):
        (tmp_path / "genotype.json").write_text(json.dumps(table | change), encoding="utf-8")
        assert "at scale 2" in refusal(Genotype.load, tmp_path / "genotype.json")
