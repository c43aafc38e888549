"""``Study``: what is searched, over Optuna's own objects, which stay within reach."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import optuna
import pandas as pd
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from stable_baselines3.common.base_class import BaseAlgorithm

from mbrl_agents.experiments.agents import find_agent
from mbrl_agents.experiments.environments import EnvironmentSpec
from mbrl_agents.experiments.sweeps.specification import setting_label
from mbrl_envs.checks import integer_in
from tuning.curves import Curves
from tuning.folders import check_folder, claim_folder
from tuning.proposals import SLOT, Proposer, make_sampler
from tuning.register import SUFFIX, Ledger, Progress, Register, fold
from tuning.spaces import Space
from tuning.specification import StudySpec
from tuning.storages import file_of, open_storage

SPEC, FOLDER = "mbrl", "mbrl:folder"  # attributes of Optuna's study, for people and other tools to read
SCORES, DIVERGED = "scores", "diverged"  # attributes of its trials
MOST_TRIALS = 100_000


class BestTrial(NamedTuple):
    """The best trial of a study.

    Attributes:
        slot: Which one it is.
        number: Its number in Optuna's study.
        setting: Its parameters.
        value: Its number.
        scores: The number of each of its runs.
    """

    slot: int
    number: int
    setting: dict[str, Any]
    value: float
    scores: tuple[float, ...]


class Study:
    """A study that exists; see :func:`create_study` and :func:`open_study`.

    Attributes:
        name: Its name.
        spec: What it is.
        storage: Optuna's storage.
        optuna: Optuna's study.
        register: Who does what.
        folder: Where curves, artifacts and the sweeps of unfinished batches are.
        curves: The learning curves.
    """

    def __init__(self, name: str, spec: StudySpec, storage: BaseStorage, register: Register, folder: pathlib.Path) -> None:
        self.name, self.spec, self.storage, self.register, self.folder = name, spec, storage, register, folder
        with quiet():
            self.optuna = optuna.load_study(study_name=name, storage=storage, sampler=make_sampler(spec))
        self.curves = Curves(folder)

    def claim_folder(self) -> None:
        """Marks the folder as this study's, before anything is written into it.

        Raises:
            ValueError: It is another study's.
        """
        claim_folder(self.folder, str(self.register.read().study), self.name)

    # ------------------------------------------------------------------ trials

    def trials(self) -> dict[int, FrozenTrial]:
        """The trial of each slot that has one."""
        return self._by_slot()[0]

    def _by_slot(self) -> tuple[dict[int, FrozenTrial], list[FrozenTrial]]:
        """The trial of each slot, and those that came too late: the lowest number is the slot's, for good."""
        found: dict[int, FrozenTrial] = {}
        late = []
        for trial in sorted(self.optuna.get_trials(deepcopy=False), key=lambda each: each.number):
            if (slot := trial.user_attrs.get(SLOT)) is not None and found.setdefault(slot, trial) is not trial:
                late.append(trial)
        return found, late

    def ask(self, slots: tuple[int, ...]) -> dict[int, FrozenTrial]:
        """The trials of some slots; those that have none get one. Each is made in one step, with its parameters."""
        found = self.trials()
        if missing := [slot for slot in slots if slot not in found]:
            proposer = Proposer(self.spec, self.optuna.get_trials(deepcopy=False))
            for slot in missing:
                self.optuna.add_trial(proposer.propose(slot))
            found = self.trials()
        return {slot: found[slot] for slot in slots}

    def settle(self, trial: FrozenTrial, slot: int, progress: Progress) -> None:
        """Tells Optuna how a slot's trial has ended; that somebody else has told it already is no error."""
        self._describe(trial, slot, progress)
        value = progress.outcome["value"]
        if value is None:
            self._tell(trial, TrialState.FAIL)
        elif progress.pruned:
            self._tell(trial, TrialState.PRUNED)  # Optuna takes the last value that was reported
        else:
            self._tell(trial, TrialState.COMPLETE, value)

    def drop_late(self) -> dict[int, FrozenTrial]:
        """Fails trials that came too late, of a worker that was frozen while it asked; returns the slots' trials."""
        found, late = self._by_slot()
        for trial in late:
            if not trial.state.is_finished():
                self._tell(trial, TrialState.FAIL)
        return found

    def _describe(self, trial: FrozenTrial, slot: int, progress: Progress) -> None:
        outcome = progress.outcome
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            if len(progress.reports) > 1 or progress.pruned:  # without pruning they say nothing that the value does not
                for timestep, each in progress.reports.items():
                    if each["value"] is not None:
                        self.storage.set_trial_intermediate_value(trial._trial_id, timestep, each["value"])
            self.storage.set_trial_user_attr(trial._trial_id, SCORES, outcome["scores"])
            if outcome["diverged"]:
                self.storage.set_trial_user_attr(trial._trial_id, DIVERGED, outcome["diverged"])
            self.curves.attach(self.storage, trial, slot, setting_label(trial.params))

    def _tell(self, trial: FrozenTrial, state: TrialState, value: float | None = None) -> None:
        """Tells an outcome; that somebody else has told it already is no error."""
        try:
            with quiet():
                self.optuna.tell(trial.number, value, state=state, skip_if_finished=True)
        except optuna.exceptions.UpdateFinishedTrialError:
            pass
        except RuntimeError:
            # At the end of its grid, Optuna's sampler stops study.optimize, and complains when there is none to stop. What was
            # told has been saved by then.
            if not self.storage.get_trial(trial._trial_id).state.is_finished():
                raise

    # ------------------------------------------------------------------ results

    def set_trials(self, number: int | None) -> int:
        """Sets how many trials there are to be; None leaves it as it is. A grid has as many as it has points, or fewer.

        Raises:
            ValueError: Nobody has ever said how many.
        """
        size, known = self.spec.space.size if self.spec.sampler == "grid" else None, self.register.read().trials
        wanted = number if number is not None else known or size
        if wanted is None:
            raise ValueError(f"say how many trials the study is to have: {self.spec.sampler} goes on for ever")
        wanted = min(integer_in("trials", wanted, 1, MOST_TRIALS), size or MOST_TRIALS)
        if wanted != known:
            self.register.append("trials", number=wanted)
        return wanted

    def table(self) -> pd.DataFrame:
        """A row for each trial: ``slot, number``, the parameters, ``state, value, diverged``, and a score for each seed."""
        rows = []
        for slot, trial in sorted(self.trials().items()):
            row = {"slot": slot, "number": trial.number, **trial.params, "state": trial.state.name.lower()}
            row |= {"value": trial.value, "diverged": trial.user_attrs.get(DIVERGED, 0)}
            scores = trial.user_attrs.get(SCORES) or [None] * len(self.spec.seeds)
            rows.append(row | {f"seed_{seed}": score for seed, score in zip(self.spec.seeds, scores, strict=True)})
        table = pd.DataFrame(rows)
        numbers = [name for name in table if name == "value" or str(name).startswith("seed_")]
        return table.astype(dict.fromkeys(numbers, float))

    def ranking(self) -> pd.DataFrame:
        """As :meth:`table`, the best trials first: those in which a run diverged, and then those not complete, come last."""
        table = self.table()
        if table.empty:
            return table
        losses = {"incomplete": table["state"] != "complete", "diverged": table["diverged"] > 0}
        losses["value"] = -self.spec.judge.sign * table["value"]
        return table.loc[pd.DataFrame(losses).sort_values([*losses], kind="stable").index]

    def best(self) -> BestTrial:
        """The best trial, the first of :meth:`ranking`.

        Raises:
            ValueError: No trial is complete yet.
        """
        ranking = self.ranking()
        if ranking.empty or ranking["state"].iloc[0] != "complete":
            raise ValueError(f"study {self.name!r} has no complete trial yet")
        slot = int(ranking["slot"].iloc[0])
        trial = self.trials()[slot]
        assert trial.value is not None
        return BestTrial(slot, trial.number, dict(trial.params), trial.value, tuple(trial.user_attrs.get(SCORES, ())))

    def progress(self) -> tuple[int, int]:
        """How many trials are finished, and how many there are to be."""
        finished = sum(trial.state.is_finished() for trial in self.trials().values())
        return finished, self.register.read().trials

    def state(self) -> str:
        """How far it is, in words."""
        finished, trials = self.progress()
        pruned = sum(trial.state == TrialState.PRUNED for trial in self.trials().values())
        return f"{finished} of {trials} trials finished{f' ({pruned} of them pruned)' if pruned else ''}"

    def batch_folder(self, number: int, epoch: int) -> pathlib.Path:
        """Where a batch's sweep is, as long as the batch is not told; each worker that has it has a folder of its own."""
        return self.folder / "batches" / f"batch-{number:05d}-{epoch}"


def create_study(
    agent: str | type[BaseAlgorithm],
    env: Any,
    space: Space | Mapping[str, Any],
    *,
    steps: int,
    name: str | None = None,
    storage: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    arguments: Mapping[str, Any] | None = None,
    **more: Any,
) -> Study:
    """Makes a study, or opens it if it is there with the same description.

    Args:
        agent: ``ReplayDQN`` or another JAX agent, or its name.
        env: Gymnasium id of an environment with functional dynamics, or an environment made from one.
        space: The search space; see :mod:`tuning.spaces`.
        steps: Transitions of each run.
        name: Name of the study; by default made of environment and agent.
        storage: See :mod:`tuning.storages`; by default ``study.db`` in the folder.
        folder: Where curves are kept; by default ``runs/tune_NAME``. Workers that share a file system share it.
        arguments: Constructor arguments that all trials share.
        more: Other fields of :class:`~tuning.specification.StudySpec`.

    Raises:
        TypeError, ValueError: Something is unknown, out of range or does not go together; or a study of that name has another
            description: the message says what differs; or the folder is another study's.
        ConnectionError: The storage cannot be reached.
    """
    spec = StudySpec(
        find_agent(agent).name, EnvironmentSpec.of(env), Space.of(space), steps, dict(arguments or {}), **more
    ).check()
    name = f"{spec.environment.name}_{spec.agent}" if name is None else name
    if not isinstance(name, str):
        raise TypeError(f"a study's name must be a string, got {name!r} of type {type(name).__name__}")
    if not name.strip() or set(name) & set("/\\\0"):  # it names a folder, too
        raise ValueError(f"a study's name must not be empty or contain a slash, got {name!r}")
    if name.endswith(SUFFIX):
        raise ValueError(f"a study's name must not end in {SUFFIX}, got {name!r}")
    path = pathlib.Path(folder or pathlib.Path("runs") / f"tune_{name}")
    place = path / "study.db" if storage is None else storage
    if (file := file_of(place)) is not None and not file.exists():
        check_folder(path, None)
    opened = open_storage(place)
    with quiet():
        check_folder(path, _read_register(opened, name).study)
        found = optuna.create_study(study_name=name, storage=opened, direction=spec.judge.optuna_direction, load_if_exists=True)
        _check_begun(found, spec, opened)
        register = Register(opened, name)
    if register.read().spec is None:
        register.append("study", spec=spec.to_dict(), ladder=spec.ladder.to_dict())
    known = StudySpec.from_dict(register.read().spec, f"study {name!r}")
    if changed := spec.differences(known.to_dict()):
        raise ValueError(f"study {name!r} exists with another description ({'; '.join(changed)}): choose another name")
    _describe(found, spec, path)
    study = Study(name, known, opened, register, path)
    study.claim_folder()
    return study


def open_study(storage: str | os.PathLike[str], name: str | None = None, folder: str | os.PathLike[str] | None = None) -> Study:
    """Opens a study that exists.

    Args:
        storage: Its storage.
        name: Its name; may be left out where there is but one.
        folder: Where curves are kept; by default where they have been, if that is on this machine.

    Raises:
        ConnectionError: The storage cannot be reached.
        FileNotFoundError: There is no such study, or no such file.
        ValueError: It is not one of ours, there are several, or the folder is another study's.
    """
    if (file := file_of(storage)) is not None and not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    opened = open_storage(storage)
    everything = optuna.get_all_study_names(opened)
    names = [each for each in everything if not each.endswith(SUFFIX)]
    if name is None and len(names) > 1:
        raise ValueError(f"there are several studies: say which one of {', '.join(names)}")
    name = name if name is not None else next(iter(names), None)
    if name not in names:
        raise FileNotFoundError(f"there is no study {name!r} in {os.fspath(storage)}; there are: {', '.join(names) or 'none'}")
    if name + SUFFIX not in everything:
        raise ValueError(f"study {name!r} is not one of ours: it has no register, {name + SUFFIX!r}")
    with quiet():
        register = Register(opened, name)
        kept = optuna.load_study(study_name=name, storage=opened).user_attrs.get(FOLDER)
    ledger = register.read()
    spec = StudySpec.from_dict(ledger.spec, f"study {name!r}")
    path = pathlib.Path(folder or (kept if kept and pathlib.Path(kept).is_dir() else pathlib.Path("runs") / f"tune_{name}"))
    check_folder(path, ledger.study)
    return Study(name, spec, opened, register, path)


def _read_register(storage: BaseStorage, name: str) -> Ledger:
    """What a study's log says; nothing if there is none. Nothing is written."""
    there = name + SUFFIX in optuna.get_all_study_names(storage)
    return Register(storage, name).read() if there else fold(())


def _check_begun(study: optuna.Study, spec: StudySpec, storage: BaseStorage) -> None:
    """Whether a study without a description may get this one: whoever made it was killed before it was described.

    Raises:
        ValueError: It is somebody else's, or has another direction, which Optuna settles for good.
    """
    trials, name = study.get_trials(deepcopy=False), study.study_name
    if _read_register(storage, name).spec is not None:
        return
    if trials:
        raise ValueError(f"there is a study {name!r} in the storage that is not one of ours: choose another name")
    if study.directions != [spec.judge.optuna_direction]:
        found = ", ".join(direction.name.lower() for direction in study.directions)
        raise ValueError(f"study {name!r} exists with direction {found}, got direction {spec.direction}: choose another name")


def _describe(study: optuna.Study, spec: StudySpec, folder: pathlib.Path) -> None:
    for name, value in {SPEC: spec.to_dict(), FOLDER: str(folder.absolute())}.items():
        if study.user_attrs.get(name) is None:
            study.set_user_attr(name, value)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Has Optuna say only what goes wrong: progress is shown elsewhere."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
