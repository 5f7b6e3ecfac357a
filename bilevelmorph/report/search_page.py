"""One page on a search: what was tried, what won, and why."""

from __future__ import annotations

import base64
import html
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bilevelmorph.report.genotype_figure import genotype_figure
from bilevelmorph.report.trajectories import logarithmic
from bilevelmorph.search.config import SearchConfig
from bilevelmorph.search.run import Result, summary
from bilevelmorph.search.trial import Candidate
from bilevelmorph.volumes.files import replacing
from bilevelmorph.volumes.tables import read_rows

_STYLE = (
    "body{font:15px/1.45 sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;font-size:13px}td,th{padding:.25em .7em;border-bottom:1px solid #ddd;"
    "text-align:right}td:first-child,td:last-child,th:first-child,th:last-child{text-align:left}"
    "tr.best{background:#eef6e8}img{max-width:100%}"
)


def write_search_page(config: SearchConfig, result: Result) -> Path:
    """Write ``report.html`` and drawings of the winner into the search's folder.

    Args:
        config: Of the search.
        result: Of it.

    Returns:
        The page's path.
    """
    folder = Path(config.model_dir)
    best = result.candidates[0]
    unit = "Dice" if result.labelled else "label-free score"
    command = html.escape(train_command(config))
    title = f"{best.name}: {unit} {best.score:.4f}, {best.ms:.0f} ms"
    for ending in ("svg", "png"):
        genotype_figure(folder / f"genotype.{ending}", best.genotype, title)
    parts = [
        f"<h1>Search of a network for {html.escape(str(config.data))}</h1>",
        f"<p>{_outcome(config, result, unit)}</p>",
        "<h2>The winner</h2>",
        _image((folder / "genotype.png").read_bytes(), "the winner's cells"),
        f"<p>Loss weights: {_weights(best)}. Train it in full with</p><pre>{command}</pre>",
        "<h2>What was tried</h2>",
        _table(result.candidates, unit),
        _image(_figure(_scatter, result, unit), "score against time"),
    ]
    rows = folder / "gradient" / "search.csv"
    if rows.is_file():
        drawn = _figure(_trajectories, read_rows(rows))
        parts += ["<h2>How the search went</h2>", _image(drawn, "entropy, share of skips, loss weights")]
    page = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>Search</title><style>{_STYLE}</style>'
    text = f'<!doctype html><html lang="en">{head}{page}</html>\n'
    with replacing(folder / "report.html") as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
    return folder / "report.html"


def _outcome(config: SearchConfig, result: Result, unit: str) -> str:
    best, count = result.candidates[0], len(result.candidates)
    spent = "; ".join(f"{part} {seconds / 60:.1f} min" for part, seconds in result.seconds.items())
    text = f"{count} candidates, each trained for {config.trial_steps} steps and scored on validation pairs "
    text += (
        f"({spent}). Best: <b>{html.escape(best.name)}</b>, {unit} {best.score:.4f}, {best.ms:.0f} ms a pair."
    )
    by_gradients = next((c for c in result.candidates if c.by_gradients), None)
    others = [c for c in result.candidates if not c.by_gradients]
    if by_gradients and others:
        ahead = by_gradients.score - others[0].score
        text += (
            f" Of the search by gradients {by_gradients.name} has {by_gradients.score:.4f}, "
            f"the best of {len(others)} random candidates {others[0].score:.4f}: a difference of "
            f"{ahead:+.4f}, at {by_gradients.ms / others[0].ms:.2f} times its time."
        )
    limit = f" of those that take {config.target_ms:g} ms at most" if config.target_ms else ""
    text += f" The highest score{limit} wins."
    return text


def _weights(candidate: Candidate) -> str:
    return ", ".join(f"{k} {v:.4g}" for k, v in candidate.weights.items())


def train_command(config: SearchConfig) -> str:
    """The line that trains the winner in full.

    Args:
        config: Of the search, whose grid and objective the training shares.

    >>> train_command(SearchConfig(data="scans", spacing=2.0)).split(" --")[1:4]
    ['data scans', 'spacing 2', 'genotype search/genotype.json']
    """
    folder = Path(config.model_dir)
    words: list[Any] = ["--data", config.data]
    words += ["--spacing", f"{config.spacing:g}"] if config.spacing else []
    words += ["--shape", *config.shape] if config.shape else []
    words += ["--stage-weights", *config.stage_weights] if config.stage_weights else []
    words += ["--folding-weight", f"{config.folding_weight:g}"] if config.folding_weight else []
    words += ["--genotype", folder / "genotype.json", "--loss-weights", folder / "weights.json"]
    words += ["--image-loss", config.image_loss, "--window", config.window, "--lr", f"{config.lr:g}"]
    words += ["--lr-schedule", "cosine", "--epochs", 40, "--model-dir", "MODELS"]
    return shlex.join(["bilevelmorph", "train", *map(str, words)])


def _table(candidates: Sequence[Candidate], unit: str) -> str:
    names = ("candidate", unit, "ms", "trial, s", "loss weights", "cells")
    lines = [f"<tr>{''.join(f'<th>{n}</th>' for n in names)}</tr>"]
    for i, c in enumerate(candidates):
        kind = ' class="best"' if i == 0 else ""
        cells = f"<td>{c.score:.4f}</td><td>{c.ms:.0f}</td><td>{c.seconds:.0f}</td><td>{_weights(c)}</td>"
        name, what = html.escape(c.name), html.escape(summary(c.genotype))
        lines.append(f"<tr{kind}><td>{name}</td>{cells}<td>{what}</td></tr>")
    return f"<table>{''.join(lines)}</table>"


def _image(content: bytes, what: str) -> str:
    return f'<p><img alt="{what}" src="data:image/png;base64,{base64.b64encode(content).decode()}"></p>'


def _figure(draw: Any, *arguments: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure, *arguments)
    with tempfile.NamedTemporaryFile(suffix=".png") as stream:
        figure.savefig(stream.name, dpi=110, format="png")
        return Path(stream.name).read_bytes()


def _scatter(figure: Any, result: Result, unit: str) -> None:
    axis = figure.subplots()
    for c in result.candidates:
        own = c.by_gradients
        axis.plot(
            c.ms, c.score, "*" if own else "o", color="tab:red" if own else "tab:blue", ms=13 if own else 5
        )
    axis.set(xlabel="ms a pair, forward pass", ylabel=f"validation {unit}")
    axis.set_title("red: tried by the search by gradients; blue: random candidates", fontsize=9)
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
