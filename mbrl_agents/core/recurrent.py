"""Recurrent networks of one layer, as pure functions on parameters that are dictionaries of arrays.

A state is one vector: the hidden activity h, followed in an LSTM by its cell c. With input x:

* ``"vanilla"``  h′ = tanh(x W + h U + b)                                                       (Elman 1990)
* ``"gru"``      r, z = σ(x W + h U + b);  n = tanh(x Wₙ + bₙ + r ⊙ (h Uₙ + uₙ));  h′ = (1 − z) ⊙ n + z ⊙ h    (Cho et al. 2014)
* ``"lstm"``     i, f, o = σ(x W + h U + b);  g = tanh(x W + h U + b);  c′ = f ⊙ c + i ⊙ g;  h′ = o ⊙ tanh c′
  (Hochreiter & Schmidhuber 1997; Gers et al. 2000)

These are PyTorch's cells (with one bias where it has two that are only ever added).

Backpropagation through time is written out (:func:`_backward`): what JAX derives keeps a dozen arrays of every step and adds
to the weights' gradients in each; this keeps two, and has one matrix product for each kernel at the end. Networks of two units
learn in half the time with it on a CPU.
"""

from __future__ import annotations

import dataclasses
import functools
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

    def init(self, key: jax.Array, initialization: str = "orthogonal", candidate_bias: float = 0.0) -> dict[str, Any]:
        """Fresh parameters, by the parts ``"input"`` and ``"recurrent"``.

        Args:
            key: Random key.
            initialization: ``"orthogonal"``: recurrent kernels are random rotations for each gate, input kernels LeCun-normal,
                biases 0, but 1 for an LSTM's forget gate, so that states fade slowly at first; ``"uniform"``: as in PyTorch,
                kernels uniform between ±1/√H, and biases sums of two such numbers (a GRU's candidate has them apart).
            candidate_bias: Of the tanh by which units take up what is new, for ``"orthogonal"``.
        """
        gates, units = _GATES[self.kind], self.num_units
        shapes = {"kernel": (self.num_inputs, gates * units), "bias": (gates * units,)}
        recurrent = {"kernel": (units, gates * units)} | ({"bias": (units,)} if self.kind == "gru" else {})
        parts = {"input": shapes, "recurrent": recurrent}
        keys = iter(jax.random.split(key, 4 + gates))
        if initialization == "uniform":
            bound = units**-0.5

            def uniform(shape: tuple[int, ...]) -> jax.Array:
                return jax.random.uniform(next(keys), shape, jnp.float32, -bound, bound)

            drawn = jax.tree.map(uniform, parts, is_leaf=_is_shape)
            # PyTorch has two biases that are added up, but for a GRU's candidate, where ours are two as well.
            second = uniform(shapes["bias"])
            added = second.at[2 * units :].set(0.0) if self.kind == "gru" else second
            drawn["input"]["bias"] = drawn["input"]["bias"] + added
            return drawn
        zeros = jax.tree.map(lambda shape: jnp.zeros(shape, jnp.float32), parts, is_leaf=_is_shape)
        zeros["input"]["kernel"] = jax.nn.initializers.lecun_normal()(next(keys), shapes["kernel"], jnp.float32)
        rotation = jax.nn.initializers.orthogonal()
        rotations = [rotation(next(keys), (units, units), jnp.float32) for _ in range(gates)]
        zeros["recurrent"]["kernel"] = jnp.concatenate(rotations, axis=1)
        if self.kind == "lstm":
            zeros["input"]["bias"] = zeros["input"]["bias"].at[units : 2 * units].set(1.0)
        candidate = {"vanilla": 0, "gru": 2, "lstm": 2}[self.kind] * units
        zeros["input"]["bias"] = zeros["input"]["bias"].at[candidate : candidate + units].set(candidate_bias)
        return zeros

    def step(self, params: Any, state: jax.Array, inputs: jax.Array) -> jax.Array:
        """The next states, (…, state_size), given inputs, (…, num_inputs)."""
        return _forward(self.kind, params, _columns(state), _columns(inputs))[0].T.reshape(state.shape)

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
        # In the recurrence the batch is the last axis: small layers then still fill a CPU's vectors.
        before = jnp.zeros((self.state_size, inputs.shape[1]), inputs.dtype) if state is None else state.T
        keeps = None if starts is None else (~starts).astype(inputs.dtype)
        own = {part: params[part] for part in ("input", "recurrent")}
        return jnp.swapaxes(_unroll(self.kind, own, jnp.swapaxes(inputs, 1, 2), keeps, before), 1, 2)

    def hidden(self, states: jax.Array) -> jax.Array:
        """The hidden activity of states, (…, H)."""
        return states[..., : self.num_units]


def _columns(array: jax.Array) -> jax.Array:
    return array.reshape(-1, array.shape[-1]).T


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple)


# --- one step, and back -------------------------------------------------------------------------------------------------------


def _forward(kind: str, params: Any, state: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A step, for states (S, B) and inputs (F, B): the next states, and what the way back needs, (…, B)."""
    recurrent = params["recurrent"]
    units = recurrent["kernel"].shape[0]
    hidden = state[:units]
    from_inputs = params["input"]["kernel"].T @ inputs + params["input"]["bias"][:, None]
    from_hidden = recurrent["kernel"].T @ hidden
    if kind == "vanilla":
        following = jnp.tanh(from_inputs + from_hidden)
        return following, following
    if kind == "gru":
        reset, keep = _thirds(jax.nn.sigmoid(from_inputs[: 2 * units] + from_hidden[: 2 * units]), units)
        candidate = from_hidden[2 * units :] + recurrent["bias"][:, None]
        new = jnp.tanh(from_inputs[2 * units :] + reset * candidate)
        return new + keep * (hidden - new), jnp.concatenate([reset, keep, new, candidate])
    # One function for all gates: σ(x) = ½ + ½ tanh(x/2).
    is_candidate = (jnp.arange(4 * units) // units == 2)[:, None]
    gates = jnp.tanh((from_inputs + from_hidden) * jnp.where(is_candidate, 1.0, 0.5))
    gates = jnp.where(is_candidate, gates, 0.5 + 0.5 * gates)
    enter, forget, candidate, show = _thirds(gates, units)
    memory = forget * state[units:] + enter * candidate
    return jnp.concatenate([show * jnp.tanh(memory), memory]), gates


def _backward(
    kind: str, recurrent: Any, d_after: jax.Array, before: jax.Array, after: jax.Array, saved: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The way back through a step, all (…, B).

    Args:
        kind: The cell.
        recurrent: Its recurrent parameters.
        d_after: Gradient of the states after the step.
        before: States before it.
        after: States after it.
        saved: What :func:`_forward` gave for this.

    Returns:
        Gradients of the states before, of what inputs contribute, and of what hidden units contribute.
    """
    units = recurrent["kernel"].shape[0]
    if kind == "vanilla":
        total = d_after * (1 - jnp.square(saved))
        return recurrent["kernel"] @ total, total, total
    if kind == "gru":
        reset, keep, new, candidate = _thirds(saved, units)
        d_new = d_after * (1 - keep) * (1 - jnp.square(new))
        d_keep = d_after * (before - new) * keep * (1 - keep)
        d_reset = d_new * candidate * reset * (1 - reset)
        from_hidden = jnp.concatenate([d_reset, d_keep, d_new * reset])
        from_inputs = jnp.concatenate([d_reset, d_keep, d_new])
        return d_after * keep + recurrent["kernel"] @ from_hidden, from_inputs, from_hidden
    enter, forget, candidate, show = _thirds(saved, units)
    shown = jnp.tanh(after[units:])
    d_memory = d_after[units:] + d_after[:units] * show * (1 - jnp.square(shown))
    total = jnp.concatenate(
        [
            d_memory * candidate * enter * (1 - enter),
            d_memory * before[units:] * forget * (1 - forget),
            d_memory * enter * (1 - jnp.square(candidate)),
            d_after[:units] * shown * show * (1 - show),
        ]
    )
    return jnp.concatenate([recurrent["kernel"] @ total, d_memory * forget]), total, total


def _thirds(array: jax.Array, units: int) -> list[jax.Array]:
    """The gates of an array, (number·H, B)."""
    return [array[i : i + units] for i in range(0, len(array), units)]


# --- many steps, and back -----------------------------------------------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _unroll(kind: str, params: Any, inputs: jax.Array, keeps: jax.Array | None, before: jax.Array) -> jax.Array:
    """States after each step, (T, S, B), of inputs (T, F, B); ``keeps`` is 0 where an episode begins, else 1, (T, B)."""
    return _unroll_forward(kind, params, inputs, keeps, before)[0]


def _unroll_forward(
    kind: str, params: Any, inputs: jax.Array, keeps: jax.Array | None, before: jax.Array
) -> tuple[jax.Array, Any]:
    def step(state: jax.Array, row: tuple[jax.Array, Any]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        following, saved = _forward(kind, params, state if row[1] is None else state * row[1], row[0])
        return following, (following, saved)

    states, saved = lax.scan(step, before, (inputs, keeps))[1]
    return states, (params, inputs, keeps, before, states, saved)


def _unroll_backward(kind: str, residual: Any, d_states: jax.Array) -> tuple[Any, jax.Array, Any, jax.Array]:
    params, inputs, keeps, first, states, saved = residual
    recurrent = params["recurrent"]
    before = jnp.concatenate([first[None], states[:-1]])
    if keeps is not None:
        before = before * keeps[:, None]

    def step(d_later: jax.Array, row: tuple[Any, ...]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        d_own, start, *around = row
        d_before, from_inputs, from_hidden = _backward(kind, recurrent, d_own + d_later, *around)
        return d_before if start is None else d_before * start, (from_inputs, from_hidden)

    rows = (d_states, keeps, before, states, saved)
    d_first, (from_inputs, from_hidden) = lax.scan(step, jnp.zeros_like(first), rows, reverse=True)
    units = recurrent["kernel"].shape[0]
    d_params = {
        "input": {"kernel": jnp.einsum("tfb,tgb->fg", inputs, from_inputs), "bias": from_inputs.sum(axis=(0, 2))},
        "recurrent": {"kernel": jnp.einsum("thb,tgb->hg", before[:, :units], from_hidden)},
    }
    if "bias" in recurrent:
        d_params["recurrent"]["bias"] = from_hidden[:, 2 * units :].sum(axis=(0, 2))
    d_inputs = jnp.einsum("fg,tgb->tfb", params["input"]["kernel"], from_inputs)  # not computed where nobody asks for it
    return d_params, d_inputs, None if keeps is None else jnp.zeros_like(keeps), d_first


_unroll.defvjp(_unroll_forward, _unroll_backward)
