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
``curves.csv``, ``table.csv`` and ``curves.png``. A run of 100 000 steps takes ten minutes to an hour on an idle core; to
compare with the published curves give ``--total-timesteps 1000000``.
"""

import argparse
import contextlib
import pathlib
from typing import Any

from rich.console import Console

from mbrl_agents import SweepResult, train_sweep
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


def setting(label: str, options: argparse.Namespace) -> dict[str, Any]:
    """An agent and its arguments, by its label; target entropy and random steps are those of all."""
    starts = min(10_000, options.total_timesteps // 10) if options.learning_starts is None else options.learning_starts
    common = {"label": label, "target_entropy": options.target_entropy, "learning_starts": starts}
    if label == "sac":
        return common | {"agent": "SAC"}
    size = options.model_size
    return common | {"agent": "OMDSAC", "model_net_arch": [size, size]} | OMDSACS[label]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--total-timesteps", type=int, default=100_000)
    parser.add_argument("--distractors", type=int, default=0, help="numbers that mean nothing (default: %(default)s)")
    parser.add_argument("--model-size", type=int, default=64, help="units in each layer of the model (default: %(default)s)")
    parser.add_argument("--target-entropy", type=float, default=-6.0, help="SAC's usual −6; published for OMD is −3")
    parser.add_argument("--learning-starts", type=int, help="random steps (default: a tenth of all, at most 10000)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="1 seed, 300 steps, 1 episode an evaluation")
    parser.add_argument("--out", default="runs/omd_halfcheetah", help="folder (default: %(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.total_timesteps = 1, 300
    environment = EnvironmentSpec(ENV_ID)
    if options.distractors:
        environment = EnvironmentSpec("mbrl/Distracted-v0", {"env_id": ENV_ID, "num_distractors": options.distractors})
    folder = pathlib.Path(options.out)
    with contextlib.suppress(KeyboardInterrupt):  # what there is is saved, and shown
        train_sweep(
            None,
            environment,
            [setting(label, options) for label in options.agents],
            options.seeds,
            total_timesteps=options.total_timesteps,
            eval_interval=min(5000, options.total_timesteps // 2),
            eval_episodes=1 if options.quick else 10,
            folder=folder,
            n_jobs=options.jobs,
            save_replay=False,
            progress_bar=True,
            keep_going=True,
        )
    result = SweepResult.open(folder)
    if result.runs()["state"].eq("finished").any():
        print(f"{folder}: {', '.join(result.write())}, and a folder for each run")
        result.show(Console())


if __name__ == "__main__":
    main()
