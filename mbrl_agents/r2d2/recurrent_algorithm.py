"""Off-policy algorithms whose policy has a recurrent state: acting, and storing what learning needs."""

from __future__ import annotations

import abc
from typing import Any, dataclass_transform

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from mbrl_agents.r2d2.exploration import explore
from mbrl_agents.r2d2.policies import R2D2Policy, States
from mbrl_agents.r2d2.sequence_buffer import SequenceReplayBuffer
from mbrl_agents.sb3.arguments import HasArguments, argument


@dataclass_transform(field_specifiers=(argument,))
class RecurrentOffPolicyAlgorithm(HasArguments, OffPolicyAlgorithm):
    """SB3's ``OffPolicyAlgorithm`` with a recurrent state: what R2D2 does with environments.

    SB3's ``collect_rollouts`` is used as it is, with its callbacks, logs and statistics; the two methods that it calls to act
    and to store are replaced. The state is carried from step to step and set to 0 before the *first* observation of an episode;
    what is stored is the state before the observation it is stored with.
    """

    policy: R2D2Policy
    action_space: spaces.Discrete
    replay_buffer: SequenceReplayBuffer

    def _make_streams(self, seed: int | None) -> None:
        """Random numbers of exploration in training, and in ``predict``, which must not disturb training."""
        self._seed_streams(seed)
        self.exploration_rate = 1.0
        self._states: States = ()  # of the training environments, before their latest observations
        self._states_before: States = ()  # the same, one step ago, for the replay buffer

    def _seed_streams(self, seed: int | None) -> None:
        self._rng, self._predict_rng = (np.random.default_rng(None if seed is None else (seed, i)) for i in range(2))

    def _make_states(self) -> None:
        """States of the training environments, unless loaded ones fit."""
        if not self._states or self._states[0].shape[1] != self.n_envs:
            self._states = self.policy.initial_state(self.n_envs)

    @abc.abstractmethod
    def _make_schedules(self) -> None:
        """Makes what follows the progress of training from the arguments."""

    @property
    @abc.abstractmethod
    def epsilons(self) -> np.ndarray | float:
        """ε of the environments: one for all, or float (n_envs,)."""

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        if True in self._last_episode_starts.tolist():  # type: ignore[union-attr]
            for each in self._states:
                each[:, self._last_episode_starts] = 0
        values, after = self.policy.act(self._last_obs, self._states)  # type: ignore[arg-type]
        epsilon = 1.0 if self.num_timesteps < learning_starts else self.epsilons
        actions = explore(values.argmax(axis=1), epsilon, int(self.action_space.n), self._rng)
        self.policy.note_actions(after, actions)
        self._states_before, self._states = self._states[: self.policy.num_recurrent], after
        return actions, actions

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        assert isinstance(replay_buffer, SequenceReplayBuffer)
        normalizer = self._vec_normalize_env
        if normalizer is None:
            obs, following, stored_reward = self._last_obs, new_obs, reward
        else:  # what is stored is not normalised
            obs, following = self._last_original_obs, normalizer.get_original_obs()
            stored_reward = normalizer.get_original_reward()
        final = self._final_observations(following, dones, infos) if True in dones.tolist() else following
        replay_buffer.add(
            obs,  # type: ignore[arg-type]
            final,
            buffer_action,
            stored_reward,
            dones,
            infos,
            states=self._states_before,
            episode_starts=self._last_episode_starts,
        )
        self.policy.note_rewards(self._states, reward)
        self._last_obs, self._last_episode_starts = new_obs, dones
        if normalizer is not None:
            self._last_original_obs = following

    def _final_observations(self, following: Any, dones: np.ndarray, infos: list[dict[str, Any]]) -> Any:
        """The observations after a step as they were before environments reset themselves, not normalised."""
        parts = {key: np.array(each) for key, each in following.items()} if isinstance(following, dict) else np.array(following)
        for i in np.flatnonzero(dones):
            if (last := infos[i].get("terminal_observation")) is None:
                continue
            if self._vec_normalize_env is not None:
                last = self._vec_normalize_env.unnormalize_obs(last)
            if isinstance(parts, dict):
                for key, each in parts.items():
                    each[i] = last[key]
            else:
                parts[i] = last
        return parts

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: States | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, States]:
        """Actions for observations, and the recurrent state for the next call.

        Args:
            observation: One observation or several.
            state: What the last call returned: NumPy arrays of shape (layers, n_envs, hidden); None at the start.
            episode_start: Where an episode starts, so that its state begins at 0; bool (n_envs,).
            deterministic: Whether to act greedily, or explore with the current ``exploration_rate``.

        Returns:
            Actions and state.

        Raises:
            ValueError: The state has another shape, or lacks the previous reward where that is an input.
        """
        actions, after = self.policy.predict(observation, state, episode_start, deterministic)
        if not deterministic:
            several = np.atleast_1d(actions)
            several = explore(several, self.exploration_rate, int(self.action_space.n), self._predict_rng)
            self.policy.note_actions(after, several)
            actions = several.reshape(np.shape(actions))
        return actions, after

    def note_rewards(self, state: States, rewards: np.ndarray) -> None:
        """Writes the rewards of the last step into a state from ``predict``, if previous rewards are an input of the policy.

        Args:
            state: The state; changed in place.
            rewards: (n_envs,), normalised if they were in training.
        """
        self.policy.note_rewards(state, rewards)

    def evaluation_callback(self, locals_: dict[str, Any], globals_: dict[str, Any]) -> None:
        """For ``evaluate_policy(agent, env, callback=agent.evaluation_callback)`` where previous rewards are an input."""
        del globals_
        self.note_rewards(locals_["states"], locals_["rewards"])
