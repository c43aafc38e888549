"""What training hands on: ε to exploration, priorities and importance weights to and from replay, arguments to networks."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule

from mbrl_agents.r2d2 import R2D2, recurrent_algorithm
from mbrl_agents.r2d2.exploration import epsilon_ladder
from tests.agents.r2d2.agents import agent
from tests.agents.watching import calls_of


@pytest.fixture
def epsilons(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The ε that acting was given, step by step."""
    given: list[Any] = []
    plain = recurrent_algorithm.explore

    def explore(greedy: np.ndarray, epsilon: Any, num_actions: int, rng: np.random.Generator) -> np.ndarray:
        given.append(np.copy(epsilon))
        return plain(greedy, epsilon, num_actions, rng)

    monkeypatch.setattr(recurrent_algorithm, "explore", explore)
    return given


def test_the_ladder_of_epsilons(epsilons: list[Any]) -> None:
    np.testing.assert_allclose(epsilon_ladder(8)[[0, 7]], [0.4, 0.4**8])
    assert epsilon_ladder(1).tolist() == [0.4]
    env = make_vec_env("CartPole-v1", 4)
    agent(env, exploration="ladder", buffer_size=2400, ladder_exponent=3, learning_starts=40).learn(80)
    assert [float(each) for each in epsilons[:10]] == [1.0] * 10
    np.testing.assert_allclose(epsilons[10:], [[0.4, 0.4**2, 0.4**3, 0.4**4]] * 10)


def test_the_schedule_of_epsilon(epsilons: list[Any]) -> None:
    agent(exploration_fraction=0.5, exploration_initial_eps=0.8, exploration_final_eps=0.2, learning_starts=10).learn(100)
    assert [float(each) for each in epsilons[:10]] == [1.0] * 10
    expected = [max(0.8 - 0.6 * t / 50, 0.2) for t in range(10, 100)]
    np.testing.assert_allclose(epsilons[10:], expected)


def test_schedules_of_exploration_importance_and_step_size(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = agent(importance_exponent=LinearSchedule(0.5, 1.0, 1.0), learning_rate=LinearSchedule(1e-3, 0.0, 1.0))
    draws = calls_of(learner.replay_buffer, "sample", monkeypatch)
    learner.learn(100)
    betas = [call.given[2] for call in draws]
    assert betas == pytest.approx(sorted(betas))
    assert betas[-1] == pytest.approx(1.0)
    assert learner.exploration_rate == pytest.approx(0.05)
    assert learner.policy.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("in_torch", [False, True], ids=["numpy", "torch"])
def test_errors_become_priorities(in_torch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the sequences drawn, after every gradient step."""
    if in_torch:
        monkeypatch.setattr("mbrl_agents.r2d2.policies.numpy_network", lambda *network: None)
    learner = agent()
    buffer = learner.replay_buffer
    drawn, told = (calls_of(buffer, method, monkeypatch) for method in ("sample", "update_priorities"))
    learner.learn(200)
    assert len(told) == len(drawn) == learner._n_updates > 10
    for draw, (indices, priorities) in zip(drawn, [call.given for call in told], strict=True):
        np.testing.assert_array_equal(indices, draw.result.indices)
        assert (priorities > 0).all()
        assert np.ptp(priorities) > 0
    assert np.ptp(drawn[-1].result.weights.numpy()) > 0
    # The last ones are still there.
    last = dict(zip(*told[-1].given, strict=True))
    np.testing.assert_allclose([buffer._tree.leaves[i] for i in last], np.array(list(last.values())) ** 0.9)


def test_without_priorities_draws_are_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = agent(prioritized=False)
    buffer = learner.replay_buffer
    drawn, told = (calls_of(buffer, method, monkeypatch) for method in ("sample", "update_priorities"))
    learner.learn(200)
    assert len(drawn) == learner._n_updates > 10
    assert not told
    assert all((draw.result.weights == 1).all() for draw in drawn)
    assert set(buffer._tree.leaves) == {0, 1}


@pytest.mark.parametrize("bias", [0.0, 4.0])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gates_begin_with_their_bias(cell: str, bias: float) -> None:
    """An LSTM's forget gates and a GRU's update gates are the second of PyTorch's; what it adds comes on top of nothing."""
    learner = agent(cell=cell, n_lstm_layers=2, forget_bias=bias)
    for net in (learner.policy.q_net, learner.policy.q_net_target):
        for layer in range(2):
            one, other = (getattr(net.rnn, f"bias_{part}_l{layer}").detach() for part in ("ih", "hh"))
            assert bool(((one + other)[8:16] == bias).all())


def test_another_optimiser(tmp_path: pathlib.Path) -> None:
    learner = agent(optimizer_class=th.optim.SGD, optimizer_kwargs={"momentum": 0.0}).learn(100)
    parameters = list(learner.policy.q_net.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    learner.train(1, 8)
    for old, parameter in zip(before, parameters, strict=True):
        assert parameter.grad is not None
        th.testing.assert_close(parameter.detach(), old - 1e-3 * parameter.grad)
    learner.save(tmp_path / "agent")
    assert type(R2D2.load(tmp_path / "agent").policy.optimizer) is th.optim.SGD
