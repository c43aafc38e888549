"""What ``mbrl tune …`` and ``mbrl dashboard`` do; see :mod:`tuning.commands` for their arguments."""

from __future__ import annotations

import argparse
import errno
import pathlib
import socket
import sys
import time

from mbrl_agents.experiments import preset_files
from mbrl_agents.experiments.command_arguments import environment_of
from mbrl_agents.experiments.command_parts import INTERRUPTED
from mbrl_agents.experiments.sweeps.specification import setting_label
from mbrl_agents.experiments.tables import console, new_table, shown
from mbrl_envs.assignments import parse_assignments
from mbrl_envs.checks import integer_in, number_in
from tuning.confirm import confirm, read_confirmation
from tuning.leases import Watch
from tuning.opening import create_study, open_study
from tuning.presets import best_preset
from tuning.report import write_report
from tuning.spaces import Space
from tuning.storages import server_needed
from tuning.study import Study
from tuning.training import SweepTrainer
from tuning.worker import Worker

SHOWN_TRIALS = 10
_FILES = ("study.db", "study.journal")  # where a study's storage may be in its folder


@server_needed()
def run(arguments: argparse.Namespace) -> int:
    """``mbrl tune run``."""
    _check(arguments)
    study = create_study(
        arguments.agent,
        environment_of(arguments),
        Space.parse(arguments.space),
        total_timesteps=arguments.default_total_timesteps if arguments.total_timesteps is None else arguments.total_timesteps,
        name=arguments.name,
        storage=arguments.storage,
        folder=arguments.out,
        arguments=parse_assignments(arguments.set, "--set"),
        seeds_per_trial=arguments.seeds_per_trial,
        seed=arguments.seed,
        objective=arguments.objective,
        direction=arguments.direction,
        sampler=arguments.sampler,
        sampler_seed=arguments.sampler_seed,
        pruning=arguments.pruning,
        n_envs=1 if arguments.n_envs is None else arguments.n_envs,
        eval_interval=arguments.eval_interval,
        eval_episodes=arguments.eval_episodes,
        eval_steps=arguments.eval_steps,
    )
    return _search(study, arguments)


@server_needed()
def resume(arguments: argparse.Namespace) -> int:
    """``mbrl tune resume``."""
    _check(arguments)
    return _search(_study(arguments), arguments)


@server_needed()
def worker(arguments: argparse.Namespace) -> int:
    """``mbrl tune worker``."""
    _check(arguments)
    return _work(_study(arguments), arguments)


@server_needed()
def status(arguments: argparse.Namespace) -> int:
    """``mbrl tune status``."""
    study = _study(arguments)
    ledger, beats = study.register.read(), study.register.beats()
    print(f"{study.name}: {study.state()}; {study.folder}")
    for batch in ledger.open:
        info, beat = ledger.workers.get(batch.worker), beats.get(batch.worker)
        silent = f"last heard of {time.time() - beat['time']:.0f} s ago" if beat else "never heard of"
        gone = ", gone: resume or any worker goes on" if Watch().gone(info, beat) else ""
        left = sum(not ledger.progress(slot).ended for slot in batch.slots)
        print(f"batch {batch.number}: {left} of {len(batch.slots)} trials left, worker {batch.worker} ({silent}{gone})")
    return 0


@server_needed()
def best(arguments: argparse.Namespace) -> int:
    """``mbrl tune best``."""
    _show(_study(arguments))
    return 0


@server_needed()
def plot(arguments: argparse.Namespace) -> int:
    """``mbrl tune plot``."""
    study = _study(arguments)
    folder = pathlib.Path(arguments.to or study.folder)
    print(f"{folder}: {', '.join(write_report(study, folder))}")
    return 0


@server_needed()
def export(arguments: argparse.Namespace) -> int:
    """``mbrl tune export``: all that ``mbrl train`` needs to train the best setting."""
    study = _study(arguments)
    path, preset = arguments.to or f"{study.name}{preset_files.ENDING}", best_preset(study)
    preset_files.write(preset, path)
    print(f"{path}: {setting_label(study.best().setting)}")
    return 0


def dashboard(arguments: argparse.Namespace) -> int:
    """``mbrl dashboard``."""
    try:
        from optuna_dashboard import run_server
    except ImportError as error:
        raise ImportError('mbrl dashboard needs optuna-dashboard: pip install "mbrl-lab[dashboard]"') from error
    from optuna.artifacts import FileSystemArtifactStore

    integer_in("--port", arguments.port, 1, 65535)
    study = _study(arguments)
    study.curves.artifacts.mkdir(parents=True, exist_ok=True)
    store = FileSystemArtifactStore(study.curves.artifacts)
    # The study's own page: the register, with which nobody should tamper, is in the list of studies, too.
    page = f"dashboard/studies/{study.storage.get_study_id_from_name(study.name)}"
    print(f"http://{arguments.host}:{arguments.port}/{page} (Ctrl-C ends it)", flush=True)
    try:
        run_server(study.storage, host=arguments.host, port=arguments.port, artifact_store=store)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES) and not isinstance(error, socket.gaierror):
            raise
        place = f"{arguments.host}:{arguments.port}"
        raise ValueError(f"cannot serve at {place}: {error.strerror}; choose another --host or --port") from error
    return 0


# ----------------------------------------------------------------------------------------------------------------------------


def _check(arguments: argparse.Namespace) -> None:
    integer_in("--batch-size", arguments.batch_size, 1, 100_000)
    number_in("--lease-seconds", arguments.lease_seconds, 1.0)
    integer_in("--confirm", getattr(arguments, "confirm", 0), 0, 10_000)


def _study(arguments: argparse.Namespace) -> Study:
    """The study that a command names."""
    folder = None if arguments.folder is None else pathlib.Path(arguments.folder)
    storage = arguments.storage
    if storage is None:
        if folder is None:
            raise ValueError("say which study: its folder DIR, or --storage URL")
        files = [folder / name for name in _FILES if (folder / name).is_file()]
        if not files:
            raise FileNotFoundError(f"there is no study in {folder}: no {' or '.join(_FILES)}; is it in a storage of its own?")
        storage = files[0]
    return open_study(storage, arguments.study, folder)


def _search(study: Study, arguments: argparse.Namespace) -> int:
    """Works until all is done, then confirms the winner and draws."""
    study.set_trials(arguments.trials)
    if code := _work(study, arguments):
        return code
    if arguments.confirm:
        try:
            confirm(study, arguments.confirm, _trainer(arguments), lease_seconds=arguments.lease_seconds, say=_say)
        except KeyboardInterrupt:
            return _stopped()
    _show(study)
    print(f"{study.folder}: {', '.join(write_report(study, study.folder))}, curves, and the winner's agents if confirmed")
    return 0


def _work(study: Study, arguments: argparse.Namespace) -> int:
    member = Worker(
        study,
        arguments.batch_size,
        _trainer(arguments),
        lease_seconds=arguments.lease_seconds,
        keep_runs=arguments.keep_runs,
        say=_say,
    )
    try:
        member.run()
    except KeyboardInterrupt:
        return _stopped()
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _trainer(arguments: argparse.Namespace) -> SweepTrainer:
    limits = {"max_parallel_runs": arguments.max_parallel_runs, "execution": arguments.execution}
    return SweepTrainer(progress_bar=True, **limits)


def _stopped() -> int:
    print("stopped; the same command again, or mbrl tune resume, goes on", file=sys.stderr)
    return INTERRUPTED


def _show(study: Study) -> None:
    study.best()  # says so if there is none
    finished, trials = study.progress()
    title = f"{study.name}: {study.spec.objective} score, {finished} of {trials} trials"
    names = [*study.spec.space.dimensions, "state", "value"]
    out = new_table(title, numbers=["trial", *names, *(f"seed {seed}" for seed in study.spec.seeds)])
    for row in study.ranking().head(SHOWN_TRIALS).to_dict("records"):
        cells = [row[name] for name in names] + [row[f"seed_{seed}"] for seed in study.spec.seeds]
        out.add_row(str(row["number"]), *(shown(cell, ".4g") for cell in cells))
    console().print(out)
    if (confirmation := read_confirmation(study)) is not None:
        print(confirmation)
