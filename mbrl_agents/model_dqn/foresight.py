"""Roll-outs of an agent's world model beside what really happened, from the same starts with the same actions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_agents.core import keys
from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.core.replay import Batch
from mbrl_agents.model_dqn.latent import LatentModel
from mbrl_agents.model_dqn.learner import ModelDQNLearner
from mbrl_agents.model_dqn.perfect import PerfectModel
from mbrl_agents.model_dqn.simple import SimpleModel
from mbrl_agents.model_dqn.world_model import Imagined, imagine_along

MOST_NUMBERS = 2**22  # of imagined observations in memory at once


class Trajectory(NamedTuple):
    """An episode of T steps, or a part of one.

    Attributes:
        observations: What was seen before each step and after the last, (T + 1, *shape), as it comes from the environment.
        actions: What was done, int (T,), as it goes to the environment.
        rewards: float (T,).
        terminated: Whether the last step ended the task (Gymnasium's ``terminated``; a time limit does not).
        states: States of a functional environment that belong to the observations, leaves (T + 1, …); the perfect model
            needs them.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool
    states: Any = None


class Windows(NamedTuple):
    """Up to K steps from each of n starts, padded where a trajectory ends earlier.

    Attributes:
        features: Of the real observations, float32 (K + 1, n, f).
        actions: From 0, int32 (K, n).
        rewards: float32 (K, n).
        terminated: bool (K, n).
        happened: Which steps there are, bool (K, n).
        seen: Which observations count: those that there are, but not what was seen after an end; bool (K + 1, n).
        states: States of the environment at the starts, leaves (n, …), or None.
    """

    features: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    happened: np.ndarray
    seen: np.ndarray
    states: Any


class Foreseen(NamedTuple):
    """What a model says about windows.

    Attributes:
        expected: Features of the observation that is expected after each number of steps if the episode has not ended, the
            mean over imagined roll-outs: of bits and of the values of an index their probabilities; float32 (K + 1, n, f).
        drawn: Features of what one of the roll-outs shows, float32 (K + 1, n, f).
        reward: Expected rewards of steps, if none before was the last; float32 (K, n).
        termination: Probability that a step ends the task, if none before did; float32 (K, n).
    """

    expected: np.ndarray
    drawn: np.ndarray
    reward: np.ndarray
    termination: np.ndarray


def learner_with_model(agent: Any) -> ModelDQNLearner:
    """An agent's learner.

    Raises:
        TypeError: The agent has no world model.
    """
    learner = getattr(agent, "learner", None)
    if not isinstance(learner, ModelDQNLearner):
        raise TypeError(
            f"{type(agent).__name__} has no world model: those that have one are PerfectModelDQN, SimpleModelDQN and "
            "LatentModelDQN"
        )
    return learner


def predicts_ends(model: Any) -> bool:
    """Whether a model says anything about ends; in continuing tasks it does not."""
    task: Any = model.env if isinstance(model, PerfectModel) else model
    return not task.continuing


@functools.singledispatch
def shown(model: Any, params: Any, imagined: Imagined) -> tuple[jax.Array, jax.Array]:
    """Observations that belong to imagined roll-outs, as features; a new kind of model registers its own function.

    Args:
        model: The model.
        params: Its parameters.
        imagined: L steps from each of n starts.

    Returns:
        What is expected, given the states drawn up to then, and what the roll-outs show; each float32 (L + 1, n, f).
    """
    raise TypeError(f"{type(model).__name__} does not say what it shows: register a function for it with shown.register")


@shown.register
def _(model: PerfectModel, params: Any, imagined: Imagined) -> tuple[jax.Array, jax.Array]:
    return imagined.features, imagined.features


@shown.register
def _(model: SimpleModel, params: Any, imagined: Imagined) -> tuple[jax.Array, jax.Array]:
    before = imagined.features[:-1]
    said = model.predict(params, before.reshape(-1, before.shape[-1]), imagined.action.reshape(-1))
    expected = model.emission.drawn_mean(said).reshape(before.shape)
    return jnp.concatenate([imagined.features[:1], expected]), imagined.features


@shown.register
def _(model: LatentModel, params: Any, imagined: Imagined) -> tuple[jax.Array, jax.Array]:
    latent = imagined.features
    said = model.decode(params, latent.reshape(-1, latent.shape[-1]))
    expected = model.emission.mean(said).reshape(*latent.shape[:2], -1)
    return expected, expected


def windows(
    agent: Any, trajectories: Sequence[Trajectory], steps: int, max_starts: int | None = None, seed: int = 0
) -> Windows:
    """Windows that start at every step, or at so many of them that are drawn.

    Args:
        agent: An agent with a world model.
        trajectories: What happened.
        steps: K, steps of a window, at least 1.
        max_starts: Most starts; None for all steps.
        seed: Seed of what is drawn.

    Returns:
        Arrays (K, n) and (K + 1, n, …); n is the number of starts.

    Raises:
        ValueError: There is no step, or a trajectory does not fit the agent.
    """
    for trajectory in trajectories:
        _check(agent, trajectory)
    lengths = np.array([len(each.actions) for each in trajectories], int)
    if not lengths.sum():
        raise ValueError(f"trajectories must hold at least one step, got {len(trajectories)} trajectories without any")
    # One after the other, with a row of padding for what was seen last.
    first = np.cumsum(lengths + 1) - (lengths + 1)
    starts = np.concatenate([begin + np.arange(length) for begin, length in zip(first, lengths, strict=True)])
    left = np.concatenate([length - np.arange(length) for length in lengths])
    ends = np.repeat([each.terminated for each in trajectories], lengths)
    if max_starts is not None and len(starts) > max_starts:
        drawn = np.sort(np.random.default_rng(seed).choice(len(starts), max_starts, replace=False))
        starts, left, ends = starts[drawn], left[drawn], ends[drawn]
    observations = np.concatenate([each.observations for each in trajectories])
    actions = np.concatenate([np.append(each.actions, agent.action_space.start) for each in trajectories])
    rewards = np.concatenate([np.append(each.rewards, 0) for each in trajectories])
    step = np.arange(steps + 1)[:, None]
    rows = starts + np.minimum(step, left)
    codec = learner_with_model(agent).codec
    return Windows(
        features=np.asarray(codec.features(jnp.asarray(codec.from_host(observations))))[rows],
        actions=(actions[rows[:-1]] - agent.action_space.start).astype(np.int32),
        rewards=rewards[rows[:-1]].astype(np.float32),
        terminated=ends & (step[1:] == left),
        happened=step[1:] <= left,
        seen=(step <= left) & ~(ends & (step == left)),
        states=_states(trajectories, starts),
    )


def _states(trajectories: Sequence[Trajectory], starts: np.ndarray) -> Any:
    if any(each.states is None for each in trajectories):
        return None
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[starts], *(each.states for each in trajectories))


def _check(agent: Any, trajectory: Trajectory) -> None:
    shape, steps = tuple(agent.observation_space.shape), len(trajectory.observations) - 1
    if trajectory.observations.shape[1:] != shape:
        wanted = f"({', '.join(map(str, ('steps + 1', *shape)))})"
        raise ValueError(f"observations must have shape {wanted}, got {trajectory.observations.shape}")
    lengths = len(trajectory.actions), len(trajectory.rewards)
    if lengths != (steps, steps):
        given = " and ".join(map(str, lengths))
        raise ValueError(f"a trajectory must have one action and one reward for each of its {steps} steps, got {given}")
    low, space = agent.action_space.start, agent.action_space
    if steps and not (low <= trajectory.actions.min() and trajectory.actions.max() < low + space.n):
        raise ValueError(f"actions must be in {space}, got {trajectory.actions.min()} to {trajectory.actions.max()}")


def foresee(agent: Any, real: Windows, rollouts: int, seed: int = 0) -> Foreseen:
    """Rolls an agent's model out from real starts, with the real actions.

    Args:
        agent: A model-based agent.
        real: The windows.
        rollouts: Imagined roll-outs from each start.
        seed: Decides what is drawn in them.

    Raises:
        TypeError: The agent has no world model.
        ValueError: The perfect model is not given the environment's states.
    """
    model = learner_with_model(agent).model
    if isinstance(model, PerfectModel) and real.states is None:
        raise ValueError("the perfect model needs the environment's states: trajectories must have them")
    number, key = len(real.actions[0]), keys.from_seed(seed)
    at_once = int(np.clip(MOST_NUMBERS // (rollouts * real.features[:, 0].size), 1, number))
    parts = []
    for begin in range(0, number, at_once):
        # The last part is filled up, so that one program does for all.
        rows = np.minimum(np.arange(begin, begin + at_once), number - 1)
        states = jax.tree.map(lambda leaf, rows=rows: leaf[rows], real.states)
        part = _foresee(
            model,
            rollouts,
            agent.learner_state.model,
            agent.learner_state.hyper.model,
            real.features[0, rows],
            states,
            real.actions[:, rows],
            keys.fold_in(key, begin),
        )
        parts.append(jax.tree.map(np.asarray, part))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1)[:, :number], *parts)


@functools.partial(plain_jit, static_argnums=(0, 1))
def _foresee(
    model: Any,
    rollouts: int,
    params: Any,
    hyper: Any,
    features: jax.Array,
    states: Any,
    actions: jax.Array,
    key: jax.Array,
) -> Any:
    """A :class:`Foreseen`, of JAX's arrays."""
    start_key, key = jax.random.split(key)
    features, states = jax.tree.map(lambda leaf: jnp.repeat(leaf, rollouts, axis=0), (features, states))
    nothing = jnp.zeros(len(features))
    batch = Batch(features, nothing.astype(int), nothing, features, nothing, nothing.astype(bool), states)
    start = model.start(params, batch, start_key, hyper)
    imagined = imagine_along(model, params, start, jnp.repeat(actions, rollouts, axis=1), key)
    expected, drawn = shown(model, params, imagined)
    # What is compared with it has not ended either: roll-outs count as far as they are likely to have got there.
    before, after = imagined.weights(), jnp.cumprod(imagined.continuation, axis=0)
    after = jnp.concatenate([jnp.ones_like(after[:1]), after])
    found: Any = (
        _mean_rollout(expected, after, rollouts),
        drawn[:, ::rollouts],
        _mean_rollout(imagined.reward, before, rollouts),
        _mean_rollout(1 - imagined.continuation, before, rollouts),
    )
    return Foreseen(*found)


def _mean_rollout(values: jax.Array, weights: jax.Array, rollouts: int) -> jax.Array:
    """Weighted means of values (L, n·rollouts, …) over roll-outs, (L, n, …); plain ones where all weights are 0."""
    values, weights = (each.reshape(len(each), -1, rollouts, *each.shape[2:]) for each in (values, weights))
    weights = jnp.where(weights.sum(axis=2, keepdims=True) > 0, weights, 1)
    weights = weights.reshape(*weights.shape, *[1] * (values.ndim - 3))
    # About the first roll-out: what all agree on stays exactly that; a plain float32 sum of thousands has four right digits.
    first = values[:, :, :1]
    return first[:, :, 0] + ((values - first) * weights).sum(axis=2) / weights.sum(axis=2)
