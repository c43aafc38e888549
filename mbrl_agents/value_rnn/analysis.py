"""What a value RNN has learned, beside what a perfect observer of the task knows.

Everything here takes trials with observations from the start of an episode, as :func:`mbrl_envs.conditioning.sample_trials`
draws them, and a network (:class:`~mbrl_agents.ValueRNN`), trained or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from mbrl_agents.value_rnn.agent import ValueRNN
from mbrl_agents.value_rnn.trial_arrays import Trials, pad
from mbrl_envs import conditioning
from mbrl_envs.checks import integer_in, number_in
from mbrl_envs.conditioning.trials import Trial, conditioning_task


class Errors(NamedTuple):
    """How far values and prediction errors are from the exact ones, over all steps of all trials.

    Attributes:
        value_mse: Mean squared difference of values.
        value_max: Largest difference.
        rpe_mse: Mean squared difference of reward prediction errors.
        rpe_max: Largest difference.
    """

    value_mse: float
    value_max: float
    rpe_mse: float
    rpe_max: float


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


def errors(network: ValueRNN, env: Any, trials: Sequence[Trial]) -> Errors:
    """Values and prediction errors beside the exact ones, with the network's γ.

    Raises:
        TypeError, ValueError: ``env`` is no cue–reward task, or cannot show these trials.
    """
    gamma = network.gamma
    wanted = exact_values(env, trials, gamma)
    value = np.concatenate([ours - exact for ours, exact in zip(network.value(trials), wanted, strict=True)])
    rpe = np.concatenate(
        [
            ours - (trial.rewards[1:] + gamma * exact[1:] - exact[:-1])
            for ours, trial, exact in zip(network.rpe(trials), trials, wanted, strict=True)
        ]
    )
    return Errors(*(float(each) for each in (np.mean(value**2), np.abs(value).max(), np.mean(rpe**2), np.abs(rpe).max())))


def exact_values(env: Any, trials: Sequence[Trial], gamma: float) -> list[np.ndarray]:
    """The exact values of each trial, float64 (T,); see :func:`mbrl_envs.conditioning.values`."""
    return _by_length(trials, lambda observations: conditioning.values(env, observations, gamma))


def exact_beliefs(env: Any, trials: Sequence[Trial]) -> list[np.ndarray]:
    """What a perfect observer believes in each trial, float64 (T, S); see :func:`mbrl_envs.conditioning.beliefs`."""
    return _by_length(trials, lambda observations: conditioning.beliefs(env, observations))


def rpe_by_delay(network: ValueRNN, env: Any, trials: Sequence[Trial]) -> pd.DataFrame:
    """Prediction errors when the reward comes, by the steps since the last cue.

    Returns:
        A row for each cue and delay: columns ``cue``, ``delay``, ``rpe`` (the network's mean), ``exact``, ``count``.
    """
    task, rows = conditioning_task(env), []
    wanted = exact_values(env, trials, network.gamma)
    for trial, ours, exact in zip(trials, network.rpe(trials), wanted, strict=True):
        theirs = trial.rewards[1:] + network.gamma * exact[1:] - exact[:-1]
        shown = task.chain.cue[trial.states]
        cue_at = np.maximum.accumulate(np.where(shown >= 0, np.arange(len(shown)), -1))
        for t in np.flatnonzero((trial.rewards > 0) & (cue_at >= 0)):
            if t > 0:
                rows.append((task.cue_names[shown[cue_at[t]]], t - cue_at[t], ours[t - 1], theirs[t - 1]))
    table = pd.DataFrame(rows, columns=["cue", "delay", "rpe", "exact"])
    grouped = table.groupby(["cue", "delay"])
    return grouped.mean().assign(count=grouped.size()).reset_index()


def belief_regression(network: ValueRNN, env: Any, trials: Sequence[Trial], held_out: Sequence[Trial]) -> Regression:
    """Reads beliefs out of the hidden units, by least squares.

    Args:
        network: The network.
        env: The task.
        trials: Trials for the regression.
        held_out: Other trials, by which it is judged.

    Raises:
        TypeError, ValueError: ``env`` is no cue–reward task, or cannot show these trials.
    """
    beliefs, hidden = np.concatenate(exact_beliefs(env, trials)), np.concatenate(network.hidden_activity(trials))
    design = np.column_stack([hidden, np.ones(len(hidden))]).astype(np.float64)
    solution = np.linalg.lstsq(design, beliefs, rcond=None)[0]
    weights, bias = solution[:-1], solution[-1]
    wanted, hidden = np.concatenate(exact_beliefs(env, held_out)), np.concatenate(network.hidden_activity(held_out))
    missed = np.square(wanted - hidden @ weights - bias).sum()
    return Regression(float(1 - missed / np.square(wanted - wanted.mean(axis=0)).sum()), weights, bias)


def refit_readout(network: ValueRNN, trials: Sequence[Any], ridge: float = 1e-6) -> ValueRNN:
    """A copy of the network with the linear read-out that TD learning would come to if it went on for ever (LSTD).

    Solves Σ φ(t) (φ(t) − γ φ(t+1))ᵀ w = Σ φ(t) r(t+1) for the hidden units φ and a constant (Bradtke & Barto 1996); after the
    end of a terminated trial φ is 0.

    Args:
        network: A network with a linear read-out and ``loss="td"``.
        trials: Trials, as for :meth:`ValueRNN.fit`.
        ridge: Added to the diagonal, relative to that of Σ φ φᵀ, at least 0.

    Raises:
        ValueError: The network is of another kind.
    """
    number_in("ridge", ridge, 0)
    given = network.arguments
    if given["readout"] != "linear" or given["loss"] != "td":
        raise ValueError(f"network must have readout='linear' and loss='td', got {given['readout']!r} and {given['loss']!r}")
    padded = pad(trials, shortest=2)
    rewards = padded.unpadded(padded.rewards)
    size = given["hidden_size"] + 1
    matrix, vector, moments = np.zeros((size, size)), np.zeros(size), np.zeros((size, size))
    for hidden, reward, terminated in zip(network.hidden_activity(trials), rewards, padded.terminated, strict=True):
        features = np.column_stack([hidden, np.ones(len(hidden))]).astype(np.float64)
        now, following, gain = features[:-1], features[1:], reward[1:]
        if terminated:  # its last step predicts nothing, and has the value 0
            now, following, gain = features, np.vstack([following, np.zeros(size)]), np.append(gain, 0.0)
        matrix += now.T @ (now - network.gamma * following)
        vector += now.T @ gain
        moments += now.T @ now
    scale = np.sqrt(np.where(np.diag(moments) > 0, np.diag(moments), 1.0))  # so that the ridge means the same to every unit
    weights = np.linalg.solve(matrix / np.outer(scale, scale) + ridge * np.eye(size), vector / scale) / scale
    copied = clone(network)
    readout = {"kernel": jnp.asarray(weights[:-1, None], jnp.float32), "bias": jnp.asarray(weights[-1:], jnp.float32)}
    copied.learner_state = copied.learner_state._replace(params=copied.learner_state.params | {"readout": readout})
    return copied


def clone(network: ValueRNN) -> ValueRNN:
    """Another network with the same weights; without environment and replay memory."""
    copied = ValueRNN(**network.arguments)
    copied.prepare(network.learner.codec.num_features)
    copied.learner_state = jax.tree.map(jnp.copy, network.learner_state)
    copied._streams, copied._n_updates = jax.tree.map(jnp.copy, network._streams), network._n_updates
    return copied


def untrained(network: ValueRNN, seed: int) -> ValueRNN:
    """A control: the same network before any learning.

    Args:
        network: A network that has been made for some observations.
        seed: Seed of its weights.
    """
    fresh = ValueRNN(**(network.arguments | {"seed": integer_in("seed", seed, 0, 2**32 - 1)}))
    fresh.prepare(network.learner.codec.num_features)
    return fresh


def state_decoding(
    network: ValueRNN, env: Any, trials: Sequence[Trial], held_out: Sequence[Trial], penalty: float = 1e-4
) -> Decoding:
    """Tells the hidden state of the task from the hidden units, by multinomial logistic regression.

    Args:
        network: The network.
        env: The task.
        trials: Trials for the regression.
        held_out: Other trials, by which it is judged.
        penalty: Weight of the squared weights, per step, at least 0.

    Raises:
        TypeError, ValueError: ``env`` is no cue–reward task, or cannot show these trials.
    """
    from scipy.optimize import minimize

    number_in("penalty", penalty, 0)
    size = conditioning_task(env).chain.num_states
    hidden, truth = np.concatenate(network.hidden_activity(trials)), np.concatenate([each.states for each in trials])
    centre, scale = hidden.mean(axis=0), hidden.std(axis=0) + 1e-6
    shape = (hidden.shape[1] + 1, size)

    def log_likelihood(weights: jax.Array, features: jax.Array, states: jax.Array) -> jax.Array:
        logits = features @ weights[:-1] + weights[-1]
        return jnp.take_along_axis(jax.nn.log_softmax(logits), states[:, None], axis=1).mean()

    features, states = jnp.asarray((hidden - centre) / scale), jnp.asarray(truth)

    @jax.jit
    def objective(flat: jax.Array) -> tuple[jax.Array, jax.Array]:
        def loss(flat: jax.Array) -> jax.Array:
            weights = flat.reshape(shape)
            return penalty * jnp.square(weights[:-1]).sum() - log_likelihood(weights, features, states)

        return jax.value_and_grad(loss)(flat)

    def for_scipy(flat: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = objective(jnp.asarray(flat, jnp.float32))
        return float(loss), np.asarray(gradient, np.float64)

    frequencies = (np.bincount(truth, minlength=size) + 1) / (len(truth) + size)
    start = np.vstack([np.zeros((shape[0] - 1, size)), np.log(frequencies)])
    found = minimize(for_scipy, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    test = jnp.asarray((np.concatenate(network.hidden_activity(held_out)) - centre) / scale)
    wanted = np.concatenate([each.states for each in held_out])
    believed = np.concatenate(exact_beliefs(env, held_out))[np.arange(len(wanted)), wanted]
    weights = jnp.asarray(found.x.reshape(shape), jnp.float32)
    return Decoding(
        float(log_likelihood(weights, test, jnp.asarray(wanted))),
        float(np.log(believed).mean()),
        float(np.log(frequencies[wanted]).mean()),
    )


def memory(network: ValueRNN, num_steps: int = 200, threshold: float = 0.05) -> pd.DataFrame:
    """How long a cue or a reward is remembered: how far the state is from where it rests, and for how long.

    The network runs without any input until it rests (1000 steps), sees each of its inputs once, and then nothing again.

    Args:
        network: A network that has been made for some observations.
        num_steps: Steps after the input, 1 to 100 000.
        threshold: Share of the largest distance below which the state counts as back at rest, above 0 and below 1.

    Returns:
        A row for each input and step: columns ``input`` (index of the feature), ``step`` (0 when it is shown), ``distance``
        (Euclidean, of the hidden units), ``duration`` (steps until the distance stays below the threshold; 0 if the input does
        not move the state, num_steps + 1 if it is not back by then).
    """
    integer_in("num_steps", num_steps, 1, 100_000)
    number_in("threshold", threshold, 0, 1, open_low=True, open_high=True)
    width, before = network.learner.codec.num_features, 1000
    trials = np.zeros((width + 1, before + 1 + num_steps, width), np.float32)
    trials[np.arange(width), before, np.arange(width)] = 1.0
    hidden = np.stack(network.hidden_activity(list(trials)))[:, before:]
    distance = np.linalg.norm(hidden[:-1] - hidden[-1], axis=-1)
    above = distance > threshold * distance.max(axis=1, keepdims=True)
    duration = np.where(above.any(axis=1), above.shape[1] - above[:, ::-1].argmax(axis=1), 0)
    steps = np.arange(num_steps + 1)
    return pd.concat(
        [pd.DataFrame({"input": i, "step": steps, "distance": distance[i], "duration": duration[i]}) for i in range(width)],
        ignore_index=True,
    )


def _by_length(trials: Sequence[Trial], function: Any) -> list[np.ndarray]:
    """A function of many observations of one length, (N, T, F), for trials of any: padded ones would not be possible ones."""
    if plain := next((each for each in trials if not hasattr(each, "observations")), None):
        raise TypeError(f"trials must be of mbrl_envs.conditioning.sample_trials, got {type(plain).__name__}")
    padded: Trials = pad(trials)
    found: list[Any] = [None] * len(trials)
    for length in np.unique(padded.lengths):
        same = np.flatnonzero(padded.lengths == length).tolist()
        for i, each in zip(same, function(np.stack([trials[i].observations for i in same])), strict=True):
            found[i] = each
    return found
