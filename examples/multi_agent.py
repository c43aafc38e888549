"""Two players learn one flute: replay DQN with shared parameters beside SB3's PPO, between the uniform and the best policy.

Run as ``python examples/multi_agent.py`` (``--quick`` for a minute's worth, with a smaller flute). Each player sees the flute
and its own number, one network acts for both, and both get the reward. Writes ``results.csv`` (a row for each agent, seed and
evaluation) and ``curves.png`` into a folder. A timestep is one player's step: two of them are a step of the environment.
"""

import argparse
import pathlib
import time

import pandas as pd
from matplotlib import pyplot
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps

from mbrl_agents import train_sweep
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.evaluation import Evaluator
from mbrl_envs import FunctionalVecEnv
from mbrl_envs.multi_agent import CoopPanFlute
from mbrl_envs.yardsticks import normalised_score, optimal_score, uniform_score

STEPS = 100  # of an evaluation, as for all environments of the study
POINTS = 20
DQN_ARGUMENTS = {"learning_rate": 3e-4, "temperature": 0.1, "batch_size": 128}
PPO_ARGUMENTS = {"gamma": 0.9, "n_steps": 64}  # SB3's defaults, but for the study's discount and shorter rollouts
PPO_ENVS = 8


class Curve(BaseCallback):
    """Takes down a policy's score."""

    def __init__(self, evaluator: Evaluator, seed: int) -> None:
        """For evaluations in which every policy with this seed plays the same episodes."""
        super().__init__()
        self.evaluator, self.eval_seed = evaluator, seed
        self.points: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        scores = self.evaluator.scores(self.model, self.eval_seed, self.num_timesteps)
        self.points.append((self.num_timesteps, float(scores.mean())))
        return True


def replay_dqn(env: CoopPanFlute, total: int, seeds: int) -> pd.DataFrame:
    """Scores of replay DQN in the device loop, all seeds in one program: columns seed, timestep, score."""
    result = train_sweep(
        "ReplayDQN", env, DQN_ARGUMENTS, seeds=seeds, total_timesteps=total, eval_interval=total // POINTS, eval_steps=STEPS
    )
    table = result.table()
    scores = table[table["metric"] == "score"]
    return scores.rename(columns={"value": "score"})[["seed", "timestep", "score"]].assign(agent="ReplayDQN")


def ppo(env: CoopPanFlute, total: int, seeds: int) -> pd.DataFrame:
    """The same of Stable-Baselines3's PPO."""
    evaluator, rows = Evaluator(EnvironmentSpec.of(env), steps=STEPS), []
    for seed in range(seeds):
        curve = Curve(evaluator, seed)
        model = PPO("MlpPolicy", FunctionalVecEnv(env, PPO_ENVS), seed=seed, device="cpu", **PPO_ARGUMENTS)
        model.learn(total, callback=EveryNTimesteps(total // POINTS, curve))
        rows += [(seed, timestep, score, "PPO") for timestep, score in curve.points]
    return pd.DataFrame(rows, columns=["seed", "timestep", "score", "agent"])


def draw(results: pd.DataFrame, path: pathlib.Path) -> None:
    """One panel for each flute: a thin line for each seed, a thick one for their mean."""
    flutes = results["pipes"].unique()
    figure, panels = pyplot.subplots(1, len(flutes), figsize=(5.5 * len(flutes), 4), layout="constrained", squeeze=False)
    for axes, pipes in zip(panels[0], flutes, strict=True):
        env = CoopPanFlute(num_pipes=int(pipes))
        for agent, colour in (("ReplayDQN", "#0072B2"), ("PPO", "#D55E00")):
            curves = results[(results["pipes"] == pipes) & (results["agent"] == agent)]
            table = curves.pivot(index="timestep", columns="seed", values="score")
            axes.plot(table, color=colour, alpha=0.35, linewidth=1)
            axes.plot(table.mean(axis=1), color=colour, linewidth=2.5, label=f"{agent}, mean of {table.shape[1]} seeds")
        axes.axhline(optimal_score(env, steps=STEPS), color="black", linestyle="--", label="best policy, exact")
        axes.axhline(uniform_score(env, steps=STEPS), color="grey", linestyle=":", label="uniform policy, exact")
        title = f"Two players, {pipes} pipes"
        axes.set(xlabel="timesteps (of one player)", ylabel="reward per step", title=title, ylim=(0, None))
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two pipes, one seed, 2000 timesteps")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--total-timesteps", type=int, default=40_000)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("multi_agent"))
    options = parser.parse_args()
    flutes, seeds, total = ((2,), 1, 2000) if options.quick else ((3, 5), options.seeds, options.total_timesteps)

    options.out.mkdir(parents=True, exist_ok=True)
    results = pd.DataFrame()
    for pipes in flutes:
        env = CoopPanFlute(num_pipes=pipes)
        low, high = uniform_score(env, steps=STEPS), optimal_score(env, steps=STEPS)
        print(f"{pipes} pipes, 2 players: uniform policy {low:.4f}, best {high:.4f} reward per step")
        for train in (replay_dqn, ppo):
            began = time.perf_counter()
            curves = train(env, total, seeds).assign(pipes=pipes)
            results = pd.concat([results, curves], ignore_index=True)
            by_seed = curves.sort_values("timestep").groupby("seed")["score"]
            final, late = by_seed.last(), by_seed.apply(lambda scores: scores.tail(5).mean()).mean()
            each = ", ".join(f"{score:.3f}" for score in final)
            print(
                f"  {curves['agent'].iloc[0]}: last score {final.mean():.3f} ({each}), mean of the last five evaluations "
                f"{late:.3f}, normalised {normalised_score(env, late, steps=STEPS):.2f}; "
                f"{time.perf_counter() - began:.0f} s",
                flush=True,
            )
            results[["pipes", "agent", "seed", "timestep", "score"]].round(5).to_csv(options.out / "results.csv", index=False)
    draw(results, options.out / "curves.png")
    print(f"results.csv and curves.png in {options.out}")


if __name__ == "__main__":
    main()
