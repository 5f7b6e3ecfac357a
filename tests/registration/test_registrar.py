"""`Registrar` and `align`: any grid in, the fixed grid out, and the truth recovered."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from bilevelmorph.data.geometry import (
    resample_to_spacing,
    sample_field,
    transform_points,
    voxel_positions,
    warp_volume,
)
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError
from bilevelmorph.metrics import jacobian_determinant
from bilevelmorph.models import load_model
from bilevelmorph.networks import PropagationNetwork
from bilevelmorph.registration import Registrar, register
from bilevelmorph.registration.affine import align

FIXED_SHAPE = (18, 20, 22)
INTERIOR = (slice(2, -2),) * 3


def turn(degrees):
    """A rotation about all three axes."""
    out = np.eye(3)
    for axis in range(3):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        i, j = [a for a in range(3) if a != axis]
        step = np.eye(3)
        step[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
        out = out @ step
    return out


def grid(shape, linear, centre=(0, 0, 0)):
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = np.array(centre) - linear @ ((np.array(shape) - 1) / 2)
    return affine


def blobs(world):
    """A smooth image without any symmetry, of world positions in millimetres."""
    total = 0
    for centre, width, height in [((0, 0, 0), 7, 1), ((6, -3, 4), 5, -0.6), ((-5, 6, -2), 4, 0.8)]:
        total = total + height * np.exp(-((world - centre) ** 2).sum(-1) / (2 * width**2))
    return total


def picture(shape, affine, function=blobs, scale=1.0):
    world = transform_points(affine, voxel_positions(shape).astype(float))
    return Volume((scale * function(world)).astype(np.float32), affine)


MOVING = {
    "ras": ((44, 48, 50), np.eye(3)),
    "las": ((50, 44, 47), np.diag([-1.0, 1, 1])),
    "lps": ((30, 50, 33), np.diag([-1.6, -1, 1.5])),
    "oblique": ((60, 50, 44), turn(15) @ np.diag([0.9, 1.1, 1.2])),
    "permuted": ((44, 50, 46), np.array([[0.0, 0, 1.1], [-1, 0, 0], [0, 1.1, 0]])),
}
FIXED = {
    "ras": np.diag([1.2, 1.0, 0.8]),
    "las": np.diag([-1.2, 1.0, 0.8]),
    "lps": np.diag([-1.2, -1.0, 0.8]),
    "oblique": turn(-12) @ np.diag([1.2, 1.0, 0.8]),
}


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """An untrained model in a file: it moves nothing to speak of, and is not optimised further."""
    keras.utils.set_random_seed(0)
    network = PropagationNetwork(3, (4, 2), ((), (4,), (4,)), (4,), (), descent={"iterations": (0, 0)})
    network.build()
    path = tmp_path_factory.mktemp("model") / "still.keras"
    network.save(path)
    return str(path)


@pytest.fixture(scope="module")
def registrar(still):
    return Registrar(still)


@pytest.fixture(scope="module")
def lively(still):
    """The same with larger weights: it moves everything by a voxel or two."""
    network = load_model(still)
    rng = np.random.default_rng(1)
    for block in (s.matching[0] for s in network.stages):
        block.head.kernel.assign(rng.normal(size=block.head.kernel.shape, scale=0.2))
    return Registrar(network)


@pytest.mark.parametrize("fixed", FIXED)
@pytest.mark.parametrize("moving", MOVING)
def test_moved_image_lies_on_the_fixed_grid(registrar, moving, fixed):
    shape, linear = MOVING[moving]
    target = picture(FIXED_SHAPE, grid(FIXED_SHAPE, FIXED[fixed]))
    source = picture(shape, grid(shape, linear, (1, -1, 2)))
    result = registrar(source, target)
    np.testing.assert_allclose(result.moved.data[INTERIOR], target.data[INTERIOR], atol=0.04)
    np.testing.assert_array_equal(result.moved.affine, target.affine)
    assert result.displacement.shape == (*FIXED_SHAPE, 3)
    assert result.displacement.dtype == np.float32
    assert np.abs(result.displacement).max() < 0.01
    assert result.warnings == []


@pytest.mark.parametrize("moving", ["las", "oblique"])
def test_the_displacement_alone_gives_the_moved_image(lively, moving):
    shape, linear = MOVING[moving]
    source = picture(shape, grid(shape, linear))
    target = picture(FIXED_SHAPE, grid(FIXED_SHAPE, FIXED["lps"], (1, 0, 2)))
    result = lively(source, target)
    again = warp_volume(source, result.displacement, target.affine)
    np.testing.assert_array_equal(again.data, result.moved.data)
    assert np.linalg.norm(result.displacement, axis=-1).mean() > 0.3


def round_trip(result, moving, fixed):
    """How far, in millimetres, each fixed voxel ends from where it began."""
    here = voxel_positions(fixed.shape).astype(float)
    there = transform_points(
        np.linalg.inv(moving.affine) @ fixed.affine, here + result.displacement.astype(float)
    )
    back = transform_points(moving.affine, there + sample_field(result.inverse.astype(float), there))
    return np.linalg.norm(back - transform_points(fixed.affine, here), axis=-1)


@pytest.mark.parametrize(("moving", "fixed"), [("ras", "ras"), ("oblique", "las"), ("permuted", "oblique")])
def test_the_inverse_undoes_the_displacement(lively, moving, fixed):
    shape, linear = MOVING[moving]
    source = picture(shape, grid(shape, linear))
    target = picture(FIXED_SHAPE, grid(FIXED_SHAPE, FIXED[fixed]))
    result = lively(source, target, inverse=True)
    assert result.inverse.shape == (*shape, 3)
    assert jacobian_determinant(result.displacement).min() > 0
    moved = np.linalg.norm(result.displacement * target.spacing, axis=-1)[INTERIOR]
    rest = round_trip(result, source, target)[INTERIOR]
    assert moved.mean() > 0.3
    assert rest.mean() < 0.05 * moved.mean()
    assert rest.max() < 0.25 * moved.max()


def test_the_inverse_of_a_linear_map(phantoms):
    truth, moving, fixed = phantoms["affine"]
    result = Registrar(None, "affine", deformable=False)(moving, fixed, inverse=True)
    assert np.abs(result.affine - truth).max() > 0
    middle = (slice(12, 28),) * 3
    assert round_trip(result, moving, fixed)[middle].max() < 1e-3


def test_intensity_scale_of_the_moving_image_does_not_matter(lively):
    shape, linear = MOVING["oblique"]
    source = picture(shape, grid(shape, linear), scale=500)
    source = source.with_data(np.round(source.data))
    target = picture(FIXED_SHAPE, grid(FIXED_SHAPE, FIXED["las"]))
    first = lively(source, target)
    second = lively(source.with_data(1000 * source.data), target)
    np.testing.assert_array_equal(first.displacement, second.displacement)
    np.testing.assert_allclose(second.moved.data, 1000 * first.moved.data, rtol=1e-4, atol=1)


def test_same_bits_twice(lively):
    source = picture((44, 48, 50), grid((44, 48, 50), np.eye(3)))
    target = picture(FIXED_SHAPE, grid(FIXED_SHAPE, FIXED["oblique"]))
    first, second = lively(source, target, inverse=True), lively(source, target, inverse=True)
    np.testing.assert_array_equal(first.displacement, second.displacement)
    np.testing.assert_array_equal(first.inverse, second.inverse)


def test_report(registrar):
    target = picture(FIXED_SHAPE, grid(FIXED_SHAPE, FIXED["ras"]))
    mask = np.zeros(FIXED_SHAPE, np.uint8)
    mask[4:12, 4:12, 4:12] = 1
    for where in (None, target.with_data(mask, "labels")):
        report = registrar(target, target, where).report
        assert set(report) == {
            "similarity_before",
            "similarity_after",
            "mean_displacement_mm",
            "folding_percent",
            "log_jacobian_sd",
            "seconds",
            "fill",
        }
        assert report["similarity_after"] == pytest.approx(1, abs=0.01)
        assert report["folding_percent"] == 0
        assert report["mean_displacement_mm"] < 0.01
        assert report["seconds"] > 0


@pytest.mark.parametrize("start", ["header", "centre"])
def test_centres_far_apart(registrar, still, start):
    target = picture(FIXED_SHAPE, grid(FIXED_SHAPE, FIXED["ras"]))
    far = Volume(target.data, grid(FIXED_SHAPE, FIXED["ras"], (60, 0, 0)))
    result = registrar(far, target) if start == "header" else register(far, target, still, init=start)
    if start == "header":
        assert any(
            "the centres are 60 mm apart; an affine step, or init centre, may help" in w
            for w in result.warnings
        )
        assert any("of the fixed image lies outside the moving one" in w for w in result.warnings)
    else:
        assert result.warnings == []
        np.testing.assert_allclose(result.moved.data, target.data, atol=0.01)
        np.testing.assert_allclose(result.affine[:3, 3], [60, 0, 0])


def test_refusals(registrar):
    target = picture(FIXED_SHAPE, grid(FIXED_SHAPE, FIXED["ras"]))
    flat = Volume(target.data[..., 0], np.eye(4), name="flat.npy")
    mask = Volume(np.ones((4, 5, 6), np.uint8), np.eye(4), "labels", "mask.nii")
    with pytest.raises(InputError, match="2-D images for a 3-D model"):
        registrar(flat, flat)
    with pytest.raises(InputError, match=r"3-D volume and 2-D flat\.npy"):
        registrar(target, flat)
    with pytest.raises(InputError, match=r"mask\.nii: got shape \(4, 5, 6\)"):
        registrar(target, target, mask)
    with pytest.raises(InputError, match="the images hardly overlap or show nothing"):
        align(target.with_data(np.ones_like(target.data)), target, "rigid", mask=np.zeros(target.shape))
    with pytest.raises(InputError, match="affine"):
        align(target, target, "similarity")
    with pytest.raises(InputError, match="init"):
        align(target, target, "none", "middle")


def test_a_model_of_two_channels_is_refused_for_images_of_one(tmp_path):
    network = PropagationNetwork(3, (4, 2), ((), (4,), (4,)), (4,), (), channels=2)
    network.build()
    network.save(tmp_path / "two.keras")
    target = picture(FIXED_SHAPE, grid(FIXED_SHAPE, FIXED["ras"]))
    with pytest.raises(InputError, match="channel"):
        register(target, target, str(tmp_path / "two.keras"))


@pytest.mark.parametrize("fixed", ["ras", "oblique"])
def test_a_model_that_works_on_coarser_voxels(lively, fixed):
    """Its displacement, in voxels of the fixed image, is that of the coarse images in millimetres."""
    shape, linear = (24, 22, 20), np.diag([1.0, 1.0, 1.0])
    source = picture(shape, grid(shape, linear))
    target = picture(FIXED_SHAPE, grid(FIXED_SHAPE, FIXED[fixed], (1, 0, 2)))
    coarse = PropagationNetwork.from_config(lively.network.get_config() | {"preprocessing": {"spacing": 2.0}})
    coarse.build()
    for old, new in zip(lively.network.weights, coarse.weights, strict=True):
        new.assign(old)
    found = Registrar(coarse)(source, target)
    assert found.displacement.shape == (*FIXED_SHAPE, 3)
    assert found.moved.shape == FIXED_SHAPE
    small = resample_to_spacing(target, 2.0)
    expected = lively(resample_to_spacing(source, 2.0), small).displacement @ small.affine[:3, :3].T
    at = transform_points(np.linalg.inv(target.affine) @ small.affine, voxel_positions(small.shape))
    got = sample_field(found.displacement, at) @ target.affine[:3, :3].T
    inside = (slice(2, -2),) * 3
    assert np.abs(expected[inside]).mean() > 0.5
    # Read between voxels twice, on the way to the fixed grid and back.
    np.testing.assert_allclose(got[inside], expected[inside], atol=0.1, rtol=0.05)
