"""RandomWalk2D beside a plain-Python simulator, brute force, and simulated values."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scipy import stats

import mbrl_envs
from mbrl_envs import RandomWalk2D, yardsticks
from mbrl_envs.random_walk_2d import EDGES, NoEvents, RandomWalkState
from mbrl_envs.rendering import ansi, rgb_array
from mbrl_envs.yardsticks import random_walk_2d
from tests.envs import brute_force
from tests.envs.simulators import RandomWalkSimulator

BOUNCING = [RandomWalk2D(n, goal, width, edges="bounce") for n, goal, width in ((2, (0, 1), 1), (3, (0, 1), 0), (4, (0, 0), 2))]
MOVES = ((-1, 0), (0, -1), (1, 0), (0, 1))


@pytest.mark.parametrize(
    "env", [RandomWalk2D(), RandomWalk2D(2, (1, 0), 0), RandomWalk2D(5, (0, 3), 1), RandomWalk2D(4, edges="bounce")], ids=str
)
def test_every_step_equals_the_simulator(env: RandomWalk2D) -> None:
    simulator = RandomWalkSimulator(env.grid_size, env.goal, env.reward_width, env.edges)
    transition, observe = jax.jit(env.transition), jax.jit(env.observe)
    state, here = env.reset(jax.random.key(0)), simulator.start()
    rng = np.random.default_rng(0)
    for _ in range(60):
        assert observe(state).tolist() == list(here)
        assert env.observation_space.contains(np.asarray(observe(state)))
        action = int(rng.integers(4))
        state, reward, terminated = transition(state, jnp.int32(action), NoEvents())
        here, wanted, _ = simulator.step(here, action)
        assert float(reward) == pytest.approx(wanted, rel=1e-6)
        assert not terminated


def test_one_hot_observations_tell_the_cell() -> None:
    env = RandomWalk2D(4, one_hot=True)
    for cell in range(16):
        seen = np.asarray(env.observe(RandomWalkState(jnp.int32(cell))))
        assert env.observation_space.contains(seen)
        assert np.flatnonzero(seen).tolist() == [cell]


@pytest.mark.parametrize("env", [RandomWalk2D(2), RandomWalk2D(3, (0, 1), 0), RandomWalk2D(4, (1, 2), 1), *BOUNCING], ids=str)
def test_scores_agree_with_brute_force(env: RandomWalk2D) -> None:
    states = RandomWalkState(jnp.arange(env.num_cells))

    class WithEvent(RandomWalk2D):
        """One event that changes nothing: the solver enumerates them."""

        def transition(self, state: Any, action: Any, events: Any) -> Any:
            return super().transition(state, action, NoEvents())

    nothing = brute_force.Weighted(jnp.zeros(1), np.ones(1))
    same = WithEvent(env.grid_size, env.goal, env.reward_width, edges=env.edges)
    process = brute_force.build(same, states, np.eye(env.num_cells)[env.start], nothing)
    for steps in (None, 1, 7):
        best, random = (brute_force.solve(process, choose, steps, True) for choose in ("optimal", "uniform"))
        assert yardsticks.optimal_score(env, steps=steps) == pytest.approx(best, abs=1e-6)
        assert yardsticks.uniform_score(env, steps=steps) == pytest.approx(random, abs=1e-6)


def test_bouncing_off_edges_from_every_cell() -> None:
    """A step from x to x − 1 over the edge leads to x + 1; all others are ordinary steps."""
    env = RandomWalk2D(3, edges="bounce")
    cells, actions = jnp.repeat(jnp.arange(9), 4), jnp.tile(jnp.arange(4), 9)
    found = jax.vmap(env.transition, (0, 0, None))(RandomWalkState(cells), actions, NoEvents()).state.position
    expected = [  # up, left, down, right
        [3, 1, 3, 1], [4, 0, 4, 2], [5, 1, 5, 1],
        [0, 4, 6, 4], [1, 3, 7, 5], [2, 4, 8, 4],
        [3, 7, 3, 7], [4, 6, 4, 8], [5, 7, 5, 7],
    ]  # fmt: skip
    assert found.reshape(9, 4).tolist() == expected == random_walk_2d.moves(env).tolist()
    assert random_walk_2d.visits(env) @ random_walk_2d.walk(env) == pytest.approx(random_walk_2d.visits(env))
    assert random_walk_2d.visits(env).reshape(3, 3) * 16 == pytest.approx(np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]))


@pytest.mark.parametrize("edges", EDGES)
def test_the_uniform_policy_is_the_walk(edges: str) -> None:
    env, num = RandomWalk2D(5, edges=edges), 40_000
    share = np.eye(25)[env.start]
    state, step = jnp.full(num, env.start), jax.jit(jax.vmap(lambda s, a: env.transition(RandomWalkState(s), a, NoEvents())))
    for t in range(4):
        state = step(state, jax.random.randint(jax.random.key(t), (num,), 0, 4)).state.position
        share = share @ random_walk_2d.walk(env)
    counts = np.bincount(np.asarray(state), minlength=25)
    assert (counts[share == 0] == 0).all()
    assert stats.chisquare(counts[share > 0], num * share[share > 0]).pvalue > 1e-4


def test_values_are_those_of_long_walks() -> None:
    env, gamma = RandomWalk2D(3, (0, 0), 1), 0.7
    values = random_walk_2d.values(env, gamma)
    for start in (0, 4):
        total = 0.0
        for length in range(8):  # all walks of so many steps
            reached = [_walked(start, walk, 3) for walk in itertools.product(MOVES, repeat=length)]
            total += gamma**length * float(env.rewards[reached].mean())
        assert values[start] == pytest.approx(total, abs=gamma**8 / (1 - gamma))
        assert values[start] > total


def _walked(start: int, walk: tuple[tuple[int, int], ...], n: int) -> int:
    row, column = divmod(start, n)
    for down, right in walk:
        row, column = min(max(row + down, 0), n - 1), min(max(column + right, 0), n - 1)
    return row * n + column


def test_through_gymnasium() -> None:
    env = gymnasium.make("mbrl/RandomWalk2D-v0", grid_size=5, goal=[2, 2])
    check_env(env.unwrapped, skip_render_check=True)
    assert mbrl_envs.functional_task("mbrl/RandomWalk2D-v0") == mbrl_envs.FunctionalTask(RandomWalk2D(), 1000)
    observation, _ = env.reset(seed=0)
    assert observation.tolist() == [2, 2]
    observation, reward, terminated, truncated, _ = env.step(3)
    assert (observation.tolist(), reward, terminated, truncated) == ([2, 3], 1.0, False, False)


def test_pictures() -> None:
    env = RandomWalk2D(5, (0, 1), 1)
    picture = env.picture(RandomWalkState(np.int32(1)))
    lines = ansi(picture).splitlines()
    assert lines[:2] == ["+ * + . .", ". + . . ."]
    assert ansi(env.picture(RandomWalkState(np.int32(24)))).splitlines()[4] == ". . . . @"
    assert rgb_array(picture).shape == rgb_array(env.picture(RandomWalkState(np.int32(7)))).shape


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"grid_size": 1}, ValueError, "grid_size must be an integer from 2 to 64, got 1"),
        ({"grid_size": 5.0}, TypeError, "grid_size must be an integer"),
        ({"goal": 3}, TypeError, r"goal \(if not None\) must be a row and a column, got 3"),
        ({"goal": (1, 2, 3)}, TypeError, r"goal \(if not None\) must be a row and a column"),
        ({"goal": (0, 17)}, ValueError, r"goal \(if not None\) must be an integer from 0 to 16, got 17"),
        ({"reward_width": -1}, ValueError, "reward_width must be an integer from 0 to 64"),
        ({"one_hot": 1}, TypeError, "one_hot must be True or False"),
        ({"edges": "wrap"}, ValueError, "edges must be one of 'stay', 'bounce'; got 'wrap'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RandomWalk2D(**arguments)
