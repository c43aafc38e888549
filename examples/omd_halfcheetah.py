"""Soft actor-critic on HalfCheetah: from real steps, or from small models trained for likelihood or for return?

Run as ``python examples/omd_halfcheetah.py`` (``--quick`` for two minutes' worth; needs ``pip install "mbrl-lab[mujoco]"``).
Stable-Baselines3's SAC (``sac``), OMDSAC without a model (``none``: the same algorithm), and OMDSAC on models with 64 units in
each of two layers, all with the same settings, if asked for with numbers that mean nothing appended to what is seen:

* ``mle``: a model trained by likelihood; one step of everything in each update.
* ``omd``: a model trained for return with the update and the networks of the preset ``omd-halfcheetah-small-model``, as
  published (arXiv 2106.03273): one inner step, the identity for the inverse Hessian. (``mbrl compare --preset
  omd-halfcheetah-small-model`` has all published settings: target entropy, random steps, a million steps.)
* ``omd5``, ``mle5``: five steps of the critics in each update; for ``omd5`` ten conjugate gradients on the Hessian.
* ``omd3``: OMDSAC's defaults, three steps of the critics and the Gauss–Newton matrix.

A comparison in a folder: the same command, stopped, goes on with the runs that are not finished. Writes ``results.csv``,
``curves.csv`` and ``curves.png``. A run of 100 000 steps takes ten minutes to an hour on an idle core; to compare with the
published curves give ``--steps 1000000``.
"""

import argparse
import pathlib
from typing import Any

from rich.console import Console

from mbrl_agents.experiments import plots, results
from mbrl_agents.experiments.comparison import Comparison, Contestant
from mbrl_agents.runs.environments import EnvironmentSpec

PUBLISHED = {"inner_steps": 1, "inner_loop": "all", "solver": "identity", "model_trunk": "shared", "initializer": "orthogonal"}
OMDSACS: dict[str, dict[str, Any]] = {
    "none": {"model_loss": "none"},
    "mle": {"model_loss": "mle"},
    "omd": {"model_loss": "omd"} | PUBLISHED,
    "mle5": {"model_loss": "mle", "inner_steps": 5},
    "omd5": {"model_loss": "omd", "inner_steps": 5, "solver": "cg", "solver_steps": 10, "damping": 1e-5},
    "omd3": {"model_loss": "omd"},
}
AGENTS = ("sac", *OMDSACS)
ENV_ID = "HalfCheetah-v5"


def contestant(label: str, options: argparse.Namespace) -> Contestant:
    """An agent by its label; target entropy and random steps are those of all."""
    starts = min(10_000, options.steps // 10) if options.learning_starts is None else options.learning_starts
    common = {"target_entropy": options.target_entropy, "learning_starts": starts}
    if label == "sac":
        return Contestant(label, "SAC", common)
    size = options.model_size
    return Contestant(label, "OMDSAC", common | {"model_net_arch": [size, size]} | OMDSACS[label])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--distractors", type=int, default=0, help="numbers that mean nothing (default: %(default)s)")
    parser.add_argument("--model-size", type=int, default=64, help="units in each layer of the model (default: %(default)s)")
    parser.add_argument("--target-entropy", type=float, default=-6.0, help="SAC's usual −6; published for OMD is −3")
    parser.add_argument("--learning-starts", type=int, help="random steps (default: a tenth of all, at most 10000)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="1 seed, 300 steps, 1 episode an evaluation")
    parser.add_argument("--out", default="runs/omd_halfcheetah", help="folder (default: %(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.steps = 1, 300
    environment = EnvironmentSpec(ENV_ID)
    if options.distractors:
        environment = EnvironmentSpec("mbrl/Distracted-v0", {"env_id": ENV_ID, "num_distractors": options.distractors})
    folder = pathlib.Path(options.out)
    comparison = Comparison(
        folder,
        [contestant(label, options) for label in options.agents],
        environment,
        range(options.seeds),
        steps=options.steps,
        eval_interval=min(5000, options.steps // 2),
        eval_episodes=1 if options.quick else 10,
    )
    comparison.train(options.jobs)
    if runs := comparison.runs():
        results.show(results.write_results(runs, folder), runs, Console())
        plots.plot_curves(runs, folder / "curves.png")
        print(f"{folder}: results.csv, curves.csv, curves.png, and a folder for each run")


if __name__ == "__main__":
    main()
