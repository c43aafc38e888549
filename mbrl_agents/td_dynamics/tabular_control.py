"""Tabular Q-learning on cells of the observations of a functional environment, as one compiled program."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from jax import lax

from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.td_dynamics.linear_features import TabularBins
from mbrl_envs import FunctionalEnv, draws
from mbrl_envs import lane as lanes
from mbrl_envs.checks import integer_in, number_in
from mbrl_envs.lane import Lane

MAX_EPISODES, MAX_STEPS = 10_000_000, 1_000_000
_INIT, _ENV, _EXPLORE = range(3)  # random streams


class QTable(NamedTuple):
    """What Q-learning has learned.

    Attributes:
        values: Q(s, a), float32 (S, A).
        lengths: Steps of each episode of learning, int32 (episodes,).
    """

    values: np.ndarray
    lengths: np.ndarray

    @property
    def policy(self) -> np.ndarray:
        """The greedy action in every cell, int32 (S,); of equal ones the first."""
        return self.values.argmax(axis=1).astype(np.int32)


def q_learning(
    env: FunctionalEnv,
    cells: TabularBins,
    *,
    num_episodes: int = 2000,
    max_steps: int = 1000,
    learning_rate: float = 0.1,
    gamma: float = 0.99,
    epsilon: float = 0.1,
    seed: int = 0,
) -> QTable:
    """Q-learning (Watkins 1989) with ε-greedy actions; Q begins uniform in [0, 1). The defaults are the MountainCar study's.

    (Bordelon et al. 2023, arXiv 2307.04841; its published table of action values was made with a learning rate of .1.)

    Args:
        env: The dynamics, with a Box of observations and Discrete actions.
        cells: The cells that observations are told apart by.
        num_episodes: Episodes of learning.
        max_steps: Steps after which an episode is cut; the last one bootstraps.
        learning_rate: Step size, in (0, 1].
        gamma: Discount factor, in [0, 1].
        epsilon: Probability of a uniform action, in [0, 1].
        seed: Seed of everything random.

    Raises:
        TypeError, ValueError: An argument is of a wrong type or out of range, or the cells do not fit the observations.
    """
    cells.check(env.observation_space)
    if not isinstance(env.action_space, spaces.Discrete) or env.action_space.start != 0:
        raise ValueError(f"env must have Discrete actions from 0, got {env.action_space}")
    num_episodes = integer_in("num_episodes", num_episodes, 1, MAX_EPISODES)
    max_steps = integer_in("max_steps", max_steps, 1, MAX_STEPS)
    numbers = (
        number_in("learning_rate", learning_rate, 0, 1, open_low=True),
        number_in("gamma", gamma, 0, 1),
        number_in("epsilon", epsilon, 0, 1),
    )
    key = draws.raw_key(integer_in("seed", seed, 0, 2**63))
    values, lengths = _program(env, cells, num_episodes)(key, np.array(numbers, np.float32), np.int32(max_steps))
    return QTable(np.asarray(values), np.asarray(lengths))


class _Progress(NamedTuple):
    """Where learning is: table, environment, episodes finished, steps taken in all, lengths of episodes."""

    values: jax.Array
    lane: Lane
    episode: jax.Array
    steps: jax.Array
    lengths: jax.Array


@functools.lru_cache(maxsize=8)
def _program(env: FunctionalEnv, cells: TabularBins, num_episodes: int) -> Any:
    """The compiled program of (key, (learning rate, γ, ε), most steps) to (values, lengths)."""
    num_actions = int(env.action_space.n)  # type: ignore[attr-defined]

    def learn(key: jax.Array, numbers: jax.Array, max_steps: jax.Array) -> tuple[jax.Array, jax.Array]:
        learning_rate, gamma, epsilon = numbers
        init_key, env_key, explore_key = (draws.fold_in(key, stream) for stream in (_INIT, _ENV, _EXPLORE))

        def step(now: _Progress) -> _Progress:
            cell = cells.cell(env.observe(now.lane.state))
            source = draws.source(draws.fold_in(explore_key, now.steps))
            explores = draws.uniform(draws.word(source, 0), 0, 1) < epsilon
            drawn = draws.below(draws.word(source, 1), num_actions)
            action = jnp.where(explores, drawn, now.values[cell].argmax().astype(jnp.int32))
            lane, out = lanes.advance(env, now.lane, action)
            following = now.values[cells.cell(env.observe(lane.state))].max()
            target = out.reward + gamma * jnp.where(out.terminated, 0, following)
            values = now.values.at[cell, action].add(learning_rate * (target - now.values[cell, action]))
            ended = out.terminated | (lane.elapsed >= max_steps)
            lengths = now.lengths.at[now.episode].set(lane.elapsed)
            lane = lax.cond(ended, lambda lane: lanes.restart(lane, lanes.next_start(env, lane)), lambda lane: lane, lane)
            return _Progress(values, lane, now.episode + ended, now.steps + 1, lengths)

        first = jax.random.uniform(init_key, (cells.num_cells, num_actions), jnp.float32)
        begin = _Progress(first, lanes.start(env, env_key), jnp.int32(0), jnp.uint32(0), jnp.zeros(num_episodes, jnp.int32))
        end = lax.while_loop(lambda now: now.episode < num_episodes, step, begin)
        return end.values, end.lengths

    return plain_jit(learn)
