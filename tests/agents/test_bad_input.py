"""Bad arguments are refused at the door, with the name, what was given and what is allowed."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import mbrl_envs
import mbrl_envs.multi_agent.coop_pan_flute_v0
from mbrl_agents import R2D2, LinearTD, ReplayDQN
from mbrl_agents.core.checks import finite
from tests.agents.comparing import assert_same

CASES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"learning_rate": math.nan}, ValueError, r"learning_rate must be a finite number of at least 0, got nan"),
    ({"learning_rate": -1e-3}, ValueError, r"learning_rate .* got -0.001"),
    ({"learning_rate": "fast"}, TypeError, r"learning_rate .* got 'fast' of type str"),
    ({"learning_rate": lambda progress: math.nan}, ValueError, r"learning_rate\(progress_remaining=1\)"),
    ({"temperature": 0.0}, ValueError, r"temperature must be a finite number above 0, got 0.0"),
    ({"temperature": -1}, ValueError, "temperature"),
    ({"temperature": math.inf}, ValueError, "temperature"),
    ({"batch_size": 0}, ValueError, r"batch_size must be an integer (from|of at least|between) 1"),
    ({"batch_size": 2.5}, TypeError, "batch_size"),
    ({"buffer_size": -5}, ValueError, "buffer_size"),
    ({"buffer_size": 320, "n_steps": 400}, ValueError, r"buffer_size must be at least n_steps \* n_envs = 400, got 320"),
    ({"gamma": 1.5}, ValueError, r"gamma .* at most 1, got 1.5"),
    ({"tau": -0.1}, ValueError, "tau .* of at least 0"),
    ({"train_freq": 0}, ValueError, "train_freq"),
    ({"train_freq": (1, "week")}, ValueError, r"unit of train_freq must be one of 'step', 'episode'; got 'week'"),
    ({"gradient_steps": -2}, ValueError, "gradient_steps"),
    ({"target_update_interval": 0}, ValueError, "target_update_interval"),
    ({"learning_starts": -1}, ValueError, "learning_starts"),
    ({"n_steps": 0}, ValueError, "n_steps"),
    ({"exploration": "boltzmann"}, ValueError, r"exploration must be one of 'softmax', 'epsilon_greedy'; got 'boltzmann'"),
    ({"exploration_initial_eps": 1.1}, ValueError, "exploration_initial_eps"),
    ({"exploration_fraction": 0.0}, ValueError, "exploration_fraction"),
    ({"weight_decay": -1.0}, ValueError, "weight_decay"),
    ({"max_grad_norm": 0}, ValueError, "max_grad_norm"),
    ({"seed": -1}, ValueError, "seed"),
    ({"device": "abacus"}, ValueError, r"device must be one of .*cpu.* got 'abacus'"),
    ({"device_loop": 1}, TypeError, "device_loop must be True or False"),
    ({"double_q": "yes"}, TypeError, "double_q must be True or False"),
    ({"policy_kwargs": {"net_arch": [0]}}, ValueError, "every width in net_arch"),
    ({"policy_kwargs": {"net_arch": 64}}, TypeError, "net_arch must be a list"),
    ({"policy_kwargs": {"activation_fn": "swoosh"}}, ValueError, r"activation_fn must be one of 'elu', .* got 'swoosh'"),
    ({"policy_kwargs": "abc"}, TypeError, r"policy_kwargs must be a dictionary such as .* got 'abc' of type str"),
    ({"policy_kwargs": [200]}, TypeError, r"policy_kwargs must be a dictionary such as .* got \[200\] of type list"),
    ({"buffer_size": 1e4 + 0.5}, TypeError, "buffer_size must be an integer"),
    ({"policy_kwargs": {"width": 3}}, TypeError, r"policy_kwargs has no 'width'; it has 'net_arch', 'activation_fn'"),
    ({"learning_rates": 1e-3}, TypeError, "learning_rates"),
]


@pytest.mark.parametrize(
    ("arguments", "error", "message"), CASES, ids=[f"{i} {next(iter(case[0]))}" for i, case in enumerate(CASES)]
)
def test_bad_arguments(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ReplayDQN("MlpPolicy", "mbrl/PanFlute-v0", **arguments)


def test_bad_policies_environments_and_spaces() -> None:
    with pytest.raises(
        ValueError, match=r"policy must be one of 'MlpPolicy', 'CnnPolicy', 'MultiInputPolicy', got 'LstmPolicy'"
    ):
        ReplayDQN("LstmPolicy", "mbrl/PanFlute-v0")
    with pytest.raises(ValueError, match="CnnPolicy reads images"):
        ReplayDQN("CnnPolicy", "mbrl/PanFlute-v0")
    with pytest.raises(ValueError, match=r"ReplayDQN needs a Discrete action space, got Box"):
        ReplayDQN("MlpPolicy", "Pendulum-v1")
    with pytest.raises(gymnasium.error.NameNotFound, match="PanFlut"):
        ReplayDQN("MlpPolicy", "mbrl/PanFlut-v0")


NO_ENVIRONMENTS: list[tuple[Any, str]] = [
    (lambda: gymnasium.make_vec("mbrl/CartPole-v0", num_envs=2), r"make_vec_env\('mbrl/CartPole-v0', n_envs=2\)"),
    (lambda: mbrl_envs.ProcMaze(), r"got the dynamics ProcMaze\(.*\): wrap them, as mbrl_envs.FunctionalGymEnv"),
    (
        lambda: mbrl_envs.multi_agent.coop_pan_flute_v0.parallel_env(),
        "the PettingZoo environment .* mbrl_envs.FunctionalVecEnv",
    ),
    (lambda: 3, "env must be an environment, its Gymnasium id, or a VecEnv, got 3 of type int"),
]


@pytest.mark.parametrize(("make", "message"), NO_ENVIRONMENTS, ids=["vector", "dynamics", "parallel", "number"])
@pytest.mark.parametrize(("cls", "policy"), [(ReplayDQN, "MlpPolicy"), (R2D2, "MlpLstmPolicy")])
def test_what_is_no_environment_is_told_what_to_become(cls: Any, policy: str, make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        cls(policy, make())


@pytest.mark.parametrize(("cls", "policy"), [(ReplayDQN, "MlpPolicy"), (R2D2, "MlpLstmPolicy")])
def test_ids_of_modules_that_are_not_imported(cls: Any, policy: str) -> None:
    with pytest.raises(gymnasium.error.NamespaceNotFound, match="import it first, or write 'module:nobody/Maze-v0'"):
        cls(policy, "nobody/Maze-v0")


@pytest.mark.filterwarnings("ignore:.*latest versioned environment")
@pytest.mark.parametrize("env_id", ["CartPole", "tests.agents.registers:test/Registered-v0"])
def test_ids_that_gymnasium_makes_are_taken(env_id: str) -> None:
    """The newest version, and what an error about modules that are not imported advises."""
    agent = ReplayDQN("MlpPolicy", env_id, policy_kwargs={"net_arch": [4]})
    assert agent.observation_space.shape == (4,)


def test_ids_that_their_module_lacks() -> None:
    with pytest.raises(gymnasium.error.NameNotFound, match=r"Environment `Nothing` doesn't exist in namespace mbrl\.$"):
        ReplayDQN("MlpPolicy", "mbrl_envs:mbrl/Nothing-v0")


class Dictionary(gymnasium.Env):
    """Shows a dictionary."""

    observation_space = spaces.Dict(a=spaces.Box(0, 1, (2,)))
    action_space = spaces.Discrete(2)


def test_dictionaries_are_told_what_to_become() -> None:
    """And not to use a policy that there is not."""
    with pytest.raises(ValueError, match="policy must be MultiInputPolicy for observations of this kind, got 'MlpPolicy'"):
        ReplayDQN("MlpPolicy", Dictionary())
    assert ReplayDQN("MultiInputPolicy", Dictionary()).observation_space == Dictionary.observation_space
    with pytest.raises(ValueError, match=r"Box, MultiBinary or Discrete space, got Dict.*FlattenObservation"):
        LinearTD("linear", Dictionary())
    with pytest.raises(TypeError, match="policy_kwargs must be a dictionary"):
        R2D2("MlpLstmPolicy", "mbrl/CartPole-v0", policy_kwargs="abc")  # type: ignore[arg-type]


def test_what_sb3_allows_is_allowed() -> None:
    """A batch above the memory's size, whole numbers written as floats, target networks that never move."""
    with pytest.warns(UserWarning, match="batch_size = 300 is above buffer_size = 200: transitions are drawn with replacement"):
        agent = ReplayDQN(
            *("MlpPolicy", "mbrl/CartPole-v0"),
            **{"buffer_size": 2e2, "batch_size": 300, "tau": 0, "learning_starts": 10, "target_update_interval": 1},
            policy_kwargs={"net_arch": [4]},
        )
    before = agent.get_parameters()
    agent.learn(2.5e2)  # type: ignore[arg-type]
    after = agent.get_parameters()
    assert (agent.buffer_size, agent.memory.size(), agent.num_timesteps) == (200, 200, 250)
    assert_same(after["policy.target"], before["policy.target"])
    assert not np.array_equal(after["policy"]["Dense_0/kernel"], before["policy"]["Dense_0/kernel"])
    recurrent = R2D2("MlpLstmPolicy", "mbrl/CartPole-v0", buffer_size=1e4, tau=0)  # type: ignore[arg-type]
    assert recurrent.learn(1.2e1).num_timesteps == 12  # type: ignore[arg-type]


@pytest.mark.parametrize("total", [0, -5, 1.5, None])
def test_bad_totals(total: Any) -> None:
    agent = ReplayDQN("MlpPolicy", "mbrl/PanFlute-v0", policy_kwargs={"net_arch": [4]})
    with pytest.raises((TypeError, ValueError), match="total_timesteps"):
        agent.learn(total)
    assert agent.num_timesteps == 0


class Broken(gymnasium.Env):
    """Its 7th step gives a number that is none: as a reward, an observation, or the last observation of an episode."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, what: str, number: float) -> None:
        self.what, self.number, self.steps = what, number, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.full(4, 0.25), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        due = self.steps == 7
        observation = np.full(4, self.number if due and self.what != "rewards" else 0.5)
        return observation, self.number if due and self.what == "rewards" else 0.5, due and self.what == "last", False, {}


@pytest.mark.parametrize("number", [math.nan, -math.inf, 1e200])
@pytest.mark.parametrize("what", ["rewards", "observations", "last"])
@pytest.mark.parametrize("cls", [ReplayDQN, R2D2])
def test_environments_that_give_no_numbers(cls: Any, what: str, number: float) -> None:
    arguments = {"burn_in": 0} if cls is R2D2 else {}
    agent = cls("MlpLstmPolicy" if cls is R2D2 else "MlpPolicy", Broken(what, number), learning_starts=1000, **arguments)
    with pytest.raises(
        ValueError,
        match=rf"{what.replace('last', 'observations')} must be finite in single precision, got .* from environment 0",
    ):
        agent.learn(20)
    assert agent.num_timesteps in (7, 8)


@pytest.mark.filterwarnings("error")
def test_only_numbers_that_are_none_are_refused() -> None:
    finite("observations", {"image": np.full((2, 3), 255, np.uint8), "vector": np.full((2, 300), 3e38, np.float32)})
    with pytest.raises(
        ValueError, match=r"observations 'vector' must be finite in single precision, got .*inf\] from environment 1"
    ):
        finite("observations", {"image": np.zeros((2, 3), np.uint8), "vector": np.array([[1.0, 2], [0, np.inf]])})
