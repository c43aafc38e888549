"""How well an agent's world model predicts: errors by horizon and plane of the observation, and calibration of ends.

The model is rolled out *open loop*: from an observation that was seen, with the actions that were really taken. ::

    from mbrl_agents.model_dqn.inspection import Trajectory, prediction_errors, termination_calibration

    table = prediction_errors(agent, [Trajectory(observations, actions, rewards, terminated)], steps=10)
    table[table["quantity"] == "reward"].plot("horizon", ["error", "baseline"])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from gymnasium import spaces

from mbrl_agents.model_dqn.foresight import Trajectory, foresee, learner_with_model, predicts_ends, shown, windows
from mbrl_envs import FunctionalEnv, functional_task
from mbrl_envs.checks import integer_in
from mbrl_envs.observed import plane_names

__all__ = [
    "SMALLEST_PROBABILITY",
    "Rollout",
    "Trajectory",
    "imagined_rollouts",
    "prediction_errors",
    "quantities",
    "shown",
    "termination_calibration",
]

SMALLEST_PROBABILITY = 1e-6  # less counts as this in logarithms, so that what was held impossible costs 13.8
ROLLOUTS, MAX_STARTS = 16, 512
PROBABILITY, SQUARE = "probability of the wrong value", "squared error"
_MOST, _MOST_STARTS = 10_000, 2**20
_MOST_NAMED = 32  # entries of a vector that are told apart


def quantities(space: spaces.Space[Any], dynamics: FunctionalEnv | None = None) -> dict[str, np.ndarray]:
    """Parts of an observation that are looked at separately.

    Args:
        space: Observation space.
        dynamics: Functional dynamics whose observation it is, if any: names of planes are those of its documentation.

    Returns:
        Name of a part -> where its entries are in the flattened observation, int (entries,). Planes of an array of three
        dimensions have the shortest as their axis, if the dynamics do not name them; vectors of up to 32 numbers are taken
        apart; all else is one ``"observation"``.
    """
    if isinstance(space, spaces.Discrete):
        return {"observation": np.arange(int(space.n))}
    shape = tuple(space.shape or ())
    entries = np.arange(int(np.prod(shape)))
    names = () if dynamics is None else plane_names(type(dynamics))
    if names and len(entries) % len(names) == 0:
        return {name: entries[i :: len(names)] for i, name in enumerate(names)}
    if len(shape) == 3:
        axis = 2 - int(np.argmin(shape[::-1]))
        planes = np.moveaxis(entries.reshape(shape), axis, 0)
        return {f"plane {i}": plane.ravel() for i, plane in enumerate(planes)}
    if len(shape) == 1 and len(entries) <= _MOST_NAMED:
        return {f"observation[{i}]": entries[i : i + 1] for i in entries}
    return {"observation": entries}


def prediction_errors(
    agent: Any,
    trajectories: Sequence[Trajectory],
    *,
    steps: int = 10,
    rollouts: int = ROLLOUTS,
    max_starts: int = MAX_STARTS,
    seed: int = 0,
) -> pd.DataFrame:
    """Open-loop errors of an agent's model, for every number of steps from a real start.

    What the error is depends on what is predicted:

    * a bit, the value of an index, an end: the *probability of the wrong value*, so |p − bit|, p being the probability of 1;
    * a number or a reward: the *squared error* of the expected value; bytes count as numbers from 0 to 1.

    Probabilities and expected values are means over imagined roll-outs, and errors means over starts and entries of a plane.
    Steps after an end do not count, nor does what was seen after one, which models need not know; what is expected is so on the
    condition that the episode has not ended: roll-outs are weighted by the probability that they have not. Simple models expect
    what their imagination draws on average, latent models what they decode: after 0 steps that is the reconstruction.
    The perfect model starts in the environment's stored states: its errors are 0 where nothing is random, and elsewhere what
    chance makes of a prediction that is right. The probability of the wrong value is easy to understand but no proper score (a
    sure guess of what is likely beats honest probabilities); ``nll`` is one.

    Args:
        agent: A ``PerfectModelDQN``, ``SimpleModelDQN`` or ``LatentModelDQN``.
        trajectories: What really happened.
        steps: Most steps from a start, K.
        rollouts: Imagined roll-outs from each start.
        max_starts: Most starts; if there are more steps than that, so many are drawn.
        seed: Decides what is drawn.

    Returns:
        A row for each number of steps and part of what is predicted (see :func:`quantities`; ``"reward"``; in episodic tasks
        ``"termination"``), with columns

        * ``horizon``: steps from the start, 0 to K (rewards and ends: of the step that leads there, from 1);
        * ``quantity``, ``measure``: what is predicted, and what its error is;
        * ``error``: mean error;
        * ``nll``: mean negative log-likelihood of bits, indices and ends, in nats; a probability below 1e-6 counts as 1e-6;
        * ``baseline``: the error of predicting that an observation stays as it was at the start, that every reward is the mean
          one, and that a step ends the task as often as it does in these trajectories;
        * ``count``: number of starts.

    Raises:
        TypeError: The agent has no world model, or an argument is no integer.
        ValueError: An argument is out of range, or a trajectory does not fit the agent.
    """
    learner = learner_with_model(agent)
    integer_in("steps", steps, 1, _MOST)
    integer_in("rollouts", rollouts, 1, _MOST)
    integer_in("max_starts", max_starts, 1, _MOST_STARTS)
    real = windows(agent, trajectories, steps, max_starts, seed)
    foreseen = foresee(agent, real, rollouts, seed)
    task = functional_task(agent.env)
    error, nll = _observation_scores(learner.codec.kind, foreseen.expected, real.features)
    baseline, _ = _observation_scores(learner.codec.kind, real.features[:1], real.features)
    measure = SQUARE if nll is None else PROBABILITY
    tables = []
    for name, entries in quantities(agent.observation_space, None if task is None else task.env).items():
        own = slice(None) if learner.codec.kind == "index" else entries
        part, known, still = (None if each is None else each[..., own].mean(-1) for each in (error, nll, baseline))
        tables.append(_table(name, measure, 0, part, known, still, real.seen))
    squared = np.square(foreseen.reward - real.rewards)
    spread = np.square(real.rewards - _mean(real.rewards, real.happened)[:, None])
    tables.append(_table("reward", SQUARE, 1, squared, None, spread, real.happened))
    if predicts_ends(learner.model):
        often = _mean(real.terminated, real.happened)[:, None]
        wrong, surprise = _bit_scores(foreseen.termination, real.terminated)
        unknowing = np.abs(often - real.terminated)
        tables.append(_table("termination", PROBABILITY, 1, wrong, surprise, unknowing, real.happened))
    return pd.concat(tables, ignore_index=True)


def _bit_scores(probability: np.ndarray, bit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the wrong value, and −log of that of the right one."""
    wrong = np.abs(np.asarray(probability, float) - bit)
    return wrong, _surprise(1 - wrong)


def _surprise(probability: np.ndarray) -> np.ndarray:
    return -np.log(np.clip(probability, SMALLEST_PROBABILITY, 1))


def _observation_scores(kind: str, expected: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Errors and, of what has probabilities, negative log-likelihoods, (K + 1, n, entries); one entry for an index."""
    if kind == "bits":
        return _bit_scores(expected, real)
    if kind == "index":
        right = (np.asarray(expected, float) * real).sum(-1, keepdims=True)
        return np.maximum(1 - right, 0), _surprise(right)
    return np.square(np.asarray(expected, float) - real), None


def _mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means over starts of what counts, float (K,); NaN where nothing does."""
    number = counts.sum(axis=1)
    return np.where(counts, values, 0).sum(axis=1, dtype=float) / np.where(number, number, np.nan)


def _table(name: str, measure: str, first: int, error: Any, nll: Any, baseline: Any, counts: np.ndarray) -> pd.DataFrame:
    """Rows of one quantity, from arrays (horizons, n); horizons that nothing reaches are left out."""
    columns = {
        "horizon": first + np.arange(len(counts)),
        "quantity": name,
        "measure": measure,
        "error": _mean(error, counts),
        "nll": np.nan if nll is None else _mean(nll, counts),
        "baseline": _mean(baseline, counts),
        "count": counts.sum(axis=1),
    }
    table = pd.DataFrame(columns)
    return table[table["count"] > 0]


def termination_calibration(
    agent: Any, trajectories: Sequence[Trajectory], *, bins: int = 10, rollouts: int = ROLLOUTS, seed: int = 0
) -> pd.DataFrame | None:
    """How often steps end the task to which the model gave this or that probability, from what was seen before the step.

    Args:
        agent: A ``PerfectModelDQN``, ``SimpleModelDQN`` or ``LatentModelDQN``.
        trajectories: What really happened; all steps count.
        bins: Number of bins of equal width between 0 and 1.
        rollouts: Draws over which probabilities are averaged.
        seed: Decides what is drawn.

    Returns:
        A row for each ``bin``, named by its edges, and one for ``"all"``: ``count`` of steps, mean ``predicted`` probability,
        ``observed`` frequency of ends, ``brier`` score (mean of (p − end)²) and ``log_loss`` (as ``nll`` in
        :func:`prediction_errors`); NaN in empty bins. None in continuing tasks, of whose ends models say nothing.

    Raises:
        TypeError: The agent has no world model, or an argument is no integer.
        ValueError: An argument is out of range, or a trajectory does not fit the agent.
    """
    integer_in("bins", bins, 1, _MOST)
    integer_in("rollouts", rollouts, 1, _MOST)
    if not predicts_ends(learner_with_model(agent).model):
        return None
    real = windows(agent, trajectories, 1)
    p = np.asarray(foresee(agent, real, rollouts, seed).termination[0], float)
    end = real.terminated[0]
    places, digits = np.minimum((p * bins).astype(int), bins - 1), len(str(bins - 1))
    rows = {f"{i / bins:.{digits}f}–{(i + 1) / bins:.{digits}f}": places == i for i in range(bins)}
    rows["all"] = np.ones(len(p), bool)
    belongs = np.stack(list(rows.values()))
    wrong, surprise = _bit_scores(p, end)
    numbers = {"predicted": p, "observed": end, "brier": np.square(wrong), "log_loss": surprise}
    means = {name: _mean(np.broadcast_to(each, belongs.shape), belongs) for name, each in numbers.items()}
    return pd.DataFrame({"bin": list(rows), "count": belongs.sum(axis=1), **means})


class Rollout(NamedTuple):
    """A real trajectory of T steps and what a model makes of it from its start.

    Attributes:
        real: Features of the real observations, float32 (T + 1, f).
        expected: Features of the expected ones, the mean over roll-outs, float32 (T + 1, f).
        drawn: Features of what a single roll-out shows, float32 (T + 1, f).
        reward: Expected rewards, float32 (T,).
        termination: Probability of an end at each step, float32 (T,).
    """

    real: np.ndarray
    expected: np.ndarray
    drawn: np.ndarray
    reward: np.ndarray
    termination: np.ndarray


def imagined_rollouts(
    agent: Any, trajectory: Trajectory, *, steps: int = 10, rollouts: int = ROLLOUTS, seed: int = 0
) -> Rollout:
    """Rolls a model out from where a trajectory begins, with its actions, for ``steps`` steps or as long as it lasts.

    Args:
        agent: An agent with a world model.
        trajectory: What happened.
        steps: Most steps, at least 1.
        rollouts: Roll-outs whose mean is what is expected, at least 1.
        seed: Seed of what the model draws.

    Returns:
        Arrays (T, …) and (T + 1, f), float32; T is ``steps``, or the trajectory's length if that is less.

    Raises:
        TypeError: The agent has no world model, or an argument is no integer.
        ValueError: An argument is out of range, or the trajectory does not fit the agent.
    """
    learner_with_model(agent)
    integer_in("steps", steps, 1, _MOST)
    integer_in("rollouts", rollouts, 1, _MOST)
    real = windows(agent, [trajectory], min(steps, max(len(trajectory.actions), 1)))
    only = real._replace(
        features=real.features[:, :1],
        actions=real.actions[:, :1],
        states=jax.tree.map(lambda leaf: leaf[:1], real.states),
    )
    return Rollout(only.features[:, 0], *(each[:, 0] for each in foresee(agent, only, rollouts, seed)))
