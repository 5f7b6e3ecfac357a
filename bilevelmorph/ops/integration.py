"""Integration of stationary velocity fields."""

from __future__ import annotations

import tensorflow as tf

from bilevelmorph.ops.warping import compose


def integrate(velocity: tf.Tensor, steps: int = 7, method: str = "ss") -> tf.Tensor:
    """Displacement of the flow ``exp(v)`` of a stationary velocity field.

    XLA compiles every step separately. Otherwise it would fuse each step into the
    gathers of the next and recompute it many times.

    Args:
        velocity: ``[B, *S, N]`` voxels per unit time.
        steps: Number of squarings (``"ss"``) or of Euler steps (``"quadrature"``).
        method: ``"ss"``, scaling and squaring, or ``"quadrature"``.

    Returns:
        ``[B, *S, N]`` voxels. The inverse is ``integrate(-velocity)``.

    Reference: Arsigny et al., MICCAI 2006; Dalca et al., MICCAI 2018.

    >>> integrate(tf.fill([1, 4, 1], 0.5))[0, :, 0].numpy().tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    if method == "quadrature":
        small = velocity / steps
        displacement = small
        for _ in range(steps - 1):
            displacement = compose(small, displacement)
        return displacement
    displacement = velocity / 2**steps
    for _ in range(steps):
        displacement = compose(displacement, displacement)
    return displacement
