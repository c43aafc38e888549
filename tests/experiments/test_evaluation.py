"""Scores: the same on the device and through ``predict``, and what the yardsticks say they are."""

from __future__ import annotations

import types
from typing import Any, ClassVar

import jax
import numpy as np
import pytest
from stable_baselines3 import PPO

import mbrl_envs
from mbrl_agents import LinearTD, ReplayDQN, ValueRNN, train_sweep
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.evaluation import Evaluator, default_sizes
from mbrl_agents.runs.scores import score_name, yardsticks_of
from mbrl_envs import FunctionalVecEnv, functional_task, yardsticks
from tests.agents import probes
from tests.agents.probes import Probe

SPECS = [
    EnvironmentSpec("mbrl/PanFlute-v0"),
    EnvironmentSpec("mbrl/PanFlute-v0", {"spontaneous": False}),
    EnvironmentSpec("mbrl/ProcMaze-v0"),
    EnvironmentSpec("mbrl/ButtonGrid-v0", {"grid_size": 3, "num_buttons": 2}),
]


class Uniform:
    """Draws actions uniformly, and notes how it is asked."""

    def __init__(self, num_actions: int, seed: int = 0) -> None:
        self.num_actions, self.rng = num_actions, np.random.default_rng(seed)
        self.calls: list[tuple[Any, Any, bool]] = []

    def predict(self, observation: np.ndarray, state: Any, episode_start: Any, deterministic: bool) -> tuple[np.ndarray, Any]:
        self.calls.append((state, np.array(episode_start), deterministic))
        return self.rng.integers(self.num_actions, size=len(observation)), (0 if state is None else state + 1)


def agent_for(spec: EnvironmentSpec, seed: int = 2) -> ReplayDQN:
    """An agent that acts as its random network says: another action in every other state."""
    return ReplayDQN("MlpPolicy", spec.make(), policy_kwargs={"net_arch": [32]}, seed=seed)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.title)
def test_device_and_predict_give_the_same_scores(spec: EnvironmentSpec) -> None:
    agent = agent_for(spec)
    predicting = types.SimpleNamespace(predict=agent.predict)  # all that is asked of an agent that is not ours
    fast, slow = (Evaluator(spec, 16, 40).scores(model, seed=5, stream=9) for model in (agent, predicting))
    assert fast.dtype == np.float32
    assert fast.shape == (16,)
    np.testing.assert_array_equal(fast, slow)


def test_a_pure_function_that_maps_over_runs() -> None:
    spec = EnvironmentSpec("mbrl/ProcMaze-v0")
    agents, env = [agent_for(spec, seed) for seed in (1, 2)], mbrl_envs.ProcMaze()
    keys = jax.random.split(jax.random.PRNGKey(0), 2)
    states = jax.tree.map(lambda *leaves: np.stack(leaves), *(agent.learner_state for agent in agents))

    def scores(state: Any, key: jax.Array) -> jax.Array:
        return agents[0].learner.evaluate(env, state, key, None, 8, 30)["score"]

    together = jax.jit(jax.vmap(scores))(states, keys)
    alone = [scores(agent.learner_state, key) for agent, key in zip(agents, keys, strict=True)]
    np.testing.assert_allclose(together, alone)


def test_every_agent_plays_the_same_episodes() -> None:
    spec = EnvironmentSpec("mbrl/ProcMaze-v0", {"spontaneous": False})
    still = Evaluator(spec, 64, 30).scores(_Always(0), seed=1)
    assert set(still) <= {-30.0, -1.0}  # an episode ends at once where the maze starts on its goal
    again = Evaluator(spec, 64, 30).scores(_Always(0), seed=1)
    np.testing.assert_array_equal(still, again)
    others = Evaluator(spec, 64, 30).scores(_Always(0), seed=1, stream=1)
    assert (others != still).any()


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[2], SPECS[3]], ids=lambda spec: spec.title)
def test_the_uniform_policy_scores_what_its_yardstick_says(spec: EnvironmentSpec) -> None:
    dynamics = spec.dynamics()
    scores = Evaluator(spec, 2000, 100).scores(Uniform(int(dynamics.action_space.n)))
    error = scores.std() / np.sqrt(len(scores))
    assert abs(scores.mean() - yardsticks.uniform_score(dynamics, steps=100)) < 4 * error
    known = Evaluator(spec, 2000, 100).yardsticks()
    assert known is not None
    np.testing.assert_allclose(known.normalised(known), [0, 1], atol=1e-12)


def test_recurrent_policies_keep_their_state() -> None:
    model = Uniform(5)
    Evaluator(SPECS[0], 3, 4).scores(model)
    assert [state for state, _, _ in model.calls] == [None, 0, 1, 2]
    assert [starts.tolist() for _, starts, _ in model.calls] == [[True] * 3] + [[False] * 3] * 3
    assert all(deterministic for _, _, deterministic in model.calls)


def test_other_environments_are_scored_by_their_return() -> None:
    spec = EnvironmentSpec("CartPole-v1")
    model = PPO("MlpPolicy", spec.make(), device="cpu")
    evaluator = Evaluator(spec, 6, steps=7)
    scores = evaluator.scores(model, seed=3)
    np.testing.assert_array_equal(scores, 7)  # a pole stands for a few steps, and the limit is below
    assert evaluator.yardsticks() is None
    full = Evaluator(spec, 6)
    np.testing.assert_array_equal(full.scores(model, seed=3), full.scores(model, seed=3))
    evaluator.close()
    full.close()


class _Always:
    """Always the same action."""

    def __init__(self, action: int) -> None:
        self.action = action

    def predict(self, observation: np.ndarray, state: Any, episode_start: Any, deterministic: bool) -> tuple[np.ndarray, None]:
        del state, episode_start, deterministic
        return np.full(len(observation), self.action), None


def test_scores_are_named_for_what_they_are() -> None:
    """A value network in an environment with something to decide: its scores stand beside no policy's return."""
    dynamics = EnvironmentSpec("mbrl/PanFlute-v0").dynamics()
    assert score_name(ReplayDQN, dynamics, 100) == "reward per step, first 100 steps"
    assert score_name(ReplayDQN, EnvironmentSpec("mbrl/ProcMaze-v0").dynamics(), 50) == "return, at most 50 steps"
    assert score_name(PPO, None, None) == "return"
    for agent in (ValueRNN, LinearTD):
        assert score_name(agent, dynamics, 100) == "minus the RMS error of values"
        assert yardsticks_of(agent, dynamics, 100) is None
    assert yardsticks_of(ReplayDQN, dynamics, 100) is not None


# --- Time limits ----------------------------------------------------------------------------------------------------------


class Short(Probe):
    """A user's own dynamics, whose episodes are meant to last 40 steps."""

    max_episode_steps: ClassVar[int] = 40


@pytest.mark.parametrize(
    ("env", "steps"),
    [
        (probes.make(Probe(0, "always"), 40), 40),
        (probes.make(Probe(0, "always"), 400), 100),
        (probes.make(Probe(0, "always")), 100),
        (Short(0, "always"), 40),
        (probes.make(Short(0, "always"), 30), 30),
        (FunctionalVecEnv(Short(0, "always"), 2), 40),
    ],
    ids=["40", "400", "none", "own", "30", "vector"],
)
def test_an_environment_is_scored_over_its_own_time_limit(env: Any, steps: int) -> None:
    """Every step is rewarded with 1, so the score is the number of steps."""
    assert default_sizes(functional_task(env), None, None)[1] == steps
    assert default_sizes(functional_task(env), None, 7)[1] == 7
    task = functional_task(env)
    assert task is not None
    assert default_sizes(task, None, 200)[1] == min(200, task.max_episode_steps or 200)  # asked for, as by a preset
    if not isinstance(env, FunctionalVecEnv):
        spec = EnvironmentSpec.of(env)
        assert Evaluator(spec, 3).scores(agent_for(spec)).tolist() == [steps] * 3


def test_a_sweep_scores_over_the_time_limit() -> None:
    env = probes.make(Probe(0, "always"), 40)
    result = train_sweep(
        ReplayDQN, env, {"learning_starts": 50, "batch_size": 8}, seeds=1, total_timesteps=100, eval_episodes=2
    )
    table = result.table()
    assert set(table[table["metric"] == "score"]["value"]) == {40.0}
