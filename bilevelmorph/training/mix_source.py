"""One source of a mixture of training pairs, as it is written on the command line."""

from __future__ import annotations

from typing import NamedTuple

from bilevelmorph.errors import fail, positive

SYNTHETIC = "synthetic"


class MixSource(NamedTuple):
    """One source of a mixture.

    Attributes:
        place: A folder with a dataset.json, or ``"synthetic"``.
        spacing: Voxel size to which its scans are resampled, in millimetres; 0 keeps their own.
        weight: Relative frequency.

    >>> MixSource.parse("scans/brains@1.5=2"), MixSource.parse("synthetic").weight
    (MixSource(place='scans/brains', spacing=1.5, weight=2.0), 1.0)
    """

    place: str
    spacing: float = 0.0
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> MixSource:
        """Read ``PLACE[@MM][=WEIGHT]``.

        Raises:
            InputError: The spacing or the weight is no positive number.
        """
        place, weight = _cut(text, "=", 1.0)
        place, spacing = _cut(place, "@", 0.0)
        if not place or (place == SYNTHETIC and spacing):
            raise fail("mix", repr(text), "DIR, DIR@MM, DIR=WEIGHT, DIR@MM=WEIGHT or synthetic=WEIGHT")
        return cls(place, spacing, weight)


def _cut(text: str, mark: str, default: float) -> tuple[str, float]:
    """The text before the last mark and the number behind it."""
    place, found, number = text.rpartition(mark)
    if not found:
        return text, default
    try:
        value = float(number)
    except ValueError:
        return text, default  # the mark belongs to the name of the folder
    positive("mix", value)
    return place, value
