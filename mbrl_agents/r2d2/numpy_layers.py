"""Linear layers and activations in NumPy, forward and backward, on PyTorch's own weights.

Weights are views of the network's, so that nothing has to be copied after an update; gradients are put where optimisers of
PyTorch look for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch as th
from torch import nn

Array = np.ndarray

# Each activation, and its slope as a function of what came out.
ACTIVATIONS: dict[type[nn.Module], tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    nn.ReLU: (lambda x: np.maximum(x, 0), lambda y: y > 0),
    nn.Tanh: (np.tanh, lambda y: 1 - y * y),
    nn.Sigmoid: (lambda x: sigmoid(x), lambda y: y * (1 - y)),
    nn.ELU: (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), lambda y: np.minimum(y, 0) + 1),
    nn.LeakyReLU: (lambda x: np.maximum(x, np.float32(0.01) * x), lambda y: np.where(y > 0, np.float32(1), np.float32(0.01))),
}


def sigmoid(x: Array) -> Array:
    """σ(x), with a tanh, as an exponential would overflow."""
    return np.float32(0.5) * np.tanh(np.float32(0.5) * x) + np.float32(0.5)


def view(parameter: th.Tensor) -> Array:
    """A parameter's memory."""
    return parameter.detach().numpy()


def set_gradients(parameters: Sequence[th.Tensor], gradients: Sequence[Array]) -> None:
    """Sets the gradients of parameters to arrays, which are not copied; frozen parameters get none."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = th.from_numpy(gradient) if parameter.requires_grad else None


def clip_gradients(parameters: Sequence[th.Tensor], most: float) -> None:
    """As ``torch.nn.utils.clip_grad_norm_``, for gradients that are all there and on the CPU."""
    gradients = [view(parameter.grad) for parameter in parameters if parameter.grad is not None]
    norm = math.sqrt(sum(float(np.vdot(each, each)) for each in gradients))
    if norm > most:
        for each in gradients:
            each *= most / (norm + 1e-6)


class Linear:
    """A linear layer; a plain function of arrays (n, inputs)."""

    def __init__(self, layer: nn.Linear) -> None:
        self._parameters = (layer.weight, layer.bias)
        self._weight, self._bias = view(layer.weight), view(layer.bias)
        self._transposed = self._weight.T

    def __call__(self, x: Array) -> Array:
        return x @ self._transposed + self._bias

    def backward(self, x: Array, gradient: Array, y: Array | None = None) -> Array:
        """Sets the layer's gradients and returns that of x, given that of y."""
        set_gradients(self._parameters, (gradient.T @ x, np.add.reduce(gradient, axis=0)))
        return gradient @ self._weight


class Activation:
    """An activation; a plain function of arrays."""

    def __init__(self, kind: type[nn.Module]) -> None:
        self._function, self._slope = ACTIVATIONS[kind]

    def __call__(self, x: Array) -> Array:
        return self._function(x)

    def backward(self, x: Array, gradient: Array, y: Array) -> Array:
        """The gradient of x, given that of y."""
        return gradient * self._slope(y)


class Stack:
    """Layers one after the other, of those kinds that :func:`known` lists."""

    def __init__(self, layers: nn.Sequential) -> None:
        self._layers = [Linear(each) if isinstance(each, nn.Linear) else Activation(type(each)) for each in layers]

    def __call__(self, x: Array) -> Array:
        for layer in self._layers:
            x = layer(x)
        return x

    def forward(self, x: Array) -> list[Array]:
        """What goes in, and what comes out of each layer."""
        values = [x]
        for layer in self._layers:
            values.append(layer(values[-1]))
        return values

    def backward(self, values: list[Array], gradient: Array) -> Array:
        """Sets the gradients of the layers and returns that of what went in.

        Args:
            values: From :meth:`forward`, or the same rows of each.
            gradient: Of what came out.
        """
        for layer, x, y in zip(reversed(self._layers), values[-2::-1], values[:0:-1], strict=True):
            gradient = layer.backward(x, gradient, y)
        return gradient


def known(layers: nn.Sequential) -> bool:
    """Whether all layers are of a kind that is here."""
    return all(type(layer) in ACTIVATIONS or type(layer) is nn.Linear for layer in layers)
