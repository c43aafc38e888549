"""How the state of a network moves by itself: where it comes to rest, how stable that is, and how long it remembers.

Under a constant input x the state moves by h′ = F(h, x). Points where it stays are found by search, as by Sussillo and Barak
(*Opening the black box*, Neural Computation 2013): from many states that the network has visited, the speed
q(h) = ½ ‖F(h, x) − h‖² is minimised. What comes near a fixed point goes to it where all eigenvalues of ∂F/∂h are within the
unit circle, and in about −1/ln|λ| steps for the largest of them.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax

from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.core.recurrent import Cell
from mbrl_agents.value_rnn import reading
from mbrl_agents.value_rnn.agent import ValueRNN
from mbrl_agents.value_rnn.analysis.readout import clone
from mbrl_agents.value_rnn.trial_arrays import pad
from mbrl_envs.checks import integer_in, number_in

_LOWEST, _HIGHEST = 1e-12, 1e6  # of the damping


class FixedPoints(NamedTuple):
    """K fixed points, those that most starts came to first.

    Attributes:
        states: Where, float64 (K, S); of an LSTM hidden units and cells.
        speeds: q there, float64 (K,).
        eigenvalues: Of the Jacobian ∂F/∂h, complex (K, S), the largest in magnitude first.
        counts: Starts that came to each, int (K,).
        num_lost: Starts that came to none.
    """

    states: np.ndarray
    speeds: np.ndarray
    eigenvalues: np.ndarray
    counts: np.ndarray
    num_lost: int

    @property
    def stable(self) -> np.ndarray:
        """Whether small perturbations die out, bool (K,)."""
        return np.abs(self.eigenvalues[:, 0]) < 1

    @property
    def time_constants(self) -> np.ndarray:
        """Steps in which the slowest perturbation falls to 1/e, float64 (K,); infinite where it does not."""
        largest = np.abs(self.eigenvalues[:, 0])
        with np.errstate(divide="ignore"):
            return np.where(largest < 1, -1 / np.log(np.minimum(largest, 1)), np.inf)


def fixed_points(
    network: ValueRNN,
    starts: Any,
    inputs: Any = None,
    *,
    tolerance: float = 1e-9,
    separation: float = 1e-3,
    max_iterations: int = 500,
) -> FixedPoints:
    """Fixed points of a network under a constant input, by search (Levenberg–Marquardt steps on the speed, in float64).

    Args:
        network: A network that has been made for some observations.
        starts: States to begin from, (N, S); see :func:`visited_states`.
        inputs: The input, (F,); None for none, which is all 0.
        tolerance: Largest ‖F(h, x) − h‖ at which a point counts as fixed, above 0.
        separation: Distance within which two points count as one, above 0.
        max_iterations: Steps of the search, 1 to 100 000.

    Raises:
        ValueError: An argument is out of range or of another shape.
    """
    tolerance = number_in("tolerance", tolerance, 0, open_low=True)
    separation = number_in("separation", separation, 0, open_low=True)
    integer_in("max_iterations", max_iterations, 1, 100_000)
    cell: Cell = network.learner.network.cell
    begin = _shaped("starts", starts, (None, cell.state_size))
    shown = _shaped("inputs", np.zeros(cell.num_inputs) if inputs is None else inputs, (cell.num_inputs,))
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), network.learner_state.params)
        found = np.asarray(_search(cell)(params, jnp.asarray(begin), jnp.asarray(shown), tolerance, max_iterations))
        moved = np.asarray(cell.step(params, jnp.asarray(found), jnp.broadcast_to(shown, (len(found), len(shown)))))
        length = np.linalg.norm(moved - found, axis=1)
        fixed = np.flatnonzero(length <= tolerance)
        first, counts = _distinct(found[fixed], separation)
        states = found[fixed[first]]
        jacobians = np.asarray(_jacobians(cell)(params, jnp.asarray(states), jnp.asarray(shown)))
    eigenvalues = np.linalg.eigvals(jacobians).astype(complex)
    order = np.argsort(-np.abs(eigenvalues), axis=1, kind="stable")
    speeds = 0.5 * np.square(length[fixed[first]])
    return FixedPoints(states, speeds, np.take_along_axis(eigenvalues, order, axis=1), counts, len(found) - len(fixed))


def visited_states(network: ValueRNN, trials: Any, num: int = 32, seed: int = 0) -> np.ndarray:
    """States that a network is in during trials, drawn without replacement, float32 (N, S); all if there are fewer.

    Raises:
        TypeError, ValueError: They are no trials, or an argument is out of range.
    """
    num, seed = integer_in("num", num, 1, 2**31 - 1), integer_in("seed", seed, 0, 2**63)
    padded = pad(trials, rewarded=False)
    network.prepare(padded.num_features)
    visited = np.concatenate(reading.states(network.learner.network, network.learner_state, padded))
    rng = np.random.default_rng(seed)
    return visited[rng.choice(len(visited), min(num, len(visited)), replace=False)]


def memory(network: ValueRNN, num_steps: int = 1000, threshold: float = 1e-3) -> pd.DataFrame:
    """How long a cue or a reward is remembered: how far it moves the state from where it rests, and for how long.

    The network is at the fixed point that it comes to without input (or, if it comes to none, where it is after 1000 steps),
    sees one of its inputs for a step, and then nothing again.

    Args:
        network: A network that has been made for some observations.
        num_steps: Steps after the input, 1 to 100 000.
        threshold: Distance below which the state counts as back at rest, above 0.

    Returns:
        A row for each input and step: columns ``input`` (index of the feature), ``step`` (0 when it is shown), ``distance``
        (Euclidean, of the hidden units), ``duration`` (steps until the distance stays at or below the threshold; 0 if the input
        does not move the state that far, num_steps + 1 if it is not back by then).

    Raises:
        ValueError: An argument is out of range.
    """
    num_steps = integer_in("num_steps", num_steps, 1, 100_000)
    threshold = number_in("threshold", threshold, 0, open_low=True)
    cell: Cell = network.learner.network.cell
    width, params = cell.num_inputs, network.learner_state.params
    rest = np.asarray(_unroll(cell)(params, np.zeros((1000, 1, width), np.float32), None))[-1]
    found = fixed_points(network, rest)
    if len(found.states):
        rest = found.states.astype(np.float32)
    inputs = np.zeros((1 + num_steps, width, width), np.float32)
    inputs[0] = np.eye(width)
    after = np.asarray(_unroll(cell)(params, inputs, np.broadcast_to(rest, (width, cell.state_size))))
    distance = np.linalg.norm((after - rest)[..., : cell.num_units], axis=-1).T
    above = distance > threshold
    duration = np.where(above.any(axis=1), above.shape[1] - above[:, ::-1].argmax(axis=1), 0)
    steps = np.arange(num_steps + 1)
    return pd.concat(
        [pd.DataFrame({"input": i, "step": steps, "distance": distance[i], "duration": duration[i]}) for i in range(width)],
        ignore_index=True,
    )


def with_recurrent_gain(network: ValueRNN, gain: float) -> ValueRNN:
    """A copy of the network whose recurrent weights are ``gain`` times as large (those of all gates; biases stay).

    Args:
        network: A network that has been made for some observations.
        gain: The factor, at least 0.

    Raises:
        ValueError: It is out of range.
    """
    gain, copied = number_in("gain", gain, 0), clone(network)
    params = copied.learner_state.params
    recurrent = params["recurrent"] | {"kernel": params["recurrent"]["kernel"] * jnp.float32(gain)}
    copied.change_run(learner=copied.learner_state._replace(params=params | {"recurrent": recurrent}))
    return copied


@functools.lru_cache(maxsize=64)
def _search(cell: Cell) -> Any:
    """Levenberg–Marquardt from many states, (N, S), until all are as slow as the tolerance."""

    def search(params: Any, starts: jax.Array, inputs: jax.Array, tolerance: jax.Array, iterations: jax.Array) -> jax.Array:
        def residual(state: jax.Array) -> jax.Array:
            return cell.step(params, state, inputs) - state

        @jax.vmap
        def improve(state: jax.Array, damping: jax.Array) -> tuple[jax.Array, jax.Array]:
            error, slopes = residual(state), jax.jacfwd(residual)(state)
            move = jnp.linalg.solve(slopes.T @ slopes + damping * jnp.eye(len(state)), -slopes.T @ error)
            better = jnp.square(residual(state + move)).sum() < jnp.square(error).sum()
            damping = jnp.clip(damping * jnp.where(better, 0.2, 5.0), _LOWEST, _HIGHEST)
            return jnp.where(better, state + move, state), damping

        def goes_on(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            speed = jnp.linalg.norm(jax.vmap(residual)(carry[0]), axis=1)
            return (carry[2] < iterations) & (speed > 0.1 * tolerance).any()

        first = (starts, jnp.full(len(starts), 1e-2), jnp.int32(0))
        return lax.while_loop(goes_on, lambda carry: (*improve(carry[0], carry[1]), carry[2] + 1), first)[0]

    return plain_jit(search)


@functools.lru_cache(maxsize=64)
def _jacobians(cell: Cell) -> Any:
    def jacobian(params: Any, state: jax.Array, inputs: jax.Array) -> jax.Array:
        return jax.jacfwd(lambda state: cell.step(params, state, inputs))(state)

    return plain_jit(jax.vmap(jacobian, in_axes=(None, 0, None)))


@functools.lru_cache(maxsize=64)
def _unroll(cell: Cell) -> Any:
    return plain_jit(lambda params, inputs, state: cell.unroll(params, inputs, None, state))


def _distinct(points: np.ndarray, separation: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices of points that are apart, and how many are at each, the most frequent first."""
    kept: list[int] = []
    counts: list[int] = []
    for i, point in enumerate(points):
        near = np.flatnonzero(np.linalg.norm(points[kept] - point, axis=1) <= separation)
        if len(near):
            counts[near[0]] += 1
        else:
            kept.append(i)
            counts.append(1)
    order = np.argsort(-np.array(counts, int), kind="stable")
    return np.array(kept, int)[order], np.array(counts, int)[order]


def _shaped(name: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be an array of numbers, got {type(value).__name__}") from None
    wanted = "(" + ", ".join("N" if each is None else str(each) for each in shape) + ("," if len(shape) == 1 else "") + ")"
    if array.ndim != len(shape) or any(w not in (None, n) for w, n in zip(shape, array.shape, strict=False)) or not array.size:
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers, got NaN or infinity")
    return array
