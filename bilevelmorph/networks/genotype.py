"""The result of an architecture search, as a human-readable file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bilevelmorph.errors import fail, one_of
from bilevelmorph.io.json import read_json, write_json
from bilevelmorph.layers.mixed_op import OPERATIONS
from bilevelmorph.networks.limits import CHANNELS, LAYERS, REPEATS, SCALE, whole

VERSION = 2
INPUTS = ("features", "cost", "coarser")


@dataclass(frozen=True)
class Genotype:
    """The operations of a network's cells, and the inputs of each cell.

    Args:
        features: Operations of the layers of the F cell at each scale, from 2 on.
        deformation: Operations of the layers of the D cell at each scale that has one.
        inputs: Inputs of each D cell, from `INPUTS`; ``coarser``, the output of the next
            coarser D cell, is not available at the coarsest scale.
        filters: Channels of the cells at each scale.
        steps: Number of applications of each D cell.

    Raises:
        InputError: The parts are invalid or inconsistent.

    Reference: Fan et al., AutoReg, TIP 2023.

    >>> genotype = Genotype.uniform("conv3", scales=(4, 2), layers=2)
    >>> genotype.deformation[2]
    ('conv3', 'conv3')
    >>> Genotype.from_dict(genotype.to_dict()) == genotype
    True
    """

    features: Mapping[int, tuple[str, ...]]
    deformation: Mapping[int, tuple[str, ...]]
    inputs: Mapping[int, tuple[str, ...]]
    filters: Mapping[int, int]
    steps: Mapping[int, int]

    def __post_init__(self) -> None:
        self._check_cells()
        for name, most in (("filters", CHANNELS), ("steps", REPEATS)):
            for scale, count in getattr(self, name).items():
                whole(f"genotype, {name} at scale {scale}", count, most)

    def _check_cells(self) -> None:
        scales = sorted(self.features)
        whole("genotype, scale", max(scales, default=1), SCALE)
        if not scales or scales != [2 ** (k + 1) for k in range(len(scales))]:
            raise fail("genotype, features", f"scales {scales}", "2, 4, 8, ... without a gap")
        if not self.deformation or not set(self.deformation) <= set(scales):
            raise fail("genotype, deformation", f"scales {sorted(self.deformation)}", f"some of {scales}")
        for name in ("features", "deformation"):
            for scale, operations in getattr(self, name).items():
                if not 0 < len(operations) <= LAYERS:
                    came = f"{len(operations) or 'no'} layers"
                    raise fail(f"genotype, {name} at scale {scale}", came, f"from 1 to {LAYERS}")
                for operation in operations:
                    one_of(f"genotype, {name} at scale {scale}", operation, OPERATIONS)
        for name in ("inputs", "steps"):
            if set(getattr(self, name)) != set(self.deformation):
                came = f"scales {sorted(getattr(self, name))}"
                raise fail(f"genotype, {name}", came, f"{sorted(self.deformation)}")
        for scale, names in self.inputs.items():
            allowed = INPUTS if scale < max(self.deformation) else INPUTS[:2]
            for name in names:
                one_of(f"genotype, inputs at scale {scale}", name, allowed)
            if not names:
                raise fail(f"genotype, inputs at scale {scale}", "none", "at least one")
        if set(self.filters) != set(scales):
            raise fail("genotype, filters", f"scales {sorted(self.filters)}", f"{scales}")

    @classmethod
    def uniform(
        cls,
        operation: str,
        scales: Sequence[int] = (16, 8, 4, 2),
        layers: int = 3,
        filters: Mapping[int, int] | int = 16,
        steps: int = 1,
    ) -> Genotype:
        """Build a genotype with the same operation everywhere, such as All-3-Conv."""
        everywhere = [2 ** (k + 1) for k in range(max(scales).bit_length() - 1)]
        widths = dict.fromkeys(everywhere, filters) if isinstance(filters, int) else dict(filters)
        coarsest = max(scales)
        return cls(
            dict.fromkeys(everywhere, (operation,) * layers),
            dict.fromkeys(scales, (operation,) * layers),
            {s: INPUTS if s < coarsest else INPUTS[:2] for s in scales},
            widths,
            dict.fromkeys(scales, steps),
        )

    def to_dict(self) -> dict[str, Any]:
        """The dictionary that `save` writes."""
        parts = ("features", "deformation", "inputs", "filters", "steps")
        tables = {p: {str(s): getattr(self, p)[s] for s in sorted(getattr(self, p))} for p in parts}
        return {"version": VERSION, **tables}

    @classmethod
    def from_dict(cls, content: Any, what: str = "genotype") -> Genotype:
        """Restore a genotype from the output of `to_dict`.

        Raises:
            InputError: The content is not a genotype, or of another version.
        """
        if not isinstance(content, dict) or "version" not in content:
            raise fail(what, "no genotype", "a file that `bilevelmorph search` wrote")
        if content["version"] != VERSION:
            raise fail(what, f"version {content['version']}", f"version {VERSION}", "search again")
        try:
            lists: list[Any] = [
                {int(s): tuple(names) for s, names in content[part].items()}
                for part in ("features", "deformation", "inputs")
            ]
            counts = [{int(s): int(n) for s, n in content[part].items()} for part in ("filters", "steps")]
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            parts = "features, deformation, inputs, filters and steps by scale"
            raise fail(what, "another form", parts) from error
        return cls(*lists, *counts)

    def save(self, path: str | Path) -> None:
        """Write the genotype as JSON."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Genotype:
        """Read a genotype from JSON."""
        return cls.from_dict(read_json(path, "a genotype"), str(path))
