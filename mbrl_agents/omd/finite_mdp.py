"""Finite MDPs, their soft Bellman operator and its fixed point, and the return of policies in them.

With temperature α the operator is

    (B Q)(s, a) = r(s, a) + γ Σ_s' P(s' | s, a) · α log Σ_a' exp(Q(s', a') / α),

a contraction by γ in the largest difference; its fixed point Q* belongs to the policy softmax(Q* / α) (Nikishin et al. 2022,
arXiv 2106.03273). All functions are pure and follow the dtype of what they get.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mbrl_agents.core.returns import soft_value
from mbrl_envs.checks import number_in, set_frozen

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
    return action_values(soft_value(q_values, temperature), transitions, rewards, gamma)


def action_values(values: jax.Array, transitions: jax.Array, rewards: jax.Array, gamma: float) -> jax.Array:
    """Q(s, a) = r(s, a) + γ Σ_s′ P(s′ | s, a) V(s′), (S, A), of values V (S,); the rest as for :func:`soft_bellman`."""
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

    def step(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        values, _, i = carry
        q_values = action_values(values, transitions, rewards, gamma)
        missing = soft_value(q_values, temperature) - values
        policy = jax.nn.softmax(q_values / temperature, axis=-1)
        slope = jnp.eye(states, dtype=values.dtype) - gamma * jnp.einsum("sa,ast->st", policy, transitions)
        return values + jnp.linalg.solve(slope, missing), jnp.abs(missing).max(), i + 1

    def unsolved(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        return (carry[1] > _NEWTON_TOLERANCE) & (carry[2] < _NEWTON_STEPS)

    first = jnp.zeros(states, rewards.dtype) if guess is None else soft_value(guess, temperature)
    values, _, _ = lax.while_loop(unsolved, step, (first, jnp.full((), jnp.inf, first.dtype), jnp.int32(0)))
    return action_values(values, transitions, rewards, gamma)


def policy_return(mdp: FiniteMDP, q_values: jax.Array, temperature: float) -> jax.Array:
    """J: the discounted return from the start under softmax(Q / α), of action values Q (S, A), in the true MDP; a scalar."""
    policy = jax.nn.softmax(q_values / temperature, axis=-1)
    chain = jnp.einsum("sa,ast->st", policy, jnp.asarray(mdp.transitions))
    gain = (policy * jnp.asarray(mdp.rewards)).sum(axis=-1)
    return jnp.asarray(mdp.start) @ jnp.linalg.solve(jnp.eye(len(gain)) - mdp.gamma * chain, gain)


def bellman_residual(mdp: FiniteMDP, q_values: jax.Array, temperature: float) -> jax.Array:
    """Q − B Q with the true MDP's soft Bellman operator, (S, A); 0 for the optimal values alone."""
    transitions, rewards = jnp.asarray(mdp.transitions), jnp.asarray(mdp.rewards)
    return q_values - soft_bellman(q_values, transitions, rewards, mdp.gamma, temperature)
