"""Fitting to trials: gradients, padding, what is learned, what is kept."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_agents.value_rnn import OwnTrial, ValueRNN, fit_many, fitting, losses, targets
from mbrl_agents.value_rnn.network import Sequences, ValueNetwork
from mbrl_agents.value_rnn.trial_arrays import pad
from mbrl_envs import conditioning
from tests.agents.value_rnn.trials import ARRAYS, NETWORKS, TRIALS, hyper, some_params


def windows() -> Sequences:
    """Sequences as replay has them: episodes begin and end within, and what follows an end is given."""
    rng = np.random.default_rng(0)
    ends = rng.random((8, 3)) < 0.3
    return Sequences(
        inputs=rng.normal(size=(8, 3, 3)),
        starts=np.concatenate([np.zeros((1, 3), bool), ends[:-1]]),
        rewards=rng.normal(size=(8, 3)),
        non_terminal=1.0 - (ends & (rng.random((8, 3)) < 0.5)),
        last=ends | (np.arange(8)[:, None] == 7),
        trained=(rng.random((8, 3)) < 0.8).astype(float),
        final_inputs=rng.normal(size=(8, 3, 3)),
    )


def named(value: Any) -> str | None:
    return f"{value.cell.kind}-{value.readout}-{value.loss}" if isinstance(value, ValueNetwork) else None


@pytest.mark.parametrize(
    ("network", "data"),
    [
        *(pytest.param(network, None, id=f"{named(network)}-trials") for network in NETWORKS),
        pytest.param(NETWORKS[0], windows(), id=f"{named(NETWORKS[0])}-windows"),
        *(pytest.param(each, windows(), id=f"{named(each)}-windows", marks=pytest.mark.slow) for each in NETWORKS[1:]),
    ],
)
def test_gradients_by_finite_differences(network: ValueNetwork, data: Sequences | None) -> None:
    """The gradient of the loss whose targets stay what they are, in float64; bootstraps, masks and read-outs included."""
    with jax.enable_x64(True):
        data = data or fitting.as_sequences(pad(TRIALS), terminal_target=True)
        data = jax.tree.map(lambda leaf: jnp.asarray(leaf, bool if leaf.dtype == bool else jnp.float64), data)
        both = some_params(network), hyper(network, td_lambda=0.4)
        params, numbers = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), both)

        @jax.jit  # here and below: compiled as a whole, not operation by operation
        def goals_of(params: Any) -> tuple[Any, Any]:
            states = network.cell.unroll(params, data.inputs, data.starts)
            return losses.value_targets(params, states, network.heads(params, states), data, numbers, network)

        goals, shares = goals_of(params)

        def with_fixed_targets(params: Any) -> jax.Array:
            values = network.heads(params, network.cell.unroll(params, data.inputs, data.starts))
            each = targets.losses(network.loss, values, goals, numbers.levels, shares)
            return (each * data.trained).sum() / data.trained.sum()

        ours = jax.jit(jax.grad(functools.partial(losses.value_loss, network=network)))(params, data, numbers)
        flat, unravel = jax.flatten_util.ravel_pytree(params)
        moves = np.eye(len(flat)) * 1e-6
        evaluate = jax.jit(jax.vmap(lambda vector: with_fixed_targets(unravel(vector))))
        slopes = (evaluate(flat + moves) - evaluate(flat - moves)) / 2e-6
        np.testing.assert_allclose(jax.flatten_util.ravel_pytree(ours)[0], slopes, atol=1e-6)


# Three cells, and a loss of several values; how losses differ is no matter of padding.
@pytest.mark.parametrize(
    "network", [*NETWORKS[:4], *(pytest.param(each, marks=pytest.mark.slow) for each in NETWORKS[4:])], ids=named
)
def test_a_padded_batch_is_its_trials_one_by_one(network: ValueNetwork) -> None:
    params, numbers = some_params(network), hyper(network, td_lambda=0.4)
    compiled = jax.jit(jax.value_and_grad(functools.partial(losses.value_loss, network=network)))

    def gradient(trials: list[OwnTrial]) -> tuple[float, Any]:
        data: Sequences = fitting.as_sequences(pad(trials), terminal_target=True)
        loss, grads = compiled(params, data, numbers)
        steps = float(data.trained.sum())
        return float(loss) * steps, jax.tree.map(lambda leaf: leaf * steps, grads)

    together, one_by_one = gradient(TRIALS), [gradient([each]) for each in TRIALS]
    np.testing.assert_allclose(together[0], sum(loss for loss, _ in one_by_one), rtol=1e-5)
    summed = jax.tree.map(lambda *leaves: sum(leaves), *[grads for _, grads in one_by_one])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), together[1], summed)


def test_what_is_trained_on() -> None:
    class Cut:
        observations, rewards, terminated = ARRAYS[0], ARRAYS[0][:, -1], False

    padded = pad([TRIALS[1], Cut, TRIALS[0]])
    with_end, without = (fitting.as_sequences(padded, terminal_target=end) for end in (True, False))
    assert np.asarray(with_end.trained).sum(axis=0).tolist() == [9, 5, 6]
    assert np.asarray(without.trained).sum(axis=0).tolist() == [8, 5, 5]
    assert np.asarray(with_end.non_terminal).sum(axis=0).tolist() == [8, 5, 5]
    assert np.asarray(with_end.rewards)[:, 0].tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert np.asarray(with_end.last)[:9].T.argmax(axis=1).tolist() == [8, 4, 5]


@pytest.mark.parametrize("cell", ["gru", "lstm", "vanilla"])
def test_values_of_certain_rewards_are_learned(cell: str) -> None:
    env, gamma = conditioning.CueReward(delays=(3, 5)), 0.7
    trials = conditioning.sample_trials(env, 60, seed=1)
    network = ValueRNN(hidden_size=12, cell=cell, gamma=gamma, learning_rate=1e-2, seed=0)
    fit = network.fit(trials, epochs=250)
    assert fit.losses[-1] < 0.05 * fit.losses[0]
    for one, value in zip(trials[:10], network.value(trials[:10]), strict=True):
        seen = slice(int(one.observations[:, :-1].any(axis=1).argmax()), None)
        np.testing.assert_allclose(value[seen], conditioning.values(env, one.observations, gamma)[seen], atol=0.08)


def test_two_networks_of_one_shape_are_as_each_alone() -> None:
    def fresh() -> list[ValueRNN]:
        return [
            ValueRNN(hidden_size=3, gamma=0.8, seed=1),
            ValueRNN(hidden_size=5, gamma=0.8, seed=2),
            ValueRNN(hidden_size=3, gamma=0.5, seed=3, learning_rate=1e-2),
        ]

    together, alone = fresh(), fresh()
    fits = fit_many(together, TRIALS, epochs=30)
    for ours, theirs, fit in zip(together, alone, fits, strict=True):
        other = theirs.fit(TRIALS, epochs=30)
        np.testing.assert_allclose(fit.losses, other.losses, rtol=1e-3)
        np.testing.assert_allclose(ours.value(TRIALS[1]), theirs.value(TRIALS[1]), atol=1e-3)
        assert fit.best_epoch == other.best_epoch


def test_batches_are_those_given_or_drawn() -> None:
    """Not shuffled, it matters which trials are beside each other, but not in which order they are."""

    def values(order: list[int], shuffle: bool = False) -> np.ndarray:
        network = ValueRNN(hidden_size=4, gamma=0.8, seed=0, learning_rate=0.03, batch_size=2)
        network.fit([TRIALS[i] for i in order], epochs=7, shuffle=shuffle, keep_best=False)
        return network.value(TRIALS[1])

    given = values([0, 1, 2, 3])
    np.testing.assert_allclose(values([1, 0, 3, 2]), given, atol=1e-4)
    for others in (values([0, 2, 1, 3]), values([0, 1, 2, 3], shuffle=True)):
        assert np.abs(others - given).max() > 1e-3


def test_a_loss_that_is_not_finite_loses_nothing() -> None:
    network = ValueRNN(hidden_size=4, gamma=0.8, seed=0, learning_rate=lambda progress: 1e-2 if progress > 0.3 else 1e30)
    with pytest.warns(UserWarning, match="the loss was no longer finite"):
        first = network.fit(TRIALS, epochs=20)
    best = network.value(TRIALS[0])
    assert np.isfinite(best).all()
    assert 0 < first.best_epoch <= 15
    with pytest.warns(UserWarning, match="the loss was no longer finite"):
        second = network.fit(TRIALS, epochs=20)
    assert second.losses[0] == pytest.approx(np.nanmin(first.losses), rel=0.1)  # it went on from there
    assert np.isfinite(network.value(TRIALS[0])).all()


def test_it_stops_when_nothing_gets_better() -> None:
    network = ValueRNN(hidden_size=4, gamma=0.8, seed=0, learning_rate=0.0)
    fit = network.fit(TRIALS, epochs=400, patience=10)
    assert fit.stopped_early
    assert len(fit.losses) == 11
    assert fit.best_epoch == 1
    assert not ValueRNN(hidden_size=4, seed=0, learning_rate=0.0).fit(TRIALS, epochs=30, patience=None).stopped_early


def test_fitting_goes_on() -> None:
    network = ValueRNN(hidden_size=4, gamma=0.8, learning_rate=3e-2, seed=0)
    first, second = network.fit(TRIALS, epochs=30, keep_best=False), network.fit(TRIALS, epochs=30, keep_best=False)
    assert second.losses[-1] < 0.9 * first.losses[-1]
    assert network._n_updates == 60


@pytest.mark.parametrize("part", ["input", "recurrent", "readout"])
def test_frozen_parts_stay(part: str) -> None:
    network = ValueRNN(hidden_size=4, gamma=0.8, seed=0, weight_decay=1e-3)
    network.fit(TRIALS, epochs=5, keep_best=False)  # Adam has momentum now
    before = jax.tree.map(np.array, network.learner_state.params)
    network.freeze(part).fit(TRIALS, epochs=5, keep_best=False)
    after = network.learner_state.params
    for name in before:
        same = [
            np.array_equal(old, new)
            for old, new in zip(jax.tree.leaves(before[name]), jax.tree.leaves(after[name]), strict=True)
        ]
        assert all(same) if name == part else not any(same)
    network.thaw().fit(TRIALS, epochs=5, keep_best=False)
    assert not np.array_equal(before[part]["kernel"], network.learner_state.params[part]["kernel"])


def test_saving_and_loading(tmp_path: pathlib.Path) -> None:
    network = ValueRNN(hidden_size=4, cell="lstm", readout="relu_sum", gamma=0.8, seed=0)
    network.fit(TRIALS, epochs=5)
    network.freeze("input").save(tmp_path / "network")
    loaded = ValueRNN.load(tmp_path / "network")
    np.testing.assert_array_equal(loaded.value(TRIALS[0]), network.value(TRIALS[0]))
    assert loaded.arguments == network.arguments
    first, second = network.fit(TRIALS, epochs=5), loaded.fit(TRIALS, epochs=5)
    np.testing.assert_array_equal(first.losses, second.losses)


def test_what_is_read_of_trials() -> None:
    network = ValueRNN(hidden_size=4, gamma=0.8, seed=0, initialization="uniform")
    values, errors, hidden = network.value(TRIALS), network.rpe(TRIALS), network.hidden_activity(TRIALS)
    for one, value, error, activity in zip(ARRAYS, values, errors, hidden, strict=True):
        assert value.shape == (len(one),)
        assert activity.shape == (len(one), 4)
        np.testing.assert_allclose(error, one[1:, -1] + 0.8 * value[1:] - value[:-1], atol=1e-6)
        np.testing.assert_allclose(network.value(one), value, atol=1e-6)
        readout = network.learner_state.params["readout"]
        np.testing.assert_allclose(activity @ readout["kernel"][:, 0] + readout["bias"], value, atol=1e-6)
    heads = ValueRNN(hidden_size=4, loss="quantile", num_values=3, initialization="uniform", seed=0)
    assert heads.distribution(TRIALS[0]).shape == (6, 3)
    np.testing.assert_allclose(heads.distribution(TRIALS[0]).mean(axis=1), heads.value(TRIALS[0]), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([ARRAYS[0], ARRAYS[1][:1]], ValueError, r"trials\[1\] must have at least 2 steps, got 1"),
        ([], ValueError, "at least one trial, got none"),
        (ARRAYS[0], ValueError, r"trials\[0\] must be an array of 2 dimensions"),
        (3, TypeError, "trials must be a list with an array for each trial, got int"),
        (
            [ARRAYS[0], np.full((4, 3), np.nan)],
            ValueError,
            r"trials\[1\] must be finite numbers, got NaN or infinity at step 0",
        ),
        ([ARRAYS[0], np.zeros((4, 2))], ValueError, r"trials\[1\] must have 3 features, got 2"),
        ([np.zeros((4, 3, 2))], ValueError, r"trials\[0\] must be an array of 2 dimensions"),
        ([[["a"]]], TypeError, r"trials\[0\] must be an array of numbers"),
        (TRIALS, TypeError, r"trials\[0\] must be an array of numbers, got OwnTrial"),
    ],
)
def test_bad_arrays(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ValueRNN(seed=0).fit(given, reward_column=-1, epochs=1)


def test_other_bad_trials() -> None:
    class Half:
        observations = ARRAYS[0]

    with pytest.raises(TypeError, match=r"trials\[0\] has observations, but no rewards and no terminated"):
        ValueRNN(seed=0).fit([Half], epochs=1)
    with pytest.raises(ValueError, match=r"validation\[0\] must have 3 features, got 2"):
        ValueRNN(seed=0).fit(ARRAYS, reward_column=-1, epochs=1, validation=[np.zeros((4, 2))])
    with pytest.raises(TypeError, match="trials must be a list of trials, got OwnTrial"):
        ValueRNN(seed=0).fit(TRIALS[0], epochs=1)
    with pytest.raises(ValueError, match="the network is made when it sees its first trials"):
        ValueRNN(seed=0).save("nowhere")


def test_a_network_keeps_its_width() -> None:
    network = ValueRNN(hidden_size=2, seed=0)
    network.fit(TRIALS, epochs=1)
    with pytest.raises(ValueError, match="trials must have the 3 features that this network reads, got 2"):
        network.fit([np.zeros((4, 2))], reward_column=-1, epochs=1)
    with pytest.raises(ValueError, match="networks must be different objects"):
        fit_many([network, network], TRIALS, epochs=1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cell": "rnn"}, ValueError, "cell must be one of 'gru', 'lstm', 'vanilla'; got 'rnn'"),
        ({"readout": "relu"}, ValueError, "readout must be one of"),
        ({"loss": "mse"}, ValueError, "loss must be one of"),
        ({"hidden_size": 0}, ValueError, "hidden_size must be"),
        ({"td_lambda": 1.5}, ValueError, "td_lambda must be"),
        ({"gamma": -0.1}, ValueError, "gamma must be"),
        ({"num_values": 3}, ValueError, "num_values must be 1 with loss='td', got 3"),
        ({"loss": "quantile"}, ValueError, "num_values must be at least 2 with loss='quantile', got 1"),
        ({"loss": "quantile", "num_values": 2, "td_lambda": 0.5}, ValueError, "td_lambda must be 0 with loss='quantile'"),
        ({"levels": [0.3]}, ValueError, "levels must be None with loss='td'"),
        ({"loss": "expectile", "num_values": 2, "levels": [0.5, 0.9]}, ValueError, "levels must lie on both sides of 0.5"),
        ({"loss": "asymmetric", "levels": [1.0]}, ValueError, r"levels\[0\] must be a finite number above 0 and below 1"),
        ({"loss": "quantile", "num_values": 2, "levels": [0.6, 0.4]}, ValueError, "levels must be 2 rising numbers"),
        ({"frozen": ["weights"]}, ValueError, "each of frozen must be one of 'input', 'recurrent', 'readout'"),
        ({"frozen": "input"}, TypeError, "frozen must be a list"),
        ({"sequence_length": 0}, ValueError, "sequence_length must be"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ValueRNN(**arguments)
