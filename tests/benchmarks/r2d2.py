"""How fast R2D2 acts and learns, beside a plain loop of the same size, and where the time of a large update goes.

Run as ``OMP_NUM_THREADS=1 python -m tests.benchmarks.r2d2``; prints three tables, with ``--ways`` a fourth one instead. Times
are CPU times of the process on one thread, the smallest of several interleaved repeats. The small network is a GRU of 64
units with three linear layers after it, CartPole-v1, one update of 12 sequences of 15 steps (burn-in 5) after every 10 steps.
The plain loop does with PyTorch alone what cannot be left out: it acts with the network and without gradients, steps
Gymnasium's environment, and for an update runs two such networks over a batch that lies ready, one of them back again, and
Adam; no replay, no monitor, no callbacks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import gymnasium
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from torch import nn

from mbrl_agents.r2d2 import R2D2, recurrence
from mbrl_agents.r2d2.learning import td_errors
from tests.benchmarks.machine import header
from tests.benchmarks.recorded import Recorded

RECORDED = Recorded(
    ("--repeats", "4", "--steps", "1500"),
    quick=("--repeats", "1", "--steps", "100", "--without-large"),
    one_thread=True,
    one_core=True,
)

UPDATE_EVERY, SEQUENCES, BURN_IN, LENGTH, UNITS = 10, 12, 5, 10, 64
SMALL: dict[str, Any] = {
    "learning_rate": 2.5e-4,
    "buffer_size": 10_000,
    "learning_starts": 1000,
    "batch_size": SEQUENCES,
    "gamma": 0.99,
    "train_freq": UPDATE_EVERY,
    "n_steps": 1,
    "burn_in": BURN_IN,
    "sequence_length": LENGTH,
    "overlap": 0,
    "target_update_interval": 500,
    "seed": 0,
    "device": "cpu",
}


def small_agent(n_envs: int = 1, cell: str = "gru", **changes: Any) -> R2D2:
    """The small network, past the start of learning."""
    network = {"cell": cell, "lstm_hidden_size": UNITS, "pre_net_arch": [], "net_arch": [UNITS, UNITS], "dueling": False}
    agent = R2D2("MlpLstmPolicy", make_vec_env("CartPole-v1", n_envs), policy_kwargs=network, **(SMALL | changes))
    return agent.learn(2000)


def learning(num: int, **changes: Any) -> Callable[[], Any]:
    """``num`` steps of an agent."""
    agent = small_agent(**changes)
    return lambda: agent.learn(num, reset_num_timesteps=False)


def plain_loop(num: int, learns: bool) -> Callable[[], Any]:
    """``num`` steps of the plain loop."""

    def network() -> tuple[nn.GRU, nn.Sequential]:
        layers = [nn.Linear(UNITS, UNITS), nn.ReLU(), nn.Linear(UNITS, UNITS), nn.ReLU(), nn.Linear(UNITS, 2)]
        return nn.GRU(4, UNITS), nn.Sequential(*layers)

    (rnn, head), (target_rnn, target_head) = network(), network()
    optimizer = th.optim.Adam([*rnn.parameters(), *head.parameters()], 2.5e-4)
    batch = th.randn(BURN_IN + LENGTH + 1, SEQUENCES, 4)
    env = gymnasium.make("CartPole-v1")
    observation, hidden = env.reset(seed=0)[0], th.zeros(1, 1, UNITS)

    def update() -> None:
        with th.no_grad():
            _, state = rnn(batch[:BURN_IN])
            goal = target_head(target_rnn(batch)[0])[BURN_IN + 1 :].max(-1).values
        values = head(rnn(batch[BURN_IN:-1], state)[0]).max(-1).values
        optimizer.zero_grad()
        nn.functional.mse_loss(values, 1 + 0.99 * goal).backward()
        optimizer.step()

    def run() -> None:
        nonlocal observation, hidden
        for step in range(num):
            with th.no_grad():
                outputs, hidden = rnn(th.from_numpy(observation)[None, None], hidden)
                action = int(head(outputs).argmax())
            observation, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                observation, hidden = env.reset()[0], th.zeros(1, 1, UNITS)
            if learns and step % UPDATE_EVERY == 0:
                update()

    return run


def measure(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Smallest CPU seconds of each, taken in turns."""
    best = dict.fromkeys(functions, np.inf)
    for _ in range(repeats):
        for name, function in functions.items():
            began = time.process_time()
            function()
            best[name] = min(best[name], time.process_time() - began)
    return best


def large_update(cell: str = "lstm") -> dict[str, Callable[[], Any]]:
    """An update of 64 sequences of 40 + 80 steps with 512 units, and its parts."""
    space = spaces.Box(-1, 1, (64,), np.float32)

    class Still(gymnasium.Env):
        observation_space, action_space = space, spaces.Discrete(18)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            return space.sample(), {}

        def step(self, action: Any) -> Any:
            return space.sample(), 1.0, False, False, {}

    network = {"cell": cell, "lstm_hidden_size": 512}
    agent = R2D2("MlpLstmPolicy", Still(), policy_kwargs=network, learning_starts=10**6, seed=0, device="cpu").learn(3000)
    buffer, nets = agent.replay_buffer, (agent.policy.q_net, agent.policy.q_net_target)
    batch = buffer.sample(64, None, 0.6)
    inputs, parameters = (
        (batch.observations, batch.previous_actions, batch.previous_rewards, batch.states),
        list(nets[0].parameters()),
    )

    def errors() -> th.Tensor:
        return td_errors(*nets, batch, agent.layout, gamma=0.997, double_q=True, rescaling=1e-3)

    def target() -> None:
        with th.no_grad():
            nets[1].unroll(*inputs)

    def optimise() -> None:
        th.nn.utils.clip_grad_norm_(parameters, 40.0)
        agent.policy.optimizer.step()

    return {
        "the whole update": lambda: agent.train(1, 64),
        "drawing sequences": lambda: buffer.sample(64, None, 0.6),
        "target network, forward": target,
        "network, forward": lambda: nets[0].unroll(*inputs, agent.layout.burn_in, batch.num_from_start, agent.layout.n_steps),
        "both forward, and TD errors": errors,
        "the same, and the gradient": lambda: th.autograd.grad(errors().square().sum(), parameters),
        "clipping and Adam": optimise,
    }


# Networks and sequences of which both ways are about as quick: cell, units, sequences, steps that are trained on.
WAYS = [
    *(("gru", 64, 64, 10), ("gru", 64, 32, 80), ("gru", 256, 64, 10), ("gru", 256, 32, 80)),
    *(("lstm", 64, 16, 10), ("lstm", 64, 32, 10), ("lstm", 64, 16, 42), ("lstm", 64, 32, 42), ("lstm", 256, 64, 10)),
]


def update_each_way(cell: str, units: int, sequences: int, length: int) -> dict[str, Callable[[], Any]]:
    """An update: all in NumPy, only the recurrent layers there (under autograd), all in PyTorch."""
    network = {"cell": cell, "lstm_hidden_size": units, "pre_net_arch": [], "net_arch": [units], "dueling": True}
    sizes = SMALL | {"sequence_length": length, "n_steps": 2, "learning_starts": 10**6, "batch_size": sequences}
    agent = R2D2("MlpLstmPolicy", make_vec_env("CartPole-v1"), policy_kwargs=network, **sizes).learn(5000)
    agent.train(1, sequences)

    def update(most: int, whole: bool) -> None:
        with mock.patch.dict(recurrence.MOST_UNITS, dict.fromkeys(recurrence.MOST_UNITS, most)):
            if whole:
                agent.train(1, sequences)
            else:
                with mock.patch.object(agent.policy, "networks_in_numpy", return_value=None):
                    agent.train(1, sequences)

    return {"NumPy": lambda: update(10**9, True), "layers": lambda: update(10**9, False), "PyTorch": lambda: update(0, True)}


def ways(repeats: int) -> None:
    """Prints which way is quicker at which size."""
    print("\n| network | sequences | NumPy | layers in NumPy | PyTorch |\n|---|---|---|---|---|")
    for cell, units, sequences, length in WAYS:
        functions = update_each_way(cell, units, sequences, length)
        measure(functions, 3)
        row = " | ".join(f"{1e3 * seconds:.1f}" for seconds in measure(functions, 10 * repeats).values())
        print(f"| {cell.upper()} {units} | {sequences} of {BURN_IN} + {length} | {row} |", flush=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--without-large", action="store_true")
    parser.add_argument("--ways", action="store_true", help="only an update's time (ms) in NumPy and in PyTorch, by size")
    options = parser.parse_args()
    th.set_num_threads(1)
    print(header("torch", "stable-baselines3", "numpy"))
    if options.ways:
        ways(options.repeats)
        return
    num = options.steps
    acting = {
        "plain loop, 1 environment": plain_loop(num, learns=False),
        **{f"R2D2, {n}" + " environment" + "s" * (n > 1): learning(num, n_envs=n, gradient_steps=0) for n in (1, 8)},
    }
    learns = {
        "plain loop, GRU": plain_loop(num, learns=True),
        "R2D2, GRU": learning(num),
        "R2D2, LSTM": learning(num, cell="lstm"),
        "R2D2, GRU, 8 environments, updates as often": learning(num, n_envs=8, train_freq=1, gradient_steps=1),
    }
    best = measure(acting | learns, options.repeats)
    for title, functions in {"acting only": acting, "one update per 10 steps (8 with 8 environments)": learns}.items():
        print(f"{title}\n\n| | µs of CPU time per step | steps/s of CPU time |\n|---|---|---|")
        print("\n".join(f"| {name} | {best[name] / num * 1e6:.0f} | {num / best[name]:,.0f} |" for name in functions), "\n")
    if not options.without_large:
        print("64 sequences of 40 + 80 steps, LSTM 512, features 64\n\n| | ms of CPU time |\n|---|---|")
        parts = large_update()
        best = measure(parts, 3)
        print("\n".join(f"| {name} | {best[name] * 1e3:.0f} |" for name in parts))


if __name__ == "__main__":
    main()
