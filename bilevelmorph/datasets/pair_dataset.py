"""Pairs of prepared arrays for training: seeded, cached, and restartable at any step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bilevelmorph.data.geometry import onto, resample_to_spacing, transform_points
from bilevelmorph.data.preprocessing import PERCENTILES, crop_or_pad, normalise, to_canonical
from bilevelmorph.data.volume import Volume
from bilevelmorph.datasets.array_cache import ArrayCache
from bilevelmorph.datasets.landmarks import landmarks_of
from bilevelmorph.datasets.pairs import Pair, Subject
from bilevelmorph.errors import fail
from bilevelmorph.io.volumes import load_channels, load_volume


class PairDataset:
    """Draws the pair of each training step from the seed and the step number alone.

    Args:
        subjects: Scans to pair at random (all ordered pairs).
        pairs: Fixed pairs to draw from, instead of `subjects`.
        shape: Grid that every scan is cropped or padded to; None takes the largest size
            along each axis, rounded up to a multiple of 16.
        percentiles: Percentiles of the intensity normalisation.
        spacing: Isotropic voxel size in millimetres to which scans are resampled; 0 keeps their own.
        atlas: A scan that is the fixed image of every pair.
        seed: Random seed.
        multichannel: The last axis of every file holds channels.
        labels: Label values whose one-hot maps are included in batches; none by default.
        points: Include landmarks in batches.
        random_crop: Crop the images of batches at random, both of a pair at the same place, where
            they are larger than `shape`; by default the centre is kept. Not for labels and points.

    Raises:
        InputError: There are too few scans, or a scan cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     scans = [Subject(Path(folder, name)) for name in ("a.npy", "b.npy", "c.npy")]
    ...     for scan in scans:
    ...         np.save(scan.image, np.eye(9))
    ...     source = PairDataset(scans)
    >>> source.shape, source.draw(step=7) == source.draw(step=7)
    ((16, 16), True)
    """

    def __init__(
        self,
        subjects: Sequence[Subject] = (),
        pairs: Sequence[Pair] = (),
        shape: Sequence[int] | None = None,
        percentiles: Sequence[float] = PERCENTILES,
        atlas: Subject | None = None,
        seed: int = 0,
        multichannel: bool = False,
        labels: Sequence[int] = (),
        points: bool = False,
        spacing: float = 0.0,
        random_crop: bool = False,
    ) -> None:
        self.subjects = list(subjects)
        if atlas is not None:
            pairs = [Pair(s, atlas) for s in self.subjects]
        self.pairs = list(pairs)
        if not self.pairs and len(self.subjects) < 2:
            raise fail("training scans", len(self.subjects), "at least 2, to make a pair")
        self.percentiles = tuple(percentiles)
        self.seed, self.multichannel, self.spacing = seed, multichannel, spacing
        self.label_values, self.with_points = list(labels), points
        if random_crop and (labels or points):
            raise fail("random_crop", "labels or points beside it", "images alone")
        self.random_crop = random_crop
        self._cache = ArrayCache()
        self.shape = tuple(shape) if shape else self._common_shape()
        self.channels = self.image(self.everyone[0]).shape[-1]

    def _common_shape(self) -> tuple[int, ...]:
        shapes = [self._grid(self._load(s)[0]).shape for s in self.everyone]
        ranks = {len(s) for s in shapes}
        if len(ranks) > 1:
            raise fail("training scans", "both 2-D and 3-D volumes", "one kind")
        return tuple(int(-(-n // 16) * 16) for n in np.max(shapes, 0))

    @property
    def everyone(self) -> list[Subject]:
        """Every scan once."""
        paired = [s for p in self.pairs for s in (p.moving, p.fixed)]
        return list(dict.fromkeys([*self.subjects, *paired]))

    def _load(self, subject: Subject) -> list[Volume]:
        """The channels of an image."""
        return load_channels(subject.image) if self.multichannel else [load_volume(subject.image)]

    def _grid(self, volume: Volume) -> Volume:
        """A volume prepared for networks, except for intensities and the common shape."""
        volume = to_canonical(volume)
        return resample_to_spacing(volume, self.spacing) if self.spacing else volume

    def image(self, subject: Subject) -> np.ndarray:
        """The prepared image of a scan, ``[*shape, C]`` float32 in [0, 1]; read once."""

        def make() -> np.ndarray:
            return np.stack(
                [crop_or_pad(volume, self.shape).data for volume in self._normalised(subject)], -1
            )

        return self._cache.get(("image", subject.image), make)

    def _normalised(self, subject: Subject) -> Iterator[Volume]:
        """The channels of a scan, prepared but for the common shape."""
        for channel in self._load(subject):
            volume = self._grid(channel)
            self._check_rank(volume.data, subject)
            yield volume.with_data(normalise(volume.data, self.percentiles))

    def cropped(self, subject: Subject, place: np.ndarray) -> np.ndarray:
        """The image of a scan, cropped at a place instead of at the centre.

        Args:
            subject: The scan; read once.
            place: Place of the crop along each axis, from 0 for the first voxels to 1 for the last.

        Returns:
            ``[*shape, C]`` float32 in [0, 1].
        """

        def make() -> np.ndarray:
            parts = []
            for volume in self._normalised(subject):
                padded = tuple(max(n, s) for n, s in zip(volume.shape, self.shape, strict=True))
                parts.append(crop_or_pad(volume, padded).data)
            return np.stack(parts, -1)

        whole = self._cache.get(("whole", subject.image), make)
        room = np.subtract(whole.shape[:-1], self.shape)
        first = np.round(place * room).astype(int)
        return whole[tuple(slice(f, f + n) for f, n in zip(first, self.shape, strict=True))]

    def labels(self, subject: Subject) -> np.ndarray:
        """The label map of a scan, ``[*shape, 1]`` int32; read once."""
        if subject.labels is None:
            raise fail(str(subject.image), "no label map", "one")
        file = subject.labels

        def make() -> np.ndarray:
            volume = self._grid(onto(load_volume(file, "labels"), self._load(subject)[0]))
            self._check_rank(volume.data, subject)
            if np.abs(volume.data.astype(np.float64)).max() >= 2**31:
                raise fail(str(file), "labels of 2147483648 or more", "smaller numbers")
            return crop_or_pad(volume, self.shape).data[..., None].astype(np.int32)

        return self._cache.get(("labels", file), make)

    def grid_of(self, subject: Subject) -> np.ndarray:
        """The ``[4, 4]`` affine of the prepared arrays of a scan."""
        return crop_or_pad(self._grid(self._load(subject)[0]), self.shape).affine

    def points(self, subject: Subject) -> np.ndarray:
        """The landmarks of a scan, ``[P, N]`` float32 voxels; read once."""

        def make() -> np.ndarray:
            world = landmarks_of(subject, self._load(subject)[0])
            voxels = transform_points(np.linalg.inv(self.grid_of(subject)), world)
            return voxels[:, : len(self.shape)].astype(np.float32)

        return self._cache.get(("points", subject.image), make)

    def one_hot(self, subject: Subject) -> np.ndarray:
        """The one-hot label map of a scan, ``[*shape, K]`` float32, one channel per label value."""
        return (self.labels(subject) == np.array(self.label_values)).astype(np.float32)

    def _check_rank(self, data: np.ndarray, subject: Subject) -> None:
        if data.ndim != len(self.shape):
            raise fail(str(subject.image), f"{data.ndim}-D data", f"{len(self.shape)}-D like the others")

    def draw(self, step: int, item: int = 0) -> Pair:
        """The pair of a step and batch item, independent of any earlier draws."""
        random = np.random.default_rng([self.seed, step, item])
        if self.pairs:
            return self.pairs[int(random.integers(len(self.pairs)))]
        first, second = random.choice(len(self.subjects), 2, replace=False)
        return Pair(self.subjects[first], self.subjects[second])

    def _place(self, step: int, item: int) -> np.ndarray:
        """Where the pair of a step and batch item is cropped."""
        return np.random.default_rng([self.seed, step, item, 1]).random(len(self.shape))

    def dataset(self, start: int, stop: int, batch_size: int = 1) -> tf.data.Dataset:
        """Batches for steps start..stop-1.

        Returns:
            A dataset of ``(step, batch)``: int64 ``[]``, and float32 ``moving`` and
            ``fixed``, ``[batch_size, *shape, C]``; with label values also
            ``moving_labels`` and ``fixed_labels``, ``[batch_size, *shape, K]``; with
            landmarks also ``moving_points`` and ``fixed_points``, ``[batch_size, P, N]``.
        """
        return self.batches(tf.data.Dataset.range(start, stop), batch_size)

    def batches(self, steps: tf.data.Dataset, batch_size: int = 1) -> tf.data.Dataset:
        """Batches for a dataset of steps, as of `dataset`."""
        parts: dict[str, tuple[Any, tuple[Any, ...]]] = {"": (self.image, (*self.shape, self.channels))}
        if self.label_values:
            parts["_labels"] = (self.one_hot, (*self.shape, len(self.label_values)))
        if self.with_points:
            parts["_points"] = (self.points, (None, len(self.shape)))

        def load(step: np.int64) -> list[np.ndarray]:
            pairs = [self.draw(int(step), i) for i in range(batch_size)]
            sides = ([p.moving for p in pairs], [p.fixed for p in pairs])
            if self.random_crop:
                places = [self._place(int(step), i) for i in range(batch_size)]
                return [np.stack(list(map(self.cropped, side, places))) for side in sides]
            return [np.stack([read(s) for s in side]) for read, _ in parts.values() for side in sides]

        def batch(step: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
            arrays = iter(tf.numpy_function(load, [step], [tf.float32] * (2 * len(parts))))
            out = {}
            for ending, (_, shape) in parts.items():
                for side in ("moving", "fixed"):
                    out[side + ending] = tf.ensure_shape(next(arrays), (batch_size, *shape))
            return step, out

        # No autotuning, because closing an iterator can wait half a minute for its tuner.
        options = tf.data.Options()
        options.autotune.enabled = False
        return steps.map(batch, num_parallel_calls=1, deterministic=True).prefetch(2).with_options(options)
