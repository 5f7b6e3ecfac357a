"""The baseline against VoxelMorph 0.2 itself, which runs under legacy Keras in a process of its own."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from processes import run_script

from bilevelmorph.compat.voxelmorph.h5 import network_of_h5, read_h5
from bilevelmorph.errors import InputError
from bilevelmorph.models.weights import load_weights
from bilevelmorph.networks import VxmDense

FEATURES = [[8, 8, 8, 8], [8, 8, 8, 8, 8, 4]]
KINDS = {
    "vm": {"int_steps": 0},
    "diff": {"int_steps": 7, "int_downsize": 2},
    "probs": {"use_probs": True},
    "bidir": {"bidir": True, "fill_value": 0.25},
}


@pytest.fixture(scope="module")
def peer(tmp_path_factory) -> Path:
    """Weights and results of VoxelMorph's own network."""
    out = tmp_path_factory.mktemp("voxelmorph")
    run_script(Path(__file__).parents[1] / "compat" / "run_voxelmorph.py", out)
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_same_weights_give_the_same_displacement(peer, kind):
    network = VxmDense((32, 48, 32), nb_unet_features=FEATURES, **KINDS[kind])
    network.build()
    assert load_weights(network, peer / f"{kind}.h5") == []
    with np.load(peer / f"{kind}.npz", allow_pickle=False) as expected:
        out = network([expected["moving"], expected["fixed"]])
        assert np.abs(expected["displacement"]).max() > 0.5  # the test would see a difference
        np.testing.assert_allclose(out["displacement"], expected["displacement"], atol=1e-4)
        np.testing.assert_allclose(out["moved"], expected["moved"], atol=1e-4)
        if kind == "bidir":
            np.testing.assert_allclose(out["moved_fixed"], expected["moved_fixed"], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_enough(peer, kind):
    network = network_of_h5(peer / f"{kind}.h5")
    with np.load(peer / f"{kind}.npz", allow_pickle=False) as expected:
        out = network([expected["moving"], expected["fixed"]])
        np.testing.assert_allclose(out["displacement"], expected["displacement"], atol=1e-4)
        np.testing.assert_allclose(out["moved"], expected["moved"], atol=1e-4)


def test_weights_of_a_model_of_another_name_load(peer, tmp_path):
    network = VxmDense(3, nb_unet_features=FEATURES, name="mine", int_steps=0)
    network.build()
    assert load_weights(network, peer / "vm.h5") == []
    kernel = next(w for w in network.weights if w.path.endswith("mine_flow/kernel"))
    np.testing.assert_array_equal(kernel, read_h5(peer / "vm.h5").arrays["vxm_dense_flow"][0])


def test_what_does_not_fit_is_listed(peer):
    network = VxmDense(3, nb_unet_features=[[8, 8, 8, 8], [8, 8, 8, 8, 8, 6]])
    network.build()
    notes = load_weights(network, peer / "vm.h5")
    assert any("final_conv_1" in n and "shapes" in n for n in notes)
    assert any("vxm_dense_flow" in n for n in notes)


def test_a_file_that_is_not_hdf5(tmp_path):
    path = tmp_path / "weights.h5"
    path.write_text("no weights")
    network = VxmDense(2, nb_unet_features=[[4], [4]])
    network.build()
    with pytest.raises(InputError, match=r"weights\.h5"):
        load_weights(network, path)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_file_is_refused_in_one_line(peer, tmp_path, seed):
    """Bytes changed in the header and in the tables, or the end cut off."""
    rng, content = np.random.default_rng(seed), bytearray((peer / "vm.h5").read_bytes())
    if seed % 4 == 0:
        del content[int(rng.integers(1, len(content))) :]
    for at in rng.integers(0, min(len(content), 20_000 if seed % 2 else 2_000), 20):
        content[at] = int(rng.integers(256))
    path = tmp_path / "damaged.h5"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.h5") as caught:
        network_of_h5(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(40))
def test_a_file_with_one_wrong_bit_is_refused_or_is_as_good(peer, tmp_path, seed):
    """HDF5 has no checksum: the bit may belong to an array or its address, but all others are right."""
    whole = (peer / "vm.h5").read_bytes()
    config = whole.index(b'{"')
    rng, content = np.random.default_rng(seed), bytearray(whole)
    places = np.setdiff1d(np.arange(len(whole) if seed % 2 else 20_000), np.arange(config, config + 1_000))
    content[rng.choice(places)] ^= 1 << int(rng.integers(8))
    path = tmp_path / "damaged.h5"
    path.write_bytes(content)
    network = network_of_h5(peer / "vm.h5")
    try:
        again = network_of_h5(path)
    except InputError as error:
        assert "damaged.h5" in str(error)  # noqa: PT017  either outcome is right
        return
    assert again.get_config() | {"name": ""} == network.get_config() | {"name": ""}
    pairs = zip(network.get_weights(), again.get_weights(), strict=True)
    assert sum(not np.array_equal(one, other) for one, other in pairs) <= 1


def test_a_damaged_configuration_is_refused(peer, tmp_path):
    """Defaults in its place would make another network."""
    path = tmp_path / "damaged.h5"
    path.write_bytes((peer / "vm.h5").read_bytes().replace(b'{"class', b'["class', 1))
    with pytest.raises(InputError, match=r"damaged\.h5"):
        network_of_h5(path)


@pytest.mark.parametrize(
    ("names", "attributes"),
    [
        (["vxm_dense_flow", "unet_enc_conv_a"], {}),
        (["vxm_dense_flow", "unet_enc_conv_1_0"], {}),
        (["vxm_dense_flow", "unet_enc_conv_0_0"], {"src_feats": "x"}),
        (["vxm_dense_flow", "unet_enc_conv_0_0"], {"int_resolution": [1]}),
        (["model_weights"], {}),
    ],
)
def test_a_strange_file_is_refused_in_one_line(tmp_path, names, attributes):
    path = tmp_path / "strange.h5"
    with h5py.File(path, "w") as file:
        for name in names:
            if name == "model_weights":
                file[name] = np.zeros(3)
            else:
                file[f"{name}/{name}/kernel:0"] = np.zeros((3, 3, 2, 2), np.float32)
        file.attrs["model_config"] = json.dumps({"config": attributes})
    with pytest.raises(InputError, match=r"strange\.h5: got"):
        network_of_h5(path)


def test_more_than_the_file_can_hold_is_not_asked_of_memory(tmp_path):
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("flow/flow/kernel:0", (10**6, 10**6), np.float32)
    with pytest.raises(InputError, match="4000000000000 bytes of data in a file of"):
        read_h5(path)


@pytest.mark.parametrize("shape", [(17, 22), (9, 14, 11)])
def test_any_size(shape, rng):
    network = VxmDense(len(shape), nb_unet_features=[[4, 4], [4, 4, 4]])
    pair = [rng.random((2, *shape, 1), dtype=np.float32) for _ in range(2)]
    out = network(pair)
    assert out["displacement"].shape == (2, *shape, len(shape))
    assert out["moved"].shape == (2, *shape, 1)
    np.testing.assert_allclose(out["moved"], pair[0], atol=1e-2)  # begins at the identity


def test_variance_is_sampled_in_training_only(rng):
    network = VxmDense(2, nb_unet_features=[[4], [4, 4]], use_probs=True)
    network.build()
    network.log_sigma.bias.assign(np.zeros(2))
    pair = [rng.random((1, 16, 16, 1), dtype=np.float32) for _ in range(2)]
    still = [network.deform(*pair, training=False).displacement for _ in range(2)]
    moving = [network.deform(*pair, training=True).displacement for _ in range(2)]
    np.testing.assert_array_equal(*still)
    assert np.abs(moving[0] - moving[1]).max() > 0.1
