"""What an agent's world model imagines, beside what happens in the agent's environment: tables and pictures in a folder."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium
import jax
import numpy as np
import pandas as pd

from mbrl_agents.experiments import imagination_plots as plots
from mbrl_agents.experiments.figures import save
from mbrl_agents.experiments.imagination_pictures import rollouts_figure
from mbrl_agents.experiments.results import write_csv
from mbrl_agents.model_dqn.foresight import Trajectory, learner_with_model
from mbrl_agents.model_dqn.inspection import imagined_rollouts, prediction_errors, termination_calibration
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_envs import FunctionalGymEnv
from mbrl_envs.checks import integer_in

ERRORS, CALIBRATION = "prediction_errors.csv", "termination_calibration.csv"
ERRORS_PLOT, CALIBRATION_PLOT, ROLLOUTS_PLOT = "prediction_errors.png", "calibration.png", "rollouts.png"
FILES = (ERRORS, CALIBRATION, ERRORS_PLOT, CALIBRATION_PLOT, ROLLOUTS_PLOT)
DEFAULT_HORIZON, MOST_HORIZON = 10, 1000
REAL_STEPS = 3000  # that the model is judged by
SHOWN = 3  # roll-outs in the picture


class Findings(NamedTuple):
    """What was found out about a model.

    Attributes:
        errors: See :func:`~mbrl_agents.model_dqn.inspection.prediction_errors`.
        calibration: See :func:`~mbrl_agents.model_dqn.inspection.termination_calibration`.
        files: Names of the files written.
    """

    errors: pd.DataFrame
    calibration: pd.DataFrame | None
    files: tuple[str, ...]


def check_folder(folder: str | os.PathLike[str]) -> pathlib.Path:
    """The folder, if findings may be written there: it is new, or holds earlier findings alone, which are replaced.

    Raises:
        FileExistsError: There is something else.
    """
    target = pathlib.Path(folder)
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{target} is a file: choose another folder")
    others = sorted({path.name for path in target.iterdir()} - {*FILES}) if target.exists() else []
    if others:
        raise FileExistsError(f"{target} holds other things ({', '.join(others[:3])}): choose a new folder")
    return target


def collect(agent: Any, environment: EnvironmentSpec, *, steps: int, greedy: bool = False, seed: int = 0) -> list[Trajectory]:
    """Has an agent play, and keeps what happens.

    Args:
        agent: The agent.
        environment: Where it plays. Its own time limit holds; on functional environments an episode is left after 100 steps at
            the latest, as in evaluations, so that there are several.
        steps: Number of steps.
        greedy: Whether it acts greedily; else it explores as at the end of its training.
        seed: Seed of the episodes.

    Returns:
        The episodes, the last one cut short if need be.
    """
    trajectories: list[Trajectory] = []
    with contextlib.closing(environment.make()) as env:
        dynamics = env.unwrapped.dynamics if isinstance(env.unwrapped, FunctionalGymEnv) else None
        longest = steps if dynamics is None else dynamics.evaluation_steps
        while steps > 0:
            observation, _ = env.reset(seed=None if trajectories else seed)
            trajectories.append(_episode(agent, env, observation, min(steps, longest), greedy))
            steps -= len(trajectories[-1].actions)
    return trajectories


def _episode(agent: Any, env: gymnasium.Env, observation: Any, steps: int, greedy: bool) -> Trajectory:
    observations, states = [observation], [_state(env)]
    actions: list[int] = []
    rewards: list[float] = []
    terminated = truncated = False
    while len(actions) < steps and not (terminated or truncated):
        action, _ = agent.predict(observation, deterministic=greedy)
        observation, reward, terminated, truncated, _ = env.step(int(action))
        observations.append(observation)
        states.append(_state(env))
        actions.append(int(action))
        rewards.append(float(reward))
    together = None if states[0] is None else jax.tree.map(lambda *leaves: np.stack(leaves), *states)
    return Trajectory(np.array(observations), np.array(actions), np.array(rewards), bool(terminated), together)


def _state(env: gymnasium.Env) -> Any:
    """State of a functional environment, None of others."""
    inner = env.unwrapped
    return jax.tree.map(np.array, inner.state) if isinstance(inner, FunctionalGymEnv) else None


def some_starts(trajectories: Sequence[Trajectory], steps: int, number: int) -> list[Trajectory]:
    """Parts of trajectories, each of ``steps`` steps, or of as many as the longest has; spread over all of them."""
    length = min(steps, max(len(each.actions) for each in trajectories))
    starts = [(each, at) for each in trajectories for at in range(len(each.actions) - length + 1)]
    chosen = np.unique(np.linspace(0, len(starts) - 1, number + 2)[1:-1].round().astype(int))
    return [_part(starts[i][0], starts[i][1], length) for i in chosen]


def _part(trajectory: Trajectory, start: int, length: int) -> Trajectory:
    here, after = slice(start, start + length), slice(start, start + length + 1)
    ended = trajectory.terminated and start + length == len(trajectory.actions)
    states = jax.tree.map(lambda leaf: leaf[after], trajectory.states)
    return Trajectory(trajectory.observations[after], trajectory.actions[here], trajectory.rewards[here], ended, states)


def write_findings(
    agent: Any,
    environment: EnvironmentSpec,
    folder: str | os.PathLike[str],
    *,
    steps: int = DEFAULT_HORIZON,
    greedy: bool = False,
    seed: int = 0,
) -> Findings:
    """Judges an agent's world model by real trajectories of the agent, and writes tables and pictures.

    Args:
        agent: A ``PerfectModelDQN``, ``SimpleModelDQN`` or ``LatentModelDQN``.
        environment: Where it plays.
        folder: New folder, or one with earlier findings, which are replaced.
        steps: Most steps that are imagined from a start.
        greedy: Whether the agent acts greedily; else it explores as at the end of its training.
        seed: Decides which episodes these are, and what is drawn in imagination.

    Raises:
        FileExistsError: There is something else in the folder.
        TypeError: The agent has no world model.
        ValueError: ``steps`` is out of range.
    """
    target = check_folder(folder)
    learner_with_model(agent)
    integer_in("steps", steps, 1, MOST_HORIZON)
    trajectories = collect(agent, environment, steps=REAL_STEPS, greedy=greedy, seed=seed)
    errors = prediction_errors(agent, trajectories, steps=steps, seed=seed)
    calibration = termination_calibration(agent, trajectories, seed=seed)
    parts = some_starts(trajectories, steps, SHOWN)
    pairs = [(part, imagined_rollouts(agent, part, steps=steps, seed=seed)) for part in parts]
    title = f"{type(agent).__name__} in {environment.title}"
    figures = {
        ERRORS_PLOT: plots.errors_figure(errors, title),
        ROLLOUTS_PLOT: rollouts_figure(pairs, agent, environment.dynamics(), title),
    }
    for name in FILES:
        (target / name).unlink(missing_ok=True)
    write_csv(errors, target / ERRORS)
    if calibration is not None:
        write_csv(calibration, target / CALIBRATION)
        figures[CALIBRATION_PLOT] = plots.calibration_figure(calibration, title)
    for name, figure in figures.items():
        save(figure, target / name)
    return Findings(errors, calibration, tuple(name for name in FILES if (target / name).exists()))


def summary(errors: pd.DataFrame) -> pd.DataFrame:
    """Errors and baselines after few, some and all steps, a row for each quantity; as text."""
    last = int(errors["horizon"].max())
    horizons = sorted({1, -(-last // 2), last})
    rows = []
    for (quantity, measure), table in errors.groupby(["quantity", "measure"], sort=False):
        at = table.set_index("horizon")
        cells = {
            f"{k} step{'s' * (k > 1)}": f"{at.error[k]:.3g} ({at.baseline[k]:.3g})" if k in at.index else "–" for k in horizons
        }
        rows.append({"predicted": quantity, "error": measure, **cells})
    return pd.DataFrame(rows)
