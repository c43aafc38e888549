"""Model-based DQN: perfect, simple and latent world models."""

from mbrl_agents.model_dqn.agent import LatentModelDQN, PerfectModelDQN, SimpleModelDQN
from mbrl_agents.model_dqn.learner import ModelDQNLearner, ModelDQNState

__all__ = ["LatentModelDQN", "ModelDQNLearner", "ModelDQNState", "PerfectModelDQN", "SimpleModelDQN"]
