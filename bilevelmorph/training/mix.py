"""Opens the sources of a training run on a mixture: folders of scans and synthetic pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bilevelmorph.config import TrainingConfig
from bilevelmorph.datasets.decathlon import DecathlonDataset
from bilevelmorph.datasets.mixed_dataset import MixedPairDataset
from bilevelmorph.datasets.pair_dataset import PairDataset
from bilevelmorph.datasets.pairs import with_labels
from bilevelmorph.errors import fail, positive
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.training.validation import Validation

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


class MeanValidation:
    """Scores a network on the validation pairs of several folders.

    Args:
        parts: Name and scoring of each folder.

    >>> class Fixed:
    ...     def __init__(self, dice):
    ...         self.dice = dice
    ...
    ...     def __call__(self, network):
    ...         return {"val_dice": self.dice, "val_folding": 0.0}
    >>> MeanValidation([("brains", Fixed(0.7)), ("mice", Fixed(0.8))])(None)
    {'val_dice_brains': 0.7, 'val_dice_mice': 0.8, 'val_dice': 0.75, 'val_folding': 0.0}
    """

    def __init__(self, parts: Sequence[tuple[str, Any]]) -> None:
        self.parts = list(parts)

    def __call__(self, network: RegistrationNetwork) -> dict[str, float]:
        """Compute the mean over folders of Dice and folding, and the Dice of each folder."""
        scores = {name: score(network) for name, score in self.parts}
        single = {f"val_dice_{name}": values["val_dice"] for name, values in scores.items()}
        mean = {k: float(np.mean([v[k] for v in scores.values()])) for k in ("val_dice", "val_folding")}
        return {**single, **mean}


def open_mix(config: TrainingConfig) -> tuple[MixedPairDataset, MeanValidation | None]:
    """Open the sources that ``--mix`` names.

    Returns:
        The pairs, and the scoring on validation pairs if any folder has some with label maps.

    Raises:
        InputError: A source is malformed, or its folder cannot be read.
    """
    sources = [MixSource.parse(text) for text in config.scans.mix]
    shape, seed = tuple(config.preprocessing.shape or ()), config.device.seed
    opened: list[Any] = []
    scored: dict[str, Validation] = {}
    for index, source in enumerate(sources):
        if source.place == SYNTHETIC:
            from bilevelmorph.datasets.synthetic import SyntheticPairDataset

            opened.append(SyntheticPairDataset(shape, seed, target="anatomy"))
            continue
        folder = DecathlonDataset.open(source.place)
        pairs = PairDataset(
            folder.subjects("train"),
            folder.pairs("train"),
            shape=shape,
            percentiles=config.preprocessing.percentiles,
            spacing=source.spacing,
            seed=seed + index,
            random_crop=config.augmentation.augment_crop,
        )
        opened.append(pairs)
        if folder.name not in scored and config.validation.val_pairs and folder.has_pairs("val"):
            chosen = folder.pairs("val")[: config.validation.val_pairs]
            if any(s.labels is not None for pair in chosen for s in (pair.moving, pair.fixed)):
                whole = PairDataset(
                    pairs=chosen, percentiles=config.preprocessing.percentiles, spacing=source.spacing
                )
                scored[folder.name] = Validation(
                    whole, with_labels(chosen, "validation"), folder.labels or None
                )
    mixed = MixedPairDataset(opened, [source.weight for source in sources], seed)
    return mixed, MeanValidation(list(scored.items())) if scored else None
