"""The problems, in terms that every library fills in: data in NumPy, losses by a few functions of arrays.

The losses are functions of (functions, data, outer, inner). `functions` has `sum`, `mean`, `sigmoid`,
`softplus` and `logsumexp` (along the rows) of one library, `data` its arrays. All arrays are matrices in
float64, so that ``@`` and arithmetic are the same in all libraries.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Loss = Callable[[Any, dict[str, Any], Any, Any], Any]
# Added to every penalty, so that no inner problem is worse conditioned than gradient descent can stand.
FLOOR = 0.01


class Problem(NamedTuple):
    """Data and losses; `curvature` bounds the Hessian of the inner loss, wherever the outer variables are."""

    data: dict[str, np.ndarray]
    inner_loss: Loss
    outer_loss: Loss
    inner_start: np.ndarray
    outer_start: np.ndarray
    curvature: float
    # Outer loss at the solution, where it is known in closed form.
    lowest: float | None = None


def quadratic_inner(f: Any, data: dict[str, Any], outer: Any, w: Any) -> Any:
    return f.sum(w * (data["bend"] @ w)) / 2 - f.sum(w * (data["coupling"] @ outer))


def quadratic_outer(f: Any, data: dict[str, Any], outer: Any, w: Any) -> Any:
    return f.mean((w - data["target"]) ** 2) / 2 + f.mean(outer**2) / 20


def penalty(f: Any, outer: Any, w: Any) -> Any:
    """Of every feature its own, between `FLOOR` and 1 more."""
    return f.sum((FLOOR + f.sigmoid(outer)) * w**2) / 2


def ridge_inner(f: Any, data: dict[str, Any], outer: Any, w: Any) -> Any:
    return f.mean((data["x"] @ w - data["y"]) ** 2) / 2 + penalty(f, outer, w)


def ridge_outer(f: Any, data: dict[str, Any], outer: Any, w: Any) -> Any:
    return f.mean((data["held_x"] @ w - data["held_y"]) ** 2) / 2


def logistic_inner(f: Any, data: dict[str, Any], outer: Any, w: Any) -> Any:
    return f.mean(f.softplus(-data["y"] * (data["x"] @ w))) + penalty(f, outer, w)


def logistic_outer(f: Any, data: dict[str, Any], outer: Any, w: Any) -> Any:
    return f.mean(f.softplus(-data["held_y"] * (data["held_x"] @ w)))


def cross_entropy(f: Any, data: dict[str, Any], part: str, w: Any) -> Any:
    """Of every sample."""
    scores = data[f"{part}x"] @ w
    return f.logsumexp(scores) - (data[f"{part}y"] * scores) @ data["ones"]


def cleaning_inner(f: Any, data: dict[str, Any], outer: Any, w: Any) -> Any:
    return f.mean(f.sigmoid(outer) * cross_entropy(f, data, "", w)) + FLOOR * f.sum(w**2) / 2


def cleaning_outer(f: Any, data: dict[str, Any], outer: Any, w: Any) -> Any:
    return f.mean(cross_entropy(f, data, "held_", w))


LOSSES: dict[str, tuple[Loss, Loss]] = {
    "quadratic": (quadratic_inner, quadratic_outer),
    "ridge": (ridge_inner, ridge_outer),
    "logistic": (logistic_inner, logistic_outer),
    "cleaning": (cleaning_inner, cleaning_outer),
}


def quadratic() -> Problem:
    """100 inner and 20 outer variables, condition number 10, solved in closed form."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(100, 100)))
    bend, coupling = basis * np.geomspace(0.1, 1, 100) @ basis.T, rng.normal(size=(100, 20)) / 10
    target = rng.normal(size=(100, 1))
    # At the minimum of the inner loss w = reach @ outer: a ridge regression of the outer variables.
    reach = np.linalg.solve(bend, coupling)
    best = np.linalg.solve(reach.T @ reach / 100 + np.eye(20) / 200, reach.T @ target / 100)
    lowest = np.mean((reach @ best - target) ** 2) / 2 + np.mean(best**2) / 20
    data = {"bend": bend, "coupling": coupling, "target": target}
    starts = np.zeros((100, 1)), np.zeros((20, 1))
    return Problem(data, *LOSSES["quadratic"], *starts, 1.0, float(lowest))


def ridge() -> Problem:
    """Diabetes: 10 features, their squares and products, a penalty for each of the 65."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    left, right = np.triu_indices(x.shape[1])
    x = standard(np.hstack([x, standard(x)[:, left] * standard(x)[:, right]]))
    data = split(x, standard(y[:, None]), 220, 222)
    starts = np.zeros((65, 1)), np.zeros((65, 1))
    return Problem(data, *LOSSES["ridge"], *starts, largest(data["x"]) + FLOOR + 1)


def logistic() -> Problem:
    """Breast cancer: a penalty for each of the 30 features of a logistic regression."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    data = split(standard(x), 2.0 * y[:, None] - 1, 284, 285)
    starts = np.zeros((30, 1)), np.zeros((30, 1))
    return Problem(data, *LOSSES["logistic"], *starts, largest(data["x"]) / 4 + FLOOR + 1)


def cleaning(corrupted: int) -> Problem:
    """Digits: a weight for each of 1,000 training samples, of which many have another label than theirs."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = np.hstack([x / 16, np.ones((len(x), 1))])
    data = split(x, np.eye(10)[y], 1000, 300)
    rng = np.random.default_rng(corrupted)
    wrong = rng.permutation(1000) < 10 * corrupted
    shifted = (data["y"].argmax(1) + rng.integers(1, 10, 1000)) % 10
    data["y"] = np.where(wrong[:, None], np.eye(10)[shifted], data["y"])
    data["ones"] = np.ones((10, 1))
    starts = np.zeros((65, 10)), np.zeros((1000, 1))
    return Problem(data, *LOSSES["cleaning"], *starts, largest(data["x"]) / 2 + FLOOR)


def standard(x: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and variance 1."""
    return (x - x.mean(0)) / x.std(0)


def split(x: np.ndarray, y: np.ndarray, train: int, held: int) -> dict[str, np.ndarray]:
    """Training samples, those of the outer loss, and the rest for a test."""
    order = np.random.default_rng(0).permutation(len(x))
    parts = np.split(order, [train, train + held])
    named = zip(("", "held_", "test_"), parts, strict=True)
    return {f"{part}{k}": v[i] for part, i in named for k, v in (("x", x), ("y", y))}


def largest(x: np.ndarray) -> float:
    """The largest eigenvalue of the mean of ``x x^T``."""
    return float(np.linalg.eigvalsh(x.T @ x)[-1]) / len(x)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "quadratic": quadratic,
    "ridge": ridge,
    "logistic": logistic,
    **{f"cleaning-{share}": partial(cleaning, share) for share in (50, 70, 90)},
}


def save(name: str, path: Path) -> Problem:
    """Make a problem and save its data, for environments without scikit-learn."""
    problem = PROBLEMS[name]()
    path.parent.mkdir(parents=True, exist_ok=True)
    lowest = np.nan if problem.lowest is None else problem.lowest
    starts = {"inner_start": problem.inner_start, "outer_start": problem.outer_start}
    numbers = {"curvature": problem.curvature, "lowest": lowest}
    np.savez(path, **starts, **numbers, **{f"data {key}": x for key, x in problem.data.items()})
    return problem


def load(path: Path) -> Problem:
    """The problem that `save` wrote to ``NAME.npz``."""
    with np.load(path) as file:
        data = {key.removeprefix("data "): file[key] for key in file if key.startswith("data ")}
        starts = file["inner_start"], file["outer_start"]
        lowest = None if np.isnan(file["lowest"]) else float(file["lowest"])
        return Problem(data, *LOSSES[path.stem.partition("-")[0]], *starts, float(file["curvature"]), lowest)
