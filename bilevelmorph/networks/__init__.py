"""Registration networks."""

import keras  # noqa: F401  first, so that registration begins with nothing half imported

from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.networks.cell_network import CellNetwork
from bilevelmorph.networks.fields import Fields
from bilevelmorph.networks.genotype import Genotype
from bilevelmorph.networks.propagation_network import PropagationNetwork
from bilevelmorph.networks.still_network import StillNetwork
from bilevelmorph.networks.vxm_2018 import Vxm2018
from bilevelmorph.networks.vxm_dense import VxmDense

__all__ = [
    "CellNetwork",
    "Fields",
    "Genotype",
    "PropagationNetwork",
    "RegistrationNetwork",
    "StillNetwork",
    "Vxm2018",
    "VxmDense",
]
