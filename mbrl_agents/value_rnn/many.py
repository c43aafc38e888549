"""Fitting one value RNN or many: networks of one shape learn side by side in one program."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from mbrl_agents.core import optimizer, schedules
from mbrl_agents.core.interrupt import PendingInterrupt, deferred
from mbrl_agents.core.keys import fold_in
from mbrl_agents.value_rnn import fitting
from mbrl_agents.value_rnn.fitting import FitPlan, FitState
from mbrl_agents.value_rnn.network import Sequences
from mbrl_agents.value_rnn.reading import ReadsTrials
from mbrl_agents.value_rnn.trial_arrays import given_trials, pad
from mbrl_envs.checks import boolean, integer_in

_FIT = 5  # the random stream of batches, beside those of all JAX agents


class Fit(NamedTuple):
    """What fitting did.

    Attributes:
        losses: The loss on the deciding trials (validation, else all) after each epoch, float32 (epochs,): how far values are
            from the returns that followed, as TD errors may be small where values are wrong.
        best_epoch: The epoch, from 1, with the lowest, whose weights are the network's now, if the best are kept; 0 if
            no loss was finite, and nothing has changed.
        stopped_early: Whether it stopped before its time: no lower loss for ``patience`` epochs, or one that is not finite.
    """

    losses: np.ndarray
    best_epoch: int
    stopped_early: bool


def fit_many(
    networks: Sequence[ReadsTrials],
    trials: Any,
    rewards: Any = None,
    epochs: int = 150,
    *,
    reward_column: int | None = None,
    validation: Any = None,
    shuffle: bool = True,
    terminal_target: bool = True,
    keep_best: bool = True,
    patience: int | None = 200,
    progress_bar: bool = False,
) -> list[Fit]:
    """Fits many value RNNs to the same trials.

    Networks of one shape (size, cell, read-out, loss, batch size) share one compiled program and go forward together; they may
    differ in seed, step size, γ, λ > 0, levels and frozen parts. Each comes to what :meth:`ValueRNN.fit` makes of it alone, up
    to rounding.

    Args:
        networks: Which, all different objects.
        trials: This and all others: as for :meth:`ValueRNN.fit`.
        rewards: For each trial its rewards, if trials are arrays.
        epochs: How often all trials are gone through.
        reward_column: In place of ``rewards``: which column of the arrays has them.
        validation: Trials that decide which weights are best; a pair (trials, rewards) if rewards are apart.
        shuffle: Whether batches are drawn anew in every epoch.
        terminal_target: Whether values after the end learn to be 0.
        keep_best: Whether the best weights are kept.
        patience: Epochs without improvement after which a network stops.
        progress_bar: Whether to show progress.

    Returns:
        For each network what fitting did.

    Raises:
        TypeError, ValueError: An argument is of a wrong type or out of range.
        KeyboardInterrupt: Ctrl-C; the networks are as far as they were.
    """
    epochs = integer_in("epochs", epochs, 1, 2**31 - 1)
    if patience is not None:
        patience = integer_in("patience", patience, 1, 2**31 - 1)
    for name, value in (("shuffle", shuffle), ("terminal_target", terminal_target), ("keep_best", keep_best)):
        boolean(name, value)
    if len({id(network) for network in networks}) < len(networks):
        raise ValueError("networks must be different objects: one of them is there twice")
    padded = pad(given_trials(trials, rewards, reward_column), shortest=2)
    judges = None
    if validation is not None:
        others = given_trials(*_validation(validation, rewards), reward_column)
        judges = pad(others, padded.num_features, shortest=2, name="validation")
    for network in networks:
        network.check_width(padded.num_features)
    for network in networks:
        network.prepare(padded.num_features)
    data = fitting.as_sequences(padded, terminal_target=terminal_target)
    judging = data if judges is None else fitting.as_sequences(judges, terminal_target=terminal_target)
    groups: dict[Any, list[int]] = {}
    for i, network in enumerate(networks):
        plan = FitPlan(network.batch_size, shuffle, patience, clip=network.learner.clip)
        groups.setdefault((network.learner.network, plan), []).append(i)
    fits: dict[int, Fit] = {}
    with deferred() as pending, tqdm(total=epochs * len(groups), disable=not progress_bar, unit="epoch") as bar:
        for (_, plan), members in groups.items():
            found = _fit_group([networks[i] for i in members], plan, data, judging, epochs, keep_best, pending, bar)
            fits.update(zip(members, found, strict=True))
            pending.raise_if_pressed()
    return [fits[i] for i in range(len(networks))]


def _validation(validation: Any, rewards: Any) -> tuple[Any, Any]:
    """Validation trials and their rewards: a pair, if rewards of the other trials are apart, too."""
    if rewards is None:
        return validation, None
    if not isinstance(validation, Sequence) or len(validation) != 2:
        raise TypeError("validation must be a pair (trials, rewards), as rewards are given apart")
    return validation[0], validation[1]


def _fit_group(
    networks: Sequence[ReadsTrials],
    plan: FitPlan,
    data: Sequences,
    judges: Sequences,
    epochs: int,
    keep_best: bool,
    pending: PendingInterrupt,
    bar: Any,
) -> list[Fit]:
    states = [fitting.begin(each.learner_state.params, each.learner_state.optimizer) for each in networks]
    keys = [fold_in(fold_in(each.run.keys.update, _FIT), each.run.clock.updates) for each in networks]
    progress = bar.n

    def after(done: int, losses: np.ndarray) -> bool:
        bar.update(progress + done - bar.n)
        bar.set_postfix(loss=f"{np.nanmedian(losses[:, -1]):.3g}" if np.isfinite(losses[:, -1]).any() else "-")
        return not pending.pressed

    final, losses = fitting.fit(
        networks[0].learner.network,
        plan,
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *states),
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *[each.learner_state.hyper for each in networks]),
        lambda first, last: np.stack(
            [schedules.table(each.lr_schedule, 1 - np.arange(first, last) / epochs) for each in networks]
        ),
        np.stack(keys),
        data,
        judges,
        epochs,
        after,
    )
    bar.update(progress + epochs - bar.n)
    host: FitState = jax.device_get(final)
    own = [jax.tree.map(lambda leaf, i=i: leaf[i], host) for i in range(len(networks))]
    batches = -(-data.inputs.shape[1] // plan.batch_size)
    return [_give(*each, batches, keep_best) for each in zip(networks, own, losses, strict=True)]


def _give(network: ReadsTrials, state: FitState, losses: np.ndarray, batches: int, keep_best: bool) -> Fit:
    """Gives a network what it has learned, in epochs of so many batches."""
    losses = losses[: int(state.epoch)]
    if not np.isfinite(losses).all():
        warnings.warn("the loss was no longer finite: lower the learning_rate", stacklevel=4)
    kept = state.best if keep_best else state.params
    lost = not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.optimizer))
    adam = optimizer.init(kept) if lost else state.optimizer  # or the next fit would be lost, too
    moved = network.learner_state._replace(params=kept, optimizer=adam)
    network.change_run(learner=network._put(jax.tree.map(jnp.asarray, moved)))
    network._n_updates += int(state.epoch) * batches
    best = int(np.nanargmin(losses)) + 1 if np.isfinite(losses).any() else 0
    return Fit(losses, best, bool(state.stopped))
