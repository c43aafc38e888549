"""How wrong the values of a model are in the true MDP, and what bounds that without knowing the true values.

With B the true soft Bellman operator, a contraction by γ in the largest difference, every Q has

    ‖Q − Q*‖ ≤ ‖Q − B Q‖ / (1 − γ),

whose right-hand side OMD's outer objective ``"bellman"`` lessens. If Q is a model's fixed point, then
Q − B Q = r̂ − r + γ Σ_s' (p̂ − p)(s') V̂(s'), so that the model's errors alone, which MLE lessens, bound it as well, though from
further above:

    ‖Q − B Q‖ ≤ max |r̂ − r| + γ max ½‖p̂ − p‖₁ · (max r̂ − min r̂ + α log A) / (1 − γ),

the last factor being the most by which values V̂ of two states can differ (Kearns & Singh 2002 call this the simulation lemma).
The published study (Nikishin et al. 2022, arXiv 2106.03273) bounds the error with r_max / (1 − γ) as the last factor:

    ‖Q − Q*‖ ≤ max |r̂ − r| / (1 − γ) + γ max ‖p̂ − p‖₁ r_max / (2 (1 − γ)²),

which holds where the true MDP's optimal values differ by at most r_max / (1 − γ), as they do if its rewards lie in [0, r_max].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.omd.finite_mdp import FiniteMDP, soft_bellman, soft_q_values
from mbrl_agents.omd.tabular import Model


class ValueBounds(NamedTuple):
    """Largest differences over states and actions; each of the first three is at most the next.

    Attributes:
        error: ‖Q − Q*‖.
        by_residual: ‖Q − B Q‖ / (1 − γ).
        by_model: The bound from the errors of transitions and rewards.
        by_model_as_published: The published bound from them, with r_max = max |r|; see above for where it holds.
    """

    error: float
    by_residual: float
    by_model: float
    by_model_as_published: float


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
    found = _errors(mdp.transitions, mdp.rewards, logits / logit_scale, rewards, q_values, mdp.gamma, temperature)
    error, *above = (float(each) for each in found)
    return ValueBounds(error, *(each / (1 - mdp.gamma) for each in above))


@plain_jit
def _errors(
    transitions: jax.Array,
    rewards: jax.Array,
    logits: jax.Array,
    told_rewards: jax.Array,
    q_values: jax.Array,
    gamma: float,
    temperature: float,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    best = soft_q_values(transitions, rewards, gamma, temperature)
    after = soft_bellman(q_values, transitions, rewards, gamma, temperature)
    span = (told_rewards.max() - told_rewards.min() + temperature * jnp.log(rewards.shape[1])) / (1 - gamma)
    missed = 0.5 * jnp.abs(jax.nn.softmax(logits, axis=-1) - transitions).sum(axis=-1).max()
    of_rewards = jnp.abs(told_rewards - rewards).max()
    published = of_rewards + gamma * missed * jnp.abs(rewards).max() / (1 - gamma)
    return jnp.abs(q_values - best).max(), jnp.abs(q_values - after).max(), of_rewards + gamma * missed * span, published
