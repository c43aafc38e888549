"""Episodes of features at random, as compiled programs: from a process, or from a Gaussian with the same second moments.

A drawer is a ``NamedTuple`` of arrays with ``draw(key, count)``, so that it may be handed to a compiled program.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mbrl_agents.td_dynamics.chains import ChainCovariance
from mbrl_agents.td_dynamics.covariances import DecoupledCovariance, FeatureCovariance
from mbrl_agents.td_dynamics.episodes import EpisodeCovariance
from mbrl_envs.checks import one_of

SOURCES = ("gaussian", "process")


class Drawer(Protocol):
    """Something that draws episodes."""

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        """Features of ``count`` independent episodes, float32 (count, T, N)."""


class DecoupledGaussian(NamedTuple):
    """Independent features: ``roots`` (N, T, T), of each feature's covariance."""

    roots: jax.Array

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        normal = jax.random.normal(key, (count, *self.roots.shape[:2]), jnp.float32)
        return jnp.einsum("kts,cks->ctk", self.roots, normal)


class MixedGaussian(NamedTuple):
    """Features as mixtures of independent normal numbers: ``mixtures`` (R, T, N)."""

    mixtures: jax.Array

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        return jnp.tensordot(jax.random.normal(key, (count, self.mixtures.shape[0]), jnp.float32), self.mixtures, 1)


class ChainGaussian(NamedTuple):
    """x_{t+1} = Pᵀ x_t + noise has the second moments diag(p_t) P^d of a chain's one-hot states; features are Φᵀ x_t.

    ``first`` (S,) is the root of x_1's variance, ``roots`` (T−1, S, S) are those of the noise, diag(p_{t+1}) − Pᵀ diag(p_t) P.
    """

    first: jax.Array
    roots: jax.Array
    transitions: jax.Array
    features: jax.Array

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        begin, then = jax.random.split(key)
        x = jax.random.normal(begin, (count, self.first.shape[0]), jnp.float32) * self.first
        steps = self.roots.shape[0]

        def step(x: jax.Array, scanned: Any) -> Any:
            root, key = scanned
            x = x @ self.transitions + jax.random.normal(key, x.shape, x.dtype) @ root
            return x, x

        _, later = lax.scan(step, x, (self.roots, jax.random.split(then, steps)))
        return jnp.moveaxis(jnp.concatenate([x[None], later]), 0, 1) @ self.features


class ChainEpisodes(NamedTuple):
    """A chain's own episodes: cumulative probabilities of the start (S,) and of transitions (S, S), and features (S, N)."""

    start: jax.Array
    transitions: jax.Array
    features: jax.Array
    times: jax.Array  # (T,), for its length

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        uniform = jax.random.uniform(key, (self.times.shape[0], count), jnp.float32)
        last = self.start.shape[0] - 1

        def choose(cumulative: jax.Array, number: jax.Array) -> jax.Array:
            return jnp.minimum((cumulative <= number[:, None]).sum(axis=-1), last)  # rounding may leave the sum below 1

        state = choose(self.start, uniform[0])

        def step(state: jax.Array, number: jax.Array) -> Any:
            state = choose(self.transitions[state], number)
            return state, state

        _, later = lax.scan(step, state, uniform[1:])
        return self.features[jnp.concatenate([state[None], later])].swapaxes(0, 1)


class EpisodePool(NamedTuple):
    """Episodes (R, T, N) to draw from, with replacement."""

    episodes: jax.Array

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        return self.episodes[jax.random.randint(key, (count,), 0, self.episodes.shape[0], jnp.int32)]


def drawer(covariance: FeatureCovariance, source: str) -> Drawer:
    """What draws episodes with a covariance.

    Args:
        covariance: Second moments.
        source: ``"gaussian"``: Gaussian features. ``"process"``: episodes of the chain, or of the sample.

    Raises:
        ValueError: The source is unknown, or there is no process behind the covariance.
    """
    one_of("source", source, SOURCES)
    gaussian = source == "gaussian"
    if isinstance(covariance, EpisodeCovariance):
        episodes = covariance.episodes
        return MixedGaussian(_single(episodes / np.sqrt(len(episodes)))) if gaussian else EpisodePool(_single(episodes))
    if isinstance(covariance, ChainCovariance):
        return _chain_gaussian(covariance) if gaussian else _chain_episodes(covariance)
    if not gaussian:
        raise ValueError(f"source='process' needs a covariance of a chain or of episodes, got {type(covariance).__name__}")
    if isinstance(covariance, DecoupledCovariance):
        return DecoupledGaussian(_single(_root(covariance.array)))
    pairs = covariance.blocks().transpose(0, 2, 1, 3)
    steps, n = pairs.shape[:2]
    return MixedGaussian(_single(_root(pairs.reshape(steps * n, steps * n)).reshape(-1, steps, n)))


def _chain_gaussian(chain: ChainCovariance) -> ChainGaussian:
    pairs = itertools.pairwise(chain.occupancy)
    noise = [np.diag(after) - chain.transitions.T @ (before[:, None] * chain.transitions) for before, after in pairs]
    first, roots = _single(np.sqrt(chain.occupancy[0])), _single(_root(np.stack(noise)))
    return ChainGaussian(first, roots, _single(chain.transitions), _single(chain.features))


def _chain_episodes(chain: ChainCovariance) -> ChainEpisodes:
    start, moves, features = chain.start, chain.transitions, chain.features
    if chain.ends.any():  # one more state, for what comes after the end
        start, moves = np.append(start, 0.0), np.block([[moves, chain.ends[:, None]], [np.zeros(len(start)), 1.0]])
        features = np.vstack([features, np.zeros(chain.num_features)])
    first, then = (_single(np.cumsum(each, axis=-1)) for each in (start, moves))
    return ChainEpisodes(first, then, _single(features), jnp.zeros(chain.num_steps, jnp.float32))


def _root(matrices: np.ndarray) -> np.ndarray:
    """Symmetric square roots of positive semi-definite matrices (…, D, D)."""
    values, vectors = np.linalg.eigh(matrices)
    return (vectors * np.sqrt(np.maximum(values, 0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def _single(array: np.ndarray) -> jax.Array:
    return jnp.asarray(array, jnp.float32)
