"""Settings that somebody has put into Optuna's queue: ``study.optuna.enqueue_trial({"learning_rate": 1e-4})``.

The next slots that are asked for get them, in the order in which they were enqueued; what a setting leaves open, the sampler
fills in. A slot's trial is made whole in one step (:mod:`tuning.register`), so it is a trial of its own, which names the
enqueued one in its attribute ``enqueued``. The enqueued one, which nobody trains, then fails with the attribute ``trained_as``.
Two workers that ask at the same moment may both take the same setting: it is then trained twice.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from tuning.proposals import SLOT, make_sampler
from tuning.specification import StudySpec

ENQUEUED, TRAINED_AS, REFUSED = "enqueued", "trained_as", "refused"  # attributes of trials
_FIXED = "fixed_params"  # as Optuna calls it


class QueueingStudy(optuna.Study):
    """Optuna's study, whose queue takes only what can be trained.

    Args:
        name: The study's name.
        spec: What it is.
        storage: Its storage.
    """

    def __init__(self, name: str, spec: StudySpec, storage: BaseStorage) -> None:
        super().__init__(name, storage, sampler=make_sampler(spec))
        self._spec = spec

    def enqueue_trial(
        self, params: dict[str, Any], user_attrs: dict[str, Any] | None = None, skip_if_exists: bool = False
    ) -> None:
        """Has a setting tried next; see :meth:`optuna.Study.enqueue_trial`.

        Raises:
            ValueError: It is not of the search space, or the study is a grid.
        """
        if why := refusal(self._spec, params):
            raise ValueError(f"enqueue_trial({dict(params)!r}): {why}")
        super().enqueue_trial(params, user_attrs, skip_if_exists)


def refusal(spec: StudySpec, params: Mapping[str, Any]) -> str | None:
    """Why a setting cannot be tried, in words; None if it can."""
    if spec.sampler == "grid":
        return (
            "the trials of a grid are its points; make a study with another sampler (tpe, random, …) for settings of your own"
        )
    distributions = spec.space.distributions()
    if unknown := sorted(params.keys() - distributions.keys()):
        return f"{', '.join(unknown)} is not searched; the space has {', '.join(distributions)}"
    for name, value in params.items():
        try:
            inside = distributions[name]._contains(distributions[name].to_internal_repr(value))
        except (TypeError, ValueError):
            inside = False
        if not inside:
            return f"{name}={value!r} is not in the search space, {distributions[name]}"
    return None


def waiting(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The enqueued trials that no slot has taken, the first ones first."""
    taken = {trial.user_attrs.get(ENQUEUED) for trial in trials if SLOT in trial.user_attrs}
    queue = [trial for trial in trials if trial.state == TrialState.WAITING and trial.number not in taken]
    return sorted(queue, key=lambda trial: trial.number)


def wanted(trial: FrozenTrial) -> dict[str, Any]:
    """The setting of an enqueued trial."""
    return dict(trial.system_attrs.get(_FIXED, {}))


def refuse_others(study: QueueingStudy, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Fails enqueued trials that cannot be tried, which somebody put there by other means; returns those that can.

    Each is warned of, and has its reason as the attribute ``refused``.
    """
    kept = []
    for trial in waiting(trials):
        if (why := refusal(study._spec, wanted(trial))) is None:
            kept.append(trial)
        else:
            warnings.warn(f"the enqueued trial {trial.number}, {wanted(trial)!r}, is refused: {why}", stacklevel=2)
            finish(study, trial, REFUSED, why)
    return kept


def finish_taken(study: QueueingStudy, by_slot: Mapping[int, FrozenTrial]) -> None:
    """Takes those out of the queue that slots' trials have taken."""
    taken = {trial.user_attrs[ENQUEUED]: trial.number for trial in by_slot.values() if ENQUEUED in trial.user_attrs}
    if taken:
        for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING)):
            if trial.number in taken:
                finish(study, trial, TRAINED_AS, taken[trial.number])


def finish(study: optuna.Study, trial: FrozenTrial, attribute: str, value: Any) -> None:
    """Takes an enqueued trial out of the queue, and says what has become of it."""
    storage, trial_id = study._storage, trial._trial_id
    try:
        storage.set_trial_user_attr(trial_id, attribute, value)
        storage.set_trial_state_values(trial_id, TrialState.RUNNING)  # without a beginning a trial is none, Optuna says
        storage.set_trial_state_values(trial_id, TrialState.FAIL)
    except optuna.exceptions.UpdateFinishedTrialError:
        pass  # another worker has
