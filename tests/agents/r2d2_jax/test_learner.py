"""R2D2's update in JAX beside the one in PyTorch: the same weights, sequences and targets."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch as th

from mbrl_agents.core.learner import Hyperparameters
from mbrl_agents.core.optimizer import AdamHyperparameters
from mbrl_agents.core.sequence_replay import Sequences
from mbrl_agents.r2d2 import SequenceLayout as TorchLayout
from mbrl_agents.r2d2.learning import gradient
from mbrl_agents.r2d2.samples import SequenceSamples
from mbrl_agents.r2d2.targets import sequence_priorities as torch_priorities
from mbrl_agents.r2d2_jax import JaxR2D2
from mbrl_agents.r2d2_jax.learner import R2D2Learner, epsilon_ladder, returns_within, sequence_loss, sequence_priorities
from tests.agents.r2d2.agents import TINY, agent

SETTINGS: list[dict[str, Any]] = [
    {"policy_kwargs": {"cell": "gru"}},
    {"policy_kwargs": {"cell": "lstm"}, "double_q": False},
    {
        "policy_kwargs": {"cell": "lstm", "n_lstm_layers": 2, "pre_net_arch": [5], "activation_fn": "tanh"},
        "value_rescaling": False,
    },
    {"policy_kwargs": {"cell": "gru", "n_lstm_layers": 3, "dueling": False, "net_arch": []}, "burn_in": 0},
    {"policy_kwargs": {"cell": "gru", "previous_action": False, "activation_fn": "elu"}, "n_steps": 1},
]
SMALL = {"lstm_hidden_size": 8, "net_arch": [8], "pre_net_arch": []}


def pair(changes: dict[str, Any]) -> tuple[Any, JaxR2D2]:
    """A trained agent in PyTorch, and one in JAX with the same settings."""
    others = {name: value for name, value in changes.items() if name != "policy_kwargs"}
    theirs = agent(**others, **changes["policy_kwargs"]).learn(300)
    settings = TINY | changes | {"policy_kwargs": SMALL | changes["policy_kwargs"]}
    ours = JaxR2D2("MlpLstmPolicy", "CartPole-v1", **settings)
    return theirs, ours


def linear(layer: Any) -> dict[str, np.ndarray]:
    return {"kernel": layer.weight, "bias": layer.bias}


def params_of(net: Any, of: Any) -> dict[str, Any]:
    """Parameters (or their gradients) of a network in PyTorch, as ours has them."""

    def array(parameter: Any) -> np.ndarray:
        found = of(parameter).detach().numpy()
        return found.T if found.ndim == 2 else found

    def layers(modules: Any) -> dict[str, Any]:
        dense = [module for module in modules if isinstance(module, th.nn.Linear)]
        return {f"Dense_{i}": {name: array(each) for name, each in linear(layer).items()} for i, layer in enumerate(dense)}

    cells, units = [], net.rnn.hidden_size
    for i in range(net.rnn.num_layers):
        kernel, recurrent, bias, second = (
            array(getattr(net.rnn, f"{name}_l{i}")) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        own: dict[str, Any] = {"input": {"kernel": kernel, "bias": bias}, "recurrent": {"kernel": recurrent}}
        if isinstance(net.rnn, th.nn.GRU):
            own["recurrent"]["bias"] = second[2 * units :]
            second = np.concatenate([second[: 2 * units], np.zeros(units, np.float32)])
        if of is not gradient_of:  # both biases are added up; each has the whole gradient
            own["input"]["bias"] = bias + second
        cells.append(own)
    heads = [net.advantages, *([] if net.value is None else [net.value])]
    after = {f"Dense_{i}": {name: array(each) for name, each in linear(layer).items()} for i, layer in enumerate(heads)}
    post = layers(net.post_net)
    return {"before": layers(net.pre_net), "cells": cells, "after": after | ({"_Layers_0": post} if post else {})}


def value_of(parameter: Any) -> Any:
    return parameter


def gradient_of(parameter: Any) -> Any:
    return th.zeros_like(parameter) if parameter.grad is None else parameter.grad


def sequences_of(batch: SequenceSamples) -> Sequences:
    """A batch of the buffer in NumPy, as ours has them."""
    observation = batch.observations.numpy()
    previous, reward = batch.previous_actions.numpy(), batch.previous_rewards.numpy()
    states = [state.numpy() for state in batch.states]
    layers = tuple(np.concatenate([each[i] for each in states], axis=-1) for i in range(len(states[0])))
    number = observation.shape[1]
    return Sequences(
        observation=observation.reshape(*previous.shape, -1),
        action=np.concatenate([previous[1:], np.zeros((1, number), int)]).astype(np.int32),
        reward=np.concatenate([reward[1:], np.zeros((1, number), np.float32)]),
        last=batch.last.astype(np.int32),
        terminated=batch.terminated,
        trained=batch.trained.numpy(),
        from_start=np.arange(number) < batch.num_from_start,
        extras=(previous[0].astype(np.int32), *layers),
        relative=np.ones(number, np.float32),
        leaf=batch.indices.astype(np.int32),
    )


@pytest.mark.parametrize("changes", SETTINGS, ids=lambda changes: str(changes["policy_kwargs"]))
def test_loss_errors_and_gradients_are_those_of_pytorch(changes: dict[str, Any]) -> None:
    theirs, ours = pair(changes)
    batch = theirs.replay_buffer.sample(16, importance_exponent=0.6)
    assert 0 < batch.num_from_start < 16
    nets = theirs.policy.q_net, theirs.policy.q_net_target
    params, target = (params_of(net, value_of) for net in nets)
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, ours.learner_state.params)
    layout: TorchLayout = theirs.layout
    how = {
        "gamma": theirs.gamma,
        "double_q": theirs.double_q,
        "rescaling": theirs.rescaling_epsilon if theirs.value_rescaling else None,
    }
    wanted, loss = gradient(*nets, batch, layout, None, **how)

    learner: R2D2Learner = ours.learner
    hyper = Hyperparameters(gamma=theirs.gamma, rescaling_epsilon=theirs.rescaling_epsilon)
    given = (params, target, sequences_of(batch), batch.weights.numpy(), hyper)
    update = jax.jit(jax.value_and_grad(functools.partial(sequence_loss, learner=learner), has_aux=True))
    (found_loss, found), grads = update(*given)
    trained = batch.trained.numpy() > 0
    np.testing.assert_allclose(found[trained], wanted[trained], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found_loss, loss, rtol=1e-5)
    np.testing.assert_allclose(
        sequence_priorities(found, batch.trained.numpy(), 0.9),
        torch_priorities(wanted, batch.trained.numpy(), 0.9),
        rtol=1e-4,
    )
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(grads))
    jax.tree.map(
        lambda own, other: np.testing.assert_allclose(own, other, atol=1e-5 * max(float(largest), 1)),
        grads,
        params_of(nets[0], gradient_of),
    )


def test_values_step_by_step_are_those_of_pytorch() -> None:
    theirs, ours = pair(SETTINGS[2])
    ours.change_run(learner=ours.learner_state._replace(params=params_of(theirs.policy.q_net, value_of)))
    state, other, rng = None, None, np.random.default_rng(0)
    for step in range(6):
        observation, starts = rng.normal(size=(3, 4)).astype(np.float32), np.array([step == 3, step == 0, False])
        np.testing.assert_allclose(
            ours.q_values(observation, state, starts), theirs.q_values(observation, other, starts), rtol=1e-4, atol=1e-5
        )
        action, state = ours.predict(observation, state, starts, deterministic=True)
        same, other = theirs.predict(observation, other, starts, deterministic=True)
        np.testing.assert_array_equal(action, same)


def test_returns_end_with_the_episode() -> None:
    """γ = ½, three steps: whole, cut by a truncation at 2, cut by a termination at 2."""
    last, terminated = np.array([5, 2, 2], np.int32), np.array([False, False, True])
    zeros = np.zeros((6, 3), np.float32)
    batch = Sequences(zeros, zeros, zeros + np.arange(1, 7)[:, None], last, terminated, zeros, terminated, (), last, last)
    reward, discount, bootstrap = returns_within(batch, 0.5, 3)
    np.testing.assert_allclose(reward[:2].T, [[1 + 1 + 0.75, 2 + 1.5 + 1], [2, 2], [2, 2]])
    np.testing.assert_allclose(discount[:2].T, [[0.125, 0.125], [0.25, 0.5], [0, 0]])
    np.testing.assert_array_equal(bootstrap[:2].T, [[3, 4], [2, 2], [2, 2]])


def test_a_ladder_of_epsilons() -> None:
    np.testing.assert_allclose(epsilon_ladder(8, 0.4, 7.0)[jnp.array([0, 7])], [0.4, 0.4**8], rtol=1e-5)
    assert float(epsilon_ladder(1, 0.3, 7.0)[0]) == pytest.approx(0.3)


def test_numbers_of_the_optimizer() -> None:
    ours = JaxR2D2("MlpLstmPolicy", "CartPole-v1", adam_eps=1e-3, max_grad_norm=None, **TINY)
    assert ours.learner_state.hyper.adam == AdamHyperparameters(
        *(np.float32(each) for each in (0.9, 0.999, 1e-3, 0.0, ours.learner_state.hyper.adam.max_grad_norm))
    )
    assert not ours.learner.clip
