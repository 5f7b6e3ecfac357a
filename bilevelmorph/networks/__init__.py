"""Registration networks."""

import keras  # noqa: F401  first, so that classes are registered when Keras is fully imported

from bilevelmorph.networks.autoreg_network import AutoRegNetwork
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.networks.deformation import Deformation
from bilevelmorph.networks.genotype import Genotype
from bilevelmorph.networks.identity_network import IdentityNetwork
from bilevelmorph.networks.propagation_network import PropagationNetwork
from bilevelmorph.networks.vxm_dense import VxmDense

__all__ = [
    "AutoRegNetwork",
    "Deformation",
    "Genotype",
    "IdentityNetwork",
    "PropagationNetwork",
    "RegistrationNetwork",
    "VxmDense",
]
