"""Nothing touches the device before it has to, so that processes may fork; and who forks too late is told, not left to wait."""

from __future__ import annotations

import functools
import json

import gymnasium
import pytest

from mbrl_envs import registration
from tests.envs.helpers import SAID_BY_A_CHILD, fresh_interpreter

IDS = [dynamics.env_id for dynamics in registration.DYNAMICS.values()] + ["mbrl/CartPoleNoVelocity-v0"]

UNTOUCHED = """
import copy, pickle
import gymnasium, mbrl_envs
from jax._src import xla_bridge
from mbrl_envs.multi_agent import DYNAMICS as SEVERAL
from mbrl_envs.adapters.parallel_env import FunctionalParallelEnv
for env_id in {ids}:
    made = [gymnasium.make(env_id)]
    if "NoVelocity" not in env_id:
        made += [gymnasium.make_vec(env_id, 3), mbrl_envs.FunctionalVecEnv(env_id, 2)]
    for env in made:
        env.observation_space, env.action_space, copy.deepcopy(env), repr(env)
for kind in SEVERAL.values():
    env = FunctionalParallelEnv(kind())
    env.observation_space(env.possible_agents[0]), env.state_space, pickle.loads(pickle.dumps(env))
print(xla_bridge.backends_are_initialized())
"""

FORKING = """
import gymnasium, mbrl_envs
for env_id in {ids}:
    envs = gymnasium.vector.AsyncVectorEnv([lambda: gymnasium.make(env_id)] * 2, context="fork")
    observations, _ = envs.reset(seed=3)
    envs.step_async([envs.single_action_space.start] * 2)
    envs.step_wait(timeout=60)
    envs.close()
    print(env_id, observations.shape)
"""

TOO_LATE = (
    SAID_BY_A_CHILD
    + """
import json
import gymnasium, jax, mbrl_envs
import mbrl_envs.multi_agent.coop_pan_flute_v0 as flute
made_before = gymnasium.make("mbrl/ProcMaze-v0")
jax.numpy.zeros(3).block_until_ready()
single, several, parallel = gymnasium.make("mbrl/ProcMaze-v0"), gymnasium.make_vec("mbrl/ProcMaze-v0", 2), flute.parallel_env()
for env in (single, several, parallel):
    env.reset(seed=0)

def vectorised():
    envs = gymnasium.vector.AsyncVectorEnv([lambda: gymnasium.make("mbrl/PanFlute-v0")] * 2, context="fork")
    envs.reset_async()
    envs.reset_wait(timeout=60)

late = {
    "reset": lambda: gymnasium.make("mbrl/ProcMaze-v0").reset(),
    "reset of several": lambda: gymnasium.make_vec("mbrl/ProcMaze-v0", 2).reset(seed=0),
    "reset for SB3": lambda: mbrl_envs.FunctionalVecEnv("mbrl/ProcMaze-v0", 2).reset(),
    "reset of one made before": lambda: made_before.reset(),
    "reset again": lambda: single.reset(),
    "step": lambda: single.step(0),
    "step of several": lambda: several.step([0, 0]),
    "step of several agents": lambda: parallel.step(dict.fromkeys(parallel.agents, 0)),
}
told = {name: said_by_a_child(each) for name, each in late.items()}
print(json.dumps(told | {"AsyncVectorEnv": said_by(vectorised)}))
"""
)
TOO_LATE_CASES = [
    *("reset", "reset of several", "reset for SB3", "reset of one made before", "reset again"),
    *("step", "step of several", "step of several agents", "AsyncVectorEnv"),
]


@functools.cache
def told_too_late() -> dict[str, str]:
    """What is raised where, in one interpreter: each case in a process that is forked after JAX was used."""
    return json.loads(fresh_interpreter(TOO_LATE).splitlines()[-1])


def test_adapters_do_not_touch_the_device_before_their_first_reset() -> None:
    assert fresh_interpreter(UNTOUCHED.format(ids=IDS)) == "False"


def test_asynchronous_vector_environments_fork() -> None:
    some = [*IDS[:3], "mbrl/CueReward-v0", "mbrl/CartPoleNoVelocity-v0"]
    shapes = [f"{env_id} {(2, *gymnasium.make(env_id).observation_space.shape)}" for env_id in some]
    assert fresh_interpreter(FORKING.format(ids=some)).splitlines() == shapes


@pytest.mark.slow
@pytest.mark.parametrize("env_id", IDS)
def test_every_id_forks(env_id: str) -> None:
    assert fresh_interpreter(FORKING.format(ids=[env_id]))


@pytest.mark.parametrize("case", TOO_LATE_CASES)
def test_who_forks_too_late_is_told(case: str) -> None:
    assert set(told_too_late()) == set(TOO_LATE_CASES)
    said = told_too_late()[case]
    assert said.startswith("RuntimeError: "), said
    assert "JAX had been used in the process that this one was forked from" in said
    assert "context='spawn'" in said


def test_a_fork_of_a_fork_and_a_fork_of_who_has_not_used_jax() -> None:
    code = """
import os
import gymnasium, mbrl_envs
if pid := os.fork():
    os.waitpid(pid, 0)
else:
    env = gymnasium.make("mbrl/PanFlute-v0")
    print(env.reset(seed=0)[0].sum(), flush=True)
    if pid := os.fork():
        os.waitpid(pid, 0)
    else:
        try:
            env.step(0)
        except RuntimeError:
            print("told", flush=True)
    os._exit(0)
"""
    assert fresh_interpreter(code).splitlines()[-2:] == ["0", "told"]
