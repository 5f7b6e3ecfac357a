"""Small scans, good and bad, and an untrained model, for the command line's tests."""

from __future__ import annotations

import json

import keras
import nibabel as nib
import numpy as np
import pytest

from bilevelmorph.data.volume import Volume
from bilevelmorph.io.volumes import save_volume
from bilevelmorph.io.warps import save_warp
from bilevelmorph.networks import PropagationNetwork

SHAPE = (12, 14, 16)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A network in a file whose head moves things by a voxel or so; it asks for no further optimisation."""
    keras.utils.set_random_seed(0)
    network = PropagationNetwork(3, (4, 2), ((), (4,), (4,)), (4,), (), descent={"iterations": (0, 0)})
    network.build()
    rng = np.random.default_rng(1)
    for block in (s.matching[0] for s in network.stages):
        block.head.kernel.assign(rng.normal(size=block.head.kernel.shape, scale=0.2))
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    network.save(path)
    return path


def smooth(seed, shape=SHAPE):
    """Blobs with a grey value each, and which blob each voxel belongs to."""
    rng = np.random.default_rng(seed)
    at = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    image, labels = np.zeros(shape), np.zeros(shape, np.uint8)
    for number in (1, 2, 3):
        centre, width = rng.uniform(0.3, 0.7, len(shape)) * shape, rng.uniform(2, 4)
        bump = np.exp(-((at - centre) ** 2).sum(-1) / (2 * width**2))
        image += 1000 * rng.uniform(0.4, 1) * bump
        labels[bump > 0.6] = number
    return image.astype(np.float32), labels


def write_good(folder):
    affine = np.diag([-1.0, -1.0, 1.5, 1.0])
    other = np.diag([1.2, 1.0, 1.3, 1.0])
    other[:3, 3] = -14, -13, 2
    for seed, (name, grid) in enumerate({"moving": affine, "fixed": other}.items()):
        image, labels = smooth(seed)
        save_volume(folder / f"{name}.nii.gz", Volume(image, grid))
        save_volume(folder / f"{name}_seg.nii.gz", Volume(labels, grid, "labels"))
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:10, 2:12, 2:14] = 1
    save_volume(folder / "mask.nii.gz", Volume(mask, other, "labels"))
    save_volume(folder / "empty_mask.nii.gz", Volume(0 * mask, other, "labels"))
    save_warp(folder / "warp.nii.gz", np.ones((*SHAPE, 3), np.float32), other)
    far = other.copy()
    far[:3, 3] += 1000
    save_warp(folder / "far_warp.nii.gz", np.ones((*SHAPE, 3), np.float32), far)
    np.savez(folder / "small_warp.npz", vol=np.zeros((4, 4, 4, 3), np.float32))
    save_warp(folder / "flat_warp.nii.gz", np.ones((12, 14, 2), np.float32), np.eye(4))
    (folder / "points.csv").write_text("name,x,y,z\na,-10,-9,5\nb,-8,-6,9.5\n", encoding="utf-8")
    row = "moving.nii.gz,fixed.nii.gz,moving_seg.nii.gz,fixed_seg.nii.gz\n"
    (folder / "pairs.csv").write_text("moving,fixed,moving_seg,fixed_seg\n" + row, encoding="utf-8")
    (folder / "list.txt").write_text("moving.nii.gz\nfixed.nii.gz\n", encoding="utf-8")


def write_bad(folder):
    image, labels = smooth(0)

    def nifti(name, data):
        nib.save(nib.Nifti1Image(data, np.eye(4)), folder / name)

    whole = (folder / "moving.nii.gz").read_bytes()
    (folder / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.nii.gz").touch()
    (folder / "text.nii").write_text("hello\n" * 99, encoding="utf-8")
    (folder / "text.keras").write_text("hello\n" * 99, encoding="utf-8")
    nifti("four.nii.gz", np.stack([image, image], -1))
    nifti("flat.nii.gz", image[:, :, 8])
    nifti("constant.nii.gz", np.ones(SHAPE, np.float32))
    nifti("other_seg.nii.gz", labels[1:])
    nifti("fraction_seg.nii.gz", image + 0.5)
    spoilt = image.copy()
    spoilt[3, 4, 5] = np.nan
    nifti("nan.nii.gz", spoilt)
    nifti("nan_warp.nii.gz", np.full((*SHAPE, 3), np.nan, np.float32))
    keras.Sequential([keras.Input([4]), keras.layers.Dense(2)]).save(folder / "dense.keras")
    run = keras.layers.Lambda(lambda x: 2 * x, output_shape=(4,))
    keras.Sequential([keras.Input([4]), run]).save(folder / "code.keras")
    for name in ("there.onnx", "there.stablehlo"):
        (folder / name).touch()
    (folder / "half.keras").write_bytes((folder / "dense.keras").read_bytes()[:2000])
    for name in ("binary", "binary.h5"):
        (folder / name).write_bytes(b"\x80\xff\x00" * 20)
    keras.Sequential([keras.Input([4]), keras.layers.Dense(2)]).save_weights(folder / "other.weights.h5")
    (folder / "four.txt").write_text("moving.nii.gz\nfour.nii.gz\n", encoding="utf-8")
    (folder / "one.txt").write_text("moving.nii.gz\n", encoding="utf-8")
    (folder / "broken.txt").write_text("moving.nii.gz\n# then\nno.nii.gz\n", encoding="utf-8")
    (folder / "unlabelled.csv").write_text("moving,fixed\nmoving.nii.gz,fixed.nii.gz\n", encoding="utf-8")
    rows = "moving,fixed,moving_seg,fixed_seg\nmoving.nii.gz,fixed.nii.gz,other_seg.nii.gz,fixed_seg.nii.gz\n"
    (folder / "mismatch.csv").write_text(rows, encoding="utf-8")
    rows = rows.replace("moving.nii.gz,", "nan.nii.gz,", 1).replace("other_seg", "moving_seg")
    (folder / "nan.csv").write_text(rows, encoding="utf-8")
    for name, text in {
        "no_header": "1,2,3\n4,5,6\n",
        "no_rows": "x,y,z\n",
        "word": "x,y,z\n1,2,3\n1,two,3\n",
        "infinite": "x,y,z\n1,inf,3\n",
        "short": "x,y,z\n1,2\n",
        "long": "x,y,z\n1,2,3,4\n",
    }.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    (folder / "broken").mkdir()
    (folder / "broken" / "dataset.json").write_text('{"training": [', encoding="utf-8")
    (folder / "lost").mkdir()
    (folder / "lost" / "dataset.json").write_text(json.dumps({"training": ["s1", "s2"]}), encoding="utf-8")


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """A folder of inputs that no test writes to."""
    folder = tmp_path_factory.mktemp("inputs")
    write_good(folder)
    write_bad(folder)
    return folder
