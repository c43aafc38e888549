"""The network sees in replay what it saw when acting; nothing is learned from burn-in and padding."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from torch import nn

from mbrl_agents.core.networks import ACTIVATIONS
from mbrl_agents.core.returns import rescale, unscale
from mbrl_agents.r2d2 import R2D2, SequenceLayout
from mbrl_agents.r2d2.learning import td_errors
from mbrl_agents.r2d2.numpy_learning import Unrolled
from mbrl_agents.r2d2.numpy_recurrence import Learned
from mbrl_agents.r2d2.recurrence import MOST_UNITS
from mbrl_agents.r2d2.samples import SequenceSamples
from tests.agents.r2d2.agents import NETWORKS, agent, batch_of


def acted(learner: R2D2, steps: int) -> dict[bytes, np.ndarray]:
    """Lets an agent act; Q-values by observation."""
    seen: dict[bytes, np.ndarray] = {}
    plain = learner.policy.act

    def act(observations: np.ndarray, state: Any) -> Any:
        values, after = plain(observations, state)
        seen.update({obs.tobytes(): value for obs, value in zip(observations, values, strict=True)})
        return values, after

    learner.policy.act = act  # type: ignore[method-assign]
    learner.learn(steps)
    del learner.policy.act
    return seen


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("in_torch", [False, True], ids=["numpy", "torch"])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: "-".join(map(str, network.values())))
def test_replayed_values_are_those_of_acting(
    network: dict[str, Any], in_torch: bool, n_envs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_torch:
        monkeypatch.setattr("mbrl_agents.r2d2.policies.numpy_network", lambda *network: None)
        for cell in (nn.LSTM, nn.GRU):
            monkeypatch.setitem(MOST_UNITS, cell, 0)
    env = make_vec_env("CartPole-v1", n_envs, seed=0)
    learner = agent(env, learning_starts=100, exploration_final_eps=0.3, buffer_size=900, gradient_steps=0, **network)
    values = acted(learner, 400)
    buffer = learner.replay_buffer
    batch = buffer._get_samples(buffer.sequences)
    assert batch.num_from_start < len(batch.last)  # some start from stored states
    with th.no_grad():
        replayed, _ = learner.policy.q_net.unroll(
            batch.observations, batch.previous_actions, batch.previous_rewards, batch.states
        )
    in_numpy = None if in_torch else learner.policy.networks_in_numpy(len(batch.last))
    if in_numpy is not None:  # as it learns
        learned = Learned(learner.layout.burn_in, batch.num_from_start, learner.layout.trainable)
        np.testing.assert_allclose(Unrolled(in_numpy, batch, learned).values[0], replayed.numpy(), atol=1e-6, rtol=1e-6)
    compared = 0
    for i, last in enumerate(batch.last):
        for t in range(int(last)):
            expected = values[batch.observations[t, i].numpy().tobytes()]
            np.testing.assert_allclose(replayed[t, i].numpy(), expected, atol=1e-6, rtol=1e-6)
            compared += 1
    assert compared > 300


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: "-".join(map(str, network.values())))
def test_numpy_follows_the_weights_wherever_they_go(network: dict[str, Any]) -> None:
    learner, rng = agent(**network), np.random.default_rng(0)
    observations, policy = rng.normal(size=(4, 4)).astype(np.float32), learner.policy
    state = tuple(rng.normal(size=(layers, 4, width)).astype(np.float32) for layers, width in policy.state_shapes)
    if policy._last_width >= 2:
        state[-1][0, :, :2] = np.eye(2)[[0, 1, 1, 0]]

    def compare() -> None:
        policy.set_training_mode(False)
        values, after = policy.act(observations, state)
        assert policy._in_numpy is not None
        expected, expected_after = policy._act_in_torch(observations, state, 4)
        np.testing.assert_allclose(values, expected, atol=1e-6)
        for one, other in zip(after, expected_after, strict=False):
            np.testing.assert_allclose(one, other, atol=1e-6)

    compare()
    learner.learn(120)  # the optimiser writes into the weights
    compare()
    policy.load_from_vector(rng.normal(size=policy.parameters_to_vector().shape) * 0.1)  # puts new ones in their place
    compare()
    learner.set_parameters(agent(seed=5, **network).get_parameters())
    compare()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_no_gradient_flows_through_the_burn_in(cell: str) -> None:
    learner = agent(cell=cell)
    batch, network, burn_in = batch_of(learner), learner.policy.q_net, learner.layout.burn_in
    assert 0 < batch.num_from_start < len(batch.last)
    assert isinstance(batch.observations, th.Tensor)
    observations = batch.observations.clone().requires_grad_()
    values, _ = network.unroll(
        observations, batch.previous_actions, batch.previous_rewards, batch.states, burn_in, batch.num_from_start
    )
    (gradient,) = th.autograd.grad(values[burn_in:].square().sum(), observations)
    assert bool((gradient[:burn_in, batch.num_from_start :] == 0).all())
    assert bool((gradient[:burn_in, : batch.num_from_start] != 0).any())  # no burn-in there: these steps are learned from
    assert bool((gradient[burn_in:] != 0).any())


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_gradient_is_that_of_a_state_brought_up_to_date(cell: str) -> None:
    """One batch equals its sequences one by one: burn-in without gradient, then learning from the state it left."""
    learner = agent(cell=cell)
    batch, network, burn_in = batch_of(learner), learner.policy.q_net, learner.layout.burn_in
    assert isinstance(batch.observations, th.Tensor)
    parameters = list(network.parameters())
    values, _ = network.unroll(*batch[:4], burn_in, batch.num_from_start)
    trained = batch.trained[..., None]
    got = th.autograd.grad((values[: len(trained)].square() * trained).sum(), parameters)
    expected = [th.zeros_like(parameter) for parameter in parameters]
    for i in range(len(batch.last)):
        inputs = [each[:, i : i + 1] for each in (batch.observations, batch.previous_actions, batch.previous_rewards)]
        states, first = tuple(state[:, i : i + 1] for state in batch.states), 0
        if i >= batch.num_from_start:
            first = burn_in
            with th.no_grad():
                _, states = network.unroll(*(each[:first] for each in inputs), states)
        own, _ = network.unroll(*(each[first:] for each in inputs), states)
        loss = (own[: len(trained) - first].square() * trained[first:, i : i + 1]).sum()
        for total, part in zip(expected, th.autograd.grad(loss, parameters), strict=True):
            total += part
    for one, other in zip(got, expected, strict=True):
        th.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_what_is_only_looked_at_gets_the_same_values_and_no_gradient() -> None:
    learner = agent()
    batch, network = batch_of(learner), learner.policy.q_net
    assert isinstance(batch.observations, th.Tensor)
    observations = batch.observations.clone().requires_grad_()
    inputs = (observations, *batch[1:4], learner.layout.burn_in, batch.num_from_start)
    values, states = network.unroll(*inputs, 2)
    with th.no_grad():
        expected, expected_states = network.unroll(*inputs)
    th.testing.assert_close(values, expected)
    th.testing.assert_close(states, expected_states)
    (gradient,) = th.autograd.grad(values[-2:].sum(), observations)
    assert not bool(gradient.any())


def errors_of(learner: R2D2, batch: SequenceSamples) -> th.Tensor:
    nets = (learner.policy.q_net, learner.policy.q_net_target)
    return td_errors(*nets, batch, learner.layout, gamma=0.9, double_q=True, rescaling=1e-3)


def test_padding_changes_nothing() -> None:
    learner = agent()
    batch = batch_of(learner)
    assert isinstance(batch.observations, th.Tensor)
    padding = th.arange(len(batch.observations))[:, None] > th.as_tensor(batch.last)
    assert bool(padding.any())
    filled = batch._replace(
        observations=th.where(padding[..., None], 99.0, batch.observations),
        previous_actions=th.where(padding, 1, batch.previous_actions),
        previous_rewards=th.where(padding, -50.0, batch.previous_rewards),
    )
    gradients = []
    for each in (batch, filled):
        errors = errors_of(learner, each)
        loss = (errors.square() * each.trained).sum()
        gradients.append((errors.detach() * each.trained, th.autograd.grad(loss, list(learner.policy.q_net.parameters()))))
    th.testing.assert_close(gradients[0][0], gradients[1][0])
    for one, other in zip(gradients[0][1], gradients[1][1], strict=True):
        th.testing.assert_close(one, other)


class Table(nn.Module):
    """A network whose values are what is observed, as they are: Q(s, ·) = s·factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def unroll(self, observations: th.Tensor, *rest: Any) -> tuple[th.Tensor, tuple]:
        return observations * self.factor, ()


def hand_made(
    values: list[list[float]], actions: list[int], rewards: list[float], last: int, terminated: bool
) -> SequenceSamples:
    num = len(values) - 1
    return SequenceSamples(
        th.tensor(values)[:, None],
        th.tensor([2, *actions])[:, None],
        th.tensor([0.0, *rewards])[:, None],
        (),
        1,
        th.ones(num, 1),
        np.array([last]),
        np.array([terminated]),
        th.ones(1),
        np.array([0]),
    )


VALUES = [[1.0, 2.0], [3.0, 0.0], [-1.0, 5.0], [4.0, 6.0]]


def td_by_hand(terminated: bool, last: int = 3, n_steps: int = 1, **changes: Any) -> list[float]:
    batch = hand_made(VALUES, [1, 0, 0], [10.0, 20.0, 30.0], last, terminated)
    given = {"gamma": 0.5, "double_q": True, "rescaling": None} | changes
    layout = SequenceLayout(0, 4 - n_steps, 0, n_steps)
    networks: Any = (Table(1.0), Table(-1.0))  # the target network values the greedy action lowest
    return td_errors(*networks, batch, layout, **given)[:, 0].tolist()


def test_td_errors_by_hand() -> None:
    # Greedy actions are 1, 0, 1, 1; the target network gives them −2, −3, −5, −6.
    assert td_by_hand(False) == [10 - 1.5 - 2, 20 - 2.5 - 3, 30 - 3 + 1]
    assert td_by_hand(True) == [10 - 1.5 - 2, 20 - 2.5 - 3, 30 - 0 + 1]
    # Without double-Q its own best are −1, 0, 1, −4.
    assert td_by_hand(False, double_q=False) == [10 + 0 - 2, 20 + 0.5 - 3, 30 - 2 + 1]


def test_two_step_td_errors_by_hand() -> None:
    assert td_by_hand(False, n_steps=2) == [10 + 10 - 1.25 - 2, 20 + 15 - 1.5 - 3]
    assert td_by_hand(True, n_steps=2) == [10 + 10 - 1.25 - 2, 20 + 15 - 0 - 3]
    # The episode ends in observation 2: what comes after it does not count.
    assert td_by_hand(True, last=2, n_steps=2) == [10 + 10 - 0 - 2, 20 - 0 - 3]
    assert td_by_hand(False, last=2, n_steps=2) == [10 + 10 - 1.25 - 2, 20 - 2.5 - 3]


def test_rescaled_td_errors_by_hand() -> None:
    found = td_by_hand(False, rescaling=1e-2)
    following = [float(unscale(np.float32(value), 1e-2)) for value in (-3.0, -5.0, -6.0)]
    goals = [float(rescale(np.float32(r + 0.5 * v), 1e-2)) for r, v in zip((10, 20, 30), following, strict=True)]
    assert found == pytest.approx([goals[0] - 2, goals[1] - 3, goals[2] + 1], rel=1e-6)


def test_images_and_dictionaries_have_networks() -> None:
    for policy, space in {
        "CnnLstmPolicy": spaces.Box(0, 255, (3, 36, 36), np.uint8),
        "MultiInputLstmPolicy": spaces.Dict({"i": spaces.Box(0, 255, (36, 36, 1), np.uint8), "v": spaces.Box(-1, 1, (2,))}),
    }.items():
        from tests.agents.r2d2.agents import Counting

        learner = agent(Counting(space), policy, buffer_size=300, batch_size=3)
        learner.learn(90)
        assert learner._n_updates > 0
        assert learner.policy._in_numpy is None


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_have_the_names_of_other_agents(name: str, tmp_path: pathlib.Path) -> None:
    learner = agent(activation_fn=name)
    by_class = agent(activation_fn=learner.policy.network_kwargs["activation_fn"])
    learner.save(tmp_path / "agent.zip")
    learner.observation_space.seed(0)
    numbers, observations = np.linspace(-2, 2, 9), learner.observation_space.sample()
    module = learner.policy.network_kwargs["activation_fn"]()
    np.testing.assert_allclose(module(th.tensor(numbers)), ACTIVATIONS[name](numbers.astype(np.float32)), atol=1e-3)
    for other in (by_class, R2D2.load(tmp_path / "agent.zip")):
        np.testing.assert_array_equal(other.predict(observations)[1][0], learner.predict(observations)[1][0])
