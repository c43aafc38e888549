"""CueRecall, step by step beside a plain-Python simulator; CartPole without velocities beside CartPole."""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scipy import stats

import mbrl_envs
from mbrl_envs import CueRecall, yardsticks
from mbrl_envs.cue_recall import CueRecallEvents, CueRecallState
from mbrl_envs.rendering import ansi, rgb_array
from tests.envs import brute_force
from tests.envs.simulators import CueRecallSimulator


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("delay", "num_cues"), [(0, 2), (1, 3), (10, 4), (3, 32)])
def test_every_step_equals_the_simulator(delay: int, num_cues: int, noise: float) -> None:
    env = CueRecall(delay, num_cues, noise)
    transition, observe, events = jax.jit(env.transition), jax.jit(env.observe), jax.jit(env.events)
    rng = np.random.default_rng(0)
    for episode in range(4):
        state = env.reset(jax.random.key(episode))
        simulator = CueRecallSimulator(delay, num_cues, int(state.cue))
        for t in range(env.num_steps):
            assert observe(state).tolist() == simulator.observation()
            assert env.observation_space.contains(np.asarray(observe(state)))
            action = simulator.cue if episode % 2 else int(rng.integers(num_cues))
            happens = events(jax.random.key(1000 * episode + t))
            state, reward, terminated = transition(state, jnp.int32(action), happens)
            assert (float(reward), bool(terminated)) == simulator.step(action, happens.lamps.tolist())
        assert bool(terminated)


@pytest.mark.parametrize("noise", [0.0, 0.25, 1.0])
def test_lamps_are_lit_as_often_as_said_and_cues_are_uniform(noise: float) -> None:
    env, num = CueRecall(noise=noise), 50_000
    keys = jax.random.split(jax.random.key(0), num)
    lamps = np.asarray(jax.jit(jax.vmap(env.events))(keys).lamps)
    for i in range(4):
        assert stats.binomtest(int(lamps[:, i].sum()), num, noise).pvalue > 1e-4
    if noise == 0.25:  # lamps are independent of each other
        assert stats.binomtest(int((lamps[:, 0] & lamps[:, 1]).sum()), num, noise**2).pvalue > 1e-4
    cues = np.bincount(np.asarray(jax.jit(jax.vmap(env.reset))(keys).cue), minlength=4)
    assert stats.chisquare(cues).pvalue > 1e-4


@pytest.mark.parametrize("env", [CueRecall(0, 2), CueRecall(2, 3), CueRecall(1, 2, 0.3)], ids=str)
def test_scores_agree_with_brute_force(env: CueRecall) -> None:
    """The state tells the cue, so its best policy is that of a perfect memory."""
    lamps = np.array(np.meshgrid(*[[False, True]] * env.num_cues, indexing="ij")).reshape(env.num_cues, -1).T
    probabilities = np.prod(np.where(lamps, env.noise, 1 - env.noise), axis=1)
    grid = [(c, t, lit) for c in range(env.num_cues) for t in range(env.num_steps + 2) for lit in lamps]
    grid = [row for row in grid if row[1] < env.num_steps + 1]
    states = CueRecallState(*(jnp.array([row[i] for row in grid]) for i in range(3)))
    states = states._replace(step=jnp.minimum(states.step, env.num_steps))
    start = np.array([t == 0 and lit.tolist() == [i == c for i in range(env.num_cues)] for c, t, lit in grid]) / env.num_cues

    class Ending(CueRecall):
        """Stays where it is after the end, so that the states are closed under transition."""

        def transition(self, state: Any, action: Any, events: Any) -> Any:
            moved = super().transition(state, action, events)
            return moved._replace(state=moved.state._replace(step=jnp.minimum(moved.state.step, self.num_steps)))

    process = brute_force.build(
        Ending(env.delay, env.num_cues, env.noise),
        states,
        start,
        brute_force.Weighted(CueRecallEvents(jnp.array(lamps)), probabilities),
    )
    for steps in (None, 1, env.num_steps - 1, env.num_steps, 30):
        best, random = (brute_force.solve(process, choose, steps, False) for choose in ("optimal", "uniform"))
        assert yardsticks.optimal_score(env, steps=steps) == pytest.approx(best)
        assert yardsticks.uniform_score(env, steps=steps) == pytest.approx(random)


def test_through_gymnasium() -> None:
    env = gymnasium.make("mbrl/CueRecall-v0", delay=3, num_cues=2)
    check_env(env.unwrapped, skip_render_check=True)
    total = 0.0
    for _ in range(20):
        observation, _ = env.reset()
        answer, terminated, steps = int(observation[:2].argmax()), False, 0
        while not terminated:
            observation, reward, terminated, truncated, _ = env.step(answer)
            steps, total = steps + 1, total + reward
        assert (steps, truncated) == (5, False)
    assert total == 20


def test_pictures() -> None:
    env = CueRecall(delay=1, num_cues=2)
    state = env.reset(jax.random.key(0))
    lines = []
    for _ in range(3):
        state = jax.tree.map(np.asarray, state)
        picture = env.picture(state)
        lines.append(ansi(picture).splitlines()[0])
        assert rgb_array(picture).shape == rgb_array(env.picture(state)).shape
        state = env.step(jax.random.key(1), state, jnp.int32(0)).state
    assert lines[0] in ("O o .", "o O .")
    assert lines[1:] == ["o o .", "o o ?"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"delay": -1}, ValueError, "delay must be an integer from 0 to 900, got -1"),
        ({"delay": 1.5}, TypeError, "delay must be an integer"),
        ({"num_cues": 1}, ValueError, "num_cues must be an integer from 2 to 32, got 1"),
        ({"noise": 1.5}, ValueError, "noise must be a finite number of at least 0 and at most 1, got 1.5"),
        ({"noise": float("nan")}, ValueError, "noise must be a finite number of at least 0 and at most 1, got nan"),
        ({"noise": "much"}, TypeError, "noise must be a finite number of at least 0 and at most 1, got 'much'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        CueRecall(**arguments)


def test_cart_pole_without_velocities_is_cart_pole_seen_in_part() -> None:
    env, whole = gymnasium.make("mbrl/CartPoleNoVelocity-v0"), gymnasium.make("CartPole-v1")
    assert env.spec is not None
    assert whole.spec is not None
    assert (env.spec.max_episode_steps, env.spec.reward_threshold) == (500, 475)
    check_env(env.unwrapped, skip_render_check=True)
    seen, all_of_it = env.reset(seed=3)[0], whole.reset(seed=3)[0]
    for t in range(200):
        assert env.observation_space.contains(seen)
        assert seen.tolist() == all_of_it[[0, 2]].tolist()
        (seen, *mine), (all_of_it, *theirs) = env.step(t % 2), whole.step(t % 2)
        assert mine == theirs
        if mine[1]:
            seen, all_of_it = env.reset()[0], whole.reset()[0]


def test_both_are_registered() -> None:
    assert mbrl_envs.functional_task("mbrl/CueRecall-v0") == mbrl_envs.FunctionalTask(CueRecall(), 1000)
    assert mbrl_envs.functional_task("mbrl/CartPoleNoVelocity-v0") is None
