"""Networks made of a network: read-outs refitted, copies, controls."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_agents.value_rnn.agent import ValueRNN
from mbrl_agents.value_rnn.analysis import activity
from mbrl_agents.value_rnn.trial_arrays import pad
from mbrl_envs.checks import integer_in, number_in


def refit_readout(
    network: ValueRNN, trials: Any, ridge: float = 1e-6, *, noise: float = 0.0, seed: int = 0, burn_in: int = 0
) -> ValueRNN:
    """A copy of the network with the linear read-out that TD learning would come to if it went on for ever (LSTD).

    Solves Σ φ(t) (φ(t) − γ φ(t+1))ᵀ w = Σ φ(t) r(t+1) for the hidden units φ and a constant (Bradtke & Barto 1996); after the
    end of a terminated trial φ is 0.

    Args:
        network: A network with a linear read-out and ``loss="td"``.
        trials: Trials, as for :meth:`ValueRNN.fit`.
        ridge: Added to the diagonal, relative to that of Σ φ φᵀ, at least 0. With 0, of several solutions it is the smallest.
        noise: Fraction of each unit's standard deviation that is added as noise to φ, at least 0.
        seed: Seed of the noise.
        burn_in: Steps at the start of each trial that are left out.

    Raises:
        TypeError, ValueError: The network is of another kind, or an argument out of range.
    """
    ridge, given = number_in("ridge", ridge, 0), network.arguments
    if given["readout"] != "linear" or given["loss"] != "td":
        raise ValueError(f"network must have readout='linear' and loss='td', got {given['readout']!r} and {given['loss']!r}")
    padded = pad(trials, shortest=2)
    rewards = activity.after_burn_in(padded.unpadded(padded.rewards), burn_in)
    active = activity.hidden_activity(network, trials, noise, seed, burn_in)
    size = given["hidden_size"] + 1
    matrix, vector, moments = np.zeros((size, size)), np.zeros(size), np.zeros((size, size))
    for hidden, reward, terminated in zip(active, rewards, padded.terminated, strict=True):
        features = np.column_stack([hidden, np.ones(len(hidden))])
        now, following, gain = features[:-1], features[1:], reward[1:]
        if terminated:  # its last step predicts nothing, and has the value 0
            now, following, gain = features, np.vstack([following, np.zeros(size)]), np.append(gain, 0.0)
        matrix += now.T @ (now - network.gamma * following)
        vector += now.T @ gain
        moments += now.T @ now
    scale = np.sqrt(np.where(np.diag(moments) > 0, np.diag(moments), 1.0))  # so that the ridge means the same to every unit
    system = matrix / np.outer(scale, scale) + ridge * np.eye(size)
    weights = np.linalg.lstsq(system, vector / scale, rcond=None)[0] / scale
    copied = clone(network)
    readout = {"kernel": jnp.asarray(weights[:-1, None], jnp.float32), "bias": jnp.asarray(weights[-1:], jnp.float32)}
    copied.change_run(learner=copied.learner_state._replace(params=copied.learner_state.params | {"readout": readout}))
    return copied


def clone(network: ValueRNN) -> ValueRNN:
    """Another network with the same weights; without environment and replay memory."""
    copied = ValueRNN(**network.arguments)
    copied.prepare(network.learner.codec.num_features)
    run = network.run
    copied.change_run(learner=jax.tree.map(jnp.copy, run.learner), keys=run.keys, clock=run.clock)
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
