"""Saving and loading of JAX agents: what is state, and what it is called in the file."""

from __future__ import annotations

import inspect
import io
import os
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import check_for_correct_spaces, get_system_info

from mbrl_agents.core import files, schedules
from mbrl_agents.core.run import Clock, Keys, RunState
from mbrl_agents.core.slots import slot_functions
from mbrl_agents.sb3 import agent_file, network_arguments, spaces_json
from mbrl_agents.sb3.agent_base import AgentBase
from mbrl_agents.sb3.agent_file import AgentFile
from mbrl_envs import functional_task

AgentT = TypeVar("AgentT", bound=AgentBase)

# Parts of a learner's state by the name they have in get_parameters().
_PARTS = {
    "policy": "params",
    "policy.target": "target_params",
    "policy.optimizer": "optimizer",
    "model": "model",
    "model.optimizer": "model_optimizer",
    "value_networks": "value_networks",
    "policy.rewards": "rewards",
}
# The run's clock by the names that it has in files, and what else is counted.
_CLOCK = {"_calls": "vector_steps", "num_timesteps": "num_timesteps", "_n_updates": "updates", "_predictions": "predictions"}
_COUNTERS = ("_episode_num", "_total_timesteps")
_SCHEDULED = ("learning_rate", "temperature", "importance_exponent", "policy")  # numbers or functions, which are not saved
EXCLUDABLE = ("policy.optimizer", "lanes")  # the latter are the run's slots, by the name that they have in files
_LAST = ("_last_obs", "_last_original_obs", "_last_episode_starts")  # of the host loop: where its environments are


class Counted(NamedTuple):
    """Counters and episodes in an agent's file.

    Attributes:
        seed: The seed.
        num_episodes: Episodes so far.
        total_timesteps: Where the training ends.
        progress_remaining: What is left of it, from 1 to 0.
        episodes: The latest episodes, as monitors record them.
    """

    seed: int | None
    num_episodes: int
    total_timesteps: int
    progress_remaining: float
    episodes: Iterable[Mapping[str, Any]]


def get_parameters(agent: AgentBase) -> dict[str, dict[str, np.ndarray]]:
    """See :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.get_parameters`."""
    return parameters(agent.learner_state)


def parameters(learner_state: Any) -> dict[str, dict[str, np.ndarray]]:
    """The parts of a learner's state by the names that they have in files."""
    return {name: files.flatten(getattr(learner_state, part)) for name, part in _parts(learner_state).items()}


def _parts(learner_state: Any) -> dict[str, str]:
    """The parts that this learner has; the perfect model has no parameters."""
    return {name: part for name, part in _PARTS.items() if jax.tree.leaves(getattr(learner_state, part, None))}


def set_parameters(agent: AgentBase, source: Any, exact: bool) -> None:
    """See :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.set_parameters`."""
    given = source if isinstance(source, dict) else agent_file.load(source).params
    own = _parts(agent.learner_state)
    unknown, missing = sorted(set(given) - set(own)), sorted(set(own) - set(given))
    if unknown or (exact and missing):
        raise ValueError(f"parameters must be {sorted(own)}: unknown {unknown}, missing {missing}")
    # All is read before anything is set, so that an error leaves the agent as it was.
    parts = {
        own[name]: files.unflatten(getattr(agent.learner_state, own[name]), arrays, name, exact=exact)
        for name, arrays in given.items()
    }
    agent.change_run(learner=agent._put(agent.learner_state._replace(**parts)))


def save(agent: AgentBase, path: str | os.PathLike[str] | io.BufferedIOBase, exclude: set[str]) -> None:
    """See :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.save`."""
    if unknown := sorted(exclude - {*EXCLUDABLE, *agent.arguments}):
        raise ValueError(f"exclude must name some of {EXCLUDABLE} or arguments of the constructor, got {unknown}")
    progress = agent._current_progress_remaining
    episodes = agent.ep_info_buffer or ()
    counted = Counted(agent.arguments.get("seed"), agent._episode_num, agent._total_timesteps, progress, episodes)
    agent_file.save(path, content(agent, agent.run, counted, exclude))


def content(agent: AgentBase, run: RunState, counted: Counted, exclude: Collection[str] = ()) -> AgentFile:
    """Content of the file of an agent that has this run.

    Args:
        agent: An agent with the same arguments, but for the seed.
        run: The run.
        counted: What is counted beside it.
        exclude: What to leave out.
    """
    arguments = {
        name: schedules.to_json(value) if name in _SCHEDULED else network_arguments.to_json(value)
        for name, value in (agent.arguments | {"seed": counted.seed}).items()
        if name not in exclude
    }
    counters = {name: int(getattr(run.clock, own)) for name, own in _CLOCK.items()}
    data = {
        "class": type(agent).__name__,
        "policy": schedules.to_json(agent.policy_name),
        "arguments": arguments,
        "observation_space": spaces_json.to_json(agent.observation_space),
        "action_space": spaces_json.to_json(agent.action_space),
        "n_envs": agent.n_envs,
        "counters": counters | dict(zip(_COUNTERS, (counted.num_episodes, counted.total_timesteps), strict=True)),
        "progress_remaining": counted.progress_remaining,
        "episodes": [dict(episode) for episode in counted.episodes],
        "task": repr(agent._slots_task) if run.slots is not None else None,
    }
    arrays = files.flatten(_keys_in_file(run.keys))
    last = {name: getattr(agent, name, None) for name in _LAST}
    arrays |= files.flatten({f"last/{name}": value for name, value in last.items() if value is not None})
    if run.slots is not None and "lanes" not in exclude:
        arrays |= files.flatten({"lanes": run.slots})
    if jax.tree.leaves(run.carry) and "lanes" not in exclude:
        arrays |= files.flatten({"carry": run.carry})
    params = {name: part for name, part in parameters(run.learner).items() if name not in exclude}
    return AgentFile(data, params, arrays)


def load(
    cls: type[AgentT],
    path: str | os.PathLike[str] | io.BufferedIOBase,
    env: GymEnv | None,
    device: str,
    replaced: dict[str, Any],
    print_system_info: bool,
    force_reset: bool,
) -> AgentT:
    """See :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.load`."""
    if print_system_info:
        get_system_info()
    content = agent_file.load(path)
    data = content.data
    if data.get("class") != cls.__name__:
        raise ValueError(f"{path} holds a {data.get('class')}, not a {cls.__name__}: use {data.get('class')}.load")
    try:
        counters, episodes = data["counters"], data["episodes"]
        observation_space, action_space = (spaces_json.from_json(data[name]) for name in ("observation_space", "action_space"))
        arguments = dict(data["arguments"])
        saved_envs, policy = int(data["n_envs"]), data["policy"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a complete agent: {error!r} is missing or damaged") from error
    parameters = inspect.signature(cls).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    if not takes_any and (gone := sorted(set(arguments) - set(parameters))):
        raise ValueError(
            f"{path} was saved with arguments that {cls.__name__} does not have (any more): {', '.join(gone)}. Make a new "
            "agent, and give it the saved weights by set_parameters(path)"
        )
    replaced = dict(replaced)
    first = replaced.pop(cls.first_argument, None) if cls.first_argument not in arguments else None
    known = {*arguments, *parameters} - {"env", "_init_setup_model"}
    if unknown := sorted(set(replaced) - known):
        raise TypeError(f"{cls.__name__} has no argument {', '.join(map(repr, unknown))}; it has {sorted(known)}")
    for name in _SCHEDULED:
        if name in arguments and name not in replaced:
            arguments[name] = schedules.from_json(name, arguments[name])
    policy = schedules.from_json(cls.first_argument, policy) if first is None else first
    saved_kwargs = arguments.get("policy_kwargs")
    if saved_kwargs is not None:
        replaced["policy_kwargs"] = network_arguments.from_json(saved_kwargs, replaced.get("policy_kwargs"))
    arguments |= {"device": device} | replaced

    make: Any = cls  # every agent has arguments of its own
    agent: AgentT = make(policy, env, **arguments, _init_setup_model=False)
    if saved_kwargs is not None and (own := network_arguments.to_json(agent.arguments["policy_kwargs"])) != saved_kwargs:
        raise ValueError(f"policy_kwargs must equal the saved {saved_kwargs}, got {own}")
    if env is None:
        agent.observation_space, agent.action_space, agent.n_envs = observation_space, action_space, saved_envs
    else:
        assert agent.env is not None
        check_for_correct_spaces(agent.env, observation_space, action_space)
    agent._setup_model()
    set_parameters(agent, content.params, exact="policy.optimizer" in content.params)
    agent.change_run(clock=Clock(**{own: np.int32(counters[name]) for name, own in _CLOCK.items()}))
    for name in _COUNTERS:
        setattr(agent, name, int(counters[name]))
    agent._current_progress_remaining = float(data["progress_remaining"])
    agent.ep_info_buffer = deque(episodes, maxlen=agent._stats_window_size)
    agent.ep_success_buffer = deque(maxlen=agent._stats_window_size)
    _restore_state(agent, content, saved_envs)
    if env is not None and not force_reset and agent.n_envs == saved_envs:
        for name in _LAST:
            setattr(agent, name, _last(name, agent, content.state))
        _restore_carry(agent, content)
    return agent


def _last(name: str, agent: AgentBase, state: Mapping[str, np.ndarray]) -> Any:
    """Where the host loop's environments are, from an agent's file: an array, or one for each part of an observation."""
    prefix = f"last/{name}"
    arrays = {path[len(prefix) + 1 :] or "value": array for path, array in state.items() if f"{path}/".startswith(f"{prefix}/")}
    if not arrays or "value" in arrays:
        return arrays.get("value")
    return jax.tree.map(np.asarray, files.unflatten(_templates(agent.observation_space, arrays), arrays, f"the saved {name}"))


def _templates(space: spaces.Space[Any], arrays: Mapping[str, np.ndarray], path: str = "") -> Any:
    """The arrays of a file in the structure of a space; nothing where there is none."""
    if isinstance(space, spaces.Dict):
        return {name: _templates(part, arrays, f"{path}{name}/") for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_templates(part, arrays, f"{path}{i}/") for i, part in enumerate(space.spaces))
    return arrays.get(path[:-1])


def _keys_in_file(keys: Keys) -> dict[str, Any]:
    """The keys by the names that they have in files."""
    streams = {"act": keys.act, "update": keys.update}
    return {"streams": streams, "env_stream": keys.environments, "predict_stream": keys.predict}


def _restore_state(agent: AgentBase, content: AgentFile, saved_envs: int) -> None:
    """Random streams always; the device loop's environments where the environment is still the same."""
    own = {name: array for name, array in content.state.items() if not name.startswith(("lanes/", "last/", "carry/"))}
    state = files.unflatten(_keys_in_file(agent.run.keys), own, "the saved random streams")
    keys = Keys(**state["streams"], environments=state["env_stream"], predict=state["predict_stream"])
    agent.change_run(keys=agent._put(keys))
    task = functional_task(agent.env)
    if task is None or repr(task) != content.data.get("task") or agent.n_envs != saved_envs:
        return
    slots = {name: array for name, array in content.state.items() if name.startswith("lanes/")}
    if slots:
        start = slot_functions(task.batched(agent.n_envs)).start
        shapes = jax.eval_shape(start, agent.run.keys.environments, agent.run.clock.vector_steps)
        agent.change_run(slots=agent._put(files.unflatten({"lanes": shapes}, slots, "the saved environments")["lanes"]))
        agent._slots_task = task
        _restore_carry(agent, content)


def _restore_carry(agent: AgentBase, content: AgentFile) -> None:
    """What is remembered of episodes, where these go on."""
    if found := {name: array for name, array in content.state.items() if name.startswith("carry/")}:
        own = files.unflatten({"carry": agent.run.carry}, found, "what the saved agent remembers")
        agent.change_run(carry=agent._put(own["carry"]))
