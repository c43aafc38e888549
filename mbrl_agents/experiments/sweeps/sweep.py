"""``train_sweep``: many runs; those of one program together, those that are no programs in processes."""

from __future__ import annotations

import math
import os
import pathlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from mbrl_agents.core import user_metrics
from mbrl_agents.core.interrupt import deferred
from mbrl_agents.core.processes import usable_cores
from mbrl_agents.core.user_metrics import UserMetrics
from mbrl_agents.experiments.sweeps import folder as folders
from mbrl_agents.experiments.sweeps.result import SweepResult
from mbrl_agents.experiments.sweeps.specification import SweepSpec, specify
from mbrl_agents.runs import workers
from mbrl_agents.runs.checkpoints import CHECKPOINT_SECONDS
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.executor import Execution, make_execution
from mbrl_agents.runs.memory import MemoryPlan
from mbrl_agents.runs.programs import Programs
from mbrl_agents.runs.progress import RunProgress, tracked
from mbrl_agents.runs.run_folder import ENDED, FAILED, RunFolder
from mbrl_agents.runs.scheduler import Scheduler
from mbrl_envs import FunctionalEnv
from mbrl_envs.checks import integer_in, number_in


def train_sweep(
    agent_class: str | type[BaseAlgorithm] | None,
    env: str | gymnasium.Env | FunctionalEnv | EnvironmentSpec,
    hyperparameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    seeds: int | Sequence[int] = 1,
    total_timesteps: int = 100_000,
    *,
    n_envs: int = 1,
    eval_interval: int | None = None,
    eval_episodes: int | None = None,
    eval_steps: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    save_replay: bool = True,
    max_parallel_runs: int | None = None,
    execution: str | None = None,
    n_jobs: int | None = None,
    metrics: UserMetrics | None = None,
    progress_bar: bool = False,
    force: bool = False,
    keep_going: bool = False,
) -> SweepResult:
    """Trains many runs, each with its own seed and its own hyperparameters, and evaluates them on the way.

    Runs whose hyperparameters differ in numbers alone (step sizes, temperature, ε, γ, τ, weight decay, intervals, …) share one
    compiled program; where they differ in what shapes it (batch, networks, memory, …) there is a program for each shape. Run i
    is the run that ``agent_class(..., seed=...).learn(total_timesteps)`` makes alone: number for number with
    ``execution="loop"`` if evaluations fall on multiples of ``train_freq`` steps, else (and with ``"vmap"``) up to rounding.

    Args:
        agent_class: ``ReplayDQN`` or another JAX agent, a subclass of one, or a name. None if each setting names its agent:
            any agents are compared then, Stable-Baselines3's own, say, in any environment. Runs that are no programs are
            trained in processes; if one is stopped, it begins anew.
        env: Environment with functional dynamics: a Gymnasium id such as ``"mbrl/PanFlute-v0"``, an environment made from it,
            or the dynamics themselves (without time limit).
        hyperparameters: Constructor arguments by name. A list is swept over: setting i has the i-th value of every list, so all
            lists have one length (:func:`grid` makes all combinations). Anything else holds for all runs. Without
            ``agent_class`` one of the names is ``agent``, and ``label`` may be another; or this is a list of settings, such as
            ``[{"agent": "ReplayDQN"}, {"agent": "DQN", "label": "sb3", "gamma": 0.9}]``.
        seeds: Number n of seeds (0 to n−1), or the seeds. Every setting is run with every seed; run number
            ``setting * number of seeds + position of the seed``.
        total_timesteps: Transitions of each run.
        n_envs: Environments side by side in each run.
        eval_interval: Timesteps between evaluations; by default about 30 in a run. There is also one before training.
        eval_episodes: Episodes of an evaluation, greedy; which ones they are follows from the run's seed and the timestep. By
            default 32, side by side on the device; 10 where the environment has no functional dynamics.
        eval_steps: Steps of each, no more than the environment's time limit; None for its ``evaluation_steps`` (100 for most).
        folder: Where checkpoints, curves and agents are written. With one, the same call goes on after Ctrl-C or a kill, to the
            same numbers as if it had not been stopped; and comes back at once when all is done. Where settings name their
            agents, other agents and seeds may be added. Without, everything is in a temporary folder that lives as long as the
            result.
        checkpoint_seconds: Seconds between checkpoints of a run.
        save_replay: Whether finished agents keep their replay memories, to learn on as if never stopped.
        max_parallel_runs: Most runs in memory at once; by default as many as fit.
        execution: ``"loop"`` (run by run in threads), ``"vmap"`` (all at once), or None for what was measured to be faster on
            the backend: ``"loop"`` on a CPU, ``"vmap"`` on a GPU.
        n_jobs: Runs at a time, in threads (``"loop"``) and in processes; by default one for each core, or each accelerator.
        metrics: A function ``(learner, state, env, key) -> pytree of numbers``, called at every evaluation of every run with
            the learner (pure functions such as ``act``), its state, the environment's dynamics and a key. It is
            compiled and mapped over runs, so it has to be written in JAX. Its numbers come in the table, named by where they
            are in the pytree: ``{"model": {"error": …}}`` is ``model/error``. A sweep in a folder is not recognised by it:
            evaluations that were made without it stay without it.
        progress_bar: Whether to show progress on standard error.
        force: Whether a sweep that is there already is deleted, once it is known that this one can be trained.
        keep_going: Whether to go on with the other runs when one fails. The result's :meth:`~SweepResult.runs` tell.

    Returns:
        Curves, statistics and agents.

    Raises:
        TypeError, ValueError: Something is unknown, out of range or does not go together; or the folder holds another sweep.
        FileExistsError: The folder holds something else.
        MemoryError: The runs do not fit; the message says how many do.
        RuntimeError: A run in a process failed.
        KeyboardInterrupt: Ctrl-C; what there is has been saved, if there is a folder.
    """
    number_in("checkpoint_seconds", checkpoint_seconds, 0, finite=False)
    _check_most(max_parallel_runs)
    user_metrics.check(metrics)
    spec = specify(
        agent_class,
        env,
        hyperparameters=hyperparameters,
        seeds=seeds,
        total_timesteps=total_timesteps,
        n_envs=n_envs,
        eval_interval=eval_interval,
        eval_episodes=eval_episodes,
        eval_steps=eval_steps,
        save_replay=save_replay,
    )
    if n_jobs is not None:
        integer_in("n_jobs", n_jobs, 1, 1024)
    chosen = make_execution(execution, n_jobs)
    if metrics is not None:
        if spec.num_programs < len(spec.configs):
            raise ValueError("metrics needs agents whose training is a program")
        spec.programs.check_metrics(metrics)
    if folder is None or force or not folders.holds_sweep(pathlib.Path(folder)):
        if folder is not None and not force:
            folders.check(folder, spec)  # first, as the plan takes a while: it compiles
        spec.programs.plan(spec.num_programs, chosen, max_parallel_runs)  # before anything is written
        if folder is not None and force:
            folders.delete(folder)
    if folder is None:
        keep = tempfile.TemporaryDirectory(prefix="mbrl-sweep-", ignore_cleanup_errors=True)
        folder, checkpoint_seconds = keep.name, math.inf
    else:
        keep = None
    runs = folders.open_or_create(folder, spec)
    advance(
        runs,
        chosen,
        progress_bar=progress_bar,
        checkpoint_seconds=checkpoint_seconds,
        max_parallel_runs=max_parallel_runs,
        metrics=metrics,
        programs=spec.programs,
        n_jobs=n_jobs,
        keep_going=keep_going,
    )
    return SweepResult(runs, spec.to_dict(), keep)


def sweep_memory(
    agent_class: str | type[BaseAlgorithm] | None,
    env: str | gymnasium.Env | FunctionalEnv | EnvironmentSpec,
    hyperparameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    seeds: int | Sequence[int] = 1,
    *,
    n_envs: int = 1,
    max_parallel_runs: int | None = None,
    execution: str | None = None,
) -> MemoryPlan:
    """The dry run of a sweep: what a run takes, what there is, how many fit. Compiles, but trains and writes nothing.

    ``print`` it. Arguments and errors as for :func:`train_sweep`.
    """
    _check_most(max_parallel_runs)
    spec: SweepSpec = specify(agent_class, env, hyperparameters=hyperparameters, seeds=seeds, total_timesteps=1, n_envs=n_envs)
    return spec.programs.plan(spec.num_programs, make_execution(execution), max_parallel_runs)


def _check_most(max_parallel_runs: int | None) -> None:
    if max_parallel_runs is not None:
        integer_in("max_parallel_runs", max_parallel_runs, 1, 2**31 - 1)


def advance(
    runs: Sequence[RunFolder],
    execution: Execution,
    until: int | None = None,
    *,
    progress_bar: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    max_parallel_runs: int | None = None,
    metrics: UserMetrics | None = None,
    programs: Programs | None = None,
    n_jobs: int | None = None,
    keep_going: bool = False,
) -> None:
    """Trains the runs of one or several sweeps, to their end or up to an evaluation, where they can be gone on with.

    Args:
        runs: Their folders. Those that are there already are left alone.
        execution: How to execute those that are programs.
        until: The timestep of an evaluation; None for the end.
        progress_bar: Whether to show progress on standard error.
        checkpoint_seconds: Seconds between checkpoints of a run.
        max_parallel_runs: Most runs in memory at once.
        metrics: A user's function, evaluated with the runs.
        programs: Programs of the runs, as far as they are known.
        n_jobs: Processes in which the others are trained; None for one for each core.
        keep_going: Whether to go on with the other runs when one fails.

    Raises:
        MemoryError: The runs do not fit.
        RuntimeError: A run in a process failed, and not ``keep_going``.
        KeyboardInterrupt: Ctrl-C; what there is has been saved.
    """
    missing = [run for run in runs if not _is_there(run, until)]
    if progress_bar and len(missing) < len(runs):
        print(f"{len(runs) - len(missing)} of {len(runs)} runs are finished already", file=sys.stderr)
    if not missing:
        return
    ended = [run for run in runs if run not in missing and run.config.is_program]
    ours = [run for run in missing if run.config.is_program]
    # Seeds first, so that what is there after a while has something of every agent.
    others = sorted((run for run in missing if not run.config.is_program), key=lambda run: run.config.seed)
    num_workers = min(n_jobs or usable_cores(), max(len(others), 1))
    bars = [_bar(run, until) for run in [*ours, *others]]
    console = None if progress_bar else Console(quiet=True)
    with tracked(bars, execution.workers if ours else num_workers, console) as tracker:
        if ours:
            with deferred() as pending:
                limits = checkpoint_seconds, max_parallel_runs
                scheduler = Scheduler(ours, tracker, execution, pending, *limits, ended, until, metrics, programs)
                tracker.say(str(scheduler.memory))
                scheduler.run(keep_going=keep_going)
        # What their files hold is not enough to go on from.
        jobs = [workers.Job(i, run.config, run.path, restart=True) for i, run in enumerate(others, len(ours))]
        if jobs and not workers.run_jobs(jobs, tracker, num_workers):
            raise KeyboardInterrupt
    if failed := [f"{bar.title}: {bar.error}" for bar in tracker.runs if bar.state == FAILED and not keep_going]:
        raise RuntimeError("; ".join(failed))


def _bar(run: RunFolder, until: int | None) -> RunProgress:
    total = run.config.total_timesteps
    return RunProgress(run.config.label, run.config.title, min(until or total, total))


def _is_there(run: RunFolder, until: int | None) -> bool:
    """Whether nothing is left to do for a run."""
    status = run.status()
    return status.state in ENDED or (until is not None and status.timesteps >= until)
