"""How wrong the values of a model are in the true MDP, and what bounds that without knowing the true values.

With B the true soft Bellman operator, a contraction by γ in the largest difference, every Q has

    ‖Q − Q*‖ ≤ ‖Q − B Q‖ / (1 − γ),

which is what OMD's outer loss is about. If Q is a model's fixed point, then Q − B Q = r̂ − r + γ Σ_s' (p̂ − p)(s') V̂(s'), so that
the model's errors alone, which MLE lessens, bound it as well, though from further above:

    ‖Q − B Q‖ ≤ max |r̂ − r| + γ max ½‖p̂ − p‖₁ · (max r̂ − min r̂ + α log A) / (1 − γ),

the last factor being the most by which values V̂ of two states can differ (Kearns & Singh 2002 call this the simulation lemma).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_agents.omd.tabular import FiniteMDP, Model, soft_bellman, soft_q_values


class ValueBounds(NamedTuple):
    """Largest differences over states and actions; each is at most the next.

    Attributes:
        error: ‖Q − Q*‖.
        by_residual: ‖Q − B Q‖ / (1 − γ).
        by_model: The bound from the errors of transitions and rewards.
    """

    error: float
    by_residual: float
    by_model: float


def value_bounds(
    mdp: FiniteMDP, model: Model, q_values: Any, *, temperature: float = 0.01, logit_scale: float = 0.01
) -> ValueBounds:
    """The error of a model's values, and two bounds of it.

    Args:
        mdp: The true MDP.
        model: The model, as :func:`~mbrl_agents.omd.tabular.solve` returns it: logits (A, S, S), rewards (S, A).
        q_values: Its fixed point, (S, A).
        temperature: α.
        logit_scale: c.
    """
    logits, rewards, q_values = (np.asarray(each) for each in (*model, q_values))
    error, residual, by_model = _errors(
        mdp.transitions, mdp.rewards, logits / logit_scale, rewards, q_values, mdp.gamma, temperature
    )
    room = 1 - mdp.gamma
    return ValueBounds(float(error), float(residual) / room, float(by_model) / room)


@jax.jit
def _errors(
    transitions: jax.Array,
    rewards: jax.Array,
    logits: jax.Array,
    told_rewards: jax.Array,
    q_values: jax.Array,
    gamma: float,
    temperature: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    best = soft_q_values(transitions, rewards, gamma, temperature)
    after = soft_bellman(q_values, transitions, rewards, gamma, temperature)
    span = (told_rewards.max() - told_rewards.min() + temperature * jnp.log(rewards.shape[1])) / (1 - gamma)
    missed = 0.5 * jnp.abs(jax.nn.softmax(logits, axis=-1) - transitions).sum(axis=-1).max()
    by_model = jnp.abs(told_rewards - rewards).max() + gamma * missed * span
    return jnp.abs(q_values - best).max(), jnp.abs(q_values - after).max(), by_model
