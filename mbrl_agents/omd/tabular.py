"""Optimal Model Design in finite MDPs: which model of bounded size is best for return, and which for likelihood?

A model is θ = (logits, rewards), its transitions are softmax(logits / c). Q*(θ) is the fixed point of its soft Bellman
operator,

    (B Q)(s, a) = r_θ(s, a) + γ Σ_s' p_θ(s' | s, a) · α log Σ_a' exp(Q(s', a') / α),

and its policy is softmax(Q / α). OMD maximises that policy's return J in the true MDP, through the fixed point (Nikishin et al.
2022, arXiv 2106.03273); MLE maximises the likelihood of the true transitions and fits the rewards. Both step with Adam and are
projected on ‖(logits / c, rewards)‖ ≤ b after every step, so that b says how much a model can hold.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from mbrl_agents.omd.implicit import implicit_gradient
from mbrl_agents.omd.linear_solvers import LinearSolver
from mbrl_envs.checks import integer_in, number_in, one_of, set_frozen

LOSSES, PROJECTIONS = ("omd", "mle"), ("joint", "per_array")
_NEWTON_STEPS, _NEWTON_TOLERANCE = 30, 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class FiniteMDP:
    """A Markov decision process with S states and A actions.

    Args:
        transitions: P(s' | s, a), (A, S, S), rows sum to 1.
        rewards: r(s, a), (S, A).
        gamma: Discount factor, at least 0 and below 1.
        start: Probability of each state at the start, (S,); None for equal ones.

    Raises:
        ValueError: Shapes do not fit, numbers are not finite, or probabilities do not sum to 1.
    """

    transitions: np.ndarray
    rewards: np.ndarray
    gamma: float = 0.9
    start: np.ndarray | None = None

    def __post_init__(self) -> None:
        transitions, rewards = np.asarray(self.transitions, float), np.asarray(self.rewards, float)
        if rewards.ndim != 2 or transitions.shape != (rewards.shape[1], rewards.shape[0], rewards.shape[0]):
            raise ValueError(
                "transitions must have shape (actions, states, states) and rewards (states, actions), "
                f"got {transitions.shape} and {rewards.shape}"
            )
        states = rewards.shape[0]
        start = np.full(states, 1 / states) if self.start is None else np.asarray(self.start, float)
        for name, each in (("transitions", transitions), ("start", start)):
            if not np.isfinite(each).all() or (each < 0).any() or not np.allclose(each.sum(axis=-1), 1, atol=1e-6):
                raise ValueError(f"{name} must be probabilities that sum to 1 in every row, got {each.tolist()}")
        if start.shape != (states,) or not np.isfinite(rewards).all():
            raise ValueError(f"start must have shape ({states},) and rewards be finite, got {start.shape}, {rewards.tolist()}")
        gamma = number_in("gamma", self.gamma, 0, 1, open_high=True)
        set_frozen(self, transitions=transitions, rewards=rewards, gamma=gamma, start=start)


def two_states() -> FiniteMDP:
    """The MDP of the published study: two states, two actions, best return 1.02727."""
    transitions = np.array([[[0.7, 0.3], [0.2, 0.8]], [[0.99, 0.01], [0.99, 0.01]]])
    return FiniteMDP(transitions, np.array([[-0.45, -0.1], [0.5, 0.5]]), 0.9)


class Model(NamedTuple):
    """A model's parameters: logits (A, S, S), to be divided by their scale, and rewards (S, A)."""

    logits: jax.Array
    rewards: jax.Array


class TabularResult(NamedTuple):
    """Models for each bound and seed.

    Attributes:
        returns: J of their policies in the true MDP, float (bounds, seeds).
        models: Parameters, leaves (bounds, seeds, …).
        q_values: Their soft optimal action values, (bounds, seeds, S, A).
        fallbacks: Steps whose linear system had no finite solution, int (bounds, seeds).
    """

    returns: np.ndarray
    models: Model
    q_values: np.ndarray
    fallbacks: np.ndarray


def solve(
    mdp: FiniteMDP,
    *,
    model_loss: str,
    norm_bound: Any,
    projection: str = "joint",
    seeds: int = 1,
    num_steps: int = 10_000,
    learning_rate: float = 0.01,
    temperature: float = 0.01,
    logit_scale: float = 0.01,
    solver: LinearSolver | None = None,
    inner_noise: float = 0.0,
) -> TabularResult:
    """Trains models, for many bounds and seeds in one program.

    Args:
        mdp: The true MDP.
        model_loss: ``"omd"`` or ``"mle"``.
        norm_bound: b, a number above 0 or a list of such.
        projection: ``"joint"``: all parameters together are projected on the ball, as the paper has it. ``"per_array"``: as the
            published code does: each array on a ball of its own, in whose norm the first slice is divided by the scale and all
            others are not.
        seeds: Number of seeds: parameters begin uniform in [0, 1].
        num_steps: Steps of Adam.
        learning_rate: Its step size, at least 0.
        temperature: α, above 0.
        logit_scale: c, above 0.
        solver: Of the linear system in the implicit gradient; None for a direct one.
        inner_noise: Standard deviation of Normal noise that is added to Q* before the gradient is taken, at least 0: how much
            an inexact inner solution hurts.

    Returns:
        Returns and models.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range.
    """
    one_of("model_loss", model_loss, LOSSES)
    one_of("projection", projection, PROJECTIONS)
    listed = list(norm_bound) if np.ndim(norm_bound) else [norm_bound]
    bounds = np.array([number_in("norm_bound", each, 0, open_low=True) for each in listed], np.float32)
    program = _Program(
        mdp,
        model_loss,
        projection,
        integer_in("num_steps", num_steps, 1, 2**31 - 1),
        number_in("learning_rate", learning_rate, 0),
        number_in("temperature", temperature, 0, open_low=True),
        number_in("logit_scale", logit_scale, 0, open_low=True),
        solver or LinearSolver("direct", damping=0.0),
        number_in("inner_noise", inner_noise, 0),
    )
    keys = jax.vmap(jax.random.PRNGKey)(jnp.arange(integer_in("seeds", seeds, 1, 10**6)))
    over_seeds = jax.vmap(program.run, in_axes=(None, 0))
    returns, model, q_values, fallbacks = jax.jit(jax.vmap(over_seeds, in_axes=(0, None)))(bounds, keys)
    return TabularResult(np.asarray(returns), jax.tree.map(np.asarray, model), np.asarray(q_values), np.asarray(fallbacks))


# --- the parts ----------------------------------------------------------------------------------------------------------------


def soft_bellman(
    q_values: jax.Array, transitions: jax.Array, rewards: jax.Array, gamma: float, temperature: float
) -> jax.Array:
    """B Q, the soft Bellman operator at action values.

    Args:
        q_values: Q, (S, A).
        transitions: Probabilities of (a, s, s′), (A, S, S).
        rewards: (S, A).
        gamma: Discount factor γ, in [0, 1).
        temperature: α, above 0.

    Returns:
        r + γ Σ_s′ P(s′ | s, a) α log Σ_a′ exp(Q(s′, a′) / α), (S, A), of Q's dtype.
    """
    values = temperature * jax.nn.logsumexp(q_values / temperature, axis=-1)
    return rewards + gamma * jnp.einsum("ast,t->sa", transitions, values)


def soft_q_values(
    transitions: jax.Array, rewards: jax.Array, gamma: float, temperature: float, guess: jax.Array | None = None
) -> jax.Array:
    """The fixed point of the soft Bellman operator, (S, A), by Newton's method on values (soft policy iteration).

    Args:
        transitions: (A, S, S).
        rewards: (S, A).
        gamma: γ.
        temperature: α.
        guess: Values to begin with, (S, A).
    """
    states = rewards.shape[0]

    def q_of(values: jax.Array) -> jax.Array:
        return rewards + gamma * jnp.einsum("ast,t->sa", transitions, values)

    def values_of(q_values: jax.Array) -> jax.Array:
        return temperature * jax.nn.logsumexp(q_values / temperature, axis=-1)

    def step(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        values, _, i = carry
        q_values = q_of(values)
        missing = values_of(q_values) - values
        policy = jax.nn.softmax(q_values / temperature, axis=-1)
        chain = jnp.einsum("sa,ast->st", policy, transitions)
        return values + jnp.linalg.solve(jnp.eye(states) - gamma * chain, missing), jnp.abs(missing).max(), i + 1

    def goes_on(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        return (carry[1] > _NEWTON_TOLERANCE) & (carry[2] < _NEWTON_STEPS)

    first = jnp.zeros(states) if guess is None else values_of(guess)
    return q_of(lax.while_loop(goes_on, step, (first, jnp.float32(jnp.inf), jnp.int32(0)))[0])


def policy_return(mdp: FiniteMDP, q_values: jax.Array, temperature: float) -> jax.Array:
    """J: the discounted return from the start under softmax(Q / α), in the true MDP."""
    policy = jax.nn.softmax(q_values / temperature, axis=-1)
    chain = jnp.einsum("sa,ast->st", policy, jnp.asarray(mdp.transitions))
    gain = (policy * jnp.asarray(mdp.rewards)).sum(axis=-1)
    return jnp.asarray(mdp.start) @ jnp.linalg.solve(jnp.eye(len(gain)) - mdp.gamma * chain, gain)


def project(model: Model, bound: jax.Array, scale: float, projection: str) -> Model:
    """The model, moved to the ball of radius ``bound`` if it is outside; see :func:`solve`."""
    if projection == "joint":
        norm = jnp.sqrt(jnp.square(model.logits / scale).sum() + jnp.square(model.rewards).sum())
        return jax.tree.map(lambda each: each * jnp.minimum(1, bound / norm), model)

    def own(each: jax.Array) -> jax.Array:
        norm = jnp.sqrt(jnp.square(each[0] / scale).sum() + jnp.square(each[1:]).sum())
        return each * jnp.minimum(1, bound / norm)

    return jax.tree.map(own, model)


@dataclasses.dataclass(frozen=True, eq=False)
class _Program:
    mdp: FiniteMDP
    model_loss: str
    projection: str
    num_steps: int
    learning_rate: float
    temperature: float
    logit_scale: float
    solver: LinearSolver
    inner_noise: float

    def run(self, bound: jax.Array, key: jax.Array) -> tuple[jax.Array, Model, jax.Array, jax.Array]:
        """One bound, one seed."""
        actions, states = self.mdp.transitions.shape[:2]
        logits_key, rewards_key, noise_key = jax.random.split(key, 3)
        logits = jax.random.uniform(logits_key, (actions, states, states))
        model = Model(logits, jax.random.uniform(rewards_key, (states, actions)))
        adam = optax.adam(self.learning_rate)

        def step(i: jax.Array, carry: tuple[Model, Any, jax.Array, jax.Array]) -> tuple[Model, Any, jax.Array, jax.Array]:
            model, state, q_values, fallbacks = carry
            if self.model_loss == "mle":
                gradient, fell_back = jax.grad(self._likelihood_loss)(model), jnp.bool_(False)
            else:
                q_values = self._q_values(model, q_values)
                gradient, fell_back = self._omd_gradient(model, q_values, jax.random.fold_in(noise_key, i))
            moves, state = adam.update(gradient, state, model)
            moved = optax.apply_updates(model, moves)
            return project(moved, bound, self.logit_scale, self.projection), state, q_values, fallbacks + fell_back

        first = (model, adam.init(model), jnp.zeros((states, actions)), jnp.int32(0))
        model, _, q_values, fallbacks = lax.fori_loop(0, self.num_steps, step, first)
        q_values = self._q_values(model, q_values)
        return policy_return(self.mdp, q_values, self.temperature), model, q_values, fallbacks

    def _q_values(self, model: Model, guess: jax.Array) -> jax.Array:
        transitions = jax.nn.softmax(model.logits / self.logit_scale, axis=-1)
        return soft_q_values(transitions, model.rewards, self.mdp.gamma, self.temperature, guess)

    def _omd_gradient(self, model: Model, q_values: jax.Array, key: jax.Array) -> tuple[Model, jax.Array]:
        def optimality(q_values: jax.Array, model: Model) -> jax.Array:
            transitions = jax.nn.softmax(model.logits / self.logit_scale, axis=-1)
            return q_values - soft_bellman(q_values, transitions, model.rewards, self.mdp.gamma, self.temperature)

        noisy = q_values + self.inner_noise * jax.random.normal(key, q_values.shape) if self.inner_noise else q_values
        outer = functools.partial(policy_return, self.mdp, temperature=self.temperature)
        found = implicit_gradient(lambda q, _: -outer(q_values=q), optimality, noisy, model, self.solver)
        return found.gradient, found.fell_back

    def _likelihood_loss(self, model: Model) -> jax.Array:
        """Mean over states and actions of the cross-entropy of transitions and the squared error of rewards."""
        likely = jax.nn.log_softmax(model.logits / self.logit_scale, axis=-1)
        entropy = -(jnp.asarray(self.mdp.transitions) * likely).sum(axis=-1).mean()
        return entropy + jnp.square(model.rewards - jnp.asarray(self.mdp.rewards)).mean()
