"""Copies of trained networks as PyTorch modules, for those who deploy them: TorchScript, ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch as th
from torch import nn

from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ObservationCodec

_ACTIVATIONS: dict[str, Any] = {
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": lambda: nn.GELU(approximate="tanh"),
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
}


class Features(nn.Module):
    """Inputs of a network made of observations, float32 (n, f); see :class:`~mbrl_agents.core.observations.ObservationCodec`.

    Args:
        codec: How observations are read.
    """

    def __init__(self, codec: ObservationCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, observation: th.Tensor) -> th.Tensor:
        codec = self.codec
        if codec.kind == "index":
            return nn.functional.one_hot(observation.long() - codec.start, codec.num_features).float()
        features = observation.reshape(-1, codec.num_features).float()
        return features / 255 if codec.kind == "bytes" else features


def mlp(params: Mapping[str, Any], activation: str, encoder: Any = None) -> nn.Sequential:
    """An :class:`~mbrl_agents.core.networks.MLP` with the given parameters, ``Dense_0`` and so on.

    Raises:
        NotImplementedError: It has an encoder.
    """
    if encoder is not None:
        raise NotImplementedError(f"networks with a features extractor ({encoder}) are not copied to PyTorch")
    layers: list[nn.Module] = []
    number = sum(name.startswith("Dense_") for name in params)
    for i in range(number):
        kernel, bias = (np.array(params[f"Dense_{i}"][name], np.float32) for name in ("kernel", "bias"))
        layer = nn.Linear(*kernel.shape)
        layer.load_state_dict({"weight": th.as_tensor(kernel.T.copy()), "bias": th.as_tensor(bias)})
        layers.append(layer)
        if own := params.get(f"LayerNorm_{i}"):
            norm = nn.LayerNorm(len(bias), eps=1e-6)  # flax's
            scale, shift = (th.as_tensor(np.array(own[name], np.float32)) for name in ("scale", "bias"))
            norm.load_state_dict({"weight": scale, "bias": shift})
            layers.append(norm)
        layers += [_ACTIVATIONS[activation]()] if i < number - 1 else []
    return nn.Sequential(*layers).eval()


class TorchValues(nn.Module):
    """Action values of observations, (n, actions): the mean of one network or more.

    Args:
        codec: How observations are read.
        networks: The networks.
    """

    def __init__(self, codec: ObservationCodec, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.features, self.networks = Features(codec), nn.ModuleList(networks)
        self.eval()  # it is for use, not for training

    def forward(self, observation: th.Tensor) -> th.Tensor:
        features = self.features(observation)
        return th.stack([network(features) for network in self.networks]).mean(0)


class TorchActions(nn.Module):
    """Greedy actions of a squashed Gaussian actor as the environment takes them, (n, …).

    Args:
        codec: How observations are read.
        network: Says means and log deviations before squashing, (n, 2a).
        actions: What actions are.
    """

    low: th.Tensor
    high: th.Tensor

    def __init__(self, codec: ObservationCodec, network: nn.Module, actions: ActionCodec) -> None:
        super().__init__()
        self.features, self.network, self.shape = Features(codec), network, actions.shape
        self.size = actions.size
        self.register_buffer("low", th.tensor(actions.low))
        self.register_buffer("high", th.tensor(actions.high))
        self.eval()

    def forward(self, observation: th.Tensor) -> th.Tensor:
        mean = self.network(self.features(observation))[:, : self.size]
        return (self.low + 0.5 * (th.tanh(mean) + 1) * (self.high - self.low)).reshape(-1, *self.shape)
