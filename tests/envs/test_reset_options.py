"""Options of a reset, through each adapter: a start of one's own, other bounds; and what is refused."""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest

import mbrl_envs
from mbrl_envs import ButtonGrid, CartPole, FunctionalGymEnv, FunctionalVecEnv, FunctionalVectorEnv, MountainCar, ProcMaze
from mbrl_envs.multi_agent import ButtonContest, CoopButtonGrid

WALLS = np.array([[0, 1, 0], [0, 1, 0], [0, 0, 0]], bool)  # one way, from the top left corner around to the top right one


def test_a_maze_of_ones_own_is_walked_as_drawn_on_paper() -> None:
    env = gymnasium.make("mbrl/ProcMaze-v0", grid_size=3, observation="planes", spontaneous=False)
    seen, info = env.reset(seed=0, options={"walls": WALLS, "position": (0, 0), "goal": [0, 2]})
    assert info == {}
    assert seen[..., 0].nonzero() == ([0], [0])
    assert seen[..., 1].nonzero() == ([0], [2])
    np.testing.assert_array_equal(seen[..., 2], WALLS)
    ends = []
    for action in (4, 3, 3, 4, 4, 1, 1, 0):  # into the wall, down, down, right, right, up, up; the goal is reached
        seen, _, terminated, _, _ = env.step(action)
        ends.append(terminated)
    assert seen[..., 0].nonzero() == ([0], [2])
    assert ends == [False] * 7 + [True]


@pytest.mark.parametrize(
    ("env_id", "constants", "options", "state"),
    [
        ("mbrl/OpenGrid-v0", {"grid_size": 4}, {"position": (2, 1)}, {"position": 9}),
        ("mbrl/RandomWalk2D-v0", {"grid_size": 5}, {"position": np.array([4, 0])}, {"position": 20}),
        ("mbrl/ButtonGrid-v0", {"num_buttons": 2}, {"position": (1, 1)}, {"position": 6}),
        ("mbrl/ButtonGrid-v0", {"num_buttons": 2}, {"buttons": [(0, 0), (4, 4)]}, {"buttons": [0, 24]}),
        ("mbrl/ButtonGrid-v0", {"num_buttons": 2}, {"on": [True, False]}, {"on": [True, False]}),
    ],
)
def test_what_is_not_given_is_as_drawn(env_id: str, constants: Any, options: Any, state: Any) -> None:
    drawn, given = (gymnasium.make(env_id, **constants) for _ in range(2))
    for seed in (3, None):  # also in an episode that begins without a seed
        drawn.reset(seed=seed)
        given.reset(seed=seed, options=options)
        before, after = drawn.unwrapped.state._asdict(), given.unwrapped.state._asdict()
        for name, value in after.items():
            assert value.dtype == before[name].dtype
            np.testing.assert_array_equal(value, state.get(name, before[name]))
    # The next episode is as if nothing had been given.
    np.testing.assert_array_equal(drawn.reset()[0], given.reset()[0])


@pytest.mark.parametrize(("theirs", "ours"), [("CartPole-v1", CartPole()), ("MountainCar-v0", MountainCar())])
def test_bounds_are_gymnasiums(theirs: str, ours: Any) -> None:
    env, other = FunctionalGymEnv(ours), gymnasium.make(theirs)
    plain = env.reset(seed=1)[0]
    np.testing.assert_array_equal(env.reset(seed=1, options={})[0], plain)
    fixed = {"low": 0.02, "high": 0.02}
    np.testing.assert_array_equal(env.reset(seed=1, options=fixed)[0], other.reset(seed=1, options=fixed)[0])
    bounds = (-0.05, 0.05) if isinstance(ours, CartPole) else (-0.6, -0.4)
    np.testing.assert_array_equal(env.reset(seed=1, options=dict(zip(("low", "high"), bounds, strict=True)))[0], plain)
    several = FunctionalVectorEnv(ours, 500)
    starts = several.reset(seed=0, options={"low": -0.02, "high": 0.1})[0][:, 0]
    assert starts.min() >= np.float32(-0.02)
    assert starts.max() <= np.float32(0.1)
    assert starts.min() < -0.015
    assert starts.max() > 0.095
    assert abs(starts.mean() - 0.04) < 0.01
    low = several.reset(options={"low": bounds[0] - 0.1})[0][:, 0]  # the other one stays as it was
    assert low.min() < bounds[0]
    assert low.max() <= np.float32(bounds[1])
    with pytest.raises(ValueError, match=re.escape("options['low'] must be at most options['high'], got 0.5 and")):
        env.reset(options={"low": 0.5})
    with pytest.raises(TypeError, match=re.escape("options['high'] must be a finite number")):
        env.reset(options={"high": "much"})


def test_lanes_take_options_as_single_environments_do() -> None:
    env, options = ButtonGrid(3, 2), {"buttons": [(0, 0), (2, 2)], "on": [True, False]}
    lanes = FunctionalVectorEnv(env, 3)
    single = [FunctionalGymEnv(env) for _ in range(3)]
    seen = lanes.reset(seed=4, options=options)[0]
    np.testing.assert_array_equal(seen, [one.reset(seed=4 + i, options=options)[0] for i, one in enumerate(single)])
    mask = np.array([True, False, True])
    again = lanes.reset(options={**options, "reset_mask": mask})[0]
    expected = [
        one.reset(options=options)[0] if chosen else seen[i] for i, (one, chosen) in enumerate(zip(single, mask, strict=True))
    ]
    np.testing.assert_array_equal(again, expected)
    following = lanes.step(np.array([4, 4, 4]))[0]
    np.testing.assert_array_equal(following, [one.step(4)[0] for one in single])


def test_stable_baselines_options_count_once() -> None:
    vec, single = FunctionalVecEnv(ButtonGrid(3, 2), 2), FunctionalGymEnv(ButtonGrid(3, 2))
    vec.seed(7)
    vec.set_options([{"position": (2, 2)}, {}])
    seen = vec.reset()
    np.testing.assert_array_equal(seen[0], single.reset(seed=7, options={"position": (2, 2)})[0])
    np.testing.assert_array_equal(seen[1], single.reset(seed=8)[0])
    single.reset(seed=7)
    np.testing.assert_array_equal(vec.reset()[0], single.reset()[0])


@pytest.mark.parametrize("kind", [CoopButtonGrid, ButtonContest])
def test_several_players(kind: type) -> None:
    from mbrl_envs.adapters.parallel_env import FunctionalParallelEnv

    env = kind(3, 2)
    options = {"positions": [(0, 1), (2, 2)], "buttons": [(1, 1), (0, 0)], "on": [False, True]}
    parallel, lanes = FunctionalParallelEnv(env), FunctionalVecEnv(env, 2)
    seen = parallel.reset(seed=2, options=options)[0]
    planes = parallel.state().reshape(9, 4).astype(int)
    assert [np.flatnonzero(plane).tolist() for plane in planes.T] == [[1], [8], [0], [4]]
    lanes.seed(2)
    lanes.set_options(options)
    np.testing.assert_array_equal(lanes.reset()[:2], list(seen.values()))
    with pytest.raises(TypeError, match=re.escape("options['positions'] must be 2 times a row and a column, got [(0, 1)]")):
        parallel.reset(options={"positions": [(0, 1)]})


MAZE = {"walls": WALLS, "position": (0, 0), "goal": (2, 2)}


@pytest.mark.parametrize(
    ("env", "options", "error", "message"),
    [
        (ProcMaze(3), {"positon": (0, 0)}, ValueError, "options of ProcMaze are 'position', 'goal', 'walls'; got 'positon'"),
        (mbrl_envs.PanFlute(), {"position": (0, 0)}, ValueError, "options of PanFlute are none; got 'position'"),
        (ProcMaze(3), [1], TypeError, "options must be None or a dictionary, got [1] of type list"),
        (ProcMaze(3), MAZE | {"goal": 3}, TypeError, "options['goal'] must be a row and a column, got 3"),
        (ProcMaze(3), MAZE | {"goal": (0, 3)}, ValueError, "options['goal'] must be an integer from 0 to 2, got 3"),
        (ProcMaze(3), MAZE | {"goal": (0, 1.0)}, TypeError, "options['goal'] must be an integer from 0 to 2, got 1.0"),
        (
            ProcMaze(3),
            MAZE | {"position": (1, 1)},
            ValueError,
            "must be an open cell of the maze; (1, 1) is a wall (was given)",
        ),
        (ProcMaze(3), {"walls": np.ones((3, 3), bool)}, ValueError, "so give it along with options['walls']"),
        (ProcMaze(3), MAZE | {"walls": WALLS.astype(int)}, TypeError, "options['walls'] must be booleans of shape (3, 3)"),
        (
            ProcMaze(3),
            MAZE | {"walls": WALLS[:2]},
            ValueError,
            "options['walls'] must be booleans of shape (3, 3), got shape (2, 3)",
        ),
        (ProcMaze(3), MAZE | {"walls": [[True], []]}, TypeError, "options['walls'] must be booleans of shape (3, 3)"),
        (ButtonGrid(3, 2), {"buttons": [(0, 0), (0, 0)]}, ValueError, "options['buttons'] must be different cells"),
        (ButtonGrid(3, 2), {"on": [True]}, ValueError, "options['on'] must be booleans of shape (2,), got shape (1,)"),
        (MountainCar(), {"low": -2.0}, ValueError, "options['low'] must be a finite number of at least -1.2 and at most 0.6"),
    ],
)
def test_options_are_checked_at_the_door(env: Any, options: Any, error: type[Exception], message: str) -> None:
    single, several = FunctionalGymEnv(env), FunctionalVectorEnv(env, 2)
    single.reset(seed=0)
    before = jax.tree.map(np.array, single.state)
    with pytest.raises(error, match=re.escape(message)):
        single.reset(options=options)
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(single.state), strict=True):
        np.testing.assert_array_equal(a, b)  # nothing has changed
    if isinstance(options, dict):
        with pytest.raises(error, match=re.escape(message)):
            several.reset(seed=0, options=options)
