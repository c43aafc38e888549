"""How much of a perfect observer's beliefs, and of the hidden state itself, can be read out of hidden units."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.value_rnn.agent import ValueRNN
from mbrl_agents.value_rnn.analysis import activity
from mbrl_envs import conditioning
from mbrl_envs.checks import number_in
from mbrl_envs.conditioning.trials import conditioning_task


class Regression(NamedTuple):
    """A linear read-out of beliefs.

    Attributes:
        r2: Share of the variance of all beliefs together that it explains in held-out trials; below 0 if it is worse than their
            mean.
        weights: (H, S).
        bias: (S,).
    """

    r2: float
    weights: np.ndarray
    bias: np.ndarray


class Decoding(NamedTuple):
    """How well the hidden state of the task can be told: mean log-likelihoods per step of held-out trials (natural logarithm).

    Attributes:
        network: By a multinomial logistic regression from the hidden units.
        beliefs: By a perfect observer; nothing does better.
        frequencies: By how often each state comes; a network that knows nothing.
    """

    network: float
    beliefs: float
    frequencies: float


def exact_beliefs(env: Any, trials: Any, omission: str = "late") -> list[np.ndarray]:
    """Beliefs of an observer in each trial, float64 (T, S).

    Args:
        env: The task.
        trials: Trials.
        omission: ``"late"`` for a perfect observer, ``"at_cue"`` for that of the published study; see
            :func:`mbrl_envs.conditioning.beliefs`.

    Raises:
        TypeError, ValueError: ``env`` is no cue–reward task, or cannot show these trials.
    """
    found = activity.as_trials(trials, env)
    return activity.by_length(found, lambda observations: conditioning.beliefs(env, observations, omission=omission))


def belief_regression(
    network: ValueRNN,
    env: Any,
    trials: Any,
    held_out: Any,
    *,
    omission: str = "late",
    noise: float = 0.0,
    seed: int = 0,
    burn_in: int = 0,
) -> Regression:
    """Reads beliefs out of the hidden units, by least squares.

    Args:
        network: The network.
        env: The task.
        trials: Trials for the regression.
        held_out: Other trials, by which it is judged.
        omission: Whose beliefs; see :func:`exact_beliefs`.
        noise: Fraction of each unit's standard deviation that is added as noise to both, at least 0.
        seed: Seed of the noise.
        burn_in: Steps at the start of each trial that are left out.

    Raises:
        TypeError, ValueError: ``env`` is no cue–reward task, or cannot show these trials; or an argument is out of range.
    """
    hidden, wanted = _both(network, env, trials, omission, noise, seed, burn_in)
    design = np.column_stack([hidden, np.ones(len(hidden))])
    solution = np.linalg.lstsq(design, wanted, rcond=None)[0]
    weights, bias = solution[:-1], solution[-1]
    hidden, wanted = _both(network, env, held_out, omission, noise, seed + 1, burn_in)
    missed = np.square(wanted - hidden @ weights - bias).sum()
    return Regression(float(1 - missed / np.square(wanted - wanted.mean(axis=0)).sum()), weights, bias)


def _both(
    network: ValueRNN, env: Any, trials: Any, omission: str, noise: float, seed: int, burn_in: int
) -> tuple[np.ndarray, np.ndarray]:
    """Hidden units and beliefs of all steps."""
    found = activity.as_trials(trials, env)
    hidden = activity.hidden_activity(network, found, noise, seed, burn_in)
    return np.concatenate(hidden), np.concatenate(activity.after_burn_in(exact_beliefs(env, found, omission), burn_in))


def state_decoding(
    network: ValueRNN,
    env: Any,
    trials: Any,
    held_out: Any,
    penalty: float = 1e-4,
    *,
    noise: float = 0.0,
    seed: int = 0,
    burn_in: int = 0,
) -> Decoding:
    """Tells the hidden state of the task from the hidden units, by multinomial logistic regression.

    Args:
        network: The network.
        env: The task.
        trials: Trials of :func:`mbrl_envs.conditioning.sample_trials`, which know the hidden state, for the regression.
        held_out: Other such trials, by which it is judged.
        penalty: Weight of the squared weights, per step, at least 0.
        noise: Fraction of each unit's standard deviation that is added as noise to both, at least 0.
        seed: Seed of the noise.
        burn_in: Steps at the start of each trial that are left out.

    Raises:
        TypeError, ValueError: ``env`` is no cue–reward task, or cannot show these trials; trials do not know the hidden state;
            or an argument is out of range.
    """
    penalty, size = number_in("penalty", penalty, 0), conditioning_task(env).chain.num_states
    truth, wanted = _states("trials", trials, burn_in), _states("held_out", held_out, burn_in)
    hidden, others = (
        np.concatenate(activity.hidden_activity(network, each, noise, seed + i, burn_in))
        for i, each in enumerate((trials, held_out))
    )
    centre, scale = hidden.mean(axis=0), hidden.std(axis=0) + 1e-6
    frequencies = (np.bincount(truth, minlength=size) + 1) / (len(truth) + size)
    weights = _logistic_regression((hidden - centre) / scale, truth, frequencies, penalty)
    beliefs = activity.after_burn_in(exact_beliefs(env, held_out), burn_in)
    believed = np.concatenate(beliefs)[np.arange(len(wanted)), wanted]
    features = jnp.asarray((others - centre) / scale, jnp.float32)
    return Decoding(
        float(_log_likelihood(weights, features, jnp.asarray(wanted))),
        float(np.log(believed).mean()),
        float(np.log(frequencies[wanted]).mean()),
    )


def _states(name: str, trials: Any, burn_in: int) -> np.ndarray:
    if any(not hasattr(each, "states") for each in trials):
        raise TypeError(f"{name} must be of mbrl_envs.conditioning.sample_trials, which know the hidden state")
    return np.concatenate(activity.after_burn_in([each.states for each in trials], burn_in))


def _log_likelihood(weights: jax.Array, features: jax.Array, states: jax.Array) -> jax.Array:
    logits = features @ weights[:-1] + weights[-1]
    return jnp.take_along_axis(jax.nn.log_softmax(logits), states[:, None], axis=1).mean()


def _logistic_regression(features: np.ndarray, truth: np.ndarray, frequencies: np.ndarray, penalty: float) -> jax.Array:
    """Weights (H + 1, S), the last row the bias."""
    from scipy.optimize import minimize

    shape, inputs, states = (features.shape[1] + 1, len(frequencies)), jnp.asarray(features, jnp.float32), jnp.asarray(truth)

    @plain_jit
    def objective(flat: jax.Array) -> tuple[jax.Array, jax.Array]:
        def loss(flat: jax.Array) -> jax.Array:
            weights = flat.reshape(shape)
            return penalty * jnp.square(weights[:-1]).sum() - _log_likelihood(weights, inputs, states)

        return jax.value_and_grad(loss)(flat)

    def for_scipy(flat: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = objective(jnp.asarray(flat, jnp.float32))
        return float(loss), np.asarray(gradient, np.float64)

    start = np.vstack([np.zeros((shape[0] - 1, shape[1])), np.log(frequencies)])
    found = minimize(for_scipy, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return jnp.asarray(found.x.reshape(shape), jnp.float32)
