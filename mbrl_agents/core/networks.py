"""Multi-layer perceptrons and their activation functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from mbrl_envs.checks import integer_in

Activation = Callable[[jax.Array], jax.Array]
MAX_WIDTH = 2**16


# 2**f on [-1/2, 1/2] is 1 + f·(c1 + f·(c2 + …)), to a relative 9.2e-8: the minimax polynomial of degree 5 that is exact at 0.
_POWER_OF_TWO = (6.93146978e-01, 2.40222421e-01, 5.55073396e-02, 9.67151132e-03, 1.32646524e-03)
_SMALLEST = -125.0  # of the exponents of two; exp(x) below 2**-125 counts as that


def negative_exp(x: jax.Array) -> jax.Array:
    """exp(x) for x ≤ 0, of float32 to a relative 2e-7 in half the time of XLA's on a CPU.

    As exp(x) = 2**n · 2**f with n an integer and |f| ≤ 1/2; n is added to the exponent bits of 2**f. (Not rounded by adding and
    taking away a large number: XLA takes that for nothing, and leaves it out.)
    """
    if x.dtype != jnp.float32:  # where the bits of an exponent are others
        return jnp.exp(x)
    exponent = jnp.maximum(x * 1.4426950408889634, _SMALLEST)
    rounded = lax.round(exponent, lax.RoundingMethod.TO_NEAREST_EVEN)
    fraction = exponent - rounded
    power = jnp.full_like(x, _POWER_OF_TWO[-1])
    for coefficient in (*_POWER_OF_TWO[-2::-1], 1.0):
        power = power * fraction + coefficient
    bits = lax.bitcast_convert_type(power, jnp.int32) + (rounded.astype(jnp.int32) << 23)
    return lax.bitcast_convert_type(bits, jnp.float32)


@jax.custom_jvp
def elu(x: jax.Array) -> jax.Array:
    """Exponential linear unit: x where x > 0, else exp(x) − 1 (Clevert, Unterthiner & Hochreiter 2016).

    As ``jax.nn.elu`` for float32, to an absolute 2e-7, in a quarter of its time on a CPU, where activations cost as much as
    a third of the matrix products. The derivative is taken from the value (elu(x) + 1 where x ≤ 0), not from an exponential.
    """
    return jnp.where(x > 0, x, negative_exp(jnp.minimum(x, 0)) - 1)


@elu.defjvp
def _elu_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    value = elu(primals[0])
    return value, tangents[0] * jnp.minimum(value + 1, 1)


ACTIVATIONS: dict[str, Activation] = {
    "elu": elu,
    "relu": nn.relu,
    "tanh": jnp.tanh,
    "silu": nn.silu,
    "gelu": nn.gelu,
    "leaky_relu": nn.leaky_relu,
    "sigmoid": nn.sigmoid,
}


def activation_name(activation: Any, argument: str = "activation_fn") -> str:
    """The name of an activation function, given as a name or as a torch class such as ``torch.nn.ReLU``.

    Args:
        activation: What is given.
        argument: What an error calls it.

    Raises:
        ValueError: There is no such activation.
    """
    name = activation if isinstance(activation, str) else getattr(activation, "__name__", repr(activation))
    known = {key.replace("_", ""): key for key in ACTIVATIONS}
    if (key := known.get(name.lower().replace("_", ""))) is None:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, ACTIVATIONS))}, got {activation!r}")
    return key


def check_net_arch(net_arch: Any, argument: str = "net_arch") -> tuple[int, ...]:
    """Returns the hidden layers' widths as a tuple; ``argument`` is what an error calls them.

    Raises:
        TypeError, ValueError: It is no sequence of positive integers.
    """
    if isinstance(net_arch, str) or not isinstance(net_arch, Sequence):
        raise TypeError(f"{argument} must be a list of layer widths such as [200, 200, 200], got {net_arch!r}")
    return tuple(integer_in(f"every width in {argument}", width, 1, MAX_WIDTH) for width in net_arch)


class Codes(NamedTuple):
    """Ones and zeros by where the ones are, with what stands for them in gradients.

    Attributes:
        places: Places of the ones (all different), int32 (…, k).
        through: Numbers that gradients of the first f ones and zeros go straight through to, float32 (…, f); None if there is
            no need of gradients.
    """

    places: jax.Array
    through: jax.Array | None = None


def _sum_in_blocks(kernel: jax.Array, places: jax.Array) -> jax.Array:
    # For CPUs. In a loop of its own XLA adds rows as it reads them; elsewhere it often writes all of them to memory before it
    # adds them up, which takes five times as long.
    def one(chosen: jax.Array) -> jax.Array:
        return sum(lax.dynamic_index_in_dim(kernel, place, keepdims=False) for place in chosen)

    return lax.map(one, places.reshape(-1, places.shape[-1]), batch_size=16).reshape(*places.shape[:-1], -1)


def _sum_all_rows(kernel: jax.Array, places: jax.Array) -> jax.Array:
    return kernel[places].sum(axis=-2)


@jax.custom_vjp
def _sum_of_rows(codes: Codes, kernel: jax.Array) -> jax.Array:
    return lax.platform_dependent(kernel, codes.places, cpu=_sum_in_blocks, default=_sum_all_rows)


def _sum_of_rows_forward(codes: Codes, kernel: jax.Array) -> tuple[jax.Array, tuple[Codes, jax.Array]]:
    return _sum_of_rows(codes, kernel), (codes, kernel)


def _sum_of_rows_backward(residual: tuple[Codes, jax.Array], grad: jax.Array) -> tuple[Codes, jax.Array]:
    codes, kernel = residual
    through = None if codes.through is None else grad @ kernel[: codes.through.shape[-1]].T
    # One code of all inputs at a time: all at once, a copy of the gradient for each code would be written to memory.
    columns = jnp.moveaxis(codes.places, -1, 0)
    for_kernel = lax.fori_loop(0, len(columns), lambda i, total: total.at[columns[i]].add(grad), jnp.zeros_like(kernel))
    return Codes(None, through), for_kernel  # type: ignore[arg-type]


_sum_of_rows.defvjp(_sum_of_rows_forward, _sum_of_rows_backward)


@jax.custom_vjp
def _known(result: jax.Array, inputs: jax.Array | Codes, kernel: jax.Array) -> jax.Array:
    # The product of inputs and kernel, which has been computed before.
    del inputs, kernel
    return result


def _known_forward(result: jax.Array, inputs: jax.Array | Codes, kernel: jax.Array) -> tuple[jax.Array, tuple]:
    return result, (inputs, kernel)


def _known_backward(residual: tuple[Any, jax.Array], grad: jax.Array) -> tuple[None, Any, jax.Array]:
    inputs, kernel = residual
    if isinstance(inputs, Codes):
        return None, *_sum_of_rows_backward((inputs, kernel), grad)
    return None, *jax.vjp(jnp.matmul, inputs, kernel)[1](grad)


_known.defvjp(_known_forward, _known_backward)


class CodeDense(nn.Module):
    """A dense layer whose inputs are ones and zeros, given by where the ones are: it adds rows instead of multiplying.

    Attributes:
        width: Width of its output.
        num_values: Number of inputs.
        product: What computes the sums.
        initializer: Of the kernel and the bias, a key of ``INITIALIZERS``.
    """

    width: int
    num_values: int
    product: Callable[[Codes, jax.Array], jax.Array] = _sum_of_rows
    initializer: str = "truncated_normal"

    @nn.compact
    def __call__(self, codes: jax.Array | Codes) -> jax.Array:
        """Maps codes, or just the places of the ones, int32 (…, k), to float32 (…, width)."""
        kernel = self.param("kernel", INITIALIZERS[self.initializer], (self.num_values, self.width), jnp.float32)
        bias = self.param("bias", biases(self.initializer, self.num_values), (self.width,), jnp.float32)
        return self.product(codes if isinstance(codes, Codes) else Codes(codes), kernel) + bias


def truncated_normal(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Kernels (inputs, outputs) of normal numbers of standard deviation 1/√inputs, truncated at two of them and not rescaled.

    Truncation leaves a standard deviation of .8796/√inputs (flax's ``lecun_normal`` rescales it to 1/√inputs). So start the
    networks of *The Benefits of Model-Based Generalization in RL* (arXiv 2211.02222).
    """
    return jax.random.truncated_normal(key, -2, 2, shape, dtype) * shape[-2] ** -0.5


INITIALIZERS: dict[str, Callable[..., jax.Array]] = {
    "truncated_normal": truncated_normal,
    "orthogonal": nn.initializers.orthogonal(),
    "orthogonal_sqrt2": nn.initializers.orthogonal(2**0.5),
    "orthogonal_small_output": nn.initializers.orthogonal(2**0.5),
    "torch": nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),  # uniform in ±1/√fan_in
}

# Of the output layer, where it begins unlike the others.
OUTPUT_INITIALIZERS = {"orthogonal_small_output": nn.initializers.orthogonal(1e-2)}


def biases(initializer: str, inputs: int) -> Any:
    """How biases begin: at zero, but for ``"torch"``, whose linear layers draw them as they draw their kernels."""
    return uniform_biases(inputs) if initializer == "torch" else nn.initializers.zeros


def uniform_biases(inputs: int) -> Any:
    """Biases uniform in ±1/√inputs, as PyTorch's layers have them at first."""
    bound = inputs**-0.5
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


class MLP(nn.Module):
    """A multi-layer perceptron; biases begin at zero, unless the initializer is torch's.

    Attributes:
        hidden: Widths of the hidden layers.
        outputs: Width of the linear output layer.
        activation: Key of ``ACTIVATIONS``.
        num_values: If not 0, the inputs are codes: so many ones and zeros, of which is told where the ones are.
        initializer: Of the kernels, a key of ``INITIALIZERS``. ``"truncated_normal"``: see :func:`truncated_normal`.
            ``"torch"``: kernels and biases uniform in ±1/√inputs, as of ``torch.nn.Linear``. ``"orthogonal_small_output"``:
            orthogonal, with a gain of √2 in hidden layers and of 1e-2 in the output layer.
        encoder: What reads the inputs first, see :mod:`mbrl_agents.core.encoders`; None for nothing.
        layer_norm: Whether there is a layer normalisation (arXiv 1607.06450) between each hidden layer and its activation.
    """

    hidden: tuple[int, ...]
    outputs: int
    activation: str = "elu"
    num_values: int = 0
    initializer: str = "truncated_normal"
    encoder: nn.Module | None = None
    layer_norm: bool = False

    def __call__(self, x: Any) -> jax.Array:
        """Maps features, float32 (…, f), or codes (see :class:`CodeDense`), to outputs of shape (…, outputs)."""
        return self.run(x)[0]

    @nn.compact
    def run(self, x: Any, known: Sequence[jax.Array] | None = None) -> tuple[jax.Array, list[jax.Array]]:
        """Maps inputs to outputs and the products of each layer's inputs with its kernel.

        Args:
            x: Inputs.
            known: Those products, if the network has been run on these inputs before: they are not computed again, and
                gradients are as if they had been.
        """
        products: list[jax.Array] = []

        def product(inputs: Any, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
            multiply = _sum_of_rows if isinstance(inputs, Codes) else jnp.matmul
            products.append(multiply(inputs, kernel) if known is None else _known(known[len(products)], inputs, kernel))
            return products[-1]

        if self.encoder is not None:
            x = self.encoder(x)
        for i, width in enumerate((*self.hidden, self.outputs)):
            if i == 0 and self.num_values:
                x = CodeDense(width, self.num_values, product, self.initializer)(x)
            else:
                kernels, offsets = INITIALIZERS[self.initializer], biases(self.initializer, x.shape[-1])
                if i == len(self.hidden):
                    kernels = OUTPUT_INITIALIZERS.get(self.initializer, kernels)
                x = nn.Dense(width, dot_general=product, kernel_init=kernels, bias_init=offsets)(x)
            if i < len(self.hidden):
                x = ACTIVATIONS[self.activation](nn.LayerNorm()(x) if self.layer_norm else x)
        return x, products


def init_many(network: MLP, num_inputs: int, key: jax.Array, number: int) -> Any:
    """Fresh parameters of several networks, with a leading axis."""
    example = jnp.zeros((1, num_inputs))
    return jax.vmap(lambda each: network.init(each, example)["params"])(jax.random.split(key, number))


def run_many(network: MLP, params: Any, inputs: jax.Array) -> jax.Array:
    """Outputs (networks, n, outputs) of networks whose parameters have a leading axis."""
    outputs: Any = jax.vmap(lambda each: network.apply({"params": each}, inputs))(params)
    return outputs
