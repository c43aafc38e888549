"""What several tests of the environments need: an episode's states, a fresh interpreter, a test of uniformity."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from scipy import stats

import mbrl_envs
from mbrl_envs import FunctionalEnv


def episode(env: FunctionalEnv, num_steps: int) -> Iterator[Any]:
    """States of an episode of random actions, NumPy leaves."""
    step = jax.jit(env.step)
    state = env.reset(jax.random.key(0))
    yield jax.tree.map(np.asarray, state)
    for i in range(num_steps):
        action = np.random.default_rng(i).integers(env.action_space.n)
        state = step(jax.random.key(i + 1), state, np.int32(action)).state
        yield jax.tree.map(np.asarray, state)


SAID_BY_A_CHILD = """
import multiprocessing
fork = multiprocessing.get_context("fork")

def said_by(late):
    try:
        late()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"

def said_by_a_child(late):
    ours, theirs = fork.Pipe()
    process = fork.Process(target=lambda: theirs.send(said_by(late)), daemon=True)
    process.start()
    said = ours.recv() if ours.poll(60) else "it hangs"
    process.kill()
    process.join()
    return said
"""
"""Code for an interpreter of its own: what a call raises here, and in a process that is forked now."""


def fresh_interpreter(code: str) -> str:
    """What ``code`` prints in an interpreter of its own that has imported nothing yet."""
    path = os.pathsep.join([str(pathlib.Path(mbrl_envs.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def uniform_p_value(categories: np.ndarray, num_categories: int) -> float:
    """How likely counts as uneven as these are, or more so, if all categories are equally likely."""
    counts = np.bincount(np.asarray(categories), minlength=num_categories)
    assert counts.size == num_categories, "a category that cannot be"
    return float(stats.chisquare(counts).pvalue)
