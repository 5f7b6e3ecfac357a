"""The report of a search: what was tried, what won, and why."""

from __future__ import annotations

import html
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bilevelmorph.autoreg.run import SearchResult, summary
from bilevelmorph.autoreg.trial import Candidate
from bilevelmorph.config import SearchConfig
from bilevelmorph.io.csv import read_rows
from bilevelmorph.networks.genotype import Genotype
from bilevelmorph.report.genotype_figure import genotype_figure
from bilevelmorph.report.html_page import picture, table, write_html
from bilevelmorph.report.trajectory_figure import logarithmic


def write_search_page(config: SearchConfig, result: SearchResult) -> Path:
    """Write ``report.html`` and drawings of the winner into the search's folder.

    Args:
        config: Configuration of the search.
        result: Result of the search.

    Returns:
        Path of the page.
    """
    folder = Path(config.budget.out)
    best = result.candidates[0]
    unit = "Dice" if result.labelled else "label-free score"
    command = html.escape(train_command(config, best.genotype))
    title = f"{best.name}: {unit} {best.score:.4f}, {best.ms:.0f} ms"
    for ending in ("svg", "png"):
        genotype_figure(folder / f"genotype.{ending}", best.genotype, title)
    parts = [
        f"<h1>Network search for {html.escape(str(config.scans.folder))}</h1>",
        f"<p>{_outcome(config, result, unit)}</p>",
        "<h2>The winner</h2>",
        picture((folder / "genotype.png").read_bytes(), "the winner's cells"),
        f"<p>Loss weights: {_weights(best)}. Train it in full with</p><pre>{command}</pre>",
        "<h2>Candidates</h2>",
        _table(result.candidates, unit),
        picture(_figure(_scatter, result, unit), "score against inference time"),
    ]
    rows = folder / "gradient" / "search.csv"
    if rows.is_file():
        drawn = _figure(_trajectories, read_rows(rows))
        parts += [
            "<h2>Gradient search</h2>",
            picture(drawn, "entropy, share of skips, loss weights"),
        ]
    write_html(folder / "report.html", "Search", parts)
    return folder / "report.html"


def _outcome(config: SearchConfig, result: SearchResult, unit: str) -> str:
    best, count = result.candidates[0], len(result.candidates)
    spent = "; ".join(f"{part} {seconds / 60:.1f} min" for part, seconds in result.seconds.items())
    steps, most = config.budget.trial_steps, config.architecture.target_ms
    text = f"{count} candidates, each trained for {steps} steps and scored on validation pairs "
    text += (
        f"({spent}). Best: <b>{html.escape(best.name)}</b>, {unit} {best.score:.4f}, {best.ms:.0f} ms a pair."
    )
    by_gradients = next((c for c in result.candidates if c.by_gradients), None)
    others = [c for c in result.candidates if not c.by_gradients]
    if by_gradients and others:
        ahead = by_gradients.score - others[0].score
        text += (
            f" The best of the gradient search, {by_gradients.name}, scores {by_gradients.score:.4f}, "
            f"the best of {len(others)} random candidates {others[0].score:.4f}: a difference of "
            f"{ahead:+.4f}, with {by_gradients.ms / others[0].ms:.2f} times the inference time."
        )
    limit = f" among candidates within {most:g} ms" if most else ""
    text += f" The highest score{limit} wins."
    return text


def _weights(candidate: Candidate) -> str:
    return ", ".join(f"{k} {v:.4g}" for k, v in candidate.weights.items())


def train_command(config: SearchConfig, genotype: Genotype | None = None) -> str:
    """The command that trains the winner in full.

    Args:
        config: Configuration of the search, whose grid and objective the training shares.
        genotype: Genotype of the winner; stages that it lacks get weight 0.

    >>> train_command(SearchConfig.of(data="scans", spacing=2.0)).split(" --")[1:4]
    ['data scans', 'spacing 2', 'genotype search/genotype.json']
    """
    folder, grid, objective = Path(config.budget.out), config.preprocessing, config.objective
    words: list[Any] = ["--data", config.scans.folder]
    words += ["--spacing", f"{grid.spacing:g}"] if grid.spacing else []
    words += ["--shape", *grid.shape] if grid.shape else []
    stages = [
        weight if genotype is None or 2**i in genotype.deformation else 0.0
        for i, weight in enumerate(objective.stage_weights, 1)
    ]
    words += ["--stage-weights", *stages] if stages else []
    words += ["--folding-weight", f"{objective.folding_weight:g}"] if objective.folding_weight else []
    words += ["--regularity", objective.regularity] if objective.regularity != "diffusion" else []
    words += ["--genotype", folder / "genotype.json", "--loss-weights", folder / "weights.json"]
    words += ["--image-loss", objective.image_loss, "--window", objective.window]
    words += ["--lr", f"{config.optimization.lr:g}"]
    words += ["--lr-schedule", "cosine", "--epochs", 40, "--model-dir", "MODELS"]
    return shlex.join(["bilevelmorph", "train", *map(str, words)])


def _table(candidates: Sequence[Candidate], unit: str) -> str:
    names = ("candidate", unit, "ms", "trial, s", "loss weights", "cells")
    rows = []
    for c in candidates:
        cells = f"{c.score:.4f}", f"{c.ms:.0f}", f"{c.seconds:.0f}", _weights(c)
        rows.append([html.escape(c.name), *cells, html.escape(summary(c.genotype))])
    return table(names, rows, ["best"])


def _figure(draw: Any, *arguments: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure, *arguments)
    with tempfile.NamedTemporaryFile(suffix=".png") as stream:
        figure.savefig(stream.name, dpi=110, format="png")
        return Path(stream.name).read_bytes()


def _scatter(figure: Any, result: SearchResult, unit: str) -> None:
    axis = figure.subplots()
    for c in result.candidates:
        own = c.by_gradients
        axis.plot(
            c.ms, c.score, "*" if own else "o", color="tab:red" if own else "tab:blue", ms=13 if own else 5
        )
    axis.set(xlabel="ms a pair, forward pass", ylabel=f"validation {unit}")
    axis.set_title("red: gradient search; blue: random candidates", fontsize=9)
    axis.grid(alpha=0.3)


def _trajectories(figure: Any, rows: Sequence[dict[str, str]]) -> None:
    epochs = [int(r["epoch"]) for r in rows]
    left, right = figure.subplots(1, 2)
    for name, label in (("entropy", "entropy of the choices"), ("skips", "share of skips"), ("cost", "cost")):
        left.plot(epochs, [float(r[name]) for r in rows], label=label)
    left.set(xlabel="epoch", ylim=(0, None))
    for name in (k for k in rows[0] if k.startswith("weight_")):
        values = np.array([float(r[name]) for r in rows])
        if (values > 0).all():
            right.plot(epochs, values, label=name.removeprefix("weight_"))
    right.set(xlabel="epoch", title="loss weights")
    logarithmic(right)
    for axis in (left, right):
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
