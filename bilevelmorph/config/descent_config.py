"""The settings of instance optimisation."""

from __future__ import annotations

from dataclasses import dataclass

from bilevelmorph.config.codec import Table
from bilevelmorph.errors import fail, positive


@dataclass(frozen=True)
class DescentConfig(Table):
    """Settings of the descent that refines the displacement of a pair.

    Raises:
        InputError: A number is out of range, or lists do not fit together.

    >>> DescentConfig().only_coarse().levels
    (2,)
    """

    levels: tuple[int, ...] = (2, 1)
    """Factors by which the grid is coarser, from coarse to fine."""
    iterations: tuple[int, ...] = (60, 30)
    """Largest number of iterations at each level."""
    step: float = 1.0
    """Largest move of an iteration, in voxels of the level."""
    update_sigma: float = 1.2
    """Standard deviation of the smoothing of each update, in voxels of the level."""
    warp_sigma: float = 0.5
    """Standard deviation of the smoothing of the displacement after each update, in voxels of the level."""
    similarity: tuple[str, ...] = ("ncc",)
    """Similarities: ncc, mse, mind, nmi, or your own as package.module:Name; several are added."""
    similarity_weights: tuple[float, ...] = (1.0,)
    """Weight of each similarity."""
    window: float = 5
    """Window width of ncc, in voxels of the level; between odd numbers, outermost voxels count in part."""
    regularity: str = "diffusion"
    """Regulariser of the displacement: diffusion, bending, or your own as package.module:name."""
    regularity_weight: float = 0.0
    """Weight of the regulariser."""
    symmetric: bool = False
    """Move both images half-way, so that exchanging them inverts the displacement."""
    tolerance: float = 1e-4
    """Relative gain of the objective that counts."""
    patience: int = 10
    """Iterations without such a gain after which a level ends."""

    def __post_init__(self) -> None:
        if not self.levels or list(self.levels) != sorted(set(self.levels), reverse=True):
            raise fail("levels", list(self.levels), "falling factors, such as 4 2 1")
        for level in self.levels:
            positive("levels", level, whole=True)
        if len(self.iterations) != len(self.levels):
            came, wanted = f"{len(self.iterations)} numbers", f"{len(self.levels)}, one per level"
            raise fail("iterations", came, wanted)
        for count in self.iterations:
            positive("iterations", count, zero=True, whole=True)
        for name in ("step", "window", "patience"):
            positive(name, getattr(self, name), whole=name == "patience")
        if self.window < 1:
            raise fail("window", self.window, "at least 1 voxel")
        for name in ("update_sigma", "warp_sigma", "regularity_weight", "tolerance"):
            positive(name, getattr(self, name), zero=True)
        if not self.similarity:
            raise fail("similarity", "none", "at least one")
        if len(self.similarity_weights) != len(self.similarity):
            came = f"{len(self.similarity_weights)} weights for {len(self.similarity)} similarities"
            raise fail("similarity_weights", came, "one for each")
        for weight in self.similarity_weights:
            positive("similarity_weights", weight, zero=True)
        if not any(self.similarity_weights):
            raise fail("similarity_weights", "only zeros", "at least one above 0")

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not any(self.iterations)

    def only_coarse(self) -> DescentConfig:
        """The same without the level of full resolution, if there are others."""
        kept = [(s, n) for s, n in zip(self.levels, self.iterations, strict=True) if s > 1]
        if not kept:
            return self
        return self.with_(levels=[s for s, _ in kept], iterations=[n for _, n in kept])

    def with_iterations(self, counts: tuple[int, ...]) -> DescentConfig:
        """The same with other numbers of iterations: one for every level, or one per level.

        Raises:
            InputError: The numbers do not fit the levels.

        >>> DescentConfig().with_iterations((5,)).iterations
        (5, 5)
        """
        counts = counts * len(self.levels) if len(counts) == 1 else counts
        if len(counts) != len(self.levels):
            wanted = f"1, or {len(self.levels)} for the levels {' '.join(map(str, self.levels))}"
            raise fail("instance_steps", f"{len(counts)} numbers", wanted)
        for count in counts:
            positive("instance_steps", count, zero=True, whole=True)
        return self.with_(iterations=counts)
