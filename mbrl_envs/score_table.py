"""The committed table of scores, ``scores.csv``: what the yardsticks say about usual sizes, computed once.

Exact scores of mazes and buttons take a while, so what should be quick (``mbrl envs``, the documentation) reads them here.
``python -m mbrl_envs.documentation --scores`` does, and writes the table anew.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import pathlib
from collections.abc import Iterable
from typing import Any

from mbrl_envs import multi_agent, registration

PATH = pathlib.Path(__file__).with_name("scores.csv")

# Which constants of each environment stand in the table; a new environment with yardsticks adds a row.
SCORED: dict[str, tuple[dict[str, Any], ...]] = {
    "ProcMaze": ({"grid_size": 4}, {"grid_size": 6}, {"grid_size": 10}),
    "OpenGrid": ({"grid_size": 10},),
    "ButtonGrid": ({"grid_size": 5, "num_buttons": 3}, {"grid_size": 10, "num_buttons": 3}),
    "PanFlute": ({"num_pipes": 5},),
    "CueRecall": ({"delay": 10, "num_cues": 4},),
    "RandomWalk2D": ({"grid_size": 17},),
    "CueReward": ({"num_trials": 1},),
    "Starkweather": ({"task": 1}, {"task": 2}),
    "Babayan": ({"delay": 10},),
    "Contingency": tuple({"phase": phase} for phase in ("conditioning", "degradation", "cued")),
    "VariableMagnitude": ({"delay": 10},),
    "VariableProbability": ({"delay": 10},),
    "CoopButtonGrid": tuple({"grid_size": n, "num_buttons": k, "num_agents": 2} for n, k in ((3, 2), (5, 3))),
    "CoopPanFlute": tuple({"num_pipes": pipes, "num_agents": 2} for pipes in (3, 5)),
    "ButtonContest": ({"grid_size": 3, "num_buttons": 2, "players_per_team": 1},),
}
STEPS = (None, 100)
KNOWN = registration.DYNAMICS | multi_agent.DYNAMICS


@dataclasses.dataclass(frozen=True)
class ScoreRow:
    """Scores of one environment.

    Attributes:
        environment: Gymnasium id, or PettingZoo name.
        constants: The constants that matter, as ``name=value`` separated by spaces.
        steps: None for the long run; else episodes are capped at, or rewards averaged over, so many steps from reset.
        optimal: Score of the best policy: return of an episode, or reward per step of a continuing task.
        optimal_standard_error: Its standard error; 0.0 where it is exact.
        uniform: Score of the policy that draws actions uniformly.
        uniform_standard_error: Its standard error.
    """

    environment: str
    constants: str
    steps: int | None
    optimal: float
    optimal_standard_error: float
    uniform: float
    uniform_standard_error: float


def compute(name: str) -> list[ScoreRow]:
    """Computes the rows of one environment (a key of ``SCORED``). May take a minute."""
    from mbrl_envs import yardsticks

    rows = []
    for constants in SCORED[name]:
        env = KNOWN[name](**constants)
        for steps in STEPS:
            best, random = yardsticks.optimal(env, steps=steps), yardsticks.uniform(env, steps=steps)
            numbers = [float(f"{number:.6g}") for number in (*best, *random)]
            rows.append(ScoreRow(env.env_id, _text(constants), steps, *numbers))
    return rows


def write(rows: Iterable[ScoreRow], path: pathlib.Path = PATH) -> None:
    """Writes the table."""
    names = [field.name for field in dataclasses.fields(ScoreRow)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**dataclasses.asdict(row), "steps": "" if row.steps is None else row.steps} for row in rows)


def read(path: pathlib.Path = PATH) -> list[ScoreRow]:
    """Reads the table."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            ScoreRow(
                environment=row["environment"],
                constants=row["constants"],
                steps=int(row["steps"]) if row["steps"] else None,
                optimal=float(row["optimal"]),
                optimal_standard_error=float(row["optimal_standard_error"]),
                uniform=float(row["uniform"]),
                uniform_standard_error=float(row["uniform_standard_error"]),
            )
            for row in csv.DictReader(file)
        ]


def rows_of(env_id: str, rows: Iterable[ScoreRow], *, constants: dict[str, Any] | None = None) -> list[ScoreRow]:
    """The rows of one environment: all, or only those whose constants agree with ``constants``."""
    own = [row for row in rows if row.environment == env_id]
    if constants is None:
        return own
    pairs = set(_text(constants).split())
    return [row for row in own if set(row.constants.split()) <= pairs]


def rounded(value: float, standard_error: float) -> str:
    """``value`` with the digits that mean something, and its standard error if there is one."""
    if standard_error:
        decimals = max(0, -math.floor(math.log10(standard_error)))
        text = f"{value:.{decimals}f} ± {standard_error:.{decimals}f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "−")


def measure(continuing: bool, steps: int | None) -> str:
    """What a score is, in words."""
    if continuing:
        return "reward per step" + (", long run" if steps is None else f", first {steps} steps")
    return "return" + ("" if steps is None else f", at most {steps} steps")


def wanted() -> set[tuple[str, str, int | None]]:
    """What the table should have a row for: Gymnasium id, constants, steps."""
    return {
        (KNOWN[name].env_id, _text(constants), steps)
        for name, several in SCORED.items()
        for constants in several
        for steps in STEPS
    }


def _text(constants: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in constants.items())
