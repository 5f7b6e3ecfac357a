"""The documents: code runs, commands and names exist, links lead somewhere, the site builds."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from scans import write_scans
from scipy.ndimage import gaussian_filter

import bilevelmorph as bm
from bilevelmorph.cli.main import COMMANDS, command_module, main
from bilevelmorph.cli.parsing import parse
from bilevelmorph.config import DescentConfig, TrainingConfig
from bilevelmorph.config.codec import from_dict
from bilevelmorph.datasets.decathlon import DecathlonDataset
from bilevelmorph.networks import PropagationNetwork

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "models").glob("*/card.md")),
]


def blocks(kind):
    """Page, number and text of every fenced block of a kind."""
    found = []
    for page in PAGES:
        # All kinds at once: the end of one block looks like the beginning of a plain one.
        fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M)
        texts = [text for name, text in fenced if name == kind]
        found += [pytest.param(t, id=f"{page.relative_to(ROOT)}-{i}") for i, t in enumerate(texts, 1)]
    return found


def commands():
    """Every `bilevelmorph` command line of the plain blocks, continued lines joined."""
    found = []
    for block in blocks(""):
        lines = block.values[0].replace("\\\n", " ").splitlines()
        found += [pytest.param(x, id=f"{block.id}: {x[:60]}") for x in lines if x.startswith("bilevelmorph ")]
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the documents call a.nii.gz, b.nii.gz, warp.nii.gz and served/1."""
    folder = tmp_path_factory.mktemp("docs")
    network = PropagationNetwork(3, (4, 2), ((), (4,), (4,)), (4,), (4,), 1, int_steps=3)
    network.build()
    network.save(folder / "small.keras")
    for seed, name in enumerate("ab"):
        data = gaussian_filter(np.random.default_rng(seed).random((24, 26, 22)), 2)
        bm.save_volume(folder / f"{name}.nii.gz", bm.Volume(data.astype(np.float32), np.eye(4)))
    pair = [
        "--moving",
        folder / "a.nii.gz",
        "--fixed",
        folder / "b.nii.gz",
        "--moved",
        folder / "moved.nii.gz",
    ]
    model = ["--model", folder / "small.keras"]
    arguments = ["register", *pair, *model, "--warp", folder / "warp.nii.gz", "--warp-format", "itk"]
    assert main([str(a) for a in (*arguments, "--quality", "fast", "--gpu", "-1")]) == 0
    (folder / "served").mkdir()
    assert main(["export", *map(str, model), "--out", str(folder / "served" / "1")]) == 0
    return folder


@pytest.fixture(scope="module")
def ports(files):
    """Servers in front of served/1, by the ports that the documents name."""
    import tensorflow as tf
    from servers import grpc_server, rest_server

    model = tf.saved_model.load(str(files / "served" / "1"))
    with grpc_server(model) as first, rest_server(model) as second:
        yield {"localhost:8500": f"localhost:{first}", "localhost:8501": f"localhost:{second}"}


@pytest.mark.usefixtures("plain_graphs")
@pytest.mark.parametrize("text", blocks("python"))
def test_python_runs(text, files, monkeypatch, request):
    monkeypatch.chdir(files)
    if "localhost:85" in text:
        for name, port in request.getfixturevalue("ports").items():
            text = text.replace(name, port)
    if "MultiWorkerStrategy" in text:  # which wants to be the first in its process
        subprocess.run([sys.executable, "-c", text], check=True, capture_output=True)
        return
    exec(compile(text, "document", "exec"), {"__name__": "document"})


@pytest.mark.parametrize("line", commands())
def test_command_lines_are_understood(line):
    words = shlex.split(line, comments=True)[1:]
    assert words[0] in COMMANDS
    assert parse(command_module(words[0]).Options, words[1:], words[0])


def names():
    """Every dotted name below `bilevelmorph`, and below `bm`, which is what the documents call it."""
    found = set()
    for page in PAGES:
        for name in re.findall(r"\b(?:bilevelmorph|bm)(?:\.[A-Za-z_]\w*)+", page.read_text(encoding="utf-8")):
            found.add(name)
    return sorted(found)


@pytest.mark.parametrize("name", names())
def test_names_are_there(name):
    """Walked as a reader's `import bilevelmorph as bm` would, modules imported on the way."""
    thing = bm
    place = "bilevelmorph"
    for part in name.split(".")[1:]:
        place = f"{place}.{part}"
        thing = getattr(thing, part, None) or importlib.import_module(place)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_configurations_are_understood(text):
    table = yaml.safe_load(text)
    kind = DescentConfig if "levels" in table else TrainingConfig
    config = from_dict(kind, table, "document")
    assert config != kind()
    assert config.with_() == config


def test_the_site_builds(tmp_path):
    """Strictly: a link, an anchor or a name of the API that leads nowhere is an error."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "api" / "registration.html").read_text(encoding="utf-8")
    assert "bilevelmorph.registration.registrar.Registrar" in page


RUN = ("README.md", "docs/files.md-1", "docs/quickstart.md")
SHORT = ["--epochs", "1", "--steps-per-epoch", "1", "--gpu", "-1"]


def runnable():
    """Of the pages for everybody: what registers, warps and trains, not what takes hours or downloads."""
    kinds = ("register", "warp", "warp-points", "train", "evaluate")
    return [c for c in commands() if c.id.startswith(RUN) and c.values[0].split()[1] in kinds]


@pytest.fixture(scope="module")
def place(files, tmp_path_factory):
    """Where the command lines of a page find what they name, and leave what the next one needs."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("a.nii.gz", "b.nii.gz", "warp.nii.gz"):
        shutil.copy(files / name, folder / name)
    grid = bm.load_volume(folder / "a.nii.gz")
    labels = (grid.data > np.median(grid.data)).astype(np.uint8)
    bm.save_volume(folder / "a_labels.nii.gz", bm.Volume(labels, grid.affine, "labels"))
    (folder / "fixed.csv").write_text("x,y,z\n-10,-9,8\n", encoding="utf-8")
    (folder / "cohort.csv").write_text("moving,fixed\na.nii.gz,b.nii.gz\n", encoding="utf-8")
    (folder / "settings.yaml").write_text("{levels: [2], iterations: [3]}", encoding="utf-8")
    (folder / "runs").mkdir()
    (folder / "DIR").mkdir()
    write_scans(folder / "DIR")
    table = json.loads((folder / "DIR" / "dataset.json").read_text(encoding="utf-8"))
    table["registration_test"] = table["registration_val"]
    (folder / "DIR" / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    return folder


@pytest.mark.usefixtures("plain_graphs")
@pytest.mark.parametrize("line", runnable())
def test_command_lines_run(line, place, monkeypatch):
    """As they stand; training for one step."""
    monkeypatch.chdir(place)
    words = shlex.split(line, comments=True)[1:]
    if words[0] == "train":
        words += SHORT
    assert main(words) == 0
    written = [
        v for k, v in pairwise(words) if k in ("--moved", "--warp", "--figure", "--out", "--model-dir")
    ]
    assert written
    assert all(Path(name).exists() for name in written)


def test_everything_of_voxelmorph_has_a_row():
    """Every layer, network and loss that is installed."""
    page = (ROOT / "docs" / "voxelmorph.md").read_text(encoding="utf-8")
    said = set(re.findall(r"`(\w+)(?:\([^)]*\))?(?:\.py)?`", page))
    for part in ("layers", "networks", "losses"):
        module = importlib.import_module(f"voxelmorph.tf.{part}")
        there = {n for n, x in vars(module).items() if inspect.isclass(x) and x.__module__ == module.__name__}
        assert there
        assert there <= said, f"{part}: {there - said}"


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("text", [b for b in blocks("json") if "registration_val" in b.values[0]])
def test_the_folder_that_is_described_can_be_opened(text, tmp_path):
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
    for name in re.findall(r"\./(imagesTr/\S+?\.nii\.gz)", text):
        for file in (tmp_path / name, tmp_path / name.replace("images", "labels")):
            file.parent.mkdir(exist_ok=True)
            file.touch()
    folder = DecathlonDataset.open(tmp_path)
    assert folder.labels == [1, 2]
    assert [s.name for s in folder.subjects("train")] == ["case_001.nii.gz"]
    assert [len(folder.pairs(split)) for split in ("val", "test")] == [1, 1]
    assert all(s.labels is not None for s in (*folder.subjects("train"), folder.pairs("val")[0].moving))
