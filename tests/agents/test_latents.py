"""Latent variables: draws, sizes, the floor of σ and the two weights of the divergence, beside closed forms."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from gymnasium import spaces

from mbrl_agents import LatentModelDQN
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.replay import Batch
from mbrl_agents.experiments.sweeps.specification import specify
from mbrl_agents.model_dqn.heads import Emission
from mbrl_agents.model_dqn.latent import LatentModel
from mbrl_agents.model_dqn.latents import CategoricalLatent, GaussianLatent
from mbrl_agents.model_dqn.weights import LossWeights, ModelHyperparameters
from mbrl_agents.runs.programs import Programs

BITS = ObservationCodec.of(spaces.Box(0, 1, (2,), np.bool_))
KEY = jax.random.PRNGKey(0)
FLUTE = "mbrl/PanFlute-v0"
TINY: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}, "batch_size": 8, "buffer_size": 200, "learning_starts": 30}
RAW = 0.6  # what a network says of a standard deviation
SIGMA = {"sigmoid": 2 / (1 + math.exp(-RAW / 2)), "softplus": math.log1p(math.exp(RAW))}


def test_categorical_draws_have_their_probabilities() -> None:
    latent = CategoricalLatent(2, 4)
    logits = jnp.array([[2.0, 0.0, 0.0, 0.0, -1.0, 0.0, -30.0, 0.0]])
    drawn = latent.draw_classes(jnp.repeat(logits, 20_000, 0), KEY)
    for variable in range(2):
        p = scipy.special.softmax(np.asarray(logits)[0].reshape(4, 2)[:, variable])
        counts = np.bincount(np.asarray(drawn)[:, variable], minlength=4)
        keep = p > 1e-6
        assert counts[~keep].sum() == 0
        assert scipy.stats.chisquare(counts[keep], 20_000 * p[keep] / p[keep].sum()).pvalue > 1e-3


@pytest.mark.parametrize("activation", SIGMA)
@pytest.mark.parametrize("floor", [0.0, 0.1, 0.7])
def test_sigma_and_its_floor(activation: str, floor: float) -> None:
    """σ = activation(x) + floor where the encoder speaks, activation(x) where the dynamics do; draws and divergences follow.

    Of a squashed variable the tanh is drawn; divergences are as before.
    """
    latent = GaussianLatent(1, std_activation=activation)
    output = jnp.repeat(jnp.array([[0.3, RAW]]), 40_000, 0)
    encoded, expected = SIGMA[activation] + floor, SIGMA[activation]
    assert float(latent.moments(output, floor)[1][0, 0]) == pytest.approx(encoded, rel=1e-6)
    assert np.std(latent.draw(output, KEY, floor)) == pytest.approx(encoded, rel=0.02)
    assert np.std(latent.draw(output, KEY)) == pytest.approx(expected, rel=0.02)
    assert np.mean(latent.draw(output, KEY)) == pytest.approx(0.3, abs=0.02)
    squashed = GaussianLatent(1, True, activation)
    np.testing.assert_allclose(squashed.draw(output, KEY, floor), np.tanh(latent.draw(output, KEY, floor)), atol=1e-6)
    assert squashed.divergence(output[:1], output[:1], floor) == latent.divergence(output[:1], output[:1], floor)
    by_hand = math.log(expected / encoded) + encoded**2 / (2 * expected**2) - 0.5  # equal means
    assert float(latent.divergence(output[:1], output[:1], floor)[0]) == pytest.approx(by_hand, rel=1e-5, abs=1e-6)
    by_hand = -math.log(encoded) + (encoded**2 + 0.3**2) / 2 - 0.5
    assert float(latent.prior_divergence(output[:1], floor)[0]) == pytest.approx(by_hand, rel=1e-5)


def one_unit(q: tuple[float, float], p: tuple[float, float], weights: LossWeights) -> tuple[float, np.ndarray, np.ndarray]:
    """The part of a loss that is the divergence of q from p, given as (mean, x of σ), and its gradients by both.

    The networks say always the same: their output biases.
    """
    model = LatentModel(GaussianLatent(1), Emission(BITS), 2, hidden=(3,))
    params = jax.tree.map(jnp.zeros_like, model.init(KEY))
    params["encoder"]["Dense_1"]["bias"] = jnp.array(q)
    params["dynamics"]["Dense_1"]["bias"] = jnp.array(p)
    zeros = jnp.zeros(4)
    batch = Batch(jnp.zeros((4, 2)), zeros.astype(int), zeros, jnp.zeros((4, 2)), zeros, zeros.astype(bool))

    def loss(theta: Any) -> jax.Array:
        return model.loss(theta, batch, KEY, ModelHyperparameters(weights, 0.0))[1]["dynamics"]

    value, grads = jax.value_and_grad(loss)(params)
    return float(value), np.asarray(grads["encoder"]["Dense_1"]["bias"]), np.asarray(grads["dynamics"]["Dense_1"]["bias"])


@pytest.mark.parametrize(("dynamics", "encoder"), [(0.8, 0.2), (1.0, 0.0), (0.0, 1.0), (0.5, 0.1), (0.0, 0.0), (1.5, 2.0)])
def test_the_divergence_moves_dynamics_and_encoder_by_their_weights(dynamics: float, encoder: float) -> None:
    """KL(N(μ, s²)‖N(m, t²)) has slopes (μ−m)/t² by μ, (m−μ)/t² by m, (s²−t²)/(s t²) by s, and (t²−s²−(μ−m)²)/t³ by t."""
    (mu, x), (m, y) = (0.4, 0.5), (-0.3, -0.2)
    s, t = (2 / (1 + math.exp(-raw / 2)) for raw in (x, y))
    ds, dt = (sigma * (1 - sigma / 2) / 2 for sigma in (s, t))  # of 2·sigmoid(x/2) by x
    kl = math.log(t / s) + (s**2 + (mu - m) ** 2) / (2 * t**2) - 0.5
    value, for_encoder, for_dynamics = one_unit((mu, x), (m, y), LossWeights(dynamics_kl=dynamics, encoder_kl=encoder))
    assert value == pytest.approx((dynamics + encoder) * kl, rel=1e-5, abs=1e-7)
    by_encoder = np.array([(mu - m) / t**2, (s**2 - t**2) / (s * t**2) * ds])
    by_dynamics = np.array([(m - mu) / t**2, (t**2 - s**2 - (mu - m) ** 2) / t**3 * dt])
    np.testing.assert_allclose(for_encoder, encoder * by_encoder, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(for_dynamics, dynamics * by_dynamics, rtol=1e-4, atol=1e-7)


def test_sizes_reach_the_model() -> None:
    model = LatentModelDQN("MlpPolicy", FLUTE, latent_variables=5, latent_classes=7, seed=0, **TINY)
    assert model.learner.model.latent == CategoricalLatent(5, 7)
    assert model.learner_state.params["CodeDense_0"]["kernel"].shape == (35, 8)
    assert model.learn(40)._n_updates == 10
    for latent in ("gaussian", "tanh_gaussian"):
        settings = {"latent": latent, "latent_units": 3, "latent_std_activation": "softplus"}
        model = LatentModelDQN("MlpPolicy", FLUTE, **settings, seed=0, **TINY)
        assert model.learner.model.latent == GaussianLatent(3, latent == "tanh_gaussian", "softplus")
        assert model.learner_state.params["Dense_0"]["kernel"].shape == (3, 8)


def test_published_sizes_and_numbers_are_the_defaults() -> None:
    latent = LatentModelDQN("MlpPolicy", FLUTE, **TINY).learner.model.latent
    assert (latent.num_variables, latent.num_classes) == (32, 32)
    agent = LatentModelDQN("MlpPolicy", FLUTE, latent="gaussian", **TINY)
    assert agent.learner.model.latent == GaussianLatent(32, False, "sigmoid")
    hyper = agent.learner_state.hyper.model
    np.testing.assert_allclose([hyper.min_std, hyper.weights.dynamics_kl, hyper.weights.encoder_kl], [0.1, 0.8, 0.2], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "values", "programs"),
    [
        ("latent_min_std", [0.1, 0.3], 1),
        ("dynamics_kl_weight", [0.8, 0.5], 1),
        ("encoder_kl_weight", [0.2, 0.5], 1),
        ("latent_units", [32, 8], 2),
        ("latent_std_activation", ["sigmoid", "softplus"], 2),
        ("separate_rollout_batch", [False, True], 2),
    ],
)
def test_numbers_share_a_program(name: str, values: list[Any], programs: int) -> None:
    common = TINY | {"latent": "gaussian"}
    spec = specify(LatentModelDQN, FLUTE, hyperparameters=common | {name: values}, seeds=1, total_timesteps=10)
    found = Programs()
    for config in spec.configs:
        found.of(config)
    assert len(found.agents) == programs


def test_the_floor_of_the_state_is_used_in_acting_learning_and_imagining() -> None:
    """With a floor of 1000 whatever is encoded is drawn a thousand times wider: features, their divergence, first states."""
    agent = LatentModelDQN("MlpPolicy", FLUTE, latent="gaussian", latent_min_std=1000.0, seed=0, **TINY)
    state, model = agent.learner_state, agent.learner.model
    seen = jnp.zeros((500, 15))
    assert np.std(agent.learner._perceive(state, seen, KEY)) == pytest.approx(1000, rel=0.05)
    zeros = jnp.zeros(500)
    batch = Batch(seen, zeros.astype(int), zeros, seen, zeros, zeros.astype(bool))
    assert np.std(model.start(state.model, batch, KEY, state.hyper.model)) == pytest.approx(1000, rel=0.05)
    assert float(model.loss(state.model, batch, KEY, state.hyper.model)[1]["prior"]) == pytest.approx(
        32 * 1001**2 / 2, rel=1e-2
    )
