"""CueRecall: name at the end what was shown at the start."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs import draws
from mbrl_envs.checks import integer_in, number_in, set_frozen
from mbrl_envs.functional import FunctionalEnv, Transition
from mbrl_envs.grid import boolean_space
from mbrl_envs.rendering import Picture

MAX_DELAY, MAX_CUES = 900, 32


class CueRecallState(NamedTuple):
    """State.

    Attributes:
        cue: What was shown, int32 scalar.
        step: Steps since the start, int32 scalar.
        lamps: Which lamps are lit now, bool (num_cues,).
    """

    cue: jax.Array
    step: jax.Array
    lamps: jax.Array


class CueRecallEvents(NamedTuple):
    """What may happen at random in one step: ``lamps``, those that are lit next, bool (num_cues,)."""

    lamps: jax.Array


@dataclasses.dataclass(frozen=True)
class CueRecall(FunctionalEnv[CueRecallState, CueRecallEvents]):
    """Remember which lamp was lit at the start, and name it when asked.

    **Reset.** One of the lamps, drawn uniformly, is lit: the cue.

    **Step.** For ``delay`` steps there is nothing to see and nothing to do. Then the question lamp is lit; the action taken
    there is the answer, and the episode terminates with it, after ``delay`` + 2 steps. At every step after the first, each of
    the cues' lamps is lit with probability ``noise``, so that memory must not only hold, but also keep out.

    **Reward.** 1 for the right answer, else 0. A policy without memory is right once in ``num_cues`` times, as is any guess.

    Args:
        delay: Steps between cue and question, 0 to 900.
        num_cues: Number of cues, and of actions, 2 to 32.
        noise: Probability with which a lamp is lit for no reason, 0 to 1.

    Observation:
        lamp 0: The cue's lamps; with the default arguments there are four.
        lamp 1: The second one.
        lamp 2: The third one.
        lamp 3: The fourth one.
        question: Whether the answer is asked for now.
    """

    delay: int = 10
    num_cues: int = 4
    noise: float = 0.0

    env_id: ClassVar[str] = "mbrl/CueRecall-v0"
    continuing: ClassVar[bool] = False

    def __post_init__(self) -> None:
        set_frozen(
            self,
            delay=integer_in("delay", self.delay, 0, MAX_DELAY),
            num_cues=integer_in("num_cues", self.num_cues, 2, MAX_CUES),
            noise=number_in("noise", self.noise, 0, 1),
        )

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each action is called."""
        return tuple(f"answer {i}" for i in range(self.num_cues))

    @property
    def num_steps(self) -> int:
        """Length of every episode."""
        return self.delay + 2

    @property
    def evaluation_steps(self) -> int:
        return max(super().evaluation_steps, self.num_steps)

    @property
    def observation_space(self) -> spaces.Box:
        return boolean_space((self.num_cues + 1,), "flat")

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.num_cues)

    def reset(self, key: jax.Array) -> CueRecallState:
        cue = draws.below(draws.word(draws.source(key), 0), self.num_cues)
        return CueRecallState(cue, jnp.int32(0), jnp.arange(self.num_cues, dtype=jnp.int32) == cue)

    def events(self, key: jax.Array) -> CueRecallEvents:
        source = draws.source(key)
        words = jax.vmap(lambda index: draws.word(source, index))(jnp.arange(self.num_cues, dtype=jnp.uint32))
        return CueRecallEvents(jnp.broadcast_to(draws.happens(words, self.noise), (self.num_cues,)))

    def transition(self, state: CueRecallState, action: jax.Array, events: CueRecallEvents) -> Transition:
        asked = self._is_asked(state)
        right = asked & (action == state.cue)
        return Transition(CueRecallState(state.cue, state.step + 1, events.lamps), right.astype(jnp.float32), asked)

    def observe(self, state: CueRecallState) -> jax.Array:
        return jnp.append(state.lamps, self._is_asked(state))

    def picture(self, state: CueRecallState) -> Picture:
        # What is seen, not the whole state: who plays shall remember the cue.
        lamps = np.where(np.asarray(state.lamps), "lamp on", "lamp off").astype(object)
        cells = np.append(lamps, "question" if int(state.step) == self.delay + 1 else "no question")
        return Picture(cells[None], legend=("lamp off", "lamp on", "no question", "question"))

    def _is_asked(self, state: CueRecallState) -> jax.Array:
        """Whether the question is on; at the very end, it no longer is."""
        return jnp.asarray(state.step == self.delay + 1)
