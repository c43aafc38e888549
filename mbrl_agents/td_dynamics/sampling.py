"""Episodes of features from any environment, a few at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_agents.core import keys
from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.sb3.host_policies import as_function, checked_action
from mbrl_envs import FunctionalEnv, functional_task
from mbrl_envs.adapters.gym_env import FunctionalGymEnv
from mbrl_envs.checks import integer_in

FeatureMap: TypeAlias = Callable[[Any], Any]
Policy: TypeAlias = Any  # Callable[[observation], action], or an object with SB3's `predict`

CHUNK_BYTES = 2**24  # of float64 features held at once, about


def sample_features(
    env: Any,
    features: FeatureMap,
    *,
    num_episodes: int,
    num_steps: int,
    policy: Policy | None = None,
    seed: int = 0,
    progress_bar: bool = False,
) -> Iterator[np.ndarray]:
    """Plays episodes and yields their features, some episodes at a time.

    Functional dynamics under uniform actions are played as a compiled program, many episodes at once; all else goes through
    ``env.step``, one after the other. An environment's time limit is ignored in the former and an error in the latter: the
    features after it are unknown.

    Args:
        env: See :func:`~mbrl_agents.td_dynamics.episodes.estimate_covariance`.
        features: As there.
        num_episodes: As there.
        num_steps: T, at least 2.
        policy: As there.
        seed: As there.
        progress_bar: As there.

    Yields:
        float64 (episodes, T, N), 0 after the end of an episode; ``num_episodes`` in all.

    Raises:
        TypeError, ValueError: As there.
    """
    num, steps = integer_in("num_episodes", num_episodes, 1, 2**31 - 1), integer_in("num_steps", num_steps, 2, 2**31 - 1)
    seed = integer_in("seed", seed, 0, 2**31 - 1)
    task = functional_task(env) if policy is None else None
    if task is not None:
        play: Callable[[int, int], tuple[Any, np.ndarray]] = functools.partial(_play_functional, task.env, steps, seed)
    else:
        made = gymnasium.make(env) if isinstance(env, str) else env
        made = FunctionalGymEnv(env) if isinstance(env, FunctionalEnv) else made
        if not isinstance(made, gymnasium.Env):
            raise TypeError(f"env must be a Gymnasium environment, its id, or functional dynamics, got {type(env).__name__}")
        play = functools.partial(_play_gymnasium, made, steps, seed, policy)
    return _chunks(play, features, num, steps, progress_bar)


def _chunks(
    play: Callable[[int, int], tuple[Any, np.ndarray]], features: FeatureMap, num: int, steps: int, progress_bar: bool
) -> Iterator[np.ndarray]:
    from tqdm import tqdm

    done, chunk = 0, 1  # the first episode tells how many features there are
    with tqdm(total=num, unit=" episodes", disable=not progress_bar) as bar:
        while done < num:
            observations, alive = play(done, chunk)
            found = np.asarray(features(observations), np.float64)
            if found.ndim != 2 or len(found) != chunk * steps or not np.isfinite(found).all():
                raise ValueError(
                    f"features must turn {chunk * steps} observations into finite numbers of shape ({chunk * steps}, N), "
                    f"got shape {found.shape}"
                )
            rows = min(chunk, num - done)  # chunks are of equal size, so that programs are compiled once
            yield found.reshape(chunk, steps, -1)[:rows] * alive[:rows, :, None]
            done += rows
            bar.update(rows)
            chunk = int(np.clip(CHUNK_BYTES // (8 * steps * found.shape[1]), 1, num))


@functools.partial(plain_jit, static_argnums=(0, 1, 2))
def _functional_episodes(env: FunctionalEnv, steps: int, chunk: int, key: jax.Array, first: jax.Array) -> Any:
    """Observations (chunk, T, …) of episodes ``first`` and on, and whether each is before the end, (chunk, T)."""

    def episode(index: jax.Array) -> Any:
        begin, then = jax.random.split(jax.random.fold_in(key, index))
        state = env.reset(begin)

        def step(carry: Any, key: jax.Array) -> Any:
            state, alive = carry
            happens, acts = jax.random.split(key)
            moved = env.step(happens, state, _uniform_action(env.action_space, acts))
            alive = alive & ~moved.terminated
            return (moved.state, alive), (env.observe(moved.state), alive)

        _, (later, alive) = jax.lax.scan(step, (state, jnp.bool_(True)), jax.random.split(then, steps - 1))
        observations = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), env.observe(state), later)
        return observations, jnp.append(True, alive)

    return jax.vmap(episode)(first + jnp.arange(chunk, dtype=jnp.uint32))


def _uniform_action(space: spaces.Space[Any], key: jax.Array) -> jax.Array:
    if isinstance(space, spaces.Discrete):
        return jax.random.randint(key, (), 0, int(space.n), jnp.int32) + int(space.start)
    if isinstance(space, spaces.Box):
        return jax.random.uniform(key, space.shape, jnp.float32, space.low, space.high)
    raise TypeError(f"env must have a Discrete or Box action space, or come with a policy, got {space}")


def _play_functional(env: FunctionalEnv, steps: int, seed: int, first: int, chunk: int) -> tuple[Any, np.ndarray]:
    observations, alive = _functional_episodes(env, steps, chunk, keys.from_seed(seed), np.uint32(first))
    return np.asarray(observations).reshape(chunk * steps, *observations.shape[2:]), np.asarray(alive)


def _play_gymnasium(
    env: gymnasium.Env[Any, Any], steps: int, seed: int, policy: Policy | None, first: int, chunk: int
) -> tuple[Any, np.ndarray]:
    act = _acting(env, policy)
    rows, alive = [], np.zeros((chunk, steps), bool)
    if first == 0:
        env.action_space.seed(seed)
    for i in range(chunk):
        observation, _ = env.reset(seed=seed if first + i == 0 else None)
        ended = False
        for t in range(steps):
            rows.append(np.asarray(observation))
            alive[i, t] = not ended
            if t == steps - 1 or ended:
                continue
            observation, _, ended, truncated, _ = env.step(act(observation))
            if truncated and not ended and t < steps - 2:
                raise ValueError(
                    f"num_steps={steps}: env truncates episodes after {t + 1} steps; make it with max_episode_steps="
                    f"{steps} or more"
                )
    return np.stack(rows), alive


def _acting(env: gymnasium.Env[Any, Any], policy: Policy | None) -> Callable[[Any], Any]:
    if policy is None:
        return lambda observation: env.action_space.sample()
    function, space = as_function(policy), env.action_space
    return lambda observation: checked_action(function(observation), space, observation)
