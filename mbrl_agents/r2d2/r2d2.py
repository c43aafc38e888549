"""R2D2 behind Stable-Baselines3's interface."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule, get_parameters_by_name, polyak_update
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.core import schedules
from mbrl_agents.core.returns import unscale
from mbrl_agents.r2d2 import arguments as checks
from mbrl_agents.r2d2.exploration import LADDER, SCHEDULE, epsilon_ladder
from mbrl_agents.r2d2.learning import gradient, gradient_in_numpy
from mbrl_agents.r2d2.policies import CnnLstmPolicy, MlpLstmPolicy, MultiInputLstmPolicy, R2D2Policy, States
from mbrl_agents.r2d2.saving import SavedRecurrentAlgorithm
from mbrl_agents.r2d2.sequence_buffer import SequenceReplayBuffer
from mbrl_agents.r2d2.sequences import SequenceLayout
from mbrl_agents.r2d2.targets import sequence_priorities
from mbrl_agents.sb3 import given_environment, settings
from mbrl_agents.sb3.arguments import Given, HasArguments, Kind, argument, boolean, choice, number, schedule
from mbrl_agents.sb3.progress_bars import closing_bar


class R2D2(SavedRecurrentAlgorithm):
    """Recurrent Q-learning from replayed sequences.

    Kapturowski, Ostrovski, Quan, Munos, Dabney, *Recurrent Experience Replay in Distributed Reinforcement Learning*, ICLR 2019.
    A recurrent Q-network acts, and its recurrent state is stored with what it sees. Learning draws sequences that lie within
    one episode, starts from the stored state, lets the network run over ``burn_in`` steps to bring the state up to date with
    the current weights, and learns on the steps after that, from

        δ_t = h(Σ_{i<m} γ^i r_{t+i+1} + γ^m·h⁻¹(Q⁻(s_{t+m}, argmax_a Q(s_{t+m}, a)))) − Q(s_t, a_t),

    where m is ``n_steps`` or what is left of the episode, h rescales values (:func:`~mbrl_agents.core.returns.rescale`) and
    Q⁻ is the target network. The loss is the mean of w·δ²/2 over the real steps of the batch, w being a sequence's importance
    weight. Truncated episodes bootstrap from their true final observation, terminated ones do not.

    Defaults are the published ones as far as they suit one machine: 256 LSTM units where 512 were, an ε that falls in
    place of a ladder over many actors, and Adam's own ``eps`` (published: 1e-3).

    Raises:
        AssertionError: Actions are not Discrete (as SB3 says it).
        TypeError, ValueError: Another argument is out of range, or does not go with the environment or others.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpLstmPolicy": MlpLstmPolicy,
        "CnnLstmPolicy": CnnLstmPolicy,
        "MultiInputLstmPolicy": MultiInputLstmPolicy,
    }

    policy: Given[str | type[R2D2Policy], R2D2Policy] = argument(
        doc='``"MlpLstmPolicy"``, ``"CnnLstmPolicy"`` or ``"MultiInputLstmPolicy"``; its keywords are '
        ":class:`~mbrl_agents.r2d2.policies.R2D2Policy`'s.",
        kind=Kind.CONSTRUCTION,
    )
    env: Given[GymEnv | str | None, VecEnv | None] = argument(
        doc="Gymnasium environment with Discrete actions, its id, or a ``VecEnv`` of any number of them.",
        kind=Kind.CONSTRUCTION,
    )
    learning_rate: float | Schedule = argument(settings.LEARNING_RATE, default=1e-4)
    buffer_size: int = argument(
        settings.BUFFER_SIZE,
        default=100_000,
        doc="Transitions kept for replay, over all environments (each episode takes the place of one more).",
    )
    learning_starts: int = argument(
        settings.LEARNING_STARTS, default=1000, doc="Transitions collected with uniform actions before learning."
    )
    batch_size: int = argument(settings.BATCH_SIZE, default=64, doc="Sequences per gradient step.")
    tau: float = argument(settings.TAU, default=1.0)
    gamma: float = argument(settings.GAMMA, default=0.997)
    train_freq: int | tuple[int, str] = argument(
        settings.TRAIN_FREQ,
        default=4,
        doc='Steps (of all environments at once) between trainings, or ``(number, "step" | "episode")``.',
    )
    gradient_steps: int = argument(settings.GRADIENT_STEPS, default=1)
    n_steps: int = argument(
        settings.N_STEPS, default=5, doc="Steps of a return before it bootstraps, at most ``sequence_length``."
    )
    burn_in: int = argument(
        default=40, doc="Steps of a sequence before those that are trained on; less than the environment's time limit."
    )
    sequence_length: int = argument(default=80, doc="Steps of a sequence that are trained on.")
    overlap: int | None = argument(
        default=None, doc="Steps that are trained on in two neighbouring sequences; by default half of ``sequence_length``."
    )
    stored_state: bool = argument(
        boolean(), default=True, doc="Whether sequences start from the stored recurrent state, or from zeros."
    )
    target_update_interval: int = argument(settings.TARGET_UPDATE_INTERVAL, default=10_000)
    exploration: str = argument(
        choice((SCHEDULE, LADDER)),
        default="schedule",
        doc='``"schedule"``: ε falls linearly, the same for all environments; ``"ladder"``: each environment has an ε of its '
        "own, ``ladder_base**(1 + ladder_exponent·i/(N − 1))``.",
    )
    exploration_fraction: float = argument(
        number(0, 1), default=0.1, doc="Part of the training over which a scheduled ε falls, in [0, 1]."
    )
    exploration_initial_eps: float = argument(settings.EXPLORATION_INITIAL_EPS, default=1.0, doc="Scheduled ε at the start.")
    exploration_final_eps: float = argument(settings.EXPLORATION_FINAL_EPS, default=0.05, doc="Scheduled ε at the end.")
    ladder_base: float = argument(number(0, 1, open_low=True), default=0.4, doc="ε of the first environment, in (0, 1].")
    ladder_exponent: float = argument(number(0), default=7.0, doc="See ``exploration``; at least 0.")
    double_q: bool = argument(settings.DOUBLE_Q, default=True)
    value_rescaling: bool = argument(boolean(), default=True, doc="Whether values are learned on the scale of h.")
    rescaling_epsilon: float = argument(number(0), default=1e-3, doc="ε of h, at least 0.")
    prioritized: bool = argument(boolean(), default=True, doc="Whether sequences are drawn by priority, or uniformly.")
    priority_exponent: float = argument(
        number(0), default=0.9, doc="Sequences are drawn in proportion to priority to this power, at least 0."
    )
    priority_eta: float = argument(number(0, 1), default=0.9, doc="η of the priority η·max|δ| + (1 − η)·mean|δ|, in [0, 1].")
    importance_exponent: float | Schedule = argument(
        schedule(0),
        default=0.6,
        doc="Importance weights are (N·P)^−β; a number, or a schedule of the progress remaining to anneal it (SB3's "
        "``LinearSchedule(0.6, 1.0, 1.0)``); 0 for none.",
    )
    max_grad_norm: float | None = argument(settings.MAX_GRAD_NORM, default=40.0)
    stats_window_size: int = argument(settings.STATS_WINDOW_SIZE, default=100)
    tensorboard_log: str | None = argument(settings.TENSORBOARD_LOG, default=None)
    policy_kwargs: Given[dict[str, Any] | None, dict[str, Any]] = argument(checks.POLICY_KWARGS, default=None)
    verbose: int = argument(settings.VERBOSE, default=0)
    seed: int | None = argument(settings.SEED, default=None)
    device: Given[th.device | str, th.device] = argument(
        default="auto", doc='``"auto"``, ``"cpu"``, ``"cuda"``, …', kind=Kind.BOOKKEEPING
    )
    _init_setup_model: bool = argument(default=True, kind=Kind.CONSTRUCTION)

    def _construct(self, policy: str | type[R2D2Policy], env: GymEnv | str | None, given: dict[str, Any], setup: bool) -> None:
        given = self.check_declared(given)
        if env is None and setup:
            raise ValueError("env must be an environment or the id of one, got None")
        sb3s = inspect.signature(OffPolicyAlgorithm).parameters
        super(HasArguments, self).__init__(
            policy,
            given_environment.checked(env),
            replay_buffer_class=SequenceReplayBuffer,
            support_multi_env=True,
            sde_support=False,
            supported_action_spaces=(spaces.Discrete,),
            **{name: value for name, value in given.items() if name in sb3s and name != "n_steps"},
        )
        burn_in, length, overlap = (given.pop(name) for name in ("burn_in", "sequence_length", "overlap"))
        self.layout = SequenceLayout(burn_in, length, length // 2 if overlap is None else overlap, given["n_steps"])
        vars(self).update({name: value for name, value in given.items() if name == "n_steps" or name not in sb3s})
        self._n_calls = 0
        self._make_streams(self.seed)
        if self.env is not None:
            checks.check_spaces(self.observation_space, self.action_space, policy)
        if setup:
            self._setup_model()
        self._constructed = True

    def _set_argument(self, name: str, value: Any) -> None:
        checks.set_later(self, name, value)

    def check_environment(self) -> None:
        """Checks the arguments against the environment; not in the constructor, as ``load`` calls that with the defaults.

        Raises:
            ValueError: The burn-in is no shorter than episodes may be.
        """
        if self.env is not None:
            checks.check_burn_in(self.layout.burn_in, self.env)

    def _setup_model(self) -> None:
        self.check_environment()
        self._setup_lr_schedule()
        self._convert_train_freq()
        super().set_random_seed(self.seed)  # and not what was loaded
        self.policy = self.policy_class(  # type: ignore[assignment]
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        ).to(self.device)
        self.replay_buffer = SequenceReplayBuffer(
            self.buffer_size,
            self.observation_space,
            self.action_space,
            self.device,
            self.n_envs,
            layout=self.layout,
            state_shapes=self.policy.q_net.state_shapes,
            stored_state=self.stored_state,
            priority_exponent=self.priority_exponent if self.prioritized else 0.0,
            seed=self.seed,
        )
        self._make_states()
        if self.exploration == LADDER:
            self.exploration_rate = float(np.mean(self.epsilons))
        nets = (self.policy.q_net, self.policy.q_net_target)
        self._batch_norm_stats = [get_parameters_by_name(net, ["running_"]) for net in nets]
        self._make_schedules()

    def _make_schedules(self) -> None:
        self._importance_schedule = FloatSchedule(self.importance_exponent)
        self._exploration_schedule = LinearSchedule(
            self.exploration_initial_eps, self.exploration_final_eps, self.exploration_fraction
        )

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seeds everything random in the agent and its environments anew; None changes nothing."""
        super().set_random_seed(seed)
        if seed is not None:
            self._seed_streams(seed)
            self.replay_buffer.seed(seed)

    def q_values(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: States | None = None,
        episode_start: np.ndarray | None = None,
    ) -> np.ndarray:
        """Action values, of which a greedy :meth:`predict` with the same arguments takes the largest.

        Args:
            observation: One observation or several.
            state: What the last call of :meth:`predict` returned; None at the start of an episode.
            episode_start: Where an episode starts; bool (n_envs,).

        Returns:
            float32 (num_actions,) of one observation, (n, num_actions) of several, on the scale of returns.

        Raises:
            ValueError: The state has another shape, or lacks the previous reward where that is an input.
        """
        values = self.policy.q_values(observation, state, episode_start)
        return unscale(values, self.rescaling_epsilon) if self.value_rescaling else values

    # ------------------------------------------------------------------ exploring

    @property
    def epsilons(self) -> np.ndarray | float:
        """ε of the environments: one for all, or float (n_envs,)."""
        if self.exploration == LADDER:
            return epsilon_ladder(self.n_envs, self.ladder_base, self.ladder_exponent)
        return self.exploration_rate

    def _on_step(self) -> None:
        """After each step of the environments: moves the target network and ε."""
        self._n_calls += 1
        if self._n_calls % max(self.target_update_interval // self.n_envs, 1) == 0:
            polyak_update(self.policy.q_net.parameters(), self.policy.q_net_target.parameters(), self.tau)
            polyak_update(self._batch_norm_stats[0], self._batch_norm_stats[1], 1.0)
        if self.exploration != LADDER:
            self.exploration_rate = self._exploration_schedule(self._current_progress_remaining)
        self.logger.record("rollout/exploration_rate", self.exploration_rate)

    # ------------------------------------------------------------------ learning

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Gradient steps on replayed sequences (none before there is a sequence).

        Args:
            gradient_steps: How many.
            batch_size: Sequences in each.
        """
        if self.replay_buffer.empty:
            return
        progress = self._current_progress_remaining
        schedules.at("learning_rate", self.lr_schedule, progress)
        self._update_learning_rate(self.policy.optimizer)
        exponent = float(schedules.at("importance_exponent", self._importance_schedule, progress))
        importance = exponent if self.prioritized else 0.0
        rescaling = self.rescaling_epsilon if self.value_rescaling else None
        how = {"gamma": self.gamma, "double_q": self.double_q, "rescaling": rescaling}
        policy, in_numpy = self.policy, self.policy.networks_in_numpy(batch_size)
        if in_numpy is None:  # the layers known in NumPy are the same in training, and telling them so takes time
            policy.set_training_mode(True)
        losses, sizes = [], []
        for _ in range(gradient_steps):
            batch = self.replay_buffer.sample(batch_size, self._vec_normalize_env, importance)
            if in_numpy is None:
                errors, loss = gradient(policy.q_net, policy.q_net_target, batch, self.layout, self.max_grad_norm, **how)
            else:
                errors, loss = gradient_in_numpy(in_numpy, batch, self.layout, self.max_grad_norm, **how)
            policy.optimizer.step()
            priorities = sequence_priorities(errors, batch.trained.cpu().numpy(), self.priority_eta)
            if self.prioritized:
                self.replay_buffer.update_priorities(batch.indices, priorities)
            losses.append(loss)
            sizes.append(priorities.mean())
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", np.mean(losses))
        self.logger.record("train/priority", np.mean(sizes))

    # ------------------------------------------------------------------ the rest of SB3's contract

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "R2D2",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> R2D2:
        """Trains; arguments as for SB3's agents."""
        with closing_bar(callback, progress_bar) as callback:
            return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps)
