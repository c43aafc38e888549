"""Model-based DQN: perfect, simple and latent world models."""

from mbrl_agents.model_dqn.latent_agent import LatentModelDQN
from mbrl_agents.model_dqn.learner import ModelDQNLearner, ModelDQNState
from mbrl_agents.model_dqn.perfect_agent import PerfectModelDQN
from mbrl_agents.model_dqn.simple_agent import SimpleModelDQN

__all__ = ["LatentModelDQN", "ModelDQNLearner", "ModelDQNState", "PerfectModelDQN", "SimpleModelDQN"]
