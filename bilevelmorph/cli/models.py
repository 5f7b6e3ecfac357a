"""List the bundled models, or show the card of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro
from tyro.conf import arg

from bilevelmorph.errors import fail


@dataclass(frozen=True)
class Options:
    """Options of the list of models.

    >>> Options().name is None
    True
    """

    name: Annotated[tyro.conf.Positional[str | None], arg(metavar="NAME")] = None
    """Name of the model whose card is shown; without a name, all models are listed."""


def run(options: Options) -> None:
    """List the models, or print a card."""
    from bilevelmorph.models.bundled import DEFAULT, bundled_models

    models = bundled_models()
    if not models:
        raise fail("bundled models", "none", "a folder models/ with the package", "install it again")
    if options.name:
        if options.name not in models:
            raise fail("model", options.name, "one of " + ", ".join(models))
        print(models[options.name].card)
        return
    for name, model in models.items():
        mark = " (default)" if name == DEFAULT else ""
        print(f"{name}{mark}: {model.facts['summary']}")
