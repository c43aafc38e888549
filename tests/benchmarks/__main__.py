"""Runs the benchmarks and writes their tables: ``python -m tests.benchmarks``.

Every module of this folder is a benchmark and says in ``RECORDED`` how it is run. Each runs in a process of its own, one
after the other; what it prints, with date, machine and versions, becomes ``tables/NAME.md``. Where one fails its old table
stays, and the others run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pathlib
import pkgutil
import re
import subprocess
import sys
import time

from tests.benchmarks.recorded import Recorded

FOLDER = pathlib.Path(__file__).parent
TABLES = FOLDER / "tables"
PARTS = ("__main__", "machine", "recorded")  # no benchmarks, but what they are made with
_HEADER = re.compile(r"^\d{4}-\d\d-\d\d; .*; Python \d", re.MULTILINE)
_TABLE = re.compile(r"^\|---.*\n\| ", re.MULTILINE)


def benchmarks() -> dict[str, Recorded]:
    """How each benchmark is run, by name.

    Raises:
        TypeError: A module does not say it.
    """
    found = {}
    for module in pkgutil.iter_modules([str(FOLDER)]):
        if module.name not in PARTS:
            recorded = getattr(importlib.import_module(f"tests.benchmarks.{module.name}"), "RECORDED", None)
            if not isinstance(recorded, Recorded):
                raise TypeError(f"tests/benchmarks/{module.name}.py must say in RECORDED how it is run")
            found[module.name] = recorded
    return found


def output_of(name: str, recorded: Recorded, *, quick: bool) -> str:
    """What a benchmark prints.

    Raises:
        RuntimeError: It fails, does not say on what machine it ran, prints no table, or lacks what its table needs.
    """
    if not quick and (missing := [name for name in recorded.needs if not os.environ.get(name)]):
        raise RuntimeError(f"its table needs {', '.join(missing)} in the environment")
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", *(recorded.quick if quick else recorded.arguments)]
    environment = os.environ | ({"OMP_NUM_THREADS": "1"} if recorded.one_thread else {})
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if recorded.one_core and cores:
        os.sched_setaffinity(0, {min(cores)})  # children have it from us
    try:
        done = subprocess.run(command, cwd=FOLDER.parents[1], env=environment, stdout=subprocess.PIPE, text=True, check=False)
    finally:
        if cores:
            os.sched_setaffinity(0, cores)
    if done.returncode != 0:
        raise RuntimeError(f"it ended with code {done.returncode}")
    if not _HEADER.search(done.stdout):
        raise RuntimeError("it does not print date, machine and versions (tests.benchmarks.machine.header)")
    if not _TABLE.search(done.stdout):
        raise RuntimeError("it prints no table")
    return done.stdout


def page(name: str, recorded: Recorded, output: str, *, quick: bool) -> str:
    """A table's page."""
    doc = importlib.import_module(f"tests.benchmarks.{name}").__doc__ or ""
    note = "\nA smoke test: the numbers mean nothing.\n" if quick else ""
    return (
        f"<!-- Written by `python -m tests.benchmarks --only {name}`. -->\n\n# {name}\n\n"
        f"{doc.splitlines()[0].replace('``', '`')}\n{note}\n`{recorded.command(name, quick=quick)}`\n\n{output.strip()}\n"
    )


def main(argv: list[str] | None = None) -> int:
    """Runs them; 1 if one has failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--quick", action="store_true", help="a smoke test of each; tables are not kept, but with --out")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the tables (default: tests/benchmarks/tables)")
    options = parser.parse_args(argv)
    known = benchmarks()
    if unknown := sorted({*(options.only or known)} - {*known}):
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    folder = options.out or (None if options.quick else TABLES)
    failed = []
    for name in options.only or known:
        began = time.monotonic()
        print(f"{name}: {known[name].command(name, quick=options.quick)}", flush=True)
        try:
            text = page(name, known[name], output_of(name, known[name], quick=options.quick), quick=options.quick)
        except RuntimeError as error:
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            continue
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.md").write_text(text, encoding="utf-8")
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    if failed:
        print(f"failed, with their old tables left as they were: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
