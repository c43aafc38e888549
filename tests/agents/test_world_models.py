"""World models against computations of their own: NumPy, SciPy, finite differences, the environment itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from gymnasium import spaces

from mbrl_agents.core.networks import MLP, CodeDense, Codes
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.replay import Batch
from mbrl_agents.model_dqn.heads import Emission, Heads
from mbrl_agents.model_dqn.latent import LatentModel
from mbrl_agents.model_dqn.latents import CategoricalLatent, GaussianLatent
from mbrl_agents.model_dqn.perfect import PerfectModel
from mbrl_agents.model_dqn.simple import SimpleModel
from mbrl_agents.model_dqn.weights import LossWeights, ModelHyperparameters
from mbrl_agents.model_dqn.world_model import Imagined, imagine
from mbrl_envs import PanFlute, ProcMaze, draws

BITS = ObservationCodec.of(spaces.Box(0, 1, (6,), np.bool_))
NUMBERS = ObservationCodec.of(spaces.Box(-9, 9, (6,), np.float32))
INDEX = ObservationCodec.of(spaces.Discrete(6))
KEY = jax.random.PRNGKey(3)


def batch_of(codec: ObservationCodec, size: int = 7) -> Batch:
    rng = np.random.default_rng(0)
    if codec.kind == "float":
        before, after = rng.normal(size=(2, size, 6))
    elif codec.kind == "index":
        before, after = np.eye(6)[rng.integers(6, size=(2, size))]
    else:
        before, after = rng.integers(2, size=(2, size, 6))
    terminated = np.arange(size) % 3 == 0
    arrays = (before, rng.integers(3, size=size), rng.normal(size=size), after, np.where(terminated, 0, 0.9))
    before, action, reward, after, discount = (jnp.asarray(each, jnp.float32) for each in arrays)
    return Batch(before, action.astype(jnp.int32), reward, after, discount, jnp.asarray(terminated))


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def numpy_heads(params: Any, x: np.ndarray, num_heads: int) -> list[np.ndarray]:
    """Every head as a perceptron of its own."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    by_code = "CodeDense_0" in params
    first = params["CodeDense_0" if by_code else "Dense_0"]
    width = first["kernel"].shape[1] // num_heads
    later = [params[f"Dense_{i}"] for i in range(not by_code, len(params) - by_code)]
    each = len(later) // num_heads
    outputs = []
    for head in range(num_heads):
        part = slice(head * width, (head + 1) * width)
        h = elu(x @ first["kernel"][:, part] + first["bias"][part])
        *hidden, last = later[head * each : (head + 1) * each]
        for layer in hidden:
            h = elu(h @ layer["kernel"] + layer["bias"])
        outputs.append(h @ last["kernel"] + last["bias"])
    return outputs


def numpy_mlp(params: Any, x: np.ndarray) -> np.ndarray:
    layers = [params[name] for name in sorted(params, key=lambda name: (name.startswith("Dense"), name))]
    for i, layer in enumerate(layers):
        x = x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)
        x = elu(x) if i < len(layers) - 1 else x
    return x


def scrambled(params: Any) -> Any:
    """Parameters with biases that are not 0."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.PRNGKey(9), len(leaves))
    return structure.unflatten(
        [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    )


def bce(logit: np.ndarray, label: np.ndarray) -> np.ndarray:
    p = 1 / (1 + np.exp(-logit))
    return -np.where(label == 1, np.log(p), np.log(1 - p))


def nll(codec: ObservationCodec, said: np.ndarray, features: np.ndarray, learned: bool = False) -> np.ndarray:
    if codec.kind == "bits":
        return bce(said, features).sum(-1)
    if codec.kind == "index":
        return -np.log(scipy.special.softmax(said, -1)[features == 1])
    std = np.exp(5 * np.tanh(said[:, 6:] / 5)) if learned else 1.0
    return -scipy.stats.norm.logpdf(features, said[:, :6], std).sum(-1)


# --- Heads and losses ---------------------------------------------------------------------------------------------------------


def test_heads_are_perceptrons_of_their_own() -> None:
    heads = Heads((8, 5, 4), (1, 6, 3))
    x = np.random.default_rng(1).normal(size=(7, 9)).astype(np.float32)
    params = scrambled(heads.init(KEY, x)["params"])
    for ours, theirs in zip(heads.apply({"params": params}, x), numpy_heads(params, x, 3), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_heads_begin_as_wide_as_perceptrons_alone() -> None:
    """The initial variance is that of the truncated normal over the inputs of each layer, however the heads are laid out."""
    params = Heads((300, 300), (2, 2, 2)).init(KEY, jnp.zeros((1, 100)))["params"]
    variance = scipy.stats.truncnorm(-2, 2).var()
    assert np.var(params["Dense_0"]["kernel"]) == pytest.approx(variance / 100, rel=0.05)
    assert np.var(params["Dense_1"]["kernel"]) == pytest.approx(variance / 300, rel=0.05)


@pytest.mark.parametrize(
    ("codec", "learned", "continuing"),
    [
        *((BITS, False, continuing) for continuing in (False, True)),
        *((codec, learned, False) for codec, learned in ((INDEX, False), (NUMBERS, False), (NUMBERS, True))),
    ],
)
def test_loss_of_the_simple_model(codec: ObservationCodec, learned: bool, continuing: bool) -> None:
    model = SimpleModel(Emission(codec, learned), 3, hidden=(8, 8), continuing=continuing)
    params, batch = scrambled(model.init(KEY)), batch_of(codec)
    weights = LossWeights(reward=0.5, termination=2.0, observation=0.25)
    loss, parts = jax.jit(model.loss)(params, batch, KEY, ModelHyperparameters(weights))
    inputs = np.concatenate([batch.observation, np.eye(3)[batch.action]], 1)
    said = numpy_mlp(params["dynamics"], inputs)
    reward, *end = numpy_heads(params["outcomes"], inputs, 1 if continuing else 2)
    goes_on = ~np.asarray(batch.terminated)
    expected = {
        "reward": -scipy.stats.norm.logpdf(batch.reward, reward[:, 0]).mean(),
        "observation": (goes_on * nll(codec, said, np.asarray(batch.next_observation), learned)).mean(),
    }
    if not continuing:
        expected["termination"] = bce(end[0][:, 0], 1 - goes_on).mean()
    assert set(parts) == set(expected)
    for name, value in expected.items():
        assert float(parts[name]) == pytest.approx(value, rel=1e-4), name
    assert float(loss) == pytest.approx(sum(getattr(weights, name) * value for name, value in expected.items()), rel=1e-4)


LATENTS = {
    "gaussian": GaussianLatent(4),
    "tanh_gaussian": GaussianLatent(4, squash=True),
    "categorical": CategoricalLatent(3, 5),
}


def numpy_divergence(latent: Any, first: np.ndarray, second: np.ndarray | None) -> np.ndarray:
    """KL of the encoder's distribution from the dynamics' (None: from the fixed one)."""
    if isinstance(latent, CategoricalLatent):
        own = scipy.special.softmax(first.reshape(-1, 5, 3), 1)
        other = np.full_like(own, 0.2) if second is None else scipy.special.softmax(second.reshape(-1, 5, 3), 1)
        return scipy.stats.entropy(own, other, axis=1).sum(-1)
    sigma = lambda raw: 2 / (1 + np.exp(-raw / 2))  # noqa: E731
    mean, std = first[:, :4], sigma(first[:, 4:]) + 0.1
    other_mean, other_std = (0.0, 1.0) if second is None else (second[:, :4], sigma(second[:, 4:]))
    return (np.log(other_std / std) + (std**2 + (mean - other_mean) ** 2) / (2 * other_std**2) - 0.5).sum(-1)


# A squashed variable has the divergences of a Gaussian one (tests/agents/test_latents.py).
LATENTS_BY_DEFAULT = ["categorical", "gaussian", pytest.param("tanh_gaussian", marks=pytest.mark.slow)]


@pytest.mark.parametrize(
    ("name", "published_mask"),
    [
        *(("categorical", False), ("categorical", True), ("gaussian", False)),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("gaussian", True), ("tanh_gaussian", False))),
    ],
)
def test_loss_of_latent_models(name: str, published_mask: bool) -> None:
    latent = LATENTS[name]
    model = LatentModel(latent, Emission(BITS), 3, hidden=(8, 8), published_mask=published_mask)
    params, batch = scrambled(model.init(KEY)), batch_of(BITS)
    weights = LossWeights(reward=0.5, termination=2.0, observation=0.25, dynamics=3.0, prior=0.125)
    loss, parts = jax.jit(model.loss)(params, batch, KEY, ModelHyperparameters(weights))
    seen, seen_next = (numpy_mlp(params["encoder"], np.asarray(each)) for each in (batch.observation, batch.next_observation))
    drawn = latent.draw(jnp.asarray(seen, jnp.float32), KEY, 0.1)
    # A code is the place of a one among zeros.
    z = np.eye(15)[drawn].sum(1) if name == "categorical" else np.asarray(drawn)
    inputs = np.concatenate([z, np.eye(3)[batch.action]], 1)
    expected_next = numpy_mlp(params["dynamics"], inputs)
    reward, end = numpy_heads(params["outcomes"], inputs, 2)
    counts = ~np.asarray(batch.terminated) if published_mask else 1
    expected = {
        "reward": -scipy.stats.norm.logpdf(batch.reward, reward[:, 0]).mean(),
        "termination": bce(end[:, 0], np.asarray(batch.terminated)).mean(),
        "observation": (counts * nll(BITS, numpy_mlp(params["decoder"], z), np.asarray(batch.observation))).mean(),
        "dynamics": numpy_divergence(latent, seen_next, expected_next).mean(),
        "prior": numpy_divergence(latent, seen, None).mean(),
    }
    assert set(parts) == set(expected)
    for part, value in expected.items():
        assert float(parts[part]) == pytest.approx(value, rel=2e-4), part
    assert float(loss) == pytest.approx(sum(getattr(weights, part) * value for part, value in expected.items()), rel=2e-4)


@pytest.mark.parametrize("name", LATENTS_BY_DEFAULT)
def test_the_divergence_is_balanced(name: str) -> None:
    """Its gradient is that of 0.8·KL(q′₀‖p′) + 0.2·KL(q′‖p′₀), where ₀ does not move: along random directions."""
    latent = LATENTS[name]
    model = LatentModel(latent, Emission(BITS), 3, hidden=(8,))
    params, batch = scrambled(model.init(KEY)), batch_of(BITS)

    def distributions(theta: Any) -> tuple[jax.Array, jax.Array]:
        z = latent.draw_for_gradient(model.encode(theta, batch.observation), KEY, 0.1)
        return model.encode(theta, batch.next_observation), model.predict(theta, z, batch.action)

    seen_0, expected_0 = distributions(params)

    def unbalanced(theta: Any) -> jax.Array:
        seen, expected = distributions(theta)
        towards = latent.divergence(seen_0, expected, 0.1)
        back = latent.divergence(seen, expected_0, 0.1)
        return (0.8 * towards + 0.2 * back).mean()

    ours = jax.jit(jax.grad(lambda theta: model.loss(theta, batch, KEY, ModelHyperparameters())[1]["dynamics"]))(params)
    theirs = jax.grad(unbalanced)(params)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    if name == "categorical":  # what is drawn jumps: differences say nothing
        return
    for seed in range(4):
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.PRNGKey(seed), len(leaves))
        direction = structure.unflatten([jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)])
        ahead, behind = (unbalanced(jax.tree.map(lambda p, d, s=s: p + s * d, params, direction)) for s in (2e-3, -2e-3))
        slope = sum(jnp.vdot(g, d) for g, d in zip(jax.tree.leaves(ours), jax.tree.leaves(direction), strict=True))
        assert float(ahead - behind) / 4e-3 == pytest.approx(float(slope), rel=2e-2, abs=2e-3)


# --- Draws and codes ----------------------------------------------------------------------------------------------------------


def test_codes_give_what_ones_and_zeros_give() -> None:
    """Values, and gradients of kernels; gradients of codes go straight through."""
    places = jnp.array([[0, 4, 7], [1, 5, 8], [2, 3, 6]])
    ones = jnp.eye(9)[places].sum(1)
    by_code, dense = CodeDense(4, 9), MLP((), 4)
    params = scrambled(by_code.init(KEY, places)["params"])

    def with_codes(params: Any, through: jax.Array) -> jax.Array:
        return jnp.sin(by_code.apply({"params": params}, Codes(places, through))).sum()

    def written_out(params: Any, through: jax.Array) -> jax.Array:
        inputs = ones + through - jax.lax.stop_gradient(through)
        return jnp.sin(dense.apply({"params": {"Dense_0": params}}, inputs)).sum()

    through = jax.random.normal(KEY, ones.shape)
    for function in (lambda f: f(params, through), lambda f: jax.grad(f, argnums=(0, 1))(params, through)):
        for a, b in zip(jax.tree.leaves(function(with_codes)), jax.tree.leaves(function(written_out)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("by_code", [False, True])
def test_a_network_goes_on_from_products_known_before(by_code: bool) -> None:
    """Outputs and gradients are those of running it; what is given is used, not computed again."""
    network = MLP((8, 5), 3, num_values=9 if by_code else 0)
    x = jnp.array([[0, 4, 7], [1, 5, 8]]) if by_code else jax.random.normal(KEY, (2, 9))
    params = scrambled(network.init(KEY, x)["params"])
    outputs, products = network.apply({"params": params}, x, method="run")

    def loss(theta: Any, known: Any) -> jax.Array:
        return jnp.sin(network.apply({"params": theta}, x, known, method="run")[0]).sum()

    np.testing.assert_array_equal(outputs, network.apply({"params": params}, x))
    for a, b in zip(*(jax.tree.leaves(jax.grad(loss)(params, known)) for known in (products, None)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    others = [product + 1 for product in products]
    bias = params[max(params, key=lambda name: (name.startswith("Dense"), name))]["bias"]
    np.testing.assert_allclose(network.apply({"params": params}, x, others, method="run")[0], others[-1] + bias, atol=1e-6)


def test_raw_logits_are_drawn_as_the_published_code_does() -> None:
    said = jnp.repeat(jnp.array([[-1.0, 0.25, 2.0, 0.0, 0.0, 0.0]]), 20_000, 0)
    raw = np.asarray(Emission(BITS, raw_logits=True).sample(said, KEY)).mean(0)
    np.testing.assert_allclose(raw[:3], [0, 0.25, 1], atol=0.012)
    mended = np.asarray(Emission(BITS).sample(said, KEY)).mean(0)
    np.testing.assert_allclose(mended[:3], 1 / (1 + np.exp([1, -0.25, -2])), atol=0.012)


def test_numbers_are_drawn_where_their_variance_is_learned() -> None:
    said = jnp.repeat(jnp.array([[0.5] * 6 + [-1.0] * 6]), 20_000, 0)
    drawn = np.asarray(Emission(NUMBERS, learned_variance=True).sample(said, KEY))
    np.testing.assert_allclose(drawn.mean(0), 0.5, atol=0.02)
    np.testing.assert_allclose(drawn.std(0), np.exp(5 * np.tanh(-0.2)), rtol=0.03)
    np.testing.assert_array_equal(Emission(NUMBERS).sample(said[:, :6], KEY), said[:, :6])


# --- Roll-outs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", [ProcMaze(3), PanFlute(4)], ids=lambda env: type(env).__name__)
def test_the_perfect_model_is_the_environment(env: Any) -> None:
    """Every imagined step is a step of the environment with the key of its lane, also through the end of an episode."""
    model = PerfectModel(env, ObservationCodec.of(env.observation_space))
    states = jax.vmap(env.reset)(jax.random.split(KEY, 6))
    length, num_actions = 12, int(env.action_space.n)
    actions = jax.random.randint(jax.random.PRNGKey(5), (length, 6), 0, num_actions)
    # The policy is told which actions to take by the order in which it is asked.
    keys = jax.random.split(KEY, length)
    act_keys = jax.vmap(lambda key: jax.random.split(key)[0])(keys)

    def choose(features: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        return actions[jnp.argmax((act_keys == key).all(-1))], None

    imagined = jax.jit(lambda: imagine(model, {}, states, choose, length, KEY))()
    batch = Batch(*[None] * 6, env_state=states)  # type: ignore[arg-type]
    assert model.start({}, batch, KEY, ModelHyperparameters()) is states
    ended = np.zeros(6, bool)
    for t in range(length):
        model_key = jax.random.split(keys[t])[1]
        for lane in range(6):
            state = jax.tree.map(lambda leaf, lane=lane: leaf[lane], states)
            np.testing.assert_array_equal(imagined.features[t, lane], np.asarray(env.observe(state), np.float32).ravel())
            out = env.step(draws.fold_in(model_key, lane), state, actions[t, lane])
            assert imagined.reward[t, lane] == out.reward
            assert imagined.continuation[t, lane] == 1 - out.terminated
            assert imagined.weights()[t, lane] == (not ended[lane])
            ended[lane] |= bool(out.terminated)
            states = jax.tree.map(lambda all_, one, lane=lane: all_.at[lane].set(one), states, out.state)
    assert ended.any() != env.continuing


def test_weights_of_imagined_steps_by_hand() -> None:
    continuation = jnp.array([[1.0, 0.5], [0.0, 0.8], [1.0, 0.25]])
    imagined = Imagined(jnp.zeros((4, 2, 3)), jnp.zeros((3, 2), jnp.int32), jnp.ones((3, 2)), continuation)
    np.testing.assert_allclose(imagined.weights(), [[1, 1], [1, 0.5], [0, 0.4]], rtol=1e-6)


@pytest.mark.parametrize("name", ["simple", *LATENTS_BY_DEFAULT])
def test_nothing_of_an_end_is_learned_or_used_where_there_is_none(name: str) -> None:
    """In continuing tasks continuations and weights are 1, and there is neither a termination head nor a loss of it."""
    models: dict[str, Any] = {key: LatentModel(latent, Emission(BITS), 3, hidden=(8,)) for key, latent in LATENTS.items()}
    episodic = models.get(name, SimpleModel(Emission(BITS), 3, hidden=(8,)))
    model = dataclasses.replace(episodic, continuing=True)
    params, batch = model.init(KEY), batch_of(BITS)
    assert [len(each.outcomes.network.outputs) for each in (model, episodic)] == [1, 2]
    others = jax.jit(episodic.init)(KEY)
    assert "termination" not in jax.eval_shape(model.loss, params, batch, KEY, ModelHyperparameters())[1]
    assert "termination" in jax.eval_shape(episodic.loss, others, batch, KEY, ModelHyperparameters())[1]

    def choose(features: Any, key: Any) -> Any:
        return jnp.zeros(7, jnp.int32), None

    imagined = jax.jit(
        lambda: imagine(model, params, model.start(params, batch, KEY, ModelHyperparameters()), choose, 5, KEY)
    )()
    assert (imagined.continuation == 1).all()
    assert (imagined.weights() == 1).all()
    other = jax.jit(
        lambda: imagine(episodic, others, episodic.start(others, batch, KEY, ModelHyperparameters()), choose, 5, KEY)
    )()
    assert (other.continuation < 1).all()
