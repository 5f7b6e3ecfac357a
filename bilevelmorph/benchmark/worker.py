"""Runs one method of a benchmark, with the Python of the method's own environment.

    python worker.py ADAPTER.py

Needs the standard library alone. Requests and answers are lines of JSON on the standard
streams; `bilevelmorph.benchmark.method_process.MethodProcess` is the other end.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import sys
import time
from types import ModuleType, SimpleNamespace
from typing import Any


def main(path: str) -> None:
    """Answer requests until the input ends: to register a pair or, with the key ``train``, to train."""
    # What the method prints, in C as well, must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    adapter: Any = None
    warm = False
    for line in sys.stdin:
        try:
            adapter = adapter or _loaded(path)
            request = json.loads(line)
            if request.pop("train", False):
                adapter.train(SimpleNamespace(**request))
                answer = {}
            else:
                answer = _register(adapter, SimpleNamespace(**request), warm)
                warm = True
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)


def _loaded(path: str) -> ModuleType:
    # The folder of this file is not the method's: names in it must not hide those of packages.
    sys.path[:] = [p for p in sys.path if os.path.abspath(p) != os.path.dirname(os.path.abspath(__file__))]
    spec = importlib.util.spec_from_file_location("_adapter", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _register(adapter: Any, case: Any, warm: bool) -> dict[str, Any]:
    for _ in range(0 if warm else getattr(adapter, "WARM_UP", 0)):
        adapter.register(adapter.prepare(case))
    prepared = adapter.prepare(case)
    _forget_peak()
    begun = time.perf_counter()
    result = adapter.register(prepared)
    seconds = time.perf_counter() - begun
    memory = _peak()
    adapter.save(prepared, result, case.out)
    return {"seconds": seconds, "memory_mb": memory, "versions": _versions(adapter)}


def _versions(adapter: Any) -> dict[str, str]:
    found = {}
    for package in getattr(adapter, "PACKAGES", ()):
        name = re.split(r"[=<>~!\[ ]", package.split()[-1])[0]
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _forget_peak() -> None:
    """Start anew with the peak of the memory, where the system can."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as stream:
            stream.write("5")
    except OSError:
        pass


def _peak() -> float | None:
    """The largest memory of this process, or of a program that it ran, in megabytes."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    own, others = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    try:
        with open("/proc/self/status", encoding="ascii") as stream:
            own = next(int(line.split()[1]) for line in stream if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    return max(own, others) / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main(sys.argv[1])
