"""What a model may be trained for, if not for return: likelihood, values of fixed functions, or values of the present one.

All take predictions and the transitions as they really were, and return the mean loss over these. How well rewards are
predicted is part of each.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mbrl_agents.core.replay import Batch
from mbrl_agents.omd.dynamics_model import Prediction

MODEL_LOSSES = ("omd", "mle", "vep", "vagram")


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
