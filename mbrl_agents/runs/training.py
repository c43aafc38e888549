"""Trains one run: a program as the only run of a sweep; any other with the agent's ``learn`` and callbacks, here.

Others are those of Stable-Baselines3's own agents, of R2D2, and of JAX agents in the host loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EveryNTimesteps
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import configure_logger

from mbrl_agents.core.interrupt import PendingInterrupt, deferred
from mbrl_agents.runs import checkpoints
from mbrl_agents.runs.evaluation import Evaluator
from mbrl_agents.runs.executor import make_execution
from mbrl_agents.runs.metrics import DIVERGENCE, SCORE
from mbrl_agents.runs.run_folder import DIVERGED, FINISHED, INTERRUPTED, RUNNING, RunFolder, Status
from mbrl_agents.runs.scheduler import Scheduler
from mbrl_agents.sb3 import settings
from mbrl_agents.sb3.jax_agent import JaxAgent

REPORT_SECONDS = 0.1

# Told timesteps and latest score; answers whether to go on.
Report = Callable[[int, float | None], bool]


def train(folder: RunFolder, report: Report | None = None) -> Status:
    """Trains a run, from its start or from where it was interrupted, and returns how it ended.

    Ctrl-C, or a ``report`` that answers False, stops it between two steps; the folder then holds the agent as it was, and
    calling this again goes on. Of this package's JAX agents in the device loop the result is the same as without the
    interruption. In the host loop they go on with all they have learned and remember, but in new episodes, and without the
    update that was due at the step they were stopped at, as after SB3's ``learn``. Other agents' files do not hold everything
    (environments, SB3's replay memory): they go on from their weights.

    Raises:
        Exception: Whatever the agent raises; the folder's status is then ``"failed"``.
        MemoryError: The run does not fit.
        OSError: Writing failed.
    """
    trained = _train_program if folder.config.is_program else _learn
    with deferred() as pending:
        status = trained(folder, report or (lambda timesteps, score: True), pending)
        pending.pressed = False  # the status tells; an exception as well would only hide it
    return status


def _train_program(folder: RunFolder, report: Report, pending: PendingInterrupt) -> Status:
    device = settings.jax_device(folder.config.arguments.get("device", "auto"))
    execution = make_execution(None, 1, None if device is None else [device])
    Scheduler([folder], _Reporting(report, pending), execution, pending, checkpoints.CHECKPOINT_SECONDS).run()
    return folder.status()


class _Reporting:
    """Reports what the scheduler tells of its only run; see :class:`~mbrl_agents.runs.progress.Listener`."""

    def __init__(self, report: Report, pending: PendingInterrupt) -> None:
        self.report, self.pending = report, pending

    def progress(self, index: int, timesteps: int, score: float | None) -> None:
        if not self.report(timesteps, score):
            self.pending.pressed = True

    def ended(self, index: int, state: str, error: str | None) -> None:
        pass

    def waiting(self) -> None:
        pass

    def stopping(self) -> None:
        pass


def _learn(folder: RunFolder, report: Report, pending: PendingInterrupt) -> Status:
    try:
        return _Training(folder, report, pending).run()
    except Exception as error:
        folder.write_failure(error)
        raise


class _Training:
    """A run being trained."""

    def __init__(self, folder: RunFolder, report: Report, pending: PendingInterrupt) -> None:
        self.folder, self.config, self.report, self.pending = folder, folder.config, report, pending
        evaluation = self.config.evaluation
        self.evaluator = Evaluator(self.config.environment, evaluation.episodes, evaluation.steps)
        self.env = self.config.environment.training_env(self.config.n_envs)
        self.latest = LatestValues()
        self.agent, self.seconds_before = checkpoints.restore(folder, self.env)
        before = checkpoints.measured_before(folder, self.agent.num_timesteps if self.seconds_before else None)
        self.score, self.evaluated_at = before.score, before.evaluated_at
        # Why it makes no sense any more.
        self.trouble = None if before.diverged_at is None else _trouble(before.diverged_at)
        self.began, self.clock = time.monotonic(), checkpoints.CheckpointClock(checkpoints.CHECKPOINT_SECONDS)
        self.reported_at = -math.inf

    def run(self) -> Status:
        """Trains, evaluates, saves."""
        self._write_status(RUNNING)
        self.agent.set_logger(self._logger())
        try:
            if not self.trouble and self.evaluate_if_due():
                self._learn()
                self.evaluate_if_due()
            state = DIVERGED if self.trouble else FINISHED if self._at_end else INTERRUPTED
            save = checkpoints.save_unfinished if state == INTERRUPTED else checkpoints.save_finished
            save(self.folder, self.agent)
            self.report(self.agent.num_timesteps, self.score)
            return self._write_status(state)
        finally:
            self.evaluator.close()
            self.env.close()

    @property
    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.began

    @property
    def _at_end(self) -> bool:
        return self.agent.num_timesteps >= self.config.total_timesteps

    # ------------------------------------------------------------------ learning

    def _learn(self) -> None:
        """Trains up to the end, or until stopped."""
        left = self.config.total_timesteps - self.agent.num_timesteps
        if left <= 0 or self.pending.pressed:
            return
        grid = EvaluationGrid(self.config.evaluation.interval, Calling(self.evaluate_if_due))
        callbacks = CallbackList([Calling(self._watch), grid])
        # Ctrl-C lets our agents stop at a consistent point and raise; SB3's are asked to stop by _watch.
        try:
            self.agent.learn(left, callback=callbacks, reset_num_timesteps=False, tb_log_name=self.config.label)
        except KeyboardInterrupt:
            if isinstance(self.agent, JaxAgent) and self.agent._interrupt.pressed:
                raise  # pressed twice, so in the midst of something: only what is in the folder is good

    def _watch(self) -> bool:
        """After every step: tells how far we are, and whether to go on."""
        if time.monotonic() - self.reported_at >= REPORT_SECONDS:
            self.reported_at = time.monotonic()
            if not self.report(self.agent.num_timesteps, self.score):
                self.pending.pressed = True
        # PPO and its kin would fill their last rollout beyond the end, for nothing.
        overshoots = not isinstance(self.agent, OffPolicyAlgorithm) and self._at_end
        return not self.pending.pressed and not overshoots

    def evaluate_if_due(self) -> bool:
        """Evaluates the agent as it is now, if there has been no evaluation at the latest point of the grid.

        Returns:
            Whether to go on: not with an agent whose weights are no longer finite.
        """
        timesteps, interval = self.agent.num_timesteps, self.config.evaluation.interval
        due = timesteps if self._at_end else timesteps // interval * interval
        if due > self.evaluated_at:
            self.evaluated_at = timesteps
            if not has_finite_weights(self.agent):
                self.trouble = _trouble(timesteps)
                self.folder.append_metrics(timesteps, {DIVERGENCE: 1.0})
                return False
            measured = self.evaluator.measure(self.agent, self.config.seed, timesteps)
            values = {name: float(each.mean()) for name, each in measured.items()}
            self.score = values[SCORE]
            self.folder.append_metrics(timesteps, values | self.latest.values)
            self.folder.append_time(timesteps, self._seconds)
            began = time.monotonic()
            if self.clock.is_due(began) and not self._at_end:
                checkpoints.save_unfinished(self.folder, self.agent)
                self._write_status(RUNNING)
                self.clock.note_saved(began)
        return True

    # ------------------------------------------------------------------ saving

    def _write_status(self, state: str) -> Status:
        status = Status(state, self.agent.num_timesteps, self._seconds, self.trouble)
        self.folder.write_status(status)
        return status

    def _logger(self) -> Logger:
        folder = getattr(self.agent, "tensorboard_log", None)
        logger = configure_logger(0, folder, self.config.label, True) if folder else Logger(None, [])
        logger.output_formats.append(self.latest)
        return logger


def _trouble(timesteps: int) -> str:
    return f"the weights were no longer finite at timestep {timesteps}"


def has_finite_weights(agent: BaseAlgorithm) -> bool:
    """Whether all weights are numbers, of ours and of Stable-Baselines3's agents; what optimisers keep is not looked at."""
    parts = (arrays for name, arrays in agent.get_parameters().items() if not name.endswith("optimizer"))
    return all(bool(torch.as_tensor(array).isfinite().all()) for arrays in parts for array in arrays.values())


class EvaluationGrid(EveryNTimesteps):
    """Calls a callback at multiples of ``n_steps`` timesteps, also after training was interrupted in between."""

    def _on_training_start(self) -> None:
        self._align()

    def _on_step(self) -> bool:
        go_on = super()._on_step()
        self._align()
        return go_on

    def _align(self) -> None:
        self.last_time_trigger = self.num_timesteps // self.n_steps * self.n_steps


class LatestValues(KVWriter):
    """Keeps the latest of what an agent logs (losses, returns of training episodes, …), to be written with the next score.

    Attributes:
        values: Latest value of each, finite numbers only.
    """

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        del key_excluded, step
        for name, value in key_values.items():
            if not name.startswith("time/") and isinstance(value, (int, float)):
                self.values.pop(name, None)  # an old loss must not stand for one that is not finite
                if math.isfinite(value):
                    self.values[name] = float(value)

    def close(self) -> None:
        pass


class Calling(BaseCallback):
    """A function as a callback."""

    def __init__(self, function: Callable[[], bool]) -> None:
        super().__init__()
        self.function = function

    def _on_step(self) -> bool:
        return self.function()
