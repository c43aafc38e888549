"""Replay DQN on PanFlute: from the uniform policy's 0.04 reward per step to the optimum's 0.22, in half a minute.

Run as ``python examples/replay_dqn.py`` (``--quick`` for a few seconds); writes ``replay_dqn.png``.
"""

import argparse

import gymnasium
import jax
import numpy as np
from matplotlib import pyplot
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps

import mbrl_envs
from mbrl_agents import ReplayDQN
from mbrl_envs.yardsticks import optimal_score, uniform_score

EPISODES, STEPS = 32, 100


class Curve(BaseCallback):
    """Takes down the greedy policy's mean reward per step."""

    def __init__(self, env: mbrl_envs.FunctionalEnv) -> None:
        """For evaluation in ``env``."""
        super().__init__()
        self.env = env
        self.points: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        key = jax.random.PRNGKey(self.num_timesteps)
        agent = self.model
        explore = agent.exploration_at()
        scores = agent.learner.evaluate(self.env, agent.learner_state, key, explore, EPISODES, STEPS)["score"]
        self.points.append((self.num_timesteps, float(np.mean(scores))))
        print(f"{self.num_timesteps:6d} steps: {self.points[-1][1]:.3f} reward per step", flush=True)
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three pipes, 3000 steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="replay_dqn.png")
    options = parser.parse_args()

    pipes, total = (3, 3000) if options.quick else (5, 15_000)
    dynamics = mbrl_envs.PanFlute(num_pipes=pipes)
    env = gymnasium.make("mbrl/PanFlute-v0", num_pipes=pipes, max_episode_steps=-1)
    agent = ReplayDQN("MlpPolicy", env, learning_rate=1e-4, temperature=0.1, warmup="policy", seed=options.seed)  # the study's
    curve = Curve(dynamics)
    agent.learn(total, callback=EveryNTimesteps(total // 15, curve))

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(*zip(*curve.points, strict=True), marker="o", label="replay DQN")
    axes.axhline(optimal_score(dynamics, steps=STEPS), color="black", linestyle="--", label="best policy, exact")
    axes.axhline(uniform_score(dynamics, steps=STEPS), color="grey", linestyle=":", label="uniform policy, exact")
    axes.set(xlabel="environment steps", ylabel="reward per step", title=f"PanFlute with {pipes} pipes", ylim=(0, None))
    axes.legend()
    figure.savefig(options.out, dpi=150)
    print(f"learning curve in {options.out}")


if __name__ == "__main__":
    main()
