"""OME-Zarr images, written by zarr itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK
import zarr

from bilevelmorph.cli.main import main
from bilevelmorph.errors import InputError
from bilevelmorph.io.headers import doubts
from bilevelmorph.io.volumes import load_volume

SIZES = {"z": 6, "y": 8, "x": 10}


def write(folder, axes="zyx", unit="micrometer", version="0.4", levels=2, **more):
    """An image of some resolutions; the finest has voxels of 2, 3 and 4 units along z, y and x."""
    group = zarr.open_group(folder, mode="w", zarr_format=2 if version == "0.4" else 3)
    rng, data, datasets = np.random.default_rng(0), [], []
    step = {"z": 2.0, "y": 3.0, "x": 4.0}
    for level in range(levels):
        shape = [SIZES.get(a, 1) // 2**level or 1 for a in axes]
        values = rng.integers(0, 4000, shape).astype("uint16")
        array = group.create_array(str(level), shape=shape, chunks=[min(n, 4) for n in shape], dtype="uint16")
        array[...] = values
        data.append(values)
        scale = [step.get(a, 1.0) * 2**level for a in axes]
        shift = [10.0 * (a == "x") + step.get(a, 0.0) * (2**level - 1) / 2 for a in axes]
        changes = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]
        datasets.append({"path": str(level), "coordinateTransformations": changes})
    kinds = {"t": "time", "c": "channel"}
    named = [{"name": a, "type": kinds.get(a, "space")} for a in axes]
    if unit:
        named = [a | ({"unit": unit} if a["type"] == "space" else {}) for a in named]
    entry = [{"version": version, "axes": named, "datasets": datasets, **more}]
    group.attrs.update({"multiscales": entry} if version == "0.4" else {"ome": {"multiscales": entry}})
    return data


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["zyx", "tczyx", "xyz"])
def test_voxels_lie_where_itk_would_put_them(tmp_path, version, axes):
    data = write(tmp_path / "a.ome.zarr", axes, version=version)
    for name, level in (("a.ome.zarr", 0), ("a.ome.zarr/1", 1)):
        volume = load_volume(tmp_path / name)
        values = data[level].reshape([n for a, n in zip(axes, data[level].shape, strict=True) if a in "xyz"])
        values = values if axes == "xyz" else values.T
        np.testing.assert_array_equal(volume.data, values)
        image = SimpleITK.GetImageFromArray(np.zeros(values.shape[::-1], np.uint8))
        image.SetSpacing([n * 1e-3 * 2**level for n in (4, 3, 2)])
        image.SetOrigin([1e-3 * (10 * (a == 0) + n * (2**level - 1) / 2) for a, n in enumerate((4, 3, 2))])
        for index in ((0, 0, 0), (4, 2, 1)):
            x, y, z = image.TransformIndexToPhysicalPoint(index)
            np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], [-x, -y, z], atol=1e-9)
        assert "OME-Zarr" in doubts(volume.header, "a")[0]


def test_slices_units_and_a_scale_of_all_resolutions(tmp_path):
    change = [{"type": "scale", "scale": [10.0, 10.0]}]
    write(tmp_path / "a.zarr", "yx", unit=None, coordinateTransformations=change)
    volume = load_volume(tmp_path / "a.zarr")
    assert volume.shape == (10, 8)
    np.testing.assert_allclose(volume.affine[:2], [[-40, 0, 0, -100], [0, -30, 0, 0]])
    assert any("no unit" in text for text in doubts(volume.header, "a"))


def refusal(path):
    with pytest.raises(InputError) as raised:
        load_volume(path)
    return str(raised.value)


def test_what_is_refused(tmp_path):
    write(tmp_path / "c.zarr", "czyx")
    group = zarr.open_group(tmp_path / "c.zarr")
    assert "no resolution of the image" in refusal(
        _folder(tmp_path / "c.zarr" / "9", tmp_path / "c.zarr" / "0")
    )
    group.create_array("two", shape=(2, 6, 8, 10), chunks=(1, 6, 8, 10), dtype="uint16")
    attributes = json.loads((tmp_path / "c.zarr/.zattrs").read_text())
    attributes["multiscales"][0]["datasets"][0]["path"] = "two"
    (tmp_path / "c.zarr/.zattrs").write_text(json.dumps(attributes))
    group["two"][...] = 1
    assert "2 voxels along c" in refusal(tmp_path / "c.zarr")
    write(tmp_path / "unit.zarr", unit="furlong")
    assert "positions in furlong" in refusal(tmp_path / "unit.zarr")
    zarr.open_array(tmp_path / "plain.zarr", mode="w", shape=(4, 4, 4), dtype="uint8", zarr_format=2)
    assert "without the multiscales" in refusal(tmp_path / "plain.zarr")
    write(tmp_path / "broken.zarr")
    for name in ("axes", "datasets"):
        attributes = json.loads((tmp_path / "broken.zarr/.zattrs").read_text())
        del attributes["multiscales"][0][name]
        (tmp_path / "broken.zarr/.zattrs").write_text(json.dumps(attributes))
        assert "cannot be read" in refusal(tmp_path / "broken.zarr")


def _folder(path, like):
    """A copy of the metadata of an array under a name that the image does not list."""
    path.mkdir()
    (path / ".zarray").write_bytes((like / ".zarray").read_bytes())
    return path


def test_no_pickles_and_no_claims_beyond_the_files(tmp_path):
    write(tmp_path / "a.zarr")
    place = tmp_path / "a.zarr" / "0" / ".zarray"
    metadata = json.loads(place.read_text())
    place.write_text(json.dumps(metadata | {"filters": [{"id": "pickle", "protocol": 4}]}))
    assert "packed by pickle" in refusal(tmp_path / "a.zarr")
    place.write_text(json.dumps(metadata | {"dtype": "|O"}))
    assert "objects" in refusal(tmp_path / "a.zarr")
    place.write_text(json.dumps(metadata | {"shape": [4000, 4000, 4000]}))
    assert "expected a whole file" in refusal(tmp_path / "a.zarr")


def test_registered_with_its_doubts_told(tmp_path, capsys):
    write(tmp_path / "a.ome.zarr")
    command = ["register", "--moving", str(tmp_path / "a.ome.zarr"), "--fixed", str(tmp_path / "a.ome.zarr")]
    command += ["--model", "none", "--quality", "fast", "--moved", str(tmp_path / "moved.nii.gz"), "--quiet"]
    assert main(command) == 0
    assert "OME-Zarr" in capsys.readouterr().err
    np.testing.assert_array_equal(
        load_volume(tmp_path / "moved.nii.gz").data, load_volume(tmp_path / "a.ome.zarr").data
    )
