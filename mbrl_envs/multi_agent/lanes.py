"""Agents as lanes: a batch of environments in which every agent of every environment is a lane of its own.

What drives lanes with one policy (the training loops, the vector environment for Stable-Baselines3) then trains agents that
share their parameters, each from its own observations and rewards, and needs to know nothing of several agents.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from gymnasium.vector import AutoresetMode

from mbrl_envs.batched import BatchedEnv, BatchState, BatchStep
from mbrl_envs.functional import FunctionalEnv
from mbrl_envs.multi_agent.protocol import MultiAgentEnv


def by_lane(env: FunctionalEnv, array: jax.Array) -> jax.Array:
    """From (environments, agents, …) to (lanes, …); arrays of environments with one agent and no such axis stay as they are."""
    return array.reshape(-1, *array.shape[2:]) if isinstance(env, MultiAgentEnv) else array


def by_environment(env: FunctionalEnv, array: jax.Array) -> jax.Array:
    """From (lanes, …) to (environments, agents, …), the way back from :func:`by_lane`."""
    return array.reshape(-1, env.num_agents, *array.shape[1:]) if isinstance(env, MultiAgentEnv) else array


@dataclasses.dataclass(frozen=True)
class AgentLanes(BatchedEnv):
    """``num_envs`` lanes; lane ``e * A + a`` is agent ``a`` of environment ``e``, of which there are ``num_envs / A``.

    With one agent it does the same as :class:`~mbrl_envs.batched.BatchedEnv` with the single-agent environment. An
    environment is seeded by the key of its first lane; a mask that has any of its lanes restarts all of them.

    Raises:
        ValueError: ``num_envs`` is no multiple of A, or resets are not on the same step.
    """

    env: MultiAgentEnv
    autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP

    def __post_init__(self) -> None:
        agents = self.env.num_agents
        if self.num_envs % agents:
            raise ValueError(f"num_envs must be a multiple of the {agents} agents of {self.env}, got {self.num_envs}")
        if self.autoreset_mode != AutoresetMode.SAME_STEP:
            raise ValueError(f"autoreset_mode must be SAME_STEP with several agents, got {self.autoreset_mode}")

    @property
    def environments(self) -> BatchedEnv:
        """The environments, with an axis of agents."""
        number = self.num_envs // self.env.num_agents
        return BatchedEnv(self.env, number, self.max_episode_steps, self.autoreset_mode, self.prepare)

    def init(self, keys: jax.Array) -> BatchState:
        return self.environments.init(keys[:: self.env.num_agents])

    def observe(self, state: BatchState) -> jax.Array:
        return by_lane(self.env, self.environments.observe(state))

    def observe_states(self, states: Any) -> jax.Array:
        return by_lane(self.env, self.environments.observe_states(states))

    def reseed(self, batch: BatchState, keys: jax.Array, mask: jax.Array) -> BatchState:
        return self.environments.reseed(batch, keys[:: self.env.num_agents], self._any_lane(mask))

    def restart(self, batch: BatchState, mask: jax.Array) -> BatchState:
        return self.environments.restart(batch, self._any_lane(mask))

    def step(self, batch: BatchState, actions: jax.Array) -> tuple[BatchState, BatchStep]:
        """Takes one step; ``actions`` and what it returns have an axis of lanes, ``final_state`` one of environments."""
        after, out = self.environments.step(batch, by_environment(self.env, actions))
        observation, reward = by_lane(self.env, out.observation), by_lane(self.env, out.reward)
        terminated, truncated = (jnp.repeat(each, self.env.num_agents) for each in (out.terminated, out.truncated))
        return after, BatchStep(observation, reward, terminated, truncated, out.final_state)

    def _any_lane(self, mask: jax.Array) -> jax.Array:
        return by_environment(self.env, mask).any(axis=1)
