"""How the committed table of a benchmark is made: what each module of this folder says of itself, as ``RECORDED``."""

from __future__ import annotations

from typing import NamedTuple


class Recorded(NamedTuple):
    """How a benchmark is run.

    Attributes:
        arguments: Those of the committed table.
        quick: Those of a smoke test, whose numbers mean nothing.
        one_thread: Whether libraries of linear algebra get one thread (``OMP_NUM_THREADS=1``).
        one_core: Whether it runs on one core of the machine, as ``taskset -c 0`` does it.
        needs: Variables of the environment without which the committed table would lack rows.
    """

    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    one_thread: bool = False
    one_core: bool = False
    needs: tuple[str, ...] = ()

    def command(self, name: str, *, quick: bool = False) -> str:
        """What a person would type."""
        start = "".join(f"{variable}=… " for variable in self.needs if not quick)
        start += "OMP_NUM_THREADS=1 " * self.one_thread + "taskset -c 0 " * self.one_core
        return " ".join([f"{start}python -m tests.benchmarks.{name}", *(self.quick if quick else self.arguments)])
