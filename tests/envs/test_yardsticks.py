"""The yardsticks as users see them: published numbers, simulation, limits, bad input."""

import functools
import math

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_envs import yardsticks
from mbrl_envs.button_grid import ButtonGrid
from mbrl_envs.functional import FunctionalEnv
from mbrl_envs.open_grid import OpenGrid
from mbrl_envs.pan_flute import PanFlute
from mbrl_envs.proc_maze import ProcMaze
from mbrl_envs.yardsticks import mazes

SOLVERS = {"optimal": yardsticks.optimal, "uniform": yardsticks.uniform}


# --- Published numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "published", "tolerance"), [(4, -4.38, 0.02), (6, -7.54, 0.03), (10, -16.07, 0.11)])
def test_published_optimum_of_proc_maze(n, published, tolerance):
    value, error = yardsticks.optimal(ProcMaze(n))
    assert value == pytest.approx(published, abs=tolerance)
    assert error < tolerance / 4
    assert yardsticks.optimal_score(ProcMaze(n), steps=100) == pytest.approx(published, abs=tolerance)


# The published uniform scores are means over simulated episodes, printed without their errors. The second number is exact
# (n = 10: its error is .003), and simulations of 65 536 episodes gave −35.56 ± .13, −60.15 ± .15 and −82.28 ± .12.
@pytest.mark.parametrize(("n", "published", "exact"), [(4, -36.2, -35.5109), (6, -60.4, -60.1485), (10, -81.5, -82.248)])
def test_published_uniform_score_of_proc_maze(n, published, exact):
    value, error = yardsticks.uniform(ProcMaze(n), steps=100)
    assert value == pytest.approx(published, abs=0.8)
    assert value == pytest.approx(exact, abs=1e-4 + 4 * error)
    assert error < 0.01


# Here too the published uniform scores are simulated: 393 216 episodes gave .001122 ± .000005 for n = 10 over 100 steps.
@pytest.mark.parametrize(
    ("n", "steps", "optimal", "uniform", "exact"),
    [
        (5, 100, 0.11365, 0.00633, 0.00635652),
        (10, 100, 0.05783, 0.00118, 0.00112657),
        (5, None, 0.11779, 0.00734, 0.00735758),
        (10, None, 0.06219, 0.00165, 0.00164512),
    ],
)
def test_published_scores_of_button_grid(n, steps, optimal, uniform, exact):
    env = ButtonGrid(n, num_buttons=3)
    assert yardsticks.optimal(env, steps=steps) == (pytest.approx(optimal, abs=5.1e-6), 0)
    assert yardsticks.uniform(env, steps=steps) == (pytest.approx(exact, abs=5e-9), 0)
    assert exact == pytest.approx(uniform, rel=0.05)


def test_published_scores_of_pan_flute():
    env = PanFlute(5)
    assert yardsticks.optimal_score(env, steps=100) == pytest.approx(0.222, abs=1e-12)
    assert yardsticks.uniform_score(env, steps=100) == pytest.approx(0.0399, abs=5e-5)
    assert yardsticks.optimal_score(env) == pytest.approx(1 / 5 + 1 / 25 - 1 / 125, abs=1e-12)
    assert yardsticks.uniform_score(env) == pytest.approx(1 / 25 + 5**-5 * (1 - 1 / 25), abs=1e-12)


def test_never_moving_scores_minus_58_in_proc_maze():
    env = ProcMaze(4)
    coincide = sum(p / bits.bit_count() for bits, p in mazes.enumerate_mazes(4).items())
    q = env.teleport_probability
    exact = -(coincide + (1 - coincide) * (1 + (1 - (1 - q) ** 99) / q))
    assert exact == pytest.approx(-58, abs=0.6)
    scores = simulate(env, steps=100, episodes=2048, actions=1)
    assert scores.mean() == pytest.approx(exact, abs=4 * scores.std() / math.sqrt(len(scores)))


def test_facts_about_mazes_of_size_4():
    found = mazes.enumerate_mazes(4)
    assert {bits.bit_count() for bits in found} == {7, 10, 11, 12}
    assert sum(p / bits.bit_count() for bits, p in found.items()) == pytest.approx(0.089, abs=0.002)
    without_events = yardsticks.optimal_score(ProcMaze(4, spontaneous=False))
    assert -without_events - 1 == pytest.approx(3.49, abs=0.04)


# --- Simulation ---------------------------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames=("env", "steps", "episodes", "actions"))
def _returns(key: jax.Array, env: FunctionalEnv, steps: int, episodes: int, actions: int) -> jax.Array:
    def episode(key: jax.Array) -> jax.Array:
        reset_key, key = jax.random.split(key)

        def step(carry, key):
            state, running, total = carry
            action_key, step_key = jax.random.split(key)
            outcome = env.step(step_key, state, jax.random.randint(action_key, (), 0, actions))
            return (outcome.state, running & ~outcome.terminated, total + running * outcome.reward), None

        start = (env.reset(reset_key), jnp.bool_(True), jnp.float32(0))
        return jax.lax.scan(step, start, jax.random.split(key, steps))[0][2]

    return jax.vmap(episode)(jax.random.split(key, episodes))


def simulate(env: FunctionalEnv, steps: int, episodes: int, actions: int | None = None) -> np.ndarray:
    """Scores of episodes in which each action is one of the first ``actions`` (default: all), drawn uniformly."""
    actions = int(env.action_space.n) if actions is None else actions
    returns = np.asarray(_returns(jax.random.key(11), env, steps, episodes, actions), np.float64)
    return returns / steps if env.continuing else returns


@pytest.mark.parametrize("env", [ProcMaze(4), OpenGrid(6), ButtonGrid(5), PanFlute(4)], ids=lambda env: type(env).__name__)
def test_uniform_score_agrees_with_simulation(env):
    scores = simulate(env, steps=100, episodes=4096)
    assert scores.mean() == pytest.approx(
        yardsticks.uniform_score(env, steps=100), abs=4 * scores.std() / math.sqrt(len(scores))
    )


def test_best_play_of_pan_flute_reaches_the_optimum_without_events():
    env = PanFlute(4, spontaneous=False)
    state, total = env.reset(jax.random.key(0)), 0.0
    step = jax.jit(env.step)
    for t in range(23):
        outcome = step(jax.random.key(t), state, jnp.int32(3 - t % 4))
        state, total = outcome.state, total + float(outcome.reward)
    assert total / 23 == pytest.approx(yardsticks.optimal_score(env, steps=23))


# --- Limits that can be written down ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", [ProcMaze(4), ProcMaze(3, spontaneous=False), OpenGrid(5), ButtonGrid(4), PanFlute(3)], ids=str)
def test_many_steps_approach_the_long_run(env):
    for solver in SOLVERS.values():
        assert solver(env, steps=2000).value == pytest.approx(solver(env).value, rel=1e-2)


@pytest.mark.parametrize("num_pipes", [1, 2, 4, 7, 32])
def test_pan_flute_without_events_has_a_chord_every_p_steps(num_pipes):
    env = PanFlute(num_pipes, spontaneous=False)
    assert yardsticks.optimal_score(env) == pytest.approx(1 / num_pipes)
    assert yardsticks.optimal_score(env, steps=num_pipes) == 0
    assert yardsticks.optimal_score(env, steps=num_pipes + 1) == pytest.approx(1 / (num_pipes + 1))


def test_uniform_proc_maze_without_teleports_is_finite():
    assert yardsticks.uniform(ProcMaze(4, spontaneous=False)) == (pytest.approx(-100.370, abs=1e-3), 0)


@pytest.mark.parametrize(("n", "k"), [(32, 1), (7, 6), (4, 16)])
def test_large_button_grids(n, k):
    env = ButtonGrid(n, k)
    (best, best_error), (random, random_error) = yardsticks.optimal(env), yardsticks.uniform(env)
    assert 0 < random < best < 1 / k
    assert best_error < 0.05 * best
    assert random_error < 0.05 * random


# --- The public face ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [None, 100])
@pytest.mark.parametrize("env", [ProcMaze(4), OpenGrid(5), ButtonGrid(4, 2), PanFlute(5)], ids=lambda env: type(env).__name__)
def test_normalised_score(env, steps):
    low, high = yardsticks.uniform_score(env, steps=steps), yardsticks.optimal_score(env, steps=steps)
    assert yardsticks.normalised_score(env, high, steps=steps) == 1
    assert yardsticks.normalised_score(env, low, steps=steps) == 0
    middle = yardsticks.normalised_score(env, (low + high) / 2, steps=steps)
    assert isinstance(middle, float)
    assert middle == pytest.approx(0.5)
    many = yardsticks.normalised_score(env, np.array([[low, high], [high, low]]), steps=steps)
    assert isinstance(many, np.ndarray)
    assert np.array_equal(many, [[0, 1], [1, 0]])


def test_ids_environments_and_observation_forms_all_name_the_same():
    expected = yardsticks.optimal_score(PanFlute(5))
    env = gymnasium.make("mbrl/PanFlute-v0")
    assert yardsticks.optimal_score("mbrl/PanFlute-v0") == expected
    assert yardsticks.optimal_score(env) == expected
    assert yardsticks.optimal_score(PanFlute(5, observation="planes")) == expected
    assert yardsticks.optimal_score(gymnasium.make("mbrl/PanFlute-v0", num_pipes=3)) == yardsticks.optimal_score(PanFlute(3))


@pytest.mark.parametrize("function", [yardsticks.optimal_score, yardsticks.uniform_score])
def test_bad_steps(function):
    for steps in (0, -1, 10**9):
        with pytest.raises(ValueError, match="steps must be an integer from 1 to"):
            function(PanFlute(), steps=steps)
    for steps in (1.5, True, "100"):
        with pytest.raises(TypeError, match="steps must be an integer from 1 to"):
            function(PanFlute(), steps=steps)


def test_the_environments_own_time_limit_rules():
    short = gymnasium.make("mbrl/ProcMaze-v0", max_episode_steps=40)
    assert yardsticks.optimal_score(short, steps=40) == yardsticks.optimal_score(ProcMaze(), steps=40)
    assert yardsticks.optimal_score(short) == yardsticks.optimal_score(ProcMaze())
    for function in (yardsticks.optimal, yardsticks.uniform):
        with pytest.raises(ValueError, match="steps must be at most the environment's own time limit of 40, or None, got 100"):
            function(short, steps=100)
    with pytest.raises(ValueError, match="own time limit of 1000"):
        yardsticks.optimal("mbrl/PanFlute-v0", steps=1001)


def test_environments_without_yardsticks():
    class Unknown(PanFlute.__mro__[1]):  # type: ignore[misc]
        pass

    Unknown.__abstractmethods__ = frozenset()
    with pytest.raises(TypeError, match=r"known yardsticks \(.*ButtonGrid, .*, ProcMaze, .*\), got Unknown"):
        yardsticks.optimal_score(Unknown())


def test_what_is_out_of_reach_says_what_is_not():
    with pytest.raises(
        ValueError, match=r"steps=100 is out of reach .* grid_size=32 and num_buttons=16.*steps=None is feasible"
    ):
        yardsticks.uniform_score(ButtonGrid(32, 16), steps=100)
    with pytest.raises(ValueError, match=r"steps must be at most 330, or None, for the uniform score of ProcMaze\(32\)"):
        yardsticks.uniform_score(ProcMaze(32), steps=1000)


def test_a_scale_needs_two_different_scores():
    with pytest.raises(ValueError, match="score cannot be normalised: with steps=None every policy scores 1"):
        yardsticks.normalised_score(PanFlute(1), 0.5)
