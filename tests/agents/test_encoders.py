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
from mbrl_agents.core.q_learning import Experience
from mbrl_agents.sb3.network_arguments import OPTIMIZERS, make_encoder
from tests.agents import sights
from tests.agents.comparing import assert_same, assert_same_parameters
from tests.agents.sights import Samples, Sight

IMAGE = spaces.Box(0, 255, (3, 40, 44), np.uint8)
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
    params |= {
        f"Dense_{i}": dict(zip(("bias", "kernel"), (weights(layers[2 * i])[1], weights(layers[2 * i])[0].T))) for i in (0, 1)
    }
    learner, codec = agent.learner, agent.replay.codec
    stored = [codec.decode(codec.encode(codec.to_storage(each))) for each in (before, after)]
    batch = Experience(stored[0], jnp.asarray(action), jnp.asarray(reward), stored[1], jnp.asarray(discount))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, agent.learner_state.params)
    from mbrl_agents.core.q_learning import q_loss

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
    from mbrl_agents.sb3.network_arguments import make_optimizer, policy_kwargs

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
        own, state = ours.apply(own, 2 * own * scale, state, jnp.float32(0.1), None, clip=False)  # type: ignore[arg-type]
    np.testing.assert_allclose(own, weight.detach(), rtol=1e-4, atol=1e-5)
