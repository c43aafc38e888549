"""LinearTD where actions are vectors: values that are known, and policies of every kind."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv

from mbrl_agents import LinearTD
from mbrl_agents.linear_td.policies import FunctionPolicy, HostPolicy
from mbrl_envs import FunctionalEnv, Transition
from mbrl_envs.adapters.gym_env import FunctionalGymEnv
from mbrl_envs.rendering import Picture
from tests.agents.linear_td.probes import Remembers, predictions_of

GAMMA = 0.8
SETTINGS: dict[str, Any] = {"gamma": GAMMA, "learning_rate": 0.1, "episode_steps": 5, "seed": 0, "device": "cpu"}
BOX = spaces.Box(np.float32([-1, 0]), np.float32([2, 4]))


class Nothing(NamedTuple):
    at: jax.Array


@dataclasses.dataclass(frozen=True)
class Levers(FunctionalEnv[Nothing, None]):
    """Nothing ever changes; levers a and b give a − 3 b."""

    env_id: ClassVar[str] = "Levers"
    continuing: ClassVar[bool] = True

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = BOX

    def reset(self, key: jax.Array) -> Nothing:
        return Nothing(jnp.float32(1))

    def events(self, key: jax.Array) -> None:
        return None

    def transition(self, state: Nothing, action: jax.Array, events: None) -> Transition:
        return Transition(state, jnp.float32(action[0] - 3 * action[1]), jnp.bool_(False))

    def observe(self, state: Nothing) -> jax.Array:
        return state.at[None]

    def picture(self, state: Nothing) -> Picture:
        return Picture(np.array([["empty"]], dtype=object))


def itself(observation: jax.Array) -> jax.Array:
    """One feature, which is always 1: its weight is the value."""
    return observation


def pull(observation: jax.Array) -> jax.Array:
    """An action that earns −.25."""
    return observation * jnp.float32([0.5, 0.25])


def pull_by_hand(observation: np.ndarray) -> np.ndarray:
    """The same; only NumPy can run it."""
    return np.float64([0.5, float(observation[0]) / 4])


@pytest.mark.parametrize(
    ("policy", "device_loop", "reward"),
    [(pull, True, -0.25), (pull, False, -0.25), (pull_by_hand, None, -0.25), ("uniform", True, -5.5), ("uniform", False, -5.5)],
)
def test_values_are_known(policy: Any, device_loop: bool | None, reward: float) -> None:
    agent = LinearTD(itself, FunctionalGymEnv(Levers()), policy=policy, device_loop=device_loop, **SETTINGS)
    agent.learn(400)
    chance = 0.0 if policy != "uniform" else 0.3 * 3.6 / (1 - GAMMA)
    assert agent.value([1.0]) == pytest.approx(reward / (1 - GAMMA), rel=1e-3, abs=1e-4 + chance)
    action = agent.predict(np.float32([1.0]))[0]
    assert action.shape == (2,)
    if policy != "uniform":
        np.testing.assert_allclose(action, [0.5, 0.25], rtol=1e-6)


def test_uniform_actions_fill_the_space() -> None:
    agent = LinearTD(itself, FunctionalGymEnv(Levers()), **SETTINGS)
    actions = np.array([agent.predict(np.float32([1.0]))[0] for _ in range(200)])
    np.testing.assert_allclose(actions.min(axis=0), BOX.low, atol=0.15)
    np.testing.assert_allclose(actions.max(axis=0), BOX.high, atol=0.15)


def test_the_environment_gets_the_very_actions_of_the_policy() -> None:
    drawn: list[np.ndarray] = []

    def policy(observation: np.ndarray) -> np.ndarray:
        assert observation.shape == (3,)
        drawn.append(np.random.default_rng(len(drawn)).uniform(-2, 2, 1).astype(np.float32))
        return drawn[-1]

    env = Remembers(gymnasium.make("Pendulum-v1"))
    agent = LinearTD("linear", env, policy=policy, **SETTINGS)
    tried = len(drawn)
    agent.learn(20)
    np.testing.assert_array_equal(env.actions, drawn[tried:])
    stored = np.asarray(agent.memory.state.stored.action)[:, 0]
    np.testing.assert_allclose(stored, np.array(drawn[-5:]) / 2, rtol=1e-6)  # in [−1, 1]


@pytest.mark.parametrize("kind", [PPO, SAC])
def test_values_of_an_agent_of_stable_baselines3(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pendulum, 3 updates of 20 steps: the weights are those of the formula on the transitions that its actions led to."""
    env = Remembers(gymnasium.make("Pendulum-v1", max_episode_steps=20))
    behaviour = kind("MlpPolicy", env, seed=0, device="cpu")
    drawn = predictions_of(behaviour, monkeypatch)
    agent = LinearTD("linear", env, policy=behaviour, **{**SETTINGS, "episode_steps": 20, "learning_rate": 1e-3})
    weights, tried = np.zeros(4), len(drawn)
    for i in range(3):
        agent.learn(20, reset_num_timesteps=i == 0)
        stored = agent.memory.state.stored
        now, after = (np.append(np.asarray(each)[:, 0], np.ones((20, 1)), axis=1) for each in
                      (stored.observation, stored.next_observation))  # fmt: skip
        errors = np.asarray(stored.reward)[:, 0] + GAMMA * after @ weights - now @ weights
        weights = weights + 1e-3 * errors @ now
        np.testing.assert_allclose(agent.weights, weights, rtol=1e-4, atol=1e-5)
    assert np.abs(weights).max() > 0.01
    np.testing.assert_array_equal(env.actions, drawn[tried:])
    assert agent.predict_curve(5, num_episodes=4)[0] > 0


def test_kinds_of_policies() -> None:
    def policy_of(given: Any) -> Any:
        return LinearTD(itself, FunctionalGymEnv(Levers()), policy=given, **SETTINGS).learner.policy

    assert isinstance(policy_of(pull), FunctionPolicy)
    assert isinstance(policy_of(lambda o, key: jax.random.uniform(key, (2,))), FunctionPolicy)
    assert isinstance(policy_of(lambda o: np.float32([0, 1])), HostPolicy)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda o: 3 * o,  # one number, not two
        lambda o: o * jnp.float32([0.5, -0.1]),  # below the lower bound
        lambda o: np.array([2.1, 0.0]),
        lambda o: np.array([np.nan, 0.0]),
        lambda o: np.zeros((1, 2)),
        lambda o: ["a", "b"],
        lambda o: None,
    ],
)
def test_policies_that_return_wrong_actions_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="policy must return one action of Box"):
        LinearTD(itself, FunctionalGymEnv(Levers()), policy=wrong, **SETTINGS)


def test_tables_are_for_discrete_actions() -> None:
    with pytest.raises(ValueError, match="policy may be a table where actions are Discrete, got Box"):
        LinearTD(itself, FunctionalGymEnv(Levers()), policy=[0, 1], **SETTINGS)


def test_several_environments() -> None:
    env = DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")] * 5)
    agent = LinearTD("linear", env, policy=lambda o: np.array([1.5]), **SETTINGS)
    agent.learn(20)
    assert agent._n_updates == 4
    assert agent.predict(np.zeros((5, 3), np.float32))[0].tolist() == [[1.5]] * 5
