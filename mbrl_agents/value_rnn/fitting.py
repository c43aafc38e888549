"""Fitting networks to a fixed set of trials: epochs over shuffled batches, many networks in one compiled program."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mbrl_agents.core.compilation import jit
from mbrl_agents.value_rnn.learner import ValueRNNHyperparameters, gradient_step
from mbrl_agents.value_rnn.losses import judging_loss
from mbrl_agents.value_rnn.network import Sequences, ValueNetwork
from mbrl_agents.value_rnn.trial_arrays import Trials

EPOCHS_PER_CALL = 25  # between looks at Ctrl-C; also how often a program asks whether all networks have stopped


@dataclasses.dataclass(frozen=True)
class FitPlan:
    """How to fit; shapes the program.

    Attributes:
        batch_size: Trials of a gradient step.
        shuffle: Whether batches are drawn anew in every epoch; else they are always the same, in the order given.
        patience: Epochs without a lower loss after which a network stops learning; None for never.
        improvement: Fraction by which a loss has to be lower than the lowest one to count for ``patience``.
        clip: Whether gradients are clipped.
    """

    batch_size: int
    shuffle: bool = True
    patience: int | None = None
    improvement: float = 0.01
    clip: bool = False


class FitState(NamedTuple):
    """Where a network is.

    Attributes:
        params: Its parameters.
        optimizer: State of the optimiser.
        best: The parameters with the lowest loss so far.
        lowest: That loss, on the deciding trials, float32; it is that of whole returns, see
            :func:`~mbrl_agents.value_rnn.losses.judging_loss`.
        mark: The loss that has to be improved upon for ``patience``, float32.
        waited: Epochs since it was, int32.
        epoch: Epochs so far, int32.
        stopped: Whether it has stopped learning, bool.
    """

    params: Any
    optimizer: Any
    best: Any
    lowest: jax.Array
    mark: jax.Array
    waited: jax.Array
    epoch: jax.Array
    stopped: jax.Array


def begin(params: Any, optimizer: Any) -> FitState:
    """The state before the first epoch."""
    infinity = jnp.float32(jnp.inf)
    best = jax.tree.map(jnp.copy, params)
    return FitState(params, optimizer, best, infinity, infinity, jnp.int32(0), jnp.int32(0), jnp.bool_(False))


def as_sequences(trials: Trials, *, terminal_target: bool) -> Sequences:
    """What is trained on: each step predicts the reward of the next, and its value.

    Args:
        trials: The trials.
        terminal_target: Whether values after the last step of a terminated trial learn to be 0. Without, that value is a target
            that is never trained, and what values converge to is not unique.
    """
    steps, lengths = np.arange(len(trials.rewards))[:, None], trials.lengths
    trains_end = trials.terminated & terminal_target
    next_rewards = np.concatenate([trials.rewards[1:], np.zeros_like(trials.rewards[:1])])
    is_end = steps == lengths - 1
    return Sequences(
        inputs=jnp.asarray(trials.observations),
        starts=None,
        rewards=jnp.asarray(np.where(is_end, 0, next_rewards), jnp.float32),
        non_terminal=jnp.asarray(steps < lengths - 1, jnp.float32),
        last=jnp.asarray(steps >= np.where(trains_end, lengths - 1, lengths - 2)),
        trained=jnp.asarray((steps < lengths - 1) | (is_end & trains_end), jnp.float32),
    )


def fit(
    network: ValueNetwork,
    plan: FitPlan,
    states: FitState,
    hyper: ValueRNNHyperparameters,
    learning_rates: Callable[[int, int], np.ndarray],
    keys: np.ndarray,
    data: Sequences,
    judges: Sequences,
    epochs: int,
    after: Callable[[int, np.ndarray], bool] | None = None,
) -> tuple[FitState, np.ndarray]:
    """Fits N networks of one shape.

    Args:
        network: Their shape.
        plan: How.
        states: Where they are, leaves with a leading axis of networks.
        hyper: Their hyperparameters, likewise.
        learning_rates: Their step sizes in epochs from the first number up to the second, from 0: float32 (N, second − first).
        keys: Their random streams, raw uint32 (N, 2).
        data: What they learn.
        judges: What decides by its loss which parameters are best, and when to stop.
        epochs: How long.
        after: Is told the epochs done and all losses so far, (N, epochs); returns whether to go on.

    Returns:
        Where they are then, and the loss (of whole returns) of each network on the deciding trials after each epoch, float32
        (N, epochs), NaN after it has stopped.
    """
    program = _program(network, plan)
    losses, done = np.zeros((len(keys), 0), np.float32), 0
    while done < epochs and not np.asarray(states.stopped).all():
        num = min(EPOCHS_PER_CALL, epochs - done)
        rates = np.zeros((len(keys), EPOCHS_PER_CALL), np.float32)
        rates[:, :num] = learning_rates(done, done + num)
        states, part = program(states, hyper, jnp.asarray(rates), jnp.asarray(keys), data, judges, num)
        losses, done = np.concatenate([losses, np.asarray(part)[:, :num]], axis=1), done + num
        if after is not None and not after(done, losses):
            break
    return states, losses


@functools.lru_cache(maxsize=32)
def _program(network: ValueNetwork, plan: FitPlan) -> Any:
    def one(
        state: FitState,
        hyper: ValueRNNHyperparameters,
        learning_rates: jax.Array,
        key: jax.Array,
        data: Sequences,
        judges: Sequences,
        num: jax.Array,
    ) -> tuple[FitState, jax.Array]:
        def epoch(i: jax.Array, carry: tuple[FitState, jax.Array]) -> tuple[FitState, jax.Array]:
            before, losses = carry
            after, loss = _epoch(network, plan, before, hyper, learning_rates[i], key, data, judges)
            kept = jax.tree.map(lambda new, old: jnp.where(before.stopped, old, new), after, before)
            return kept, losses.at[i].set(jnp.where(before.stopped, jnp.nan, loss))

        return lax.fori_loop(0, num, epoch, (state, jnp.full(EPOCHS_PER_CALL, jnp.nan)))

    return jit(jax.vmap(one, in_axes=(0, 0, 0, 0, None, None, None)), donate_argnums=0)


def _epoch(
    network: ValueNetwork,
    plan: FitPlan,
    state: FitState,
    hyper: ValueRNNHyperparameters,
    learning_rate: jax.Array,
    key: jax.Array,
    data: Sequences,
    judges: Sequences,
) -> tuple[FitState, jax.Array]:
    number = data.inputs.shape[1]
    batches = -(-number // plan.batch_size)
    order = jnp.arange(number)
    if plan.shuffle:
        order = jax.random.permutation(jax.random.fold_in(key, state.epoch), number)
    # The last batch is filled up with trials that do not count.
    order = jnp.pad(order, (0, batches * plan.batch_size - number), constant_values=-1).reshape(batches, plan.batch_size)

    def batch(carry: tuple[Any, Any], rows: jax.Array) -> tuple[tuple[Any, Any], None]:
        chosen = jax.tree.map(lambda each: each[:, rows], data)
        chosen = chosen._replace(trained=chosen.trained * (rows >= 0))
        params, adam, _ = gradient_step(network, *carry, chosen, hyper, learning_rate, clip=plan.clip)
        return (params, adam), None

    (params, adam), _ = lax.scan(batch, (state.params, state.optimizer), order)
    loss = judging_loss(params, judges, hyper.td, network)
    lower, much_lower = loss < state.lowest, loss < state.mark * (1 - plan.improvement)
    waited = jnp.where(much_lower, 0, state.waited + 1)
    stops = jnp.bool_(False) if plan.patience is None else waited >= plan.patience
    after = FitState(
        params=params,
        optimizer=adam,
        best=jax.tree.map(lambda new, old: jnp.where(lower, new, old), params, state.best),
        lowest=jnp.where(lower, loss, state.lowest),
        mark=jnp.where(much_lower, loss, state.mark),
        waited=waited,
        epoch=state.epoch + 1,
        stopped=stops | ~jnp.isfinite(loss),
    )
    return after, loss
