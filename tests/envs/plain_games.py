"""Every environment as a plain game, and a lane of it under the seeding contract: what any adapter must show.

A game is a simulator that follows the random draws of an environment. What is drawn is taken from :class:`Tape`, which asks the
dynamics for it with the keys that the contract of :mod:`mbrl_envs.lane` names, made by ``jax.random`` itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from mbrl_envs import CartPole, CueRecall, FunctionalEnv, MountainCar, RandomWalk2D
from mbrl_envs.conditioning import ConditioningTask
from mbrl_envs.multi_agent import MultiAgentEnv
from tests.envs.multi_agent import readings as multi_agent
from tests.envs.readings import adapter
from tests.envs.simulators import CueRecallSimulator, RandomWalkSimulator, Step

BLOCK = 64  # draws that are made at once
CLOSE = 1e-4  # of float32 to float64 after a few dozen steps


class Game(NamedTuple):
    """What is played.

    Attributes:
        start: From what was drawn at a reset to a state.
        step: From state, actions (one for each agent) and events to the next state, rewards (one for each), and whether that
            was the end; None for the last where rounding decides.
        observe: What each agent sees.
        guide: An action that gets somewhere, where uniform ones do not.
        tolerance: Of observations and rewards.
    """

    start: Callable[[Any], Any]
    step: Callable[[Any, list[int], Any], tuple[Any, list[float], bool | None]]
    observe: Callable[[Any], list[Any]]
    guide: Callable[[Any], int] | None = None
    tolerance: float = 0.0


def _alone(
    start: Callable[[Any], Any], step: Callable[[Any, int, Any], Any], observe: Callable[[Any], Any], **others: Any
) -> Game:
    """A game with one agent."""

    def one(state: Any, actions: list[int], events: Any) -> tuple[Any, list[float], bool | None]:
        following, reward, terminated = step(state, actions[0], events)
        return following, [reward], terminated

    return Game(start, one, lambda state: [observe(state)], **others)


@functools.cache
def game(env: FunctionalEnv) -> Game:
    """The game that an environment shall play."""
    match env:
        case CueRecall(delay=delay, num_cues=num_cues):
            return _alone(lambda s: CueRecallSimulator(delay, num_cues, int(s.cue)), _recall, _recalled, guide=_cue)
        case RandomWalk2D():
            walk = RandomWalkSimulator(env.grid_size, env.goal, env.reward_width, env.edges)
            return _alone(
                lambda _: walk.start(),
                lambda s, action, _: walk.step(s, action),
                lambda s: walk.observe(s, env.one_hot),
                tolerance=1e-6,
            )
        case CartPole():
            return _cart_pole()
        case MountainCar():
            return _mountain_car(env.goal_velocity)
        case ConditioningTask():
            return _conditioning(env)
        case MultiAgentEnv():
            simulator = multi_agent.simulator(env)
            return Game(
                lambda s: multi_agent.plain(env, s),
                lambda s, actions, events: (*simulator.step(s, actions, *multi_agent.plain_events(env, events)), False),
                lambda s: [simulator.observe(s, agent, env.observation) for agent in range(env.num_agents)],
            )
    reading = adapter(env)
    return _alone(
        reading.state,
        lambda s, action, events: reading.simulator.step(s, action, *reading.events(events)),
        lambda s: reading.simulator.observe(s, env.observation),
    )


def _recall(simulator: CueRecallSimulator, action: int, events: Any) -> Step:
    return Step(simulator, *simulator.step(action, events.lamps.tolist()))


def _recalled(simulator: CueRecallSimulator) -> list[bool]:
    return simulator.observation()


def _cue(simulator: CueRecallSimulator) -> int:
    return simulator.cue


def _cart_pole() -> Game:
    """Gymnasium's, in float64; the state is its own, and the distractors."""
    theirs: Any = gymnasium.make("CartPole-v1").unwrapped
    theirs.reset(seed=0)

    def step(state: tuple[Any, list[float]], action: int, events: Any) -> Step:
        theirs.state, theirs.steps_beyond_terminated = state[0], None
        _, reward, terminated, *_ = theirs.step(action)
        position, _, angle, _ = theirs.state
        by_hair = min(abs(abs(position) - theirs.x_threshold), abs(abs(angle) - theirs.theta_threshold_radians)) < CLOSE
        return Step((theirs.state, events.distractors.tolist()), reward, None if by_hair else terminated)

    return _alone(
        lambda s: (s.physics.astype(float).tolist(), s.distractors.tolist()),
        step,
        lambda state: [*state[0], *state[1]],
        guide=lambda state: int(state[0][2] + state[0][3] > 0),
        tolerance=CLOSE,
    )


def _mountain_car(goal_velocity: float) -> Game:
    """Gymnasium's, in float64."""
    theirs: Any = gymnasium.make("MountainCar-v0", goal_velocity=goal_velocity).unwrapped
    theirs.reset(seed=0)

    def step(state: Any, action: int, events: None) -> Step:
        theirs.state = state
        _, reward, terminated, *_ = theirs.step(action)
        position, velocity = theirs.state
        by_hair = abs(position - theirs.goal_position) < CLOSE or (abs(velocity - goal_velocity) < CLOSE and position > 0.4)
        return Step(theirs.state, reward, None if by_hair else bool(terminated))

    return _alone(
        lambda s: (float(s.position), float(s.velocity)),
        step,
        list,
        guide=lambda state: 2 if state[1] > 0 else 0,
        tolerance=CLOSE,
    )


def _conditioning(env: ConditioningTask) -> Game:
    """Along the chain's states by name; which of the possible ones follows is drawn, what is seen follows from its name."""
    design, chain = env.design(), env.chain
    index = {state: i for i, state in enumerate(chain.states)}
    cuts = [[round(cut * 2**32) for cut in np.cumsum(row)[:-1].tolist()] for row in chain.probabilities]

    def is_last(micro: Any) -> bool:
        over = micro.phase in ("outcome", "after") and micro.elapsed == design.padding
        return over and not design.slots[micro.slot].following

    def step(micro: Any, action: int, events: Any) -> Step:
        row = index[micro]
        following = chain.states[chain.successors[row][sum(int(events.word) >= cut for cut in cuts[row])]]
        return Step(following, 0.0 if is_last(micro) else following.reward, is_last(following))

    def observe(micro: Any) -> list[float]:
        begins = micro.phase == "trial" and micro.elapsed == 0
        cue = design.slots[micro.slot].kinds[micro.kind].cue if begins else None
        return [*(float(cue == i) for i in range(len(env.cue_names))), micro.reward]

    return _alone(lambda s: chain.states[int(s.current)], step, observe, tolerance=1e-6)


# --- Random draws, and lanes ------------------------------------------------------------------------------------------------


@functools.cache
def _drawing(env: FunctionalEnv) -> tuple[Callable, Callable]:
    def block(draw: Callable[[Any], Any], stream: int) -> Callable:
        def of(seed_key: jax.Array, first: jax.Array) -> Any:
            key = jax.random.fold_in(seed_key, stream)
            return jax.vmap(lambda i: draw(jax.random.fold_in(key, first + i)))(jnp.arange(BLOCK, dtype=jnp.uint32))

        return jax.jit(of)

    return block(env.reset, 0), block(env.events, 1)


class Tape:
    """All that is drawn in a lane with this seed."""

    def __init__(self, env: FunctionalEnv, seed: int) -> None:
        self._draw, self._key = _drawing(env), jax.random.PRNGKey(seed)
        self._known: tuple[list[Any], list[Any]] = [], []

    def start(self, episode: int) -> Any:
        return self._look_up(0, episode)

    def events(self, step: int) -> Any:
        return self._look_up(1, step)

    def _look_up(self, which: int, number: int) -> Any:
        known = self._known[which]
        while number >= len(known):
            leaves, tree = jax.tree.flatten(jax.device_get(self._draw[which](self._key, jnp.uint32(len(known)))))
            known += [tree.unflatten([leaf[i] for leaf in leaves]) for i in range(BLOCK)]
        return known[number]


tape = functools.lru_cache(maxsize=1024)(Tape)


class PlainLane:
    """One environment.

    Args:
        env: The dynamics.
        limit: Steps after which an episode is truncated.
    """

    def __init__(self, env: FunctionalEnv, limit: int) -> None:
        self.env, self.game, self.limit = env, game(env), limit

    def begin(self, seed: int) -> None:
        self._tape, self._episode, self._steps = tape(self.env, seed), -1, 0
        self.restart()

    def restart(self) -> None:
        self._episode, self._elapsed = self._episode + 1, 0
        self.state = self.game.start(self._tape.start(self._episode))

    def step(self, actions: list[int]) -> tuple[list[float], bool | None, bool]:
        """Rewards, terminated, truncated."""
        self.state, rewards, terminated = self.game.step(self.state, actions, self._tape.events(self._steps))
        self._steps, self._elapsed = self._steps + 1, self._elapsed + 1
        return rewards, terminated, self._elapsed >= self.limit

    def observe(self) -> list[Any]:
        return self.game.observe(self.state)
