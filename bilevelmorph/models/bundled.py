"""Loading of models by name or file."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bilevelmorph.errors import fail

if TYPE_CHECKING:
    from bilevelmorph.networks.base import RegistrationNetwork

DEFAULT = "general"


@dataclass(frozen=True)
class BundledModel:
    """A trained model that comes with the package.

    Args:
        name: Name under which `load_model` finds the model.
        folder: Folder with `model.keras`, `card.md` and `card.json`.

    >>> BundledModel("brain", Path("models/brain")).file.as_posix()
    'models/brain/model.keras'
    """

    name: str
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "model.keras"

    @property
    def card(self) -> str:
        """The model card, in Markdown."""
        return (self.folder / "card.md").read_text(encoding="utf-8")

    @property
    def facts(self) -> dict[str, Any]:
        """Key facts of the model card, and the ``sha256`` of the file."""
        return json.loads((self.folder / "card.json").read_text(encoding="utf-8"))

    def check(self) -> None:
        """Compare the file with its checksum in the card.

        Raises:
            InputError: The file is another one, or damaged.
        """
        found = hashlib.sha256(self.file.read_bytes()).hexdigest()
        if found != (expected := self.facts["sha256"]):
            raise fail(str(self.file), f"SHA-256 {found}", expected, "install the package again")


def folder_of_models() -> Path | None:
    """The folder of bundled models: in the installed package, or `models/` of a checkout."""
    spec = importlib.util.find_spec("bilevelmorph.bundled")
    places = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    places.append(Path(__file__).resolve().parents[2] / "models")
    return next((p for p in places if p.is_dir() and any(p.glob("*/model.keras"))), None)


def bundled_models() -> dict[str, BundledModel]:
    """Every bundled model by name."""
    folder = folder_of_models()
    found = sorted(folder.glob("*/model.keras")) if folder else []
    return {p.parent.name: BundledModel(p.parent.name, p.parent) for p in found}


def find_model(name_or_file: str) -> str:
    """The name of a bundled model, or the absolute path of a file.

    Raises:
        InputError: There is neither such a model nor such a file.

    >>> find_model("general")
    'general'
    """
    bundled, path = bundled_models(), Path(name_or_file)
    if name_or_file in bundled:
        return name_or_file
    if not path.is_file():
        names = ", ".join(bundled) or "none"
        raise fail("model", name_or_file, f"a bundled model ({names}), a .keras file or VoxelMorph's .h5")
    return str(path.absolute())


def load_model(name_or_file: str = DEFAULT) -> RegistrationNetwork:
    """Load a bundled model or a model file.

    Args:
        name_or_file: A bundled model's name, a `.keras` file, or VoxelMorph's `.h5`.

    Returns:
        A `RegistrationNetwork`.

    Raises:
        InputError: There is neither such a model nor such a file, or the file is not a model, or it has
            not the checksum in its card.
    """
    from bilevelmorph.models.weights import load_network
    from bilevelmorph.networks.base import RegistrationNetwork

    place = find_model(name_or_file)
    bundled = bundled_models()
    if place in bundled:
        bundled[place].check()
        return load_network(bundled[place].file)
    path = Path(place)
    model = load_network(path)
    if not isinstance(model, RegistrationNetwork):
        raise fail(str(path), f"a {type(model).__name__}", "a registration network of bilevelmorph")
    return model
