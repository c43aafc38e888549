"""Stable-Baselines3's contract for JAX learners: what every agent of this package has in common."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any, ClassVar, Self

import jax
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, TrainFreq

from mbrl_agents.core import keys, schedules
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.device_loop import Clock, Learner, Streams, TrainingPlan
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.interrupt import PendingInterrupt, deferred
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.replay import Replay
from mbrl_agents.core.schedules import Now
from mbrl_agents.sb3 import device_training, given_environment, host_training, settings
from mbrl_agents.sb3.device_agent import DeviceLoopAgent
from mbrl_agents.sb3.host_training import HostFunctions, compiled_init, host_functions
from mbrl_agents.sb3.policy import JaxPolicy
from mbrl_agents.sb3.progress_bars import closing_bar
from mbrl_agents.sb3.replay_buffer import DeviceReplayBuffer
from mbrl_envs import FunctionalEnv, forks
from mbrl_envs.checks import integer_in

# A run's random streams, each folded from the seed.
_INIT, _ACT, _UPDATE, _ENVS, _PREDICT = range(5)


class JaxAgent(DeviceLoopAgent):
    """Base of agents whose learner is a set of pure JAX functions.

    The same learner is driven either by the *host loop* (SB3's ``collect_rollouts``, on any Gymnasium environment) or by the
    *device loop* (one compiled program, on functional environments). Subclasses list their arguments, and say in
    :meth:`_make_learner` and :meth:`_make_hyperparameters` what they make of them.

    Args:
        policy: Name of the policy; ``"MlpPolicy"``.
        env: Environment, its Gymnasium id, a ``VecEnv``, or None (for loading).
        arguments: All other constructor arguments by name, as given.
        _init_setup_model: Whether to build the networks at once.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment's spaces do not fit.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": JaxPolicy}
    first_argument: ClassVar[str] = "policy"
    """What the constructor's first argument is called."""
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete,)
    """Kinds of action spaces that the agent takes."""
    learner: Any
    learner_state: Any

    def __init__(
        self, policy: str | type[BasePolicy], env: GymEnv | str | None, arguments: dict[str, Any], _init_setup_model: bool
    ) -> None:
        self.arguments = self._check_arguments(arguments)
        given, env = self._given, given_environment.checked(env)
        super().__init__(
            # By its class: where observations can't be read, SB3 would ask for a policy that there isn't.
            self._get_policy_from_name(policy) if isinstance(policy, str) else policy,
            env,
            learning_rate=given["learning_rate"],
            buffer_size=given["buffer_size"],
            learning_starts=given["learning_starts"],
            batch_size=given["batch_size"],
            tau=given["tau"],
            gamma=given["gamma"],
            train_freq=given["train_freq"],
            gradient_steps=given["gradient_steps"],
            n_steps=given["n_steps"],
            policy_kwargs=given["policy_kwargs"],
            stats_window_size=given["stats_window_size"],
            tensorboard_log=given["tensorboard_log"],
            verbose=given["verbose"],
            seed=given["seed"],
            device="cpu",  # torch's part of an agent is its loggers and callbacks
            sde_support=False,
            support_multi_env=True,
        )
        self.policy_name = policy if isinstance(policy, str) else next(iter(self.policy_aliases))
        self.target_update_interval: int = given["target_update_interval"]
        self.temperature = given["temperature"]
        self.exploration_rate = 0.0
        self.device_loop: bool | None = given.get("device_loop")
        self._interrupt = PendingInterrupt()
        self._calls = 0
        self._predictions = 0
        self._metrics: dict[str, Any] = {}  # of the last training
        self.arrays_lock = threading.RLock()
        if env is not None:
            self._check_spaces()
        if _init_setup_model:
            self._setup_model()
        self._constructed = True

    # ------------------------------------------------------------------ setting up

    def _check_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Returns the constructor's arguments, completed; subclasses check their own as well.

        Raises:
            TypeError, ValueError: One is of the wrong kind, out of range, or does not go with another.
        """
        return settings.check(arguments)

    @property
    def _given(self) -> dict[str, Any]:
        """All arguments, also those that are not offered."""
        return settings.NOT_OFFERED | self.arguments

    def _make_learner(self, codec: ObservationCodec, actions: ActionCodec) -> Learner:
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
        raise NotImplementedError

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        if policy_name not in self.policy_aliases:
            raise ValueError(f"policy must be one of {', '.join(map(repr, self.policy_aliases))}, got {policy_name!r}")
        return self.policy_aliases[policy_name]

    def _check_spaces(self) -> None:
        if not isinstance(self.action_space, self.action_spaces):
            kinds = " or ".join(kind.__name__ for kind in self.action_spaces)
            raise ValueError(f"{type(self).__name__} needs a {kinds} action space, got {self.action_space}")
        ActionCodec.of(self.action_space)
        ObservationCodec.of(self.observation_space).check_normalizer(self._vec_normalize_env)

    def _setup_model(self) -> None:
        """Makes networks, replay memory and random streams from the arguments and the seed."""
        self._setup_program()
        self._setup_state()

    def _setup_program(self) -> None:
        """Everything but arrays: what the arguments make of the program, and its schedules."""
        given = self._given
        self._setup_lr_schedule()
        self._temperature_schedule = schedules.check("temperature", given["temperature"], 0, open_low=True)
        self._epsilon_schedule = schedules.LinearSchedule(
            given["exploration_initial_eps"], given["exploration_final_eps"], given["exploration_fraction"]
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
        self.jax_device = settings.jax_device(given["device"])

    def _setup_state(self) -> None:
        """The arrays."""
        forks.check()
        self.set_random_seed(self.seed)
        seed = self.seed if self.seed is not None else int(np.random.default_rng().integers(2**31))
        self._streams_from(seed)
        init = compiled_init(self.learner)
        key = keys.fold_in(keys.from_seed(seed), _INIT)
        self.learner_state = self._put(init(key, self._make_hyperparameters()))
        self.memory = DeviceReplayBuffer(self.replay)
        self.memory.state = self._put(self.memory.state)
        policy = JaxPolicy(self.observation_space, self.action_space, self._act_for_policy, self.actions, self.save)
        vars(self)["policy"] = policy  # which is another thing than LinearTD's argument of that name

    def _streams_from(self, seed: int) -> None:
        master = keys.from_seed(seed)
        self._streams = Streams(keys.fold_in(master, _ACT), keys.fold_in(master, _UPDATE))
        self._env_stream = keys.fold_in(master, _ENVS)
        self._predict_stream = keys.fold_in(master, _PREDICT)

    def _put(self, tree: Any) -> Any:
        return tree if self.jax_device is None else jax.device_put(tree, self.jax_device)

    @property
    def plan(self) -> TrainingPlan:
        """When and on how much to learn."""
        frequency = self.train_freq.frequency if isinstance(self.train_freq, TrainFreq) else 1
        steps = self.gradient_steps if self.gradient_steps >= 0 else frequency * self.n_envs
        return TrainingPlan(self.batch_size, self.learning_starts, frequency, steps, self._given["warmup"])

    def _of_batch_size(self, batch_size: int) -> tuple[Learner, TrainingPlan]:
        """Learner and training plan for batches of another size.

        Raises:
            ValueError: The agent learns on batches of its own size only.
        """
        return self.learner, dataclasses.replace(self.plan, batch_size=batch_size)

    @property
    def clock(self) -> Clock:
        """Where the run is."""
        return Clock(*(np.int32(number) for number in (self._calls, self.num_timesteps, self._n_updates)))

    @property
    def _functions(self) -> HostFunctions:
        return host_functions(self.learner, self.plan, self.replay)

    def exploration_at(self, progress_remaining: float | None = None) -> Exploration:
        """How much to explore at a progress from 1 (start) to 0 (end), or where training is."""
        progress = self._current_progress_remaining if progress_remaining is None else progress_remaining
        return Exploration(
            schedules.at("temperature", self._temperature_schedule, progress),
            schedules.at("epsilon", self._epsilon_schedule, progress),
        )

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learns for ``total_timesteps`` transitions; see :meth:`stable_baselines3.common.base_class.BaseAlgorithm.learn`.

        On functional environments the device loop is used, unless ``device_loop=False``. There, callbacks are called for every
        step after each chunk of steps, with the model as it is at the chunk's end. Chunks end where SB3's own callbacks
        (``EvalCallback``, ``CheckpointCallback``, ``EveryNTimesteps``) are due. Ctrl-C takes effect between two steps (or
        chunks) and leaves an agent that can be saved and can learn on.

        Raises:
            ValueError: ``total_timesteps`` is not positive, or ``device_loop=True`` and there are no functional dynamics.
            RuntimeError: This process was forked from one that had used JAX.
        """
        forks.check()
        if self.env is None:
            raise ValueError("the agent has no environment to learn in: give one to load(..., env=...) or set_env()")
        total_timesteps = settings.whole_number("total_timesteps", total_timesteps, 1)
        task = self._functional_task()
        if task is None and (reset_num_timesteps or self._last_obs is None):  # SB3 resets the environment then
            self.memory.cut()
        with closing_bar(callback, progress_bar) as callback:
            given = (total_timesteps, callback, reset_num_timesteps, tb_log_name or type(self).__name__)
            total_timesteps, callback = self._setup_learn(*given)
            with deferred() as self._interrupt:
                if task is not None:
                    self._start_lanes(task, reset_num_timesteps)
                    device_training.learn(self, task, total_timesteps, callback, log_interval)
                else:
                    host_training.learn(self, total_timesteps, callback, log_interval)
        return self

    def _sample_action(self, learning_starts: int, action_noise: Any = None, n_envs: int = 1) -> tuple[np.ndarray, np.ndarray]:
        assert self._last_obs is not None
        state, observation = self.learner_state, self.replay.codec.from_host(self._last_obs)
        actions = np.array(self._functions.choose(state, observation, self._streams, self.clock, self.exploration_at()))
        return self.actions.to_env(actions), actions

    def _on_step(self) -> None:
        """Counts the step and updates the target network when due."""
        self._calls += 1
        if self._calls % max(self.target_update_interval // self.n_envs, 1) == 0:
            self.learner_state = self._functions.update_target(self.learner_state)
        self._record_exploration()

    def _record_exploration(self) -> None:
        explore = self.exploration_at()
        self.exploration_rate = float(explore.epsilon)
        if "exploration" not in self.arguments:  # an agent that does not choose
            return
        if self.arguments["exploration"] == "softmax":
            self.logger.record("rollout/temperature", float(explore.temperature))
        else:
            self.logger.record("rollout/exploration_rate", self.exploration_rate)

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """Takes gradient steps on batches from the replay memory.

        Args:
            gradient_steps: How many, at least 0.
            batch_size: Transitions of each.

        Raises:
            TypeError, ValueError: A number is out of range, or there is nothing to learn from yet.
        """
        gradient_steps = integer_in("gradient_steps", gradient_steps, 0, 2**31 - 1)
        batch_size = integer_in("batch_size", batch_size, 1, 2**31 - 1)
        if not self.memory.size():
            raise ValueError("train() needs transitions in the replay memory, which is empty: learn() collects them")
        progress = self._current_progress_remaining
        now = Now(self.exploration_at(progress), schedules.at("learning_rate", self.lr_schedule, progress))
        with self.arrays_lock:
            self._metrics = host_training.take_steps(self, gradient_steps, batch_size, now)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/learning_rate", float(now.learning_rate))

    def dump_logs(self) -> None:
        """Writes the log. Metrics of learning are read now: reading them at every step would wait for the device each time."""
        for key, value in self._metrics.items():
            self.logger.record(f"train/{key}", float(value))
        self._metrics = {}
        super().dump_logs()

    # ------------------------------------------------------------------ acting

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Actions for one observation or a batch.

        Args:
            observation: One observation, of the observation space's shape and dtype, or n of them, (n, …).
            state: Given back as it is; only recurrent agents have one.
            episode_start: Not used, likewise.
            deterministic: Whether to act greedily, or explore as now in training.

        Returns:
            Actions as the environment takes them, int32 or float32, (n, …) or for one observation one of them; and ``state``.

        Raises:
            ValueError: The observation is not of the observation space's shape.
        """
        return self.policy.predict(observation, state, episode_start, deterministic)

    def _act_for_policy(self, observations: np.ndarray, deterministic: bool) -> np.ndarray:
        forks.check()
        functions, observations = self._functions, self.replay.codec.from_host(observations)
        # Learning gives up arrays for new ones; whoever asks meanwhile, from another thread, waits for these.
        with self.arrays_lock:
            key = keys.fold_in(self._predict_stream, self._predictions)
            if deterministic:
                return np.array(functions.act_greedily(self.learner_state, observations, key))
            self._predictions += 1
            return np.array(functions.act(self.learner_state, observations, key, self.exploration_at()))
