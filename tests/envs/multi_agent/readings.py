"""The arrays of environments with several agents as the values of :mod:`tests.envs.multi_agent.simulators`."""

from __future__ import annotations

from typing import Any

from mbrl_envs.multi_agent import ButtonContest, CoopButtonGrid, CoopPanFlute, MultiAgentEnv
from tests.envs.multi_agent import simulators
from tests.envs.multi_agent.simulators import Players
from tests.envs.readings import cell_of


def plain(env: MultiAgentEnv, state: Any) -> Any:
    """A state (NumPy, one step of one lane) as the simulator's."""
    if isinstance(env, CoopPanFlute):
        bits = iter(state.pipes.tolist())
        return [[next(bits) for _ in range(i + 1)] for i in range(env.num_pipes)]
    n = env.grid_size
    return Players([cell_of(c, n) for c in state.positions], [cell_of(c, n) for c in state.buttons], state.on.tolist())


def plain_events(env: MultiAgentEnv, events: Any) -> tuple:
    if isinstance(env, CoopPanFlute):
        return (bool(events.all_on),)
    if isinstance(env, CoopButtonGrid):
        return bool(events.all_on), plain(env, events.layout)
    return bool(events.all_alike), bool(events.way), plain(env, events.layout)


def simulator(env: MultiAgentEnv) -> Any:
    match env:
        case CoopPanFlute():
            return simulators.CoopPanFluteSimulator(env.num_pipes, env.num_agents, env.split)
        case CoopButtonGrid():
            return simulators.CoopButtonGridSimulator(env.grid_size, env.sight, env.activate_on_reset)
        case _:
            return simulators.ButtonContestSimulator(env.grid_size, env.sight, env.activate_on_reset)


def flag(env: MultiAgentEnv) -> str:
    return "all_alike" if isinstance(env, ButtonContest) else "all_on"
