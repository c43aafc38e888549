"""The losses of value networks on sequences, by which they learn and are judged."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from mbrl_agents.core import returns
from mbrl_agents.value_rnn import targets
from mbrl_agents.value_rnn.network import Sequences, TDHyperparameters, ValueNetwork


def value_loss(params: Any, sequences: Sequences, hyper: TDHyperparameters, network: ValueNetwork) -> jax.Array:
    """The mean loss ℓ(y(t) − V(t)) of the steps that count, y being TD targets or λ-returns; no gradient goes through y.

    Args:
        params: Parameters of the network.
        sequences: The sequences.
        hyper: γ, λ, and the levels of the heads.
        network: The network, and the kind of ℓ (see :mod:`mbrl_agents.value_rnn.targets`).
    """
    states = network.cell.unroll(params, sequences.inputs, sequences.starts)
    values = network.heads(params, states)
    goals, probabilities = value_targets(params, states, values, sequences, hyper, network)
    each = targets.losses(network.loss, values, goals, hyper.levels, probabilities)
    return (each * sequences.trained).sum() / jnp.maximum(sequences.trained.sum(), 1)


def judging_loss(params: Any, sequences: Sequences, hyper: TDHyperparameters, network: ValueNetwork) -> jax.Array:
    """How good values are, by which networks are judged: the loss with whole returns (λ = 1) in the place of TD targets.

    Its minimum is the true value. That of the mean squared TD error is not: where rewards are uncertain, it asks values to
    follow a surprise slowly (too low after a reward, too high after none), which makes every single TD error smaller.
    Quantiles and expectiles, whose targets are distributions, are judged by their loss.
    """
    if network.loss not in ("quantile", "expectile"):
        network = dataclasses.replace(network, uses_lambda=True)
        hyper = hyper._replace(td_lambda=jnp.ones_like(hyper.td_lambda))
    return value_loss(params, sequences, hyper, network)


def value_targets(
    params: Any, states: jax.Array, values: jax.Array, sequences: Sequences, hyper: TDHyperparameters, network: ValueNetwork
) -> tuple[jax.Array, jax.Array | None]:
    """Targets of each step, (T, B, K), and their probabilities, None where they are equal; both constants.

    Args:
        params: Parameters of the network.
        states: Its states in the sequences, (T, B, …).
        values: Values of all heads there, (T, B, K).
        sequences: The sequences.
        hyper: γ, λ, and the levels of the heads.
        network: The network.
    """
    next_values = jnp.concatenate([values[1:], jnp.zeros_like(values[:1])])
    if sequences.final_inputs is not None:
        # One step further from every state at once: a matrix product, cheaper than telling apart who needs it.
        beyond = network.cell.step(params, states, sequences.final_inputs)
        next_values = jnp.where(sequences.last[..., None], network.heads(params, beyond), next_values)
    next_values = lax.stop_gradient(next_values)
    probabilities: jax.Array | None = None
    if network.loss == "expectile":
        next_values, probabilities = targets.distribution_of_expectiles(next_values, hyper.levels)
    rewards, non_terminal, last = (each[..., None] for each in (sequences.rewards, sequences.non_terminal, sequences.last))
    discounts = hyper.gamma * non_terminal
    if not network.uses_lambda:
        return returns.td_target(rewards, discounts, next_values), probabilities
    lambdas = jnp.where(last, 0, hyper.td_lambda)
    return returns.lambda_returns(rewards, discounts, next_values, lambdas), probabilities
