"""What automatic resets cost in a vectorised ProcMaze.

Run as ``python -m tests.benchmarks.environments``. 1024 lanes, one compiled scan; million steps per second of the same dynamics
without resets, with the package's prepared resets, and with a maze drawn in every lane on every step as in the published code.
All are measured in turns in one run, from a steady state; the best of many short repeats counts.

The optimal policy's actions are recorded beforehand: as lanes are deterministic, playing them back gives the same episodes at
no cost for the policy, which would hide that of the resets. Without resets the same actions are played, wherever they lead.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_envs import BatchedEnv, ProcMaze, bitboard, maze
from mbrl_envs import lane as lanes
from tests.benchmarks.machine import header
from tests.benchmarks.recorded import Recorded

RECORDED = Recorded(("--steps", "400", "--repeats", "7"), quick=("--steps", "10", "--repeats", "1"))

NUM_ENVS, LIMIT = 1024, 1000


def optimal_action(env: ProcMaze, state: Any) -> jax.Array:
    """The first move of a shortest path, by breadth-first search from the goal on boards; the no-op on the goal."""
    n, cells = env.grid_size, env.num_cells
    steps = maze._steps(n)
    is_open = tuple(state.open[i] for i in range(state.open.shape[0]))
    player, goal = bitboard.one_hot(state.position, cells), bitboard.one_hot(state.goal, cells)

    def grow(carry: tuple[Any, Any]) -> tuple[Any, Any]:
        reached, _ = carry
        beside = functools.reduce(bitboard.union, [step(reached) for step in steps])
        return bitboard.union(reached, bitboard.intersection(beside, is_open)), reached

    def missing(carry: tuple[Any, Any]) -> jax.Array:
        return ~bitboard.any_cell(bitboard.intersection(carry[0], player))

    _, nearer = jax.lax.while_loop(missing, grow, (goal, goal))
    leads = jnp.stack([bitboard.any_cell(bitboard.intersection(step(player), nearer)) for step in steps])
    return jnp.where(state.position == state.goal, 0, 1 + jnp.argmax(leads)).astype(jnp.int32)


def recorded_actions(batched: BatchedEnv, state: Any, num: int) -> tuple[Any, jax.Array]:
    """Plays the optimal policy from a state on: the state after ``num`` steps, and the actions after it, int32 (num, lanes)."""

    def step(state: Any, _: None) -> tuple[Any, jax.Array]:
        action = jax.vmap(functools.partial(optimal_action, batched.env))(state.lanes.state)
        return batched.step(state, action)[0], action

    play = jax.jit(lambda state: jax.lax.scan(step, state, None, num))
    steady = play(state)[0]
    return steady, jax.block_until_ready(play(steady)[1])


def with_resets(batched: BatchedEnv) -> Callable[[Any, jax.Array], Any]:
    """A scan of steps with automatic resets; observations and rewards are all computed."""

    def step(state: Any, action: jax.Array) -> tuple[Any, Any]:
        state, out = batched.step(state, action)
        return state, (out.observation.sum(dtype=jnp.uint8), out.reward.sum(), out.terminated.sum())

    return jax.jit(lambda state, actions: jax.lax.scan(step, state, actions))


def without_resets(env: ProcMaze) -> Callable[[Any, jax.Array], Any]:
    """The same without resets: an episode that has ended goes on."""

    def step(batch: Any, action: jax.Array) -> tuple[Any, Any]:
        batch, out = jax.vmap(functools.partial(lanes.advance, env))(batch, action)
        observation = jax.vmap(env.observe)(batch.state)
        return batch, (observation.sum(dtype=jnp.uint8), out.reward.sum(), out.terminated.sum())

    return jax.jit(lambda batch, actions: jax.lax.scan(step, batch, actions))


def rates(programs: dict[str, tuple[Callable, Any, jax.Array]], repeats: int) -> dict[str, float]:
    """Million steps per second of each program, the best of repeats taken in turns."""
    best = dict.fromkeys(programs, 0.0)
    for function, state, actions in programs.values():
        jax.block_until_ready(function(state, actions))
    for _ in range(repeats):
        for name, (function, state, actions) in programs.items():
            began = time.perf_counter()
            jax.block_until_ready(function(state, actions))
            best[name] = max(best[name], actions.size / (time.perf_counter() - began) / 1e6)
    return best


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    print(header("jax", "gymnasium"))
    print("| n | policy | steps per episode | no resets, M/s | prepared resets, M/s | ratio | a maze every step, M/s | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    seconds = {}
    for n in (4, 6, 10):
        env = ProcMaze(grid_size=n)
        prepared, regenerated = (BatchedEnv(env, NUM_ENVS, LIMIT, prepare=each) for each in (True, False))
        keys = jax.random.split(jax.random.PRNGKey(0), NUM_ENVS)
        start = jax.jit(prepared.init)(keys)
        random = jax.random.randint(jax.random.PRNGKey(1), (options.steps, NUM_ENVS), 0, 5)
        steady = start
        for _ in range(3):
            steady = with_resets(prepared)(steady, random)[0]
        for policy, (state, actions) in (
            ("random", (steady, random)),
            ("optimal", recorded_actions(prepared, start, options.steps)),
        ):
            best = rates(
                {
                    "plain": (without_resets(env), state.lanes, actions),
                    "prepared": (with_resets(prepared), state, actions),
                    "regenerated": (with_resets(regenerated), state._replace(prepared=None), actions),
                },
                options.repeats,
            )
            ends = int(np.sum(with_resets(prepared)(state, actions)[1][2]))
            print(
                f"| {n} | {policy} | {actions.size / ends:.1f} | {best['plain']:.2f} | {best['prepared']:.2f} | "
                f"{best['prepared'] / best['plain']:.2f} | {best['regenerated']:.2f} | "
                f"{best['regenerated'] / best['plain']:.2f} |",
                flush=True,
            )
        reset = jax.jit(jax.vmap(env.reset))
        seconds[n] = 1 / rates({"reset": (lambda keys, _, reset=reset: reset(keys), keys, keys[:, 0])}, 300)["reset"]
    print(f"\nOne maze with start and goal, drawn under vmap: {', '.join(f'{t:.2f} µs (n={n})' for n, t in seconds.items())}")


if __name__ == "__main__":
    main()
