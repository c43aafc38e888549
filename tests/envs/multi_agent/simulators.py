"""The environments with several agents once more, from their description alone: plain Python, no JAX, built on nothing of ours.

As in :mod:`tests.envs.simulators`, a step takes its random events as arguments, and cells are ``(row, column)`` pairs.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.envs.simulators import OFFSETS, Cell, flatten


class Players(NamedTuple):
    players: list[Cell]
    cells: list[Cell]
    on: list[bool]


def step_towards(cell: Cell, action: int, n: int) -> Cell:
    there = (cell[0] + OFFSETS[action][0], cell[1] + OFFSETS[action][1])
    return there if there[0] in range(n) and there[1] in range(n) else cell


def walk(n: int, state: Players, actions: list[int]) -> Players:
    """All move; then every player who has moved onto a button presses it, one after the other."""
    after = [step_towards(cell, action, n) for cell, action in zip(state.players, actions, strict=True)]
    on = list(state.on)
    for before, here in zip(state.players, after, strict=True):
        if here != before and here in state.cells:
            pressed = state.cells.index(here)
            on[pressed] = not on[pressed]
    return Players(after, state.cells, on)


def masked(planes: list, eye: Cell, sight: int | None) -> list:
    """What is farther off than ``sight`` is all False; where one sees is a last channel."""
    if sight is None:
        return planes
    shown = []
    for row, line in enumerate(planes):
        shown.append([])
        for column, channels in enumerate(line):
            near = max(abs(row - eye[0]), abs(column - eye[1])) <= sight
            shown[row].append([bit and near for bit in channels] + [near])
    return shown


class CoopButtonGridSimulator:
    def __init__(self, n: int, sight: int | None, activates: bool) -> None:
        self.n, self.sight, self.activates = n, sight, activates

    def step(self, state: Players, actions: list[int], all_on: bool, layout: Players) -> tuple[Players, list[float]]:
        if all(state.on):
            return layout, [1.0] * len(actions)
        following = walk(self.n, state, actions)
        if all_on and not self.activates:
            following = layout
        elif all_on:
            following = following._replace(on=[True] * len(following.on))
        return following, [0.0] * len(actions)

    def observe(self, state: Players, agent: int, form: str) -> list:
        planes = []
        for row in range(self.n):
            planes.append([])
            for column in range(self.n):
                cell = (row, column)
                channels = [state.players[agent] == cell]
                if len(state.players) > 1:
                    channels += [cell in state.players[:agent], cell in state.players[agent + 1 :]]
                lit = cell in state.cells and state.on[state.cells.index(cell)]
                planes[row].append([*channels, lit, cell in state.cells and not lit])
        planes = masked(planes, state.players[agent], self.sight)
        return planes if form == "planes" else flatten(planes)


class ButtonContestSimulator:
    """Players 0, 2, … want all buttons on, players 1, 3, … want them off."""

    def __init__(self, n: int, sight: int | None, activates: bool) -> None:
        self.n, self.sight, self.activates = n, sight, activates

    def step(
        self, state: Players, actions: list[int], all_alike: bool, way: bool, layout: Players
    ) -> tuple[Players, list[float]]:
        if all(state.on):
            return layout, [1.0 if i % 2 == 0 else -1.0 for i in range(len(actions))]
        if not any(state.on):
            return layout, [-1.0 if i % 2 == 0 else 1.0 for i in range(len(actions))]
        following = walk(self.n, state, actions)
        if all_alike and not self.activates:
            following = layout
        elif all_alike:
            following = following._replace(on=[way] * len(following.on))
        return following, [0.0] * len(actions)

    def observe(self, state: Players, agent: int, form: str) -> list:
        wanted = agent % 2 == 0
        numbers = range(len(state.players))
        before = [state.players[i] for i in numbers if i % 2 == agent % 2 and i < agent]
        after = [state.players[i] for i in numbers if i % 2 == agent % 2 and i > agent]
        opponents = [state.players[i] for i in numbers if i % 2 != agent % 2]
        planes = []
        for row in range(self.n):
            planes.append([])
            for column in range(self.n):
                cell = (row, column)
                channels = [state.players[agent] == cell]
                if len(state.players) > 2:
                    channels += [cell in before, cell in after]
                channels += [cell in opponents]
                there = state.on[state.cells.index(cell)] if cell in state.cells else None
                planes[row].append([*channels, there == wanted, there == (not wanted)])
        planes = masked(planes, state.players[agent], self.sight)
        return planes if form == "planes" else flatten(planes)


class CoopPanFluteSimulator:
    """The state is a list of pipes; pipe i is a list of i+1 bits, its end last. Action P is to do nothing."""

    def __init__(self, num_pipes: int, num_agents: int, split: bool) -> None:
        self.num_pipes, self.num_agents, self.split = num_pipes, num_agents, split

    def step(self, pipes: list[list[bool]], actions: list[int], all_on: bool) -> tuple[list[list[bool]], list[float]]:
        success = all(pipe[-1] for pipe in pipes)
        following = []
        for i, pipe in enumerate(pipes):
            moved = [i in actions, *pipe[:-1]]
            following.append([*moved[:-1], True] if all_on else moved)
        return following, [1.0 if success else 0.0] * len(actions)

    def observe(self, pipes: list[list[bool]], agent: int, form: str) -> list:
        seen = []
        for i, pipe in enumerate(pipes):
            hidden = self.split and i % self.num_agents != agent
            seen.append([False] * len(pipe) if hidden else list(pipe))
        who = [agent == other for other in range(self.num_agents)] if self.num_agents > 1 else []
        if form == "flat":
            return [bit for pipe in seen for bit in pipe] + who
        return [[[bit, *who] for bit in pipe + [False] * (self.num_pipes - len(pipe))] for pipe in seen]
