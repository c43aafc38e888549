"""Recurrent layers over a batch of sequences, and their gradients, in NumPy: for small layers on the CPU.

PyTorch spends several microseconds on dispatching and recording each of the hundreds of small operations that a recurrent layer
does over a sequence, and again on the way back: with 12 sequences and 64 units that is most of an update. Here all that does
not depend on the step before (the inputs' part of the gates, slopes of the gates, gradients of the weights) is one operation on
the whole sequence, and what remains of a step is a matrix product and a few operations on arrays that lie ready. Networks of
the same size (the one that learns and its target) go side by side. The results are PyTorch's up to rounding.

σ(x) is computed as (tanh(x/2) + 1)/2: that needs no exponential that may overflow. The halves of x/2 are in the weights.

Shapes: T steps, N networks, B sequences, G gates, H units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Array = np.ndarray
Weights = Sequence[Array]  # weight_ih (G·H, inputs), weight_hh (G·H, H), bias_ih and bias_hh (G·H,), as PyTorch has them


class Learned(NamedTuple):
    """Which steps of which sequences get a gradient.

    Attributes:
        burn_in: Steps of burn-in: no gradient goes into them, nor through the state from later steps.
        num_from_start: The first so many sequences have no burn-in.
        until: Steps from this one on get no gradient.
    """

    burn_in: int
    num_from_start: int
    until: int

    def rows(self, step: int, num: int) -> int:
        """The first so many of ``num`` sequences get a gradient in a step."""
        return num if step >= self.burn_in else self.num_from_start


class Layer:
    """A recurrent layer of each network, run over a batch of sequences.

    Args:
        inputs: Of each network, (T, B, inputs).
        weights: Of each network.
        states: Before the first step, (N, B, H) each.

    Attributes:
        outputs: (T + 1, N, B, H), the state before the first step and after each.
        states: After the last step, (N, B, H) each.
    """

    halves: tuple[float, ...]  # what the argument of each gate's tanh is multiplied with
    states: tuple[Array, ...]

    def __init__(self, inputs: Sequence[Array], weights: Sequence[Weights], states: tuple[Array, ...]) -> None:
        num, batch, _ = inputs[0].shape
        nets, size, kind = len(inputs), weights[0][1].shape[1], inputs[0].dtype
        gates = len(self.halves)
        halves = np.array(self.halves, kind)[:, None, None]
        from_input = np.empty((gates, nets, num * batch, size), kind)
        recurrent, bias = np.empty((gates, nets, size, size), kind), np.empty((gates, nets, 1, size), kind)
        for k, (x, (weight_ih, weight_hh, bias_ih, bias_hh)) in enumerate(zip(inputs, weights, strict=True)):
            by_gate = (weight_ih.reshape(gates, size, -1) * halves).swapaxes(1, 2)
            np.matmul(x.reshape(num * batch, -1), by_gate, out=from_input[:, k])
            from_input[:, k] += bias_ih.reshape(gates, 1, size) * halves
            np.multiply(weight_hh.reshape(gates, size, size), halves, out=recurrent[:, k])
            np.multiply(bias_hh.reshape(gates, 1, size), halves, out=bias[:, k])
        self._inputs, self._weights = inputs, weights
        self.outputs = np.empty((num + 1, nets, batch, size), kind)
        self.outputs[0] = states[0]
        self._run(from_input.reshape(gates, nets, num, batch, size), recurrent.swapaxes(-1, -2), bias, states)

    def _run(self, from_input: Array, recurrent: Array, bias: Array, states: tuple[Array, ...]) -> None:
        """Runs over (G, N, T, B, H) with weights (G, N, H, H) and biases (G, N, 1, H); keeps what the way back needs."""
        raise NotImplementedError

    def _back(self, gradient: Array, weight: Array, net: int, learned: Learned) -> tuple[Array, Array]:
        """Gradients of the gates' two parts (from inputs, from the state), (until, B, G, H), from those of outputs."""
        raise NotImplementedError

    def backward(
        self, gradient: Array, learned: Learned, net: int = 0, of_inputs: bool = True
    ) -> tuple[Array | None, list[Array]]:
        """Gradients of one network.

        Args:
            gradient: Of its outputs, (until, B, H) at least.
            learned: What gets a gradient.
            net: Which network.
            of_inputs: Whether that of the inputs is wanted.

        Returns:
            Gradients of the inputs (T, B, inputs), and of the weights.
        """
        x, (weight_ih, weight_hh, *_) = self._inputs[net], self._weights[net]
        until, rows = learned.until, learned.until * x.shape[1]
        both = self._back(gradient, weight_hh, net, learned)
        gates, gates_from_hidden = (each.reshape(rows, -1) for each in both)
        found = None
        if of_inputs:
            found = np.zeros_like(x)
            np.matmul(gates, weight_ih, out=found[:until].reshape(rows, -1))
        hidden = self.outputs[:until, net].reshape(rows, -1)
        bias = np.add.reduce(gates, axis=0)
        bias_hh = bias.copy() if gates_from_hidden is gates else np.add.reduce(gates_from_hidden, axis=0)
        return found, [gates.T @ x[:until].reshape(rows, -1), gates_from_hidden.T @ hidden, bias, bias_hh]


class Gru(Layer):
    """r, z = σ(…), n = tanh(W x + b + r·(U h + c)); h′ = n + z·(h − n) (PyTorch's order of gates: r, z, n)."""

    halves = (0.5, 0.5, 1.0)

    def _run(self, from_input: Array, recurrent: Array, bias: Array, states: tuple[Array, ...]) -> None:
        _, nets, num, batch, size = from_input.shape
        kind = from_input.dtype
        from_input[:2] += bias[:2, :, None]
        self._gates = np.empty((num, 2, nets, batch, size), kind)
        self._new, self._reset_into = np.empty((2, num, nets, batch, size), kind)
        from_hidden, room = np.empty((3, nets, batch, size), kind), np.empty((nets, batch, size), kind)
        for t in range(num):
            hidden, gates, new, into = self.outputs[t], self._gates[t], self._new[t], self._reset_into[t]
            np.matmul(hidden, recurrent, out=from_hidden)
            np.add(from_hidden[:2], from_input[:2, :, t], out=gates)
            np.tanh(gates, out=gates)
            gates *= 0.5
            gates += 0.5
            reset, update = gates
            np.add(from_hidden[2], bias[2], out=into)
            np.multiply(reset, into, out=new)
            new += from_input[2, :, t]
            np.tanh(new, out=new)
            np.subtract(hidden, new, out=room)
            room *= update
            np.add(new, room, out=self.outputs[t + 1])
        self.states = (self.outputs[-1],)

    def _back(self, gradient: Array, weight: Array, net: int, learned: Learned) -> tuple[Array, Array]:
        until, (batch, size) = learned.until, gradient.shape[1:]
        reset, update = self._gates[:until, 0, net], self._gates[:until, 1, net]
        new, into, hidden = self._new[:until, net], self._reset_into[:until, net], self.outputs[:until, net]
        of_new = (1 - update) * (1 - new * new)
        slopes = np.empty((until, batch, 3, size), gradient.dtype)
        np.multiply(of_new, reset, out=slopes[:, :, 2])
        np.multiply(slopes[:, :, 2] * into, 1 - reset, out=slopes[:, :, 0])
        np.multiply(hidden - new, update * (1 - update), out=slopes[:, :, 1])
        gates, of_hidden = np.zeros_like(slopes), np.zeros_like(of_new)
        down = np.zeros((batch, size), gradient.dtype)
        for t in reversed(range(until)):
            rows = learned.rows(t, batch)
            if not rows:
                break
            down = np.add(down[:rows], gradient[t, :rows], out=of_hidden[t, :rows])
            here = np.multiply(slopes[t, :rows], down[:, None], out=gates[t, :rows])
            kept = down * update[t, :rows]
            down = here.reshape(rows, -1) @ weight
            down += kept
        from_input = gates.copy()
        np.multiply(of_hidden, of_new, out=from_input[:, :, 2])
        return from_input, gates


class Lstm(Layer):
    """i, f, o = σ(…), g = tanh(…); c′ = f·c + i·g; h′ = o·tanh(c′) (PyTorch's order of gates: i, f, g, o)."""

    halves = (0.5, 0.5, 1.0, 0.5)

    def _run(self, from_input: Array, recurrent: Array, bias: Array, states: tuple[Array, ...]) -> None:
        _, nets, num, batch, size = from_input.shape
        kind = from_input.dtype
        from_input += bias[:, :, None]
        factor = np.array(self.halves, kind)[:, None, None, None]
        shift = np.array([0.5, 0.5, 0, 0.5], kind)[:, None, None, None]
        self._gates = np.empty((num, 4, nets, batch, size), kind)
        self._cells = np.empty((num + 1, nets, batch, size), kind)
        self._cells[0] = states[1]
        self._squashed, room = np.empty((num, nets, batch, size), kind), np.empty((nets, batch, size), kind)
        for t in range(num):
            gates, cell, squashed = self._gates[t], self._cells[t + 1], self._squashed[t]
            np.matmul(self.outputs[t], recurrent, out=gates)
            gates += from_input[:, :, t]
            np.tanh(gates, out=gates)
            gates *= factor
            gates += shift
            into, keep, new, out = gates
            np.multiply(keep, self._cells[t], out=cell)
            np.multiply(into, new, out=room)
            cell += room
            np.tanh(cell, out=squashed)
            np.multiply(out, squashed, out=self.outputs[t + 1])
        self.states = self.outputs[-1], self._cells[-1]

    def _back(self, gradient: Array, weight: Array, net: int, learned: Learned) -> tuple[Array, Array]:
        until, (batch, size) = learned.until, gradient.shape[1:]
        into, keep, new, out = (self._gates[:until, gate, net] for gate in range(4))
        squashed = self._squashed[:until, net]
        slopes = np.empty((until, batch, 4, size), gradient.dtype)
        np.multiply(new, into * (1 - into), out=slopes[:, :, 0])
        np.multiply(self._cells[:until, net], keep * (1 - keep), out=slopes[:, :, 1])
        np.multiply(into, 1 - new * new, out=slopes[:, :, 2])
        np.multiply(squashed, out * (1 - out), out=slopes[:, :, 3])
        of_cell = out * (1 - squashed * squashed)
        gates = np.zeros_like(slopes)
        down, carried = np.zeros((2, batch, size), gradient.dtype)
        for t in reversed(range(until)):
            rows = learned.rows(t, batch)
            if not rows:
                break
            down = down[:rows] + gradient[t, :rows]
            carried = carried[:rows] + down * of_cell[t, :rows]
            here = gates[t, :rows]
            np.multiply(slopes[t, :rows, :3], carried[:, None], out=here[:, :3])
            np.multiply(slopes[t, :rows, 3], down, out=here[:, 3])
            down = here.reshape(rows, -1) @ weight
            carried *= keep[t, :rows]
        return gates, gates
