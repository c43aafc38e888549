"""Which runs share a program."""

from __future__ import annotations

from mbrl_agents.core.program import Program
from mbrl_agents.runs.config import RunConfig
from mbrl_agents.runs.executor import Execution
from mbrl_agents.runs.memory import NO_RUNS, MemoryPlan, agent_program, plan_memory
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_envs import functional_task


class Programs:
    """The programs of runs, each with one of its agents; runs that differ only in the seed are looked at once."""

    def __init__(self) -> None:
        self.agents: dict[Program, JaxAgent] = {}
        self._known: dict[str, Program] = {}

    def of(self, config: RunConfig) -> Program:
        """The program of a run."""
        key = repr({name: value for name, value in config.settings.items() if name not in ("seed", "label")})
        if key not in self._known:
            env = config.environment.training_env(config.num_envs)
            agent = config.kind.make(env, config.arguments, config.seed, _init_setup_model=False)
            assert isinstance(agent, JaxAgent)
            program = agent_program(agent, functional_task(agent.env))
            self.agents.setdefault(program, agent)
            self._known[key] = program
        return self._known[key]

    def plan(self, num_runs: int, execution: Execution, max_parallel_runs: int | None) -> MemoryPlan:
        """How many runs are in memory at once."""
        if not self.agents:
            return NO_RUNS
        # Runs that are mapped over all compute at once; those called one by one, as many as there are workers.
        active = None if execution.together else execution.workers
        return plan_memory(self.agents, num_runs, max_parallel_runs, active, copies=2 if execution.together else 1)
