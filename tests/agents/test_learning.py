"""Replay DQN at the study's size, on its quickest task."""

from __future__ import annotations

import gymnasium
import jax
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps

from mbrl_agents import ReplayDQN
from mbrl_envs import PanFlute
from mbrl_envs.yardsticks import optimal_score, uniform_score


class Scores(BaseCallback):
    """Mean greedy reward per step over 32 × 100 steps."""

    def __init__(self, env: PanFlute) -> None:
        super().__init__()
        self.env, self.scores = env, []

    def _on_step(self) -> bool:
        agent = self.model
        key = jax.random.fold_in(jax.random.PRNGKey(99), self.num_timesteps)
        scores = agent.learner.evaluate(self.env, agent.learner_state, key, agent.exploration_at(), 32, 100)["score"]
        self.scores.append((self.num_timesteps, float(np.mean(scores))))
        return True


def best_by(pipes: int, seed: int, steps: int) -> list[tuple[int, float]]:
    env = PanFlute(num_pipes=pipes)
    gym_env = gymnasium.make("mbrl/PanFlute-v0", num_pipes=pipes, max_episode_steps=-1)
    agent = ReplayDQN("MlpPolicy", gym_env, learning_rate=1e-4, temperature=0.1, seed=seed)
    scores = Scores(env)
    agent.learn(steps, callback=EveryNTimesteps(1000, scores))
    return scores.scores


@pytest.mark.slow
def test_three_pipes_are_learned_quickly() -> None:
    """Half-way from the uniform policy to the optimum within 5000 steps, on average over the last evaluations."""
    scores = best_by(3, seed=0, steps=5000)
    low, high = uniform_score(PanFlute(3), steps=100), optimal_score(PanFlute(3), steps=100)
    assert np.mean([score for _, score in scores[-2:]]) > (low + high) / 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_five_pipes_reach_the_published_level(seed: int) -> None:
    """REFERENCE section 2: near 0.22 reward per step by 12 000 steps; asked for: at least 0.20 by 15 000."""
    scores = best_by(5, seed, 15_000)
    print(f"seed {seed}:", " ".join(f"{step}:{score:.3f}" for step, score in scores))
    assert scores[-1][1] >= 0.20
