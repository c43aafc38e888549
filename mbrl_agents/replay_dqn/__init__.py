"""Replay DQN: the model-free agent."""

from mbrl_agents.replay_dqn.agent import ReplayDQN
from mbrl_agents.replay_dqn.learner import DQNHyperparameters, DQNLearner, DQNState

__all__ = ["DQNHyperparameters", "DQNLearner", "DQNState", "ReplayDQN"]
