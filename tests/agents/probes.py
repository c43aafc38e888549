"""Environments with one or two steps whose action values are known in closed form, for either loop."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs import FunctionalEnv, FunctionalGymEnv, Transition, draws
from mbrl_envs.rendering import Picture


def _typed(key: jax.Array) -> jax.Array:
    """A key that is read alike whatever generator JAX's configuration names."""
    return jax.random.wrap_key_data(draws.threefry_key(key), impl="threefry2x32")


class ProbeState(NamedTuple):
    """``step``: steps taken; ``sign``: −1 or 1."""

    step: jax.Array
    sign: jax.Array


@dataclasses.dataclass(frozen=True)
class Probe(FunctionalEnv[ProbeState, None]):
    """Episodes of ``length`` steps (0: endless); two actions.

    Args:
        length: Steps until termination.
        reward: ``"last"`` (1 on the last step), ``"always"`` (1 on every step), ``"sign"`` (the observed sign), ``"action"``
            (1 for action 1, −1 for action 0).
    """

    length: int = 1
    reward: str = "last"

    env_id: ClassVar[str] = "Probe"
    continuing: ClassVar[bool] = False

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-10, 10, (2,), np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(2)

    def reset(self, key: jax.Array) -> ProbeState:
        return ProbeState(jnp.int32(0), jnp.where(jax.random.bernoulli(_typed(key)), jnp.float32(1), jnp.float32(-1)))

    def events(self, key: jax.Array) -> None:
        del key

    def transition(self, state: ProbeState, action: jax.Array, events: None) -> Transition:
        step = state.step + 1
        last = (step == self.length) if self.length else jnp.bool_(False)
        reward = {
            "last": last.astype(jnp.float32),
            "always": jnp.float32(1),
            "sign": state.sign,
            "action": jnp.where(action == 1, jnp.float32(1), jnp.float32(-1)),
        }[self.reward]
        return Transition(ProbeState(step if self.length else state.step, state.sign), reward, last)

    def observe(self, state: ProbeState) -> jax.Array:
        return jnp.stack([state.step.astype(jnp.float32), state.sign])

    def picture(self, state: Any) -> Picture:
        return Picture(np.array([["empty"]], dtype=object))


class AimState(NamedTuple):
    """``step``: steps taken; ``sign``: −1 or 1."""

    step: jax.Array
    sign: jax.Array


@dataclasses.dataclass(frozen=True)
class Aim(FunctionalEnv[AimState, None]):
    """Actions are two numbers; in the last step the reward is −‖action − sign · aim‖², before that 0.

    So an action of a last step is worth its reward, the best one is known, and what comes before is worth γ times that of the
    policy. Bounds are no unit cube, so that scaling shows.

    Args:
        length: Steps until termination (0: endless, and every step is rewarded).
        aim: The best action where the sign is 1.
    """

    length: int = 1
    aim: tuple[float, float] = (1.0, -0.5)

    env_id: ClassVar[str] = "Aim"
    continuing: ClassVar[bool] = False

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-10, 10, (2,), np.float32)

    @property
    def action_space(self) -> spaces.Box:
        return spaces.Box(np.array([-2, -1], np.float32), np.array([2, 1], np.float32))

    def reset(self, key: jax.Array) -> AimState:
        return AimState(jnp.int32(0), jnp.where(jax.random.bernoulli(_typed(key)), jnp.float32(1), jnp.float32(-1)))

    def events(self, key: jax.Array) -> None:
        del key

    def transition(self, state: AimState, action: jax.Array, events: None) -> Transition:
        step = state.step + 1
        last = (step == self.length) if self.length else jnp.bool_(False)
        cost = jnp.square(action - state.sign * jnp.array(self.aim, jnp.float32)).sum()
        reward = jnp.where(last | (self.length == 0), -cost, jnp.float32(0))
        return Transition(AimState(step if self.length else state.step, state.sign), reward, last)

    def observe(self, state: AimState) -> jax.Array:
        return jnp.stack([state.step.astype(jnp.float32), state.sign])

    def picture(self, state: Any) -> Picture:
        return Picture(np.array([["empty"]], dtype=object))


def make(probe: FunctionalEnv, max_episode_steps: int | None = None) -> gymnasium.Env:
    """The probe as a Gymnasium environment."""
    env: gymnasium.Env = FunctionalGymEnv(probe)
    return env if max_episode_steps is None else gymnasium.wrappers.TimeLimit(env, max_episode_steps)
