"""AdamW as the study uses it, with a weight decay that is not multiplied by the learning rate; and any optimiser of optax's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

NO_CLIPPING = float(np.finfo(np.float32).max)
"""A largest norm that no gradient has; not infinity, which ``jax_debug_infs`` takes for a mistake."""


class AdamHyperparameters(NamedTuple):
    """Numbers of the optimiser, float32 scalars, so that runs in one program may differ in them.

    Attributes:
        b1: Decay of the mean of gradients.
        b2: Decay of the mean of squared gradients.
        eps: Added to the root of the latter.
        weight_decay: Fraction of a parameter that is taken away at every update, whatever the learning rate; equal to
            ``optax.adamw(lr, weight_decay=weight_decay / lr)``.
        max_grad_norm: Largest Euclidean norm of the gradient of all parameters together; ``NO_CLIPPING`` for none.
    """

    b1: Any = 0.9
    b2: Any = 0.99
    eps: Any = 1e-5
    weight_decay: Any = 1e-6
    max_grad_norm: Any = NO_CLIPPING


PLAIN_ADAM = AdamHyperparameters(b2=0.999, eps=1e-8, weight_decay=0.0)
"""Adam with the numbers of its paper, which are PyTorch's and optax's defaults."""


def init(params: Any) -> optax.ScaleByAdamState:
    """The optimiser's state at the start."""
    return optax.scale_by_adam().init(params)


def clipped(grads: Any, max_grad_norm: Any) -> Any:
    """Gradients, scaled down where the Euclidean norm of all together is above the largest one, as PyTorch does it."""
    scale = jnp.minimum(1.0, max_grad_norm / (optax.tree.norm(grads) + 1e-6))
    return jax.tree.map(lambda grad: grad * scale, grads)


def apply(
    params: Any,
    grads: Any,
    state: optax.ScaleByAdamState,
    learning_rate: jax.Array,
    hyper: AdamHyperparameters,
    *,
    clip: bool,
) -> tuple[Any, optax.ScaleByAdamState]:
    """One update of Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019).

    Args:
        params: Parameters.
        grads: Gradients of the same structure.
        state: The optimiser's state.
        learning_rate: Learning rate, scalar.
        hyper: The other numbers.
        clip: Whether gradients are clipped at all (static).

    Returns:
        New parameters and state.
    """
    grads = clipped(grads, hyper.max_grad_norm) if clip else grads
    directions, state = optax.scale_by_adam(hyper.b1, hyper.b2, hyper.eps).update(grads, state)
    params = jax.tree.map(lambda p, d: p - learning_rate * d - hyper.weight_decay * p, params, directions)
    return params, state


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """How networks follow their gradients: AdamW as above, or a transformation of optax's; shapes the program.

    Attributes:
        make: From a learning rate and ``options`` to a transformation; None for AdamW with the numbers of a run.
        options: Its other arguments, by name.
    """

    make: Callable[..., optax.GradientTransformation] | None = None
    options: tuple[tuple[str, Any], ...] = ()

    def _transformation(self, learning_rate: Any) -> optax.GradientTransformation:
        assert self.make is not None
        return self.make(learning_rate, **dict(self.options))

    def init(self, params: Any) -> Any:
        """The optimiser's state at the start."""
        return init(params) if self.make is None else self._transformation(0.0).init(params)

    def apply(
        self, params: Any, grads: Any, state: Any, learning_rate: jax.Array, hyper: AdamHyperparameters, *, clip: bool
    ) -> tuple[Any, Any]:
        """One update; arguments and results are those of :func:`apply`, of whose numbers only the largest norm counts here."""
        if self.make is None:
            return apply(params, grads, state, learning_rate, hyper, clip=clip)
        grads = clipped(grads, hyper.max_grad_norm) if clip else grads
        directions, state = self._transformation(learning_rate).update(grads, state, params)
        return optax.apply_updates(params, directions), state


def learn_model(state: Any, grads: Any, *, clip: bool) -> Any:
    """One update of the model in a learner's state, which has ``model``, ``model_optimizer`` and, in ``hyper``, its numbers."""
    hyper = state.hyper
    model, adam = apply(state.model, grads, state.model_optimizer, hyper.model_learning_rate, hyper.adam, clip=clip)
    return state._replace(model=model, model_optimizer=adam)


def move_towards(target: Any, params: Any, tau: Any) -> Any:
    """A target network's parameters, moved towards a network's by the fraction τ; 1 copies them to the bit."""
    return jax.tree.map(lambda old, new: jnp.where(tau >= 1, new, old + tau * (new - old)), target, params)
