"""Agents to and from their files, ours and Stable-Baselines3's, without running code from a file."""

from __future__ import annotations

import io
import os
import pathlib
import pickle
import zipfile
from typing import Any

import gymnasium
from stable_baselines3.common.base_class import BaseAlgorithm

from mbrl_agents.core import files
from mbrl_agents.runs.agents import AgentKind, find_agent
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.run_folder import AGENT, RunFolder, is_run
from mbrl_agents.sb3 import agent_file
from mbrl_agents.sb3.run_record import RunRecord


def save_agent(agent: BaseAlgorithm | RunRecord, path: str | os.PathLike[str]) -> None:
    """Saves an agent, or a run as its agent, whole or not at all.

    Raises:
        OSError: Writing failed; the old file, if any, is intact.
    """
    buffer = io.BytesIO()
    agent.save(buffer)
    files.write_atomically(path, buffer.getvalue())


def load_agent(
    kind: AgentKind, path: str | os.PathLike[str], env: Any, arguments: dict[str, Any], seed: int = 0
) -> BaseAlgorithm:
    """Loads an agent to go on in an environment.

    SB3's own files hold pickled objects. These are not touched: the agent is made anew from its arguments and gets the saved
    weights.

    Args:
        kind: The agent's class.
        path: Its file.
        env: Environment, or ``VecEnv``.
        arguments: Constructor arguments, for SB3's own agents.
        seed: Seed, for SB3's own agents.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or does not fit class, arguments or environment.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"there is no agent at {path}")
    if kind.ours:
        return kind.cls.load(str(path), env=env)
    agent = kind.make(env, arguments, seed)
    try:
        agent.set_parameters(str(path))
    except (ValueError, RuntimeError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is no {kind.name} for this environment with these arguments: {error}") from error
    return agent


def load_for_evaluation(
    path: str | os.PathLike[str],
    agent: str | None = None,
    environment: EnvironmentSpec | None = None,
    arguments: dict[str, Any] | None = None,
) -> tuple[BaseAlgorithm, EnvironmentSpec, RunFolder | None]:
    """Loads an agent from a run's folder or from its file.

    Args:
        path: A run's folder, the ``agent.zip`` in it, or any other saved agent.
        agent: Name of its class; needed for SB3's own files outside a run's folder.
        environment: The environment; needed outside a run's folder.
        arguments: Constructor arguments; needed for SB3's own files outside a run's folder, if networks are not the usual ones.

    Returns:
        The agent, the environment, and the run, if it is one.

    Raises:
        FileNotFoundError: There is nothing of the kind.
        ValueError: Something is missing or does not fit.
    """
    place = pathlib.Path(path)
    if place.name == AGENT and is_run(place.parent):
        place = place.parent
    run = RunFolder.open(place) if place.is_dir() else None
    if run is not None:
        file, kind, given = run.agent_path, run.config.kind, run.config.arguments | (arguments or {})
        if not file.is_file():
            raise FileNotFoundError(f"{place} has no agent yet: its run is {run.status().state}")
        spec = environment or run.config.environment
    else:
        file = files.find(place, "zip")
        if not file.is_file():
            raise FileNotFoundError(f"there is no run's folder and no agent at {path}")
        kind, given = find_agent(agent or _class_in(file)), arguments or {}
        if environment is None:
            raise ValueError(f"{path} is not in a run's folder: say which environment, with --env")
        spec = environment
    if kind.ours and arguments:
        raise ValueError(f"--set is for files of Stable-Baselines3's agents; {file} says itself what {kind.name} has")
    kind.check_arguments(given)
    env: gymnasium.Env = spec.make()
    return load_agent(kind, file, env, given), spec, run


def _class_in(file: pathlib.Path) -> str:
    """The class that one of our own files names."""
    name = agent_file.read_data(file).get("class")
    if not isinstance(name, str):
        raise ValueError(f"{file} does not say which agent it is: name its class, with --agent")
    return name
