"""The recurrent Q-network, as pure functions on parameters."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from mbrl_agents.core.networks import ACTIVATIONS, INITIALIZERS, biases
from mbrl_agents.core.recurrent import Cell


class Memory(NamedTuple):
    """What the agent remembers within an episode.

    Attributes:
        states: States of the recurrent layers, float32 (n, state_size) each.
        action: The previous action, int32 (n,); ``num_actions`` at the start of an episode.
    """

    states: tuple[jax.Array, ...]
    action: jax.Array


class _Layers(nn.Module):
    """Dense layers, each followed by its activation."""

    widths: tuple[int, ...]
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.widths:
            x = ACTIVATIONS[self.activation](_dense(width, x.shape[-1])(x))
        return x


class _Heads(nn.Module):
    """Layers that end in action values."""

    widths: tuple[int, ...]
    activation: str
    num_actions: int
    dueling: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _Layers(self.widths, self.activation)(x)
        advantages = _dense(self.num_actions, x.shape[-1])(x)
        if not self.dueling:
            return advantages
        return _dense(1, x.shape[-1])(x) + advantages - advantages.mean(axis=-1, keepdims=True)


def _dense(width: int, inputs: int) -> nn.Dense:
    return nn.Dense(width, kernel_init=INITIALIZERS["torch"], bias_init=biases("torch", inputs))


@dataclasses.dataclass(frozen=True)
class RecurrentQNetwork:
    """Action values from sequences of observations; the fields are what shapes the program.

        features → ``pre_net_arch`` ─┐
        previous action (one-hot) ───┴→ recurrent layers → ``net_arch`` → V and A → Q = V + A − mean A

    The last step is the dueling head (Wang et al. 2016, arXiv 1511.06581); without it the layers end in Q. Layers begin as
    PyTorch's do, but for the forget bias.

    Attributes:
        num_features: Features of an observation.
        num_actions: Number of actions.
        cell: ``"lstm"``, ``"gru"`` or ``"vanilla"``; see :mod:`mbrl_agents.core.recurrent`.
        hidden_size: Units of a recurrent layer.
        num_layers: Recurrent layers.
        pre_net_arch: Units of the layers before these.
        net_arch: Units of the layers after them.
        activation: Activation of both, a key of ``ACTIVATIONS``.
        forget_bias: Bias, before learning, of the gates that keep the state (an LSTM's forget gates, a GRU's update gates).
        dueling: Whether there is a dueling head.
        previous_action: Whether the previous action is an input.
    """

    num_features: int
    num_actions: int
    cell: str = "lstm"
    hidden_size: int = 256
    num_layers: int = 1
    pre_net_arch: tuple[int, ...] = (256,)
    net_arch: tuple[int, ...] = (256,)
    activation: str = "relu"
    forget_bias: float = 1.0
    dueling: bool = True
    previous_action: bool = True

    @property
    def cells(self) -> list[Cell]:
        """The recurrent layers."""
        width = [self.num_features, *self.pre_net_arch][-1] + self.previous_action * self.num_actions
        widths = [width, *[self.hidden_size] * (self.num_layers - 1)]
        return [Cell(self.cell, each, self.hidden_size) for each in widths]

    @property
    def _before(self) -> _Layers:
        return _Layers(self.pre_net_arch, self.activation)

    @property
    def _after(self) -> _Heads:
        return _Heads(self.net_arch, self.activation, self.num_actions, self.dueling)

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Fresh parameters."""
        before_key, after_key, *cell_keys = jax.random.split(key, 2 + self.num_layers)
        cells = [cell.init(each, "uniform") for cell, each in zip(self.cells, cell_keys, strict=True)]
        gate = slice(self.hidden_size, 2 * self.hidden_size)  # f of an LSTM's i, f, g, o; z of a GRU's r, z, n
        if self.cell != "vanilla":
            for cell in cells:
                cell["input"]["bias"] = cell["input"]["bias"].at[gate].set(self.forget_bias)
        before = self._before.init(before_key, jnp.zeros((1, self.num_features))).get("params", {})
        after = self._after.init(after_key, jnp.zeros((1, self.hidden_size)))["params"]
        return {"before": before, "cells": cells, "after": after}

    def initial_memory(self, num: int) -> Memory:
        """What is remembered at the start of ``num`` episodes: nothing."""
        states = tuple(jnp.zeros((num, cell.state_size), jnp.float32) for cell in self.cells)
        return Memory(states, jnp.full(num, self.num_actions, jnp.int32))

    def _inputs(self, params: Any, features: jax.Array, previous: jax.Array) -> jax.Array:
        x: Any = self._before.apply({"params": params["before"]}, features)
        if not self.previous_action:
            return x
        return jnp.concatenate([x, jax.nn.one_hot(previous, self.num_actions, dtype=x.dtype)], axis=-1)

    def _values(self, params: Any, hidden: jax.Array) -> jax.Array:
        return self._after.apply({"params": params["after"]}, hidden)  # type: ignore[return-value]

    def step(self, params: Any, memory: Memory, features: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Action values (n, actions), and the states after a step."""
        x, states = self._inputs(params, features, memory.action), []
        for cell, own, state in zip(self.cells, params["cells"], memory.states, strict=True):
            states.append(cell.step(own, state, x))
            x = cell.hidden(states[-1])
        return self._values(params, x), tuple(states)

    def unroll(
        self,
        params: Any,
        features: jax.Array,
        previous: jax.Array,
        states: tuple[jax.Array, ...],
        burn_in: int = 0,
        from_start: jax.Array | None = None,
        only_looked_at: int = 0,
    ) -> jax.Array:
        """Action values of every step of a batch of sequences, float32 (T, B, actions).

        No gradient flows back into the burn-in, and none from the last steps if they are only looked at.

        Args:
            params: Parameters.
            features: (T, B, f).
            previous: The action before each, int32 (T, B); ``num_actions`` for none.
            states: States before the first step, (B, state_size) each.
            burn_in: Steps of burn-in.
            from_start: Sequences that have none, bool (B,); None where ``burn_in`` is 0.
            only_looked_at: Steps at the end whose values get no gradient.
        """
        x, learned = self._inputs(params, features, previous), len(features) - only_looked_at
        for cell, own, state in zip(self.cells, params["cells"], states, strict=True):
            parts = []
            if burn_in:
                assert from_start is not None
                parts.append(cell.unroll(own, x[:burn_in], state=state))
                state = jnp.where(from_start[:, None], parts[-1][-1], lax.stop_gradient(parts[-1][-1]))
            parts.append(cell.unroll(own, x[burn_in:learned], state=state))
            if only_looked_at:
                fixed = lax.stop_gradient((own, x[learned:], parts[-1][-1]))
                parts.append(cell.unroll(fixed[0], fixed[1], state=fixed[2]))
            x = cell.hidden(jnp.concatenate(parts))
        return self._values(params, x)
