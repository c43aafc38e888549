"""Losses: TD errors of Q-networks on real or predicted steps, and those of models that are not trained for return.

Losses of a model (likelihood, values of fixed functions, values of the present one) take predictions and the transitions as
they really were, and return the mean over these. How well rewards are predicted is part of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mbrl_agents.core import returns
from mbrl_agents.core.replay import Batch
from mbrl_agents.omd.dynamics_model import Prediction
from mbrl_agents.omd.networks import Networks

MODEL_LOSSES = ("omd", "mle", "vep", "vagram")


def td_loss(params: Any, target_params: Any, batch: Batch, temperature: jax.Array, networks: Networks) -> jax.Array:
    """The squared TD errors of all Q-networks, L(w) = Σ_i mean (Q_i(s, a) − y)² with y = r + γ(1 − d) V⁻(s′).

    On real transitions it is L_true(w). On those in which a model has predicted r and s′ it is L_model(w, θ), differentiable in
    the model's parameters θ, too: no gradient is stopped.

    Args:
        params: Parameters w of the Q-networks.
        target_params: Those of the target networks, whose value is V⁻.
        batch: The transitions; which ends are final is in ``discount``.
        temperature: α of V⁻.
        networks: The Q-networks.
    """
    next_value = networks.state_value(target_params, batch.next_observation, temperature)
    target = returns.td_target(batch.reward, batch.discount, next_value)
    taken = jax.nn.one_hot(batch.action, networks.outputs, dtype=batch.reward.dtype)
    values = (networks.values(params, batch.observation) * taken).sum(axis=-1)
    return jnp.square(values - target).mean(axis=-1).sum()


def model_loss(
    params: Any,
    batch: Batch,
    key: jax.Array,
    predict: Callable[[Any, Batch], Prediction],
    kind: str,
    values: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """The loss of a model on real transitions.

    Args:
        params: Parameters θ of the model.
        batch: The transitions.
        key: Raw key, for draws of a Gaussian model.
        predict: What the model with given parameters predicts of a batch.
        kind: ``"mle"``, ``"vep"`` or ``"vagram"``.
        values: The value functions of the last two, of features.
    """
    prediction = predict(params, batch)
    if kind == "mle":
        return likelihood(prediction, batch)
    by_values = value_equivalence if kind == "vep" else value_gradient
    return by_values(prediction, batch, key, values)


def likelihood(prediction: Prediction, batch: Batch) -> jax.Array:
    """Maximum likelihood: squared errors ‖ŝ′ − s′‖², or the negative log-likelihood of a Gaussian model.

    Of bits and of a Discrete observation it is the cross-entropy, −Σ log p.
    """
    if prediction.log_on is not None:
        likely = batch.next_observation * prediction.log_on
        if prediction.log_off is not None:
            likely += (1 - batch.next_observation) * prediction.log_off
        return -likely.sum(axis=-1).mean() + _reward(prediction, batch)
    miss = jnp.square(prediction.mean - batch.next_observation)
    if prediction.log_std is not None:
        miss = 0.5 * miss * jnp.exp(-2 * prediction.log_std) + prediction.log_std
    return miss.sum(axis=-1).mean() + _reward(prediction, batch)


def value_equivalence(
    prediction: Prediction, batch: Batch, key: jax.Array, values: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """Value equivalence (Grimm et al. 2020, arXiv 2011.03506): Σ_k (V_k(ŝ′) − V_k(s′))² for given value functions.

    Args:
        prediction: The predictions.
        batch: What came.
        key: Raw key, for draws of a Gaussian model.
        values: The functions, features (n, f) to values (K, n).
    """
    miss = values(prediction.draw(key)) - values(batch.next_observation)
    return jnp.square(miss).sum(axis=0).mean() + _reward(prediction, batch)


def value_gradient(prediction: Prediction, batch: Batch, key: jax.Array, value: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Value-gradient-weighted errors (VaGraM; Voelcker et al. 2022, arXiv 2204.01464): Σ_d (∂V/∂s′_d)² (ŝ′_d − s′_d)².

    Args:
        prediction: The predictions.
        batch: What came.
        key: Raw key, for draws of a Gaussian model.
        value: The present value function, features (n, f) to values (n,); its gradient is taken at the real s′.
    """
    slope = jax.grad(lambda features: value(features).sum())(batch.next_observation)
    miss = jnp.square(slope * (prediction.draw(key) - batch.next_observation))
    return miss.sum(axis=-1).mean() + _reward(prediction, batch)


def _reward(prediction: Prediction, batch: Batch) -> jax.Array:
    return jnp.square(prediction.reward - batch.reward).mean()
