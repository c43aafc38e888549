"""Replay DQN: the model-free agent."""

from mbrl_agents.replay_dqn.agent import ReplayDQN
from mbrl_agents.replay_dqn.learner import DQNLearner, DQNState

__all__ = ["DQNLearner", "DQNState", "ReplayDQN"]
