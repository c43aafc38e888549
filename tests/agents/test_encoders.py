"""Networks that read images, grids and dictionaries, against PyTorch's of Stable-Baselines3 with the same weights."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from gymnasium import spaces
from jax import lax
from stable_baselines3.common import torch_layers
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

from mbrl_agents import OMD, OMDSAC, LatentModelDQN, LinearTD, PerfectModelDQN, ReplayDQN, SimpleModelDQN, ValueRNN, train_sweep
from mbrl_agents.core.encoders import GridCNN, NatureCNN, convolve
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.q_learning import Experience, q_loss
from mbrl_agents.sb3.network_arguments import make_encoder, make_optimizer, policy_kwargs
from tests.agents import sights
from tests.agents.comparing import assert_same, assert_same_parameters
from tests.agents.sights import Samples, Sight

IMAGE = spaces.Box(0, 255, (3, 40, 44), np.uint8)
SMALL_IMAGE = spaces.Box(0, 255, (9, 9, 1), np.uint8)
PARTS = spaces.Dict(
    {
        "image": IMAGE,
        "choice": spaces.Discrete(4),
        "choices": spaces.MultiDiscrete([3, 2]),
        "numbers": spaces.Box(-1, 1, (2, 2), np.float32),
    }
)
TINY: dict[str, Any] = {
    **{"learning_starts": 20, "batch_size": 8, "buffer_size": 90, "seed": 3},
    **{"policy_kwargs": {"net_arch": [8], "features_extractor_kwargs": {"features_dim": 8}}},
}
DICT: dict[str, Any] = TINY | {"policy_kwargs": {"net_arch": [8], "features_extractor_kwargs": {"cnn_output_dim": 8}}}
OF_SIGHT = {"image": ("CnnPolicy", TINY), "dict": ("MultiInputPolicy", DICT), "tuple": ("MultiInputPolicy", DICT)}


# --- the same numbers as PyTorch's ------------------------------------------------------------------------------------------


def weights(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def of_torch(layers: Any, image: np.ndarray) -> dict[str, Any]:
    """Parameters of a CNN in JAX from a PyTorch one: its convolutions, and a dense layer after them."""
    *convolutions, dense = [layer for layer in layers.modules() if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))]
    params: dict[str, Any] = {}
    x = torch.as_tensor(image[None])
    for i, layer in enumerate(convolutions):
        kernel, bias = weights(layer)
        params[f"Conv_{i}"] = {"kernel": kernel.transpose(2, 3, 1, 0), "bias": bias}
        x = layer(x)
    kernel, bias = weights(dense)
    _, filters, high, wide = x.shape
    # PyTorch flattens channels first, we flatten them last.
    rows = kernel.reshape(-1, filters, high, wide).transpose(2, 3, 1, 0).reshape(-1, len(bias))
    return params | {"Dense_0": {"kernel": rows, "bias": bias}}


@pytest.mark.parametrize("first", [True, False])
def test_nature_cnn_is_that_of_sb3(first: bool) -> None:
    torch.manual_seed(0)
    theirs = torch_layers.NatureCNN(IMAGE, features_dim=7)
    image = np.random.default_rng(0).uniform(size=(5, *IMAGE.shape)).astype(np.float32)
    ours = NatureCNN(7).apply({"params": of_torch(theirs, image[0])}, image if first else image.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(ours, theirs(torch.as_tensor(image)).detach(), atol=1e-5)


def test_grid_cnn_against_torch() -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(4, 16, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16 * 64, 9), torch.nn.ReLU()]
    theirs = torch.nn.Sequential(*layers)
    grid = (np.random.default_rng(0).uniform(size=(5, 4, 10, 10)) < 0.3).astype(np.float32)
    ours = GridCNN(9).apply({"params": of_torch(theirs, grid[0])}, grid.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(ours, theirs(torch.as_tensor(grid)).detach(), atol=1e-5)


def combined(theirs: Any, image: np.ndarray) -> dict[str, Any]:
    return {"cnn_image": of_torch(theirs.extractors["image"], image)}


def samples(space: spaces.Space[Any], number: int) -> Any:
    """A batch of observations."""
    space.seed(0)
    return jax.tree.map(lambda *each: np.stack(each), *(space.sample() for _ in range(number)))


def as_sb3(observation: dict[str, np.ndarray]) -> Any:
    return preprocess_obs({name: torch.as_tensor(part) for name, part in observation.items()}, PARTS)


def test_dictionaries_are_read_as_by_sb3() -> None:
    torch.manual_seed(0)
    theirs = torch_layers.CombinedExtractor(PARTS, cnn_output_dim=5)
    seen, codec = samples(PARTS, 6), ObservationCodec.of(PARTS)
    encoder = make_encoder("MultiInputPolicy", {"features_extractor_kwargs": {"cnn_output_dim": 5}}, codec)
    assert encoder is not None
    params = combined(theirs, seen["image"][0].astype(np.float32))
    ours = encoder.apply({"params": params}, codec.features(codec.from_host(seen)))
    np.testing.assert_allclose(ours, theirs(as_sb3(seen)).detach(), atol=1e-5)


@pytest.mark.parametrize(("size", "stride", "shape"), [(8, 4, (37, 43, 3)), (4, 2, (9, 8, 2)), (3, 1, (3, 5, 4))])
def test_convolution_as_a_product(size: int, stride: int, shape: tuple[int, int, int]) -> None:
    """Values and both derivatives are those of XLA's convolution."""
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    x, kernel = jax.random.normal(keys[0], (2, *shape)), jax.random.normal(keys[1], (size, size, shape[-1], 5))
    theirs = functools.partial(
        lax.conv_general_dilated, window_strides=(stride, stride), padding="VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    value, pull = jax.vjp(lambda *given: convolve(*given, (stride, stride)), x, kernel)
    expected, expected_pull = jax.vjp(theirs, x, kernel)
    np.testing.assert_allclose(value, expected, atol=1e-4)
    slope = jax.random.normal(keys[2], expected.shape)
    for own, other in zip(pull(slope), expected_pull(slope), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-4)


def test_loss_on_dictionaries_against_torch() -> None:
    """Q-learning's loss and its gradient in a filter, with everything from the observation to the loss in PyTorch."""
    torch.manual_seed(1)
    agent = ReplayDQN("MultiInputPolicy", Samples(PARTS), **(DICT | {"gamma": 0.9}))
    extractor = torch_layers.CombinedExtractor(PARTS, cnn_output_dim=8)
    layers = torch.nn.Sequential(torch.nn.Linear(extractor.features_dim, 8), torch.nn.ELU(), torch.nn.Linear(8, 3))
    before, after = samples(PARTS, 6), samples(PARTS, 12)
    after = jax.tree.map(lambda part: part[6:], after)
    action, reward = np.array([0, 1, 2, 0, 1, 2]), np.arange(6, dtype=np.float32)
    discount = np.array([0.9, 0.9, 0, 0.9, 0, 0.9], np.float32)

    with torch.no_grad():
        target = torch.as_tensor(reward) + torch.as_tensor(discount) * layers(extractor(as_sb3(after))).max(dim=1).values
    value = layers(extractor(as_sb3(before)))[torch.arange(6), torch.as_tensor(action)]
    expected = torch.square(value - target).mean()
    expected.backward()

    params: dict[str, Any] = {"encoder": combined(extractor, before["image"][0].astype(np.float32))}
    for i in (0, 1):
        kernel, bias = weights(layers[2 * i])
        params[f"Dense_{i}"] = {"bias": bias, "kernel": kernel.T}
    learner, codec = agent.learner, agent.replay.codec
    stored = [codec.decode(codec.encode(codec.to_storage(each))) for each in (before, after)]
    batch = Experience(stored[0], jnp.asarray(action), jnp.asarray(reward), stored[1], jnp.asarray(discount))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, agent.learner_state.params)

    (loss, _), grads = jax.value_and_grad(q_loss, has_aux=True)(jax.tree.map(jnp.asarray, params), params, batch, learner.q)
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-5)
    filters: Any = extractor.extractors["image"].cnn[0]
    np.testing.assert_allclose(
        grads["encoder"]["cnn_image"]["Conv_0"]["kernel"], filters.weight.grad.numpy().transpose(2, 3, 1, 0), atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "theirs", "options"),
    [
        ("adam", torch.optim.Adam, {"betas": [0.8, 0.9], "eps": 1e-3}),
        ("adamw", torch.optim.AdamW, {}),
        ("adagrad", torch.optim.Adagrad, {}),
        ("rmsprop", torch.optim.RMSprop, {"alpha": 0.9}),
        ("rmsproptflike", RMSpropTFLike, {}),
        ("sgd", torch.optim.SGD, {"momentum": 0.5}),
    ],
)
def test_optimisers_have_the_numbers_of_pytorch(name: str, theirs: Any, options: dict[str, Any]) -> None:

    given = policy_kwargs([8], "elu", "networks").check(
        "policy_kwargs", {"optimizer_class": theirs, "optimizer_kwargs": options}
    )
    assert given["optimizer_class"] == name
    ours = make_optimizer(given)
    weight, scale = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0])), np.array([1.0, 0.1, 3.0], np.float32)
    other, own = theirs([weight], lr=0.1, **options), jnp.array([1.0, -2.0, 3.0])
    state = ours.init(own)
    for _ in range(5):
        other.zero_grad()
        (weight**2 * torch.as_tensor(scale)).sum().backward()
        other.step()
        own, state = ours.apply(own, 2 * own * scale, state, jnp.float32(0.1), None, clip=False)
    np.testing.assert_allclose(own, weight.detach(), rtol=1e-4, atol=1e-5)


# --- whole agents -----------------------------------------------------------------------------------------------------------


class Own(nn.Module):
    """A features extractor of one's own, for dictionaries."""

    width: int = 4
    scales: tuple[float, ...] = (1.0,)

    @nn.compact
    def __call__(self, seen: dict[str, jax.Array]) -> jax.Array:
        image = seen["image"].reshape(*seen["image"].shape[:-3], -1)
        return self.scales[0] * nn.tanh(nn.Dense(self.width)(jnp.concatenate([image, seen["turned"]], axis=-1)))


class Unflattened(nn.Module):
    """What it makes of an image is another one."""

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        return 2 * image


def clipped_sgd(learning_rate: Any, limit: float) -> optax.GradientTransformation:
    """An optimiser of one's own."""
    return optax.chain(optax.clip(limit), optax.sgd(learning_rate))


@pytest.mark.parametrize("device_loop", [True, False])
@pytest.mark.parametrize("kind", ["image", "dict", pytest.param("tuple", marks=pytest.mark.slow)])
def test_continuing_equals_never_having_stopped(kind: str, device_loop: bool, tmp_path: pathlib.Path) -> None:
    policy, settings = OF_SIGHT[kind]

    def environment() -> Any:
        return sights.make(kind) if device_loop else Samples(Sight(kind).observation_space)

    undisturbed = ReplayDQN(policy, environment(), **settings).learn(40)
    stopped = ReplayDQN(policy, environment(), **settings).learn(40)
    stopped.save(tmp_path / "agent")
    stopped.save_replay_buffer(tmp_path / "replay")
    continued = ReplayDQN.load(tmp_path / "agent", env=environment())
    continued.load_replay_buffer(tmp_path / "replay")
    for each in (undisturbed, continued):
        if not device_loop:  # somebody else's environment cannot be saved
            each.set_env(environment())
            each.env.seed(5)
        each.learn(30, reset_num_timesteps=False)
    assert continued._n_updates > 40
    assert_same_parameters(undisturbed, continued)
    assert_same(undisturbed.memory.state, continued.memory.state)


def test_the_host_loop_goes_on_in_the_same_episode(tmp_path: pathlib.Path) -> None:
    learner = ReplayDQN("MultiInputPolicy", Samples(PARTS), **DICT).learn(10)
    learner.save(tmp_path / "agent")
    again = ReplayDQN.load(tmp_path / "agent", env=learner.get_env(), force_reset=False)
    assert_same(again._last_obs, learner._last_obs)


@pytest.mark.parametrize("kind", OF_SIGHT)
def test_what_is_stored_is_what_was_seen(kind: str) -> None:
    """Both loops: a reward tells which action was right, and so does the stored observation."""
    policy, settings = OF_SIGHT[kind]
    for device_loop in (True, False):
        agent = ReplayDQN(policy, sights.make(kind), **(settings | {"device_loop": device_loop, "learning_starts": 60})).learn(
            60
        )
        stored = agent.memory.state.stored
        assert jax.tree.leaves(stored.observation)[0].dtype == np.uint8
        seen = agent.replay.codec.split(agent.replay.codec.decode(jax.tree.map(lambda leaf: leaf[:60, 0], stored.observation)))
        parts = [seen, np.zeros((60, 2))] if kind == "image" else jax.tree.leaves(seen)
        image, turned = np.asarray(parts[0]).reshape(60, sights.SIZE, sights.SIZE), np.asarray(parts[1])
        right = (image[:, :, sights.SIZE // 2 :].sum((1, 2)) > 0) ^ (turned[:, 1] == 1)
        np.testing.assert_array_equal(image.sum((1, 2)), 1)
        np.testing.assert_array_equal(stored.reward[:60, 0], stored.action[:60, 0] == right)
        following, ended = jax.tree.leaves(stored.next_observation)[0], np.asarray(stored.terminated[:59, 0])
        assert ended.sum() == 14
        goes_on = np.flatnonzero(~ended)
        np.testing.assert_array_equal(following[goes_on, 0], jax.tree.leaves(stored.observation)[0][goes_on + 1, 0])


@pytest.mark.slow
def test_a_run_of_a_sweep_is_the_run_alone() -> None:
    """Also with an optimiser of optax's, which is made of the learning rate within the program."""
    kwargs: dict[str, Any] = DICT["policy_kwargs"] | {"optimizer_class": "adam"}
    own = {name: DICT[name] for name in ("learning_starts", "batch_size", "buffer_size")} | {"policy": "MultiInputPolicy"}
    swept = own | {"policy_kwargs": kwargs, "learning_rate": [1e-2, 1e-3]}
    both = train_sweep(ReplayDQN, Sight("dict"), swept, seeds=2, total_timesteps=60, eval_interval=60, execution="vmap")
    alone = ReplayDQN(env=sights.make("dict"), learning_rate=1e-3, seed=1, policy_kwargs=kwargs, **own).learn(60)
    assert both.agent(3).learning_rate == 1e-3
    ours, theirs = both.agent(3).get_parameters()["policy"], alone.get_parameters()["policy"]
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5, err_msg=name)


def test_classes_of_ones_own_are_given_again(tmp_path: pathlib.Path) -> None:
    kwargs = {
        "features_extractor_class": Own,
        "features_extractor_kwargs": {"width": 5, "scales": [2.0]},
        "optimizer_class": clipped_sgd,
        "optimizer_kwargs": {"limit": 0.5},
        "net_arch": [8],
        "layer_norm": True,
    }
    agent = ReplayDQN("MultiInputPolicy", sights.make("dict"), **(TINY | {"policy_kwargs": kwargs})).learn(40)
    params = agent.learner_state.params
    assert params["encoder"]["module"]["Dense_0"]["kernel"].shape == (sights.SIZE**2 + 2, 5)
    assert params["LayerNorm_0"]["scale"].shape == (8,)
    agent.save(tmp_path / "agent")
    with pytest.raises(
        ValueError, match=r"saved with tests.agents.test_encoders:clipped_sgd, tests.agents.test_encoders:Own, .* give"
    ):
        ReplayDQN.load(tmp_path / "agent")
    own = {"features_extractor_class": Own, "optimizer_class": clipped_sgd}
    with pytest.raises(ValueError, match="policy_kwargs must equal the saved"):
        ReplayDQN.load(tmp_path / "agent", policy_kwargs=own | {"optimizer_class": optax.sgd, "optimizer_kwargs": {}})
    loaded = ReplayDQN.load(tmp_path / "agent", custom_objects={"policy_kwargs": own})
    assert_same_parameters(agent, loaded)
    seen = samples(Sight("dict").observation_space, 9)
    np.testing.assert_array_equal(loaded.q_values(seen), agent.q_values(seen))


@pytest.mark.parametrize(
    "cls", [OMDSAC, *(pytest.param(cls, marks=pytest.mark.slow) for cls in (OMD, SimpleModelDQN, PerfectModelDQN))]
)
def test_other_agents_learn_with_them(cls: Any) -> None:
    kwargs = {"net_arch": [8], "features_extractor_class": "GridCNN", "layer_norm": True, "optimizer_class": "rmsprop"}
    settings = TINY | {"policy_kwargs": kwargs, "device_loop": None}
    policy, env, more = "CnnPolicy", sights.make("image"), {}
    if cls is OMDSAC:
        policy, env, more = "MultiInputPolicy", sights.make("continuous"), {"model_loss": "none"}
        kwargs["features_extractor_class"] = "CombinedExtractor"
    if cls is PerfectModelDQN:
        del settings["device_loop"]
    agent = cls(policy, env, **settings, **more)
    before = jax.tree.map(np.array, agent.get_parameters()["policy"])
    agent.learn(40)
    after = agent.get_parameters()["policy"]
    assert any("Conv_0" in name for name in after)
    assert all(np.isfinite(after[name]).all() and (after[name] != before[name]).any() for name in after if "kernel" in name)


def test_critics_share_their_extractor() -> None:
    """As in SB3's SAC, whose critics have one and whose actor has another; a step of the actor does not move the critics'."""
    agent = OMDSAC("MultiInputPolicy", sights.make("continuous"), **DICT, model_loss="none")
    params = agent.learner_state.params
    assert params.critics["encoder"]["cnn_image"]["Dense_0"]["bias"].shape == (8,)
    assert params.critics["critics"]["Dense_0"]["bias"].shape == (2, 8)
    assert params.actor["encoder"]["cnn_image"]["Dense_0"]["bias"].shape == (8,)


# --- what cannot be ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "policy", "space", "kwargs", "message"),
    [
        (ReplayDQN, "MlpPolicy", PARTS, {}, "policy must be MultiInputPolicy"),
        (ReplayDQN, "MultiInputPolicy", IMAGE, {}, "policy must be MlpPolicy or CnnPolicy"),
        (ReplayDQN, "CnnPolicy", spaces.Box(-1, 1, (40, 40, 3)), {}, "normalize_images"),
        (ReplayDQN, "CnnPolicy", spaces.Box(-1, 1, (4,)), {}, "CnnPolicy reads images"),
        (ReplayDQN, "CnnPolicy", IMAGE, {"normalize_images": False}, "normalize_images must be True for images of bytes"),
        (ReplayDQN, "CnnPolicy", SMALL_IMAGE, {"features_extractor_class": "NatureCNN"}, "at least 36"),
        (ReplayDQN, "CnnPolicy", IMAGE, {"features_extractor_class": "ResNet"}, "must be one of 'FlattenExtractor'"),
        (ReplayDQN, "CnnPolicy", IMAGE, {"features_extractor_kwargs": {"units": 3}}, "NatureCNN cannot be made with"),
        (ReplayDQN, "CnnPolicy", IMAGE, {"features_extractor_class": Unflattened}, "must map n observations to floats"),
        (ReplayDQN, "MlpPolicy", IMAGE, {"features_extractor_kwargs": {"features_dim": 3}}, "must be empty"),
        (ReplayDQN, "MlpPolicy", IMAGE, {"optimizer_class": "newton"}, "optimizer_class must be one of 'adam'"),
        (ReplayDQN, "MlpPolicy", IMAGE, {"optimizer_kwargs": {"depth": 3}}, "optimizer_class None cannot be made"),
        (ReplayDQN, "MlpPolicy", IMAGE, {"optimizer_class": float}, "optimizer_class must be one of"),
        (SimpleModelDQN, "MultiInputPolicy", PARTS, {}, "SimpleModelDQN reads observations of a Box"),
        (OMD, "MlpPolicy", spaces.MultiDiscrete([3, 2]), {}, "OMD reads observations of a Box"),
        (LatentModelDQN, "CnnPolicy", IMAGE, {}, "policy must be one of 'MlpPolicy'"),
        (LatentModelDQN, "MlpPolicy", IMAGE, {"features_extractor_class": "NatureCNN"}, "has no 'features_e"),
        (ValueRNN, "RnnPolicy", PARTS, None, "ValueRNN reads observations of a Box"),
        (LinearTD, "linear", PARTS, None, "LinearTD reads observations of a Box"),
    ],
)  # fmt: skip
def test_refusals(cls: Any, policy: str, space: spaces.Space[Any], kwargs: dict[str, Any] | None, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        cls(policy, Samples(space), **({} if kwargs is None else {"policy_kwargs": kwargs}))


def test_refusals_of_agents_with_models_and_of_two_optimisers() -> None:
    continuous = sights.make("continuous")
    with pytest.raises(ValueError, match="OMDSAC reads observations of a Box"):
        OMDSAC("MultiInputPolicy", continuous, model_loss="mle")
    grid = Samples(spaces.Box(-1, 1, (4, 4, 1)), spaces.Box(-1, 1, (1,)))
    with pytest.raises(ValueError, match="solver must not be 'gauss_newton'"):
        OMDSAC("CnnPolicy", grid, policy_kwargs={"normalize_images": False})
    with pytest.raises(ValueError, match="layer_norm must be False with solver='gauss_newton'"):
        OMDSAC("MlpPolicy", grid, policy_kwargs={"layer_norm": True})
    with pytest.raises(ValueError, match="adam_b1 must be as by default"):
        ReplayDQN("MlpPolicy", "CartPole-v1", adam_b1=0.5, policy_kwargs={"optimizer_class": "sgd"})
    agent = ReplayDQN("CnnPolicy", sights.make("image"), **TINY)
    with pytest.raises(NotImplementedError, match="features extractor"):
        agent.to_torch()
    with pytest.raises(ValueError, match="must have the parts of Dict"):
        ReplayDQN("MultiInputPolicy", sights.make("dict"), **DICT).predict({"image": np.zeros((6, 6, 1), np.uint8)})


# --- learning ---------------------------------------------------------------------------------------------------------------


def test_layer_norm_is_copied_to_torch() -> None:
    agent = ReplayDQN("MlpPolicy", sights.make("image"), **(TINY | {"policy_kwargs": {"net_arch": [8], "layer_norm": True}}))
    seen = samples(Sight("image").observation_space, 5)
    np.testing.assert_allclose(agent.to_torch()(torch.as_tensor(seen)).detach(), agent.q_values(seen), atol=1e-5)


@pytest.mark.parametrize("kind", ["image", pytest.param("dict", marks=pytest.mark.slow)])
def test_a_policy_of_what_is_seen_is_learned(kind: str) -> None:
    """Nearly all that can be seen is answered rightly, half of it by chance."""
    policy, settings = OF_SIGHT[kind]
    kwargs = {"features_extractor_kwargs": {"features_dim": 32}} if kind == "image" else {}
    own = settings | {
        **{"gamma": 0.0, "batch_size": 64, "learning_rate": 2e-3, "learning_starts": 200, "buffer_size": 4000},
        **{"policy_kwargs": {"net_arch": [32]} | kwargs, "train_freq": 4},
    }
    agent = ReplayDQN(policy, sights.make(kind), **own).learn(4000)
    number = sights.SIZE**2
    places = np.arange(number)
    image = np.zeros((number, number), np.uint8)
    image[places, places] = 255
    image = image.reshape(number, sights.SIZE, sights.SIZE, 1)
    right = places % sights.SIZE >= sights.SIZE // 2
    for turned in range(1 if kind == "image" else 2):
        seen: Any = image if kind == "image" else {"image": image, "turned": np.full(number, 3 + turned)}
        actions, _ = agent.predict(seen, deterministic=True)
        assert (actions == right ^ bool(turned)).mean() > 0.9
