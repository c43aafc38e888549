"""What an agent is made of: its arguments, its program, and its run; see :mod:`mbrl_agents.sb3.jax_agent` for what it does."""

from __future__ import annotations

import dataclasses
import threading
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar, dataclass_transform

import flax.linen as nn
import jax
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from mbrl_agents.core import keys
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.chunks import new_run, whole
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.interrupt import PendingInterrupt
from mbrl_agents.core.learner import Hyperparameters, Learner
from mbrl_agents.core.observations import KINDS, ObservationCodec
from mbrl_agents.core.program import Program, TrainingPlan
from mbrl_agents.core.replay import Replay
from mbrl_agents.core.run import Keys, RunState
from mbrl_agents.core.schedules import LinearSchedule, Schedules, check
from mbrl_agents.sb3 import network_arguments, settings
from mbrl_agents.sb3.arguments import LARGEST, HasArguments, Kind, argument
from mbrl_agents.sb3.policy import JaxPolicy
from mbrl_agents.sb3.replay_buffer import DeviceReplayBuffer
from mbrl_envs import FunctionalEnv, FunctionalTask, forks
from mbrl_envs.checks import integer_in

LearnerT = TypeVar("LearnerT", bound=Any)  # a Learner: frozen, so that its fields are read only


@dataclass_transform(field_specifiers=(argument,))
class AgentBase(HasArguments, OffPolicyAlgorithm, Generic[LearnerT]):
    """An agent *has* a run, the value :attr:`run`, and owns no other array.

    All that changes the run puts another value in its place; :attr:`learner_state`, :attr:`memory` and the counters are views.

    Subclasses list their arguments as fields (see :mod:`mbrl_agents.sb3.arguments`).
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": JaxPolicy}
    observation_kinds: ClassVar[tuple[str, ...]] = KINDS
    """Kinds of observations that the agent reads, of :data:`mbrl_agents.core.observations.ALL_KINDS`."""
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete,)
    """Kinds of action spaces that the agent takes."""
    arguments: dict[str, Any]
    arrays_lock: threading.RLock
    learner: LearnerT
    actions: ActionCodec
    replay: Replay
    run: RunState
    memory: DeviceReplayBuffer
    jax_device: jax.Device | None
    policy_name: str
    _interrupt: PendingInterrupt
    _slots_task: FunctionalTask | None = None  # what the run's environments play
    _told_timesteps: int | None = None  # where callbacks are, while they are told of a chunk's steps one by one

    # What stands in for an argument that an agent does not list, because it has no choice, no target network, no network …
    buffer_size: int = LARGEST
    learning_starts: int = 0
    warmup: str = "uniform"
    train_freq: Any = 1  # as given; from then on a TrainFreq
    gradient_steps: int = 1
    n_steps: int = 1
    tau: float = 1.0
    target_update_interval: int = LARGEST
    temperature: Any = 1.0
    exploration_fraction: float = 1.0
    exploration_initial_eps: float = 1.0
    exploration_final_eps: float = 1.0
    policy_kwargs: Any = None

    # ------------------------------------------------------------------ for subclasses

    def _check_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Returns the constructor's arguments, in plain form and completed; subclasses check those that have to go together.

        Raises:
            TypeError, ValueError: One is of the wrong kind, out of range, or does not go with another.
        """
        given = self.check_declared(arguments)
        if given["batch_size"] > given.get("buffer_size", LARGEST):
            warnings.warn(
                f"batch_size = {given['batch_size']} is above buffer_size = {given['buffer_size']}: transitions are drawn with "
                "replacement, so that some come more than once in every batch",
                stacklevel=2,
            )
        return given

    def _make_learner(self, codec: ObservationCodec, actions: ActionCodec) -> LearnerT:
        """The learner's functions, for observations and actions of the given kind."""
        raise NotImplementedError

    def _stored_dynamics(self) -> FunctionalEnv | None:
        """The dynamics whose states the replay memory keeps as well, if the learner needs them."""
        return None

    def _make_replay(self, codec: ObservationCodec, rows: int) -> Replay:
        """The layout of the replay memory, with so many rows for each environment."""
        return Replay(codec, self.actions, rows, self.n_envs, self.n_steps, self._stored_dynamics())

    def _make_hyperparameters(self) -> Any:
        """The numbers that go into the learner's state, where runs of one program may differ in them."""
        return Hyperparameters(**self._numbers())

    def _numbers(self) -> dict[str, Any]:
        """By name, all arguments that are numbers of a run; subclasses gather some of them in groups."""
        return {name: self.arguments[name] for name, each in self.declared.items() if each.rule.kind is Kind.NUMBER}

    def _with_argument(self, name: str, state: Any) -> Any:
        """The learner's state after an argument was set, with the new hyperparameters; most have nothing to add."""
        del name
        return state

    def _of_batch_size(self, batch_size: int) -> tuple[Learner, TrainingPlan]:
        """Learner and training plan for batches of another size.

        Raises:
            ValueError: The agent learns on batches of its own size only.
        """
        return self.learner, dataclasses.replace(self.plan, batch_size=batch_size)

    def _check_spaces(self) -> None:
        if not isinstance(self.action_space, self.action_spaces):
            kinds = " or ".join(kind.__name__ for kind in self.action_spaces)
            raise ValueError(f"{type(self).__name__} needs a {kinds} action space, got {self.action_space}")
        ActionCodec.of(self.action_space)
        codec = ObservationCodec.of(self.observation_space)
        if codec.kind not in self.observation_kinds:
            raise ValueError(
                f"{type(self).__name__} reads observations of a Box, MultiBinary or Discrete space, got "
                f"{self.observation_space}: make a vector of it with gymnasium.wrappers.FlattenObservation"
            )
        codec.check_normalizer(self._vec_normalize_env)

    def _encoder(self) -> nn.Module | None:
        """What the agent's networks read observations with; None if they read them as they are."""
        codec = ObservationCodec.of(self.observation_space)
        return network_arguments.make_encoder(self.policy_name, self.arguments["policy_kwargs"], codec)

    def _act_for_policy(self, observations: Any, carry: Any, deterministic: bool) -> tuple[np.ndarray, Any]:
        """Actions for a batch of observations, as learners have them, and what is remembered from then on."""
        raise NotImplementedError

    # ------------------------------------------------------------------ the program

    def _setup_model(self) -> None:
        """Makes networks, replay memory and random streams from the arguments and the seed."""
        self._setup_program()
        self._setup_run()

    def _setup_program(self) -> None:
        """Everything but arrays: what the arguments make of the program, and its schedules."""
        self._setup_lr_schedule()
        self._temperature_schedule = check("temperature", self.temperature, 0, open_low=True)
        self._epsilon_schedule = LinearSchedule(
            self.exploration_initial_eps, self.exploration_final_eps, self.exploration_fraction
        )
        self._convert_train_freq()
        codec, self.actions = ObservationCodec.of(self.observation_space), ActionCodec.of(self.action_space)
        rows = self.buffer_size // self.n_envs
        if rows < self.n_steps:
            raise ValueError(
                f"buffer_size must be at least n_steps * n_envs = {self.n_steps * self.n_envs}, got {self.buffer_size}"
            )
        self.replay = self._make_replay(codec, rows)
        self.learner = self._make_learner(codec, self.actions)
        self.jax_device = settings.jax_device(self.arguments["device"])

    def _convert_train_freq(self) -> None:
        if not isinstance(given := self.train_freq, TrainFreq):
            number, unit = given if isinstance(given, tuple) else (given, "step")
            vars(self)["train_freq"] = TrainFreq(number, TrainFrequencyUnit(unit))  # what was given stays in the arguments

    @property
    def plan(self) -> TrainingPlan:
        """When and on how much to learn."""
        frequency = self.train_freq.frequency if isinstance(self.train_freq, TrainFreq) else 1
        steps = self.gradient_steps if self.gradient_steps >= 0 else frequency * self.n_envs
        return TrainingPlan(self.batch_size, self.learning_starts, frequency, steps, self.warmup)

    @property
    def program(self) -> Program:
        """The program of the host loop, whose environments are not in it."""
        return Program(self.learner, self.plan, self.replay)

    def program_in(self, task: FunctionalTask) -> Program:
        """The program of the device loop in an environment."""
        return Program(self.learner, self.plan, self.replay, task.batched(self.n_envs))

    @property
    def schedules(self) -> Schedules:
        """What follows the progress of training."""
        return Schedules(self._temperature_schedule, self._epsilon_schedule, self.lr_schedule)

    def exploration_at(self, progress_remaining: float | None = None) -> Exploration:
        """How much to explore at a progress from 1 (start) to 0 (end), or where training is."""
        progress = self._current_progress_remaining if progress_remaining is None else progress_remaining
        return self.schedules.explore_at(progress)

    def _record_exploration(self) -> None:
        self.exploration_rate = float(self.exploration_at().epsilon)
        for name, value in self.scheduled(self._current_progress_remaining).items():
            if name.startswith("rollout/"):
                self.logger.record(name, value)

    def scheduled(self, progress_remaining: float) -> dict[str, float]:
        """Scheduled values at a progress from 1 (start) to 0 (end), by their names in logs."""
        values = {"train/learning_rate": float(self.lr_schedule(progress_remaining))}
        if self.arguments.get("exploration") == "softmax":
            values["rollout/temperature"] = float(self._temperature_schedule(progress_remaining))
        elif "exploration" in self.arguments:
            values["rollout/exploration_rate"] = float(self._epsilon_schedule(progress_remaining))
        return values

    # ------------------------------------------------------------------ the run

    def _setup_run(self) -> None:
        """The arrays."""
        forks.check()
        self.set_random_seed(self.seed)
        seed = self.seed if self.seed is not None else int(np.random.default_rng().integers(2**31))
        hyper = self._make_hyperparameters()
        self.run = self._put(new_run(self.program, keys.from_seed(seed), hyper, self.target_update_interval))
        self.memory = DeviceReplayBuffer(self)
        act, initial_carry = self._act_for_policy, self.learner.initial_carry
        policy = JaxPolicy(self.observation_space, self.action_space, act, self.actions, initial_carry, self.save)
        vars(self)["policy"] = policy  # which is another thing than LinearTD's argument of that name

    def _begin_episodes(self) -> None:
        """Notes that all environments begin anew, though their episodes may not have ended."""
        self.memory.cut()
        self.change_run(carry=self._put(self.learner.initial_carry(self.n_envs)))

    def _put(self, tree: Any) -> Any:
        return tree if self.jax_device is None else jax.device_put(tree, self.jax_device)

    @property
    def has_run(self) -> bool:
        """Whether there is a run; not before networks are made."""
        return "run" in vars(self)

    @property
    def learner_state(self) -> Any:
        """What has been learned, and the hyperparameters: a part of :attr:`run`."""
        return self.run.learner

    def change_run(self, **parts: Any) -> None:
        """Puts other parts in the place of some of the run's.

        Args:
            **parts: Parts of :class:`~mbrl_agents.core.run.RunState` by name.
        """
        with self.arrays_lock:
            vars(self)["run"] = self.run._replace(**parts)

    def advance_run(self, program: Program, function: Callable[..., tuple[RunState, Any]], *arguments: Any) -> Any:
        """Has a compiled function make another value of the run; whatever goes wrong, the agent keeps a whole one.

        Args:
            program: What the function is of.
            function: From the run's state and more to a run's state and something else. The replay memory may be given to it.
            *arguments: What more.

        Returns:
            What else it gives.

        Warns:
            RuntimeWarning: It failed, and the replay memory went with it.
        """
        with self.arrays_lock, self._interrupt.held():
            try:
                self.run, result = function(self.run, *arguments)
            except BaseException:
                self.run = whole(program, self.run)
                raise
        return result

    def _set_clock(self, **numbers: int) -> None:
        if not self.has_run:  # SB3's constructor sets counters to 0
            return
        with self.arrays_lock:  # others count, too: predictions
            clock = self.run.clock._replace(**{name: np.int32(number) for name, number in numbers.items()})
            self.change_run(clock=clock)

    @property
    def num_timesteps(self) -> int:
        """Transitions collected since ``learn()`` last began at 0."""
        if self._told_timesteps is not None:
            return self._told_timesteps
        return int(self.run.clock.num_timesteps) if self.has_run else 0

    @num_timesteps.setter
    def num_timesteps(self, number: int) -> None:
        self._set_clock(num_timesteps=number)

    @property
    def _n_updates(self) -> int:
        """Gradient steps, by SB3's name."""
        return int(self.run.clock.updates) if self.has_run else 0

    @_n_updates.setter
    def _n_updates(self, number: int) -> None:
        self._set_clock(updates=number)

    @property  # type: ignore[override]
    def replay_buffer(self) -> DeviceReplayBuffer | None:
        """The replay memory by SB3's name. One that is set is copied; it must be of the same layout."""
        return vars(self).get("memory")

    @replay_buffer.setter
    def replay_buffer(self, buffer: DeviceReplayBuffer | None) -> None:
        present = self.replay_buffer
        if present is None and buffer is None:  # SB3's constructor
            return
        if not isinstance(buffer, DeviceReplayBuffer) or present is None or buffer.replay != present.replay:
            raise AttributeError(f"replay_buffer can be set to another memory of the same layout only, got {buffer!r}")
        self.change_run(memory=self._put(jax.tree.map(jax.numpy.copy, buffer.state)))

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seeds everything random in the agent and its environments anew; None changes nothing.

        Environments of the device loop begin new episodes at the next :meth:`learn`, or with the next chunk of this one.
        """
        super().set_random_seed(seed)
        if seed is not None and self.has_run:
            master = keys.from_seed(integer_in("seed", seed, 0, 2**32 - 1))
            clock = self.run.clock._replace(predictions=np.int32(0))
            self.change_run(keys=self._put(Keys.of(master)), clock=clock, slots=None)

    # ------------------------------------------------------------------ copies

    def __getstate__(self) -> dict[str, Any]:
        """Everything but loggers, locks and devices, for copies and pickles."""
        left_out = ("_logger", "arrays_lock", "jax_device")
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, arrays_lock=threading.RLock(), jax_device=settings.jax_device(state["arguments"]["device"]))
