"""Whole benchmarks with real processes: methods that work, that fail in every way, and interruptions."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import time
from types import SimpleNamespace

import pytest

from bilevelmorph.benchmark.method import ADAPTERS, Method
from bilevelmorph.benchmark.prepared_case import PreparedCase
from bilevelmorph.benchmark.results import write_benchmark
from bilevelmorph.benchmark.run import BenchmarkPlan, run_benchmark
from bilevelmorph.benchmark.scores import read_displacement
from bilevelmorph.cli.main import main
from bilevelmorph.data.geometry import warp_volume
from bilevelmorph.errors import InputError
from bilevelmorph.io.csv import read_rows
from bilevelmorph.io.volumes import save_volume
from bilevelmorph.temporary import temporary_folder

NAMES = {1: "shell", 2: "core"}


def plan_of(pairs, out, *texts, **options):
    return BenchmarkPlan(pairs, [Method.of(text) for text in texts], [1, 2], out, **options)


def test_methods_take_turns_and_the_true_one_is_first(pairs, users_method, tmp_path):
    out = tmp_path / "out"
    plan = plan_of(pairs, out, str(users_method), "identity", "none:fast", both_directions=True)
    rows = run_benchmark(plan, quiet=True)
    assert [(r["method"], r["pair"]) for r in rows] == [
        (m.name, str(i)) for i in range(len(pairs)) for m in plan.methods
    ]
    assert all(r["error"] == "" for r in rows)
    by = {m.name: [r for r in rows if r["method"] == m.name] for m in plan.methods}
    assert all(r["dice"] == 1 for r in by[str(users_method)])
    assert all(r["dice"] < 0.9 for r in by["identity"])
    assert all(a["dice"] > b["dice"] for a, b in zip(by["none:fast"], by["identity"], strict=True))
    # The user's method shifts both directions to the same side; one voxel is 2 mm.
    assert all(r["inconsistency_mm"] == pytest.approx(8, rel=0.01) for r in by[str(users_method)])
    assert all(r["seconds"] > 0 and float(r["memory_mb"]) > 1 for r in rows)

    text = write_benchmark(plan, rows, "Boxes", NAMES, "bilevelmorph benchmark ...")
    assert f"| {users_method} | 3 | 1.000 (0.000) |" in text
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<img") == 5  # structures, speed; best, median and worst pair
    assert "core" in (out / "figures" / "structures.svg").read_text(encoding="utf-8") or page
    table = json.loads((out / "table.json").read_text(encoding="utf-8"))
    assert table["methods"][0]["dice"] == 1
    assert table["command"] == "bilevelmorph benchmark ..."
    assert len(read_rows(out / "table.csv")) == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("crash", "ended with exit status 7"),
        ("raise", "ValueError: it does not converge"),
        ("hang", "gave no result within 3 s"),
        ("small", "wrote a displacement of"),
        ("nan", "not finite"),
        ("none", "wrote no displacement"),
    ],
)
def test_a_failure_costs_its_own_row_only(pairs, users_method, tmp_path, setting, message):
    names = (f"{users_method}:{setting}", "identity")
    rows = run_benchmark(plan_of(pairs[:2], tmp_path / "out", *names, limit=3.0), quiet=True)
    broken = [r for r in rows if r["method"] == names[0]]
    assert [message in r["error"] for r in broken] == [True, True]
    assert all(r["error"] == "" and r["dice"] > 0 for r in rows if r["method"] == "identity")


def test_what_is_not_installed_says_so(pairs, users_method, tmp_path):
    text = users_method.read_text(encoding="utf-8").replace('("nibabel",)', '("no_such_module",)')
    users_method.write_text(text, encoding="utf-8")
    plan = plan_of(pairs[:1], tmp_path / "out", "identity", str(users_method))
    rows = run_benchmark(plan, quiet=True)
    assert rows[1]["error"] == "not installed"
    assert "0; failed: not installed (1)" in write_benchmark(plan, rows, "x", {}, "x")


def test_an_interrupted_run_goes_on(pairs, users_method, tmp_path):
    out = tmp_path / "out"
    names = (f"{users_method}:raise", "identity")
    first = run_benchmark(plan_of(pairs[:1], out, *names), quiet=True)
    text = users_method.read_text(encoding="utf-8").replace(
        'raise ValueError("it does not\\nconverge")', "pass"
    )
    users_method.write_text(text, encoding="utf-8")
    again = run_benchmark(plan_of(pairs, out, *names), quiet=True)
    done = {(r["method"], r["pair"]): r for r in again}
    assert len(done) == len(again) == 6
    # What was done is not done again; what failed is tried again.
    assert float(done["identity", "0"]["seconds"]) == first[1]["seconds"]
    assert all(r["error"] == "" for r in again)


def test_results_of_other_settings_are_not_mixed(pairs, tmp_path):
    plan = plan_of(pairs[:1], tmp_path / "out", "identity")
    run_benchmark(plan, quiet=True)
    for other in (
        dataclasses.replace(plan, shape=(28, 28, 24)),
        dataclasses.replace(plan, threads=2),
        dataclasses.replace(plan, pairs=pairs[1:2]),
    ):
        with pytest.raises(InputError, match="other pairs or settings"):
            run_benchmark(other, quiet=True)


def test_two_runs_do_not_write_to_one_folder(pairs, tmp_path):
    plan = plan_of(pairs[:1], tmp_path / "out", "identity")
    run_benchmark(plan, quiet=True)
    with temporary_folder(parent=plan.out), pytest.raises(InputError, match="another run is writing"):
        run_benchmark(plan, quiet=True)
    assert run_benchmark(plan, quiet=True)[0]["error"] == ""


def test_programs_of_a_method_end_with_it(pairs, users_method, tmp_path):
    text = users_method.read_text(encoding="utf-8")
    child = 'import subprocess, pathlib\n    c = subprocess.Popen(["sleep", "600"])\n    '
    child += f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(c.pid))\n    setting, shape"
    users_method.write_text(text.replace("setting, shape", child, 1), encoding="utf-8")
    run_benchmark(plan_of(pairs[:1], tmp_path / "out", f"{users_method}:hang", limit=3.0), quiet=True)
    process = int((tmp_path / "pid").read_text(encoding="utf-8"))
    for _ in range(50):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a program outlived its method")


def test_labels_of_ants_are_those_that_ants_warps_itself(pairs, tmp_path):
    """Its displacement, read by us, is the map that it applies: oblique directions, units, order of steps."""
    ants = pytest.importorskip("ants")
    case = PreparedCase.of(pairs[0])
    told = case.write(tmp_path)
    spec = importlib.util.spec_from_file_location("_ants_adapter", ADAPTERS / "ants.py")
    adapter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(adapter)
    prepared = adapter.prepare(SimpleNamespace(**told, setting="default", threads=1))
    result = adapter.register(prepared)
    save_volume(tmp_path / "seg.nii", case.moving_labels)
    seg = ants.image_read(str(tmp_path / "seg.nii"))
    theirs = ants.apply_transforms(
        prepared[1], seg, result["fwdtransforms"], interpolator="nearestNeighbor"
    ).numpy()
    adapter.save(prepared, result, str(tmp_path / "out"))
    ours = warp_volume(
        case.moving_labels, read_displacement(str(tmp_path / "out"), case.fixed), case.fixed.affine
    )
    assert (ours.data != theirs).mean() < 2e-3
    assert (case.moving_labels.data != theirs).mean() > 2e-2


def test_the_command(scans, users_method, tmp_path, capsys):
    line = ["benchmark", "--data", str(scans), "--limit", "1", "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*line, "--methods", "identity", str(users_method), "--threads", "1"]) == 0
    assert "report.html" in capsys.readouterr().out
    assert main([*line, "--methods", "identity", f"{users_method}:raise", "--threads", "1"]) == 1
