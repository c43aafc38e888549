"""Beliefs of the published study, in which a trial without reward is over with its cue, by a recursion written down by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mbrl_envs.conditioning import Starkweather, beliefs, sample_trials

TASK = Starkweather(2)
ITI, TRIAL = 10, 14  # states of the interval, and from the cue to the step before the last reward


def published(observations: np.ndarray) -> np.ndarray:
    """Beliefs (T, 25): the interval's steps 1 to 10 (the last repeats), steps 0 to 13 since the cue, the trial's end."""
    steps = np.arange(1, TRIAL + 1)
    weights = np.where(steps >= 6, np.exp(-0.5 * ((steps - 10) * 0.2 / 0.5) ** 2), 0.0)
    hazard = weights / np.cumsum(weights[::-1])[::-1]
    belief, found = np.eye(ITI + TRIAL + 1)[0], []
    for t, (cue, reward) in enumerate(observations):
        interval, trial, end = belief[:ITI], belief[ITI:-1], belief[-1]
        after = np.zeros_like(belief)
        if t == 0:
            after[0] = 1
        elif cue:
            after[ITI], after[-1] = 0.9 * interval[-1], 0.1 * interval[-1]
        elif reward:
            after[-1] = trial @ hazard
        else:
            after[0], after[1:ITI] = end, interval[:-1]
            after[ITI - 1] += interval[-1] * (1 - 0.125)
            after[ITI + 1 : -1] = (trial * (1 - hazard))[:-1]
        belief = after / after.sum()
        found.append(belief)
    return np.array(found)


def test_beliefs_are_those_of_the_published_recursion() -> None:
    for trial in sample_trials(TASK, 3, seed=0, trials_per_episode=30):
        ours, wanted = beliefs(TASK, trial.observations, omission="at_cue"), published(trial.observations)
        assert ours.shape == wanted.shape == (len(trial.rewards), 25)
        # Columns are in the order in which states are reached: the trial's end comes with an omitted cue.
        order = [*range(ITI), ITI, *range(ITI + 2, ITI + TRIAL + 1), ITI + 1]
        np.testing.assert_allclose(ours[:, order], wanted, atol=1e-12)


def test_the_two_differ_where_no_reward_comes() -> None:
    seen = np.zeros((40, 2), np.float32)
    seen[20, 0] = 1
    late, at_cue = (beliefs(TASK, seen, omission=each) for each in ("late", "at_cue"))
    in_interval = at_cue[:, :ITI].sum(axis=1)
    assert late.shape[1] == 40
    np.testing.assert_allclose(at_cue[20, [ITI, ITI + 1]], [0.9, 0.1])
    assert in_interval[21] == pytest.approx(0.1)  # the late observer waits for the longest delay
    assert in_interval[34] == pytest.approx(1.0)
    chain = TASK.chain
    is_interval = np.array([state.phase == "interval" for state in chain.states])
    assert late[21:35, is_interval].max() == 0
    assert late[35, is_interval].sum() == pytest.approx(1.0)


def test_without_omissions_nothing_changes() -> None:
    task = Starkweather(1)
    for trial in sample_trials(task, 3, seed=1, trials_per_episode=5):
        late, at_cue = (beliefs(task, trial.observations, omission=each) for each in ("late", "at_cue"))
        np.testing.assert_array_equal(at_cue, late)


def test_unknown_omissions_are_refused() -> None:
    with pytest.raises(ValueError, match="omission must be one of 'late', 'at_cue'; got 'early'"):
        beliefs(TASK, np.zeros((3, 2), np.float32), omission="early")
