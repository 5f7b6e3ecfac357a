"""A list of pairs over several processes: killed, resumed, with failures, on a scheduler, named for BIDS."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest

from bilevelmorph.cli.main import main
from bilevelmorph.config import DescentConfig
from bilevelmorph.data.volume import Volume
from bilevelmorph.datasets.pairs import Pair, Subject
from bilevelmorph.io.csv import read_rows
from bilevelmorph.io.volumes import load_volume, save_volume
from bilevelmorph.io.warps import load_warp
from bilevelmorph.metrics import jacobian_determinant
from bilevelmorph.networks import PropagationNetwork
from bilevelmorph.registration.batch import _jobs
from bilevelmorph.registration.batch_worker import _registrar, job_runner


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    keras.utils.set_random_seed(0)
    network = PropagationNetwork(2, (2,), ((), (4,)), (4,), (), descent={"iterations": (0, 0)})
    network.build()
    path = tmp_path_factory.mktemp("model") / "small.keras"
    network.save(path)
    return str(path)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Twenty small images with label maps."""
    folder, rng = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(14), np.arange(16), indexing="ij")
    for i in range(20):
        distance = np.hypot(x - rng.uniform(5, 9), y - rng.uniform(5, 9))
        image = (100 * np.exp(-((distance / 4) ** 2)) + rng.random((14, 16))).astype(np.float32)
        save_volume(folder / f"sub-{i:02d}_T1w.nii.gz", Volume(image, np.eye(4)))
        save_volume(
            folder / f"seg{i:02d}.nii.gz", Volume((distance < 4).astype(np.uint8), np.eye(4), "labels")
        )
    return folder


def cohort(scans, path, count, seg=False):
    """A list of so many pairs, no two the same."""
    lines = ["moving,fixed" + (",moving_seg,fixed_seg" if seg else "")]
    pairs = [(i, j) for i in range(20) for j in range(20) if i != j][:count]
    for i, j in pairs:
        files = [f"sub-{i:02d}_T1w.nii.gz", f"sub-{j:02d}_T1w.nii.gz"]
        files += [f"seg{i:02d}.nii.gz", f"seg{j:02d}.nii.gz"] if seg else []
        lines.append(",".join(str(scans / f) for f in files))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_two_hundred_pairs_with_a_worker_killed_in_the_middle(scans, model, tmp_path):
    """Nothing is lost, nothing that was done is done again, the table has one row a pair, no port is open."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "bilevelmorph.cli.main", "register", "--out", str(out), "--workers", "2"]
    command += [
        "--pairs",
        cohort(scans, tmp_path / "list.csv", 200),
        "--model",
        model,
        "--gpu",
        "-1",
        "--quiet",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 240
    while len(list((out / "pairs").glob("sub*.json"))) < 40:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    sockets = [c for p in [psutil.Process(process.pid), *children] for c in p.net_connections("inet")]
    assert sockets == []
    largest = max(children, key=lambda p: p.memory_info().rss)
    before = {p.name: p.stat().st_mtime_ns for p in (out / "pairs").glob("sub*.json")}
    largest.send_signal(signal.SIGKILL)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "200 of 200 pairs registered" in said
    rows = read_rows(out / "results.csv")
    assert len(rows) == len({(r["moving"], r["fixed"]) for r in rows}) == 200
    assert len(before) < 200
    after = {p.name: p.stat().st_mtime_ns for p in (out / "pairs").glob("sub*.json")}
    assert len(after) == 200
    assert {n: after[n] for n in before} == before
    assert all(os.path.isfile(r["moved"]) for r in rows)


def test_a_cohort_goes_on_and_its_failures_are_listed(scans, model, tmp_path, capsys):
    listed = cohort(scans, tmp_path / "list.csv", 4, seg=True)
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"x")
    with open(listed, "a", encoding="utf-8") as stream:
        stream.write(f"{broken},{scans / 'sub-00_T1w.nii.gz'},,\n")
    flags = ["--pairs", listed, "--out", str(tmp_path / "out"), "--model", model, "--workers", "1", "--quiet"]
    assert main(["register", *flags]) == 1
    said = capsys.readouterr()
    assert "4 of 5 pairs registered" in said.out
    assert "failed: " in said.err
    assert "broken.nii.gz: got a file that cannot be read" in said.err
    rows = read_rows(tmp_path / "out" / "results.csv")
    assert [bool(r["error"]) for r in rows] == [False] * 4 + [True]
    assert all(0 < float(r["dice"]) <= 1 for r in rows[:4])
    (pair,) = (tmp_path / "out" / "pairs").glob("sub-00_T1w_to_sub-01_T1w-*[!n]")
    names = ["jacobian.nii.gz", "moved.nii.gz", "moved_seg.nii.gz", "warp.nii.gz"]
    assert sorted(p.name for p in pair.iterdir()) == names
    displacement, _ = load_warp(pair / "warp.nii.gz")
    determinant = load_volume(pair / "jacobian.nii.gz").data
    np.testing.assert_allclose(determinant, jacobian_determinant(displacement), atol=1e-5)

    shutil.copy(scans / "sub-05_T1w.nii.gz", broken)
    assert main(["register", *flags]) == 0
    assert "5 of 5 pairs registered, 4 of them before" in capsys.readouterr().out
    settings = tmp_path / "out" / "settings.json"
    former = json.loads(settings.read_text(encoding="utf-8"))
    former |= {"start": None, "samples": former.pop("mc_samples")}
    settings.write_text(json.dumps(former), encoding="utf-8")  # as version 0.1 wrote it
    assert main(["register", *flags]) == 0
    assert "5 of 5 pairs registered, 5 of them before" in capsys.readouterr().out
    assert main(["register", *flags, "--affine", "rigid"]) == 2
    assert "results of other settings" in capsys.readouterr().err


def test_a_batch_with_iterations_resumes(scans, model, tmp_path, capsys):
    """Under the same settings, by their contents; also where version 0.1 wrote its single number."""
    listed, out = cohort(scans, tmp_path / "list.csv", 2), tmp_path / "out"
    DescentConfig(similarity=("mse",)).save(tmp_path / "mine.json")
    flags = ["--pairs", listed, "--out", str(out), "--model", model, "--workers", "1", "--quiet"]
    mine = ["--settings", str(tmp_path / "mine.json"), "--instance-steps", "1", "2"]
    for done in (0, 2):
        assert main(["register", *flags, *mine]) == 0
        found = capsys.readouterr().out
        assert (f", {done} of them before" in found) is bool(done)
    DescentConfig(similarity=("ncc",)).save(tmp_path / "mine.json")
    assert main(["register", *flags, *mine]) == 2
    assert "results of other settings" in capsys.readouterr().err
    former = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    former |= {"instance_steps": 0, "settings": None}
    (out / "settings.json").write_text(json.dumps(former), encoding="utf-8")
    assert main(["register", *flags, "--instance-steps", "0"]) == 0


@pytest.mark.parametrize("compiled", [False, True])
def test_the_same_bits_whichever_worker_did_a_pair(tmp_path, rng, compiled):
    """As the first pair of a worker, as one of many and, unless compiled, by itself."""
    x = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (24, 26, 22)], indexing="ij"))
    for i in range(3):
        centre = rng.uniform(-0.2, 0.2, (3, 1, 1, 1))
        image = np.exp(-4 * ((x - centre) ** 2).sum(0)) + 0.1 * rng.random((24, 26, 22))
        save_volume(tmp_path / f"{i}.nii.gz", Volume(image.astype(np.float32), np.eye(4)))
    pairs = [(0, 1), (1, 2)]
    settings = {"model": "general", "quality": "fast", "gpu": "-1"}
    found = []
    for order in (pairs, pairs[::-1]):
        _registrar.cache_clear()  # another worker
        work, out = job_runner(settings), tmp_path / str(len(found))
        for i, j in order:
            sides = {"moving": str(tmp_path / f"{i}.nii.gz"), "fixed": str(tmp_path / f"{j}.nii.gz")}
            report = {"report": str(out / f"{i}{j}.json"), "root": str(out), "name": f"{i}{j}"}
            assert (
                work({**sides, **report, "moving_seg": None, "fixed_seg": None, "compiled": compiled}) == ""
            )
        found.append(out)
    for name in ("01/moved", "01/warp", "12/moved", "12/warp"):
        one, two = ((out / "pairs" / f"{name}.nii.gz").read_bytes() for out in found)
        assert one == two, name
    if compiled:
        return
    alone = ["--moving", str(tmp_path / "1.nii.gz"), "--fixed", str(tmp_path / "2.nii.gz"), "--gpu", "-1"]
    alone += ["--moved", str(tmp_path / "moved.nii.gz"), "--warp", str(tmp_path / "warp.nii.gz")]
    assert main(["register", *alone, "--quality", "fast", "--quiet"]) == 0
    for name in ("moved", "warp"):
        assert (tmp_path / f"{name}.nii.gz").read_bytes() == (
            found[0] / "pairs" / "12" / f"{name}.nii.gz"
        ).read_bytes()
    for name in ("01", "12"):
        one, two = (json.loads((out / f"{name}.json").read_text(encoding="utf-8")) for out in found)
        changing = {"seconds", "moved"}
        assert {k: v for k, v in one.items() if k not in changing} == {
            k: v for k, v in two.items() if k not in changing
        }


def test_compiled_where_many_share_a_grid(tmp_path):
    """Whatever their names are; the headers tell."""
    for name, shape in {"a": (8, 8, 8), "b": (8, 8, 8), "c": (9, 8, 8)}.items():
        save_volume(tmp_path / f"{name}.nii.gz", Volume(np.zeros(shape, np.float32), np.eye(4)))
    moving = [Subject(tmp_path / f"{i}.nii.gz") for i in range(7)]
    fixed = {name: Subject(tmp_path / f"{name}.nii.gz") for name in ("a", "b", "c", "missing")}
    pairs = [Pair(m, fixed[name]) for name in fixed for m in moving]
    decided = {(Path(job["fixed"]).name[0], job["compiled"]) for job in _jobs(pairs, tmp_path)}
    assert decided == {("a", True), ("b", True), ("c", False), ("m", False)}


def test_bids(scans, model, tmp_path, capsys):
    out = tmp_path / "derivatives"
    flags = ["--out", str(out), "--bids", "--model", model, "--gpu", "-1"]
    pair = ["--moving", str(scans / "sub-03_T1w.nii.gz"), "--fixed", str(scans / "sub-04_T1w.nii.gz")]
    assert main(["register", *pair, *flags]) == 0
    names = {p.relative_to(out).as_posix() for p in out.rglob("*.*")}
    there = "sub-03/anat/sub-03_space-sub04T1w_desc"
    assert names == {
        "dataset_description.json",
        f"{there}-registered_T1w.nii.gz",
        f"{there}-registered_T1w.json",
        f"{there}-registered_T1w.png",
        f"{there}-jacobian_T1w.nii.gz",
        "sub-03/anat/sub-03_from-T1w_to-sub04T1w_mode-image_xfm.nii.gz",
        "sub-03/anat/sub-03_from-T1w_to-sub04T1w_mode-image_xfm.h5",
    }
    about = json.loads((out / "dataset_description.json").read_text(encoding="utf-8"))
    assert about["DatasetType"] == "derivative"
    assert "similarity_after" in json.loads(
        (out / f"{there}-registered_T1w.json").read_text(encoding="utf-8")
    )
    capsys.readouterr()
    pair[1] = str(scans / "seg03.nii.gz")
    assert main(["register", *pair, *flags]) == 2
    assert "no BIDS name" in capsys.readouterr().err


def test_other_lists_with_the_same_file_names(scans, model, tmp_path, capsys):
    """Data sets with one file name for all; a longer list in another order; a line that comes twice."""
    for number, name in enumerate("abcd"):
        (tmp_path / name).mkdir()
        shutil.copy(scans / f"sub-{number:02d}_T1w.nii.gz", tmp_path / name / "T1.nii.gz")
    flags = ["--out", str(tmp_path / "out"), "--model", model, "--workers", "1", "--quiet"]

    def run(*pairs):
        listed = tmp_path / "list.csv"
        listed.write_text("moving,fixed\n" + "".join(f"{a}/T1.nii.gz,{b}/T1.nii.gz\n" for a, b in pairs))
        assert main(["register", "--pairs", str(listed), *flags]) == 0
        rows = read_rows(tmp_path / "out" / "results.csv")
        return [(r["moving"].split("/")[-2], r["fixed"].split("/")[-2]) for r in rows]

    assert run("ab") == [("a", "b")]
    assert run("cd", "ab", "ba", "cd") == [("c", "d"), ("a", "b"), ("b", "a")]
    assert "3 of 3 pairs registered, 1 of them before" in capsys.readouterr().out


def test_bids_names_that_are_the_same_are_refused(scans, model, tmp_path, capsys):
    """Labelled alike in two folders; two runs of one subject differ by name, and are taken."""
    for name in ("a/sub-01_T1w", "b/sub-01_T1w", "a/sub-02_run-1_T1w", "a/sub-02_run-2_T1w"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(scans / "sub-00_T1w.nii.gz", tmp_path / f"{name}.nii.gz")
    listed = tmp_path / "list.csv"
    flags = ["--pairs", str(listed), "--bids", "--out", str(tmp_path / "out"), "--model", model, "--quiet"]
    flags += ["--workers", "1"]  # a second one would take longer to start than its pair
    one, two = "a/sub-02_run-1_T1w.nii.gz", "a/sub-02_run-2_T1w.nii.gz"
    listed.write_text(f"moving,fixed\na/sub-01_T1w.nii.gz,{one}\nb/sub-01_T1w.nii.gz,{one}\n")
    assert main(["register", *flags]) == 2
    assert "--bids: got one name for" in capsys.readouterr().err
    listed.write_text(f"moving,fixed\na/sub-01_T1w.nii.gz,{one}\na/sub-01_T1w.nii.gz,{two}\n")
    assert main(["register", *flags]) == 0
    assert len(list((tmp_path / "out" / "sub-01" / "anat").glob("*_desc-registered_T1w.nii.gz"))) == 2


def test_a_running_scheduler(scans, model, tmp_path, capsys, monkeypatch):
    from distributed import LocalCluster

    listed = cohort(scans, tmp_path / "list.csv", 2)
    monkeypatch.chdir(os.path.dirname(model))  # where the workers are not
    flags = ["--pairs", listed, "--model", os.path.basename(model), "--gpu", "-1", "--quiet"]
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        assert main(["register", *flags, "--out", str(tmp_path / "out"), "--scheduler", address]) == 0
    assert "2 of 2 pairs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--pairs", "LIST"], "--pairs: got no --out"),
        (["--pairs", "LIST", "--out", "OUT", "--moving", "a.nii"], "--pairs: got --moving beside it"),
        (
            ["--pairs", "LIST", "--out", "OUT", "--scheduler", "tcp://127.0.0.1:1"],
            "no answer from tcp://127.0.0.1:1",
        ),
        (["--pairs", "LIST", "--out", "OUT", "--scheduler", "nonsense://"], "--scheduler"),
        (["--pairs", "LIST", "--out", "OUT", "--workers", "0"], "--workers: got 0"),
        (["--pairs", "LIST", "--out", "OUT", "--warp", "w.nii.gz"], "--pairs: got --warp beside it"),
        (["--pairs", "LIST", "--out", "OUT", "--model", "nosuch"], "--model: got nosuch"),
        (["--pairs", "LIST", "--out", "LIST"], "--out: got the file"),
        (["--moving", "a.nii.gz"], "--fixed: got nothing"),
        (["--moving", "a.nii.gz", "--fixed", "b.nii.gz"], "--moved: got nothing"),
        (["--bids", "--moving", "a.nii.gz", "--fixed", "b.nii.gz"], "--bids: got no --out"),
    ],
)
def test_what_cannot_be_done(scans, model, tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.setattr("bilevelmorph.registration.dask_workers.ANSWER_SECONDS", 1)
    names = {"LIST": cohort(scans, tmp_path / "list.csv", 2), "OUT": str(tmp_path / "out")}
    assert main(["register", "--model", model, *(names.get(f, f) for f in flags), "--quiet"]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "out").exists()
