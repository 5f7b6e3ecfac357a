"""What is outside the field of view is unknown: it is no part of the result, nor of its report."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bilevelmorph.data.preprocessing import background
from bilevelmorph.data.volume import Volume
from bilevelmorph.datasets.decathlon import DecathlonDataset
from bilevelmorph.errors import InputError
from bilevelmorph.io.volumes import load_volume
from bilevelmorph.metrics.similarity import local_correlation
from bilevelmorph.networks import IdentityNetwork
from bilevelmorph.registration import Registrar

SHAPE = (40, 44, 36)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
NUMBERS = ("similarity_before", "similarity_after", "mean_displacement_mm", "folding_percent")


def body(seed=0):
    """Smooth texture inside an ellipsoid, in air of 0."""
    rng = np.random.default_rng(seed)
    inside = np.linalg.norm((np.indices(SHAPE).T / (np.array(SHAPE) - 1) - 0.5) / 0.4, axis=-1).T < 1
    texture = 500 + 2500 * ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2)
    return ndimage.gaussian_filter(np.where(inside, texture, 0), 0.7).astype(np.float32)


def slab(image, low=9, high=27):
    """A part of an image, at its place."""
    affine = AFFINE.copy()
    affine[2, 3] = 2 * low
    return Volume(image[:, :, low:high], affine)


@pytest.mark.parametrize("constant", [-1000, 1000])
def test_a_constant_added_to_both_images_changes_nothing(constant):
    """Air keeps its value where the moving image does not reach, in HU or not."""
    noise = np.random.default_rng(1).normal(0, 8, SHAPE).astype(np.float32)
    registrar = Registrar(IdentityNetwork(3), quality="fast")
    plain = registrar(slab(body(1) + noise), Volume(body() + noise, AFFINE))
    shifted = registrar(slab(body(1) + noise + constant), Volume(body() + noise + constant, AFFINE))
    np.testing.assert_allclose(shifted.moved.data, plain.moved.data + constant, atol=1e-3)
    assert np.abs(plain.moved.data[:, :, :8]).max() < 4 * 8  # the noise of the air
    for name in NUMBERS:
        assert shifted.report[name] == pytest.approx(plain.report[name], abs=1e-4)
    assert shifted.warnings == plain.warnings
    assert shifted.report["fill"] == pytest.approx(plain.report["fill"] + constant, abs=1e-3)


@pytest.mark.parametrize("fill", [-1000.0, 17.5])
def test_the_value_outside_may_be_given_and_does_not_count(fill):
    pair = slab(body(1)), Volume(body(), AFFINE)
    usual, given = (Registrar(IdentityNetwork(3), fill=f, quality="fast")(*pair) for f in (None, fill))
    assert (given.moved.data[:, :, :8] == np.float32(fill)).all()
    assert given.report["fill"] == fill
    assert usual.report["fill"] == background(pair[0].data)
    for name in NUMBERS:
        # The percentiles of the normalisation are those of the whole moved image.
        assert given.report[name] == pytest.approx(usual.report[name], abs=0.02)


@pytest.mark.parametrize("quality", ["fast", "best"])
def test_what_both_images_cover_stays_in_place(quality):
    """The same body, of which the moving image shows a half: within a voxel at the 95th percentile."""
    image = body()
    inside = np.zeros(SHAPE, bool)
    inside[:, :, 9:27] = image[:, :, 9:27] > 100
    registrar = Registrar("general", quality=quality, instance_steps=8 if quality == "best" else None)
    result = registrar(slab(image), Volume(image, AFFINE))
    moved = np.linalg.norm(result.displacement, axis=-1)[inside]
    assert np.percentile(moved, 95) < 1


def test_correlation_of_what_is_known_by_brute_force(rng):
    """Windows hold known voxels only."""
    a, b, known = rng.random((9, 8)), rng.random((9, 8)), rng.random((9, 8)) < 0.7
    expected = []
    for i, j in np.argwhere(known):
        # The edges are repeated, also of what is known.
        at = np.ix_(np.clip(range(i - 1, i + 2), 0, 8), np.clip(range(j - 1, j + 2), 0, 7))
        x, y = a[at][known[at]], b[at][known[at]]
        cross = np.mean(x * y) - x.mean() * y.mean()
        expected.append(cross**2 / (x.var() * y.var() + 1e-8))
    whole = np.ones((9, 8), bool)
    got = local_correlation(a, b, whole, 3, known)
    assert got == pytest.approx(np.mean(expected), rel=1e-4)


def test_masks_that_do_not_meet():
    image = Volume(np.random.default_rng(0).random((12, 12)).astype(np.float32), np.eye(4))
    masks = [Volume(np.zeros((12, 12), np.uint8), np.eye(4), "labels") for _ in range(2)]
    masks[0].data[:3], masks[1].data[9:] = 1, 1
    with pytest.raises(InputError, match="masks that leave nothing of the fixed image"):
        Registrar(None, deformable=False)(image, image, masks[0], moving_mask=masks[1])


def unlike(result):
    return [text for text in result.warnings if "do both show the same?" in text]


@pytest.mark.parametrize("linear", ["none", "affine"])
def test_images_of_different_things_are_doubted(linear):
    registrar = Registrar(IdentityNetwork(3), linear, quality="fast")
    fixed = Volume(body(), AFFINE)
    moved = Volume(ndimage.shift(body(), (0.5, -1, 0.5)), AFFINE)
    assert not unlike(registrar(moved, fixed))
    assert not unlike(registrar(slab(body()), fixed))  # where it does not reach, it is not unlike
    other = Volume(ndimage.gaussian_filter(np.random.default_rng(1).random(SHAPE), 2), AFFINE)
    assert len(unlike(registrar(other, fixed))) == 1


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_slices_of_different_things_are_doubted(plane):
    registrar = Registrar(None, "affine")
    here = np.take(body(), body().shape[plane] // 2, plane)
    fixed = Volume(here, np.eye(4))
    assert not unlike(registrar(Volume(ndimage.rotate(here, 8, reshape=False), np.eye(4)), fixed))
    noise = ndimage.gaussian_filter(np.random.default_rng(1).random(here.shape), 1)
    assert len(unlike(registrar(Volume(noise, np.eye(4)), fixed))) == 1


def test_real_scans_of_one_kind_are_not_doubted_and_of_two_are(shared_data):
    def scans(name, count):
        pairs = DecathlonDataset.open(shared_data / name).pairs("val")
        return [[load_volume(scan.image) for scan in (p.moving, p.fixed)] for p in pairs[:count]]

    registrar = Registrar(None, "affine")
    small, mouse = scans("hippocampus", 6), scans("mouse", 1)
    for pair in (*small, *mouse):
        assert not unlike(registrar(*pair))
    # As if both were of one size, or else they would hardly overlap.
    shape = small[0][1].shape
    thinned = ndimage.zoom(mouse[0][0].data, np.array(shape) / mouse[0][0].shape, order=1)
    assert len(unlike(registrar(Volume(thinned, small[0][1].affine), small[0][1]))) == 1


def test_round_things_look_the_same_when_turned_and_are_not_doubted():
    x = np.linalg.norm(np.indices((32, 32, 32)).T - 15.5, axis=-1)
    ball = Volume(np.exp(-((x / 8) ** 2)).astype(np.float32), np.eye(4))
    assert not unlike(Registrar(None, "affine")(ball, ball))
