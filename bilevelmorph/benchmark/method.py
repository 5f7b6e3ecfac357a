"""A method of a benchmark, as it is named on the command line."""

from __future__ import annotations

import ast
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bilevelmorph.errors import fail

ADAPTERS = Path(__file__).with_name("adapters")
OURS = ADAPTERS / "bilevelmorph.py"


@dataclass(frozen=True)
class Method:
    """A method: the file that adapts it, and its setting.

    Args:
        name: How it is named in tables.
        adapter: The file, see `bilevelmorph.benchmark.adapters`.
        setting: One of its settings.

    >>> Method.of("greedy").setting, Method.of("general:best").adapter.stem
    ('default', 'bilevelmorph')
    """

    name: str
    adapter: Path
    setting: str

    @classmethod
    def of(cls, text: str) -> Method:
        """The method with a name.

        Args:
            text: ``NAME`` or ``NAME:SETTING`` of a bundled adapter, such as ``greedy:slow``; the same with
                a file in place of the name, ``my_method.py``; or a model of ours,
                ``MODEL:QUALITY`` or ``MODEL:QUALITY:SETTINGS``, the last a file; the model ``none``
                is instance optimisation alone, ``none:fast`` the affine step alone.

        Raises:
            InputError: There is no such file or setting.
        """
        file, colon, setting = text.partition(".py:") if ".py:" in text else (text, "", "")
        if colon or text.endswith(".py"):
            path = Path(f"{file.removesuffix('.py')}.py")
            if not path.is_file():
                raise fail("methods", text, f"an existing file in place of {path}")
            return cls(text, path.absolute(), _setting(path, setting, text))
        name, _, setting = text.partition(":")
        path = ADAPTERS / f"{name}.py"
        if name in bundled():
            return cls(text, path, _setting(path, setting, text))
        return cls(text, OURS, _our_setting(text))

    @property
    def description(self) -> str:
        """What it is, and what its setting is."""
        facts = constants(self.adapter)
        setting = facts.get("SETTINGS", {}).get(self.setting, "")
        what = str(facts["doc"]).splitlines()[0].rstrip(".") if facts["doc"] else self.adapter.stem
        return what if not setting else f"{what}; {setting}"

    def python(self, environments: Path | None) -> Path | None:
        """The Python to run it with: of its own environment, else this one if it is installed here.

        Args:
            environments: The folder of the environments, see `make_environment`.
        """
        if environments is not None and self.adapter != OURS:
            for part in ("bin/python", "Scripts/python.exe"):
                own = environments / self.adapter.stem / part
                if own.is_file():
                    return own.absolute()
        missing = [
            m for m in constants(self.adapter).get("MODULES", ()) if importlib.util.find_spec(m) is None
        ]
        return None if missing else Path(sys.executable)


def bundled() -> list[str]:
    """Names of the methods of others that have an adapter.

    >>> bundled()
    ['ants', 'convexadam', 'elastix', 'greedy', 'identity', 'niftyreg', 'voxelmorph']
    """
    return sorted(p.stem for p in ADAPTERS.glob("*.py") if p != OURS and not p.stem.startswith("_"))


def constants(adapter: Path) -> dict[str, Any]:
    """The constants of an adapter and, as ``doc``, its docstring, read without running it.

    >>> constants(OURS)["MODULES"]
    ('bilevelmorph',)
    """
    try:
        tree = ast.parse(adapter.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise fail(str(adapter), " ".join(str(error).split()), "a Python file") from error
    found: dict[str, Any] = {"doc": ast.get_docstring(tree)}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        for target in targets:
            value = getattr(node, "value", None)
            if isinstance(target, ast.Name) and target.id.isupper() and value is not None:
                try:
                    found[target.id] = ast.literal_eval(value)
                except ValueError:
                    continue
    return found


def _setting(adapter: Path, setting: str, text: str) -> str:
    known = constants(adapter).get("SETTINGS") or {}
    if setting and known and setting not in known:
        raise fail("methods", text, f"one of the settings {', '.join(known)}")
    return setting or next(iter(known), "")


def _our_setting(text: str) -> str:
    """Check the name of a method of ours; the same with absolute paths."""
    from bilevelmorph.models.bundled import bundled_models
    from bilevelmorph.registration.quality import QUALITIES

    model, *rest = text.split(":", 2)
    here = [*bundled_models(), "none"]
    if model not in here and not Path(model).is_file():
        known = ", ".join([*bundled(), *(f"{name}:QUALITY" for name in here)])
        raise fail("methods", text, f"a Python file, a model's file, or one of {known}")
    if rest and rest[0] not in QUALITIES:
        raise fail("methods", text, f"{model}:QUALITY with one of {', '.join(QUALITIES)}")
    if len(rest) > 1 and not Path(rest[1]).is_file():
        raise fail("methods", text, f"an existing file of settings in place of {rest[1]}")
    files = {0: model not in here, 2: len(rest) > 1}
    return ":".join(
        str(Path(part).absolute()) if files.get(i) else part for i, part in enumerate([model, *rest])
    )
