"""The part of every JAX agent that has to do with its arguments as attributes, with copies and with seeds."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from mbrl_agents.sb3 import setting_later, settings
from mbrl_agents.sb3.policy import AGENTS
from mbrl_agents.sb3.replay_buffer import DeviceReplayBuffer
from mbrl_envs.checks import integer_in

if TYPE_CHECKING:
    from mbrl_agents.sb3.jax_agent import JaxAgent


class SettableAgent(OffPolicyAlgorithm):
    """Arguments of the constructor are attributes that can be set; see :mod:`mbrl_agents.sb3.setting_later`."""

    arguments: dict[str, Any]
    arrays_lock: threading.RLock
    _lanes: Any
    memory: DeviceReplayBuffer

    @property  # type: ignore[override]
    def replay_buffer(self) -> DeviceReplayBuffer | None:
        """The replay memory by SB3's name."""
        return vars(self).get("memory")

    @replay_buffer.setter
    def replay_buffer(self, buffer: DeviceReplayBuffer | None) -> None:
        present = self.replay_buffer
        if present is None and buffer is None:  # SB3's constructor
            return
        if not isinstance(buffer, DeviceReplayBuffer) or (present is not None and buffer.replay != present.replay):
            raise AttributeError(f"replay_buffer can be set to another memory of the same layout only, got {buffer!r}")
        self.memory = buffer

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        AGENTS[cls.__name__] = cls

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute; an argument acts from then on and is saved, or is refused."""
        if "_constructed" in self.__dict__ and name in self.arguments:
            setting_later.set_argument(cast("JaxAgent", self), name, value)
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """Arguments of the constructor, in plain form; asked for what is no attribute otherwise."""
        try:
            return self.__dict__["arguments"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}") from None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but loggers, locks and devices, for copies and pickles."""
        left_out = ("_logger", "arrays_lock", "jax_device")
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, arrays_lock=threading.RLock(), jax_device=settings.jax_device(state["arguments"]["device"]))

    def _with_argument(self, name: str, state: Any) -> Any:
        """The learner's state after an argument was set, with the new hyperparameters; most have nothing to add."""
        del name
        return state

    def _convert_train_freq(self) -> None:
        if not isinstance(given := self.train_freq, TrainFreq):
            number, unit = given if isinstance(given, tuple) else (given, "step")
            vars(self)["train_freq"] = TrainFreq(number, TrainFrequencyUnit(unit))  # what was given stays in the arguments

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seeds everything random in the agent and its environments anew; None changes nothing.

        Environments of the device loop begin new episodes at the next :meth:`learn`, or with the next chunk of this one.
        """
        super().set_random_seed(seed)
        if seed is not None and "learner_state" in vars(self):
            self._streams_from(integer_in("seed", seed, 0, 2**32 - 1))
            self._predictions, self._lanes = 0, None
