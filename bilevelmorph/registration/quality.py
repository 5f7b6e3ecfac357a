"""How much time a registration may take, as settings of instance optimisation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.errors import fail, one_of

QUALITIES = ("fast", "balanced", "best")
# Number of voxels from which "balanced" leaves out full resolution.
LARGE = 500_000


def descent_settings(
    quality: str = "best",
    settings: DescentConfig | str | Path | None = None,
    steps: int | Sequence[int] | None = None,
    similarity: str | Sequence[str] | None = None,
    own: Mapping[str, Any] | None = None,
) -> DescentConfig | None:
    """The settings of instance optimisation that a user asks for.

    Args:
        quality: ``"fast"`` for none; ``"balanced"`` and ``"best"`` for all levels, see `for_grid`.
        settings: Settings, or a file of them; by default those of the model.
        steps: Iterations, one number for every level or one per level; they take
            precedence over `quality`, and 0 is none.
        similarity: Similarities in place of those of the settings, of equal weight.
        own: Settings that a model carries.

    Returns:
        The settings, or None for no instance optimisation.

    Raises:
        InputError: There is no such quality, or the settings do not fit together.

    >>> descent_settings("fast"), descent_settings("fast", steps=20).iterations
    (None, (20, 20))
    """
    one_of("quality", quality, QUALITIES)
    if isinstance(settings, (str, Path)):
        settings = DescentConfig.load(settings)
    chosen = settings or DescentConfig.of(**(own or {}))
    if steps is not None:
        counts = (steps,) if isinstance(steps, int) else tuple(steps)
        if not counts:
            raise fail("instance_steps", "nothing", "one number, or one per level")
        chosen = chosen.with_iterations(counts)
    elif quality == "fast":
        return None
    if similarity:
        names = (similarity,) if isinstance(similarity, str) else tuple(similarity)
        chosen = chosen.with_(similarity=names, similarity_weights=(1.0,) * len(names))
    return None if chosen.idle else chosen


def for_grid(settings: DescentConfig, quality: str, shape: Sequence[int]) -> DescentConfig:
    """The settings for images of a size: ``"balanced"`` optimises large ones at coarse levels only.

    >>> for_grid(DescentConfig(), "balanced", (160, 192, 160)).levels
    (2,)
    >>> for_grid(DescentConfig(), "balanced", (48, 64, 48)).levels
    (2, 1)
    """
    return settings.only_coarse() if quality == "balanced" and math.prod(shape) > LARGE else settings
