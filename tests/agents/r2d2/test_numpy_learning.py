"""What NumPy computes of small networks is what PyTorch computes: values, errors, and every gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th
from torch import nn

from mbrl_agents.r2d2 import R2D2
from mbrl_agents.r2d2.learning import gradient, gradient_in_numpy
from mbrl_agents.r2d2.numpy_layers import ACTIVATIONS, Stack, clip_gradients
from mbrl_agents.r2d2.numpy_recurrence import Learned
from mbrl_agents.r2d2.recurrence import MOST_UNITS, recur
from mbrl_agents.r2d2.samples import SequenceSamples
from tests.agents.r2d2.agents import NETWORKS, agent, batch_of

CELLS = [nn.GRU, nn.LSTM]
STEPS, SEQUENCES, INPUTS, UNITS = 9, 6, 5, 8


@pytest.fixture
def in_torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls a function with PyTorch's own recurrent layers."""

    def call(function: Any) -> Any:
        with monkeypatch.context() as patch:
            for cell in CELLS:
                patch.setitem(MOST_UNITS, cell, 0)
            return function()

    return call


@pytest.mark.parametrize("learned", [Learned(0, 6, 9), Learned(0, 6, 7), Learned(5, 0, 9), Learned(5, 2, 8), Learned(9, 0, 9)])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("kind", "tolerance"), [(th.float32, 1e-5), (th.float64, 1e-10)], ids=["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_layers(cell: type[nn.RNNBase], kind: th.dtype, tolerance: float, layers: int, learned: Learned) -> None:
    """Burn-in and the steps only looked at, without gradient, are runs of their own in PyTorch."""
    generator = th.Generator().manual_seed(0)
    rnn: Any = cell(INPUTS, UNITS, layers).to(kind)
    shape = {"generator": generator, "dtype": kind}
    x = th.randn(STEPS, SEQUENCES, INPUTS, **shape).requires_grad_()  # type: ignore[call-overload]
    states = tuple(th.randn(layers, SEQUENCES, UNITS, **shape) for _ in range(1 + (cell is nn.LSTM)))  # type: ignore[call-overload]
    factors = th.randn(STEPS, SEQUENCES, UNITS, **shape)  # type: ignore[call-overload]
    inputs = [x, *rnn.parameters()]

    def plain(x: th.Tensor, states: tuple[th.Tensor, ...]) -> tuple[th.Tensor, tuple[th.Tensor, ...]]:
        outputs, after = rnn(x, states if len(states) == 2 else states[0])
        return outputs, after if len(states) == 2 else (after,)

    outputs, after = recur(rnn, x, states, learned)
    got = th.autograd.grad((outputs * factors)[: learned.until].sum(), inputs)
    expected_outputs, expected_after = plain(x, states)
    th.testing.assert_close(outputs, expected_outputs, rtol=tolerance, atol=tolerance)
    th.testing.assert_close(after, expected_after, rtol=tolerance, atol=tolerance)
    total = [th.zeros_like(each) for each in inputs]
    for i in range(SEQUENCES):
        own, first = tuple(state[:, i : i + 1] for state in states), 0
        if i >= learned.num_from_start:
            first = learned.burn_in
            if first:
                with th.no_grad():
                    own = plain(x[:first, i : i + 1], own)[1]
        if first < learned.until:
            found = plain(x[first : learned.until, i : i + 1], own)[0]
            loss = (found * factors[first : learned.until, i : i + 1]).sum()
            for sum_, part in zip(total, th.autograd.grad(loss, inputs), strict=True):
                sum_ += part
    for one, other in zip(got, total, strict=True):
        th.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def apart(learner: R2D2) -> SequenceSamples:
    """A batch with stored states, padding and unequal importance weights, and a target network of its own."""
    batch, generator = batch_of(learner), th.Generator().manual_seed(1)
    assert np.ptp(batch.weights.numpy()) > 0.1
    assert 0 < batch.num_from_start < len(batch.last)
    assert int(batch.last.min()) < learner.layout.window - 1
    with th.no_grad():
        for parameter in learner.policy.q_net_target.parameters():
            parameter += 0.1 * th.randn(parameter.shape, generator=generator)
    return batch


@pytest.mark.parametrize("double_q", [True, False])
@pytest.mark.parametrize("burn_in", [0, 3])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: "-".join(map(str, network.values())))
def test_an_update(network: dict[str, Any], burn_in: int, double_q: bool, in_torch: Any) -> None:
    learner = agent(burn_in=burn_in, **network)
    batch, policy, parameters = apart(learner), learner.policy, list(learner.policy.q_net.parameters())
    how: dict[str, Any] = {"gamma": 0.9, "double_q": double_q, "rescaling": 1e-3 if double_q else None}
    in_numpy = policy.networks_in_numpy(len(batch.last))
    assert in_numpy is not None
    trained, weights = batch.trained.numpy(), batch.weights.numpy()
    for most in (None, 1e-2):
        errors, loss = gradient_in_numpy(in_numpy, batch, learner.layout, most, **how)
        got = [parameter.grad for parameter in parameters]
        policy.q_net.zero_grad()
        nets = (policy.q_net, policy.q_net_target)
        expected, expected_loss = in_torch(lambda most=most, nets=nets: gradient(*nets, batch, learner.layout, most, **how))
        np.testing.assert_allclose(errors, expected, rtol=1e-5, atol=1e-6)
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert loss == pytest.approx(0.5 * (errors**2 * trained * weights).sum() / trained.sum(), rel=1e-5)
        for one, parameter in zip(got, parameters, strict=True):
            assert one is not None
            assert parameter.grad is not None
            assert bool(parameter.grad.any())
            th.testing.assert_close(one, parameter.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", list(ACTIVATIONS))
def test_activations(kind: type[nn.Module]) -> None:
    layers, x = nn.Sequential(nn.Linear(5, 4), kind(), nn.Linear(4, 2)), th.randn(50, 5, requires_grad=True)
    factors, stack = th.randn(50, 2), Stack(layers)
    values = stack.forward(x.detach().numpy())
    np.testing.assert_allclose(values[-1], layers(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    down = stack.backward(values, factors.numpy())
    got = [th.from_numpy(down), *(parameter.grad for parameter in layers.parameters())]
    for one, other in zip(got, th.autograd.grad((layers(x) * factors).sum(), [x, *layers.parameters()]), strict=True):
        th.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("most", [1e-3, 2.0, float("inf")])
def test_clipping(most: float) -> None:
    def parameters() -> list[th.Tensor]:
        found = [nn.Parameter(th.zeros(shape)) for shape in ((3, 2), (4,))]
        for each in found:
            each.grad = th.arange(each.numel(), dtype=th.float32).reshape(each.shape) / 5
        return list(found)

    one, other = parameters(), parameters()
    clip_gradients(one, most)
    th.nn.utils.clip_grad_norm_(other, most)
    for mine, theirs in zip(one, other, strict=True):
        th.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_training_in_both_is_the_same(cell: str, in_torch: Any) -> None:
    one = agent(cell=cell).learn(150)
    other = in_torch(lambda: agent(cell=cell).learn(150))
    assert one._n_updates > 10
    for mine, theirs in zip(one.policy.q_net.parameters(), other.policy.q_net.parameters(), strict=True):
        th.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_frozen_parameters_stay_as_they_are() -> None:
    learner = agent()
    network = learner.policy.q_net
    network.rnn.requires_grad_(False)
    before = [parameter.clone() for parameter in network.parameters()]
    learner.learn(100)
    changed = [not th.equal(one, other) for one, other in zip(before, network.parameters(), strict=True)]
    assert changed == [parameter.requires_grad for parameter in network.parameters()]
