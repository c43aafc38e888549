"""Deep Q-learning from roll-outs of the true environment."""

from __future__ import annotations

from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.model_dqn.agent import ModelDQN
from mbrl_agents.model_dqn.perfect import PerfectModel
from mbrl_agents.sb3 import settings
from mbrl_agents.sb3.arguments import argument
from mbrl_envs import FunctionalEnv, functional_task
from mbrl_envs.multi_agent import MultiAgentEnv


class PerfectModelDQN(ModelDQN):
    """Deep Q-learning from roll-outs of the true environment, from states that were visited.

    The upper bound of what a learned model can bring: as :class:`~mbrl_agents.SimpleModelDQN`, with the environment's own
    dynamics as the model. Only on functional environments, in the device loop, where the environment's states can be stored.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment has no functional dynamics.
    """

    batch_size: int = argument(
        settings.BATCH_SIZE, default=32, doc="Stored states per update, from which roll-outs start, at least 1."
    )
    device_loop: bool | None = argument(init=False, default=True)

    def _check_spaces(self) -> None:
        super()._check_spaces()
        task = functional_task(self.env)
        if task is None or isinstance(task.env, MultiAgentEnv):
            raise ValueError(
                "PerfectModelDQN rolls out the environment itself, so it needs functional dynamics (one of the mbrl/ "
                "environments, without wrappers) of a single agent, "
                f"got {self.env}: SimpleModelDQN and LatentModelDQN learn a model anywhere"
            )

    def _dynamics(self) -> FunctionalEnv | None:
        task = functional_task(self.env)
        return None if task is None else task.env

    def _stored_dynamics(self) -> FunctionalEnv | None:
        return self._dynamics()

    def _world_model(self, codec: ObservationCodec, num_actions: int) -> PerfectModel:
        del num_actions
        return PerfectModel(self._dynamics(), codec)
