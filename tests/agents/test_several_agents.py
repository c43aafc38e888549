"""Our agents with several agents in one environment: shared parameters, one observation and one reward for each."""

from __future__ import annotations

import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_agents import PerfectModelDQN, ReplayDQN, train_sweep
from mbrl_agents.core import evaluation
from mbrl_agents.core.learner import Acted
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.evaluation import Evaluator
from mbrl_envs import ButtonGrid, FunctionalEnv, FunctionalVecEnv, PanFlute
from mbrl_envs import lane as lanes
from mbrl_envs.multi_agent import ButtonContest, CoopButtonGrid, CoopPanFlute
from tests.agents.comparing import assert_same, assert_same_parameters

SMALL: dict[str, Any] = {"batch_size": 8, "learning_starts": 16, "policy_kwargs": {"net_arch": [8]}, "buffer_size": 400}
LIMIT = 9


def learned(env: FunctionalEnv, num_envs: int, timesteps: int, **more: Any) -> ReplayDQN:
    agent = ReplayDQN("MlpPolicy", FunctionalVecEnv(env, num_envs, max_episode_steps=LIMIT), seed=3, **SMALL, **more)
    return agent.learn(timesteps)


@pytest.mark.slow
def test_one_agent_learns_what_it_learns_in_the_single_agent_environment() -> None:
    several, one = (learned(env, 2, 80) for env in (CoopButtonGrid(2, 1, 1), ButtonGrid(2, 1)))
    assert_same_parameters(several, one)
    several_stored, stored = (agent.memory.state.stored for agent in (several, one))
    assert_same(several_stored, stored)


def test_the_device_loop_stores_what_each_agent_saw_did_and_got() -> None:
    """The replay memory against the dynamics, stepped one by one with the stored actions."""
    env, number, steps = CoopPanFlute(2, 2), 2, 30
    agent = learned(env, number, number * 2 * steps)
    assert (agent.n_envs, agent.num_timesteps, agent.memory.size()) == (4, 120, steps)
    stored = jax.device_get(agent.memory.state.stored)
    seen, following = (np.asarray(agent.replay.codec.decode(each)) for each in (stored.observation, stored.next_observation))
    keys = jax.random.split(agent.run.keys.environments, agent.n_envs)
    advance = jax.jit(lambda lane, actions: lanes.advance(env, lane, actions))
    for e in range(number):
        own, lane = slice(2 * e, 2 * e + 2), lanes.start(env, keys[2 * e])
        for t in range(steps):
            np.testing.assert_array_equal(seen[t, own], env.observe(lane.state))
            lane, out = advance(lane, stored.action[t, own])
            np.testing.assert_array_equal(stored.reward[t, own], out.reward)
            np.testing.assert_array_equal(following[t, own], env.observe(lane.state))  # before the reset
            assert stored.truncated[t, own].tolist() == [(t + 1) % LIMIT == 0] * 2
            if (t + 1) % LIMIT == 0:
                lane = lanes.restart(lane, lanes.next_start(env, lane))
    assert len({tuple(row) for row in stored.action.tolist()}) > 5  # agents do not all do the same


def test_a_sweep_is_learning_alone_and_scores_are_means_over_agents() -> None:
    env = CoopPanFlute(2, 2)
    spec = EnvironmentSpec(repr(env), {}, LIMIT, env)
    result = train_sweep(
        ReplayDQN, spec, SMALL, seeds=[3], total_timesteps=80, n_envs=2, eval_interval=40, eval_steps=20, execution="loop"
    )
    swept = result.agent(0)
    assert swept.num_timesteps == 80
    assert_same_parameters(swept, learned(env, 2, 80))
    table = result.table()
    scores = table[table["metric"] == "score"].set_index("timestep")["value"]
    assert list(scores.index) == [0, 40, 80]
    # The same episodes once more, through predict(), agent by agent.
    evaluator, predicting = Evaluator(spec, steps=20), types.SimpleNamespace(predict=swept.predict)
    assert evaluator.scores(predicting, seed=3, stream=80).mean() == pytest.approx(scores[80], abs=1e-6)
    assert evaluator.yardsticks() is not None


def test_greedy_scores_against_a_loop_in_python() -> None:
    """Scores of a fixed policy: of two pipes player 0 blows the long one and player 1 the short one, always."""

    def one_each(carry: Any, observation: jax.Array, key: jax.Array) -> Acted:
        assert observation.shape == (6, 5)  # three episodes of two agents
        return Acted(observation[:, -1].astype(np.int32) ^ 1)  # what marks player 1 turned round

    env = CoopPanFlute(2, 2, spontaneous=False)
    scores = evaluation.scores_of_policy(one_each, env, jax.random.PRNGKey(0), 3, 10)
    np.testing.assert_allclose(scores, [0.8] * 3, rtol=1e-6)
    game, totals = ButtonContest(2, 2), jnp.array([3.0, -3, 1, 0])
    played = evaluation.begin(game, jax.random.PRNGKey(0), 2)._replace(total=totals)
    contest = evaluation.scores(game, played, 2)
    np.testing.assert_allclose(contest, [0, 0.25])


def test_a_saved_agent_goes_on_as_if_it_had_never_stopped(tmp_path: Any) -> None:
    env = CoopPanFlute(2, 2)
    whole, part = learned(env, 2, 80), learned(env, 2, 60)
    part.save(tmp_path / "agent")
    part.save_replay_buffer(tmp_path / "replay")
    again = ReplayDQN.load(tmp_path / "agent", env=FunctionalVecEnv(env, 2, max_episode_steps=LIMIT))
    again.load_replay_buffer(tmp_path / "replay")
    again.learn(20, reset_num_timesteps=False)
    assert again.num_timesteps == 80
    assert_same_parameters(whole, again)


def test_what_needs_one_agent_says_so() -> None:
    with pytest.raises(ValueError, match=r"needs functional dynamics .* of a single agent"):
        PerfectModelDQN("MlpPolicy", FunctionalVecEnv(CoopPanFlute(2, 2)))
    PerfectModelDQN("MlpPolicy", FunctionalVecEnv(PanFlute(2)), _init_setup_model=False)


@pytest.mark.slow
def test_two_players_learn_to_play_the_best_there_is() -> None:
    """Replay DQN with shared parameters on three pipes: as good as the exact optimum, or nearly."""
    env = CoopPanFlute(3, 2)
    arguments = {"learning_rate": 3e-4, "temperature": 0.1, "batch_size": 128}
    result = train_sweep(ReplayDQN, env, arguments, seeds=2, total_timesteps=20_000, eval_interval=4000)
    table = result.table()
    best = table[table["metric"] == "score"].groupby("seed")["value"].max()
    evaluator = Evaluator(EnvironmentSpec.of(env))
    yardsticks = evaluator.yardsticks()
    assert yardsticks is not None
    assert (yardsticks.normalised(best) > 0.6).all()
