"""After the search: the winner trained again on fresh seeds.

The winner was chosen *because* its number is high, partly by luck: the number that won is too good. The same setting on seeds
that had no say in the choice shows what it is worth; both numbers belong into a paper.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from mbrl_agents.common.files import write_atomically
from mbrl_agents.experiments import statistics
from mbrl_agents.experiments.sweeps.specification import setting_label
from mbrl_envs.checks import integer_in
from tuning.curves import as_table
from tuning.study import Study
from tuning.training import Portion, SweepTrainer, Trainer

CONFIRMATION = "confirmation"  # the folder, and the attribute of Optuna's study
CURVES, RESULT = "curves.parquet", "result.json"
SEEDS = 10


class Estimate(NamedTuple):
    """A mean over seeds.

    Attributes:
        value: The mean.
        low: Lower end of its 95 % t interval; NaN with one seed.
        high: Upper end.
        scores: The numbers of the seeds.
        diverged: How many runs diverged.
    """

    value: float
    low: float
    high: float
    scores: tuple[float, ...]
    diverged: int = 0

    def __str__(self) -> str:
        interval = "" if self.low != self.low else f" [{self.low:.4g}, {self.high:.4g}]"
        diverged = f", {self.diverged} diverged" if self.diverged else ""
        return f"{self.value:.4g}{interval} ({len(self.scores)} seeds{diverged})"


class Confirmation(NamedTuple):
    """The winner's two numbers.

    Attributes:
        slot: Which trial won.
        setting: Its parameters.
        searched: What it won with.
        fresh: What it is worth on fresh seeds.
        seeds: These seeds.
    """

    slot: int
    setting: dict[str, Any]
    searched: Estimate
    fresh: Estimate
    seeds: tuple[int, ...]

    def __str__(self) -> str:
        return (
            f"{setting_label(self.setting)}: {self.searched} in the search, {self.fresh} on fresh seeds; "
            f"the difference of {self.searched.value - self.fresh.value:+.3g} is what choosing the best adds, and chance"
        )


def estimate(scores: tuple[float, ...], diverged: int = 0) -> Estimate:
    """Numbers of several seeds together."""
    low, high = statistics.mean_interval(scores) or (float("nan"), float("nan"))
    return Estimate(sum(scores) / len(scores), low, high, tuple(scores), diverged)


def confirm(study: Study, seeds: int = SEEDS, trainer: Trainer | None = None) -> Confirmation:
    """Trains the best trial's setting again, on seeds that come after those of the search.

    Its runs (with their agents) and curves stay in the study's folder, under ``confirmation/``. The same call goes on after a
    kill, and comes back at once when all is done.

    Args:
        study: The study.
        seeds: How many seeds.
        trainer: What trains.

    Raises:
        ValueError: No trial is complete, or a run of the winner has no number.
    """
    integer_in("seeds", seeds, 1, 10_000)
    best, spec = study.best(), study.spec
    first = spec.first_seed + spec.seeds_per_trial
    fresh_seeds = list(range(first, first + seeds))
    folder = study.folder / CONFIRMATION / f"slot-{best.slot:05d}-{seeds}"
    portion = Portion(folder / "runs", [best.setting], [0])
    (curves,) = (trainer or SweepTrainer())(spec, [portion], fresh_seeds, spec.steps)
    outcome = spec.judge.of_trial(curves)
    if outcome.value is None:
        raise ValueError(f"{setting_label(best.setting)} has no finite evaluation on some of the fresh seeds: {outcome.scores}")
    write_atomically(folder / CURVES, as_table(best.slot, curves).to_parquet(index=False))
    scores = tuple(score for score in outcome.scores if score is not None)
    found = Confirmation(best.slot, best.setting, estimate(best.scores), estimate(scores, outcome.diverged), tuple(fresh_seeds))
    data = {"slot": best.slot, "setting": best.setting, "seeds": fresh_seeds, "folder": folder.name}
    data |= {"searched": found.searched.scores, "fresh": scores, "diverged": outcome.diverged}
    write_atomically(folder / RESULT, json.dumps(data, indent=2).encode())
    study.optuna.set_user_attr(CONFIRMATION, data)
    return found


def read_confirmation(study: Study) -> Confirmation | None:
    """What :func:`confirm` found, if it was of the trial that is the best now."""
    data = study.optuna.user_attrs.get(CONFIRMATION)
    if data is None or data["slot"] != study.best().slot:
        return None
    fresh = estimate(tuple(data["fresh"]), data["diverged"])
    return Confirmation(data["slot"], data["setting"], estimate(tuple(data["searched"])), fresh, tuple(data["seeds"]))
