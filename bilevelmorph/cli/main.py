"""`bilevelmorph <command>`: runs the command and reports invalid input in one line."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

from bilevelmorph.errors import InputError

COMMANDS = {
    "register": "align one image with another",
    "instance": "optimise one pair, without training",
    "warp": "apply a displacement to an image or a label map",
    "warp-points": "apply a displacement to points",
    "train": "train a network on your scans",
    "template": "build an unbiased template from your scans",
    "search": "search for a network for your scans, within a time budget",
    "tune": "tune instance optimisation to your scans, within a time budget",
    "fetch": "download a public data set",
    "evaluate": "score a model on pairs with label maps",
    "benchmark": "compare methods, ours and those of others, on the same pairs",
    "export": "export a model for other runtimes",
    "models": "list the bundled models, or show a model's card",
    "demo": "register a synthetic pair made from real anatomy",
}


def command_module(name: str) -> ModuleType:
    """The module of a command: its `Options`, and `run` which takes them."""
    return importlib.import_module("bilevelmorph.cli." + name.replace("-", "_"))


def run(name: str, arguments: Sequence[str], prog: str) -> int:
    """Parse and run one command.

    Returns:
        The exit status: 0, 1 (ran, with failures), 2 (invalid input).
    """
    from bilevelmorph.cli.parsing import parse
    from bilevelmorph.config.flags import flags_of

    module = command_module(name)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The commands run on TensorFlow with Keras's defaults, whatever ~/.keras/keras.json says: Keras
    # looks for that file in KERAS_HOME, and below a device there is none.
    os.environ["KERAS_BACKEND"], os.environ["KERAS_HOME"] = "tensorflow", os.devnull
    try:
        options = parse(module.Options, arguments, prog, module.__doc__)
        return module.run(options) or 0
    except InputError as error:
        print(f"{prog}: error: {error.message(flags_of(module.Options))}", file=sys.stderr)
    except BrokenPipeError:
        raise
    except (ImportError, OSError) as error:
        print(f"{prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
    except Exception as error:
        # Compared by name, so that TensorFlow is not imported for its class.
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
            raise
        print(f"{prog}: error: out of memory; use smaller images or a machine with more", file=sys.stderr)
    return 2


class Terminated(KeyboardInterrupt):
    """The process was asked to end; cleaned up after like an interrupt from the keyboard.

    >>> issubclass(Terminated, Exception)
    False
    """


@contextmanager
def _terminable() -> Iterator[None]:
    """Raise `Terminated` for SIGTERM, so that child processes and temporary files are removed."""

    def end(number: int, frame: object) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _open_streams() -> None:
    """Give a process that was started without standard streams, as daemons are, ones that lead nowhere."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, which is this one.
            os.open(os.devnull, os.O_RDWR)
            if getattr(sys, name) is None:
                setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console command.

    Returns:
        The exit status: that of the command; 128 and the signal's number if it was ended by
        one (130 after Ctrl-C, 143 after SIGTERM, 141 if nobody reads its output any more).
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _open_streams()
    prog = " ".join(["bilevelmorph", *arguments[:1]])
    try:
        with _terminable():
            status = _main(arguments)
            sys.stdout.flush()
            return status
    except KeyboardInterrupt as error:
        return _ended(prog, error)
    except RuntimeError as error:
        # What Python makes of an interrupt while it builds a class.
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        return _ended(prog, error.__cause__)
    except BrokenPipeError:
        # As `head` expects: quietly. The interpreter must not write to the pipe again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _ended(prog: str, error: KeyboardInterrupt) -> int:
    """Say that a signal ended the command, and return its exit status."""
    # An interrupt while an extension is imported makes Python end by the signal itself, whatever the
    # status; it forgets that when it runs a string.
    exec("")
    number, what = (
        (signal.SIGTERM, "terminated") if isinstance(error, Terminated) else (signal.SIGINT, "interrupted")
    )
    print(f"{prog}: {what}", file=sys.stderr)
    return 128 + number


def _main(arguments: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a name must not end what the name stands for.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    if arguments and arguments[0] in COMMANDS:
        return run(arguments[0], arguments[1:], f"bilevelmorph {arguments[0]}")
    listing = "\n".join(f"  {name:<12} {text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="bilevelmorph",
        description="Deformable registration of medical images.",
        epilog=f"commands:\n{listing}\n\n'bilevelmorph COMMAND --help' lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    parser.add_argument("command", nargs="?", choices=list(COMMANDS), metavar="COMMAND")
    options = parser.parse_args(arguments)
    if options.version:
        from bilevelmorph import __version__

        print(__version__)
        return 0
    parser.print_help()
    return 0 if not arguments else 2


if __name__ == "__main__":
    sys.exit(main())
