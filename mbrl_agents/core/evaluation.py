"""Scores on functional environments, on the device; mostly those of greedy policies.

A score is that of the published study: the return of an episode until it terminates, at most ``num_steps`` steps, or in
continuing tasks the mean reward per step over ``num_steps`` steps; always from reset and without time limit. With several
agents the learner acts for each of them, and the score is the mean over agents.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from mbrl_agents.core import keys, user_metrics
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.compilation import FirstCallAlone, plain_jit
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.user_metrics import UserMetrics
from mbrl_envs import FunctionalEnv, draws
from mbrl_envs import lane as lanes
from mbrl_envs.lane import Lane
from mbrl_envs.multi_agent.lanes import by_environment, by_lane

_METRICS = 2  # where the key of users' metrics is folded from an evaluation's


class Episodes(NamedTuple):
    """Episodes side by side; with several agents each is a lane of its own.

    Attributes:
        lanes: The environments, leaves with a leading axis of episodes.
        running: Whether an episode has not terminated yet, bool (lanes,).
        total: Its return so far, float32 (lanes,).
    """

    lanes: Lane
    running: jax.Array
    total: jax.Array


def begin(env: FunctionalEnv, key: jax.Array, num_episodes: int) -> Episodes:
    """Fresh episodes from a raw key; which ones they are depends on the key alone, not on who plays them."""
    batch = jax.vmap(lambda lane_key: lanes.start(env, lane_key))(jax.random.split(key, num_episodes))
    num_lanes = num_episodes * env.num_agents
    return Episodes(batch, jnp.ones(num_lanes, bool), jnp.zeros(num_lanes))


def observe(env: FunctionalEnv, episodes: Episodes) -> jax.Array:
    """What the episodes show."""
    return by_lane(env, jax.vmap(env.observe)(episodes.lanes.state))


def advance(env: FunctionalEnv, episodes: Episodes, actions: jax.Array) -> Episodes:
    """One step of every episode; those that have terminated go on without being counted.

    ``actions`` are those of all lanes, as the environment takes them.
    """
    joint = by_environment(env, actions)
    batch, out = jax.vmap(lambda lane, action: lanes.advance(env, lane, action))(episodes.lanes, joint)
    total = episodes.total + jnp.where(episodes.running, by_lane(env, out.reward), 0)
    terminated = out.terminated if env.num_agents == 1 else jnp.repeat(out.terminated, env.num_agents)
    return Episodes(batch, episodes.running & ~terminated, total)


def scores(env: FunctionalEnv, episodes: Episodes, num_steps: int) -> jax.Array:
    """Scores of episodes of ``num_steps`` steps, float32 (episodes,)."""
    total = episodes.total if env.num_agents == 1 else by_environment(env, episodes.total).mean(axis=1)
    return total / num_steps if env.continuing else total


def scores_of_policy(
    act: Callable[[Any, Any, jax.Array], Any],
    env: FunctionalEnv,
    key: jax.Array,
    num_episodes: int,
    num_steps: int,
    carry: Any = (),
) -> jax.Array:
    """Scores of a policy; a pure function, to be compiled and mapped over runs.

    Args:
        act: Function of what is remembered, observations and a raw key that gives an
            :class:`~mbrl_agents.core.learner.Acted`: actions as learners have them, and what is remembered from then on.
        env: The dynamics.
        key: Raw key, uint32 (2,); of its two halves the first decides which episodes are played.
        num_episodes: Number of episodes, side by side.
        num_steps: Steps of each.
        carry: What is remembered when episodes begin; ``()`` for nothing.

    Returns:
        Scores, float32 (num_episodes,).
    """
    env_key, act_key = jax.random.split(key)
    codec = ActionCodec.of(env.action_space)

    def step(played: tuple[Episodes, Any], step_key: jax.Array) -> tuple[tuple[Episodes, Any], None]:
        episodes, carry = played
        acted = act(carry, observe(env, episodes), step_key)
        return (advance(env, episodes, codec.to_env(acted.action)), acted.carry), None

    first = begin(env, env_key, num_episodes), carry
    (episodes, _), _ = lax.scan(step, first, jax.random.split(act_key, num_steps))
    return scores(env, episodes, num_steps)


class Evaluated(Protocol):
    """A learner, as far as evaluations know it; see :class:`mbrl_agents.core.learner.Learner`."""

    def evaluate(
        self, env: FunctionalEnv, state: Any, key: jax.Array, explore: Exploration, num_episodes: int, num_steps: int
    ) -> dict[str, jax.Array]:
        """Measures by name."""


def evaluate(
    learner: Evaluated,
    env: FunctionalEnv,
    learner_state: Any,
    key: jax.Array,
    explore: Exploration,
    num_episodes: int,
    num_steps: int,
    metrics: UserMetrics | None = None,
) -> dict[str, jax.Array]:
    """Measures of an evaluation by name, float32 (num_episodes,) each; ``"score"`` is what the learner is judged by.

    Args:
        learner: The algorithm.
        env: The dynamics.
        learner_state: What it has learned.
        key: Raw key, uint32 (2,).
        explore: How much it explores now, for policies that draw their actions.
        num_episodes: Number of episodes, side by side.
        num_steps: Steps of each.
        metrics: A user's function, whose numbers come as well, float32 () each.
    """
    measured = learner.evaluate(env, learner_state, key, explore, num_episodes, num_steps)
    if metrics is None:
        return measured
    return measured | user_metrics.measure(metrics, learner, learner_state, env, draws.fold_in(key, _METRICS))


@functools.lru_cache(maxsize=32)
def compiled_evaluation(
    learner: Evaluated, env: FunctionalEnv, num_episodes: int, num_steps: int, metrics: UserMetrics | None = None
) -> FirstCallAlone:
    """:func:`evaluate`, compiled, as a function of the learner's state, the key and how much it explores."""

    def compiled(state: Any, key: jax.Array, explore: Exploration) -> dict[str, jax.Array]:
        return evaluate(learner, env, state, key, explore, num_episodes, num_steps, metrics)

    return FirstCallAlone(plain_jit(compiled))


def evaluation_key(seed: int, stream: int) -> jax.Array:
    """The raw key that decides which episodes an evaluation plays: that of a run's seed at a timestep, say."""
    return keys.fold_in(keys.from_seed(seed), stream)
