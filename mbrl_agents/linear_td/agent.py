"""LinearTD: policy evaluation with linear values, behind Stable-Baselines3's interface."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn, Self

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule, TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.core import keys, predictions
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.predictions import Played
from mbrl_agents.linear_td import host_episodes
from mbrl_agents.linear_td.learner import LinearTDHyperparameters, LinearTDLearner, RolloutBuffer
from mbrl_agents.linear_td.policies import UNIFORM, ActionSpace, HostPolicy, as_policy
from mbrl_agents.sb3 import settings
from mbrl_agents.sb3.arguments import Given, Kind, Rule, argument, integer
from mbrl_agents.sb3.host_policies import Predicting
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_agents.sb3.policy import JaxPolicy
from mbrl_agents.td_dynamics import arguments as theory_arguments
from mbrl_agents.td_dynamics.given_features import LINEAR, TABULAR, FunctionFeatures, as_features, to_json
from mbrl_agents.td_dynamics.linear_features import Features
from mbrl_agents.td_dynamics.schedules import PowerSchedule
from mbrl_envs import FunctionalTask
from mbrl_envs.checks import integer_in

_MANY = 2**31 - 1


def _power_schedule(learning_rate: Any) -> PowerSchedule | None:
    """A learning rate as a power schedule, if it is one or what was saved of one.

    Raises:
        TypeError, ValueError: It is a damaged one.
    """
    if isinstance(learning_rate, Mapping):
        return PowerSchedule.from_json(learning_rate)
    return learning_rate if isinstance(learning_rate, PowerSchedule) else None


def _check_learning_rate(name: str, value: Any) -> Any:
    power = _power_schedule(value)
    given = settings.LEARNING_RATE.check(name, value if power is None else power.step_size)
    return given if power is None else power.to_json()  # plain data, to be saved


def _check_gamma(name: str, value: Any) -> float:
    return theory_arguments.discount(settings.GAMMA.check(name, value))


def _check_policy(name: str, policy: Any) -> Any:
    del name
    if isinstance(policy, (np.ndarray, jax.Array, tuple)):
        return np.asarray(policy).tolist()  # plain data, to be saved
    return Predicting(policy) if hasattr(policy, "predict") else policy


class LinearTD(JaxAgent[LinearTDLearner]):
    """Learns the value of a given policy, linear in features of observations, by batch TD(0).

    An update takes B episodes (or pieces of episodes) of T steps, collected since the last update and each used once:

        w ← w + (η/B) Σ_b Σ_t ψ_t δ_t,    δ_t = r_{t+1} + γ ψ_{t+1}·w − ψ_t·w    (Sutton 1988),

    without ψ_{t+1}·w where a step ended its episode for good. With a time limit of T steps this is the process whose typical
    learning curve :func:`mbrl_agents.td_dynamics.theory_curve` predicts; see :meth:`predict_curve`. ``train_sweep`` learns with
    many seeds and step sizes in one program, in functional environments with a policy that is a JAX function.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or features or policy do not fit the environment.
    """

    score_name: ClassVar[str] = "minus the RMS error of values"
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete, spaces.Box)
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {LINEAR: JaxPolicy, TABULAR: JaxPolicy}

    features: Any = argument(
        default=LINEAR,
        doc="ψ: one of :mod:`mbrl_agents.td_dynamics.linear_features`; an array (S, N) with a row for each discrete "
        'observation; ``"tabular"``, one feature for each of these; ``"linear"``, the observation itself and a constant; or a '
        "JAX function of one observation to N numbers.",
        kind=Kind.CONSTRUCTION,
    )
    env: Given[GymEnv | str | None, VecEnv | None] = argument(
        settings.ENV,
        default=None,
        doc="Environment with discrete actions or vectors within bounds, its Gymnasium id, or a ``VecEnv``; None for loading.",
    )
    policy: Any = argument(
        Rule(_check_policy),
        default=UNIFORM,
        doc='What is evaluated: ``"uniform"``; integers, an action for each cell that the features tell apart; a JAX function '
        "of (observation) or (observation, key) to an action; any other function of one observation, or an agent with SB3's "
        "``predict`` (both in the host loop).",
    )
    learning_rate: Given[float | Schedule | PowerSchedule, float | Schedule] = argument(
        Rule(_check_learning_rate, kind=Kind.SCHEDULE),
        default=0.01,
        doc="Step size η, at least 0: a number; a schedule of the progress remaining; or a "
        ":class:`~mbrl_agents.td_dynamics.PowerSchedule` of the number of updates since the agent was made, such as "
        ":func:`~mbrl_agents.td_dynamics.suggest_schedule` finds.",
    )
    gamma: float = argument(Rule(_check_gamma, kind=Kind.NUMBER), default=0.9, doc="Discount factor, at least 0 and below 1.")
    batch_size: int = argument(settings.BATCH_SIZE, default=1, doc="B, episodes of an update, at least 1.")
    episode_steps: int = argument(
        integer(1),
        default=50,
        doc="T, steps of each; ``batch_size`` times this must be a multiple of the number of environments.",
    )

    def _construct(self, policy: Any, env: GymEnv | str | None, given: dict[str, Any], setup: bool) -> None:
        self._features_given = policy  # what stands in the place of other agents' policies
        super()._construct(LINEAR, env, given, setup)

    # ------------------------------------------------------------------ what JaxAgent asks

    def _check_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        given = super()._check_arguments(arguments)
        self._power_schedule = _power_schedule(given["learning_rate"])
        return given

    def _check_spaces(self) -> None:
        super()._check_spaces()
        if self._vec_normalize_env is not None:
            raise ValueError("env must not be a VecNormalize: features would have to change with it")
        self._make_features()

    def _make_features(self) -> tuple[Features, Any]:
        assert isinstance(self.action_space, ActionSpace)
        features = as_features(self._features_given, self.observation_space)
        return features, as_policy(self.arguments["policy"], features, self.observation_space, self.action_space)

    def _setup_program(self) -> None:
        steps = self.arguments["batch_size"] * self.arguments["episode_steps"]
        frequency, rest = divmod(steps, self.n_envs)
        if rest:
            raise ValueError(f"batch_size * episode_steps must be a multiple of the {self.n_envs} environments, got {steps}")
        self.train_freq = TrainFreq(frequency, TrainFrequencyUnit.STEP)  # SB3 does the same
        super()._setup_program()
        # By this name the features are saved, as other agents' policies are; a function is code, and has to be given again.
        features = self.learner.features
        name = features.function if isinstance(features, FunctionFeatures) else to_json(features)
        self.policy_name = name  # type: ignore[assignment]

    def _make_learner(self, codec: ObservationCodec, actions: ActionCodec) -> LinearTDLearner:
        del actions  # the policy knows them
        features, policy = self._make_features()
        return LinearTDLearner(features, policy, codec.start, self.arguments["batch_size"])

    def _setup_lr_schedule(self) -> None:
        if self._power_schedule is None:
            super()._setup_lr_schedule()
        else:  # the rest of it is the learner's, who knows the number of updates
            self.lr_schedule = FloatSchedule(self._power_schedule.step_size)

    def _make_hyperparameters(self) -> LinearTDHyperparameters:
        gamma, power = self.arguments["gamma"], self._power_schedule
        return LinearTDHyperparameters(gamma) if power is None else LinearTDHyperparameters(gamma, power.exponent, power.delay)

    def _of_batch_size(self, batch_size: int) -> NoReturn:
        raise ValueError(f"batch_size must be that of the agent, {self.batch_size}, got {batch_size}")

    def _make_replay(self, codec: ObservationCodec, rows: int) -> RolloutBuffer:
        del rows  # exactly what an update takes
        assert isinstance(self.train_freq, TrainFreq)
        return RolloutBuffer(codec, self.actions, self.train_freq.frequency, self.n_envs)

    # ------------------------------------------------------------------ acting by a policy that is no JAX function

    @property
    def _host_policy(self) -> HostPolicy | None:
        policy = self.learner.policy
        return policy if isinstance(policy, HostPolicy) else None

    def _functional_task(self) -> FunctionalTask | None:
        if self._host_policy is not None:
            if self.device_loop:
                raise ValueError(f"device_loop=True needs a policy that is a JAX function, got {self.arguments['policy']!r}")
            return None
        return super()._functional_task()

    def _sample_action(self, learning_starts: int, action_noise: Any = None, n_envs: int = 1) -> tuple[np.ndarray, np.ndarray]:
        if (policy := self._host_policy) is None:
            return super()._sample_action(learning_starts, action_noise, n_envs)
        assert self._last_obs is not None
        actions = policy.choose(np.asarray(self._last_obs))
        return actions, self.actions.from_env(actions)

    def _act_for_policy(self, observations: np.ndarray, carry: Any, deterministic: bool) -> tuple[np.ndarray, Any]:
        if (policy := self._host_policy) is not None:
            return self.actions.from_env(policy.choose(observations)), carry
        return super()._act_for_policy(observations, carry, False)  # the policy is what it is

    def learn(self, *args: Any, **kwargs: Any) -> Self:
        """Learns; see :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.learn`. Says so where the step size was too large.

        Warns:
            RuntimeWarning: Weights are no longer finite.
        """
        super().learn(*args, **kwargs)
        if not np.isfinite(self.weights).all():
            rate = self._power_schedule or self.arguments["learning_rate"]
            warnings.warn(
                f"the weights have diverged: learning_rate {rate!r} is too large for these features; predict_curve() names the "
                "largest stable one",
                RuntimeWarning,
                stacklevel=2,
            )
        return self

    def episode_scores(self, env: VecEnv, num_episodes: int) -> np.ndarray:
        """How well values predict returns in any environment; see :func:`mbrl_agents.core.predictions.host_scores`."""
        return predictions.host_scores(
            env, lambda observation: self.predict(observation)[0], self.value, self.gamma, num_episodes
        )

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> Self:
        """Loads a saved agent; see :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.load`."""
        agent = super().load(*args, **kwargs)
        agent.change_run(learner=agent.learner_state._replace(updates=agent._put(jnp.int32(agent._n_updates))))
        return agent

    # ------------------------------------------------------------------ what was learned, and what is to be expected

    @property
    def weights(self) -> np.ndarray:
        """w, float32 (N,), a copy."""
        return np.array(self.learner_state.params["weights"])

    def value(self, observations: Any) -> np.ndarray:
        """Values V = ψ · w.

        Args:
            observations: One observation, or several with leading axes.

        Returns:
            float32, of the leading axes' shape.

        Raises:
            ValueError: They are not of the observation space's shape.
        """
        array, own = np.asarray(observations), self.observation_space.shape or ()
        if array.shape[array.ndim - len(own) :] != own:
            raise ValueError(f"observations must have shape (…, {', '.join(map(str, own))}), got {array.shape}")
        return np.asarray(self.learner.value(self.learner_state, jnp.asarray(self.replay.codec.from_host(array))))

    def predict_curve(
        self, num_updates: int, *, num_episodes: int = 1000, reward_weights: Any = None, seed: int = 0, **more: Any
    ) -> np.ndarray:
        """The typical learning curve from w = 0 in the agent's environment, by theory; nothing is learned.

        The features' second moments are taken from episodes of ``episode_steps`` steps from reset; so the curve is that of an
        agent whose episodes are cut there, by a time limit. It needs (episodes · T · N) numbers of memory. Where the device
        loop cannot be used, they are played in the agent's own environments, and a later :meth:`learn` begins new ones.

        Args:
            num_updates: Updates to predict.
            num_episodes: Episodes from which moments are estimated.
            reward_weights: w_R, float (N,): expected rewards are ψ·w_R; None for a least-squares fit to these episodes.
            seed: Of these episodes.
            **more: Further arguments of :func:`mbrl_agents.td_dynamics.theory_curve`: ``reward_noise``, ``shaping``,
                ``fourth_moments``.

        Returns:
            Losses, float64 (num_updates + 1,): the expected squared error of values, summed over an episode's T steps.

        Raises:
            ValueError: There is no environment, it cuts episodes off before T steps, or the step size is unstable (the message
                names the largest stable one).
        """
        from mbrl_agents.td_dynamics import EpisodeCovariance, theory_curve

        updates = integer_in("num_updates", num_updates, 1, _MANY)
        number = integer_in("num_episodes", num_episodes, 2, _MANY)
        played = self._play(number, self.arguments["episode_steps"], integer_in("seed", seed, 0, 2**32 - 1))
        observations = self.replay.codec.from_host(played.observations)
        features = np.asarray(self.learner.read(jnp.asarray(observations)), np.float64)
        features *= np.asarray(played.running)[..., None]
        covariance = EpisodeCovariance(features.transpose(1, 0, 2))
        if reward_weights is None:
            now = features[:-1].reshape(-1, features.shape[-1])
            reward_weights = np.linalg.lstsq(now, np.asarray(played.rewards, np.float64).ravel(), rcond=None)[0]
        power = self._power_schedule
        etas = power.step_sizes(updates) if power else np.array([self.lr_schedule(1 - n / updates) for n in range(updates)])
        return theory_curve(
            covariance,
            reward_weights,
            gamma=self.arguments["gamma"],
            step_size=etas,
            batch_size=self.arguments["batch_size"],
            num_steps=updates,
            **more,
        )

    def _play(self, num_episodes: int, num_steps: int, seed: int) -> Played:
        """Episodes of the policy from reset."""
        task, key = self._functional_task(), keys.from_seed(seed)
        if task is not None:
            return _play_on_device(self.learner, task.env, key, num_episodes, num_steps)
        if self.env is None:
            raise ValueError("predict_curve needs an environment to play in; see set_env")
        self.env.seed(seed)
        self._last_obs = None  # so that learning begins with a reset
        if (policy := self._host_policy) is not None:
            return host_episodes.host_play(self.env, policy.choose, num_episodes, num_steps)
        each_key, read = (keys.fold_in(key, step) for step in itertools.count()), self.replay.codec.from_host
        by_policy = plain_jit(self.learner.act_by_policy)

        def act(observations: np.ndarray) -> np.ndarray:
            return self.actions.to_env(np.array(by_policy(read(observations), next(each_key))))

        return host_episodes.host_play(self.env, act, num_episodes, num_steps)


_play_on_device = plain_jit(LinearTDLearner.play, static_argnums=(0, 1, 3, 4))
