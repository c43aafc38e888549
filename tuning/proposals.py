"""What to try next: Optuna's samplers, asked on a copy of the study in memory.

A sampler reads all trials and writes notes of its own, a call to the storage each. On a copy this costs nothing, and the trial
can then be made in the storage whole, in one step, with its parameters and the sampler's notes: a kill leaves no half-asked
trial behind, and a worker that thaws cannot overwrite parameters that another one is already training with.

Each slot is asked with a sampler of its own seed, so that proposals depend on the trials told so far and on the slot, not on
how often the study was stopped in between.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GridSampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuning.specification import StudySpec

SLOT, DIVERGED = "slot", "diverged"  # attributes of a trial: which one it is, how many of its runs diverged
_COUNTER = "qmc:"  # how the names begin under which Optuna counts quasi-random points


def make_sampler(spec: StudySpec, slot: int = 0) -> BaseSampler:
    """The sampler of a study, for one slot."""
    seed = int(np.random.SeedSequence([spec.sampler_seed, slot]).generate_state(1)[0])
    if spec.sampler == "grid":
        return GridSampler(spec.space.values, seed=spec.sampler_seed)
    if spec.sampler == "tpe":
        return TPESampler(seed=seed)
    if spec.sampler == "cmaes":
        return CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if spec.sampler == "qmc":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return QMCSampler(seed=spec.sampler_seed, scramble=True, warn_independent_sampling=False)
    return RandomSampler(seed=seed)


class Proposer:
    """Proposes parameters for slots.

    Args:
        spec: The study.
        trials: Its trials so far.
    """

    def __init__(self, spec: StudySpec, trials: Sequence[FrozenTrial]) -> None:
        self.spec = spec
        self.copy = optuna.create_study(storage=InMemoryStorage(), direction=spec.judge.optuna_direction)
        self.copy.add_trials(_history(spec, trials))

    def propose(
        self, slot: int, fixed: Mapping[str, Any] | None = None, user_attrs: Mapping[str, Any] | None = None
    ) -> FrozenTrial:
        """A trial for a slot, not in any storage yet: running, with its parameters.

        Args:
            slot: The slot.
            fixed: Parameters that somebody has chosen; the sampler chooses the others.
            user_attrs: Attributes that it is to have.
        """
        self.copy.sampler = make_sampler(self.spec, slot)
        given: dict[str, Any] = {}
        if self.spec.sampler == "grid":  # as Optuna itself repeats a point of a grid
            given = {"search_space": self.copy.sampler._search_space, "grid_id": slot}  # type: ignore[attr-defined]
            self.copy.add_trial(create_trial(state=TrialState.WAITING, system_attrs=given))
        if self.spec.sampler == "qmc":
            self._go_to(slot)
        if fixed:
            self.copy.enqueue_trial(dict(fixed))
        asked = self.copy.ask(self.spec.space.distributions())
        frozen = self.copy.get_trials(deepcopy=False)[asked.number]
        return create_trial(
            state=TrialState.RUNNING,
            params=frozen.params,
            distributions=frozen.distributions,
            user_attrs={**(user_attrs or {}), SLOT: slot},
            system_attrs=frozen.system_attrs,
        )

    def _go_to(self, slot: int) -> None:
        """Has the next member of the quasi-random sequence be that of the slot; Optuna counts them in the study.

        Raises:
            RuntimeError: This version of Optuna does so in another way.
        """
        if not self._counters():
            self.copy.ask(self.spec.space.distributions())
        if not (counters := self._counters()):
            raise RuntimeError(
                f"sampler qmc needs an Optuna that counts in study attributes which begin with {_COUNTER!r}, and Optuna "
                f"{optuna.__version__} has none: install optuna>=5"
            )
        for name in counters:
            self.copy._storage.set_study_system_attr(self.copy._study_id, name, slot - 1)

    def _counters(self) -> list[str]:
        attributes = self.copy._storage.get_study_system_attrs(self.copy._study_id)
        return [name for name in attributes if name.startswith(_COUNTER)]


def _seen(trial: FrozenTrial) -> FrozenTrial:
    """A trial as the sampler sees it: one that diverged has come to its (bad) number, of which any sampler is to learn."""
    if not trial.user_attrs.get(DIVERGED) or trial.state != TrialState.PRUNED:
        return trial
    seen = copy.copy(trial)
    seen.state, seen.values, seen.intermediate_values = TrialState.COMPLETE, [trial.value], {}
    return seen


def _history(spec: StudySpec, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """What the sampler should know."""
    if spec.sampler != "qmc":
        return [_seen(trial) for trial in trials if trial.state != TrialState.WAITING]
    # A sequence needs no history; but Optuna begins it only after a trial that shows which parameters there are.
    distributions: dict[str, BaseDistribution] = spec.space.distributions()
    first = spec.space.probes()[0][1]
    return [create_trial(value=0.0, params=first, distributions=distributions)]
