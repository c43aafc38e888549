"""Encoders of observations, before the layers of a network: convolutions for images and grids, a branch for each part.

An encoder maps features, float32 (…, f), as :class:`~mbrl_agents.core.observations.ObservationCodec` makes them of
observations, to others, (…, d). So whatever handles features, a world model for instance, need not know of encoders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mbrl_agents.core.networks import INITIALIZERS, uniform_biases
from mbrl_agents.core.observations import ObservationCodec

NATURE_SIZE = 36
"""The least height and width of an image that :class:`NatureCNN` reads."""
GRID_SIZE = 3
"""The least height and width of a grid that :class:`GridCNN` reads."""


def channels_first(shape: tuple[int, ...]) -> bool:
    """Whether an image of this shape has its channels first: whether they are the least of the three, as SB3 finds out."""
    return int(np.argmin(shape)) == 0


class NatureCNN(nn.Module):
    """The convolutional network of Mnih et al. 2015 (Nature 518), as Stable-Baselines3's ``NatureCNN``.

    32 filters 8 × 8 at every fourth place, 64 of 4 × 4 at every second, 64 of 3 × 3, and a dense layer; after each a ReLU.
    Weights begin as PyTorch's do.

    Attributes:
        features_dim: Units of the dense layer.
    """

    features_dim: int = 512

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Maps images, float32 (…, height, width, channels) or (…, channels, height, width), to (…, features_dim)."""
        x = channels_last(image)
        for filters, size, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            x = _convolution(x, filters, size, stride)
        return _dense(x, self.features_dim)


class GridCNN(nn.Module):
    """A small convolutional network for grids of cells, with the numbers of MinAtar's (Young & Tian 2019, arXiv 1903.03176).

    16 filters 3 × 3 and a dense layer of 128; after each a ReLU. Weights begin as PyTorch's do.

    Attributes:
        features_dim: Units of the dense layer.
        filters: Number of filters.
    """

    features_dim: int = 128
    filters: int = 16

    @nn.compact
    def __call__(self, grid: jax.Array) -> jax.Array:
        """Maps grids, float32 (…, height, width, channels) or (…, channels, height, width), to (…, features_dim)."""
        return _dense(_convolution(channels_last(grid), self.filters, 3, 1), self.features_dim)


class CombinedExtractor(nn.Module):
    """A branch for each part of a dictionary or tuple: images go through a CNN, all else is flattened (as SB3's).

    Attributes:
        codec: What the features are of.
        cnn_output_dim: Features of each image.
        normalized_image: Whether all of three dimensions are images, whatever their numbers.
    """

    codec: ObservationCodec
    cnn_output_dim: int = 256
    normalized_image: bool = False

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps features to the branches' outputs, one after the other in the space's order."""
        branches, begin = [], 0
        for name, part in self.codec.leaves():
            own = features[..., begin : begin + part.num_features]
            begin += part.num_features
            if is_image(part, self.normalized_image) and size_of(part) >= GRID_SIZE:
                own = cnn_for(part)(features_dim=self.cnn_output_dim, name=f"cnn_{name}")(part.split(own))
            branches.append(own)
        return jnp.concatenate(branches, axis=-1)


class Extractor(nn.Module):
    """A module that reads whole observations.

    Attributes:
        codec: What the features are of.
        module: From an observation (of choices: ones among zeros; a dictionary or tuple of such) to numbers (…, d).
    """

    codec: ObservationCodec
    module: nn.Module

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps features to the module's outputs."""
        return self.module(self.codec.split(features))


def channels_last(image: jax.Array) -> jax.Array:
    """Images with their channels last, (…, height, width, channels), whatever they had."""
    return jnp.moveaxis(image, -3, -1) if channels_first(image.shape[-3:]) else image


def is_image(codec: ObservationCodec, normalized: bool = False) -> bool:
    """Whether observations are images as SB3 recognises them: three dimensions, bytes unless ``normalized``."""
    return len(codec.shape) == 3 and (codec.kind == "bytes" or (normalized and codec.kind in ("bits", "float")))


def size_of(codec: ObservationCodec) -> int:
    """The lesser of an image's height and width."""
    shape = codec.shape
    return min(shape[1:] if channels_first(shape) else shape[:-1])


def cnn_for(codec: ObservationCodec) -> type[NatureCNN | GridCNN]:
    """The network for images of this size: that of the paper, or where they are too small for it, the one for grids."""
    return NatureCNN if size_of(codec) >= NATURE_SIZE else GridCNN


def convolve(x: jax.Array, kernel: jax.Array, strides: Sequence[int], *more: Any, **others: Any) -> jax.Array:
    """Convolution without padding, as one product of matrices; takes the place of ``lax.conv_general_dilated`` in flax.

    Within a loop, as in training, XLA's own takes eight times as long on a CPU. Images are cut into blocks of the stride, so
    that a filter of k × k is one of (k / stride)² blocks: few slices, which are laid side by side.

    Args:
        x: Images, (n, height, width, channels).
        kernel: Square filters, (k, k, channels, filters), k a multiple of the stride.
        strides: The stride, twice.
        *more: The rest is as flax has it by default.
        **others: Likewise.
    """
    del more, others
    size, _, channels, filters = kernel.shape
    stride = strides[0]
    across = size // stride
    high, wide = ((n - size) // stride + 1 for n in x.shape[1:3])
    rows, columns = high + across - 1, wide + across - 1
    blocks = x[:, : rows * stride, : columns * stride].reshape(-1, rows, stride, columns, stride, channels)
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(-1, rows, columns, stride * stride * channels)
    patches = [blocks[:, i : i + high, j : j + wide] for i in range(across) for j in range(across)]
    matrix = kernel.reshape(across, stride, across, stride, channels, filters).transpose(0, 2, 1, 3, 4, 5)
    return jnp.concatenate(patches, axis=-1) @ matrix.reshape(-1, filters)


def _convolution(x: jax.Array, filters: int, size: int, stride: int) -> jax.Array:
    kernels, biases = INITIALIZERS["torch"], uniform_biases(size * size * x.shape[-1])
    layer = nn.Conv(
        filters,
        (size, size),
        stride,
        padding="VALID",
        kernel_init=kernels,
        bias_init=biases,
        conv_general_dilated=convolve,
    )
    return nn.relu(layer(x))


def _dense(x: jax.Array, width: int) -> jax.Array:
    flat = x.reshape(*x.shape[:-3], -1)
    return nn.relu(nn.Dense(width, kernel_init=INITIALIZERS["torch"], bias_init=uniform_biases(flat.shape[-1]))(flat))
