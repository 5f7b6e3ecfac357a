"""The result of instance optimisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bilevelmorph.registration.level_report import LevelReport


@dataclass
class Refinement:
    """A refined displacement.

    Attributes:
        displacement: ``[*S, N]`` float32, voxels.
        levels: One `LevelReport` for each level.
        inverse: The inverse displacement, if requested.

    >>> Refinement(np.zeros([8, 8, 2]), [LevelReport(1, 9, 0.8, 0.7, 0.1, broken="ncc")]).warnings
    ['instance optimisation stopped at level 1/1 because ncc was not finite']
    """

    displacement: np.ndarray
    levels: list[LevelReport]
    inverse: np.ndarray | None = None

    @property
    def warnings(self) -> list[str]:
        """What a user should know."""
        text = "instance optimisation stopped at level 1/{} because {} was not finite"
        return [text.format(r.level, r.broken) for r in self.levels if r.broken]
