"""Opens the sources of a training run on a mixture: folders of scans and synthetic pairs."""

from __future__ import annotations

from typing import Any

from bilevelmorph.config import TrainingConfig
from bilevelmorph.datasets.decathlon import DecathlonDataset
from bilevelmorph.datasets.mixed_dataset import MixedPairDataset
from bilevelmorph.datasets.pair_dataset import PairDataset
from bilevelmorph.datasets.pairs import with_labels
from bilevelmorph.training.mean_validation import MeanValidation
from bilevelmorph.training.mix_source import SYNTHETIC, MixSource
from bilevelmorph.training.validation import Score, Validation


def open_mix(config: TrainingConfig) -> tuple[MixedPairDataset, Score | None]:
    """Open the sources that ``--mix`` names.

    Returns:
        The pairs, and the scoring on validation pairs if any folder has some with label maps.

    Raises:
        InputError: A source is malformed, or its folder cannot be read.
    """
    sources = [MixSource.parse(text) for text in config.scans.mix]
    shape, seed = tuple(config.preprocessing.shape or ()), config.device.seed
    opened: list[Any] = []
    scored: dict[str, Score] = {}
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
