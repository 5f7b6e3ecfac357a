"""The network of AutoReg: a supernet to be searched, or a network that a genotype describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bilevelmorph.compat.renamed import renamed_from
from bilevelmorph.layers.cell_encoder import CellEncoder
from bilevelmorph.layers.cell_stage import CellStage
from bilevelmorph.layers.mixed_op import multiply_adds
from bilevelmorph.networks.base import COMMON_TERMS, RegistrationNetwork
from bilevelmorph.networks.deformation import Deformation
from bilevelmorph.networks.genotype import INPUTS, Genotype
from bilevelmorph.networks.limits import CHANNELS, REPEATS, SCALE, SQUARINGS, whole
from bilevelmorph.ops.grid import as_field, spatial_shape
from bilevelmorph.ops.resizing import resize, upsample_field

Choices = Sequence[Sequence[str]]


@renamed_from("CellNetwork")
@keras.saving.register_keras_serializable("bilevelmorph")
class AutoRegNetwork(RegistrationNetwork):
    """A pyramid of F cells, for features, and D cells, for the deformation.

    If `searched`, it is a supernet: every layer of a cell is a mixture of operations,
    every cell is a mixture of lengths, and gates select the inputs of each D cell, its
    repetitions and the scales that have one. `genotype` returns the likeliest choices.
    The logits, `architecture`, do not change when the weights are trained.

    Args:
        ndims: 2 or 3.
        features: For each scale (2, 4, ...) and each layer of its F cell, the operations
            to choose from.
        deformation: The same for the D cell of each scale that has one.
        inputs: Possible inputs of each D cell; see `Genotype`.
        filters: Channels of the cells at each scale.
        searched: Whether the architecture is searched.
        radius: Search radius of the cost volumes, voxels of each scale.
        int_steps: Number of squarings.
        conditions: Length of the vector `condition` that modulates the network, such as
            loss weights; 0 for none.
        steps: Number of applications of each D cell, or one number for all; an upper
            bound if `searched`.
        channels, preprocessing, objective: See `RegistrationNetwork`.

    Reference: Fan et al., AutoReg, TIP 2023.

    >>> network = AutoRegNetwork.of(Genotype.uniform("conv3", scales=(4, 2), filters=4), 2)
    >>> network([tf.ones([1, 9, 8, 1]), tf.ones([1, 9, 8, 1])])["displacement"].shape.as_list()
    [1, 9, 8, 2]
    """

    any_size = True

    def __init__(
        self,
        ndims: int,
        features: Mapping[Any, Choices],
        deformation: Mapping[Any, Choices],
        inputs: Mapping[Any, Sequence[str]],
        filters: Mapping[Any, int],
        searched: bool = False,
        radius: int = 1,
        int_steps: int = 7,
        conditions: int = 0,
        steps: Mapping[Any, int] | int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(ndims=ndims, **kwargs)
        # Keys are strings in a saved configuration.
        self.features = {int(s): [list(n) for n in c] for s, c in features.items()}
        self.deformation = {int(s): [list(n) for n in c] for s, c in deformation.items()}
        self.feeds = {int(s): list(names) for s, names in inputs.items()}
        self.filters = {int(s): whole("filters", n, CHANNELS) for s, n in filters.items()}
        self.searched, self.radius = searched, whole("radius", radius, REPEATS, zero=True)
        self.int_steps = whole("int_steps", int_steps, SQUARINGS, zero=True)
        self.conditions = whole("conditions", conditions, CHANNELS, zero=True)
        self.scales = sorted(self.deformation, reverse=True)
        each = dict.fromkeys(self.scales, steps) if isinstance(steps, int) else steps
        self.steps = {whole("scales", int(s), SCALE): whole("steps", n, REPEATS) for s, n in each.items()}
        everywhere = sorted(self.features)
        self.encoder = CellEncoder(
            ndims,
            [self.filters[s] for s in everywhere],
            [self.features[s] for s in everywhere],
            searched,
            name="encoder",
        )
        self.stages = [
            CellStage(
                ndims,
                self.filters[s],
                self.deformation[s],
                self.feeds[s],
                searched,
                radius,
                int_steps,
                conditions,
                self.steps[s],
                name=f"stage_{s}",
            )
            for s in self.scales
        ]

    option_names = ("int_steps",)

    @property
    def terms(self) -> frozenset[str]:
        return COMMON_TERMS | {f"similarity_{scale}" for scale in self.scales}

    @classmethod
    def of(cls, genotype: Genotype, ndims: int = 3, **options: Any) -> AutoRegNetwork:
        """Build the network that a genotype describes; `options` are arguments of the constructor."""
        return cls(
            ndims,
            {s: [[name] for name in names] for s, names in genotype.features.items()},
            {s: [[name] for name in names] for s, names in genotype.deformation.items()},
            genotype.inputs,
            genotype.filters,
            steps=genotype.steps,
            **options,
        )

    @classmethod
    def space(
        cls,
        ndims: int = 3,
        scales: Sequence[int] = (16, 8, 4, 2),
        operations: Sequence[str] = ("conv1", "conv3", "conv5", "sep3", "sep5", "dil3"),
        layers: int = 3,
        filters: int | Mapping[int, int] = 16,
        steps: int = 1,
        **options: Any,
    ) -> AutoRegNetwork:
        """Build a supernet in which everything is searched.

        Args:
            ndims: 2 or 3.
            scales: Scales with a D cell; there are F cells at all scales from 2 to the coarsest.
            operations: Operations to choose from in every layer.
            layers: Largest number of layers in a cell.
            filters: Channels, by scale or one number for all.
            steps: Largest number of applications of a D cell.
            options: Arguments of the constructor.
        """
        plain = Genotype.uniform("skip", scales, layers, filters)
        choices = [list(operations)] * layers
        return cls(
            ndims,
            dict.fromkeys(plain.features, choices),
            dict.fromkeys(plain.deformation, choices),
            plain.inputs,
            plain.filters,
            searched=True,
            steps=steps,
            **options,
        )

    @property
    def multiple(self) -> int:
        return 2 ** len(self.features)

    @property
    def cells(self) -> list[Any]:
        """F cells, fine to coarse, then D cells, coarse to fine."""
        return [*self.encoder.cells, *(s.cell for s in self.stages)]

    @property
    def mixtures(self) -> list[Any]:
        """The logits of every mixture: those of operations, then those of cell lengths."""
        if not self.searched:
            return []
        found = [layer.alpha for c in self.cells for layer in c.choices if len(layer.operations) > 1]
        return found + [c.depth for c in self.cells if c.searched]

    @property
    def gates(self) -> list[Any]:
        """The gates: inputs of D cells, then stages, then their repetitions."""
        if not self.searched:
            return []
        repeats = [s.repeat for s in self.stages if s.repeat is not None]
        return [*(s.feed.gates for s in self.stages), *(s.gate for s in self.stages), *repeats]

    @property
    def architecture(self) -> list[Any]:
        """The logits of every mixture and gate."""
        return [*self.mixtures, *(g.logits for g in self.gates)]

    def open_gates(self, which: tf.Tensor) -> None:
        """Set every gate open (1) or closed (0), in the order of `gates`."""
        sizes = [g.count for g in self.gates]
        for gate, part in zip(self.gates, tf.split(which, sizes), strict=True):
            gate.sampled.assign(part)

    def decide_gates(self) -> None:
        """Open the gates whose probability is at least one half; close the others."""
        if self.gates:
            chances = tf.concat([g.probabilities for g in self.gates], 0)
            self.open_gates(tf.cast(chances >= 0.5, tf.float32))

    def build_layers(self, image: Any) -> None:
        if self.conditions:
            options: dict[str, Any] = {"shape": (self.conditions,), "trainable": False, "dtype": "float32"}
            self.condition = self.add_weight(name="condition", initializer="zeros", **options)
        self.encoder.build(image)
        shapes = self.encoder.compute_output_shape(image)
        hidden: list[Any] = []
        for scale, stage in zip(self.scales, self.stages, strict=True):
            feature = shapes[scale.bit_length() - 2]
            given = [feature, feature, (*feature[:-1], self.ndims)]
            if hidden and "coarser" in self.feeds[scale]:
                given.append((*feature[:-1], hidden[-1]))
            if self.conditions:
                given.append((None, self.conditions))
            stage.build(given)
            hidden.append(self.filters[scale])

    def estimate(self, moving: tf.Tensor, fixed: tf.Tensor, training: bool = False) -> Deformation:
        pyramid = [tf.split(level, 2, 0) for level in self.encoder(tf.concat([moving, fixed], 0))]
        coarsest = pyramid[self.scales[0].bit_length() - 2][1]
        displacement = tf.zeros_like(as_field(tf.repeat(coarsest[..., :1], self.ndims, -1)))
        hidden, above, velocities, displacements = None, self.scales[0], [], []
        for scale, stage in zip(self.scales, self.stages, strict=True):
            source, target = pyramid[scale.bit_length() - 2]
            size = spatial_shape(target)
            given = [target, source, upsample_field(displacement, above // scale)]
            above = scale
            if hidden is not None and "coarser" in self.feeds[scale]:
                given.append(resize(hidden, size))
            if self.conditions:
                given.append(tf.convert_to_tensor(self.condition)[None])
            displacement, hidden, *found = stage(given)
            velocities += found
            displacements.append(displacement)
        full = upsample_field(displacement, above)
        return Deformation(full, velocities, displacements, self.int_steps)

    def genotype(self, random: np.random.Generator | None = None) -> Genotype:
        """The likeliest operation of every layer, with the gates that are more likely open than closed.

        Args:
            random: Generator to sample the architecture from its probabilities instead, which
                is more informative while little is decided.
        """
        if not self.built:
            self.build()
        kept = [s for s in self.stages if _opened(s.probability, random)]
        kept = kept or [max(self.stages, key=lambda s: float(s.probability))]
        scales = [scale for scale, s in zip(self.scales, self.stages, strict=True) if s in kept]
        deformation, inputs, steps = {}, {}, {}
        for scale, stage in zip(scales, kept, strict=True):
            deformation[scale] = _decided(stage.cell, random)
            repeated = stage.repeat.probabilities.numpy() if stage.repeat is not None else []
            steps[scale] = 1 + sum(_opened(p, random) for p in repeated) if self.searched else stage.steps
            shares = dict(zip(stage.feed.names, stage.feed.probabilities.numpy(), strict=True))
            if not self._next_coarser(scale, scales):
                shares.pop("coarser", None)
            opened = [name for name in INPUTS if name in shares and _opened(shares[name], random)]
            inputs[scale] = tuple(opened or [max(shares, key=lambda n: shares[n])])
        everywhere = [s for s in sorted(self.features) if s <= max(scales)]
        cells = zip(sorted(self.features), self.encoder.cells, strict=True)
        features = {s: _decided(cell, random) for s, cell in cells if s in everywhere}
        return Genotype(features, deformation, inputs, {s: self.filters[s] for s in everywhere}, steps)

    def _next_coarser(self, scale: int, kept: Sequence[int]) -> bool:
        """Whether the next coarser stage, which feeds this one, is kept."""
        place = self.scales.index(scale)
        return place > 0 and self.scales[place - 1] in kept

    def decoded(self) -> AutoRegNetwork:
        """The network of `genotype` without conditions, with the weights of the chosen operations."""
        options = {"radius": self.radius, "int_steps": self.int_steps, "channels": self.channels}
        out = AutoRegNetwork.of(self.genotype(), self.ndims, preprocessing=self.preprocessing, **options)
        out.objective = dict(self.objective)
        out.build()
        values = {w.path: w for w in self.weights}
        for layer in (layer for cell in self.cells for layer in cell.choices):
            values |= layer.kernels
        mine = {path.split("/", 1)[-1]: value for path, value in values.items()}
        for weight in out.weights:
            weight.assign(mine[weight.path.split("/", 1)[-1]])
        return out

    def set_temperature(self, value: float) -> None:
        """Set the softmax temperature of all mixtures; lower values make them more decisive."""
        for cell in self.cells:
            for mixture in (*cell.choices, cell):
                if hasattr(mixture, "softmax_temperature"):
                    mixture.softmax_temperature.assign(value)

    def share(self, operation: str) -> float:
        """Mean share of an operation in the mixtures that contain it."""
        mixtures = [layer for c in self.cells for layer in c.choices if operation in layer.operations]
        found = [float(m.probabilities[m.operations.index(operation)]) for m in mixtures]
        return float(np.mean(found)) if found else 0.0

    def entropy(self) -> float:
        """Mean normalised entropy of the mixtures: 1 at the start of a search, 0 once all are decided."""
        mixtures: list[Any] = [layer for c in self.cells for layer in (*c.choices, c)]
        shares = [np.asarray(m.probabilities, float) for m in mixtures]
        shares = [p for p in shares if len(p) > 1]
        if not shares:
            return 0.0
        return float(np.mean([-np.sum(p * np.log(np.maximum(p, 1e-12))) / np.log(len(p)) for p in shares]))

    def expected_cost(self, costs: Mapping[tuple[int, str], float] | None = None) -> tf.Tensor:
        """Expected cost of the architecture, a penalty to be minimised with the loss.

        Args:
            costs: Cost by scale and operation, such as measured milliseconds; the operation
                ``"stage"`` stands for a stage without its cell. By default, multiply-adds per
                voxel of the full grid.

        Returns:
            Scalar, float32, differentiable in the `architecture`.
        """
        total = tf.zeros([])
        for scale, cell in zip(sorted(self.features), self.encoder.cells, strict=True):
            total += 2 * self._cost_of(cell, scale, costs)  # both images
        for scale, stage in zip(self.scales, self.stages, strict=True):
            beside = (costs or {}).get((scale, "stage"), 0.0)
            once = beside + self._cost_of(stage.cell, scale, costs)
            total += stage.probability * (1 + stage.repetitions) * once
        return total

    def _cost_of(self, cell: Any, scale: int, costs: Mapping[tuple[int, str], float] | None) -> tf.Tensor:
        ends, total, width = cell.probabilities, tf.zeros([]), self.filters[scale]
        for i, layer in enumerate(cell.choices):
            each = [
                multiply_adds(name, self.ndims, width, width) / scale**self.ndims
                if costs is None
                else costs[scale, name]
                for name in layer.operations
            ]
            # A layer is present if the cell ends with it or after it.
            total += tf.reduce_sum(ends[i:]) * tf.reduce_sum(
                layer.probabilities * tf.constant(each, tf.float32)
            )
        return total

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "features": {str(s): c for s, c in self.features.items()},
            "deformation": {str(s): c for s, c in self.deformation.items()},
            "inputs": {str(s): n for s, n in self.feeds.items()},
            "filters": {str(s): n for s, n in self.filters.items()},
            "searched": self.searched,
            "radius": self.radius,
            "int_steps": self.int_steps,
            "conditions": self.conditions,
            "steps": {str(s): n for s, n in self.steps.items()},
        }


def _opened(probability: Any, random: np.random.Generator | None) -> bool:
    """Whether a gate is open: its likelier state, or a sample if `random` is given."""
    return bool(float(probability) > (0.5 if random is None else random.random()))


def _chosen(shares: Any, random: np.random.Generator | None) -> int:
    """Index of the likeliest choice of a mixture, or a sample from its probabilities."""
    chances = np.asarray(shares, float)
    return int(
        np.argmax(chances) if random is None else random.choice(len(chances), p=chances / chances.sum())
    )


def _decided(cell: Any, random: np.random.Generator | None) -> tuple[str, ...]:
    """The chosen operations of a cell, as many as its chosen length."""
    length = _chosen(cell.probabilities, random) + 1
    return tuple(layer.operations[_chosen(layer.probabilities, random)] for layer in cell.choices[:length])
