"""Parsing of command lines into the options of a command, with tyro."""

from __future__ import annotations

import io
import os
import sys
import typing
from collections.abc import Sequence
from contextlib import redirect_stderr
from itertools import takewhile
from typing import Any, TypeVar

import tyro

from bilevelmorph.config.codec import RENAMED, Table

T = TypeVar("T")

FORMER_FLAGS = {f"--{old.replace('_', '-')}": f"--{new.replace('_', '-')}" for old, new in RENAMED.items()}
_STYLE = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)


def parse(options: type[T], words: Sequence[str], prog: str, description: str | None = None) -> T:
    """Parse a command line.

    Args:
        options: Dataclass whose fields are the flags. If it has a field `config_file`,
            the values in that file replace the defaults.
        words: Arguments, without the names of the program and the command.
        prog: Name of the program in messages.
        description: What the command does.

    Raises:
        SystemExit: With status 2 after one line on stderr, if a flag is wrong; with
            status 0 after the help.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Options:
    ...     lr: float = 1e-4
    >>> parse(Options, ["--lr", "0.01"], "train").lr
    0.01
    """
    words = _present(words, prog)
    help_is_asked_for = any(word in ("-h", "--help") for word in words)
    said, columns = io.StringIO(), os.environ.get("COLUMNS")
    if not help_is_asked_for:
        os.environ["COLUMNS"] = "100000"  # so that no path is broken into lines
    try:
        with redirect_stderr(said):
            return tyro.cli(
                options,
                prog=prog,
                description=description,
                args=words,
                default=_from_file(options, words),
                config=_STYLE,
            )
    except SystemExit as end:
        if end.code:
            print(f"{prog}: error: {_in_one_line(said.getvalue())}; see {prog} --help", file=sys.stderr)
        raise
    finally:
        if columns is None:
            os.environ.pop("COLUMNS", None)
        else:
            os.environ["COLUMNS"] = columns


def _present(words: Sequence[str], prog: str) -> list[str]:
    """The arguments, with flags of version 0.1 replaced by the current ones."""
    out = []
    for word in map(str, words):
        flag, equals, value = word.partition("=")
        if flag in FORMER_FLAGS:
            print(f"{prog}: {flag} is called {FORMER_FLAGS[flag]} now", file=sys.stderr)
            flag = FORMER_FLAGS[flag]
        out.append(flag + equals + value)
    return out


def _from_file(options: type[T], words: Sequence[str]) -> Any:
    """Defaults from the file given by ``--config``, if the command takes one."""
    given = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--config"]
    given += [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
    hints = typing.get_type_hints(options)
    parts = {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, Table)}
    if not given or "config_file" not in hints:
        return tyro.MISSING_NONPROP
    return options(**{name: configuration.load(given[-1]) for name, configuration in parts.items()})


def _in_one_line(text: str) -> str:
    """The body of an error message of tyro, between its title and the next rule, without the frame."""
    lines = [line.strip(" │") for line in text.splitlines()][1:]
    if lines and _is_rule(lines[0]):  # below the title if the terminal has no Unicode
        lines = lines[1:]
    said = [line.strip() for line in takewhile(lambda line: not _is_rule(line), lines) if line.strip()]
    if said and said[0].startswith("Missing from"):
        return "required: " + ", ".join(line.split()[0] for line in said if line.startswith("--"))
    return " ".join(" ".join(said).split()).rstrip(".")


def _is_rule(line: str) -> bool:
    return line.startswith("╰") or set(line.strip()) in ({"─"}, {"-"})
