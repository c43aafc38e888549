"""Noise on hidden units: what it does to each analysis, by closed forms and by the published figures."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_agents.value_rnn import ValueRNN, analysis
from mbrl_agents.value_rnn.analysis import activity
from mbrl_envs import conditioning

ENV = conditioning.Starkweather(task=2)
STEPS, BURN_IN = 1250, 50


def sampled(seed: int) -> list[conditioning.Trial]:
    """The first steps of 16 episodes of about 45 trials; of one length, as exact values are computed faster then."""
    long = conditioning.sample_trials(ENV, 16, seed=seed, trials_per_episode=60)
    return [
        conditioning.Trial(each.observations[:STEPS], each.rewards[:STEPS], each.states[:STEPS], terminated=False)
        for each in long
    ]


TRIALS, OTHERS = sampled(2), sampled(3)


def fresh(units: int, seed: int = 0) -> ValueRNN:
    """As PyTorch's GRU begins."""
    network = ValueRNN(hidden_size=units, gamma=0.93, initialization="uniform", seed=seed)
    network.prepare(2)
    return network


def test_noise_is_a_share_of_each_unit_s_spread() -> None:
    network = fresh(5)
    plain, noisy = (np.concatenate(activity.hidden_activity(network, TRIALS, noise, seed=1)) for noise in (0.0, 0.3))
    np.testing.assert_array_equal(plain, np.concatenate(network.hidden_activity(TRIALS)))
    added = noisy - plain
    np.testing.assert_allclose(added.std(axis=0), 0.3 * plain.std(axis=0), rtol=0.02)
    np.testing.assert_allclose(np.corrcoef(added.T), np.eye(5), atol=0.03)
    assert abs(np.corrcoef(added[1:, 0], added[:-1, 0])[0, 1]) < 0.03
    again, other = (np.concatenate(activity.hidden_activity(network, TRIALS, 0.3, seed=seed)) for seed in (1, 2))
    np.testing.assert_array_equal(again, noisy)
    assert abs(np.corrcoef((other - plain)[:, 0], added[:, 0])[0, 1]) < 0.03


def test_values_get_the_noise_of_the_units_through_their_weights() -> None:
    """Mean squared errors grow by n² Σ w² σ², and those of δ = r + γ V′ − V by (1 + γ²) times that."""
    network, noise = analysis.refit_readout(fresh(5), TRIALS), 0.5
    readout = network.learner_state.params["readout"]["kernel"][:, 0]
    spread = np.concatenate(network.hidden_activity(TRIALS)).std(axis=0)
    added = np.square(noise * spread * np.asarray(readout)).sum()
    before, after = (analysis.errors(network, ENV, TRIALS, noise=each) for each in (0.0, noise))
    assert after.value_mse - before.value_mse == pytest.approx(added, rel=0.1)
    assert after.rpe_mse - before.rpe_mse == pytest.approx((1 + 0.93**2) * added, rel=0.1)
    table = analysis.rpe_by_delay(network, ENV, TRIALS, noise=noise)
    assert np.abs(table["rpe"] - analysis.rpe_by_delay(network, ENV, TRIALS)["rpe"]).max() > 0


def test_a_single_unit_tells_less_by_a_known_factor() -> None:
    """With one predictor, R² falls by 1 / (1 + n²)."""
    network = fresh(1)
    plain, noisy = (analysis.belief_regression(network, ENV, TRIALS, OTHERS, noise=noise).r2 for noise in (0.0, 1.0))
    assert plain > 0.02
    assert noisy == pytest.approx(plain / 2, rel=0.1)


def test_lstd_is_regularised_by_noise() -> None:
    """E[(φ + ε)(φ + ε − γ φ′)ᵀ] has n² σ² more on its diagonal."""
    network, noise = fresh(3), 0.2
    hidden = [np.column_stack([each, np.ones(len(each))]).astype(float) for each in network.hidden_activity(TRIALS)]
    matrix = sum(each[:-1].T @ (each[:-1] - 0.93 * each[1:]) for each in hidden)
    vector = sum(each[:-1].T @ trial.rewards[1:] for each, trial in zip(hidden, TRIALS, strict=True))
    steps, spread = sum(len(each) - 1 for each in hidden), np.concatenate(hidden).std(axis=0)
    wanted = np.linalg.solve(matrix + steps * np.diag(np.square(noise * spread)), vector)
    drawn = [analysis.refit_readout(network, TRIALS, 0.0, noise=noise, seed=seed) for seed in range(10)]
    weights = np.mean([each.learner_state.params["readout"]["kernel"][:, 0] for each in drawn], axis=0)
    np.testing.assert_allclose(weights, wanted[:-1], atol=0.1 * np.abs(wanted[:-1]).max())
    exact = np.linalg.solve(matrix, vector)
    assert np.abs(wanted - exact)[:-1].max() > 0.3 * np.abs(exact[:-1]).max()


def test_states_are_not_decoded_from_noise_alone() -> None:
    """Units that all but their noise is hidden in tell no more than how often states come."""
    some = [analysis.state_decoding(fresh(4), ENV, TRIALS, OTHERS, noise=noise, burn_in=BURN_IN) for noise in (0.0, 1e4)]
    assert some[0].network > some[0].frequencies + 0.2
    assert some[1].network == pytest.approx(some[1].frequencies, abs=0.02)


def test_a_unit_that_does_nothing_leaves_a_solution() -> None:
    network = fresh(3)
    params = network.learner_state.params
    silent = {part: {name: jnp.zeros_like(leaf) for name, leaf in params[part].items()} for part in ("input", "recurrent")}
    network.change_run(learner=network.learner_state._replace(params=params | silent))
    refitted = analysis.refit_readout(network, TRIALS, 0.0)
    values = np.concatenate(refitted.value(TRIALS))
    rate = np.mean([np.mean(trial.rewards[1:]) for trial in TRIALS])
    np.testing.assert_allclose(values, rate / (1 - 0.93), rtol=0.02)


# --- the published figures, and those measured of the published analysis ---------------------------------------------------


@pytest.mark.parametrize(
    ("units", "with_noise", "without"),
    [
        pytest.param(5, 0.24, 0.31, marks=pytest.mark.slow),
        (10, 0.33, 0.52),
        pytest.param(20, 0.37, 0.66, marks=pytest.mark.slow),
    ],
)
def test_untrained_networks_tell_as_much_as_published(units: int, with_noise: float, without: float) -> None:
    r2 = np.array(
        [
            [
                analysis.belief_regression(
                    fresh(units, seed), ENV, TRIALS, OTHERS, omission="at_cue", noise=noise, burn_in=BURN_IN
                ).r2
                for noise in (0.05, 0.0)
            ]
            for seed in range(12)
        ]
    )
    np.testing.assert_allclose(r2.mean(axis=0), [with_noise, without], atol=0.03)


def test_untrained_networks_of_50_units_are_as_wrong_as_published() -> None:
    def rpe_mse(noise: float) -> float:
        found = []
        for seed in range(3):
            refitted = analysis.refit_readout(fresh(50, seed), TRIALS, 0.0, noise=noise, burn_in=BURN_IN)
            found.append(analysis.errors(refitted, ENV, OTHERS, noise=noise, seed=1, burn_in=BURN_IN).rpe_mse)
        return float(np.mean(found))

    assert rpe_mse(0.05) == pytest.approx(0.0088, abs=0.0015)
    assert rpe_mse(0.0) == pytest.approx(0.0004, abs=0.00015)


def test_the_first_steps_are_left_out() -> None:
    """Everything is as if episodes had begun later, in the state in which they are then."""
    network = fresh(3)
    plain, cut = (activity.hidden_activity(network, TRIALS, 0.0, 0, burn_in) for burn_in in (0, 7))
    np.testing.assert_array_equal(cut[1], plain[1][7:])
    values, exact = network.value(TRIALS[:1])[0][7:], analysis.exact_values(ENV, TRIALS[:1], 0.93)[0][7:]
    rewards = TRIALS[0].rewards[8:]
    rpe = (rewards + 0.93 * values[1:] - values[:-1]) - (rewards + 0.93 * exact[1:] - exact[:-1])
    found = analysis.errors(network, ENV, TRIALS[:1], burn_in=7)
    assert found.value_mse == pytest.approx(np.mean(np.square(values - exact)), rel=1e-5)
    assert found.rpe_mse == pytest.approx(np.mean(np.square(rpe)), rel=1e-5)
    with pytest.raises(ValueError, match="burn_in must leave 2 steps of the shortest trial, which has 1250, got 1249"):
        analysis.errors(network, ENV, TRIALS, burn_in=1249)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"noise": -0.1}, "noise must be a finite number of at least 0, got -0.1"),
        ({"noise": float("nan")}, "noise must be a finite number"),
        ({"noise": 0.1, "seed": -1}, "seed must be an integer"),
        ({"omission": "never"}, "omission must be one of 'late', 'at_cue'"),
    ],
)
def test_bad_arguments(given: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        analysis.belief_regression(fresh(2), ENV, TRIALS, OTHERS, **given)
