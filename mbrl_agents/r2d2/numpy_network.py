"""The Q-network for a handful of environments, in NumPy.

On one observation a small network does a few thousand multiplications, and PyTorch spends a hundred microseconds on dispatching
them. NumPy needs a quarter of that. The weights are views of the network's own, so that nothing has to be copied after an
update; the results agree with PyTorch's up to the rounding of float32.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from mbrl_agents.r2d2.networks import RecurrentQNetwork

MOST_ROWS = 64  # PyTorch is quicker for more observations at once, or for larger networks
MOST_WEIGHTS = 300_000

ACTIVATIONS: dict[type[nn.Module], Callable[[np.ndarray], np.ndarray]] = {
    nn.ReLU: lambda x: np.maximum(x, 0),
    nn.Tanh: np.tanh,
    nn.Sigmoid: lambda x: _sigmoid(x),
    nn.ELU: lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    nn.LeakyReLU: lambda x: np.maximum(x, np.float32(0.01) * x),
}
States = tuple[np.ndarray, ...]


class NumpyNetwork:
    """A :class:`RecurrentQNetwork` of one step; see :func:`numpy_network`, which makes one where that is possible."""

    def __init__(self, network: RecurrentQNetwork) -> None:
        self._parameters = list(network.parameters())
        self._pointers = [parameter.data_ptr() for parameter in self._parameters]
        self._pre, self._post = _layers(network.pre_net), _layers(network.post_net)
        rnn = network.rnn
        names = ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
        self._cells = [[_view(getattr(rnn, f"{name}_l{i}")) for name in names] for i in range(rnn.num_layers)]
        self._cell = _lstm if isinstance(rnn, nn.LSTM) else _gru
        self._advantages = _linear(network.advantages)
        self._value = None if network.value is None else _linear(network.value)

    @property
    def current(self) -> bool:
        """Whether the network's weights are still where they were (moving it to another device puts them elsewhere)."""
        return all(parameter.data_ptr() == at for parameter, at in zip(self._parameters, self._pointers, strict=True))

    def __call__(self, observations: np.ndarray, last: np.ndarray | None, states: States) -> tuple[np.ndarray, States]:
        """One step.

        Args:
            observations: (n, …).
            last: Previous actions (one-hot) and rewards as far as they are inputs, float32 (n, k); None if neither is.
            states: Recurrent states, (layers, n, hidden) each.

        Returns:
            Q-values float32 (n, num_actions), and the states after the step.
        """
        x = observations.reshape(len(observations), -1).astype(np.float32)
        for layer in self._pre:
            x = layer(x)
        x = x if last is None else np.concatenate([x, last], axis=1)
        after = []
        for i, weights in enumerate(self._cells):
            state = self._cell(x, tuple(each[i] for each in states), *weights)
            after.append(state)
            x = state[0]
        for layer in self._post:
            x = layer(x)
        values = self._advantages(x)
        if self._value is not None:
            values = self._value(x) + (values - np.add.reduce(values, axis=1, keepdims=True) / values.shape[1])
        if len(after) == 1:
            return values, tuple(each[None] for each in after[0])
        return values, tuple(np.stack(each) for each in zip(*after, strict=True))


def numpy_network(network: RecurrentQNetwork) -> NumpyNetwork | None:
    """The network in NumPy, or None where it is not of plain layers on plain vectors on the CPU, or large."""
    space = network.observation_space
    plain = isinstance(space, spaces.Box) and not (network.normalize_images and is_image_space(space))
    layers = itertools.chain(network.pre_net, network.post_net)
    known = all(type(layer) in ACTIVATIONS or type(layer) is nn.Linear for layer in layers)
    size = sum(parameter.numel() for parameter in network.parameters())
    flat = type(network.features_extractor) is FlattenExtractor
    on_cpu = all(parameter.device.type == "cpu" for parameter in network.parameters())
    return NumpyNetwork(network) if plain and known and flat and on_cpu and size <= MOST_WEIGHTS else None


def _view(parameter: Any) -> np.ndarray:
    """A parameter's memory; of a matrix, its transpose."""
    return parameter.detach().numpy().T


def _linear(layer: nn.Linear) -> Callable[[np.ndarray], np.ndarray]:
    weight, bias = _view(layer.weight), _view(layer.bias)
    return lambda x: x @ weight + bias


def _layers(layers: nn.Sequential) -> list[Callable[[np.ndarray], np.ndarray]]:
    return [_linear(layer) if isinstance(layer, nn.Linear) else ACTIVATIONS[type(layer)] for layer in layers]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.float32(0.5) * np.tanh(np.float32(0.5) * x) + np.float32(0.5)  # exp would overflow


def _lstm(
    x: np.ndarray, state: States, input_weight: np.ndarray, input_bias: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> States:
    """i, f, o = σ(…), g = tanh(…); c′ = f·c + i·g; h′ = o·tanh(c′) (PyTorch's order of gates: i, f, g, o)."""
    hidden, cell = state
    gates = x @ input_weight + hidden @ weight + (input_bias + bias)
    size = hidden.shape[1]
    in_and_forget, out = _sigmoid(gates[:, : 2 * size]), _sigmoid(gates[:, 3 * size :])
    cell = in_and_forget[:, size:] * cell + in_and_forget[:, :size] * np.tanh(gates[:, 2 * size : 3 * size])
    return out * np.tanh(cell), cell


def _gru(
    x: np.ndarray, state: States, input_weight: np.ndarray, input_bias: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> States:
    """r, z = σ(…), n = tanh(W x + b + r·(U h + c)); h′ = n + z·(h − n) (PyTorch's order of gates: r, z, n)."""
    (hidden,) = state
    from_input, from_hidden = x @ input_weight + input_bias, hidden @ weight + bias
    size = 2 * hidden.shape[1]
    gates = _sigmoid(from_input[:, :size] + from_hidden[:, :size])
    new = np.tanh(from_input[:, size:] + gates[:, : size // 2] * from_hidden[:, size:])
    return (new + gates[:, size // 2 :] * (hidden - new),)
