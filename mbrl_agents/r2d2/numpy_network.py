"""The Q-network for a handful of environments, in NumPy.

On one observation a small network does a few thousand multiplications, and PyTorch spends a hundred microseconds on dispatching
them. NumPy needs a quarter of that. The weights are views of the network's own, so that nothing has to be copied after an
update; the results agree with PyTorch's up to the rounding of float32.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from mbrl_agents.r2d2.networks import RecurrentQNetwork
from mbrl_agents.r2d2.numpy_layers import Linear, Stack, known, sigmoid, view
from mbrl_agents.r2d2.recurrence import LAYERS

MOST_ROWS = 64  # PyTorch is quicker for more observations at once, or for larger networks
MOST_WEIGHTS = 300_000

States = tuple[np.ndarray, ...]


class NumpyNetwork:
    """A :class:`RecurrentQNetwork`: one step of it, and parts to learn with; made by :func:`numpy_network` where possible."""

    def __init__(self, network: RecurrentQNetwork) -> None:
        self.parameters = list(network.parameters())
        self._pointers = [parameter.data_ptr() for parameter in self.parameters]
        self.pre_net, self.post_net = Stack(network.pre_net), Stack(network.post_net)
        self.recurrent_parameters = network.rnn.all_weights
        self.recurrent = [[view(weight) for weight in layer] for layer in self.recurrent_parameters]
        self.layer = LAYERS[type(network.rnn)]  # over whole sequences
        self._cell = _lstm if isinstance(network.rnn, nn.LSTM) else _gru
        self.advantages = Linear(network.advantages)
        self.value = None if network.value is None else Linear(network.value)
        self._one_hot = cast(th.Tensor, network._one_hot).numpy() if network.previous_action else None
        self._previous_reward = network.previous_reward

    @property
    def current(self) -> bool:
        """Whether the network's weights are still where they were (moving it to another device puts them elsewhere)."""
        return all(parameter.data_ptr() == at for parameter, at in zip(self.parameters, self._pointers, strict=True))

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
        x = self.pre_net(x)
        x = x if last is None else np.concatenate([x, last], axis=1)
        after = []
        for i, weights in enumerate(self.recurrent):
            state = self._cell(x, tuple(each[i] for each in states), *weights)
            after.append(state)
            x = state[0]
        values = self.heads(self.post_net(x))
        if len(after) == 1:
            return values, tuple(each[None] for each in after[0])
        return values, tuple(np.stack(each) for each in zip(*after, strict=True))

    def last(self, actions: np.ndarray, rewards: np.ndarray) -> list[np.ndarray]:
        """Previous actions and rewards, each of any shape (…), as far as they are inputs: float32 (…, k) each."""
        found = [] if self._one_hot is None else [self._one_hot[actions]]
        return [*found, rewards[..., None]] if self._previous_reward else found

    def heads(self, latent: np.ndarray) -> np.ndarray:
        """Q-values (n, num_actions) of what the layers before the heads say, (n, units)."""
        values = self.advantages(latent)
        if self.value is None:
            return values
        return self.value(latent) + (values - np.add.reduce(values, axis=1, keepdims=True) / values.shape[1])

    def heads_backward(self, latent: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Sets the gradients of the heads and returns that of ``latent``, given that of the Q-values."""
        if self.value is None:
            return self.advantages.backward(latent, gradient)
        total = np.add.reduce(gradient, axis=1, keepdims=True)
        return self.value.backward(latent, total) + self.advantages.backward(latent, gradient - total / gradient.shape[1])


def numpy_network(network: RecurrentQNetwork, before: NumpyNetwork | None = None) -> NumpyNetwork | None:
    """The network in NumPy (as it was before, if that still holds), or None: it is large or on a GPU, or has other layers."""
    if before is not None and before.current:
        return before
    space = network.observation_space
    plain = isinstance(space, spaces.Box) and not (network.normalize_images and is_image_space(space))
    layers = known(network.pre_net) and known(network.post_net)
    size = sum(parameter.numel() for parameter in network.parameters())
    own = type(network) is RecurrentQNetwork and type(network.features_extractor) is FlattenExtractor
    on_cpu = all(parameter.device.type == "cpu" for parameter in network.parameters())
    return NumpyNetwork(network) if own and plain and layers and on_cpu and size <= MOST_WEIGHTS else None


def _lstm(
    x: np.ndarray, state: States, input_weight: np.ndarray, weight: np.ndarray, input_bias: np.ndarray, bias: np.ndarray
) -> States:
    """i, f, o = σ(…), g = tanh(…); c′ = f·c + i·g; h′ = o·tanh(c′) (PyTorch's order of gates: i, f, g, o)."""
    hidden, cell = state
    gates = x @ input_weight.T + hidden @ weight.T + (input_bias + bias)
    size = hidden.shape[1]
    in_and_forget, out = sigmoid(gates[:, : 2 * size]), sigmoid(gates[:, 3 * size :])
    cell = in_and_forget[:, size:] * cell + in_and_forget[:, :size] * np.tanh(gates[:, 2 * size : 3 * size])
    return out * np.tanh(cell), cell


def _gru(
    x: np.ndarray, state: States, input_weight: np.ndarray, weight: np.ndarray, input_bias: np.ndarray, bias: np.ndarray
) -> States:
    """r, z = σ(…), n = tanh(W x + b + r·(U h + c)); h′ = n + z·(h − n) (PyTorch's order of gates: r, z, n)."""
    (hidden,) = state
    from_input, from_hidden = x @ input_weight.T + input_bias, hidden @ weight.T + bias
    size = 2 * hidden.shape[1]
    gates = sigmoid(from_input[:, :size] + from_hidden[:, :size])
    new = np.tanh(from_input[:, size:] + gates[:, : size // 2] * from_hidden[:, size:])
    return (new + gates[:, size // 2 :] * (hidden - new),)
