"""Analyses, on networks whose answers are known."""

from __future__ import annotations

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_agents.experiments import figures, value_rnn_plots
from mbrl_agents.value_rnn import ValueRNN, analysis
from mbrl_envs import conditioning

ENV = conditioning.CueReward(delays=(2, 4), iti_min=1, iti_probability=0.5)
TRIALS, OTHERS = (conditioning.sample_trials(ENV, 60, seed=seed) for seed in (1, 2))


def delay_line(gamma: float = 0.8, steps: int = 6) -> ValueRNN:
    """A vanilla network that holds each input for some steps, a unit for each step and input; linear, as it is small."""
    network = ValueRNN(hidden_size=3 * steps, cell="vanilla", gamma=gamma, seed=0)
    network.prepare(3)
    small, shift = 1e-3, np.zeros((3 * steps, 3 * steps), np.float32)
    for unit in range(3 * steps - 3):
        shift[unit, unit + 3] = 1
    enter = np.zeros((3, 3 * steps), np.float32)
    enter[:, :3] = small * np.eye(3)
    params = {
        "input": {"kernel": jnp.asarray(enter), "bias": jnp.zeros(3 * steps)},
        "recurrent": {"kernel": jnp.asarray(shift)},
        "readout": network.learner_state.params["readout"],
    }
    network.change_run(learner=network.learner_state._replace(params=params))
    return network


def test_lstd_finds_the_values_of_a_complete_state() -> None:
    refitted = analysis.refit_readout(delay_line(), TRIALS, ridge=1e-9)
    for trial, value in zip(OTHERS, refitted.value(OTHERS), strict=True):
        seen = int(trial.observations[:, :-1].any(axis=1).argmax())
        exact = conditioning.values(ENV, trial.observations, 0.8)
        np.testing.assert_allclose(value[seen:], exact[seen:], atol=0.02)  # before it, rests of rare long intervals differ
    errors = analysis.errors(refitted, ENV, OTHERS)
    assert errors.value_mse < 1e-3
    assert errors.rpe_max < 0.2
    with pytest.raises(ValueError, match="network must have readout='linear' and loss='td'"):
        analysis.refit_readout(ValueRNN(readout="relu_sum", hidden_size=2), TRIALS)


def test_errors_of_a_network_without_values() -> None:
    network = ValueRNN(hidden_size=3, gamma=0.8, seed=0)
    exact = np.concatenate(analysis.exact_values(ENV, TRIALS, 0.8))
    errors = analysis.errors(network, ENV, TRIALS)
    assert errors.value_mse == pytest.approx(np.mean(exact**2), rel=1e-5)
    assert errors.value_max == pytest.approx(exact.max(), rel=1e-5)


def test_beliefs_are_read_from_a_complete_state_and_not_from_a_poor_one() -> None:
    full, poor = delay_line(), ValueRNN(hidden_size=1, cell="vanilla", seed=0)
    assert analysis.belief_regression(full, ENV, TRIALS, OTHERS).r2 > 0.95
    found = analysis.belief_regression(poor, ENV, TRIALS, OTHERS)
    assert found.r2 < 0.3
    beliefs = np.concatenate(analysis.exact_beliefs(ENV, OTHERS))
    predicted = np.concatenate(poor.hidden_activity(OTHERS)) @ found.weights + found.bias
    again = 1 - np.square(beliefs - predicted).sum() / np.square(beliefs - beliefs.mean(axis=0)).sum()
    assert found.r2 == pytest.approx(again, abs=1e-4)


def test_states_are_decoded() -> None:
    full, poor = (
        analysis.state_decoding(each, ENV, TRIALS, OTHERS) for each in (delay_line(), ValueRNN(hidden_size=1, seed=0))
    )
    assert full.beliefs == poor.beliefs
    assert full.frequencies == poor.frequencies < poor.network < full.network
    assert full.network > 0.9 * full.beliefs + 0.1 * full.frequencies


def test_memory_of_a_delay_line() -> None:
    table = analysis.memory(delay_line(steps=6), num_steps=20, threshold=5e-4)
    assert table.groupby("input")["duration"].first().tolist() == [6, 6, 6]
    deaf = delay_line()
    kernel = {"kernel": jnp.zeros((3, 18)), "bias": jnp.zeros(18)}
    deaf.change_run(learner=deaf.learner_state._replace(params=deaf.learner_state.params | {"input": kernel}))
    assert (analysis.memory(deaf, num_steps=20)["duration"] == 0).all()
    first = table[table["input"] == 0].set_index("step")["distance"]
    np.testing.assert_allclose(first[:6], 1e-3, rtol=1e-3)
    assert (first[6:] < 1e-9).all()


def test_memory_needs_a_threshold_that_can_be_passed() -> None:
    with pytest.raises(ValueError, match="threshold must be a finite number above 0, got 0"):
        analysis.memory(delay_line(), threshold=0.0)


def test_errors_by_delay() -> None:
    network = ValueRNN(hidden_size=3, gamma=0.8, seed=0)
    env = conditioning.Starkweather(task=2)
    table = analysis.rpe_by_delay(network, env, conditioning.sample_trials(env, 40, seed=0, trials_per_episode=20))
    assert table["delay"].tolist() == list(range(6, 15))
    np.testing.assert_allclose(table["rpe"], 1.0)  # values are 0
    exact = {6: 0.360, 14: 0.700}  # REFERENCE, γ = .93
    table = analysis.rpe_by_delay(
        ValueRNN(gamma=0.93, seed=0), env, conditioning.sample_trials(env, 40, 0, trials_per_episode=20)
    )
    for delay, wanted in exact.items():
        assert table.set_index("delay")["exact"][delay] == pytest.approx(wanted, abs=2e-3)


def test_responses_by_block() -> None:
    """Of a network without values: errors are rewards. The exact observer knows two sizes, and blurs them."""
    task, network = conditioning.Babayan(), ValueRNN(gamma=0.93, seed=0)
    shown = conditioning.sample_trials(conditioning.Babayan(sizes=(1.0, 5.5, 10.0)), 20, seed=0, trials_per_episode=20)
    table = analysis.block_responses(network, task, shown, reward_noise=1.0).set_index(["size", "trial"])
    assert table.index.tolist() == [(size, trial) for size in (1.0, 5.5, 10.0) for trial in range(1, 6)]
    assert table["count"].groupby("size").nunique().tolist() == [1, 1, 1]
    assert table["count"].sum() == 400
    np.testing.assert_allclose(table["rpe"], table.index.get_level_values("size"))
    exact = table["exact_value"].unstack()
    low, middle, high = (exact.loc[size, 2:5] for size in (1.0, 5.5, 10.0))
    assert (low < 1.5).all()
    assert (high > 4).all()
    np.testing.assert_allclose(middle[2], (low[2] + high[2]) / 2, rtol=0.05)  # as likely one as the other
    observer = conditioning.prediction_errors(task, shown[0].observations, 0.93, reward_noise=1.0)
    first = int(np.flatnonzero(shown[0].rewards)[0])
    alone = analysis.block_responses(network, task, [_head(shown[0], first + 1)], reward_noise=1.0)
    assert alone["exact_rpe"].tolist() == [pytest.approx(observer[first - 1])]
    with pytest.raises(TypeError, match="env must be a Babayan task"):
        analysis.block_responses(network, ENV, TRIALS)


def _head(trial: conditioning.Trial, steps: int) -> conditioning.Trial:
    return conditioning.Trial(trial.observations[:steps], trial.rewards[:steps], trial.states[:steps], terminated=False)


def test_controls() -> None:
    network = ValueRNN(hidden_size=3, gamma=0.8, seed=0)
    before = network.hidden_activity(TRIALS[0])
    network.fit(TRIALS, epochs=5)
    control = analysis.untrained(network, seed=0)
    np.testing.assert_array_equal(control.hidden_activity(TRIALS[0]), before)
    assert np.abs(control.hidden_activity(TRIALS[0]) - network.hidden_activity(TRIALS[0])).max() > 1e-3
    copied = analysis.clone(network)
    copied.fit(TRIALS, epochs=5)
    assert np.abs(copied.value(TRIALS[0]) - network.value(TRIALS[0])).max() > 0


def test_pictures(tmp_path: pathlib.Path) -> None:
    network = ValueRNN(hidden_size=3, gamma=0.8, seed=0)
    fit = network.fit(TRIALS, epochs=3)
    drawn = {
        "trials": value_rnn_plots.trials_figure(ENV, TRIALS[:3], "Trials"),
        "losses": value_rnn_plots.losses_figure({"3 units": [fit.losses, fit.losses[:2]]}, "Losses"),
        "values": value_rnn_plots.values_figure(network, ENV, TRIALS[:2], "Values"),
        "trajectories": value_rnn_plots.trajectories_figure(network, TRIALS[:4], "Trajectories"),
        "rpe": value_rnn_plots.rpe_figure({"all": [analysis.rpe_by_delay(network, ENV, TRIALS)]}, "Errors"),
    }
    for name, figure in drawn.items():
        figures.save(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="at least 2 hidden units"):
        value_rnn_plots.trajectories_figure(ValueRNN(hidden_size=1, seed=0), TRIALS[:2], "Trajectories")
