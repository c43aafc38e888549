"""Agents that learn models, remember, or learn by temporal differences, behind Stable-Baselines3's interface."""

from mbrl_agents.replay_dqn import ReplayDQN

__all__ = ["ReplayDQN"]
