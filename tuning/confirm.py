"""After the search: the winner trained again on fresh seeds.

The winner was chosen *because* its number is high, partly by luck: the number that won is too good. The same setting on seeds
that had no say in the choice shows what it is worth; both numbers belong into a paper.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from mbrl_agents.core.files import write_atomically
from mbrl_agents.experiments import statistics
from mbrl_agents.experiments.sweeps.specification import setting_label
from mbrl_envs.checks import integer_in, number_in
from tuning.curves import as_table
from tuning.leases import LEASE_SECONDS, LeaseLostError
from tuning.study import BestTrial, Study, quiet
from tuning.training import Portion, SweepTrainer, Trainer, take_over
from tuning.turns import turn

CONFIRMATION = "confirmation"  # the folder, and the attribute of Optuna's study
RUNS, CURVES, RESULT = "runs", "curves.parquet", "result.json"
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


def confirm(
    study: Study,
    seeds: int = SEEDS,
    trainer: Trainer | None = None,
    *,
    lease_seconds: float = LEASE_SECONDS,
    say: Callable[[str], None] = lambda text: None,
) -> Confirmation:
    """Trains the best trial's setting again, on seeds that come after those of the search.

    Its runs (with their agents) and curves stay in the study's folder, under ``confirmation/``. The same call goes on after a
    kill, and comes back at once when all is done. If several workers call it at the same time, one of them trains, and the
    others wait for it (or take over, if it is gone).

    Args:
        study: The study.
        seeds: How many seeds.
        trainer: What trains.
        lease_seconds: Silence after which a worker counts as gone.
        say: Is told that it has to wait.

    Raises:
        TypeError, ValueError: An argument is out of range, no trial is complete, a run of the winner has no number, or the
            folder is another study's.
    """
    integer_in("seeds", seeds, 1, 10_000)
    number_in("lease_seconds", lease_seconds, 0, open_low=True)
    best = study.best()
    study.claim_folder()
    key = f"{CONFIRMATION}-{best.slot:05d}-{seeds}"
    while True:
        with contextlib.suppress(LeaseLostError), quiet():
            with turn(study.storage, f"{study.name}.{key}", lease_seconds=lease_seconds, say=say) as epoch:
                if epoch is not None:
                    study.optuna.set_user_attr(key, _confirm(study, best, seeds, trainer or SweepTrainer(), epoch))
            data = study.optuna.user_attrs[key]
            study.optuna.set_user_attr(CONFIRMATION, data)
            return _read(data)


def _confirm(study: Study, best: BestTrial, seeds: int, trainer: Trainer, epoch: int) -> dict[str, Any]:
    """Trains; returns what came out, as plain data."""
    spec = study.spec
    first = spec.seed + spec.seeds_per_trial
    fresh_seeds = list(range(first, first + seeds))
    folder = folder_of(study, best.slot, seeds)
    own = _own_folder(folder, epoch)
    (curves,) = trainer(spec, [Portion(own, [best.setting], [0])], fresh_seeds, spec.total_timesteps)
    if own.name != RUNS:
        os.replace(own, folder / RUNS)  # fails if somebody else has taken it over
    outcome = spec.judge.of_trial(curves)
    if outcome.value is None:
        raise ValueError(f"{setting_label(best.setting)} has no finite evaluation on some of the fresh seeds: {outcome.scores}")
    write_atomically(folder / CURVES, as_table(best.slot, curves).to_parquet(index=False))
    data = {"slot": best.slot, "setting": best.setting, "seeds": fresh_seeds, "folder": folder.name}
    data |= {"searched": best.scores, "fresh": outcome.scores, "diverged": outcome.diverged}
    write_atomically(folder / RESULT, json.dumps(data, indent=2).encode())
    return data


def folder_of(study: Study, slot: int, seeds: int) -> pathlib.Path:
    """Where a trial's fresh runs are."""
    return study.folder / CONFIRMATION / f"slot-{slot:05d}-{seeds}"


def _own_folder(folder: pathlib.Path, epoch: int) -> pathlib.Path:
    """Where to train: where it has been done, or in a folder of one's own, with what the one before has left behind."""
    if (folder / RUNS).exists():
        return folder / RUNS
    own = folder / f"{RUNS}-{epoch}"
    folder.mkdir(parents=True, exist_ok=True)
    if not any(take_over(folder / f"{RUNS}-{before}", own) for before in range(epoch - 1, 0, -1)):
        own.mkdir(exist_ok=True)
    return own


def read_confirmation(study: Study) -> Confirmation | None:
    """What :func:`confirm` found, if it was of the trial that is the best now."""
    data = study.optuna.user_attrs.get(CONFIRMATION)
    if data is None or data["slot"] != study.best().slot:
        return None
    return _read(data)


def _read(data: dict[str, Any]) -> Confirmation:
    fresh = estimate(tuple(data["fresh"]), data["diverged"])
    return Confirmation(data["slot"], data["setting"], estimate(tuple(data["searched"])), fresh, tuple(data["seeds"]))
