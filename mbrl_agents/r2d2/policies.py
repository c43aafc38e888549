"""Policies of R2D2: a Q-network, its target network, the optimiser, and acting with a recurrent state.

A recurrent state is a tuple of NumPy arrays (layers, n_envs, hidden), as in sb3-contrib: (h, c) of an LSTM, (h,) of a GRU.
Where previous actions or rewards are inputs, one more array (1, n_envs, k) follows: the previous action as one-hot, then the
previous reward.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from mbrl_agents.core import networks
from mbrl_agents.r2d2.networks import CELLS, RecurrentQNetwork
from mbrl_agents.r2d2.numpy_network import MOST_ROWS, NumpyNetwork, numpy_network
from mbrl_agents.r2d2.recurrence import is_small
from mbrl_envs.checks import boolean, integer_in, number_in, one_of

States = tuple[np.ndarray, ...]
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    networks.activation_name(each): each for each in (nn.ELU, nn.ReLU, nn.Tanh, nn.SiLU, nn.GELU, nn.LeakyReLU, nn.Sigmoid)
}


class R2D2Policy(BasePolicy):
    """Policy of R2D2.

    Keywords have SB3's and sb3-contrib's names where these have one.

    Args:
        observation_space: Observation space.
        action_space: Discrete action space.
        lr_schedule: Step size as a function of the progress remaining.
        net_arch: Units of the layers after the recurrent ones; by default one layer of as many units as these have.
        pre_net_arch: Units of the layers between features extractor and recurrent ones; by default one such layer, none
            after a CNN.
        activation_fn: Activation of these layers: a class of PyTorch modules such as ``torch.nn.ReLU``, or a name such as
            ``"relu"``, as other agents take it.
        cell: ``"lstm"`` or ``"gru"``.
        lstm_hidden_size: Units of each recurrent layer (of a GRU, too).
        n_lstm_layers: Number of recurrent layers.
        forget_bias: Bias, before learning, of the gates that keep the state (an LSTM's forget gates, a GRU's update gates):
            with 1 the state fades slowly from the start (Jozefowicz et al. 2015), with 0 it is halved at every step.
        dueling: Whether values and advantages are learned apart.
        previous_action: Whether the previous action is an input.
        previous_reward: Whether the previous reward is one. ``predict`` does not get rewards, so that whoever plays must
            hand them in: see :meth:`note_rewards`.
        features_extractor_class: SB3's features extractor.
        features_extractor_kwargs: Its keywords.
        normalize_images: Whether images are divided by 255.
        optimizer_class: Optimiser.
        optimizer_kwargs: Its keywords but the step size; by default PyTorch's own. (The published ``eps=1e-3`` of Adam is large
            beside gradients of a loss that is a mean over steps: where rewards are rare it all but stops learning.)

    Raises:
        TypeError, ValueError: A keyword is out of range.
    """

    q_net: RecurrentQNetwork
    q_net_target: RecurrentQNetwork

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        net_arch: list[int] | None = None,
        pre_net_arch: list[int] | None = None,
        activation_fn: str | type[nn.Module] = nn.ReLU,
        cell: str = "lstm",
        lstm_hidden_size: int = 256,
        n_lstm_layers: int = 1,
        forget_bias: float = 1.0,
        dueling: bool = True,
        previous_action: bool = True,
        previous_reward: bool = False,
        features_extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        one_of("cell", cell, tuple(CELLS))
        integer_in("lstm_hidden_size", lstm_hidden_size, 1, networks.MAX_WIDTH)
        integer_in("n_lstm_layers", n_lstm_layers, 1, 64)
        number_in("forget_bias", forget_bias, -100, 100)
        for name, value in {"dueling": dueling, "previous_action": previous_action, "previous_reward": previous_reward}.items():
            boolean(name, value)
        if pre_net_arch is None:
            pre_net_arch = [] if features_extractor_class is NatureCNN else [lstm_hidden_size]
        net_arch = [lstm_hidden_size] if net_arch is None else net_arch
        if isinstance(activation_fn, str):
            activation_fn = _ACTIVATIONS[networks.activation_name(activation_fn)]
        if not (isinstance(activation_fn, type) and issubclass(activation_fn, nn.Module)):
            raise TypeError(
                f"activation_fn must be a class of PyTorch modules such as torch.nn.ReLU, or a name such as 'relu', "
                f"got {activation_fn!r}"
            )
        if optimizer_kwargs is None:
            optimizer_kwargs = {"fused": True} if optimizer_class is th.optim.Adam else {}
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class,
            features_extractor_kwargs,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.network_kwargs: dict[str, Any] = {
            "pre_net_arch": list(networks.check_net_arch(pre_net_arch, "pre_net_arch")),
            "net_arch": list(networks.check_net_arch(net_arch)),
            "activation_fn": activation_fn,
            "cell": cell,
            "hidden_size": lstm_hidden_size,
            "num_layers": n_lstm_layers,
            "forget_bias": forget_bias,
            "dueling": dueling,
            "previous_action": previous_action,
            "previous_reward": previous_reward,
        }
        self.num_actions = int(action_space.n)
        self._last_width = previous_action * self.num_actions + previous_reward
        self._in_numpy: NumpyNetwork | None = None
        self._target_in_numpy: NumpyNetwork | None = None
        self.q_net, self.q_net_target = self.make_q_net(), self.make_q_net()
        self.q_net_target.load_state_dict(self.q_net.state_dict())
        self.q_net_target.set_training_mode(False)
        self.num_recurrent = len(self.q_net.state_shapes)
        self.optimizer = self.optimizer_class(self.q_net.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def make_q_net(self) -> RecurrentQNetwork:
        """A fresh Q-network, with a features extractor of its own."""
        given = {"observation_space": self.observation_space, "action_space": self.action_space}
        given |= self.network_kwargs | {"normalize_images": self.normalize_images}
        return RecurrentQNetwork(**self._update_features_extractor(given, features_extractor=None)).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        network = dict(self.network_kwargs)
        return super()._get_constructor_parameters() | {
            "lstm_hidden_size": network.pop("hidden_size"),
            "n_lstm_layers": network.pop("num_layers"),
            **network,
            "lr_schedule": self._dummy_schedule,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
            "features_extractor_class": self.features_extractor_class,
            "features_extractor_kwargs": self.features_extractor_kwargs,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the views of the weights, which in a copy would be views of nothing."""
        return self.__dict__ | {"_in_numpy": None, "_target_in_numpy": None}

    def set_training_mode(self, mode: bool) -> None:
        """Puts the Q-network into training or evaluation mode; the target network stays in the latter.

        As SB3 calls this before it acts, it is also the time to look where the weights are.
        """
        if self.q_net.training != mode:
            self.q_net.set_training_mode(mode)
        self.training = mode
        if not mode:
            self._in_numpy = numpy_network(self.q_net, self._in_numpy)

    def networks_in_numpy(self, batch_size: int) -> tuple[NumpyNetwork, NumpyNetwork] | None:
        """Both networks for learning from so many sequences in NumPy, or None where that is not possible or not quicker."""
        if not is_small(self.q_net.rnn, batch_size):
            return None
        self._in_numpy = numpy_network(self.q_net, self._in_numpy)
        self._target_in_numpy = numpy_network(self.q_net_target, self._target_in_numpy)
        return None if self._in_numpy is None or self._target_in_numpy is None else (self._in_numpy, self._target_in_numpy)

    # ------------------------------------------------------------------ recurrent states

    @property
    def state_shapes(self) -> tuple[tuple[int, int], ...]:
        """Layers and width of each array of a state."""
        return self.q_net.state_shapes + (((1, self._last_width),) if self._last_width else ())

    def initial_state(self, n_envs: int) -> States:
        """The state at the start of episodes: zeros, float32 (layers, n_envs, hidden) each."""
        return tuple(np.zeros((layers, n_envs, width), np.float32) for layers, width in self.state_shapes)

    def note_actions(self, state: States, actions: np.ndarray) -> None:
        """Writes the actions that are taken, int (n_envs,), into a state."""
        if self.network_kwargs["previous_action"]:
            state[-1][0, :, : self.num_actions] = np.arange(self.num_actions) == actions[:, None]

    def note_rewards(self, state: States, rewards: np.ndarray) -> None:
        """Writes the rewards that came, (n_envs,), into a state, if they are an input."""
        if self.network_kwargs["previous_reward"]:
            state[-1][0, :, -1] = rewards

    def checked_state(self, state: States | None, episode_start: np.ndarray | None, n_envs: int) -> States:
        """A copy of a state, with zeros where an episode starts.

        Raises:
            ValueError: It has another form, or a previous reward is missing in it.
        """
        if state is None:
            return self.initial_state(n_envs)
        wanted = tuple((layers, n_envs, width) for layers, width in self.state_shapes)
        given = tuple(np.shape(each) for each in state) if isinstance(state, (tuple, list)) else type(state).__name__
        if given != wanted:
            raise ValueError(f"state must be a tuple of arrays of shapes {wanted} (layers, observations, hidden), got {given}")
        copied = tuple(np.array(each, np.float32) for each in state)
        if episode_start is not None:
            starts = np.asarray(episode_start, bool).reshape(-1)
            if len(starts) != n_envs:
                raise ValueError(f"episode_start must have an entry for each of {n_envs} observations, got {len(starts)}")
            for each in copied:
                each[:, starts] = 0
        if self.network_kwargs["previous_reward"] and np.isnan(copied[-1]).any():
            raise ValueError(
                "state lacks the previous rewards, an input of this policy (previous_reward=True): write them into it with "
                "agent.note_rewards(state, rewards) after each step; in evaluate_policy with callback=agent.evaluation_callback"
            )
        return copied

    # ------------------------------------------------------------------ acting

    def act(self, observations: np.ndarray | dict[str, np.ndarray], state: States) -> tuple[np.ndarray, States]:
        """Q-values of observations, one for each environment.

        Args:
            observations: (n_envs, …), images channels first.
            state: The state before them.

        Returns:
            Q-values float32 (n_envs, num_actions), and the state after them, which is new but for its last array (previous
            actions and rewards).
        """
        recurrent, n_envs = state[: self.num_recurrent], state[0].shape[1]
        network = self._in_numpy if n_envs <= MOST_ROWS else None
        if network is None:
            values, after = self._act_in_torch(observations, state, n_envs)
        else:
            values, after = network(observations, state[-1][0] if self._last_width else None, recurrent)  # type: ignore[arg-type]
        return values, after + state[self.num_recurrent :]

    def _act_in_torch(self, observations: Any, state: States, n_envs: int) -> tuple[np.ndarray, States]:
        """As :meth:`act`, through PyTorch: any network, any device."""
        states = tuple(th.as_tensor(each, device=self.device) for each in state[: self.num_recurrent])
        actions, rewards = np.full(n_envs, self.num_actions), np.zeros(n_envs, np.float32)
        if self.network_kwargs["previous_action"]:
            one_hot = state[-1][0, :, : self.num_actions]
            actions = np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), self.num_actions)
        if self.network_kwargs["previous_reward"]:
            rewards = state[-1][0, :, -1]
        obs = observations if isinstance(observations, dict) else {"": observations}
        tensors = {key: th.as_tensor(each, device=self.device)[None] for key, each in obs.items()}
        last = th.as_tensor(actions, device=self.device)[None], th.as_tensor(rewards, device=self.device)[None]
        with th.no_grad():
            values, after = self.q_net.unroll(tensors if isinstance(observations, dict) else tensors[""], *last, states)
        return values[0].cpu().numpy(), tuple(each.cpu().numpy() for each in after)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: States | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, States]:
        """Greedy actions.

        Args:
            observation: One observation or several.
            state: The state that the last call returned; None at the start.
            episode_start: Where an episode starts, so that its state begins at 0; bool (n_envs,).
            deterministic: Exploration is the agent's part; see :meth:`mbrl_agents.R2D2.predict`.

        Returns:
            Actions, and the state for the next call.

        Raises:
            ValueError: The state does not fit.
        """
        values, after, vectorized = self._values(observation, state, episode_start)
        actions = values.argmax(axis=1)
        self.note_actions(after, actions)
        self.note_rewards(after, np.full(len(actions), np.nan))
        return actions if vectorized else actions.squeeze(axis=0), after

    def q_values(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: States | None = None,
        episode_start: np.ndarray | None = None,
    ) -> np.ndarray:
        """What the Q-network says, for the arguments of :meth:`predict`.

        Returns:
            float32 (num_actions,) of one observation, (n, num_actions) of several; rescaled values, if such were learned.

        Raises:
            ValueError: The state does not fit.
        """
        values, _, vectorized = self._values(observation, state, episode_start)
        return values if vectorized else values[0]

    def _values(
        self, observation: Any, state: States | None, episode_start: np.ndarray | None
    ) -> tuple[np.ndarray, States, bool]:
        """Q-values (n, num_actions), the state after, and whether there were several observations."""
        self.set_training_mode(False)
        tensors, vectorized = self.obs_to_tensor(observation)
        obs = {key: each.cpu().numpy() for key, each in tensors.items()} if isinstance(tensors, dict) else tensors.cpu().numpy()
        n_envs = len(next(iter(obs.values())) if isinstance(obs, dict) else obs)
        values, after = self.act(obs, self.checked_state(state, episode_start, n_envs))
        return values, after, vectorized

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        raise NotImplementedError("R2D2's policy acts with a state: predict(observation, state, episode_start)")


class MlpLstmPolicy(R2D2Policy):
    """Policy of R2D2 for vectors; arguments as for :class:`R2D2Policy`."""


class CnnLstmPolicy(R2D2Policy):
    """Policy of R2D2 for images: SB3's ``NatureCNN`` before the recurrent layers; arguments as for :class:`R2D2Policy`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **({"features_extractor_class": NatureCNN} | kwargs))


class MultiInputLstmPolicy(R2D2Policy):
    """Policy of R2D2 for dictionaries: SB3's ``CombinedExtractor``; arguments as for :class:`R2D2Policy`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **({"features_extractor_class": CombinedExtractor} | kwargs))
