"""``create_study`` and ``open_study``: everything is checked before anything is written."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage
from stable_baselines3.common.base_class import BaseAlgorithm

from mbrl_agents.runs.agents import find_agent
from mbrl_agents.runs.environments import EnvironmentSpec
from tuning.folders import check_folder
from tuning.register import SUFFIX, Ledger, Register, fold
from tuning.spaces import Space
from tuning.specification import StudySpec
from tuning.storages import file_of, open_storage
from tuning.study import Study, check_kept, quiet

SPEC, FOLDER = "mbrl", "mbrl:folder"  # attributes of Optuna's study, for people and other tools to read


def create_study(
    agent: str | type[BaseAlgorithm],
    env: Any,
    space: Space | Mapping[str, Any],
    *,
    total_timesteps: int,
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
        total_timesteps: Transitions of each run.
        name: Name of the study; by default made of environment and agent.
        storage: See :mod:`tuning.storages`; by default ``study.db`` in the folder.
        folder: Where curves are kept; by default ``runs/tune_NAME``. Workers that share a file system share it.
        arguments: Constructor arguments that all trials share.
        more: Other fields of :class:`~tuning.specification.StudySpec`.

    Raises:
        TypeError, ValueError: Something is unknown, out of range or does not go together; or a study of that name has another
            description: the message says what differs; or it was deleted and its register was not; or the folder is another
            study's.
        ConnectionError: The storage cannot be reached.
    """
    spec = StudySpec(
        find_agent(agent).name, EnvironmentSpec.of(env), Space.of(space), total_timesteps, dict(arguments or {}), **more
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
        ledger = check_kept(opened, name)
        check_folder(path, ledger.study)
        found = optuna.create_study(study_name=name, storage=opened, direction=spec.judge.optuna_direction, load_if_exists=True)
        if ledger.spec is None:
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
        ValueError: It is not one of ours, it was deleted and its register was not, there are several, or the folder is another
            study's.
    """
    if (file := file_of(storage)) is not None and not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    opened = open_storage(storage)
    everything = optuna.get_all_study_names(opened)
    names = [each for each in everything if not each.endswith(SUFFIX)]
    if name is None and len(names) > 1:
        raise ValueError(f"there are several studies: say which one of {', '.join(names)}")
    left = [each.removesuffix(SUFFIX) for each in everything if each.endswith(SUFFIX)]  # one alone may be of a deleted study
    name = name if name is not None else next(iter([*names, *left]), None)
    if name is not None:
        with quiet():
            check_kept(opened, name)
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
