"""The table of a benchmark: means over pairs, and paired differences to the first method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bilevelmorph.benchmark.statistics import paired_differences

# Scores of a table, in its order, and whether a larger value is better.
SCORES = {
    "dice": True,
    "hd95_mm": False,
    "tre_mm": False,
    "folding_percent": False,
    "log_jacobian_sd": False,
    "inconsistency_mm": False,
    "seconds": False,
    "memory_mb": False,
}
HEADINGS = {
    "method": "method",
    "pairs": "pairs",
    "dice": "Dice (s.d.)",
    "hd95_mm": "HD95, mm",
    "tre_mm": "TRE, mm",
    "folding_percent": "folding, %",
    "log_jacobian_sd": "s.d. of log J",
    "inconsistency_mm": "inconsistency, mm",
    "seconds": "s, median",
    "memory_mb": "peak, MB",
    "difference": "difference [95 %], p",
}


def summarise_benchmark(
    rows: Sequence[Mapping[str, Any]], methods: Sequence[str], seed: int = 0
) -> list[dict[str, Any]]:
    """One row for each method.

    Args:
        rows: Rows of `run_benchmark`.
        methods: The methods in the order of the table; the first is the one that others are compared with.
        seed: Seed of the bootstrap.

    Returns:
        ``method``; ``pairs``, the number of those that succeeded; for each score its mean and, as
        ``SCORE_sd``, its standard deviation (of ``seconds`` the median, of ``memory_mb`` the maximum);
        ``difference``, ``difference_low``, ``difference_high`` and ``p`` in the main score, see
        `main_score`, over the pairs that both methods registered; ``versions``; and ``failed``, the
        number of pairs that failed by the reason.

    >>> rows = [{"method": "a", "pair": "0", "dice": "0.5", "error": ""}]
    >>> found = summarise_benchmark(rows, ["a"])[0]
    >>> found["pairs"], found["dice"], found["failed"]
    (1, 0.5, {})
    """
    key, pairs = main_score(rows), sorted({int(row["pair"]) for row in rows})
    by_method = {name: {int(r["pair"]): r for r in rows if r["method"] == name} for name in methods}
    scores = {
        name: [number(own[p].get(key)) if p in own else np.nan for p in pairs]
        for name, own in by_method.items()
    }
    differences = paired_differences(scores, methods[0], seed)
    out = []
    for name, own in by_method.items():
        done = [row for row in own.values() if not row["error"]]
        found: dict[str, Any] = {"method": name, "pairs": len(done)}
        for score in SCORES:
            values = np.array([number(row.get(score)) for row in done])
            values = values[~np.isnan(values)]
            if not len(values):
                continue
            if score == "seconds":
                found[score] = float(np.median(values))
            elif score == "memory_mb":
                found[score] = float(values.max())
            else:
                found[score] = float(values.mean())
                found[f"{score}_sd"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        if name in differences:
            apart = differences[name]
            found |= {"difference": apart.mean, "difference_low": apart.low, "difference_high": apart.high}
            found |= {"p": apart.p, "common_pairs": apart.pairs}
        found["versions"] = next((row["versions"] for row in done if row.get("versions")), "")
        failed: dict[str, int] = {}
        for row in own.values():
            if row["error"]:
                failed[row["error"]] = failed.get(row["error"], 0) + 1
        out.append({**found, "failed": failed})
    return out


def main_score(rows: Sequence[Mapping[str, Any]]) -> str:
    """The score by which methods are compared: ``dice``, or ``tre_mm`` where there are no label maps."""
    return "dice" if any(not np.isnan(number(row.get("dice"))) for row in rows) else "tre_mm"


def cells_of(summary: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The table as text.

    Returns:
        The headings, and the cells of each method. Columns that no method has are left out.

    >>> cells_of([{"method": "a", "pairs": 2, "dice": 0.5, "dice_sd": 0.1, "failed": {}}])
    (['method', 'pairs', 'Dice (s.d.)'], [['a', '2', '0.500 (0.100)']])
    """
    keys = [key for key in HEADINGS if any(key in row for row in summary)]
    lines = []
    for row in summary:
        line = []
        for key in keys:
            if key == "pairs" and row["failed"]:
                reasons = "; ".join(f"{reason} ({count})" for reason, count in row["failed"].items())
                line.append(f"{row[key]}; failed: {reasons}")
            elif key not in row:
                line.append("")
            elif key == "difference":
                low, high = row["difference_low"], row["difference_high"]
                line.append(f"{row[key]:+.3f} [{low:+.3f}, {high:+.3f}], {row['p']:.2g}")
            else:
                line.append(_text(key, row))
        lines.append(line)
    return [HEADINGS[key] for key in keys], lines


def markdown(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    >>> print(markdown(["a"], [["1"]]), end="")
    | a |
    |---|
    | 1 |
    """
    rows = [headings, ["---"] * len(headings), *lines]
    texts = ["|" + "|".join(cell if cell == "---" else f" {cell} " for cell in row) + "|" for row in rows]
    return "\n".join(texts) + "\n"


def number(value: Any) -> float:
    """A cell of a CSV file as a number, NaN if it is none.

    >>> number("0.5"), number(None)
    (0.5, nan)
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _text(key: str, row: Mapping[str, Any]) -> str:
    value = row[key]
    if key in ("method", "pairs"):
        return str(value)
    if key == "dice":
        return f"{value:.3f} ({row['dice_sd']:.3f})"
    return (
        f"{value:.0f}"
        if key == "memory_mb"
        else f"{value:.4f}"
        if key == "folding_percent"
        else f"{value:.2f}"
    )
