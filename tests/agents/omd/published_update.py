"""One update of OMD, MLE or VEP, written from the equations alone: plain arrays in float64, none of the agents' code.

Everything is for twin Q-networks, a deterministic model and real-valued observations. Networks are lists of (kernel, bias),
with ReLUs between the layers. Only derivatives are JAX's.

* y(r, s', d) = r + γ (1 − d) α log Σ_a exp(min_i Q⁻_i(s', a) / α)
* L(w; r, s') = Σ_i mean (Q_i(s, a) − y(r, s', d))²
* OMD: w ← Adam on L(w; r̂, ŝ'), Adam's state zero before every update; Q⁻ ← Q⁻ + τ (Q − Q⁻); then, with the new w and Q⁻,
  g = −(∂L(w; r, s')/∂w) A⁻¹ ∂²L(w; r̂, ŝ')/∂w∂θ with A = ∂²L(w; r̂, ŝ')/∂w² + δI, or I in its place; θ ← Adam on g.
* MLE, VEP: θ ← Adam on mean ‖ŝ' − s'‖² (VEP: mean Σ_k (V_k(ŝ') − V_k(s'))²) + mean (r̂ − r)²; then, on another batch and with
  an Adam that goes on, w and Q⁻ as above.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

Network = list[tuple[Any, Any]]


class Data(NamedTuple):
    """Transitions: (n, f), (n,) integers, (n,), (n, f), (n,) booleans."""

    observation: Any
    action: Any
    reward: Any
    next_observation: Any
    terminated: Any


class Adam(NamedTuple):
    """Moments of Kingma & Ba 2015 as vectors, and the number of steps."""

    mean: Any
    square: Any
    steps: int

    @classmethod
    def fresh(cls, tree: Any) -> Adam:
        """Zeros."""
        zeros = jnp.zeros_like(ravel_pytree(tree)[0])
        return cls(zeros, zeros, 0)

    def step(self, tree: Any, gradient: Any, rate: float) -> tuple[Any, Adam]:
        """One step, β = (.9, .999), ε = 1e-8."""
        flat, unravel = ravel_pytree(tree)
        slope, n = ravel_pytree(gradient)[0], self.steps + 1
        mean, square = 0.9 * self.mean + 0.1 * slope, 0.999 * self.square + 0.001 * slope**2
        direction = (mean / (1 - 0.9**n)) / (jnp.sqrt(square / (1 - 0.999**n)) + 1e-8)
        return unravel(flat - rate * direction), Adam(mean, square, n)


class Learned(NamedTuple):
    """What an update changes: pairs of networks, the model's two networks, and both optimisers."""

    values: list[Network]
    targets: list[Network]
    model: dict[str, Network]
    values_adam: Adam
    model_adam: Adam


class Settings(NamedTuple):
    """Numbers of the update."""

    gamma: float
    alpha: float
    tau: float
    rate: float
    model_rate: float
    inner_steps: int
    num_actions: int
    damping: float | None = None  # None: the identity in place of the inverse Hessian


def run(network: Network, inputs: Any) -> Any:
    """A network's outputs."""
    for kernel, bias in network[:-1]:
        inputs = jnp.maximum(inputs @ kernel + bias, 0)
    return inputs @ network[-1][0] + network[-1][1]


def predicted(model: dict[str, Network], data: Data, num_actions: int) -> tuple[Any, Any]:
    """r̂ and ŝ'."""
    inputs = jnp.concatenate([data.observation, jnp.eye(num_actions)[data.action]], axis=1)
    return run(model["reward"], inputs)[:, 0], run(model["observation"], inputs)


def td_loss(values: list[Network], targets: list[Network], data: Data, reward: Any, following: Any, given: Settings) -> Any:
    """L(w; r, s')."""
    least = jnp.minimum(run(targets[0], following), run(targets[1], following))
    soft = given.alpha * jax.scipy.special.logsumexp(least / given.alpha, axis=1)
    wanted = reward + given.gamma * jnp.where(data.terminated, 0.0, soft)
    rows = jnp.arange(len(wanted))
    return sum(jnp.mean((run(each, data.observation)[rows, data.action] - wanted) ** 2) for each in values)


def learn_values(learned: Learned, data: Data, given: Settings) -> Learned:
    """``inner_steps`` steps of the Q-networks on what the model predicts, each followed by a move of the targets."""
    values, targets, adam = learned.values, learned.targets, learned.values_adam
    reward, following = predicted(learned.model, data, given.num_actions)
    for _ in range(given.inner_steps):
        slope = jax.grad(td_loss)(values, targets, data, reward, following, given)
        values, adam = adam.step(values, slope, given.rate)
        targets = jax.tree.map(lambda old, new: old + given.tau * (new - old), targets, values)
    return learned._replace(values=values, targets=targets, values_adam=adam)


def omd_gradient(learned: Learned, data: Data, given: Settings) -> Any:
    """The model's gradient at the Q-networks and targets there are."""
    flat, unravel = ravel_pytree(learned.values)

    def model_loss(weights: Any, model: Any) -> Any:
        reward, following = predicted(model, data, given.num_actions)
        return td_loss(unravel(weights), learned.targets, data, reward, following, given)

    def true_loss(weights: Any) -> Any:
        return td_loss(unravel(weights), learned.targets, data, data.reward, data.next_observation, given)

    right = jax.grad(true_loss)(flat)
    if given.damping is not None:
        hessian = jax.jacfwd(jax.grad(model_loss))(flat, learned.model)
        right = jnp.linalg.solve(hessian + given.damping * jnp.eye(len(flat)), right)
    mixed = jax.jacrev(jax.grad(model_loss), argnums=1)(flat, learned.model)
    return jax.tree.map(lambda rows: -jnp.tensordot(right, rows, 1), mixed)


def direct_loss(model: dict[str, Network], data: Data, given: Settings, fixed: list[Network] | None) -> Any:
    """The loss of a model under MLE, or with fixed value functions under VEP."""
    reward, following = predicted(model, data, given.num_actions)
    missed = following - data.next_observation
    if fixed is not None:
        missed = jnp.stack([run(each, following)[:, 0] - run(each, data.next_observation)[:, 0] for each in fixed], axis=1)
    return jnp.mean(jnp.sum(missed**2, axis=1)) + jnp.mean((reward - data.reward) ** 2)


def update(learned: Learned, first: Data, second: Data, loss: str, given: Settings, fixed: list[Network] | None) -> Learned:
    """One update; ``"omd"`` uses the first batch only."""
    if loss == "omd":
        learned = learn_values(learned._replace(values_adam=Adam.fresh(learned.values)), first, given)
        slope = omd_gradient(learned, first, given)
    else:
        slope = jax.grad(direct_loss)(learned.model, first, given, fixed)
    model, model_adam = learned.model_adam.step(learned.model, slope, given.model_rate)
    learned = learned._replace(model=model, model_adam=model_adam)
    return learned if loss == "omd" else learn_values(learned, second, given)
