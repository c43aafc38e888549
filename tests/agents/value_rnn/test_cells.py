"""Recurrent layers, beside PyTorch's."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch as th

from mbrl_agents.core.recurrent import CELLS, Cell

F, H, T, B = 3, 5, 7, 4


def torch_layer(kind: str, params: Any) -> th.nn.RNNBase:
    """PyTorch's layer with the same parameters; it has two biases, of which the second is used by a GRU's candidate alone."""
    layer: th.nn.RNNBase = {"gru": th.nn.GRU, "lstm": th.nn.LSTM, "vanilla": th.nn.RNN}[kind](F, H)
    recurrent_bias = np.zeros_like(params["input"]["bias"])
    if kind == "gru":
        recurrent_bias[2 * H :] = params["recurrent"]["bias"]
    with th.no_grad():
        layer.weight_ih_l0.copy_(th.tensor(np.array(params["input"]["kernel"]).T))
        layer.bias_ih_l0.copy_(th.tensor(np.array(params["input"]["bias"])))
        layer.weight_hh_l0.copy_(th.tensor(np.array(params["recurrent"]["kernel"]).T))
        layer.bias_hh_l0.copy_(th.tensor(recurrent_bias))
    return layer


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("initialization", ["orthogonal", "uniform"])
def test_a_layer_is_pytorchs(kind: str, initialization: str) -> None:
    cell = Cell(kind, F, H)
    params = cell.init(jax.random.PRNGKey(1), initialization)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)  # no zero biases, which would hide where they go
    inputs = np.random.default_rng(0).normal(size=(T, B, F)).astype(np.float32)
    ours = cell.hidden(cell.unroll(params, inputs))
    theirs = torch_layer(kind, params)(th.tensor(inputs))[0].detach().numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("kind", CELLS)
def test_uniform_parameters_are_drawn_as_pytorchs(kind: str) -> None:
    """Of PyTorch's two biases only their sum counts, but for a GRU's candidate."""
    layers = [{"lstm": th.nn.LSTM, "gru": th.nn.GRU, "vanilla": th.nn.RNN}[kind](F, H) for _ in range(400)]
    biases = [(layer.bias_ih_l0.detach(), layer.bias_hh_l0.detach()) for layer in layers]
    theirs = np.array([np.stack([one + other, one]) for one, other in biases])
    gates = slice(2 * H) if kind == "gru" else slice(None)
    keys = jax.random.split(jax.random.PRNGKey(0), 400)
    ours = jax.vmap(lambda key: Cell(kind, F, H).init(key, "uniform"))(keys)
    np.testing.assert_allclose(ours["input"]["bias"][:, gates].std(), theirs[:, 0, gates].std(), rtol=0.05)
    if kind == "gru":
        for mine in (ours["input"]["bias"][:, 2 * H :], ours["recurrent"]["bias"]):
            np.testing.assert_allclose(mine.std(), theirs[:, 1, 2 * H :].std(), rtol=0.05)


@pytest.mark.parametrize("kind", CELLS)
def test_a_start_forgets_what_was_before(kind: str) -> None:
    cell = Cell(kind, F, H)
    params = cell.init(jax.random.PRNGKey(2))
    inputs = np.random.default_rng(1).normal(size=(T, 2, F)).astype(np.float32)
    starts = np.zeros((T, 2), bool)
    starts[4, 1] = True
    states = cell.unroll(params, inputs, starts)
    np.testing.assert_allclose(states[4:, 1], cell.unroll(params, inputs[4:])[:, 1], atol=1e-6)
    np.testing.assert_allclose(states[:, 0], cell.unroll(params, inputs)[:, 0], atol=1e-6)
    assert np.abs(states[4:, 1] - cell.unroll(params, inputs)[4:, 1]).max() > 1e-3


def test_orthogonal_kernels_are_rotations() -> None:
    params = Cell("lstm", F, H).init(jax.random.PRNGKey(3))
    for gate in np.split(np.asarray(params["recurrent"]["kernel"]), 4, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(H), atol=1e-5)
    assert params["input"]["bias"].tolist() == [0.0] * H + [1.0] * H + [0.0] * 2 * H
