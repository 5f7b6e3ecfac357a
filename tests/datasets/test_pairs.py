"""Which scans go together: list files, CSV files, dataset.json folders, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from refusals import refusal

from bilevelmorph.datasets.decathlon import DecathlonDataset
from bilevelmorph.datasets.pairs import Pair, Subject, read_csv, read_list, with_labels


@pytest.fixture
def folder(tmp_path):
    """A folder with files that exist; nothing reads them."""
    for name in ("a.nii.gz", "b.nii.gz", "c.nii.gz", "a_seg.nii.gz", "b_seg.nii.gz"):
        (tmp_path / name).touch()
    return tmp_path


def write(folder, text, name="list.txt"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "a.nii.gz\nb.nii.gz\n",
        "# scans\n\n  a.nii.gz  # the first\n\tb.nii.gz",
        "a.nii.gz\r\nb.nii.gz\r\n",
    ],
)
def test_list_of_names(folder, text):
    subjects, pairs = read_list(write(folder, text))
    assert subjects == [Subject(folder / "a.nii.gz"), Subject(folder / "b.nii.gz")]
    assert pairs == []


@pytest.mark.parametrize(
    "text", ["a.nii.gz b.nii.gz\nb.nii.gz\tc.nii.gz", "a.nii.gz,b.nii.gz\nb.nii.gz, c.nii.gz"]
)
def test_list_of_pairs(folder, text):
    subjects, pairs = read_list(write(folder, text))
    a, b, c = (Subject(folder / f"{n}.nii.gz") for n in "abc")
    assert subjects == []
    assert pairs == [Pair(a, b), Pair(b, c)]


def test_prefix_and_suffix(folder):
    subjects, _ = read_list(write(folder, "a\nb"), f"{folder}/", ".nii.gz")
    assert [s.image for s in subjects] == [folder / "a.nii.gz", folder / "b.nii.gz"]


def test_names_count_from_here_too(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "lists").mkdir()
    subjects, _ = read_list(write(folder, "a.nii.gz\nb.nii.gz", "lists/list.txt"))
    assert subjects[0].image == Path("a.nii.gz")


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a.nii.gz\n# ok\nno.nii.gz", 3, "no such file no.nii.gz"),
        ("a.nii.gz b.nii.gz\n\na.nii.gz b.nii.gz c.nii.gz", 3, "3 names"),
        ("a.nii.gz\nb.nii.gz c.nii.gz", 2, "a mixture"),
        ("a.nii.gz b.nii.gz\nc.nii.gz", 2, "a mixture"),
    ],
)
def test_bad_line_of_a_list_is_named(folder, text, line, reason):
    path = write(folder, text)
    message = refusal(read_list, path)
    assert message.startswith(f"{path}, line {line}: ")
    assert reason in message


@pytest.mark.parametrize("read", [read_list, read_csv])
@pytest.mark.parametrize("text", [None, "", "# nothing\n\n", b"\xff\xfe\x00binary\x80"])
def test_bad_file(folder, read, text):
    path = folder / "list.txt" if text is None else write(folder, text)
    assert str(path) in refusal(read, path)


def test_csv(folder):
    text = (
        "moving, fixed ,moving_seg,fixed_seg\n"
        "a.nii.gz,b.nii.gz,a_seg.nii.gz,b_seg.nii.gz\n"
        f"\n{folder}/c.nii.gz, a.nii.gz,,a_seg.nii.gz\n"
    )
    a, b = (Subject(folder / f"{n}.nii.gz", folder / f"{n}_seg.nii.gz") for n in "ab")
    c = Subject(folder / "c.nii.gz")
    assert read_csv(write(folder, text, "pairs.csv")) == [Pair(a, b), Pair(c, a)]


def test_csv_without_labels(folder):
    pairs = read_csv(write(folder, "moving,fixed\na.nii.gz,b.nii.gz\n", "pairs.csv"))
    assert pairs == [Pair(Subject(folder / "a.nii.gz"), Subject(folder / "b.nii.gz"))]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a.nii.gz,b.nii.gz\n", 1),
        ("moving,fixed,extra\na.nii.gz,b.nii.gz,c.nii.gz\n", 1),
        ("moving,fixed\na.nii.gz,b.nii.gz\na.nii.gz\n", 3),
        ("moving,fixed\na.nii.gz,b.nii.gz,c.nii.gz\n", 2),
        ("moving,fixed\na.nii.gz,\n", 2),
        ("moving,fixed\na.nii.gz,no.nii.gz\n", 2),
    ],
)
def test_bad_line_of_a_csv_is_named(folder, text, line):
    path = write(folder, text, "pairs.csv")
    assert refusal(read_csv, path).startswith(f"{path}, line {line}: ")


def test_csv_with_only_a_header(folder):
    path = write(folder, "moving,fixed\n", "pairs.csv")
    assert refusal(read_csv, path).startswith(f"{path}: got no pairs")


def dataset(root, **content):
    """A Decathlon-like folder of four scans, three of them with labels."""
    for part in ("imagesTr", "labelsTr"):
        (root / part).mkdir()
    for number in (1, 2, 3, 4):
        (root / "imagesTr" / f"s{number}.nii.gz").touch()
        if number < 4:
            (root / "labelsTr" / f"s{number}.nii.gz").touch()
    (root / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return DecathlonDataset.open(root)


def subject(root, number, labels=True):
    name = f"s{number}.nii.gz"
    return Subject(root / "imagesTr" / name, root / "labelsTr" / name if labels else None)


@pytest.mark.parametrize(
    "entries",
    [
        [
            {"image": "./imagesTr/s1.nii.gz", "label": "./labelsTr/s1.nii.gz"},
            {"image": "./imagesTr/s4.nii.gz"},
        ],
        ["s1", "s4"],
        ["s1.nii.gz", "./imagesTr/s4.nii.gz"],
    ],
)
def test_dataset_folder(tmp_path, entries):
    pairs = [{"moving": "s2", "fixed": "./imagesTr/s3.nii.gz"}]
    folder = dataset(tmp_path, name="four", training=entries, validation=["s2", "s3"], registration_val=pairs)
    assert folder.name == "four"
    assert folder.subjects("train") == [subject(tmp_path, 1), subject(tmp_path, 4, labels=False)]
    assert folder.subjects("val") == [subject(tmp_path, 2), subject(tmp_path, 3)]
    assert folder.subjects("test") == []
    assert folder.pairs("val") == [Pair(subject(tmp_path, 2), subject(tmp_path, 3))]


def test_training_pairs_need_not_be_named(tmp_path):
    folder = dataset(tmp_path, training=["s1", "s2"])
    assert folder.pairs("train") == []
    named = {"registration_train": [{"moving": "s1", "fixed": "s2"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(named), encoding="utf-8")
    folder = DecathlonDataset.open(tmp_path)
    assert folder.pairs("train") == [Pair(subject(tmp_path, 1), subject(tmp_path, 2))]


def test_test_scans_in_a_folder_of_their_own(tmp_path):
    """Learn2Reg keeps them in imagesTs; what is named with its folder is looked for there."""
    for part in ("imagesTr", "imagesTs", "labelsTr", "labelsTs"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "a.nii.gz").touch()
    pair = {"moving": "./imagesTs/a.nii.gz", "fixed": "./imagesTr/a.nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps({"registration_test": [pair]}), encoding="utf-8")
    (found,) = DecathlonDataset.open(tmp_path).pairs("test")
    files = [(s.image.parent.name, s.labels.parent.name) for s in (found.moving, found.fixed)]
    assert files == [("imagesTs", "labelsTs"), ("imagesTr", "labelsTr")]


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        ({"0": "background", "2": "b", "10": "c", "1": "a"}, [1, 2, 10]),
        ({"background": 0, "b": 2, "a": 1}, [1, 2]),
        ({}, []),
    ],
)
def test_label_values(tmp_path, labels, values):
    assert dataset(tmp_path, labels=labels).labels == values


def test_dataset_without_pairs(tmp_path):
    folder = dataset(tmp_path, training=["s1"])
    assert str(tmp_path) in refusal(folder.pairs, "val")
    assert "no registration_test" in refusal(folder.pairs, "test")
    assert "one of train, val, test" in refusal(folder.pairs, "valid")
    assert "one of train, val, test" in refusal(folder.subjects, "training")


def test_dataset_names_a_missing_file(tmp_path):
    folder = dataset(tmp_path, training=["s9"])
    message = refusal(folder.subjects, "train")
    assert "s9" in message
    assert str(tmp_path / "imagesTr" / "s9.nii.gz") in message


@pytest.mark.parametrize("text", [None, "", '{"training": [', b"\xff\xfe", "[1, 2]", '"text"'])
def test_broken_json(tmp_path, text):
    if text is not None:
        write(tmp_path, text, "dataset.json")
    assert str(tmp_path) in refusal(lambda: DecathlonDataset.open(tmp_path).subjects("train"))


@pytest.mark.parametrize(
    ("content", "read"),
    [
        ({"training": [{"label": "s1"}]}, lambda f: f.subjects("train")),
        ({"training": [7]}, lambda f: f.subjects("train")),
        ({"training": 7}, lambda f: f.subjects("train")),
        ({"registration_val": [{"moving": "s1"}]}, lambda f: f.pairs("val")),
        ({"registration_val": ["s1"]}, lambda f: f.pairs("val")),
        ({"labels": {"tumour": [1, 2]}}, lambda f: f.labels),
        ({"labels": {"tumour": "x"}}, lambda f: f.labels),
        ({"labels": [1, 2]}, lambda f: f.labels),
    ],
)
def test_json_of_another_form(tmp_path, content, read):
    dataset(tmp_path)
    write(tmp_path, json.dumps(content), "dataset.json")
    assert str(tmp_path) in refusal(lambda: read(DecathlonDataset.open(tmp_path)))


def test_with_labels(tmp_path):
    dataset(tmp_path)
    good = Pair(subject(tmp_path, 1), subject(tmp_path, 2))
    bad = Pair(subject(tmp_path, 1), subject(tmp_path, 4, labels=False))
    assert with_labels([good], "here") == [good]
    message = refusal(with_labels, [good, bad], "pairs.csv")
    assert message.startswith("pairs.csv: ")
    assert "s4.nii.gz" in message


@pytest.mark.parametrize(
    ("name", "ending"),
    [("a b.npy", ""), ("a #2.npy", ""), ("x,y.npy", ""), ("plain.npy", ""), ("plain.npy", "  # the first")],
)
def test_a_line_that_is_a_file_is_one_name(tmp_path, name, ending):
    for file in (name, "other.npy"):
        (tmp_path / file).touch()
    (tmp_path / "list.txt").write_text(f"{name}{ending}\nother.npy\n# no more\n", encoding="utf-8")
    subjects, pairs = read_list(tmp_path / "list.txt")
    assert [s.name for s in subjects] == [name, "other.npy"]
    assert not pairs


@pytest.mark.parametrize("mark", ["\t", ",", ", "])
def test_names_of_a_pair_may_contain_spaces(tmp_path, mark):
    for file in ("a b.npy", "c d.npy"):
        (tmp_path / file).touch()
    (tmp_path / "list.txt").write_text(f"a b.npy{mark}c d.npy\n", encoding="utf-8")
    _, (pair,) = read_list(tmp_path / "list.txt")
    assert (pair.moving.name, pair.fixed.name) == ("a b.npy", "c d.npy")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_tables_as_spreadsheets_write_them(tmp_path, mark, ending, encoding):
    names = ["größe 1.npy", "b, c.npy"] if mark != "," else ["größe 1.npy", "b.npy"]
    for name in names:
        (tmp_path / name).touch()
    text = f"moving{mark}fixed{ending}{names[0]}{mark}{names[1]}{ending}"
    (tmp_path / "pairs.csv").write_bytes(text.encode(encoding))
    (pair,) = read_csv(tmp_path / "pairs.csv")
    assert [pair.moving.name, pair.fixed.name] == names
