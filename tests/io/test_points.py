"""Landmarks: read from CSV, brought to the voxels of the training grid."""

from __future__ import annotations

import json
from itertools import pairwise

import nibabel as nib
import numpy as np
import pytest
from refusals import refusal

from bilevelmorph.cli.warp_points import Options, run
from bilevelmorph.data.geometry import transform_points
from bilevelmorph.data.volume import Volume
from bilevelmorph.datasets.landmarks import landmarks_of
from bilevelmorph.datasets.pair_dataset import PairDataset
from bilevelmorph.datasets.pairs import Pair, Subject
from bilevelmorph.errors import InputError
from bilevelmorph.io.points import read_points
from bilevelmorph.io.slicer_points import write_named_points
from bilevelmorph.io.volumes import save_volume
from bilevelmorph.io.warps import save_warp


def test_a_landmark_lies_where_its_voxel_does(tmp_path):
    """A single bright voxel and its world position, whatever the axes, after flips and padding."""
    affines = [
        np.diag([-2.0, 2, 3, 1]),
        np.array([[0, 1.5, 0, 4], [0, 0, -2, 9], [1, 0, 0, -3], [0, 0, 0, 1.0]]),
    ]
    subjects, at = [], np.array([[3.0, 5, 2]])
    for i, affine in enumerate(affines):
        data = np.zeros((7, 9, 6), np.float32)
        data[3, 5, 2] = 1
        save_volume(tmp_path / f"{i}.nii.gz", Volume(data, affine))
        world = transform_points(affine, at)[0]
        text = "name,x,y,z\ntip," + ",".join(f"{v:.6f}" for v in world)
        (tmp_path / f"{i}.csv").write_text(text, encoding="utf-8")
        subjects.append(Subject(tmp_path / f"{i}.nii.gz", points=tmp_path / f"{i}.csv"))
    source = PairDataset(pairs=[Pair(*subjects)], shape=(10, 10, 10), percentiles=(0, 100), points=True)
    _, batch = next(iter(source.dataset(0, 1, 1)))
    for side in ("moving", "fixed"):
        brightest = np.argwhere(batch[side][0, ..., 0].numpy() == 1)
        np.testing.assert_allclose(batch[f"{side}_points"][0], brightest, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no points"),
        ("x,y,z\n", "no points"),
        ("x,y\n1,2\n", "columns x,y,z"),
        ("x,y,z\n1,2,3\n1,2\n", "line 3"),
        ("x,y,z\n1,2,nan\n", "line 2: got 'nan'"),
        ("x,y,z\n1,2,three\n", "line 2: got 'three'"),
        ("1,2,3\n4,5,inf\n", "line 2: got 'inf'"),
        ("1,2,3\n4,5\n", "line 2: got a different number"),
        ('x,y,z\n"' + 140_000 * "1" + '",2,3\n', "no table"),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "points.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_points(path, 3)


FCSV = """# Markups fiducial file version = 4.11
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
vtkMRMLMarkupsFiducialNode_0,10.5,-20,30,0,0,0,1,1,1,0,"apex, left",,vtkMRMLScalarVolumeNode1
1,1,2,3,0,0,0,1,1,1,0,F-2,,
"""


@pytest.mark.parametrize(("system", "sign"), [("RAS", 1), ("0", 1), ("LPS", -1), ("1", -1)])
def test_points_of_slicer(tmp_path, system, sign):
    (tmp_path / "a.fcsv").write_text(FCSV.format(system=system), encoding="utf-8")
    points = read_points(tmp_path / "a.fcsv", 3)
    np.testing.assert_array_equal(points.positions, [[sign * 10.5, -20 * sign, 30], [sign, 2 * sign, 3]])
    assert [r["label"] for r in points.rows] == ["apex, left", "F-2"]


def test_markups_of_slicer(tmp_path):
    control = [{"id": "1", "label": "apex", "position": [1.5, 2, 3], "selected": True}]
    markups = [
        {"type": "Fiducial", "coordinateSystem": system, "controlPoints": control}
        for system in ("LPS", "RAS")
    ]
    (tmp_path / "a.mrk.json").write_text(json.dumps({"markups": markups}), encoding="utf-8")
    points = read_points(tmp_path / "a.mrk.json", 3)
    np.testing.assert_array_equal(points.positions, [[-1.5, -2, 3], [1.5, 2, 3]])


def test_points_of_elastix(tmp_path):
    (tmp_path / "a.txt").write_text("point\n2\n1 2 3\n4.5 5 6\n", encoding="utf-8")
    np.testing.assert_array_equal(read_points(tmp_path / "a.txt", 3).positions, [[-1, -2, 3], [-4.5, -5, 6]])


@pytest.mark.parametrize("ending", [".fcsv", ".mrk.json", ".txt"])
def test_written_and_read_again(tmp_path, ending, rng):
    at = rng.normal(0, 50, (5, 3)).round(4)
    rows = [
        {"label": f"L{i}, x", **dict(zip("xyz", map(repr, p.tolist()), strict=True))}
        for i, p in enumerate(at)
    ]
    write_named_points(tmp_path / f"a{ending}", rows)
    again = read_points(tmp_path / f"a{ending}", 3)
    np.testing.assert_allclose(again.positions, at, atol=1e-6)
    if ending != ".txt":
        assert [r["label"] for r in again.rows] == [r["label"] for r in rows]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.fcsv", "1,2,3\n", "another form"),
        ("a.fcsv", FCSV.format(system="IJK"), "another form"),
        ("a.mrk.json", "{", "broken JSON"),
        ("a.mrk.json", "{}", "another form"),
        ("a.mrk.json", '{"markups": []}', "no points"),
        ("a.txt", "index\n1\n1 2 3\n", "expected point, in millimetres"),
        ("a.txt", "point\n3\n1 2 3\n", "got 1 points, expected 3"),
        ("a.txt", "point\n1\n1 2\n", "another form"),
    ],
)
def test_bad_files_of_other_programs(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_points(tmp_path / name, 3)


def test_mapped_points_in_every_form(tmp_path):
    """A warp by two millimetres to the right, whatever the files are."""
    displacement = np.zeros((8, 8, 8, 3), np.float32)
    displacement[..., 0] = 2
    save_warp(tmp_path / "warp.nii.gz", displacement, np.eye(4))
    (tmp_path / "a.csv").write_text("label,x,y,z\napex,3,4,5\n", encoding="utf-8")
    (tmp_path / "lps.csv").write_text("label,x,y,z\napex,-3,-4,5\n", encoding="utf-8")
    names = ["a.csv", "b.fcsv", "c.mrk.json", "d.txt", "e.csv"]
    for before, after in pairwise(names):
        run(Options(*(str(tmp_path / n) for n in (before, "warp.nii.gz", after))))
    np.testing.assert_allclose(read_points(tmp_path / "e.csv", 3).positions, [[11, 4, 5]], atol=1e-5)
    for name in ("lps.csv", "b.fcsv"):
        words = [str(tmp_path / n) for n in (name, "warp.nii.gz", "f.csv")]
        run(Options(*words, space="lps"))
        by = 2 if name == "lps.csv" else 4
        found = read_points(tmp_path / "f.csv", 3).positions
        np.testing.assert_allclose(found, [[-3 - by, -4, 5]], atol=1e-5)


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_tables_of_spreadsheets(tmp_path, bom, end, mark):
    path = tmp_path / "points.csv"
    rows = ["name,x,y,z", "tip \u00e9,1,2.5,3", "base,4,5,6"]
    path.write_bytes((bom + end.join(rows).replace(",", mark) + end).encode())
    found = read_points(path, 3)
    assert found.positions.tolist() == [[1, 2.5, 3], [4, 5, 6]]
    assert (found.rows[0]["name"], found.voxels) == ("tip \u00e9", False)


def test_a_table_in_latin_1(tmp_path):
    path = tmp_path / "points.csv"
    path.write_bytes("name;x;y;z\ncr\xeate;1;2;3\n".encode("latin-1"))
    assert read_points(path, 3).rows[0]["name"] == "cr\u00eate"


def test_without_a_header_they_are_voxels(tmp_path):
    """So Learn2Reg has them; the same place by world positions, whatever the grid."""
    affine = np.array([[0, 1.5, 0, 4], [0, 0, -2, 9], [1, 0, 0, -3], [0, 0, 0, 1.0]])
    image = Volume(np.zeros((7, 9, 6), np.float32), affine)
    for name, text in (("voxels", "1,2,3\n4,5,0.5\n"), ("world", "x,y,z\n7,3,-2\n11.5,8,1\n")):
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    scans = [Subject(tmp_path / "a.nii.gz", points=tmp_path / f"{n}.csv") for n in ("voxels", "world")]
    voxels, world = (landmarks_of(scan, image) for scan in scans)
    np.testing.assert_allclose(voxels, world)
    np.testing.assert_allclose(voxels[0], nib.affines.apply_affine(affine, [1, 2, 3]))


def test_points_to_warp_need_a_header(tmp_path):
    """They belong to no image whose voxels they could be."""
    (tmp_path / "points.csv").write_text("1,2,3\n", encoding="utf-8")
    save_warp(tmp_path / "warp.nii.gz", np.zeros((4, 4, 4, 3), np.float32), np.eye(4))
    options = Options(*(str(tmp_path / n) for n in ("points.csv", "warp.nii.gz", "out.csv")))
    assert "points.csv, line 1: got no header, expected x,y,z" in refusal(run, options)
