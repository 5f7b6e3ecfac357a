"""Registration of two volumes, with input and output in native space."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.data.geometry import (
    not_covered,
    onto,
    resample,
    resample_to_spacing,
    sample,
    voxel_positions,
    warp_volume,
)
from bilevelmorph.data.preprocessing import PERCENTILES, background, crop_or_pad, normalise, to_canonical
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import fail, positive
from bilevelmorph.io.images import ImageLike, as_volume
from bilevelmorph.models import load_model
from bilevelmorph.registration.affine import align
from bilevelmorph.registration.assessment import assess
from bilevelmorph.registration.memory import available_memory, coarser_by
from bilevelmorph.registration.native_grid import from_native, inverse_to_native, linear_part, to_native
from bilevelmorph.registration.pair_checks import check_pair, check_start
from bilevelmorph.registration.prepared_pair import PreparedPair
from bilevelmorph.registration.quality import descent_settings, for_grid
from bilevelmorph.registration.refinement import Refinement
from bilevelmorph.registration.region import region_of
from bilevelmorph.registration.result import Registration
from bilevelmorph.registration.stopwatch import Stopwatch

if TYPE_CHECKING:
    from bilevelmorph.networks.base import RegistrationNetwork
    from bilevelmorph.registration.instance_optimizer import InstanceOptimizer
    from bilevelmorph.registration.predictor import Predictor
    from bilevelmorph.registration.uncertainty import Uncertainty

# Share of the body of the fixed image outside the moving one from which the rest alone is registered.
PARTLY = 0.1
METHODS = ("model", "affine", "rigid", "identity")


class Registrar:
    """Registers pairs with one model.

    Args:
        model: Name or file of a model, or a network; None for methods without a model.
        affine: ``"none"``, ``"rigid"`` or ``"affine"``.
        init: Initial placement: ``"header"`` trusts the world coordinates, ``"centre"``
            aligns the centres of the grids; None takes the placement used in training.
        deformable: False uses no model.
        compiled: Compile for a grid when it occurs a second time, or, with ``"at once"``, when it occurs
            first. This takes longer than registering a few pairs but makes all further ones several
            times faster.
        quality: How long to optimise each pair after the model: ``"fast"`` not at all, ``"balanced"``
            large images at half resolution only, ``"best"`` up to full resolution. By
            default ``"balanced"``, or ``"fast"`` without a model.
        instance_steps: Iterations of instance optimisation at each level, or one number for
            all, in place of `quality`; 0 for none. See `InstanceOptimizer`.
        similarity: Similarity of instance optimisation, or several; by default that of the settings.
        settings: Settings of instance optimisation, or a file of them; by default those of the model.
        mc_samples: Number of samples for the uncertainty map; 0 for none. See `Uncertainty`.
        fill: Value of the moved image where the moving one does not reach; by default that of the
            background, see `bilevelmorph.data.preprocessing.background`.
        xla: What XLA compiles, see `bilevelmorph.devices.using_xla`.
        precision: Of the model's convolutions, see `bilevelmorph.networks.precision.in_precision`.
        report: Measure similarity and folding, and look for reasons for doubt. Without it, a pipeline
            is spared the time, and results have neither these numbers nor warnings.

    >>> from bilevelmorph.networks import IdentityNetwork
    >>> place = np.eye(4)
    >>> place[:2, 3] = 3, -1
    >>> moving, fixed = Volume(np.eye(8), place), Volume(np.eye(8), np.eye(4))
    >>> result = Registrar(IdentityNetwork(2), init="centre")(moving, fixed)
    >>> result.displacement[0, 0].tolist(), bool(np.allclose(result.moved.data, fixed.data))
    ([3.0, -1.0], True)
    """

    def __init__(
        self,
        model: str | RegistrationNetwork | None = "general",
        affine: str = "none",
        init: str | None = None,
        deformable: bool = True,
        compiled: bool | str = False,
        quality: str | None = None,
        instance_steps: int | Sequence[int] | None = None,
        similarity: str | Sequence[str] | None = None,
        settings: DescentConfig | str | Path | None = None,
        mc_samples: int = 0,
        fill: float | None = None,
        xla: str = "auto",
        precision: str = "float32",
        report: bool = True,
    ) -> None:
        self.network: Any = None
        if deformable:
            self.network = load_model(model) if isinstance(model, str) else model
        if self.network is not None and precision != "float32":
            from bilevelmorph.networks.precision import in_precision

            self.network = in_precision(self.network, precision)
        options = self.network.preprocessing if self.network is not None else {}
        self.affine, self.fill, self.report, self.compiled = affine, fill, report, compiled
        self.init, self.xla = init or options.get("grid", "header"), xla
        self.percentiles = options.get("percentiles", PERCENTILES)
        self.shape, self.spacing = options.get("shape"), options.get("spacing")
        self.quality = quality or ("fast" if self.network is None else "balanced")
        own = getattr(self.network, "descent", None)
        self.settings = descent_settings(self.quality, settings, instance_steps, similarity, own)
        if instance_steps is not None:
            self.quality = "best"
        self.uncertainty = self._make_uncertainty(mc_samples)
        self.predictor = self._make_predictor()

    def _make_predictor(self) -> Predictor | None:
        if self.network is None:
            return None
        from bilevelmorph.registration.predictor import Predictor

        return Predictor(self.network, self.compiled, self.xla)

    def _optimizer(self, shape: Sequence[int]) -> InstanceOptimizer | None:
        """The instance optimisation of pairs of this size; its compiled graphs are kept."""
        if self.settings is None:
            return None
        from bilevelmorph.registration.instance_optimizer import shared_optimizer

        here = for_grid(self.settings, self.quality, shape)
        return shared_optimizer(here, self.xla, bool(self.compiled))

    def iterations(self, shape: Sequence[int]) -> int:
        """The largest number of iterations of instance optimisation for fixed images of a size.

        >>> Registrar(None, instance_steps=7).iterations((48, 64, 48))
        14
        """
        return 0 if self.settings is None else sum(for_grid(self.settings, self.quality, shape).iterations)

    def _make_uncertainty(self, samples: int) -> Uncertainty | None:
        positive("mc_samples", samples, zero=True, whole=True)
        if not samples:
            return None
        if self.network is None:
            raise fail("mc_samples", f"{samples} for a method without a model", "0")
        from bilevelmorph.registration.uncertainty import Uncertainty

        return Uncertainty(self.network, samples)

    def __call__(
        self,
        moving: Volume,
        fixed: Volume,
        mask: Volume | None = None,
        inverse: bool = False,
        on_iteration: Callable[[], None] | None = None,
        moving_mask: Volume | None = None,
        start: np.ndarray | None = None,
    ) -> Registration:
        """Register a pair.

        Args:
            moving, fixed: Images of any size, spacing and orientation.
            mask: Mask on the fixed grid, to which the affine step, instance optimisation, the
                similarities and the mean displacement in the report are restricted.
            inverse: Also compute the inverse displacement.
            on_iteration: Called after each iteration of instance optimisation.
            moving_mask: The same mask for the moving image, on its grid.
            start: Displacement from which instance optimisation begins, ``[*fixed, N]`` voxels, the linear
                part included, in place of the affine step and the model.

        Returns:
            A `Registration`.

        Raises:
            InputError: The volumes cannot be registered with this model.
        """
        watch = Stopwatch()
        check_pair(moving, fixed, self.network, mask, moving_mask)
        if start is not None:
            check_start(start, fixed, self.affine, self.settings is None)
        mask, moving_mask = mask and onto(mask, fixed), moving_mask and onto(moving_mask, moving)
        region = None if mask is None else mask.data > 0
        pair = self._prepared(moving, fixed, mask, moving_mask, start)
        work, source, affine = pair.fixed, pair.moving, pair.affine
        watch.lap("preparation")
        begun = None if start is None else from_native(start, pair.fixed, fixed, pair.affine)
        step, back, refined = self._deform(pair, mask, moving_mask, inverse, on_iteration, begun)
        watch.lap("deformation")
        displacement = to_native(step, work, fixed, affine)
        fill = background(moving.data) if self.fill is None else self.fill
        moved = warp_volume(moving, displacement, fixed.affine, fill)
        watch.lap("native grid")
        moved = Volume(moved.data, fixed.affine, "image", moving.name, fixed.header)
        facts = {"fill": fill, "seconds": sum(watch.parts.values())}
        result = Registration(moving, fixed, moved, displacement, affine, facts, init=self.init)
        if inverse:
            result.inverse = inverse_to_native(back, work, moving, affine)
        if self.uncertainty is not None:
            result.uncertainty = self._spread(self.uncertainty, source, work, fixed)
        watch.lap("inverse, uncertainty")
        if self.report:
            if moving_mask is not None:
                reached = warp_volume(moving_mask, displacement, fixed.affine).data > 0
                region = reached if region is None else region & reached
            assess(result, self.percentiles, region, self.affine)
            watch.lap("report")
        result.seconds = watch.parts
        if refined is not None:
            result.levels = refined.levels
            result.warnings += refined.warnings
        if work.spacing.min() > 1.05 * (self.spacing or fixed.spacing.max()):
            size = f"{work.spacing.min():.2f} mm"
            result.warnings.append(f"computed on voxels of {size}, because finer ones do not fit into memory")
        return result

    def prepare(self, moving: Volume, fixed: Volume) -> tuple[PreparedPair, np.ndarray]:
        """Everything before instance optimisation: the pair on its grid, and the displacement of the model.

        Args:
            moving, fixed: See `__call__`.

        Returns:
            The pair, and the displacement from which instance optimisation starts, ``[*S, N]`` voxels.
        """
        check_pair(moving, fixed, self.network)
        pair = self._prepared(moving, fixed)
        if self.predictor is None:
            return pair, np.zeros((*pair.fixed.shape, fixed.ndims), np.float32)
        return pair, self.predictor(pair.moving, pair.fixed.data).displacement

    def _prepared(
        self,
        moving: Volume,
        fixed: Volume,
        mask: Volume | None = None,
        moving_mask: Volume | None = None,
        start: np.ndarray | None = None,
    ) -> PreparedPair:
        regions = [None if m is None else m.data > 0 for m in (mask, moving_mask)]
        if start is None:
            affine = align(moving, fixed, self.affine, self.init, *regions)
        else:
            affine = linear_part(start, fixed)
        spacing = self._spacing(moving, fixed)
        work = self._work_grid(fixed, spacing)
        own = resample_to_spacing(moving, spacing) if spacing else moving
        own = own.with_data(normalise(own.data, self.percentiles))
        source = resample(own, work.shape, work.affine, affine).data
        if self.init == "centre":  # crops, whose surroundings were padded with zeros in training as well
            return PreparedPair(work, source, affine)
        to_moving = np.linalg.inv(moving.affine) @ affine @ work.affine
        lost = not_covered(moving.shape, to_moving, work.shape)
        body = work.data > 0.05
        if not body.any() or lost[body].mean() <= PARTLY:
            return PreparedPair(work, source, affine)
        # The same edge in both images draws neither towards it; the descent does not look beyond.
        return PreparedPair(work.with_data(work.data * ~lost), source, affine, ~lost)

    def _deform(
        self,
        pair: PreparedPair,
        mask: Volume | None,
        moving_mask: Volume | None,
        inverse: bool,
        on_iteration: Callable[[], None] | None,
        start: np.ndarray | None,
    ) -> tuple[np.ndarray | None, np.ndarray | None, Refinement | None]:
        """The displacement on the work grid, its inverse if requested, and what instance optimisation did."""
        work, source = pair.fixed, pair.moving
        optimizer = self._optimizer(work.shape)
        found = None
        if self.predictor is not None and start is None:
            found = self.predictor(source, work.data, inverse and optimizer is None)
        if optimizer is None:
            return (None, None, None) if found is None else (found.displacement, found.inverse, None)
        if start is None:
            start = np.zeros((*work.shape, work.ndims), np.float32) if found is None else found.displacement
        weights = [] if pair.known is None else [pair.known.astype(np.float32)]
        for which, world in ((mask, np.eye(4)), (moving_mask, pair.affine)):
            if which is not None:
                share = Volume((which.data > 0).astype(np.float32), which.affine)
                weights.append(resample(share, work.shape, work.affine, world).data)
        if moving_mask is not None:  # where the start takes it
            weights[-1] = sample(work.with_data(weights[-1]), voxel_positions(work.shape) + start)
        weight = functools.reduce(np.multiply, weights) if weights else None
        refined = optimizer(start, source, work.data, weight, inverse, on_iteration)
        return refined.displacement, refined.inverse, refined

    def _spacing(self, moving: Volume, fixed: Volume) -> float | None:
        """The voxel size for the network: its own, that of the images (None), or what memory allows."""
        own = self.spacing or float(np.prod(fixed.spacing) ** (1 / fixed.ndims))
        shape = [max(2, round(n * s / own)) for n, s in zip(fixed.shape, fixed.spacing, strict=True)]
        factor = coarser_by(shape, moving.data.size + fixed.data.size, available_memory())
        return self.spacing if factor == 1 else factor * own

    def _work_grid(self, fixed: Volume, spacing: float | None) -> Volume:
        """The fixed image prepared for the network: canonical axes, normalised, at least its usual size."""
        work = to_canonical(fixed)
        if spacing:
            work = resample_to_spacing(work, spacing)
        work = work.with_data(normalise(work.data, self.percentiles))
        if self.shape is None:
            return work
        shape = [usual if n <= usual else n for n, usual in zip(work.shape, self.shape, strict=True)]
        return crop_or_pad(work, shape)

    @staticmethod
    def _spread(uncertainty: Uncertainty, source: np.ndarray, work: Volume, fixed: Volume) -> Volume:
        """Norm of the standard deviations of the network's displacement, mm, on the fixed grid."""
        import tensorflow as tf

        from bilevelmorph.devices import using_xla

        with using_xla("off"):
            parts = uncertainty(*(tf.constant(x[None, ..., None]) for x in (source, work.data)))
        spread = np.linalg.norm(parts * np.array(work.spacing), axis=-1).astype(np.float32)
        there = resample(work.with_data(spread), fixed.shape, fixed.affine, np.eye(4))
        return Volume(there.data, fixed.affine, "image", fixed.name, fixed.header)


def register(
    moving: ImageLike,
    fixed: ImageLike,
    model: str | RegistrationNetwork | None = "general",
    *,
    affine: str = "none",
    init: str | None = None,
    fixed_mask: ImageLike | None = None,
    moving_mask: ImageLike | None = None,
    exclude_mask: ImageLike | None = None,
    inverse: bool = False,
    quality: str | None = None,
    instance_steps: int | Sequence[int] | None = None,
    similarity: str | Sequence[str] | None = None,
    settings: DescentConfig | str | Path | None = None,
    mc_samples: int = 0,
    fill: float | None = None,
    start: np.ndarray | None = None,
) -> Registration:
    """Register one pair; for many pairs with one model, use a `Registrar`.

    Args:
        moving, fixed: Images of any size, spacing and orientation: file names, nibabel or
            SimpleITK images, pairs ``(array, affine)``, or Volumes.
        model: Name of a bundled model, a file, or a network; None for instance optimisation
            without a model or, at quality ``"fast"``, the linear part alone.
        affine, init, quality, instance_steps, similarity, settings, mc_samples, fill: See
            `Registrar`.
        fixed_mask: Mask on the fixed grid, to which the affine step, instance optimisation, the
            similarities and the mean displacement in the report are restricted.
        moving_mask: The same mask for the moving image, on its grid.
        exclude_mask: Mask on the fixed grid of what is left out of all of these, such as a lesion.
        inverse: Also compute the inverse displacement.
        start: Displacement from which instance optimisation begins, see `Registrar`.

    Returns:
        A `Registration`, which can be saved and shows a figure in notebooks.

    Raises:
        InputError: The images cannot be registered with this model.

    >>> scan = np.random.default_rng(0).random((16, 18, 20))
    >>> result = register((np.roll(scan, 1, 0), np.eye(4)), (scan, np.eye(4)), model=None)
    >>> result.displacement.shape
    (16, 18, 20, 3)
    """
    registrar = Registrar(
        model,
        affine,
        init,
        deformable=model is not None,
        quality=quality,
        instance_steps=instance_steps,
        similarity=similarity,
        settings=settings,
        mc_samples=mc_samples,
        fill=fill,
    )
    given = {"fixed mask": fixed_mask, "excluded mask": exclude_mask, "moving mask": moving_mask}
    *masks, last = [None if m is None else as_volume(m, "labels", name) for name, m in given.items()]
    pair = as_volume(moving, name="moving"), as_volume(fixed, name="fixed")
    return registrar(*pair, region_of(pair[1], *masks), inverse, moving_mask=last, start=start)
