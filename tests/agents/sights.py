"""Environments in JAX whose observations are images, dictionaries or tuples, with known best actions."""

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

SIZE = 6


class SightState(NamedTuple):
    """``step``: steps taken; ``place``: where the bright spot is, int32 (2,); ``turned``: int32."""

    step: jax.Array
    place: jax.Array
    turned: jax.Array


@dataclasses.dataclass(frozen=True)
class Sight(FunctionalEnv[SightState, SightState]):
    """A bright spot somewhere in an image; the reward is 1 for the action that says whether it is in the right half, else 0.

    In a dictionary or tuple there is a second part, which says whether it is the other way round.

    Args:
        kind: ``"image"``, ``"dict"``, ``"tuple"`` or ``"continuous"`` (a dictionary; actions are −1 to 1 instead of 0 and 1).
        length: Steps of an episode.
    """

    kind: str = "dict"
    length: int = 4

    env_id: ClassVar[str] = "Sight"
    continuing: ClassVar[bool] = False

    @property
    def observation_space(self) -> spaces.Space[Any]:
        image, turned = spaces.Box(0, 255, (SIZE, SIZE, 1), np.uint8), spaces.Discrete(2, start=3)
        parts: dict[str, spaces.Space[Any]] = {"image": image, "turned": turned}
        return {"image": image, "tuple": spaces.Tuple([image, turned])}.get(self.kind, spaces.Dict(parts))

    @property
    def action_space(self) -> spaces.Space[Any]:
        return spaces.Box(-1, 1, (1,)) if self.kind == "continuous" else spaces.Discrete(2)

    def _draw(self, key: jax.Array, step: Any) -> SightState:
        own = jax.random.wrap_key_data(draws.threefry_key(key), impl="threefry2x32")
        numbers = jax.random.randint(own, (3,), 0, jnp.array([SIZE, SIZE, 2]))
        return SightState(jnp.int32(step), numbers[:2], numbers[2] * (self.kind != "image"))

    def reset(self, key: jax.Array) -> SightState:
        return self._draw(key, 0)

    def events(self, key: jax.Array) -> SightState:
        return self._draw(key, 0)

    def transition(self, state: SightState, action: jax.Array, events: SightState) -> Transition:
        right = (state.place[1] >= SIZE // 2) ^ (state.turned == 1)
        if self.kind == "continuous":
            reward = -jnp.square(action[0] - jnp.where(right, 0.5, -0.5))
        else:
            reward = (action == right).astype(jnp.float32)
        step = state.step + 1
        return Transition(events._replace(step=step), reward, step == self.length)

    def observe(self, state: SightState) -> Any:
        image = jnp.zeros((SIZE, SIZE, 1), jnp.uint8).at[state.place[0], state.place[1], 0].set(255)
        turned = state.turned + 3
        return {"image": image, "tuple": (image, turned)}.get(self.kind, {"image": image, "turned": turned})

    def picture(self, state: Any) -> Picture:
        return Picture(np.array([["empty"]], dtype=object))


def make(kind: str) -> gymnasium.Env:
    """The environment as a Gymnasium one."""
    return FunctionalGymEnv(Sight(kind))


class Samples(gymnasium.Env):
    """Observations drawn from a space, whatever is done; episodes of seven steps, the reward is the number of the step."""

    def __init__(self, observations: spaces.Space[Any], actions: spaces.Space[Any] | None = None) -> None:
        self.observation_space, self.action_space, self.steps = observations, actions or spaces.Discrete(3), 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.steps += 1
        return self.observation_space.sample(), float(self.steps), self.steps == 7, False, {}
