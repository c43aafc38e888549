"""Trials of one's own: plain arrays, whose rewards are given apart or named by their column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mbrl_agents.experiments import value_rnn_plots
from mbrl_agents.value_rnn import ValueRNN, analysis, fit_many, make_trials
from mbrl_envs import conditioning
from tests.agents.value_rnn.trials import ARRAYS

CUES, REWARDS = [each[:, :-1] for each in ARRAYS], [each[:, -1] for each in ARRAYS]
FIRST = [np.roll(each, 1, axis=1) for each in ARRAYS]  # the reward's column comes first


def fresh(**arguments: Any) -> ValueRNN:
    return ValueRNN(hidden_size=4, gamma=0.8, seed=0, **arguments)


def test_cues_and_rewards_apart_are_as_columns_of_one_array() -> None:
    apart, together = fresh(), fresh()
    first, second = apart.fit(CUES, REWARDS, 5), together.fit(ARRAYS, reward_column=-1, epochs=5)
    np.testing.assert_array_equal(first.losses, second.losses)
    np.testing.assert_array_equal(apart.value(CUES[0], REWARDS[0]), together.value(ARRAYS[0]))
    for ours, theirs in zip(apart.rpe(CUES, REWARDS), together.rpe(ARRAYS, reward_column=2), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(apart.hidden_activity(CUES, REWARDS)[1], together.hidden_activity(ARRAYS)[1])


def test_the_reward_is_what_is_said_to_be_it_and_not_the_last_column() -> None:
    """A network whose values are 0 has the rewards as prediction errors."""
    for network, found in (
        (fresh(), fresh().rpe(CUES, REWARDS)),
        (fresh(), fresh().rpe(ARRAYS, reward_column=-1)),
        (fresh(), fresh().rpe(FIRST, reward_column=0)),
    ):
        for reward, errors in zip(REWARDS, found, strict=True):
            np.testing.assert_array_equal(errors, reward[1:])
        assert network.value(FIRST[0]).tolist() == [0.0] * 6  # to read values, nothing needs to be said
    fits = [fresh().fit(each, reward_column=column, epochs=1).losses[0] for each, column in ((ARRAYS, 2), (ARRAYS, 0))]
    assert fits[0] != pytest.approx(fits[1], rel=1e-3)


def test_an_array_alone_does_not_say_which_column_is_what() -> None:
    for call in (fresh().fit, fresh().rpe, lambda arrays: fit_many([fresh()], arrays)):
        with pytest.raises(TypeError, match=r"trials\[0\] is an array, of which nothing says which column is the reward"):
            call(CUES)
    with pytest.raises(TypeError, match=r"trials\[0\] is an array, of which nothing says"):
        analysis.refit_readout(fresh(), ARRAYS)


def test_validation_trials_are_given_as_the_others() -> None:
    fits = [
        fresh().fit(CUES[:2], REWARDS[:2], 5, validation=(CUES[2:], REWARDS[2:])),
        fresh().fit(ARRAYS[:2], reward_column=-1, epochs=5, validation=ARRAYS[2:]),
        fresh().fit(make_trials(CUES[:2], REWARDS[:2]), epochs=5, validation=make_trials(ARRAYS[2:], reward_column=-1)),
    ]
    for other in fits[1:]:
        np.testing.assert_array_equal(fits[0].losses, other.losses)
    with pytest.raises(TypeError, match=r"validation must be a pair \(trials, rewards\)"):
        fresh().fit(CUES, REWARDS, 5, validation=CUES)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rewards": REWARDS, "reward_column": 0}, "give either rewards, .* or reward_column, got both"),
        ({}, "give either rewards, .* or reward_column, got neither"),
        ({"rewards": 5}, "rewards must be a list with an array for each trial, got int; epochs is the third argument"),
        ({"rewards": REWARDS[:2]}, "rewards must have an array for each of the 4 trials, got 2"),
        ({"rewards": REWARDS[::-1]}, r"rewards\[0\] must have 6 steps, as trials\[0\], got 7"),
        ({"rewards": ARRAYS}, r"rewards\[0\] must be an array of 1 dimensions"),
        ({"reward_column": 3}, r"reward_column \(of trials\[0\]\) must be .* got 3"),
        ({"reward_column": 1.5}, r"reward_column \(of trials\[0\]\) must be an integer"),
        ({"rewards": REWARDS, "terminated": "no"}, "terminated must be"),
    ],
)
def test_bad_arrays(given: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make_trials(ARRAYS, **given)


def test_the_second_argument_is_not_the_number_of_epochs() -> None:
    with pytest.raises(TypeError, match="epochs is the third argument"):
        fresh().fit(CUES, 20)


def test_a_cut_trial_has_no_end() -> None:
    """Only after an end does the value learn to be 0."""
    cut, over = make_trials(CUES, REWARDS, terminated=False), make_trials(CUES, REWARDS)
    assert fresh().fit(cut, epochs=1).losses[0] > fresh().fit(over, epochs=1).losses[0]  # a step less without any reward


# --- tables and pictures of them ----------------------------------------------------------------------------------------------

ENV = conditioning.CueReward(delays=(2, 4), iti_min=1, iti_probability=0.5)
SAMPLED = conditioning.sample_trials(ENV, 30, seed=1)


def test_an_environment_says_what_arrays_show() -> None:
    """Its observations end with the reward; a stack of trials of one length is a list of them, too."""
    network, arrays = fresh(initialization="uniform"), [each.observations for each in SAMPLED]
    length = len(SAMPLED[0].rewards)
    same = [each for each in SAMPLED if len(each.rewards) == length]
    stack = np.stack([each.observations for each in same])
    assert len(same) > 1
    assert analysis.errors(network, ENV, arrays) == analysis.errors(network, ENV, SAMPLED)
    assert analysis.errors(network, ENV, stack) == analysis.errors(network, ENV, same)
    assert analysis.rpe_by_delay(network, ENV, arrays).equals(analysis.rpe_by_delay(network, ENV, SAMPLED))
    ours, theirs = (analysis.belief_regression(network, ENV, each, SAMPLED).r2 for each in (arrays, SAMPLED))
    assert ours == theirs
    with pytest.raises(TypeError, match=r"trials must be of mbrl_envs.+sample_trials, which know the hidden state"):
        analysis.state_decoding(network, ENV, arrays, SAMPLED)


def test_prediction_errors_by_delay_without_a_task() -> None:
    table = analysis.rpe_by_delay(fresh(), None, make_trials(CUES, REWARDS))
    assert table.to_dict("list") == {"cue": ["0", "1"], "delay": [2, 5], "rpe": [1.0, 1.0], "count": [2, 2]}
    moved = analysis.rpe_by_delay(fresh(), None, make_trials(FIRST, reward_column=0))
    assert moved.equals(table)
    with pytest.raises(TypeError, match=r"trials\[0\] is an array, of which nothing says"):
        analysis.rpe_by_delay(fresh(), None, ARRAYS)


def test_pictures_without_a_task() -> None:
    network, trials = fresh(initialization="uniform"), make_trials(FIRST, reward_column=0)
    axis = value_rnn_plots.trials_figure(None, trials, "Trials").axes[1]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["cue 0", "cue 1", "reward"]
    assert [lines.get_segments()[0][0][0] for lines in axis.collections if lines.get_segments()] == [1, 6]
    axes = value_rnn_plots.values_figure(network, None, trials, "Values").axes
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), network.value(FIRST[0]))
    assert "exact" not in [line.get_label() for line in axes[0].lines]
    assert len(value_rnn_plots.trajectories_figure(network, trials, "Trajectories").axes[0].lines) >= 3 * len(trials)
    table = analysis.rpe_by_delay(network, None, trials)
    assert [line.get_label() for line in value_rnn_plots.rpe_figure({"own": [table]}, "Errors").axes[0].lines].count(
        "exact"
    ) == 0
