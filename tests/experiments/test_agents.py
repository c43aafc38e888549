"""Agents are found by name, and mistakes in names are told before anything is made."""

from __future__ import annotations

import gymnasium
import pytest
import sb3_contrib
import stable_baselines3
from gymnasium import spaces

import mbrl_agents
from mbrl_agents.runs.agents import find_agent, known_agents
from mbrl_agents.sb3.jax_agent import JaxAgent

ALL = sorted(known_agents())
# Environments of those that cannot be made in Gymnasium's CartPole: actions are vectors, or dynamics must be known.
ENVIRONMENTS = dict.fromkeys(("DDPG", "SAC", "TD3", "TQC", "CrossQ", "OMDSAC"), "Pendulum-v1") | {
    "PerfectModelDQN": "mbrl/CartPole-v0"
}


def test_all_agents_are_known() -> None:
    ours = {name for name in mbrl_agents.__all__ if hasattr(getattr(mbrl_agents, name), "learn")}
    assert ours == {name for name, kind in known_agents().items() if kind.package == "mbrl_agents"}
    assert {"ReplayDQN", "R2D2", "ValueRNN", "A2C", "PPO", "QRDQN", "MaskablePPO", "RecurrentPPO"} <= {*ALL}


@pytest.mark.parametrize("name", ALL)
def test_every_agent_is_found(name: str) -> None:
    kind = find_agent(name)
    home = {"mbrl_agents": mbrl_agents, "stable_baselines3": stable_baselines3, "sb3_contrib": sb3_contrib}[kind.package]
    assert kind.cls is getattr(home, name)


@pytest.mark.parametrize("spelling", ["ReplayDQN", "replaydqn", "replay-dqn", "REPLAY_DQN", "replay_dqn"])
def test_any_spelling_will_do(spelling: str) -> None:
    assert find_agent(spelling).name == "ReplayDQN"


def test_what_is_no_agent_is_not_listed() -> None:
    assert "HerReplayBuffer" not in known_agents()
    with pytest.raises(
        ValueError, match=r"no agent 'PPOO' \(did you mean 'PPO'\?\); there are .*LatentModelDQN, .*ReplayDQN, "
    ):
        find_agent("PPOO")
    with pytest.raises(ValueError, match=r"no agent 'wizard'; there are"):
        find_agent("wizard")


def test_unknown_arguments_name_the_closest_and_all() -> None:
    with pytest.raises(TypeError, match=r"no argument 'gama' \(did you mean 'gamma'\?\); it has policy, learning_rate,"):
        find_agent("DQN").check_arguments({"gama": 0.9})
    with pytest.raises(ValueError, match=r"'seed' cannot be set this way; use --seed"):
        find_agent("DQN").check_arguments({"seed": 3})


@pytest.mark.parametrize(
    ("agent", "space", "policy"),
    [
        ("PPO", spaces.Box(0, 1, (3,)), "MlpPolicy"),
        ("PPO", spaces.Box(0, 255, (64, 64, 3), "uint8"), "CnnPolicy"),
        ("PPO", spaces.Dict({"a": spaces.Box(0, 1, (3,))}), "MultiInputPolicy"),
        ("RecurrentPPO", spaces.Box(0, 1, (3,)), "MlpLstmPolicy"),
        ("ReplayDQN", spaces.Box(0, 1, (3,)), "MlpPolicy"),
        ("R2D2", spaces.Box(0, 1, (3,)), "MlpLstmPolicy"),
        ("R2D2", spaces.Box(0, 255, (64, 64, 3), "uint8"), "CnnLstmPolicy"),
        ("R2D2", spaces.Dict({"a": spaces.Box(0, 1, (3,))}), "MultiInputLstmPolicy"),
        ("ARS", spaces.Box(0, 1, (3,)), "MlpPolicy"),
    ],
)
def test_the_policy_fits_the_observations(agent: str, space: spaces.Space, policy: str) -> None:
    assert find_agent(agent).default_policy(space) == policy


@pytest.mark.parametrize("name", ALL)
def test_every_agent_can_be_made(name: str) -> None:
    """Those in JAX without their networks, whose programs take seconds to compile."""
    env, kind = gymnasium.make(ENVIRONMENTS.get(name, "CartPole-v1")), find_agent(name)
    in_jax = issubclass(kind.cls, JaxAgent)
    more = {"_init_setup_model": False} if in_jax else {}
    agent = kind.make(env, {}, seed=1, **({} if name == "ARS" else {"device": "cpu"}), **more)
    if in_jax:
        agent._setup_program()
    assert agent.seed == 1


def test_constructors_check_before_anything_is_written() -> None:
    cart_pole = gymnasium.make("CartPole-v1")
    with pytest.raises(ValueError, match="gamma must be"):
        find_agent("ReplayDQN").unbuilt(cart_pole, {"gamma": 7})
    with pytest.raises(ValueError, match="burn_in must be below the environment's time limit"):
        find_agent("r2d2").unbuilt(cart_pole, {"burn_in": 500})
    with pytest.raises(ValueError, match="SAC cannot be trained here: The algorithm only supports"):
        find_agent("SAC").unbuilt(cart_pole, {})
    find_agent("DQN").unbuilt(cart_pole, {"train_freq": [4, "step"]})
