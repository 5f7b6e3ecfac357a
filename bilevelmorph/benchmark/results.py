"""Writes the results of a benchmark: tables, figures and the page."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bilevelmorph.benchmark.look import slices
from bilevelmorph.benchmark.method import OURS, Method
from bilevelmorph.benchmark.prepared_case import PreparedCase
from bilevelmorph.benchmark.run import BenchmarkPlan, look_path
from bilevelmorph.benchmark.summary import (
    HEADINGS,
    SCORES,
    cells_of,
    main_score,
    markdown,
    number,
    summarise_benchmark,
)
from bilevelmorph.data.geometry import warp_volume
from bilevelmorph.data.volume import Volume
from bilevelmorph.io.atomic import atomic_path
from bilevelmorph.io.csv import write_csv
from bilevelmorph.io.json import write_json
from bilevelmorph.report.benchmark_figures import box_figure, evolution_figure, panel_figure, speed_figure
from bilevelmorph.report.benchmark_page import write_benchmark_page
from bilevelmorph.report.registration_view import registration_view


def write_benchmark(
    plan: BenchmarkPlan, rows: Sequence[Mapping[str, Any]], title: str, names: Mapping[int, str], command: str
) -> str:
    """Write ``table.csv``, ``table.json``, ``table.md``, ``figures`` and ``report.html``.

    Args:
        plan: What was compared.
        rows: Rows of `run_benchmark`.
        title: Title of the page.
        names: Names of the labels.
        command: The command that made it.

    Returns:
        The table in Markdown.
    """
    methods = [method.name for method in plan.methods]
    summary = summarise_benchmark(rows, methods)
    facts = {"command": command, **_machine(), **plan.settings, "pairs": len(plan.pairs)}
    facts["date"] = datetime.date.today().isoformat()
    headings, lines = cells_of(summary)
    text = markdown(headings, lines)
    flat = [{k: v for k, v in row.items() if k != "failed"} for row in summary]
    write_csv(plan.out / "table.csv", flat)
    write_json(plan.out / "table.json", {**facts, "methods": summary})
    with atomic_path(plan.out / "table.md") as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
    key = main_score(rows)
    chosen = _chosen(rows, methods[0], key)
    figures = _draw(plan, rows, summary, names, chosen)
    versions = {row["method"]: row["versions"] for row in summary}
    descriptions = {m.name: f"{_described(m)} ({versions[m.name] or 'not run'})" for m in plan.methods}
    page = plan.out / "report.html"
    view = _view(plan, chosen)
    write_benchmark_page(page, title, headings, lines, figures, facts, descriptions, view)
    return text


def _draw(
    plan: BenchmarkPlan,
    rows: Sequence[Mapping[str, Any]],
    summary: Sequence[Mapping[str, Any]],
    names: Mapping[int, str],
    chosen: Mapping[str, int],
) -> list[tuple[str, bytes]]:
    """Draw all figures; their captions and contents."""
    folder, key = plan.out / "figures", main_score(rows)
    folder.mkdir(exist_ok=True)
    drawn = []
    by_label = _by_label(rows, [m.name for m in plan.methods], names)
    if by_label:
        box_figure(folder / "structures.png", by_label)
        drawn.append(("Overlap by structure", "structures.png"))
    if any(key in row for row in summary):
        speed_figure(folder / "speed.png", summary, key, HEADINGS[key].split(" (")[0])
        drawn.append(("Speed and accuracy", "speed.png"))
    for which, number_of_pair in chosen.items():
        looks = {m.name: look_path(plan.out, m.name, number_of_pair) for m in plan.methods}
        found = {name: dict(np.load(path)) for name, path in looks.items() if path.is_file()}
        if found:
            pair = plan.pairs[number_of_pair]
            caption = f"{which} pair of {plan.methods[0].name}: {pair.moving.name} to {pair.fixed.name}"
            panel_figure(folder / f"{which}.png", found, caption)
            drawn.append((caption.capitalize(), f"{which}.png"))
    ours = [m for m in plan.methods if m.adapter == OURS and m.setting != "none:fast"]
    if ours and "median" in chosen:
        pair = plan.pairs[chosen["median"]]
        caption = f"How {ours[0].name} gets there: {pair.moving.name} to {pair.fixed.name}"
        _draw_evolution(
            folder / "evolution.png", ours[0], PreparedCase.of(pair, plan.shape, plan.start), caption
        )
        drawn.append((caption, "evolution.png"))
    return [(caption, (folder / name).read_bytes()) for caption, name in drawn]


def _draw_evolution(path: Path, method: Method, case: PreparedCase, title: str) -> None:
    """Draw the steps of one of our methods in the slice of the other figures."""
    from bilevelmorph.benchmark.adapters.bilevelmorph import registrar_of
    from bilevelmorph.registration.steps import steps_of

    pair, steps = steps_of(registrar_of(method.setting, case.needs_affine), case.moving, case.fixed)
    moving = Volume(pair.moving, pair.fixed.affine)
    names, looks = [], []
    for step in steps:
        moved = warp_volume(moving, step.displacement, pair.fixed.affine).data
        names.append(step.name)
        looks.append(slices(pair.fixed.data, {"fixed": pair.fixed.data, "moved": moved}, step.displacement))
    evolution_figure(path, dict(zip(names, looks, strict=True)), title)


def _view(plan: BenchmarkPlan, chosen: Mapping[str, int]) -> str:
    """HTML of the median pair of the first method in three dimensions, if it is of three dimensions."""
    path = look_path(plan.out, plan.methods[0].name, chosen.get("median", 0))
    if not path.is_file():
        return ""
    with np.load(path, allow_pickle=False) as look:
        if "fixed_volume" not in look.files:
            return ""
        volumes = {name: look[f"{name}_volume"] for name in ("fixed", "moving", "moved")}
        return registration_view(volumes, look["affine"], f"Median pair of {plan.methods[0].name}")


def _by_label(
    rows: Sequence[Mapping[str, Any]], methods: Sequence[str], names: Mapping[int, str]
) -> dict[str, dict[str, list[float]]]:
    """Dice over the pairs by method, by the name of the structure."""
    labels = sorted({int(k[5:]) for row in rows for k in row if k.startswith("dice_") and k[5:].isdigit()})
    out: dict[str, dict[str, list[float]]] = {}
    for label in labels:
        own = {m: [number(r.get(f"dice_{label}")) for r in rows if r["method"] == m] for m in methods}
        own = {m: [v for v in values if not np.isnan(v)] for m, values in own.items()}
        if any(own.values()):
            out[names.get(label, str(label))] = {m: values for m, values in own.items() if values}
    return out


def _chosen(rows: Sequence[Mapping[str, Any]], method: str, key: str) -> dict[str, int]:
    """The best, median and worst pair of a method."""
    own = [(number(r.get(key)), int(r["pair"])) for r in rows if r["method"] == method and not r["error"]]
    ordered = [pair for value, pair in sorted(own, reverse=SCORES[key]) if not np.isnan(value)]
    if not ordered:
        return {}
    return {"best": ordered[0], "median": ordered[len(ordered) // 2], "worst": ordered[-1]}


def _described(method: Method) -> str:
    if method.adapter != OURS:
        return method.description
    from bilevelmorph.models.bundled import bundled_models

    model, _, quality = method.setting.partition(":")
    if model == "none":
        return "our affine step alone" if quality == "fast" else "instance optimisation without a model"
    cards = bundled_models()
    what = cards[model].facts["summary"] if model in cards else "a model of yours"
    return f"{what}; quality {quality or 'balanced'}"


def _machine() -> dict[str, Any]:
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "machine": f"{name}, {os.cpu_count()} cores, {platform.system()}",
        "Python": platform.python_version(),
    }
