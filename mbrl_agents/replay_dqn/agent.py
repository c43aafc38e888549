"""Replay DQN behind Stable-Baselines3's interface."""

from __future__ import annotations

from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.replay_dqn.learner import DQNLearner
from mbrl_agents.sb3 import settings
from mbrl_agents.sb3.arguments import argument
from mbrl_agents.sb3.q_agent import QAgent


class ReplayDQN(QAgent[DQNLearner]):
    """Deep Q-learning from uniform experience replay.

    The model-free agent of *The Benefits of Model-Based Generalization in RL* (arXiv 2211.02222), with its settings as
    defaults: softmax exploration, squared TD error ``(r + γ·max_a Q⁻(s′, a) − Q(s, a))²``, AdamW whose decay is not multiplied
    by the step size, three hidden layers of 200 ELUs. Truncated episodes bootstrap from their last observation, terminated ones
    do not.

    On functional environments (``mbrl/…``) ``learn()`` runs as one compiled program, on all others in SB3's own loop.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment's spaces do not fit.
    """

    batch_size: int = argument(settings.BATCH_SIZE, default=320)
    n_steps: int = argument(settings.N_STEPS, default=1, after="gradient_steps")

    def _make_learner(self, codec: ObservationCodec, actions: ActionCodec) -> DQNLearner:
        return DQNLearner(codec, self._q_learning(codec.num_features, actions.num_actions))
