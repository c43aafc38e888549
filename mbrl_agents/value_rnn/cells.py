"""Recurrent networks of one layer, as pure functions on parameters that are dictionaries of arrays.

A state is one vector: the hidden activity h, followed in an LSTM by its cell c. With input x:

* ``"vanilla"``  h′ = tanh(x W + h U + b)                                                       (Elman 1990)
* ``"gru"``      r, z = σ(x W + h U + b);  n = tanh(x Wₙ + bₙ + r ⊙ (h Uₙ + uₙ));  h′ = (1 − z) ⊙ n + z ⊙ h    (Cho et al. 2014)
* ``"lstm"``     i, f, o = σ(x W + h U + b);  g = tanh(x W + h U + b);  c′ = f ⊙ c + i ⊙ g;  h′ = o ⊙ tanh c′
  (Hochreiter & Schmidhuber 1997; Gers et al. 2000)

These are PyTorch's cells (with one bias where it has two that are only ever added).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

CELLS = ("gru", "lstm", "vanilla")
_GATES = {"gru": 3, "lstm": 4, "vanilla": 1}
INITIALIZATIONS = ("orthogonal", "uniform")


@dataclasses.dataclass(frozen=True)
class Cell:
    """A recurrent layer; the fields are what shapes the program.

    Attributes:
        kind: One of ``CELLS``.
        num_inputs: Width of its inputs.
        num_units: Number of hidden units H.
    """

    kind: str
    num_inputs: int
    num_units: int

    @property
    def state_size(self) -> int:
        """Width of its state: 2H for an LSTM, else H."""
        return self.num_units * (2 if self.kind == "lstm" else 1)

    def init(self, key: jax.Array, initialization: str = "orthogonal") -> dict[str, Any]:
        """Fresh parameters, by the parts ``"input"`` and ``"recurrent"``.

        Args:
            key: Random key.
            initialization: ``"orthogonal"``: recurrent kernels are random rotations for each gate, input kernels LeCun-normal,
                biases 0, but 1 for an LSTM's forget gate, so that states fade slowly at first; ``"uniform"``: everything
                uniform between ±1/√H, as in PyTorch.
        """
        gates, units = _GATES[self.kind], self.num_units
        shapes = {"kernel": (self.num_inputs, gates * units), "bias": (gates * units,)}
        recurrent = {"kernel": (units, gates * units)} | ({"bias": (units,)} if self.kind == "gru" else {})
        parts = {"input": shapes, "recurrent": recurrent}
        keys = iter(jax.random.split(key, 4 + gates))
        if initialization == "uniform":
            bound = units**-0.5
            return jax.tree.map(
                lambda shape: jax.random.uniform(next(keys), shape, minval=-bound, maxval=bound), parts, is_leaf=_is_shape
            )
        zeros = jax.tree.map(jnp.zeros, parts, is_leaf=_is_shape)
        zeros["input"]["kernel"] = jax.nn.initializers.lecun_normal()(next(keys), shapes["kernel"])
        rotation = jax.nn.initializers.orthogonal()
        zeros["recurrent"]["kernel"] = jnp.concatenate([rotation(next(keys), (units, units)) for _ in range(gates)], axis=1)
        if self.kind == "lstm":
            zeros["input"]["bias"] = zeros["input"]["bias"].at[units : 2 * units].set(1.0)
        return zeros

    def step(self, params: Any, state: jax.Array, projected: jax.Array) -> jax.Array:
        """The next state, (…, state_size), given inputs that have gone through :meth:`project`."""
        units = self.num_units
        hidden = state[..., :units]
        recurrent = hidden @ params["recurrent"]["kernel"]
        if self.kind == "vanilla":
            return jnp.tanh(projected + recurrent)
        if self.kind == "gru":
            gates = jax.nn.sigmoid(projected[..., : 2 * units] + recurrent[..., : 2 * units])
            reset, keep = gates[..., :units], gates[..., units:]
            new = jnp.tanh(projected[..., 2 * units :] + reset * (recurrent[..., 2 * units :] + params["recurrent"]["bias"]))
            return (1 - keep) * new + keep * hidden
        total = projected + recurrent
        enter, forget, show = (jax.nn.sigmoid(total[..., i * units : (i + 1) * units]) for i in (0, 1, 3))
        memory = forget * state[..., units:] + enter * jnp.tanh(total[..., 2 * units : 3 * units])
        return jnp.concatenate([show * jnp.tanh(memory), memory], axis=-1)

    def project(self, params: Any, inputs: jax.Array) -> jax.Array:
        """What inputs, (…, num_inputs), contribute to the gates; for all steps at once, outside of the recurrence."""
        return inputs @ params["input"]["kernel"] + params["input"]["bias"]

    def unroll(
        self, params: Any, inputs: jax.Array, starts: jax.Array | None = None, state: jax.Array | None = None
    ) -> jax.Array:
        """States after each step.

        Args:
            params: Parameters.
            inputs: (T, B, num_inputs).
            starts: Whether an episode begins with a step, so that the state before it is 0, bool (T, B); None for nowhere.
            state: The state before the first step, (B, state_size); None for 0.

        Returns:
            (T, B, state_size).
        """
        projected = self.project(params, inputs)
        before = jnp.zeros((inputs.shape[1], self.state_size), projected.dtype) if state is None else state

        def step(state: jax.Array, row: tuple[jax.Array, Any]) -> tuple[jax.Array, jax.Array]:
            kept = state if row[1] is None else jnp.where(row[1][:, None], 0, state)
            following = self.step(params, kept, row[0])
            return following, following

        return lax.scan(step, before, (projected, starts))[1]

    def hidden(self, states: jax.Array) -> jax.Array:
        """The hidden activity of states, (…, H)."""
        return states[..., : self.num_units]


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple)
