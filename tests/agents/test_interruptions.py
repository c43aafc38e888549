"""Trainings that are interrupted anywhere, saved, loaded and continued come to the bits of those that never were."""

from __future__ import annotations

import pathlib
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from mbrl_agents import OMDSAC, R2D2, JaxR2D2, LinearTD, PerfectModelDQN, ReplayDQN, ValueRNN
from mbrl_agents.runs.agents import known_agents
from mbrl_agents.sb3.jax_agent import JaxAgent
from tests.agents import cases
from tests.agents.comparing import assert_same

STEPS = 120
RECURRENT = cases.CASES["r2d2"][2]
CASES: dict[str, tuple[type[OffPolicyAlgorithm], dict[str, Any]]] = {
    **{case: (cls, arguments) for case, (cls, _, arguments) in cases.CASES.items()},
    "replay": (ReplayDQN, cases.DQN | {"n_steps": 3, "exploration": "epsilon_greedy", "exploration_fraction": 0.9}),
    "omdsac-mle": (OMDSAC, cases.DQN | {"model_net_arch": [4], "model_loss": "mle"}),
    "r2d2-gru": (R2D2, RECURRENT | {"policy_kwargs": RECURRENT["policy_kwargs"] | {"cell": "gru"}}),
}
ON_DEVICE = [case for case, (cls, _) in CASES.items() if cls is not R2D2]
ON_HOST = [case for case, (cls, _) in CASES.items() if cls is not PerfectModelDQN]
# How much these explore depends on the length of a training; a training in pieces is another one then.
CONSTANT: dict[type[OffPolicyAlgorithm], dict[str, Any]] = {
    ReplayDQN: {"exploration": "softmax"},
    R2D2: {"exploration": "ladder"},
    JaxR2D2: {"exploration": "ladder"},
}


def environment(cls: type[OffPolicyAlgorithm]) -> gymnasium.Env:
    return cases.environment("omdsac" if cls is OMDSAC else "replay")


def make(case: str, device_loop: bool, constant: bool = False) -> OffPolicyAlgorithm:
    cls, arguments = CASES[case]
    if constant:
        arguments = arguments | CONSTANT.get(cls, {})
    if issubclass(cls, JaxAgent) and cls is not PerfectModelDQN:  # that one has but one loop
        arguments = arguments | {"device_loop": device_loop}
    first = {LinearTD: "linear", ValueRNN: None, R2D2: "MlpLstmPolicy", JaxR2D2: "MlpLstmPolicy"}.get(cls, "MlpPolicy")
    given = (environment(cls),) if first is None else (first, environment(cls))
    if cls is ValueRNN:
        return cls(env=given[0], seed=3, **arguments)  # type: ignore[call-arg]
    return cls(*given, seed=3, **arguments)  # type: ignore[arg-type]


class Stop(BaseCallback):
    """Ends the training."""

    def _on_step(self) -> bool:
        return False


def through_files(agent: OffPolicyAlgorithm, folder: pathlib.Path) -> OffPolicyAlgorithm:
    """The agent, saved and loaded with another environment."""
    agent.save(folder / "agent")
    agent.save_replay_buffer(folder / "replay")
    loaded = type(agent).load(folder / "agent", env=environment(type(agent)))
    loaded.load_replay_buffer(folder / "replay")
    return loaded


def assert_same_training(one: Any, other: Any) -> None:
    """To the bit: what was learned, what is remembered, and where the training is."""
    for name in ("num_timesteps", "_n_updates", "_episode_num"):
        assert getattr(one, name) == getattr(other, name), name
    assert_same(*(parts(each) for each in (one, other)))


def parts(agent: Any) -> Any:
    """What an agent has learned and remembers."""
    if isinstance(agent, JaxAgent):
        return agent.learner_state, agent.memory.state
    buffer = agent.replay_buffer
    kept = {name: each for name, each in vars(buffer).items() if isinstance(each, (np.ndarray, float, int))}
    assert {"observations", "previous_actions", "previous_rewards", "_last", "_terminated", "_largest"} <= set(kept)
    kept |= {"tree": buffer._tree.leaves, "states": buffer._states._stored, "random": buffer._rng.bit_generator.state}
    recurrent, random = agent._states, agent._rng.bit_generator.state
    return agent.policy.state_dict(), agent.policy.optimizer.state_dict(), kept, recurrent, random


def exploring(examples: int) -> Any:
    """Random points at which a training is interrupted, and whether it then goes through files each time."""
    points = st.lists(st.tuples(st.integers(1, STEPS - 1), st.booleans()), min_size=1, max_size=4, unique_by=lambda p: p[0])

    def decorate(function: Any) -> Any:
        quiet = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}
        return settings(max_examples=examples, **quiet)(given(points.map(sorted))(function))

    return decorate


def check_device_loop(case: str, examples: int, folder: pathlib.Path) -> None:
    """The device loop's environments are the agent's own: it goes on in the midst of an episode."""
    undisturbed = make(case, True).learn(STEPS)

    @exploring(examples)
    def run(points: list[tuple[int, bool]]) -> None:
        agent, reset = make(case, True), True
        for point, saved in points:
            agent.learn(STEPS - agent.num_timesteps, EveryNTimesteps(point, Stop()), reset_num_timesteps=reset)
            assert agent.num_timesteps == point
            agent, reset = through_files(agent, folder) if saved else agent, False
        agent.learn(STEPS - agent.num_timesteps, reset_num_timesteps=False)
        assert_same_training(agent, undisturbed)

    run()


def check_host_loop(case: str, examples: int, folder: pathlib.Path) -> None:
    """Somebody else's environment cannot be saved: with and without files, the training goes on in a new episode."""

    @exploring(examples)
    def run(points: list[tuple[int, bool]]) -> None:
        agents = make(case, False), make(case, False)
        for point, _ in [*points, (STEPS, False)]:
            if point <= agents[0].num_timesteps:  # those that learn after several steps have gone beyond it
                continue
            kept, loaded = (agent.learn(point - agent.num_timesteps, reset_num_timesteps=False) for agent in agents)
            assert_same_training(kept, loaded)
            loaded = through_files(loaded, folder)
            kept.set_env(environment(type(kept)))
            for agent in (agents := (kept, loaded)):
                agent.env.seed(point)  # type: ignore[union-attr]

    run()


def check_host_loop_in_pieces(case: str, examples: int, folder: pathlib.Path) -> None:
    """As long as its environment is there the training goes on in the midst of an episode; R2D2 through files as well."""
    undisturbed = make(case, False, constant=True).learn(STEPS)

    @exploring(examples)
    def run(points: list[tuple[int, bool]]) -> None:
        agent = make(case, False, constant=True)
        for point, saved in [*points, (STEPS, False)]:
            if point <= agent.num_timesteps:
                continue
            agent.learn(point - agent.num_timesteps, reset_num_timesteps=agent.num_timesteps == 0)
            if saved and isinstance(agent, R2D2):
                agent.save(folder / "agent")
                agent.save_replay_buffer(folder / "replay")
                agent = R2D2.load(folder / "agent", env=agent.get_env(), force_reset=False)
                agent.load_replay_buffer(folder / "replay", truncate_last_traj=False)
        assert_same_training(agent, undisturbed)

    run()


def test_all_of_our_agents_are_interrupted_here() -> None:
    ours = {kind.cls for kind in known_agents().values() if kind.package == "mbrl_agents"}
    assert {cls for cls, _ in CASES.values()} == ours


@pytest.mark.parametrize(
    ("check", "case"),
    [
        (check_device_loop, "replay"),
        (check_host_loop, "linear"),
        (check_host_loop, "r2d2"),
        (check_host_loop_in_pieces, "r2d2"),
    ],
)
def test_interrupted_at_random_points(check: Any, case: str, tmp_path: pathlib.Path) -> None:
    check(case, 3, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", ON_DEVICE)
def test_every_device_loop_interrupted_at_random_points(case: str, tmp_path: pathlib.Path) -> None:
    check_device_loop(case, 30, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", ON_HOST)
def test_every_host_loop_interrupted_at_random_points(case: str, tmp_path: pathlib.Path) -> None:
    check_host_loop(case, 15, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", ON_HOST)
def test_every_host_loop_in_pieces(case: str, tmp_path: pathlib.Path) -> None:
    check_host_loop_in_pieces(case, 10, tmp_path)
