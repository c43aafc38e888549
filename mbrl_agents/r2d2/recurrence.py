"""Small recurrent layers of PyTorch, run in NumPy: to autograd, each layer is one operation."""

from __future__ import annotations

from typing import Any, cast

import torch as th
from torch import nn
from torch.autograd.function import once_differentiable

from mbrl_agents.r2d2.numpy_recurrence import Gru, Layer, Learned, Lstm

# Sequences times units of a step above which PyTorch's own layers are used. Its LSTM is quicker there; its GRU was slower at
# all sizes measured (on one thread), so that its number stands for their largest.
MOST_UNITS: dict[type[nn.Module], int] = {nn.GRU: 16_384, nn.LSTM: 1024}
LAYERS: dict[type[nn.Module], type[Layer]] = {nn.GRU: Gru, nn.LSTM: Lstm}


def is_small(layers: nn.RNNBase, batch: int) -> bool:
    """Whether a batch of so many sequences goes through these layers quicker in NumPy than in PyTorch."""
    return layers.weight_hh_l0.device.type == "cpu" and batch * layers.hidden_size <= MOST_UNITS[type(layers)]


def recur(
    layers: nn.RNNBase, x: th.Tensor, states: tuple[th.Tensor, ...], learned: Learned
) -> tuple[th.Tensor, tuple[th.Tensor, ...]]:
    """Runs recurrent layers over a batch of sequences.

    Args:
        layers: An ``nn.LSTM`` or ``nn.GRU`` as :class:`~mbrl_agents.r2d2.networks.RecurrentQNetwork` makes them: one
            direction, with biases, no dropout, no projection.
        x: Inputs (T, B, inputs), floating point, on the CPU.
        states: States before the first step, (layers, B, hidden) each; they get no gradient.
        learned: What gets a gradient.

    Returns:
        Outputs (T, B, hidden), and the states after the last step, which have no gradient.
    """
    after = []
    for i, weights in enumerate(layers.all_weights):
        x, *state = cast(Any, _OneLayer.apply)(LAYERS[type(layers)], learned, tuple(each[i] for each in states), x, *weights)
        after.append(state)
    return x, tuple(th.stack(each) for each in zip(*after, strict=True))


class _OneLayer(th.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kind: type[Layer], learned: Learned, states: tuple[th.Tensor, ...], *given: th.Tensor
    ) -> tuple[th.Tensor, ...]:
        """Outputs (T, B, hidden), and states (B, hidden) after the last step, of inputs and weights."""
        x, *weights = (each.detach().numpy() for each in given)
        layer = kind([x], [weights], tuple(state.detach().numpy()[None] for state in states))
        ctx.layer, ctx.learned = layer, learned
        after = tuple(th.from_numpy(state[0]) for state in layer.states)
        ctx.mark_non_differentiable(*after)
        return th.from_numpy(layer.outputs[1:, 0]), *after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: th.Tensor, *_: Any) -> tuple[Any, ...]:
        """Gradients of the inputs and weights, given that of the outputs."""
        of_inputs, of_weights = ctx.layer.backward(gradient.numpy(), ctx.learned, of_inputs=ctx.needs_input_grad[3])
        x = None if of_inputs is None else th.from_numpy(of_inputs)
        return None, None, None, x, *(th.from_numpy(each) for each in of_weights)
