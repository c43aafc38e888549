"""Which runs share a program."""

from __future__ import annotations

from typing import Any

from mbrl_agents.core import user_metrics
from mbrl_agents.core.program import Program
from mbrl_agents.core.user_metrics import UserMetrics
from mbrl_agents.runs.config import RunConfig
from mbrl_agents.runs.executor import Execution
from mbrl_agents.runs.memory import NO_RUNS, MemoryPlan, agent_program, plan_memory, state_shapes
from mbrl_agents.sb3.jax_agent import JaxAgent


class Programs:
    """The programs of runs, each with one of its agents; runs that differ only in the seed are looked at once."""

    def __init__(self) -> None:
        self.agents: dict[Program, JaxAgent] = {}
        self._known: dict[str, tuple[Program, JaxAgent]] = {}
        self._envs: dict[str, Any] = {}

    def of(self, config: RunConfig) -> Program:
        """The program of a run.

        Raises:
            TypeError, ValueError: The agent's constructor refuses its arguments.
        """
        return self._look_at(config)[0]

    def agent_like(self, config: RunConfig) -> JaxAgent:
        """An agent without networks that has a run's arguments, but for the seed."""
        return self._look_at(config)[1]

    def _look_at(self, config: RunConfig) -> tuple[Program, JaxAgent]:
        key = repr({name: value for name, value in config.settings.items() if name not in ("seed", "label")})
        if key not in self._known:
            agent = config.kind.unbuilt(self._env(config), config.arguments)
            assert isinstance(agent, JaxAgent)
            program = agent_program(agent, config.environment.task())
            self.agents.setdefault(program, agent)
            self._known[key] = program, agent
        return self._known[key]

    def _env(self, config: RunConfig) -> Any:
        """An environment to look at, one for all agents."""
        if config.n_envs == 1:
            return config.environment.sample()
        key = repr((config.environment.to_dict(), config.n_envs))
        if key not in self._envs:
            self._envs[key] = config.environment.training_env(config.n_envs)
        return self._envs[key]

    def check_metrics(self, metrics: UserMetrics) -> None:
        """Checks what a user's function gives with the learners of these programs.

        Raises:
            Exception: Whatever the function raises.
            ValueError: It gives no numbers.
        """
        for program, agent in self.agents.items():
            assert program.envs is not None
            shapes = state_shapes(program, agent._make_hyperparameters())
            user_metrics.check_numbers(metrics, program.learner, shapes.learner, program.envs.env)

    def plan(self, num_runs: int, execution: Execution, max_parallel_runs: int | None) -> MemoryPlan:
        """How many runs are in memory at once."""
        if not self.agents:
            return NO_RUNS
        # Runs that are mapped over all compute at once; those called one by one, as many as there are workers.
        active = None if execution.together else execution.workers
        return plan_memory(self.agents, num_runs, max_parallel_runs, active, copies=2 if execution.together else 1)
