"""Value RNNs behind Stable-Baselines3's interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.core import predictions
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.optimizer import NO_CLIPPING, PLAIN_ADAM
from mbrl_agents.core.recurrent import CELLS, INITIALIZATIONS, Cell
from mbrl_agents.core.schedules import Schedule
from mbrl_agents.sb3 import settings
from mbrl_agents.sb3.arguments import Given, Kind, argument, choice, integer, number
from mbrl_agents.sb3.policy import JaxPolicy
from mbrl_agents.value_rnn import arguments as checks
from mbrl_agents.value_rnn import many
from mbrl_agents.value_rnn.learner import ValueRNNHyperparameters, ValueRNNLearner
from mbrl_agents.value_rnn.network import READOUTS, TDHyperparameters, ValueNetwork
from mbrl_agents.value_rnn.reading import ReadsTrials, space_of_width
from mbrl_agents.value_rnn.sequence_replay import SequenceReplay
from mbrl_agents.value_rnn.targets import LOSSES
from mbrl_envs import functional_task


class ValueRNN(ReadsTrials):
    """A recurrent network that learns the value of what it sees by temporal-difference learning.

    The model of *Emergence of belief-like representations through reinforcement learning* (Hennig et al., PLOS Computational
    Biology 2023): V(t) = E[r(t+1) + γ r(t+2) + …] is read out of the state of a recurrent layer whose inputs are observations,
    and learns from its own TD error δ(t) = r(t+1) + γ V(t+1) − V(t), through time. Nothing is controlled.

    There are two ways to train it. :meth:`fit` takes trials as arrays, as experiments have them; :meth:`learn` an environment,
    as everything here does, whose actions (where there is a choice) are drawn uniformly: the value is that of the uniform
    policy. With an environment it is an agent as any other, in sweeps and studies, too. It learns there from windows of
    ``burn_in + sequence_length`` steps out of its replay memory, in which terminated episodes do not bootstrap and truncated
    ones do; its score is minus the root mean square error of its values (:mod:`mbrl_agents.value_rnn.scoring`).

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment's spaces do not fit.
    """

    score_name: ClassVar[str] = "minus the RMS error of values"
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"RnnPolicy": JaxPolicy}
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete, spaces.Box)

    policy: Given[str | type[BasePolicy], BasePolicy] = argument(settings.POLICY, default="RnnPolicy", doc='``"RnnPolicy"``.')
    env: Given[GymEnv | str | None, VecEnv | None] = argument(
        settings.ENV,
        default=None,
        doc="Gymnasium environment with Discrete or bounded Box actions, its id, or a ``VecEnv``; None for :meth:`fit`.",
    )
    learning_rate: float | Schedule = argument(
        settings.LEARNING_RATE,
        default=3e-3,
        doc="Step size of Adam, at least 0; a number or a schedule of the progress remaining (1 to 0, over the steps of "
        "``learn`` or the epochs of ``fit``).",
    )
    hidden_size: int = argument(integer(1, checks.MOST_UNITS), default=50, doc="Hidden units, 1 to 4096.")
    cell: str = argument(
        choice(CELLS), default="gru", doc='``"gru"``, ``"lstm"`` or ``"vanilla"``; see :mod:`mbrl_agents.core.recurrent`.'
    )
    readout: str = argument(
        choice(READOUTS),
        default="linear",
        doc='``"linear"`` (learned weights and a bias) or ``"relu_sum"`` (the sum of the units\' positive parts, fixed).',
    )
    gamma: float = argument(settings.GAMMA, default=0.93)
    td_lambda: float = argument(
        number(0, 1), default=0.0, doc="λ of the λ-returns that are the targets, in [0, 1]; 0 is TD(0)."
    )
    loss: str = argument(
        choice(LOSSES),
        default="td",
        doc='``"td"``; ``"asymmetric"``, ``"quantile"`` or ``"expectile"`` for one value for each of ``levels``, see '
        ":mod:`mbrl_agents.value_rnn.targets`.",
    )
    num_values: int = argument(
        integer(1, checks.MOST_VALUES),
        default=1,
        doc='Values (heads) read out; 1 for ``"td"`` and ``"relu_sum"``, at least 2 for ``"quantile"`` and ``"expectile"``, at '
        "most 256.",
    )
    levels: Sequence[float] | None = argument(
        default=None,
        doc="For each head its τ, above 0 and below 1, rising: the share of the step size (or weight) of positive errors; None "
        'for (i + ½)/num_values. A number of its own for ``"asymmetric"`` with one head.',
        kind=Kind.NUMBER,
    )
    initialization: str = argument(
        choice(INITIALIZATIONS),
        default="orthogonal",
        doc='``"orthogonal"`` or ``"uniform"`` (PyTorch\'s); see :meth:`mbrl_agents.core.recurrent.Cell.init`.',
    )
    frozen: Sequence[str] = argument(
        checks.FROZEN,
        default=(),
        doc='Parts of the network that do not learn, of ``"input"``, ``"recurrent"`` and ``"readout"``.',
    )
    batch_size: int = argument(
        settings.BATCH_SIZE, default=12, doc="Trials (in ``learn``: windows) of a gradient step, at least 1."
    )
    weight_decay: float = argument(settings.WEIGHT_DECAY, default=0.0)
    max_grad_norm: float | None = argument(settings.MAX_GRAD_NORM, default=None)
    sequence_length: int = argument(
        integer(1), default=100, doc="``learn``: steps of a window that are trained on, at least 1."
    )
    burn_in: int = argument(
        integer(0),
        default=20,
        doc="``learn``: steps before them that only bring the state about, unless an episode begins among them.",
    )
    buffer_size: int = argument(
        settings.BUFFER_SIZE,
        default=100_000,
        doc="``learn``: transitions kept for replay, over all environments; at least a window for each.",
    )
    learning_starts: int = argument(
        settings.LEARNING_STARTS, default=1000, doc="``learn``: transitions collected before learning, at least 0."
    )
    train_freq: int | tuple[int, str] = argument(
        settings.TRAIN_FREQ,
        default=20,
        doc='``learn``: steps between trainings, at least 1, or ``(number, "step" | "episode")``.',
    )
    gradient_steps: int = argument(
        settings.GRADIENT_STEPS,
        default=1,
        doc="``learn``: gradient steps per training; −1 for as many as there were transitions.",
    )

    def _construct(self, policy: str | type[BasePolicy], env: GymEnv | str | None, given: dict[str, Any], setup: bool) -> None:
        # Without an environment, the first trials tell how wide observations are.
        super()._construct(policy, env, given, setup and env is not None)

    # ------------------------------------------------------------------ what JaxAgent asks

    def _check_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return checks.check(super()._check_arguments(arguments))

    def _make_learner(self, codec: ObservationCodec, actions: ActionCodec) -> ValueRNNLearner:
        given = self.arguments
        cell = Cell(given["cell"], codec.num_features, given["hidden_size"])
        network = ValueNetwork(
            cell, given["readout"], given["num_values"], given["loss"], given["td_lambda"] > 0, given["initialization"]
        )
        return ValueRNNLearner(codec, network, actions, clip=given["max_grad_norm"] is not None)

    def _make_hyperparameters(self) -> ValueRNNHyperparameters:
        given = self.arguments
        clip = NO_CLIPPING if given["max_grad_norm"] is None else given["max_grad_norm"]
        adam = PLAIN_ADAM._replace(weight_decay=given["weight_decay"], max_grad_norm=clip)
        thawed = checks.thawed(given["frozen"], given["readout"])
        td = TDHyperparameters(given["gamma"], given["td_lambda"], np.array(given["levels"], np.float32), thawed)
        return ValueRNNHyperparameters(td, adam)

    def _make_replay(self, codec: ObservationCodec, rows: int) -> SequenceReplay:
        length, burn_in = self.arguments["sequence_length"], self.arguments["burn_in"]
        if rows < length + burn_in:
            raise ValueError(
                f"buffer_size must be at least (burn_in + sequence_length) * n_envs = {(length + burn_in) * self.n_envs}, "
                f"got {self.buffer_size}"
            )
        if self._of_trials:  # nothing to be kept
            return SequenceReplay(codec, self.actions, 1, 1)
        return SequenceReplay(codec, self.actions, rows, self.n_envs, sequence_length=length, burn_in=burn_in)

    def _check_spaces(self) -> None:
        super()._check_spaces()
        if self._vec_normalize_env is not None:
            raise ValueError("env must not be a VecNormalize: use gymnasium.wrappers.NormalizeObservation inside of it")
        task = functional_task(self.env)
        if task is not None and task.env.continuing and self.gamma == 1:
            raise ValueError(f"gamma must be below 1 in {task.env.env_id}, which never ends, got 1")

    def _act_for_policy(self, observations: np.ndarray, carry: Any, deterministic: bool) -> tuple[np.ndarray, Any]:
        # Its policy is to draw, whatever is asked for.
        return super()._act_for_policy(observations, carry, False)

    def episode_scores(self, env: VecEnv, num_episodes: int) -> np.ndarray:
        """How well values are predicted in whole episodes of any environment, under uniform actions; float (num_episodes,)."""

        def act(observation: np.ndarray) -> np.ndarray:
            return np.array([env.action_space.sample() for _ in observation])

        def value(observations: np.ndarray) -> np.ndarray:
            return self.value(np.asarray(self.learner.codec.features(jnp.asarray(observations))))

        return predictions.host_scores(env, act, value, self.gamma, num_episodes)

    # ------------------------------------------------------------------ fitting

    def fit(
        self,
        trials: Any,
        rewards: Any = None,
        epochs: int = 150,
        *,
        reward_column: int | None = None,
        validation: Any = None,
        shuffle: bool = True,
        terminal_target: bool = True,
        keep_best: bool = True,
        patience: int | None = 200,
        progress_bar: bool = False,
    ) -> many.Fit:
        """Learns the values of trials; may be called again, to go on or with other trials.

        Args:
            trials: A list of trials of unequal length, at least 2 steps each: of :func:`mbrl_envs.conditioning.sample_trials`,
                or arrays, for which ``rewards`` or ``reward_column`` is needed (see :func:`make_trials`, which also has trials
                that were only cut: after arrays, nothing of value follows).
            rewards: For each array (T, C) of cues its rewards, (T,), which the network sees as the last feature.
            epochs: How often all trials are gone through.
            reward_column: In place of ``rewards``: which column of the arrays has them.
            validation: Trials whose loss decides which weights are best and when to stop; None for those that are learned.
                A pair (trials, rewards), if ``rewards`` are given.
            shuffle: Whether batches are drawn anew in every epoch.
            terminal_target: Whether the value after the last step of a trial that is over for good learns to be 0. Without it
                that value is a target that never learns, and TD learning has many fixed points: small loss, wrong values.
            keep_best: Whether those weights are kept that had the lowest loss after an epoch of this call, else the last.
            patience: Epochs without a loss 1 % lower than the lowest one after which to stop; None for never.
            progress_bar: Whether to show progress on standard error.

        Returns:
            Losses by epoch, and which weights were kept.

        Raises:
            TypeError, ValueError: Trials are no such list, too short, of other widths, or not finite; or an argument is out of
                range.
            KeyboardInterrupt: Ctrl-C; the network is as far as it was.
        """
        return many.fit_many(
            [self],
            trials,
            rewards,
            epochs,
            reward_column=reward_column,
            validation=validation,
            shuffle=shuffle,
            terminal_target=terminal_target,
            keep_best=keep_best,
            patience=patience,
            progress_bar=progress_bar,
        )[0]

    @property
    def _of_trials(self) -> bool:
        """Whether the network was made for trials, and has had no environment."""
        space = self.observation_space
        return self.env is None and isinstance(space, spaces.Box) and space == space_of_width(space.shape[0])

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Sets the environment; of one that was fitted to trials, observations must have as many features.

        Raises:
            ValueError: Spaces do not match, or there is no network yet.
        """
        self._check_made("an environment is an argument of the constructor")
        if self._of_trials:
            wrapped = self._wrap_env(env, self.verbose)
            self.check_width(ObservationCodec.of(wrapped.observation_space).num_features)
            self.observation_space, self.action_space = wrapped.observation_space, wrapped.action_space
            self.n_envs, self.env, fitted = wrapped.num_envs, wrapped, self.run
            self._check_spaces()
            self._setup_model()
            self.change_run(learner=fitted.learner, keys=fitted.keys, clock=fitted.clock)
        super().set_env(env, force_reset)

    def save(self, path: Any, exclude: Any = None, include: Any = None) -> None:
        """Saves the network; see :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.save`.

        Raises:
            ValueError: There is no network yet.
        """
        self._check_made("there is nothing to save")
        super().save(path, exclude, include)

    def _check_made(self, instead: str) -> None:
        if not hasattr(self, "learner"):
            raise ValueError(f"the network is made when it sees its first trials (fit, value, prepare); {instead}")

    def freeze(self, *parts: str) -> Self:
        """Parts that do not learn from now on: of ``"input"``, ``"recurrent"``, ``"readout"``; none for all.

        Raises:
            ValueError: There is no such part.
        """
        return self._set_frozen({*self.arguments["frozen"], *checks.parts("parts", parts or checks.PARTS)})

    def thaw(self, *parts: str) -> Self:
        """Parts that learn again; none for all. Errors as for :meth:`freeze`."""
        return self._set_frozen({*self.arguments["frozen"]} - {*checks.parts("parts", parts or checks.PARTS)})

    def _set_frozen(self, frozen: set[str]) -> Self:
        self.frozen = [part for part in checks.PARTS if part in frozen]
        return self
