"""The value network: a recurrent layer and a read-out."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mbrl_agents.core.recurrent import Cell
from mbrl_agents.value_rnn import targets

READOUTS = ("linear", "relu_sum")
PARTS = ("input", "recurrent", "readout")  # of the parameters, as they can be frozen


class Sequences(NamedTuple):
    """B sequences of T steps, padded; arrays with leading axes (T, B).

    Attributes:
        inputs: Features, float32 (T, B, F).
        starts: Whether an episode begins with the step, bool (T, B); None if that is so at the first one alone.
        rewards: r(t+1), the reward that follows, float32 (T, B).
        non_terminal: Whether V(t+1) belongs to the target: not after a termination, float32 (T, B).
        last: Whether it is the last step of its sequence or episode, bool (T, B).
        trained: Weight of the step in the loss, 0 for padding, float32 (T, B).
        final_inputs: What follows each step, where that is not the next step of the sequence (its end, or a truncation),
            float32 (T, B, F); None if targets never need it.
    """

    inputs: jax.Array
    starts: jax.Array | None
    rewards: jax.Array
    non_terminal: jax.Array
    last: jax.Array
    trained: jax.Array
    final_inputs: jax.Array | None = None


class TDHyperparameters(NamedTuple):
    """Numbers in which runs of one program may differ, float32.

    Attributes:
        gamma: Discount factor γ.
        td_lambda: λ.
        levels: τ of each head, (K,).
        thawed: 1 for the parts of the parameters that learn, 0 for those that are frozen, by part.
    """

    gamma: Any
    td_lambda: Any
    levels: Any
    thawed: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ValueNetwork:
    """A recurrent value network; the fields are what shapes the program.

    Attributes:
        cell: The recurrent layer.
        readout: ``"linear"``, or ``"relu_sum"``: V = Σ_i max(0, h_i), which has no parameters.
        num_values: Heads K; 1 for ``"relu_sum"``.
        loss: One of ``targets.LOSSES``.
        uses_lambda: Whether targets are λ-returns; else λ is 0.
        initialization: How the recurrent layer begins.
    """

    cell: Cell
    readout: str = "linear"
    num_values: int = 1
    loss: str = "td"
    uses_lambda: bool = False
    initialization: str = "orthogonal"

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Fresh parameters, by part; a linear read-out begins at 0, so that values do."""
        cell_key, readout_key = jax.random.split(key)
        # Where values are sums of positive parts, a unit that is never positive never learns: let all begin a little above 0.
        alive = 1 / self.cell.num_units if self.readout == "relu_sum" else 0.0
        params = self.cell.init(cell_key, self.initialization, alive)
        if self.readout == "linear":
            shapes = {"kernel": (self.cell.num_units, self.num_values), "bias": (self.num_values,)}
            bound = self.cell.num_units**-0.5 if self.initialization == "uniform" else 0.0
            params["readout"] = {
                name: jax.random.uniform(key, shape, jnp.float32, -bound, bound)
                for key, (name, shape) in zip(jax.random.split(readout_key), shapes.items(), strict=True)
            }
        return params

    def heads(self, params: Any, states: jax.Array) -> jax.Array:
        """Values of all heads, (…, K)."""
        hidden = self.cell.hidden(states)
        if self.readout == "relu_sum":
            return jax.nn.relu(hidden).sum(axis=-1, keepdims=True)
        return hidden @ params["readout"]["kernel"] + params["readout"]["bias"]

    def value(self, params: Any, states: jax.Array, levels: jax.Array) -> jax.Array:
        """The value, (…): of several heads the mean that they stand for."""
        heads = self.heads(params, states)
        return heads[..., 0] if self.num_values == 1 else targets.mean_value(self.loss, heads, levels)
