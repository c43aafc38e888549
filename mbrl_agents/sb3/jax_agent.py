"""Stable-Baselines3's contract for JAX learners: what every agent of this package has in common."""

from __future__ import annotations

import inspect
import io
import os
import threading
from collections.abc import Iterable
from typing import Any, Self

import jax
import numpy as np
import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage, unwrap_vec_normalize

from mbrl_agents.core import keys, user_metrics
from mbrl_agents.core.interrupt import PendingInterrupt, deferred
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.user_metrics import UserMetrics
from mbrl_agents.sb3 import device_training, given_environment, host_training, persistence, setting_later, settings
from mbrl_agents.sb3.agent_base import AgentBase, LearnerT
from mbrl_agents.sb3.arguments import Given, HasArguments, Kind, argument, whole_number
from mbrl_agents.sb3.host_training import HostFunctions, host_functions
from mbrl_agents.sb3.policy import AGENTS
from mbrl_agents.sb3.progress_bars import closing_bar
from mbrl_envs import FunctionalEnv, FunctionalTask, forks, functional_task
from mbrl_envs.checks import integer_in

_METRICS = 2**32 - 1  # where the keys of users' metrics are folded from the predictions'


class JaxAgent(AgentBase[LearnerT]):
    """Base of agents whose learner is a set of pure JAX functions.

    The same learner is driven either by the *host loop* (SB3's ``collect_rollouts``, on any Gymnasium environment) or by the
    *device loop* (one compiled program, on functional environments). Subclasses list their arguments, first a policy and
    ``env``, and say in :meth:`_make_learner` and :meth:`_make_hyperparameters` what they make of them.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment's spaces do not fit.
    """

    stats_window_size: int = argument(settings.STATS_WINDOW_SIZE, default=100, kw_only=True)
    tensorboard_log: str | None = argument(settings.TENSORBOARD_LOG, default=None, kw_only=True)
    verbose: int = argument(settings.VERBOSE, default=0, kw_only=True)
    seed: int | None = argument(settings.SEED, default=None, kw_only=True)
    device: Given[str, th.device] = argument(settings.DEVICE, default="auto", kw_only=True)
    device_loop: bool | None = argument(settings.DEVICE_LOOP, default=None, kw_only=True)
    _init_setup_model: bool = argument(default=True, kind=Kind.CONSTRUCTION, kw_only=True)

    def _construct(self, policy: str | type[BasePolicy], env: GymEnv | str | None, given: dict[str, Any], setup: bool) -> None:
        self.arguments = self._check_arguments(given)
        env = given_environment.checked(env)
        super(HasArguments, self).__init__(
            # By its class: where observations can't be read, SB3 would ask for a policy that there isn't.
            self._get_policy_from_name(policy) if isinstance(policy, str) else policy,
            env,
            learning_rate=self.learning_rate,
            buffer_size=self.buffer_size,
            learning_starts=self.learning_starts,
            batch_size=self.batch_size,
            tau=self.tau,
            gamma=self.gamma,
            train_freq=self.train_freq,
            gradient_steps=self.gradient_steps,
            n_steps=self.n_steps,
            policy_kwargs=self.policy_kwargs,
            stats_window_size=self.stats_window_size,
            tensorboard_log=self.tensorboard_log,
            verbose=self.verbose,
            seed=self.seed,
            device="cpu",  # torch's part of an agent is its loggers and callbacks
            sde_support=False,
            support_multi_env=True,
        )
        self.policy_name = policy if isinstance(policy, str) else next(iter(self.policy_aliases))
        self.exploration_rate = 0.0
        self._interrupt = PendingInterrupt()
        self._metrics: dict[str, Any] = {}  # of the last training
        self._user_metrics: UserMetrics | None = None  # of the present learn()
        self.arrays_lock = threading.RLock()
        if env is not None:
            self._check_spaces()
        if setup:
            self._setup_model()
        self._constructed = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        AGENTS[cls.__name__] = cls

    def _set_argument(self, name: str, value: Any) -> None:
        setting_later.set_argument(self, name, value)

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        if policy_name not in self.policy_aliases:
            raise ValueError(f"policy must be one of {', '.join(map(repr, self.policy_aliases))}, got {policy_name!r}")
        return self.policy_aliases[policy_name]

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """As SB3; but images of functional environments stay as they are, because the device loop has no wrappers."""
        wrapped = OffPolicyAlgorithm._wrap_env(env, verbose, monitor_wrapper)
        transposed = wrapped is not env and isinstance(wrapped, VecTransposeImage)
        return wrapped.venv if transposed and functional_task(wrapped.venv) is not None else wrapped  # type: ignore[attr-defined]

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Sets the environment; see :meth:`stable_baselines3.common.base_class.BaseAlgorithm.set_env`."""
        if isinstance(env, VecEnv):
            ObservationCodec.of(env.observation_space).check_normalizer(unwrap_vec_normalize(env))
        super().set_env(env, force_reset)
        if force_reset and self.has_run:
            self.change_run(slots=None)

    # ------------------------------------------------------------------ learning

    def _functional_task(self) -> FunctionalTask | None:
        """Dynamics and time limit for the device loop, or None if the host loop is to be used."""
        if self.device_loop is False:
            return None
        task = functional_task(self.env)
        by_steps = isinstance(self.train_freq, TrainFreq) and self.train_freq.unit == TrainFrequencyUnit.STEP
        if self.device_loop and (task is None or not by_steps):
            raise ValueError(
                "device_loop=True needs an environment with functional dynamics (mbrl/…, without wrappers that change it) and "
                f"a train_freq in steps; got {self.env} and {self.train_freq}"
            )
        return task if by_steps else None

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
        metrics: UserMetrics | None = None,
    ) -> Self:
        """Learns for ``total_timesteps`` transitions; see :meth:`stable_baselines3.common.base_class.BaseAlgorithm.learn`.

        On functional environments the device loop is used, unless ``device_loop=False``. There, callbacks are called for every
        step after each chunk of steps, with the model as it is at the chunk's end. Chunks end where SB3's own callbacks
        (``EvalCallback``, ``CheckpointCallback``, ``EveryNTimesteps``) are due. Ctrl-C takes effect between two steps (or
        chunks) and leaves an agent that can be saved and can learn on.

        Args:
            total_timesteps: Transitions to learn from.
            callback: Callbacks, as for Stable-Baselines3's agents.
            log_interval: Episodes between logs; None for none.
            tb_log_name: Name of the run in TensorBoard; by default that of the agent's class.
            reset_num_timesteps: Whether to count from 0, or to go on counting.
            progress_bar: Whether to show one.
            metrics: A function ``(learner, state, env, key) -> pytree of numbers``, compiled and evaluated for every log, and
                logged by the names that the numbers have in the pytree: ``{"model": {"error": …}}`` is ``model/error``. It is
                given :attr:`learner`, :attr:`learner_state`, the environment's dynamics (None of one that has none) and a key.

        Raises:
            TypeError: ``metrics`` is no function.
            ValueError: ``metrics`` gives no numbers; ``total_timesteps`` is not positive; or ``device_loop=True`` and there are
                no functional dynamics.
            RuntimeError: This process was forked from one that had used JAX.
        """
        forks.check()
        if self.env is None:
            raise ValueError("the agent has no environment to learn in: give one to load(..., env=...) or set_env()")
        total_timesteps = whole_number("total_timesteps", total_timesteps, 1)
        user_metrics.check(metrics)
        if metrics is not None:
            user_metrics.check_numbers(metrics, self.learner, self.learner_state, self._dynamics())
        task = self._functional_task()
        if task is None and (reset_num_timesteps or self._last_obs is None):  # SB3 resets the environment then
            self._begin_episodes()
        with closing_bar(callback, progress_bar) as callback:
            given = (total_timesteps, callback, reset_num_timesteps, tb_log_name or type(self).__name__)
            total_timesteps, callback = self._setup_learn(*given)
            self._user_metrics = metrics
            try:
                with deferred() as self._interrupt:
                    if task is not None:
                        device_training.start_environments(self, task, reset_num_timesteps)
                        device_training.learn(self, task, total_timesteps, callback, log_interval)
                    else:
                        host_training.learn(self, total_timesteps, callback, log_interval)
            finally:
                self._user_metrics = None
        return self

    def _dynamics(self) -> FunctionalEnv | None:
        """The dynamics of the environment, if there are any."""
        task = functional_task(self.env)
        return None if task is None else task.env

    @property
    def _functions(self) -> HostFunctions:
        return host_functions(self.program)

    def _sample_action(self, learning_starts: int, action_noise: Any = None, n_envs: int = 1) -> tuple[np.ndarray, np.ndarray]:
        assert self._last_obs is not None
        observation = self.replay.codec.from_host(self._last_obs)
        acted = self._functions.choose(self.run._replace(memory=None, slots=None), observation, self.exploration_at())
        self.memory.extras = acted.extras  # of the transition that is stored next
        self.change_run(carry=acted.carry)
        actions = np.array(acted.action)
        return self.actions.to_env(actions), actions

    def _store_transition(
        self,
        replay_buffer: Any,
        buffer_action: np.ndarray,
        new_obs: Any,
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        if not isinstance(new_obs, tuple):
            super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        else:
            host_training.store_tuples(self, buffer_action, new_obs, reward, dones, infos)
        if dones.any() and jax.tree.leaves(self.run.carry):
            self.change_run(carry=self._functions.begin_anew(self.run.carry, dones))

    def _on_step(self) -> None:
        """Counts the step and updates the target network when due."""
        vector_steps = int(self.run.clock.vector_steps) + 1
        self._set_clock(vector_steps=vector_steps)
        if vector_steps % max(self.target_update_interval // self.n_envs, 1) == 0:
            self.change_run(learner=self._functions.update_target(self.learner_state))
        self._record_exploration()

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
        now = self.schedules.at(self._current_progress_remaining)
        with self.arrays_lock:
            self._metrics = host_training.take_steps(self, gradient_steps, batch_size, now)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/learning_rate", float(now.learning_rate))

    def dump_logs(self) -> None:
        """Writes the log. Metrics of learning are read now: reading them at every step would wait for the device each time."""
        for key, value in self._metrics.items():
            self.logger.record(f"train/{key}", float(value))
        self._metrics = {}
        if self._user_metrics is not None:
            measured = user_metrics.compiled(self._user_metrics, self.learner, self._dynamics())
            key = keys.fold_in(keys.fold_in(self.run.keys.predict, _METRICS), self.num_timesteps)
            for name, number in measured(self.learner_state, key).items():
                self.logger.record(name, float(number))
        super().dump_logs()

    # ------------------------------------------------------------------ acting

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray] | tuple[np.ndarray, ...],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Actions for one observation or a batch.

        Args:
            observation: One observation, of the observation space's structure, shape and dtype, or n of them, (n, …).
            state: Of recurrent agents what the last call returned, a tuple of arrays (n, …); None at the start. Others give
                it back as it is.
            episode_start: Of recurrent agents: where an episode starts, so that nothing is remembered there, bool (n,).
            deterministic: Whether to act greedily, or explore as now in training.

        Returns:
            Actions as the environment takes them, int32 or float32, (n, …) or for one observation one of them; and the state
            for the next call.

        Raises:
            ValueError: The observation is not of the observation space's shape, or the state is none of the agent's.
        """
        return self.policy.predict(observation, state, episode_start, deterministic)  # type: ignore[arg-type]

    def _act_for_policy(self, observations: Any, carry: Any, deterministic: bool) -> tuple[np.ndarray, Any]:
        forks.check()
        functions, observations = self._functions, self.replay.codec.from_host(observations)
        # Learning gives up arrays for new ones; whoever asks meanwhile, from another thread, waits for these.
        with self.arrays_lock:
            key, state = self._predict_key(drawn=not deterministic), self.learner_state
            acted = functions.act(state, carry, observations, key, None if deterministic else self.exploration_at())
            return np.array(acted.action), acted.carry

    def _predict_key(self, drawn: bool) -> jax.Array:
        """The key of the next prediction; the one after it has another if this one is ``drawn``."""
        stream, number = self.run.keys.predict, int(self.run.clock.predictions)
        if drawn:
            self._set_clock(predictions=number + 1)
        return keys.fold_in(stream, number)

    # ------------------------------------------------------------------ files

    def get_parameters(self) -> dict[str, dict]:
        """Arrays of ``"policy"``, ``"policy.target"`` and ``"policy.optimizer"``, NumPy copies by path.

        Agents with a model also have ``"model"`` and ``"model.optimizer"``, OMD under ``"vep"`` ``"value_networks"``.
        """
        with self.arrays_lock:
            return persistence.get_parameters(self)

    def set_parameters(self, load_path_or_dict: Any, exact_match: bool = True, device: Any = "auto") -> None:
        """Sets what :meth:`get_parameters` gives, from such a dictionary or from a saved agent.

        Raises:
            ValueError: Names, shapes or dtypes do not match (with ``exact_match=False`` some names may be missing).
        """
        del device
        with self.arrays_lock:
            persistence.set_parameters(self, load_path_or_dict, exact_match)

    def save(
        self,
        path: str | os.PathLike[str] | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Saves everything but the replay memory (see :meth:`save_replay_buffer`) to a ``.zip``, whole or not at all.

        Args:
            path: File; ``.zip`` is added if there is no suffix.
            exclude: What to leave out: ``"policy.optimizer"``, ``"lanes"`` (environments of the device loop), or arguments of
                the constructor, which then have their defaults when the file is loaded.
            include: What not to leave out, though ``exclude`` names it; everything else is saved anyway.

        Raises:
            OSError: Writing failed; the old file, if any, is intact.
            ValueError: There is nothing of an excluded name.
        """
        with self.arrays_lock:
            persistence.save(self, path, set(exclude or ()) - set(include or ()))

    @classmethod
    def load(  # type: ignore[override]
        cls,
        path: str | os.PathLike[str] | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Loads a saved agent. No code in the file is executed.

        Args:
            path: File (``.zip`` may be left out) or stream.
            env: Environment to go on learning in; None for prediction alone.
            device: Device to run on.
            custom_objects: Constructor arguments that replace saved ones, as ``kwargs``; others are ignored, as SB3 does.
            print_system_info: Whether to print this system's versions.
            force_reset: Whether the host loop resets the environment before it learns on; False where ``env`` is where it was
                when the agent was saved. The device loop's environments are part of the agent and go on where they were.
            **kwargs: Constructor arguments that replace saved ones; a schedule that was a function must be given here.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged or of another kind of agent, or spaces do not match.
        """
        own = inspect.signature(cls).parameters
        replaced = {**{name: value for name, value in (custom_objects or {}).items() if name in own}, **kwargs}
        return persistence.load(cls, path, env, device, replaced, print_system_info, force_reset)

    def save_replay_buffer(self, path: str | os.PathLike[str] | io.BufferedIOBase) -> None:
        """Saves the replay memory to an NPZ file (``.npz`` is added if there is no suffix), whole or not at all."""
        with self.arrays_lock:
            self.memory.save(path)

    def load_replay_buffer(self, path: str | os.PathLike[str] | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """Loads what :meth:`save_replay_buffer` saved."""
        del truncate_last_traj
        self.memory.load(path)
        self.change_run(memory=self._put(self.run.memory))

    def to_torch(self) -> Any:
        """A copy of the trained network as a ``torch.nn.Module``, for deployment: TorchScript, ONNX.

        Returns:
            A module that maps a batch of observations, a tensor (n, …) as the environment gives them, to action values float32
            (n, actions), or of agents for continuous actions to the greedy actions as the environment takes them, (n, …).

        Raises:
            NotImplementedError: What this agent has learned is no feed-forward network.
        """
        raise NotImplementedError(f"{type(self).__name__} has no feed-forward network that could be copied to PyTorch")
