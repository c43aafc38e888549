"""Agents as lanes: against environments stepped one by one, and with one agent against the single-agent batch."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO

from mbrl_envs import BatchedEnv, ButtonGrid, FunctionalTask, FunctionalVecEnv, functional_task
from mbrl_envs import lane as lanes
from mbrl_envs.multi_agent import AgentLanes, ButtonContest, CoopButtonGrid, CoopPanFlute

LIMIT = 6


def run(batch: BatchedEnv, actions: np.ndarray) -> tuple[Any, list[Any]]:
    """First observations, and the steps."""
    state = jax.jit(batch.init)(jax.random.split(jax.random.PRNGKey(0), batch.num_envs))
    step, shown = jax.jit(batch.step), batch.observe(state)
    out = []
    for row in actions:
        state, each = step(state, row)
        out.append(jax.device_get(each))
    return np.asarray(shown), out


def test_lanes_are_agents_of_environments_stepped_one_by_one() -> None:
    env = ButtonContest(3, 2)
    agents, number = env.num_agents, 2
    batch = FunctionalTask(env, LIMIT).batched(number * agents)
    assert isinstance(batch, AgentLanes)
    actions = np.random.default_rng(0).integers(5, size=(20, batch.num_envs)).astype(np.int32)
    shown, out = run(batch, actions)
    keys = jax.random.split(jax.random.PRNGKey(0), batch.num_envs)
    start, advance, observe = (
        jax.jit(f) for f in (lambda key: lanes.start(env, key), lambda lane, a: lanes.advance(env, lane, a), env.observe)
    )
    restart = jax.jit(lambda lane: lanes.restart(lane, lanes.next_start(env, lane)))
    for e in range(number):
        own = slice(e * agents, (e + 1) * agents)
        lane = start(keys[e * agents])
        np.testing.assert_array_equal(shown[own], observe(lane.state))
        for t, step in enumerate(out):
            lane, moved = advance(lane, actions[t, own])
            np.testing.assert_array_equal(step.reward[own], moved.reward)
            final = np.asarray(batch.observe_states(step.final_state))[own]
            np.testing.assert_array_equal(final, observe(lane.state))
            over = (t + 1) % LIMIT == 0
            assert step.truncated[own].tolist() == [over] * agents
            assert not step.terminated[own].any()
            lane = restart(lane) if over else lane
            np.testing.assert_array_equal(step.observation[own], observe(lane.state))


def test_with_one_agent_lanes_are_those_of_the_single_agent_environment() -> None:
    several, one = (FunctionalTask(env, LIMIT).batched(5) for env in (CoopButtonGrid(3, 2, 1), ButtonGrid(3, 2)))
    assert type(one) is BatchedEnv
    actions = np.random.default_rng(0).integers(5, size=(40, 5)).astype(np.int32)
    (first, ours), (other, theirs) = run(several, actions), run(one, actions)
    np.testing.assert_array_equal(first, other)
    for mine, other_step in zip(ours, theirs, strict=True):
        jax.tree.map(np.testing.assert_array_equal, mine._replace(final_state=None), other_step._replace(final_state=None))


def test_a_lane_restarts_its_whole_environment() -> None:
    env = CoopButtonGrid(4, 2, 2)
    batch = FunctionalTask(env, None).batched(6)
    keys = jax.random.split(jax.random.PRNGKey(0), 6)
    state = batch.init(keys)
    mask = np.array([False, False, False, True, False, False])
    after = batch.restart(state, mask)
    assert after.lanes.episode.tolist() == [0, 1, 0]
    again = batch.reseed(after, keys, mask)
    np.testing.assert_array_equal(batch.observe(again), batch.observe(state))
    assert again.lanes.episode.tolist() == [0, 0, 0]


def test_lanes_that_do_not_fit_are_refused() -> None:
    task = FunctionalTask(CoopPanFlute(3, 2), None)
    with pytest.raises(ValueError, match=r"num_envs must be a multiple of the 2 agents of CoopPanFlute.*, got 3"):
        task.batched(3)
    with pytest.raises(ValueError, match="autoreset_mode must be SAME_STEP with several agents"):
        task.batched(4, AutoresetMode.NEXT_STEP)


def test_the_vector_environment_for_sb3_has_a_lane_for_each_agent() -> None:
    envs = FunctionalVecEnv(CoopPanFlute(3, 2), num_envs=2, max_episode_steps=4, render_mode="rgb_array")
    assert envs.num_envs == 4
    assert functional_task(envs) == FunctionalTask(CoopPanFlute(3, 2), 4)
    envs.seed(0)
    shown = envs.reset()
    assert shown[:, -2:].tolist() == [[True, False], [False, True]] * 2
    for t in range(4):
        _, rewards, done, infos = envs.step(np.array([0, 1, 2, 3]))
        assert rewards[0] == rewards[1]
        assert done.all() == (t == 3)
    assert all(info["TimeLimit.truncated"] and info["episode"]["l"] == 4 for info in infos)
    assert infos[2]["terminal_observation"].tolist()[-2:] == [True, False]
    assert [picture is not None for picture in envs.get_images()] == [True, True]
    pictures = envs.env_method("render", indices=[0, 1, 2])
    assert (pictures[0] == pictures[1]).all()


def test_sb3s_ppo_learns_on_it_and_the_seed_decides() -> None:
    def learned(seed: int, env_seed: int) -> list[np.ndarray]:
        """The policy's parameters before and after learning."""
        env = FunctionalVecEnv(CoopButtonGrid(3, 1, 2), num_envs=2)
        model = PPO("MlpPolicy", env, n_steps=8, batch_size=16, n_epochs=1, seed=seed, policy_kwargs={"net_arch": [8]})
        before = model.policy.parameters_to_vector()
        env.seed(env_seed)
        return [before, model.learn(64).policy.parameters_to_vector()]

    (start, end), (same_start, same_end) = learned(1, 1), learned(1, 1)
    np.testing.assert_array_equal(start, same_start)
    np.testing.assert_array_equal(end, same_end)
    assert (start != end).mean() > 0.5
    other_start, other_end = learned(1, 2)  # the same policy in other episodes
    np.testing.assert_array_equal(start, other_start)
    assert (end != other_end).any()
    assert (end != learned(2, 1)[1]).any()


def test_supersuit_and_sb3_learn_on_the_parallel_environment() -> None:
    """As the documentation says: it trains, but its vector environment takes no seed and does not tell truncations."""
    import supersuit

    from mbrl_envs.multi_agent import coop_pan_flute_v0

    env = supersuit.pettingzoo_env_to_vec_env_v1(coop_pan_flute_v0.parallel_env(num_pipes=2, max_cycles=5))
    envs = supersuit.concat_vec_envs_v1(env, 2, base_class="stable_baselines3")
    assert envs.num_envs == 4
    model = PPO("MlpPolicy", envs, n_steps=8, batch_size=16, n_epochs=1, policy_kwargs={"net_arch": [8]})
    assert model.learn(64).num_timesteps == 64
    envs.reset()
    for _ in range(5):
        *_, done, infos = envs.step(np.zeros(4, int))
    assert done.all()
    assert "terminal_observation" in infos[0]
    assert "TimeLimit.truncated" not in infos[0]
    with pytest.raises(AttributeError, match="seed"):
        PPO("MlpPolicy", envs, seed=0)
