"""Yardsticks of the competitive ButtonGrid: the best answer of team on to a team off that acts uniformly.

Two teams that act alike have score 0, as the game is symmetric, so 0 is the uniform policy's score and also what the best play
is worth against the best play. What can be gained from uniform opponents is found by dynamic programming over joint actions, in
which team on chooses together and sees everything, and team off's actions are averaged.
"""

from __future__ import annotations

import functools

import numpy as np

from mbrl_envs.multi_agent.button_contest import ButtonContest
from mbrl_envs.yardsticks.button_layouts import ButtonSets, all_sets
from mbrl_envs.yardsticks.joint_walks import check_size, distinct_starts, joint_step, player_steps
from mbrl_envs.yardsticks.scores import Score, optimal_solver, uniform_solver

MOST_STATES = 50_000  # of all layouts (up to symmetry) together
PRECISION = 1e-12
MOST_ITERATIONS = 100_000


@optimal_solver.register(ButtonContest)
def _optimal(env: ButtonContest, steps: int | None) -> Score:
    """Of team on, against team off acting uniformly."""
    size = (env.grid_size, env.num_buttons, env.players_per_team)
    return Score(_best_answer(*size, env.all_alike_probability, not env.activate_on_reset, steps))


@functools.lru_cache(maxsize=64)
def _best_answer(n: int, k: int, per_team: int, event: float, restarts: bool, steps: int | None) -> float:
    game = _Game(n, k, per_team, event, restarts)
    return _long_run(game) if steps is None else _finite(game, steps)


@uniform_solver.register(ButtonContest)
def _uniform(env: ButtonContest, steps: int | None) -> Score:
    """0: exchanging the teams turns every course of the game into one that is as likely and has the opposite score."""
    del env, steps
    return Score(0.0)


class _Game:
    """Tables of all layouts.

    Raises:
        ValueError: They are too large.
    """

    def __init__(self, n: int, k: int, per_team: int, event: float, restarts: bool) -> None:
        check_size(n, k, 2 * per_team, "ButtonContest")
        self.sets: ButtonSets = all_sets(n, k)
        self.shape = (*(n * n,) * (2 * per_team), 1 << k)
        states = len(self.sets.weights) * int(np.prod(self.shape))
        if states > MOST_STATES:
            raise ValueError(
                f"the best score of ButtonContest is out of reach with grid_size={n}, num_buttons={k}, {2 * per_team} players: "
                f"all layouts together may have at most {MOST_STATES} joint states, got {states}"
            )
        self.event, self.restarts, self.acting = event, restarts, ["max", "mean"] * per_team
        self.steps = [player_steps(buttons, n) for buttons in self.sets.cells]
        self.starts = distinct_starts(n, 2 * per_team)

    def at_start(self, tables: list[np.ndarray]) -> float:
        """The mean over starts of what tables say; the buttons are neither all on nor all off there."""
        means = [table[..., 1:-1][self.starts].mean() for table in tables]
        return float(self.sets.weights @ means)

    def before(self, tables: list[np.ndarray], anew: float, cost: float = 0.0) -> list[np.ndarray]:
        """Tables one step earlier, less the step's cost; ``anew`` is what a layout drawn anew is worth."""
        expected = []
        for table, steps in zip(tables, self.steps, strict=True):
            # No matter where the players are.
            by_event = anew if self.restarts else (table.flat[0] + table.flat[-1]) / 2
            after = (1 - self.event) * joint_step(table, steps, self.acting) + self.event * by_event - cost
            after[..., 0], after[..., -1] = anew - 1 - cost, anew + 1 - cost
            expected.append(after)
        return expected


def _finite(game: _Game, steps: int) -> float:
    """Backward induction: the reward to come in the last t steps."""
    tables = [np.zeros(game.shape) for _ in game.steps]
    for _ in range(steps):
        tables = game.before(tables, game.at_start(tables))
    return game.at_start(tables) / steps


def _long_run(game: _Game) -> float:
    """The gain g at which a round, from a layout to the step that draws the next, brings just g for each of its steps.

    What a round brings beyond that is a decreasing convex function of g; its root is found by the secant method.
    """
    tables = [np.zeros(game.shape) for _ in game.steps]

    def surplus(gain: float) -> float:
        nonlocal tables
        for _ in range(MOST_ITERATIONS):
            following = game.before(tables, 0.0, cost=gain)
            change = max(float(np.abs(new - old).max()) for new, old in zip(following, tables, strict=True))
            tables = following
            if change < PRECISION:
                return game.at_start(tables)
        raise ArithmeticError("the value iteration did not converge")

    low, high = 0.01, 0.02
    at_low, at_high = surplus(low), surplus(high)
    while abs(at_high) > 100 * PRECISION and at_high != at_low:
        low, high, at_low = high, high - at_high * (high - low) / (at_high - at_low), at_high
        at_high = surplus(high)
    return high
