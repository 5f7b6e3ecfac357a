"""The MNI152 template that nilearn ships: real anatomy without a download."""

from __future__ import annotations

import numpy as np

from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError


def mni152(resolution: int = 1) -> dict[str, Volume]:
    """T1-weighted image and tissue maps of the average brain, skull removed.

    Args:
        resolution: Voxel size in millimetres.

    Returns:
        ``t1``, ``grey`` and ``white``: images in [0, 1].

    Raises:
        InputError: nilearn is not installed.

    Reference: Fonov et al., NeuroImage 2011.
    """
    try:
        from nilearn import datasets
    except ImportError as error:
        raise InputError(
            "the MNI template comes with nilearn, which is not installed; pip install 'bilevelmorph[demo]'"
        ) from error
    loaders = {
        "t1": datasets.load_mni152_template,
        "grey": datasets.load_mni152_gm_template,
        "white": datasets.load_mni152_wm_template,
    }
    volumes = {}
    for name, load in loaders.items():
        image = load(resolution=resolution)
        data = np.asarray(image.get_fdata(), np.float32)
        volumes[name] = Volume(data / data.max(), image.affine, name=name)
    return volumes
