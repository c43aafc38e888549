"""The environments' arrays as the values of the simulators of :mod:`tests.envs.simulators`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from mbrl_envs import ButtonGrid, FunctionalEnv, OpenGrid, PanFlute, ProcMaze
from tests.envs import simulators
from tests.envs.simulators import Buttons, Maze


class Adapter(NamedTuple):
    """How an environment's arrays (NumPy, one step of one lane) read as the simulator's values."""

    simulator: Any
    state: Callable[[Any], Any]
    events: Callable[[Any], tuple]
    flag: str  # the field of the events that holds the rare event


def cell_of(index: Any, n: int) -> tuple[int, int]:
    assert 0 <= int(index) < n * n
    return divmod(int(index), n)


def maze_of(state: Any, n: int) -> Maze:
    bits = sum(int(word) << (32 * i) for i, word in enumerate(state.open))
    assert bits >> (n * n) == 0
    wall = [[(bits >> (row * n + column)) % 2 == 0 for column in range(n)] for row in range(n)]
    return Maze(cell_of(state.position, n), cell_of(state.goal, n), wall)


def buttons_of(state: Any, n: int) -> Buttons:
    return Buttons(cell_of(state.position, n), [cell_of(b, n) for b in state.buttons], [bool(b) for b in state.on])


def pipes_of(state: Any, num_pipes: int) -> list[list[bool]]:
    bits = iter(state.pipes.tolist())
    return [[next(bits) for _ in range(i + 1)] for i in range(num_pipes)]


def adapter(env: FunctionalEnv) -> Adapter:
    match env:
        case ProcMaze(grid_size=n, teleport_on_termination=teleports):
            simulator = simulators.ProcMazeSimulator(n, teleports)
            return Adapter(simulator, lambda s: maze_of(s, n), lambda e: (bool(e.teleport),), "teleport")
        case OpenGrid(grid_size=n, teleport_on_termination=teleports):
            simulator = simulators.OpenGridSimulator(n, teleports)
            return Adapter(simulator, lambda s: cell_of(s.position, n), lambda e: (bool(e.teleport),), "teleport")
        case ButtonGrid(grid_size=n, activate_on_reset=activates):
            simulator = simulators.ButtonGridSimulator(n, activates)
            return Adapter(simulator, lambda s: buttons_of(s, n), lambda e: (bool(e.all_on), buttons_of(e.layout, n)), "all_on")
        case PanFlute(num_pipes=p):
            return Adapter(simulators.PanFluteSimulator(p), lambda s: pipes_of(s, p), lambda e: (bool(e.all_on),), "all_on")
    raise AssertionError(env)
