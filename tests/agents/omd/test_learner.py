"""OMD's update: its gradient beside an independent one, its losses by hand, its values on probes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from stable_baselines3.common.utils import LinearSchedule

from mbrl_agents import OMD
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.optimizer import AdamHyperparameters
from mbrl_agents.core.replay import Batch
from mbrl_agents.core.schedules import Now
from mbrl_agents.omd import Direct, losses
from mbrl_agents.omd.dynamics_model import DynamicsModel, Prediction
from mbrl_agents.omd.learner import OMDHyperparameters, OMDLearner
from tests.agents.omd.slopes import assert_gradient_is_that_of_solving_anew
from tests.agents.probes import Probe, make

FEATURES, ACTIONS, ROWS, ALPHA, GAMMA = 3, 2, 40, 0.5, 0.9
CODEC = ObservationCodec("float", (FEATURES,), FEATURES)


def batch_of(rng: np.random.Generator) -> Batch:
    observation, following = rng.normal(size=(2, ROWS, FEATURES))
    terminated = rng.random(ROWS) < 0.2
    action = rng.integers(0, ACTIONS, ROWS)
    return Batch(observation, action, rng.normal(size=ROWS), following, GAMMA * ~terminated, terminated)


def wide(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


class Linear:
    """The same in NumPy, for linear networks: the inner problem is one of least squares."""

    def __init__(self, state: Any, batch: Batch) -> None:
        self.batch = batch
        kernel, bias = (np.asarray(state.target_params["Dense_0"][name]) for name in ("kernel", "bias"))
        self.target = [(kernel[i], bias[i]) for i in range(len(kernel))]
        taken = np.eye(ACTIONS)[batch.action]
        ones = np.ones((ROWS, 1))
        self.design = (np.concatenate([batch.observation, ones], 1)[:, :, None] * taken[:, None, :]).reshape(ROWS, -1)
        self.inputs = np.concatenate([batch.observation, taken], 1)

    def bootstrap(self, following: np.ndarray) -> np.ndarray:
        least = np.minimum(*(following @ kernel + bias for kernel, bias in self.target))
        top = least.max(1)
        return top + ALPHA * np.log(np.exp((least - top[:, None]) / ALPHA).sum(1))

    def solution(self, model: Any) -> np.ndarray:
        """Weights (FEATURES + 1, ACTIONS) with the least squared error on the model's targets."""
        parts = {name: {k: np.asarray(v) for k, v in model[name]["Dense_0"].items()} for name in model}
        following = self.inputs @ parts["observation"]["kernel"] + parts["observation"]["bias"]
        reward = (self.inputs @ parts["reward"]["kernel"] + parts["reward"]["bias"])[:, 0]
        targets = reward + self.batch.discount * self.bootstrap(following)
        return np.linalg.lstsq(self.design, targets, rcond=None)[0].reshape(FEATURES + 1, ACTIONS)

    def outer(self, model: Any) -> float:
        """The true loss of both networks, which have the same solution."""
        targets = self.batch.reward + self.batch.discount * self.bootstrap(self.batch.next_observation)
        return 2 * np.square(self.design @ self.solution(model).ravel() - targets).mean()


def test_the_models_gradient_is_that_of_solving_anew() -> None:
    """Central differences of the true loss at the exact solution for the model, in NumPy, against one whole update."""
    with jax.enable_x64(True):
        batch = batch_of(np.random.default_rng(0))
        huge = 1e8  # as Adam's ε, so that its first step is the gradient divided by that
        learner = OMDLearner(CODEC, ACTIONS, DynamicsModel(CODEC, ACTIONS, hidden=()), hidden=(), solver=Direct(damping=0.0))
        hyper = OMDHyperparameters(GAMMA, 0.0, huge, AdamHyperparameters(b2=0.999, eps=huge, weight_decay=0.0))
        state = wide(learner.init(jax.random.PRNGKey(0), hyper))
        other = wide(learner.init(jax.random.PRNGKey(1), hyper))
        state = state._replace(target_params=other.params, model=other.model)
        reference = Linear(state, batch)
        solution = reference.solution(state.model)
        params = {"Dense_0": {"kernel": np.stack([solution[:-1]] * 2), "bias": np.stack([solution[-1]] * 2)}}
        now = Now(Exploration(ALPHA, 0.0), jnp.float64(0.0))  # the networks stay at the solution
        after, metrics, _ = jax.jit(learner.update)(state._replace(params=params), batch, jax.random.PRNGKey(2), now)
        assert_gradient_is_that_of_solving_anew(state, after, metrics, reference.outer)


def linear_update(seed: int, learning_rate: float = 0.0, **changes: Any) -> tuple[Any, Any, Batch, Any]:
    """Linear networks after one update, whose steps are plain gradient steps with momentum: before, after, batch, metrics.

    Targets stay where they are; where model and Q-networks have batches of their own, these are equal.
    """
    huge, batch = 1e8, batch_of(np.random.default_rng(0))
    learner = OMDLearner(CODEC, ACTIONS, DynamicsModel(CODEC, ACTIONS, hidden=()), hidden=(), **changes)
    hyper = OMDHyperparameters(GAMMA, 0.0, huge, AdamHyperparameters(b2=0.999, eps=huge, weight_decay=0.0))
    before, other = (wide(learner.init(jax.random.PRNGKey(key), hyper)) for key in (0, 1 + seed))
    before = before._replace(params=other.params)
    now = Now(Exploration(ALPHA, 0.0), jnp.float64(learning_rate * huge))
    batches = jax.tree.map(lambda leaf: np.concatenate([leaf] * learner.num_batches), batch)
    after, metrics, _ = jax.jit(learner.update)(before, batches, jax.random.PRNGKey(2), now)
    return before, after, batch, metrics


@pytest.fixture
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("float64")
def test_inner_steps_go_on_to_convergence() -> None:
    """As many as are needed of a million, to the least-squares solution for the model."""
    before, after, batch, _ = linear_update(0, 0.05, inner_steps=10**6, inner_tolerance=1e-9)
    wanted = Linear(before, batch).solution(before.model)
    found = after.params["Dense_0"]
    for i in range(2):
        np.testing.assert_allclose(np.concatenate([found["kernel"][i], found["bias"][i][None]]), wanted, atol=1e-6)


@pytest.mark.usefixtures("float64")
def test_inner_steps_begin_where_the_networks_are() -> None:
    """With a step size of 0 they stay there. A cold start is tested beside the published update."""
    for seed in (0, 1):
        before, after, *_ = linear_update(seed)
        np.testing.assert_array_equal(after.params["Dense_0"]["kernel"], before.params["Dense_0"]["kernel"])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "model_loss", ["omd", "mle", *(pytest.param(loss, marks=pytest.mark.slow) for loss in ("vep", "vagram"))]
)
def test_rewards_that_are_not_learned(model_loss: str) -> None:
    """The reward's network is left alone, and Q-networks learn on the rewards that came."""
    before, after, batch, metrics = linear_update(0, model_loss=model_loss, learn_reward=False, soft_targets=False)
    np.testing.assert_array_equal(after.model["reward"]["Dense_0"]["kernel"], before.model["reward"]["Dense_0"]["kernel"])
    assert (after.model["observation"]["Dense_0"]["kernel"] != before.model["observation"]["Dense_0"]["kernel"]).all()
    model = (before if model_loss == "omd" else after).model["observation"]["Dense_0"]
    following = Linear(before, batch).inputs @ model["kernel"] + model["bias"]
    target, own = before.target_params["Dense_0"], before.params["Dense_0"]
    best = np.min([following @ target["kernel"][i] + target["bias"][i] for i in range(2)], axis=0).max(axis=1)
    values = [(batch.observation @ own["kernel"][i] + own["bias"][i])[np.arange(ROWS), batch.action] for i in range(2)]
    loss = sum(np.square(each - batch.reward - batch.discount * best).mean() for each in values)
    assert float(metrics["loss"]) == pytest.approx(loss, rel=1e-9)


@pytest.mark.usefixtures("float64")
def test_value_equivalence_compares_every_step_with_its_own() -> None:
    """Not every step with all others, as a difference of shapes (n, 1) and (n,) would: then the pole falls at once."""
    before, _, batch, metrics = linear_update(0, model_loss="vep")
    heads, model = before.value_networks["Dense_0"], before.model["observation"]["Dense_0"]
    inputs = Linear(before, batch).inputs
    predicted = inputs @ model["kernel"] + model["bias"]
    reward = inputs @ before.model["reward"]["Dense_0"]["kernel"][:, 0] + before.model["reward"]["Dense_0"]["bias"][0]
    loss = 0.0
    for row in range(ROWS):
        loss += (reward[row] - batch.reward[row]) ** 2 / ROWS
        for kernel in heads["kernel"][..., 0]:
            loss += ((predicted[row] - batch.next_observation[row]) @ kernel) ** 2 / ROWS
    assert len(heads["kernel"]) == 5
    assert float(metrics["model_loss"]) == pytest.approx(float(loss), rel=1e-9)


def test_losses_by_hand() -> None:
    rng = np.random.default_rng(3)
    batch = jax.tree.map(lambda each: np.asarray(each, np.float32), batch_of(rng))
    mean, reward = rng.normal(size=(ROWS, FEATURES)).astype(np.float32), rng.normal(size=ROWS).astype(np.float32)
    key = jax.random.PRNGKey(0)
    plain, of_reward = Prediction(mean, None, reward), np.square(reward - batch.reward).mean()
    miss = mean - batch.next_observation
    assert float(losses.likelihood(plain, batch)) == pytest.approx((miss**2).sum(1).mean() + of_reward, rel=1e-5)
    log_std = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    density = -0.5 * (miss / np.exp(log_std)) ** 2 - log_std - 0.5 * math.log(2 * math.pi)
    expected = -(density.sum(1) + 0.5 * FEATURES * math.log(2 * math.pi)).mean() + of_reward
    assert float(losses.likelihood(Prediction(mean, log_std, reward), batch)) == pytest.approx(expected, rel=1e-5)
    weights = rng.normal(size=(5, FEATURES)).astype(np.float32)
    by_values = np.square(np.sin(mean @ weights.T) - np.sin(batch.next_observation @ weights.T)).sum(1).mean()
    found = losses.value_equivalence(plain, batch, key, lambda f: jnp.sin(f @ weights.T).T)
    assert float(found) == pytest.approx(by_values + of_reward, rel=1e-5)
    slope = np.cos(batch.next_observation @ weights[0])[:, None] * weights[0]
    by_slope = np.square(slope * miss).sum(1).mean()
    found = losses.value_gradient(plain, batch, key, lambda f: jnp.sin(f @ weights[0]))
    assert float(found) == pytest.approx(by_slope + of_reward, rel=1e-5)


@pytest.mark.parametrize("kind", ["bits", "index"])
def test_likelihood_of_bits_and_of_one_value_of_many(kind: str) -> None:
    """Against SciPy's distributions; and a model that is surely wrong still learns, which it would not from squared errors."""
    rng = np.random.default_rng(4)
    codec = ObservationCodec(kind, (4,) if kind == "bits" else (), 4)
    model = DynamicsModel(codec, ACTIONS, hidden=())
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), model.init(jax.random.PRNGKey(0)))
    value = rng.integers(0, 4, ROWS)
    following = (rng.random((ROWS, 4)) < 0.5 if kind == "bits" else np.eye(4)[value]).astype(np.float32)
    reward, action = rng.normal(size=ROWS), rng.integers(0, ACTIONS, ROWS)
    batch = Batch(following[::-1], action, reward, following, np.full(ROWS, GAMMA), np.zeros(ROWS, bool))
    said = model.predict(params, batch.observation, batch.action)
    p = np.asarray(said.mean, np.float64)
    likely = stats.bernoulli.logpmf(following, p).sum(1) if kind == "bits" else np.log(p[np.arange(ROWS), value])
    wanted = -likely.mean() + np.square(np.asarray(said.reward) - reward).mean()
    assert float(losses.likelihood(said, batch)) == pytest.approx(wanted, rel=1e-5)

    def of_bias(bias: jax.Array) -> jax.Array:
        wrong = jax.tree.map(jnp.zeros_like, params)
        wrong["observation"]["Dense_0"]["bias"] = bias
        sure = batch._replace(next_observation=jnp.tile(jnp.eye(4)[0], (ROWS, 1)))
        return losses.likelihood(model.predict(wrong, batch.observation, batch.action), sure)

    slope = jax.grad(of_bias)(jnp.array([-60.0, 60.0, -60.0, -60.0]))
    np.testing.assert_allclose(slope, [-1.0, 1.0, 0.0, 0.0], atol=1e-6)


def test_predictions_stay_where_observations_are() -> None:
    features, action = jnp.ones((7, 4)), jnp.zeros(7, jnp.int32)

    def mean(codec: ObservationCodec, **changes: Any) -> np.ndarray:
        model = DynamicsModel(codec, ACTIONS, hidden=(), **changes)
        params = jax.tree.map(lambda leaf: 3 * jnp.ones_like(leaf), model.init(jax.random.PRNGKey(0)))
        return np.asarray(model.predict(params, features, action).mean)

    logit = 3 * 5 + 3
    np.testing.assert_allclose(mean(ObservationCodec("bits", (4,), 4)), 1 / (1 + math.exp(-logit)), rtol=1e-6)
    np.testing.assert_allclose(mean(ObservationCodec("index", (), 4)), 0.25, rtol=1e-6)
    np.testing.assert_allclose(mean(ObservationCodec("float", (4,), 4)), logit, rtol=1e-6)
    np.testing.assert_allclose(mean(ObservationCodec("float", (4,), 4), predicts_change=True), logit + 1, rtol=1e-6)


SMALL: dict[str, Any] = {
    "learning_rate": LinearSchedule(3e-3, 1e-5, 1.0),  # as OMD's steps are all of one size
    "model_learning_rate": 5e-3,
    "buffer_size": 4000,
    "learning_starts": 50,
    "batch_size": 64,
    "gamma": GAMMA,
    "tau": 0.1,
    "policy_kwargs": {"net_arch": [16], "activation_fn": "tanh"},
    "model_net_arch": [16],
    "seed": 0,
}


def values(agent: OMD, *observations: tuple[float, float]) -> np.ndarray:
    found = agent.learner.networks.values(agent.learner_state.params, np.array(observations, np.float32))
    return np.asarray(found.mean(axis=0))


@pytest.mark.parametrize(
    ("model_loss", "device_loop"),
    [
        ("omd", True),
        pytest.param("omd", False, marks=pytest.mark.slow),
        pytest.param("mle", True, marks=pytest.mark.slow),
        *(pytest.param(loss, True, marks=pytest.mark.slow) for loss in ("vep", "vagram")),
    ],
)
def test_values_of_a_reward_two_steps_away(model_loss: str, device_loop: bool) -> None:
    """Through the model alone: γ before, 1 at the step itself, whatever the model learns for."""
    probe = make(Probe(2, "last"))
    agent = OMD("MlpPolicy", probe, model_loss, device_loop=device_loop, **SMALL).learn(4000)
    np.testing.assert_allclose(values(agent, (1, 1), (1, -1)), 1.0, atol=0.05)
    np.testing.assert_allclose(values(agent, (0, 1), (0, -1)), GAMMA, atol=0.05)
    assert agent.learner_state.fallbacks == 0


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["cg", "normal_cg", "gmres"])
def test_other_solvers_learn_too(solver: str) -> None:
    agent = OMD("MlpPolicy", make(Probe(1, "action")), **SMALL, solver=solver, solver_steps=5).learn(1500)
    assert (np.diff(values(agent, (0, 1), (0, -1))) > 1).all()  # action 1 is worth 1, action 0 is worth -1


def test_a_gaussian_model_and_one_network() -> None:
    changes = {"stochastic_model": True, "predict_change": True, "twin": False, "inner_steps": 3}
    agent = OMD("MlpPolicy", make(Probe(1, "sign")), "mle", **SMALL, **changes).learn(1500)
    assert jax.tree.leaves(agent.learner_state.params)[0].shape[0] == 1
    np.testing.assert_allclose(values(agent, (0, 1)), 1.0, atol=0.1)
    np.testing.assert_allclose(values(agent, (0, -1)), -1.0, atol=0.1)
