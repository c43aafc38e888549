"""The environments once more, written from the reference text alone: plain Python, lists, no JAX, no bit tricks.

A simulator is slow and obvious. It takes the random events of a step as an argument, so that it can be replayed against
:mod:`mbrl_envs` with the very same events. Cells are ``(row, column)`` pairs. An observation is a nested list, ``planes`` of
shape (rows, columns, channels) or ``flat``, the same read row by row, cell by cell, channel by channel.

Below them: an independent generator of random depth-first mazes, and the exact distribution of such mazes for small grids.
"""

from __future__ import annotations

import dataclasses
import math
import random
from fractions import Fraction
from typing import NamedTuple

Cell = tuple[int, int]

# no-op, up, left, down, right
OFFSETS = [(0, 0), (-1, 0), (0, -1), (+1, 0), (0, +1)]


class Step(NamedTuple):
    state: object
    reward: float
    terminated: bool


def flatten(planes: list) -> list[bool]:
    """Reads nested lists (rows, columns, channels) in order."""
    return [bit for row in planes for cell in row for bit in cell]


def on_grid(cell: Cell, n: int) -> bool:
    row, column = cell
    return 0 <= row < n and 0 <= column < n


def target(cell: Cell, action: int) -> Cell:
    """The cell that ``action`` points to, on the grid or not."""
    return (cell[0] + OFFSETS[action][0], cell[1] + OFFSETS[action][1])


# --- ProcMaze ---------------------------------------------------------------------------------------------------------


class Maze(NamedTuple):
    player: Cell
    goal: Cell
    wall: list[list[bool]]


class ProcMazeSimulator:
    """The random event teleports, or, without ``teleports``, ends the episode."""

    def __init__(self, n: int, teleports: bool) -> None:
        self.n, self.teleports = n, teleports

    def step(self, state: Maze, action: int, teleport: bool) -> Step:
        terminated = state.player == state.goal
        player = state.player
        there = target(player, action)
        if on_grid(there, self.n) and not state.wall[there[0]][there[1]]:
            player = there
        if teleport and self.teleports:
            player = state.goal
        elif teleport:
            terminated = True
        return Step(Maze(player, state.goal, state.wall), -1.0, terminated)

    def observe(self, state: Maze, form: str) -> list:
        planes = []
        for row in range(self.n):
            planes.append([])
            for column in range(self.n):
                player = state.player == (row, column)
                goal = state.goal == (row, column)
                wall = state.wall[row][column]
                empty = not wall
                planes[row].append([player, goal, wall, empty])
        return planes if form == "planes" else flatten(planes)


def proc_maze_teleport_probability(n: int) -> Fraction:
    half_rounded_up = n // 2 + (1 if n % 2 == 1 else 0)
    return Fraction(1, 10) / ((n + 1) * half_rounded_up - n % 2)


# --- OpenGrid ---------------------------------------------------------------------------------------------------------


class OpenGridSimulator:
    """The state is the player's cell. The random event teleports, or, without ``teleports``, ends the episode."""

    def __init__(self, n: int, teleports: bool) -> None:
        self.n, self.teleports = n, teleports
        self.goal = (n - 1, n - 1)

    def step(self, player: Cell, action: int, teleport: bool) -> Step:
        terminated = player == self.goal
        there = target(player, action)
        if on_grid(there, self.n):
            player = there
        if teleport and self.teleports:
            player = self.goal
        elif teleport:
            terminated = True
        return Step(player, -1.0, terminated)

    def observe(self, player: Cell, form: str) -> list:
        planes = [[[player == (row, column)] for column in range(self.n)] for row in range(self.n)]
        return planes if form == "planes" else flatten(planes)


def open_grid_teleport_probability(n: int) -> Fraction:
    return Fraction(1, 10) / n


# --- ButtonGrid -------------------------------------------------------------------------------------------------------


class Buttons(NamedTuple):
    player: Cell
    cells: list[Cell]
    on: list[bool]


class ButtonGridSimulator:
    """The random event activates all buttons, or, without ``activates``, brings a new layout."""

    def __init__(self, n: int, activates: bool) -> None:
        self.n, self.activates = n, activates

    def step(self, state: Buttons, action: int, all_on: bool, layout: Buttons) -> Step:
        success = all(state.on)
        row = min(max(state.player[0] + OFFSETS[action][0], 0), self.n - 1)
        column = min(max(state.player[1] + OFFSETS[action][1], 0), self.n - 1)
        player = (row, column)
        moved = player != state.player
        on = list(state.on)
        for i, cell in enumerate(state.cells):
            if moved and cell == player:
                on[i] = not on[i]
        if all_on and self.activates:
            on = [True for _ in on]
        following = Buttons(player, state.cells, on)
        if success:
            following = layout
        if all_on and not self.activates:
            following = layout
        return Step(following, 1.0 if success else 0.0, False)

    def observe(self, state: Buttons, form: str) -> list:
        planes = []
        for row in range(self.n):
            planes.append([])
            for column in range(self.n):
                button_on = button_off = False
                for cell, on in zip(state.cells, state.on, strict=True):
                    if cell == (row, column):
                        button_on, button_off = on, not on
                planes[row].append([state.player == (row, column), button_on, button_off])
        return planes if form == "planes" else flatten(planes)


def button_grid_all_on_probability(n: int) -> Fraction:
    return Fraction(1, 10 * n * n)


# --- PanFlute ---------------------------------------------------------------------------------------------------------


class PanFluteSimulator:
    """The state is a list of pipes; pipe i is a list of i+1 bits, its end last."""

    def __init__(self, num_pipes: int) -> None:
        self.num_pipes = num_pipes

    def step(self, pipes: list[list[bool]], action: int, all_on: bool) -> Step:
        success = all(pipe[-1] for pipe in pipes)
        following = []
        for i, pipe in enumerate(pipes):
            following.append([i == action, *pipe[:-1]])
        if all_on:
            for pipe in following:
                pipe[-1] = True
        return Step(following, 1.0 if success else 0.0, False)

    def observe(self, pipes: list[list[bool]], form: str) -> list:
        if form == "flat":
            return [bit for pipe in pipes for bit in pipe]
        return [[[bit] for bit in pipe] + [[False]] * (self.num_pipes - len(pipe)) for pipe in pipes]


def pan_flute_all_on_probability(num_pipes: int) -> Fraction:
    return Fraction(1, num_pipes * num_pipes)


# --- CueRecall --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class CueRecallSimulator:
    """One episode."""

    delay: int
    num_cues: int
    cue: int

    def __post_init__(self) -> None:
        self.seen = 0  # observations so far
        self.lit = [i == self.cue for i in range(self.num_cues)]

    def observation(self) -> list[bool]:
        return [*self.lit, self.seen == self.delay + 1]

    def step(self, action: int, lit: list[bool]) -> tuple[float, bool]:
        asked = self.seen == self.delay + 1
        self.seen += 1
        self.lit = lit
        return float(asked and action == self.cue), asked


# --- RandomWalk2D -----------------------------------------------------------------------------------------------------


class RandomWalkSimulator:
    """The state is the walker's cell."""

    def __init__(self, n: int, goal: Cell | None, reward_width: int, edges: str) -> None:
        self.n, self.goal, self.reward_width, self.edges = n, goal or (n // 4, n // 4), reward_width, edges

    def start(self) -> Cell:
        return self.n // 2, self.n // 2

    def step(self, here: Cell, action: int) -> Step:
        squared = (here[0] - self.goal[0]) ** 2 + (here[1] - self.goal[1]) ** 2
        reward = math.exp(-squared / (2 * self.reward_width**2)) if self.reward_width else float(squared == 0)
        axis, by = [(0, -1), (1, -1), (0, +1), (1, +1)][action]
        there = list(here)
        there[axis] += by
        if not 0 <= there[axis] < self.n:
            there[axis] = here[axis] - by if self.edges == "bounce" else here[axis]
        return Step((there[0], there[1]), reward, False)

    def observe(self, here: Cell, one_hot: bool) -> list[float]:
        if one_hot:
            return [here == (row, column) for row in range(self.n) for column in range(self.n)]
        return [float(here[0]), float(here[1])]


# --- Mazes ------------------------------------------------------------------------------------------------------------


def neighbours(cell: Cell, n: int) -> list[Cell]:
    around = [target(cell, action) for action in (1, 2, 3, 4)]
    return [other for other in around if on_grid(other, n)]


def expandable_neighbours(cell: Cell, visited: set[Cell] | frozenset[Cell], n: int) -> list[Cell]:
    """Neighbours on the grid that are unvisited and have exactly one visited neighbour themselves."""
    return [
        other
        for other in neighbours(cell, n)
        if other not in visited and sum(beside in visited for beside in neighbours(other, n)) == 1
    ]


def generate_maze(n: int, rng: random.Random) -> frozenset[Cell]:
    """Draws the open cells of a random depth-first maze."""
    first = (rng.randrange(n), rng.randrange(n))
    visited = {first}
    stack = [first]
    while stack:
        cell = stack.pop()
        candidates = expandable_neighbours(cell, visited, n)
        if candidates:
            chosen = rng.choice(candidates)
            stack.append(cell)
            stack.append(chosen)
            visited.add(chosen)
    return frozenset(visited)


def maze_distribution(n: int) -> dict[frozenset[Cell], Fraction]:
    """Exact probability of every maze, by following all random choices at once.

    Walks that have opened the same cells and have the same way back are the same from here on, so they are followed together.
    Takes milliseconds for n = 3 and 4, seconds for n = 5, and too much beyond.
    """
    finished: dict[frozenset[Cell], Fraction] = {}
    walks: dict[tuple[frozenset[Cell], tuple[Cell, ...]], Fraction] = {}
    for row in range(n):
        for column in range(n):
            walks[(frozenset({(row, column)}), ((row, column),))] = Fraction(1, n * n)
    while walks:
        following: dict[tuple[frozenset[Cell], tuple[Cell, ...]], Fraction] = {}
        for (visited, stack), probability in walks.items():
            candidates: list[Cell] = []
            while stack and not candidates:
                cell, stack = stack[-1], stack[:-1]
                candidates = expandable_neighbours(cell, visited, n)
            if not candidates:
                finished[visited] = finished.get(visited, Fraction(0)) + probability
            for chosen in candidates:
                walk = (visited | {chosen}, (*stack, cell, chosen))
                following[walk] = following.get(walk, Fraction(0)) + probability / len(candidates)
        walks = following
    return finished


def distances(start: Cell, maze: frozenset[Cell], n: int) -> dict[Cell, int]:
    """Lengths of the shortest paths from ``start`` to all open cells that can be reached."""
    found = {start: 0}
    frontier = [start]
    while frontier:
        cell = frontier.pop(0)
        for other in neighbours(cell, n):
            if other in maze and other not in found:
                found[other] = found[cell] + 1
                frontier.append(other)
    return found
