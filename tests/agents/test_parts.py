"""Parts of agents against independent computations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gymnasium import spaces

from mbrl_agents.core import exploration, optimizer
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.learner import Hyperparameters
from mbrl_agents.core.networks import MLP, elu
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.optimizer import AdamHyperparameters
from mbrl_agents.core.q_learning import QLearning
from mbrl_agents.core.replay import Batch, Replay, Transitions
from mbrl_agents.core.schedules import Now
from mbrl_agents.replay_dqn import DQNLearner


def test_adam_is_optax_adamw_with_the_decay_undone() -> None:
    """The study's decay equals optax.adamw's with weight_decay / learning_rate (REFERENCE section 2)."""
    rng = np.random.default_rng(0)
    params = {"a": jnp.array(rng.normal(size=(3, 4)), jnp.float32), "b": jnp.array(rng.normal(size=4), jnp.float32)}
    rate, decay = 2e-3, 1e-3
    theirs = optax.adamw(rate, b1=0.9, b2=0.99, eps=1e-5, weight_decay=decay / rate)
    theirs_state, ours_state = theirs.init(params), optimizer.init(params)
    mine = yours = params
    for _ in range(20):
        grads = jax.tree.map(lambda leaf: jnp.array(rng.normal(size=leaf.shape), jnp.float32), params)
        updates, theirs_state = theirs.update(grads, theirs_state, yours)
        yours = optax.apply_updates(yours, updates)
        mine, ours_state = optimizer.apply(
            mine, grads, ours_state, jnp.float32(rate), AdamHyperparameters(weight_decay=decay), clip=False
        )
    for name in params:
        np.testing.assert_allclose(mine[name], yours[name], rtol=1e-5)


def test_clipping_is_by_the_norm_of_all_gradients() -> None:
    params = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    grads = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([0.0, 4.0])}
    hyper = AdamHyperparameters(eps=1.0, weight_decay=0.0, max_grad_norm=1.0)
    new, _ = optimizer.apply(params, grads, optimizer.init(params), jnp.float32(1.0), hyper, clip=True)
    # The first step of Adam is -g / (|g| + eps), with g = (3, 4) / 5.
    np.testing.assert_allclose(new["a"][0], -0.6 / 1.6, rtol=1e-4)
    np.testing.assert_allclose(new["b"][1], -0.8 / 1.8, rtol=1e-4)


@pytest.mark.parametrize("options", [None, {}, {"xla_backend_optimization_level": 3}], ids=["eager", "compiled", "optimised"])
def test_elu_and_its_derivative(options: dict[str, Any] | None) -> None:
    """Beside NumPy, as it is used: a compiler may not take rounding for nothing (it once did)."""
    x = np.linspace(-110, 30, 20_001, dtype=np.float32)

    def ours(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return elu(x), jax.vmap(jax.grad(elu))(x)

    value, slope = ours(jnp.asarray(x)) if options is None else jax.jit(ours).lower(x).compile(options)(x)
    exact = x.astype(float)
    np.testing.assert_allclose(value, np.where(x > 0, exact, np.expm1(np.minimum(exact, 0))), atol=2e-7)
    np.testing.assert_allclose(slope, np.exp(np.minimum(exact, 0)), atol=2e-7)


@pytest.mark.parametrize(
    ("space", "bytes_per_row"),
    [
        (spaces.Box(0, 1, (4, 4, 4), np.bool_), 8),
        (spaces.MultiBinary(13), 2),
        (spaces.Box(0, 255, (5, 3), np.uint8), 15),
        (spaces.Box(-1, 1, (6,), np.float64), 24),
        (spaces.Discrete(7, start=2), 4),
    ],
    ids=str,
)
def test_codec_stores_small_and_gives_back(space: spaces.Space, bytes_per_row: int) -> None:
    space.seed(0)
    codec = ObservationCodec.of(space)
    samples = np.stack([space.sample() for _ in range(20)])
    stored = codec.encode(jnp.asarray(samples))
    assert stored.shape == (20, *codec.row.shape)
    assert stored.dtype == codec.row.dtype
    assert stored.nbytes == 20 * bytes_per_row
    if isinstance(space, spaces.Discrete):
        expected = np.eye(7)[samples - 2]
    else:
        expected = samples.reshape(20, -1).astype(np.float32) / (255 if space.dtype == np.uint8 else 1)
    np.testing.assert_allclose(codec.decode(stored), expected, rtol=1e-6)
    np.testing.assert_allclose(codec.features(jnp.asarray(samples)), expected, rtol=1e-6)


def test_codec_refuses_other_spaces() -> None:
    with pytest.raises(ValueError, match="must be a Box, MultiBinary, Discrete or MultiDiscrete"):
        ObservationCodec.of(spaces.Sequence(spaces.Discrete(2)))


def test_the_study_needs_a_twentieth_of_the_memory() -> None:
    """REFERENCE section 2: the published layout takes 52 MB for ProcMaze n=4 at 100 000 rows."""
    codec = ObservationCodec.of(spaces.Box(0, 1, (64,), np.bool_))
    assert Replay(codec, ActionCodec(4), 100_000, 1).bytes == pytest.approx(52e6 / 20, rel=0.01)


def test_sampling_is_uniform_over_what_is_stored() -> None:
    replay = Replay(ObservationCodec.of(spaces.Discrete(100)), ActionCodec(4), 10, 2)
    memory = replay.init()
    for t in range(6):
        row = Transitions(np.array([t, 50 + t]), *np.zeros((2, 2), np.float32), np.zeros(2), *np.zeros((2, 2), bool))
        memory = replay.add(memory, jax.tree.map(jnp.asarray, row._replace(action=np.zeros(2, np.int32))))
    batch = replay.sample(memory, jax.random.PRNGKey(0), 24_000, jnp.float32(0.9))
    counts = np.bincount(np.asarray(batch.observation.argmax(-1)), minlength=100)
    stored = [*range(6), *range(50, 56)]
    assert counts.sum() == counts[stored].sum()
    chi_square = ((counts[stored] - 2000) ** 2 / 2000).sum()
    assert chi_square < 31.3  # 99.9 % of the chi-square distribution with 11 degrees of freedom


def test_softmax_and_epsilon_greedy_probabilities() -> None:
    values, n = jnp.array([0.1, 0.5, 0.2, -0.4]), 40_000
    table = jnp.broadcast_to(values, (n, 4))
    explore = Exploration(temperature=0.3, epsilon=0.2)
    for kind, expected in (
        ("softmax", np.exp(values / 0.3) / np.exp(values / 0.3).sum()),
        ("epsilon_greedy", np.array([0.05, 0.85, 0.05, 0.05])),
    ):
        actions = exploration.select(table, jax.random.PRNGKey(1), kind, explore)
        frequency = np.bincount(np.asarray(actions), minlength=4) / n
        np.testing.assert_allclose(frequency, expected, atol=0.012, err_msg=kind)


@pytest.mark.parametrize("double_q", [False, True])
def test_one_update_against_numpy(double_q: bool) -> None:
    """Target, loss and the gradient's sign for a linear network, computed by hand."""
    codec = ObservationCodec.of(spaces.Box(-1, 1, (3,), np.float32))
    learner = DQNLearner(codec, QLearning(3, 2, hidden=(), double_q=double_q))
    state = learner.init(jax.random.PRNGKey(0), Hyperparameters(gamma=0.9, tau=1.0, adam=AdamHyperparameters(weight_decay=0.0)))
    state = state._replace(target_params=jax.tree.map(lambda leaf: -2 * leaf + 0.1, state.params))
    rng = np.random.default_rng(0)
    s, s2 = rng.normal(size=(2, 5, 3)).astype(np.float32)
    action, reward = np.array([0, 1, 1, 0, 1]), rng.normal(size=5).astype(np.float32)
    discount = np.array([0.9, 0.9, 0.0, 0.81, 0.9], np.float32)
    replay_batch = jax.tree.map(jnp.asarray, (s, action, reward, s2, discount, discount == 0))
    now = Now(Exploration(jnp.float32(0.1), jnp.float32(0.0)), jnp.float32(0.01))
    new, metrics, _ = learner.update(state, Batch(*replay_batch), jax.random.PRNGKey(0), now)

    def q(params: dict, x: np.ndarray) -> np.ndarray:
        return x @ np.asarray(params["Dense_0"]["kernel"]) + np.asarray(params["Dense_0"]["bias"])

    chosen_by = q(state.params if double_q else state.target_params, s2).argmax(1)
    target = reward + discount * q(state.target_params, s2)[np.arange(5), chosen_by]
    error = q(state.params, s)[np.arange(5), action] - target
    np.testing.assert_allclose(metrics["loss"], (error**2).mean(), rtol=1e-5)
    gradient = 2 * (error[:, None] * np.eye(2)[action]).mean(0)
    moved = np.asarray(new.params["Dense_0"]["bias"]) - np.asarray(state.params["Dense_0"]["bias"])
    np.testing.assert_allclose(moved, -0.01 * gradient / (np.abs(gradient) + 1e-5), rtol=1e-3)


@pytest.mark.parametrize("initializer", ["truncated_normal", "torch"])
def test_layers_of_codes_begin_in_float32(initializer: str) -> None:
    """Also where JAX's numbers are of 64 bits unless told otherwise."""
    with jax.enable_x64(True):
        params = MLP((4,), 2, num_values=6, initializer=initializer).init(jax.random.PRNGKey(0), jnp.zeros((1, 2), jnp.int32))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}
