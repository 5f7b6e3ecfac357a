"""Registries of components: losses, regularisers, networks, hypergradient methods, objectives, readers.

Every built-in component is listed here by name. An identifier of a component is
such a name, an instance, a class, a function, or ``"package.module:Name"``. Adding
a component therefore takes one file, which may be outside this package.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from bilevelmorph.errors import fail


class Registry(Mapping[str, Any]):
    """Components of one kind by name, each imported on first use.

    Args:
        kind: Name of the argument that takes these components, for error messages.
        entries: Location of each component, ``"package.module:Name"``, by name.
        aliases: Current names by former names; former names are found but not listed.

    >>> methods = Registry("optimizer", {"adam": "bilevelmorph.bilevel.adam:Adam"}, {"kingma": "adam"})
    >>> list(methods), methods.find("kingma").__name__
    (['adam'], 'Adam')
    >>> methods.make("adam", rate=0.1, not_an_option=3).rate
    0.1
    """

    def __init__(
        self, kind: str, entries: Mapping[str, Any], aliases: Mapping[str, str] | None = None
    ) -> None:
        self.kind, self._entries, self.aliases = kind, dict(entries), dict(aliases or {})

    def __getitem__(self, name: str) -> Any:
        return self._entries[self.aliases.get(name, name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, name: str, component: Any) -> None:
        """Register a component under a name, for this process only.

        Args:
            name: A new name, or an existing one, whose component is then replaced.
            component: ``"package.module:Name"``, or the component itself.

        >>> readers = Registry("reader", {})
        >>> readers.add(".raw", lambda path: (np.fromfile(path).reshape(8, 8), np.eye(4)))
        >>> list(readers)
        ['.raw']
        """
        self._entries[name] = component

    def find(self, identifier: Any, *, imported: bool = False, argument: str = "") -> Any:
        """Look up the component for an identifier.

        Args:
            identifier: A name, ``"package.module:Name"``, or the component itself.
            imported: Accept ``"package.module:Name"`` only from modules that are
                already imported; meant for identifiers read from a file.
            argument: Name of the argument for error messages, if it is not the registry's `kind`.

        Returns:
            A class, function or instance.

        Raises:
            InputError: There is no such component.
        """
        if not isinstance(identifier, str):
            return identifier
        kind, known = argument or self.kind, self.aliases.get(identifier, identifier)
        if known in self._entries:
            entry = self._entries[known]
            return _imported(entry) if isinstance(entry, str) else entry
        if ":" not in identifier:
            names = ", ".join(self)
            raise fail(kind, repr(identifier), f"one of {names}, or your own as package.module:Name")
        if imported and identifier.partition(":")[0] not in sys.modules:
            came = f"{identifier}, read from a file"
            raise fail(kind, came, "a module of yours that is imported", "import it first")
        try:
            return _imported(identifier)
        except (ImportError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise fail(kind, f"{identifier} ({reason})", "package.module:Name on Python's path") from error

    def make(self, identifier: Any, *, imported: bool = False, argument: str = "", **options: Any) -> Any:
        """Look up a component and, if it is a class, instantiate it with the options that it accepts.

        Args:
            identifier, imported, argument: See `find`.
            options: Arguments for the constructor of a class; those that it does not accept are dropped.
        """
        found = self.find(identifier, imported=imported, argument=argument)
        return found(**accepted(found, options)) if inspect.isclass(found) else found

    def identifier(self, component: Any) -> str:
        """The identifier from which another process can find a component."""
        if isinstance(component, str):
            return self.aliases.get(component, component)
        thing = component if inspect.isclass(component) or inspect.isfunction(component) else type(component)
        place = f"{thing.__module__}:{thing.__qualname__}"
        return next((name for name, entry in self._entries.items() if entry in (place, component)), place)


def accepted(function: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Select the options that a function or the constructor of a class accepts.

    >>> accepted(lambda width, sigma=1.0: None, {"width": 5, "bins": 32})
    {'width': 5}
    """
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in parameters}


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


_LOSSES = "bilevelmorph.losses"
LOSSES = Registry(
    "image_loss",
    {
        "mse": f"{_LOSSES}.mse:MSE",
        "ncc": f"{_LOSSES}.local_ncc:LocalNCC",
        "mind": f"{_LOSSES}.mind:MIND",
        "nmi": f"{_LOSSES}.nmi:NMI",
        "dice": f"{_LOSSES}.dice:SoftDice",
        "position": f"{_LOSSES}.end_point_error:EndPointError",
    },
)
REGULARIZERS = Registry(
    "regularity",
    {"diffusion": f"{_LOSSES}.regularity:diffusion", "bending": f"{_LOSSES}.regularity:bending"},
)
NETWORKS = Registry(
    "network",
    {
        "vxm": "bilevelmorph.networks.vxm_dense:VxmDense",
        "propagation": "bilevelmorph.networks.propagation_network:PropagationNetwork",
    },
)
_BILEVEL = "bilevelmorph.bilevel"
METHODS = Registry(
    "hypergradient",
    {
        "first-order": f"{_BILEVEL}.first_order:FirstOrder",
        "one-step": f"{_BILEVEL}.one_step_unroll:OneStepUnroll",
        "finite-difference": f"{_BILEVEL}.finite_difference_unroll:FiniteDifferenceUnroll",
        "truncated": f"{_BILEVEL}.truncated_unroll:TruncatedUnroll",
        "forward": f"{_BILEVEL}.forward_mode:ForwardMode",
        "neumann": f"{_BILEVEL}.neumann:Neumann",
        "conjugate-gradient": f"{_BILEVEL}.conjugate_gradient:ConjugateGradient",
        "gradient-alignment": f"{_BILEVEL}.gradient_alignment:GradientAlignment",
        "f2sa": f"{_BILEVEL}.f2sa:F2SA",
        "bome": f"{_BILEVEL}.bome:BOME",
    },
    {"one-step-differences": "finite-difference", "aligned": "gradient-alignment"},
)
_OUTER = "bilevelmorph.training.outer_objective"
OUTER_OBJECTIVES = Registry(
    "outer_loss",
    {
        "dice": f"{_OUTER}:DiceObjective",
        "landmarks": f"{_OUTER}:LandmarkObjective",
        "label-free": f"{_OUTER}:LabelFreeObjective",
        "weighted": f"{_OUTER}:WeightedObjective",
    },
)
_ITK_ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
READERS = Registry(
    "reader",
    {
        ".nii": "bilevelmorph.io.volumes:read_nibabel",
        ".nii.gz": "bilevelmorph.io.volumes:read_nibabel",
        ".mgz": "bilevelmorph.io.volumes:read_nibabel",
        ".mgh": "bilevelmorph.io.volumes:read_nibabel",
        ".hdr": "bilevelmorph.io.volumes:read_nibabel",
        ".img": "bilevelmorph.io.volumes:read_nibabel",
        ".mnc": "bilevelmorph.io.volumes:read_nibabel",
        ".npy": "bilevelmorph.io.volumes:read_numpy",
        ".npz": "bilevelmorph.io.volumes:read_numpy",
        **dict.fromkeys(_ITK_ENDINGS, "bilevelmorph.io.simpleitk:read_itk"),
    },
)
