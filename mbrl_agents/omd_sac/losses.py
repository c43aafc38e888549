"""The losses of soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905).

π is the actor, Q_i the critics, Q⁻_i the target critics, α the entropy coefficient. An action is a function of the actor's
parameters and of noise ε, which is an argument, so that gradients go through it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mbrl_agents.core import returns
from mbrl_agents.core.replay import Batch
from mbrl_agents.omd_sac.networks import Critics, SquashedGaussianActor


class Noise(NamedTuple):
    """Random numbers of one inner step.

    Attributes:
        action: ε of the actor at s, (n, a).
        next_action: ε of the actor at s′, (n, a).
        model: Raw key, for draws of a Gaussian model.
    """

    action: jax.Array
    next_action: jax.Array
    model: jax.Array


def ent_coef_loss(log_ent_coef: jax.Array, log_prob: jax.Array, target_entropy: jax.Array) -> jax.Array:
    """J(log α) = −log α · mean(log π(a|s) + H), as Stable-Baselines3 has it.

    Args:
        log_ent_coef: log α.
        log_prob: log π of actions drawn in the batch's states, (n,).
        target_entropy: H.
    """
    return -log_ent_coef * (lax.stop_gradient(log_prob) + target_entropy).mean()


def critic_targets(
    target_params: Any,
    actor_params: Any,
    ent_coef: jax.Array,
    batch: Batch,
    noise: jax.Array,
    actor: SquashedGaussianActor,
    critics: Critics,
) -> jax.Array:
    """The critics' targets y = r + γ(1 − d) [min_i Q⁻_i(s′, a′) − α log π(a′|s′)], a′ ~ π(s′); (n,).

    Differentiable in r and in the s′ that the critics see, which a model may have predicted; the actor sees s′ as a constant.

    Args:
        target_params: Parameters of the target critics.
        actor_params: Parameters of the actor.
        ent_coef: α.
        batch: Real or predicted transitions.
        noise: ε of a′, (n, a).
        actor: The actor.
        critics: The critics.
    """
    action, log_prob = actor.sample(actor_params, lax.stop_gradient(batch.next_observation), noise)
    values = critics.values(target_params, batch.next_observation, action).min(axis=0)
    return returns.td_target(batch.reward, batch.discount, values - ent_coef * log_prob)


def critic_loss(params: Any, batch: Batch, targets: jax.Array, critics: Critics) -> jax.Array:
    """J(w) = ½ Σ_i mean (Q_i(s, a) − y)², for given targets y (n,)."""
    return 0.5 * jnp.square(critics.values(params, batch.observation, batch.action) - targets).mean(axis=-1).sum()


def actor_loss(
    params: Any,
    critic_params: Any,
    ent_coef: jax.Array,
    batch: Batch,
    noise: jax.Array,
    actor: SquashedGaussianActor,
    critics: Critics,
) -> jax.Array:
    """J(π) = mean [α log π(a|s) − min_i Q_i(s, a)], a ~ π(s).

    Args:
        params: Parameters of the actor.
        critic_params: Parameters of the critics.
        ent_coef: α.
        batch: The transitions, of which only s is used.
        noise: ε of a, (n, a).
        actor: The actor.
        critics: The critics.
    """
    action, log_prob = actor.sample(params, batch.observation, noise)
    return ent_coef * log_prob.mean() - critics.values(critic_params, batch.observation, action).min(axis=0).mean()
