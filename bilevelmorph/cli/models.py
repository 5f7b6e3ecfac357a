"""List the bundled models, or show the card of one."""

from __future__ import annotations

import argparse

from bilevelmorph.checks import fail


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All flags."""
    parser.add_argument("name", nargs="?", help="show this model's card")


def run(options: argparse.Namespace) -> None:
    """Print."""
    from bilevelmorph.inference.models import DEFAULT, bundled_models

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
