"""Episodes of cue–reward tasks as NumPy arrays, drawn from the same dynamics as the environments step through."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_envs import draws
from mbrl_envs.checks import integer_in
from mbrl_envs.conditioning.task import ConditioningTask
from mbrl_envs.functional_task import functional_task

MAX_EPISODES, MAX_TRIALS = 10_000_000, 100_000
_LANES, _CHUNK = 4096, 64  # episodes drawn at once, and steps between looks at whether they are over


class Trial(NamedTuple):
    """An episode of one or more trials, of T steps.

    Attributes:
        observations: float32 (T, F): each cue, then the reward that came with the step.
        rewards: float32 (T,), the same rewards; ``rewards[t + 1]`` is what a network predicts at t.
        states: int32 (T,), the hidden states, indices into ``env.chain.states``.
        terminated: Whether the episode is over for good after its last step, so that nothing of value follows; False where a
            continuing task was only cut.
    """

    observations: np.ndarray
    rewards: np.ndarray
    states: np.ndarray
    terminated: bool


def conditioning_task(env: Any) -> ConditioningTask:
    """The cue–reward task behind a Gymnasium id, an environment, or the dynamics themselves.

    Raises:
        TypeError: There is none.
    """
    task = env if isinstance(env, ConditioningTask) else functional_task(env)
    task = getattr(task, "env", task)
    if not isinstance(task, ConditioningTask):
        raise TypeError(f"env must be a cue–reward task (mbrl_envs.conditioning) or the id of one, got {env!r}")
    return task


def sample_trials(env: Any, num: int, seed: int, *, trials_per_episode: int | None = None) -> list[Trial]:
    """Draws episodes, independent of each other; the first k of them are the same for every ``num``.

    Args:
        env: The task: dynamics, a Gymnasium id or a Gymnasium environment.
        num: Number of episodes, 1 to 10 000 000.
        seed: A non-negative integer.
        trials_per_episode: Continuing tasks: trials after which an episode is cut, 1 to 100 000; None for 1 (studies of
            Starkweather's tasks use 20). Episodic tasks end by themselves: None.

    Returns:
        The episodes, of unequal length.

    Raises:
        TypeError, ValueError: An argument is of a wrong type or out of range.
    """
    task = conditioning_task(env)
    num, seed = integer_in("num", num, 1, MAX_EPISODES), integer_in("seed", seed, 0, 2**63)
    if trials_per_episode is not None and not task.continuing:
        raise ValueError(f"trials_per_episode must be None for {task.env_id}, whose episodes end by themselves (num_trials)")
    trials = 1 if trials_per_episode is None else integer_in("trials_per_episode", trials_per_episode, 1, MAX_TRIALS)
    if not task.continuing:
        trials = 1 + max(state.slot for state in task.chain.states)
    episodes = []
    for first in range(0, num, _LANES):
        lanes = np.arange(first, min(first + _LANES, num), dtype=np.uint32)
        states, lengths = _walk(task, np.asarray(draws.raw_key(seed)), lanes, trials)
        episodes += [_episode(task, row[:length].copy()) for row, length in zip(states, lengths, strict=True)]
    return episodes


def arrays_of(task: ConditioningTask, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Observations, float32 (…, F), and rewards, float32 (…), of hidden states, int (…)."""
    rewards = task.chain.reward[states]
    cues = task.chain.cue[states][..., None] == np.arange(len(task.cue_names))
    return np.concatenate([cues.astype(np.float32), rewards[..., None]], axis=-1), rewards


def _episode(task: ConditioningTask, states: np.ndarray) -> Trial:
    return Trial(*arrays_of(task, states), states, bool(task.chain.terminal[states[-1]]))


def _walk(task: ConditioningTask, key: np.ndarray, lanes: np.ndarray, trials: int) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states (lanes, T) until every lane has had its trials, and the number of steps that took it."""
    start, advance = _compiled(task)
    keys, state = start(key, lanes)
    pieces, step = [np.asarray(state.current)[:, None]], 0
    ended = task.chain.last[pieces[0][:, 0]].astype(np.int64)
    while (ended < trials).any():
        state, piece = advance(keys, state, jnp.uint32(step))
        pieces.append(np.asarray(piece).T)
        ended += task.chain.last[pieces[-1]].sum(axis=1)
        step += _CHUNK
    states = np.concatenate(pieces, axis=1)
    # The first step by which as many trials have ended as there shall be.
    return states, 1 + (np.cumsum(task.chain.last[states], axis=1) >= trials).argmax(axis=1)


@functools.lru_cache(maxsize=16)
def _compiled(task: ConditioningTask) -> tuple[Any, Any]:
    """Two compiled functions: the start of all lanes, and their next ``_CHUNK`` states, int32 (_CHUNK, lanes)."""

    def start(key: jax.Array, lanes: jax.Array) -> tuple[jax.Array, Any]:
        keys = jax.vmap(lambda lane: draws.fold_in(key, lane))(lanes)
        return keys, jax.vmap(lambda key: task.reset(draws.fold_in(key, 0)))(keys)

    def advance(keys: jax.Array, state: Any, first: jax.Array) -> tuple[Any, jax.Array]:
        def step(state: Any, t: jax.Array) -> tuple[Any, jax.Array]:
            move = jax.vmap(lambda key, state: task.step(draws.fold_in(key, t), state, jnp.int32(0)).state)
            following = move(keys, state)
            return following, following.current

        return jax.lax.scan(step, state, first + 1 + jnp.arange(_CHUNK, dtype=jnp.uint32))

    return jax.jit(start), jax.jit(advance)
