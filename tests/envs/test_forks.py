"""Nothing touches the device before it has to, so that processes may fork; and who forks too late is told, not left to wait."""

from __future__ import annotations

import gymnasium
import pytest

from mbrl_envs import registration
from tests.envs.helpers import fresh_interpreter

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
    envs.step_async(envs.action_space.sample())
    envs.step_wait(timeout=60)
    ours = observations
    envs.close()
print(ours.shape)
"""

TOO_LATE = """
import multiprocessing
import gymnasium, jax, mbrl_envs
{before}
def child(pipe):
    try:
        {late}
    except Exception as error:
        pipe.send(f"{{type(error).__name__}}: {{error}}")
ours, theirs = multiprocessing.Pipe()
process = multiprocessing.get_context("fork").Process(target=child, args=(theirs,), daemon=True)
process.start()
assert ours.poll(60), "it hangs"
print(ours.recv())
process.join(10)
"""
USED = "jax.numpy.zeros(3).block_until_ready()"


def test_adapters_do_not_touch_the_device_before_their_first_reset() -> None:
    assert fresh_interpreter(UNTOUCHED.format(ids=IDS)) == "False"


@pytest.mark.parametrize("ids", [IDS[:3], *([env_id] for env_id in ("mbrl/CueReward-v0", "mbrl/CartPoleNoVelocity-v0"))])
def test_asynchronous_vector_environments_fork(ids: list[str]) -> None:
    shape = (2, *gymnasium.make(ids[-1]).observation_space.shape)
    assert fresh_interpreter(FORKING.format(ids=ids)).splitlines()[-1] == str(shape)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", IDS)
def test_every_id_forks(env_id: str) -> None:
    assert fresh_interpreter(FORKING.format(ids=[env_id]))


@pytest.mark.parametrize(
    ("before", "late"),
    [
        (USED, "gymnasium.make('mbrl/ProcMaze-v0').reset()"),
        (USED, "gymnasium.make_vec('mbrl/ProcMaze-v0', 2).reset(seed=0)"),
        (USED, "mbrl_envs.FunctionalVecEnv('mbrl/ProcMaze-v0', 2).reset()"),
        (f"env = gymnasium.make('mbrl/ProcMaze-v0'); {USED}", "env.reset()"),
        ("env = gymnasium.make('mbrl/ProcMaze-v0'); env.reset()", "env.step(0)"),
        ("env = gymnasium.make('mbrl/ProcMaze-v0'); env.reset()", "env.reset()"),
        ("env = gymnasium.make_vec('mbrl/ProcMaze-v0', 2); env.reset()", "env.step([0, 0])"),
        (
            "import mbrl_envs.multi_agent.coop_pan_flute_v0 as m; env = m.parallel_env(); env.reset()",
            "env.step(dict.fromkeys(env.agents, 0))",
        ),
    ],
)
def test_who_forks_too_late_is_told(before: str, late: str) -> None:
    said = fresh_interpreter(TOO_LATE.format(before=before, late=late))
    assert said.startswith("RuntimeError: JAX had been used in the process that this one was forked from"), said
    assert "context='spawn'" in said


def test_an_asynchronous_vector_environment_passes_the_error_on() -> None:
    code = f"""
import gymnasium, jax, mbrl_envs
{USED}
envs = gymnasium.vector.AsyncVectorEnv([lambda: gymnasium.make("mbrl/PanFlute-v0")] * 2, context="fork")
try:
    envs.reset_async()
    envs.reset_wait(timeout=60)
except RuntimeError as error:
    print(error)
"""
    assert "context='spawn'" in fresh_interpreter(code)


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
