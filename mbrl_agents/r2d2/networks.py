"""The recurrent Q-network: what it computes on whole batches of sequences."""

from __future__ import annotations

from typing import Any, cast

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from mbrl_agents.r2d2 import recurrence
from mbrl_agents.r2d2.numpy_recurrence import Learned

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
States = tuple[th.Tensor, ...]


class RecurrentQNetwork(BasePolicy):
    """Action values from sequences of observations.

        observation → features extractor → ``pre_net_arch`` ─┐
        previous action (one-hot), previous reward ──────────┴→ LSTM or GRU → ``net_arch`` → V and A → Q = V + A − mean A

    The last step is the dueling head (Wang et al. 2016, arXiv 1511.06581); without it the layers end in Q. Sequences never
    cross an episode's end, so the recurrent state need not be reset within them: each layer sees a whole batch in one call.

    Args:
        observation_space: Observation space.
        action_space: Discrete action space.
        features_extractor: SB3's features extractor.
        features_dim: Its number of features.
        pre_net_arch: Units of the layers before the recurrent ones.
        net_arch: Units of the layers after them.
        activation_fn: Activation of these layers.
        cell: ``"lstm"`` or ``"gru"``.
        hidden_size: Units of a recurrent layer.
        num_layers: Number of recurrent layers.
        forget_bias: Bias, before learning, of the gates that keep the state.
        dueling: Whether there is a dueling head.
        previous_action: Whether the previous action is an input.
        previous_reward: Whether the previous reward is one.
        normalize_images: Whether images are divided by 255.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        pre_net_arch: list[int],
        net_arch: list[int],
        activation_fn: type[nn.Module],
        cell: str,
        hidden_size: int,
        num_layers: int,
        forget_bias: float,
        dueling: bool,
        previous_action: bool,
        previous_reward: bool,
        normalize_images: bool = True,
    ) -> None:
        super().__init__(
            observation_space, action_space, features_extractor=features_extractor, normalize_images=normalize_images
        )
        self.num_actions = int(action_space.n)
        self.previous_action, self.previous_reward = previous_action, previous_reward
        self.pre_net = nn.Sequential(*create_mlp(features_dim, -1, pre_net_arch, activation_fn))
        width = ([features_dim, *pre_net_arch])[-1] + previous_action * self.num_actions + previous_reward
        self.rnn = CELLS[cell](int(width), hidden_size, num_layers)
        self._keep_states(forget_bias)
        self.post_net = nn.Sequential(*create_mlp(hidden_size, -1, net_arch, activation_fn))
        width = [hidden_size, *net_arch][-1]
        self.advantages = nn.Linear(width, self.num_actions)
        self.value = nn.Linear(width, 1) if dueling else None
        one_hot = th.cat([th.eye(self.num_actions), th.zeros(1, self.num_actions)])  # the last row: no previous action
        self.register_buffer("_one_hot", one_hot, persistent=False)

    def _keep_states(self, bias: float) -> None:
        """Sets the bias of the forget gates (LSTM: f of i, f, g, o) or update gates (GRU: z of r, z, n), the second ones."""
        gate = slice(self.rnn.hidden_size, 2 * self.rnn.hidden_size)
        for name, parameter in self.rnn.named_parameters():
            if name.startswith("bias"):  # there are two, which are added up
                with th.no_grad():
                    parameter[gate] = bias / 2

    @property
    def state_shapes(self) -> tuple[tuple[int, int], ...]:
        """(layers, hidden) of each array of the recurrent state: two for an LSTM (h, c), one for a GRU."""
        return ((self.rnn.num_layers, self.rnn.hidden_size),) * (2 if isinstance(self.rnn, nn.LSTM) else 1)

    def unroll(
        self,
        observations: PyTorchObs,
        previous_actions: th.Tensor,
        previous_rewards: th.Tensor,
        states: States,
        burn_in: int = 0,
        num_from_start: int | None = None,
        only_looked_at: int = 0,
    ) -> tuple[th.Tensor, States]:
        """Q-values of every step of a batch of sequences.

        No gradient flows through the burn-in: neither into its outputs nor, through the state, from later ones. Nor does any
        flow from the last steps if they are only looked at (to bootstrap from): there is none, and computing that costs time.

        Args:
            observations: (T, B, …), or a dictionary of such.
            previous_actions: int64 (T, B), ``num_actions`` for none.
            previous_rewards: (T, B).
            states: Recurrent states before the first step, (layers, B, hidden) each.
            burn_in: Steps of burn-in.
            num_from_start: The first so many sequences begin with their episode and have no burn-in; None if there is neither
                burn-in nor anything only looked at.
            only_looked_at: Steps at the end whose values get no gradient.

        Returns:
            Q-values (T, B, num_actions), and the states after the last step, whose gradient is not to be relied on.
        """
        length, batch = previous_actions.shape
        flat = {key: obs.flatten(0, 1) for key, obs in observations.items()} if isinstance(observations, dict) else None
        features = self.extract_features(flat or observations.flatten(0, 1), self.features_extractor)  # type: ignore[union-attr]
        inputs = [self.pre_net(features).view(length, batch, -1)]
        if self.previous_action:
            inputs.append(cast(th.Tensor, self._one_hot)[previous_actions])
        if self.previous_reward:
            inputs.append(previous_rewards[..., None])
        x = th.cat(inputs, dim=-1)
        if num_from_start is None:
            num_from_start = batch
        if recurrence.is_small(self.rnn, batch) and not any(state.requires_grad for state in states):
            learned = Learned(burn_in, num_from_start, length - only_looked_at)
            outputs, states = recurrence.recur(self.rnn, x, states, learned)
        elif th.is_grad_enabled():
            outputs, states = self._recur_in_parts(x, states, burn_in, num_from_start, only_looked_at)
        else:
            outputs, states = self._recur(x, states)
        return self.heads(outputs), states

    def _recur_in_parts(
        self, x: th.Tensor, states: States, burn_in: int, num_from_start: int, only_looked_at: int
    ) -> tuple[th.Tensor, States]:
        """As :meth:`_recur`: burn-in without gradient, steps with one, steps that are only looked at without."""
        learned_until, parts = len(x) - only_looked_at, []
        if num_from_start == x.shape[1]:
            burn_in = 0
        if burn_in:
            outputs, states = self._recur_burn_in(x[:burn_in], states, num_from_start)
            parts.append(outputs)
        outputs, states = self._recur(x[burn_in:learned_until], states)
        parts.append(outputs)
        if only_looked_at:
            with th.no_grad():
                outputs, states = self._recur(x[learned_until:], states)
            parts.append(outputs)
        return th.cat(parts), states

    def _recur_burn_in(self, x: th.Tensor, states: States, num_from_start: int) -> tuple[th.Tensor, States]:
        """As :meth:`_recur`, with gradient only for the sequences that begin with their episode."""
        with th.no_grad():
            outputs, after = self._recur(x[:, num_from_start:], tuple(state[:, num_from_start:] for state in states))
        if num_from_start:
            own, own_after = self._recur(x[:, :num_from_start], tuple(state[:, :num_from_start] for state in states))
            outputs = th.cat([own, outputs], dim=1)
            after = tuple(th.cat(pair, dim=1) for pair in zip(own_after, after, strict=True))
        return outputs, after

    def _recur(self, x: th.Tensor, states: States) -> tuple[th.Tensor, States]:
        """Recurrent layers over (T, B, inputs): outputs (T, B, hidden), and states."""
        states = tuple(state.contiguous() for state in states)
        if len(states) == 1:
            outputs, after = self.rnn(x, states[0])
            return outputs, (after,)
        return self.rnn(x, states)

    def heads(self, outputs: th.Tensor) -> th.Tensor:
        """Q-values (…, num_actions) of outputs (…, hidden) of the recurrent layers."""
        latent = self.post_net(outputs)
        advantages = self.advantages(latent)
        if self.value is None:
            return advantages
        return self.value(latent) + advantages - advantages.mean(dim=-1, keepdim=True)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        raise NotImplementedError("a recurrent network acts through its policy, which keeps its state: R2D2Policy.predict")

    def _get_constructor_parameters(self) -> dict[str, Any]:
        raise NotImplementedError("a Q-network is saved with its policy")
