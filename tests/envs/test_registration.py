"""Ids in Gymnasium's registry, the import of the package, and the way from what names an environment to its dynamics."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

import mbrl_envs
from mbrl_envs import (
    FunctionalEnv,
    FunctionalTask,
    FunctionalVecEnv,
    PanFlute,
    ProcMaze,
    functional,
    functional_task,
)
from mbrl_envs.registration import DYNAMICS
from tests.envs.helpers import fresh_interpreter

# --- In a fresh interpreter -----------------------------------------------------------------------------------------------


def test_gymnasium_imports_the_package_by_itself() -> None:
    code = (
        "import gymnasium; env = gymnasium.make('mbrl_envs:mbrl/ProcMaze-v0'); print(env.reset(seed=0)[0].shape, env.spec.id)"
    )
    assert fresh_interpreter(code) == "(64,) mbrl/ProcMaze-v0"


def test_names_that_are_imported_late_are_listed() -> None:
    code = (
        "import mbrl_envs, mbrl_envs.multi_agent as m; "
        "print({*mbrl_envs.__all__} - {*dir(mbrl_envs)}, {cls.env_id for cls in m.DYNAMICS.values()} - {*dir(m)})"
    )
    assert fresh_interpreter(code) == "set() set()"


def test_the_import_is_quick_and_light() -> None:
    """Within 2 seconds of processor time, once in three tries: other programs on the machine lengthen it, too."""
    code = (
        "import sys, time; import mbrl_envs; import gymnasium; env = gymnasium.make('mbrl/PanFlute-v0'); "
        "heavy = {'torch', 'matplotlib', 'PIL', 'stable_baselines3', 'pandas', 'scipy', 'pygame'} & {*sys.modules}; "
        "print(time.process_time(), heavy)"
    )
    for _ in range(3):
        seconds, heavy = fresh_interpreter(code).split(maxsplit=1)
        assert heavy == "set()"
        if float(seconds) < 2:
            return
    pytest.fail(f"it takes {seconds} seconds of processor time")


def test_the_adapters_are_imported_when_asked_for() -> None:
    code = (
        "import sys, mbrl_envs; mbrl_envs.FunctionalVecEnv; print('torch' in sys.modules, mbrl_envs.FunctionalGymEnv.__name__)"
    )
    assert fresh_interpreter(code) == "True FunctionalGymEnv"


# --- The registry ---------------------------------------------------------------------------------------------------------


def test_all_dynamics_of_the_package_are_in_the_registry() -> None:
    public = [getattr(mbrl_envs, name) for name in mbrl_envs.__all__]
    kinds = {each for each in public if isinstance(each, type) and issubclass(each, FunctionalEnv)} - {FunctionalEnv}
    assert set(DYNAMICS.values()) == kinds


@pytest.mark.parametrize("dynamics", DYNAMICS.values(), ids=DYNAMICS)
def test_every_environment_is_registered(dynamics: Any) -> None:
    env = gymnasium.make(dynamics.env_id)
    assert env.unwrapped.dynamics == dynamics()
    envs = gymnasium.make_vec(dynamics.env_id, num_envs=2)
    assert type(envs) is mbrl_envs.FunctionalVectorEnv
    assert functional_task(envs) == functional_task(env) == FunctionalTask(dynamics(), dynamics.max_episode_steps)


def test_registering_again_is_harmless() -> None:
    before = dict(gymnasium.registry)
    mbrl_envs.register()
    assert dict(gymnasium.registry) == before


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("mbrl/ProcMaze-v0", {"grid_size": 6}),
        ("mbrl/PanFlute-v0", {"num_pipes": 3, "spontaneous": False, "observation": "planes"}),
    ],
)
def test_specifications_survive_json(env_id: str, kwargs: dict[str, Any]) -> None:
    env = gymnasium.make(env_id, max_episode_steps=50, **kwargs)
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert functional_task(again) == functional_task(env)
    assert functional_task(again).max_episode_steps == 50
    assert again.spec == env.spec


def test_other_wrappers_and_vectorisations_of_gymnasium() -> None:
    envs = gymnasium.make_vec("mbrl/PanFlute-v0", num_envs=2, vectorization_mode="sync", num_pipes=3)
    assert envs.reset(seed=0)[0].shape == (2, 6)
    envs = gymnasium.wrappers.vector.RecordEpisodeStatistics(
        gymnasium.make_vec("mbrl/PanFlute-v0", num_envs=2, max_episode_steps=3)
    )
    envs.reset(seed=0)
    infos = [envs.step([0, 0])[4] for _ in range(3)]
    assert "episode" not in infos[1]
    assert infos[2]["episode"]["l"].tolist() == [3, 3]


# --- From names to dynamics -----------------------------------------------------------------------------------------------


def test_dynamics_by_name() -> None:
    assert mbrl_envs.make_dynamics("ProcMaze", grid_size=6) == ProcMaze(grid_size=6)
    assert mbrl_envs.make_dynamics("mbrl/ProcMaze-v0", grid_size=6) == ProcMaze(grid_size=6)
    maze = ProcMaze(grid_size=7)
    assert mbrl_envs.make_dynamics(maze) is maze


def test_mistakes_in_names_and_constants_are_named() -> None:
    with pytest.raises(ValueError, match=r"'ProcMaze'.*got 'Maze'"):
        mbrl_envs.make_dynamics("Maze")
    with pytest.raises(TypeError, match=r"no argument 'size'.*'grid_size'"):
        mbrl_envs.make_dynamics("ProcMaze", size=4)
    with pytest.raises(TypeError, match=r"'grid_size'.*ready-made"):
        mbrl_envs.make_dynamics(ProcMaze(), grid_size=4)
    with pytest.raises(ValueError, match="grid_size must be an integer from 2 to 32, got 1"):
        gymnasium.make("mbrl/ProcMaze-v0", grid_size=1)
    with pytest.raises(TypeError, match="no argument 'colour'"):
        gymnasium.make("mbrl/ProcMaze-v0", colour="red")
    with pytest.raises(TypeError, match="no argument 'colour'"):
        gymnasium.make_vec("mbrl/ProcMaze-v0", colour="red")


MAZE = ProcMaze(grid_size=5)


def make(**kwargs: Any) -> gymnasium.Env:
    return gymnasium.make("mbrl/ProcMaze-v0", grid_size=5, **kwargs)


def make_vec() -> gymnasium.vector.VectorEnv:
    return gymnasium.make_vec("mbrl/ProcMaze-v0", num_envs=3, grid_size=5)


def make_sb3() -> FunctionalVecEnv:
    return FunctionalVecEnv(MAZE, 3)


def subclass(cls: Any) -> Any:
    """A class of the same name."""
    return type(cls.__name__, (cls,), {})


@pytest.mark.filterwarnings("ignore:The environment is already wrapped:UserWarning")
@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (lambda: MAZE, FunctionalTask(MAZE, None)),
        (lambda: "mbrl/PanFlute-v0", FunctionalTask(PanFlute(), 1000)),
        (lambda: make(), FunctionalTask(MAZE, 1000)),
        (lambda: make(max_episode_steps=-1), FunctionalTask(MAZE, None)),
        (lambda: mbrl_envs.FunctionalGymEnv(MAZE), FunctionalTask(MAZE, None)),
        (lambda: Monitor(make(max_episode_steps=20)), FunctionalTask(MAZE, 20)),
        (lambda: gymnasium.wrappers.TimeLimit(make(max_episode_steps=20), 30), FunctionalTask(MAZE, 20)),
        (lambda: gymnasium.wrappers.TimeLimit(make(max_episode_steps=20), 10), FunctionalTask(MAZE, 10)),
        (lambda: gymnasium.wrappers.RecordEpisodeStatistics(make()), FunctionalTask(MAZE, 1000)),
        (lambda: make_vec(), FunctionalTask(MAZE, 1000)),
        (lambda: FunctionalVecEnv(MAZE, 3, max_episode_steps=9), FunctionalTask(MAZE, 9)),
        (lambda: FunctionalVecEnv("ProcMaze", 3, None, grid_size=5), FunctionalTask(MAZE, None)),
        (lambda: VecMonitor(FunctionalVecEnv(MAZE, 3)), FunctionalTask(MAZE, 1000)),
        (lambda: DummyVecEnv([make, make]), FunctionalTask(MAZE, 1000)),
        (lambda: VecMonitor(DummyVecEnv([make])), FunctionalTask(MAZE, 1000)),
        (lambda: DummyVecEnv([lambda: Monitor(make())]), FunctionalTask(MAZE, 1000)),
        (lambda: gymnasium.wrappers.vector.RecordEpisodeStatistics(make_vec()), FunctionalTask(MAZE, 1000)),
        # What an agent sees or gets is not that of the dynamics any more.
        (lambda: gymnasium.make("CartPole-v1"), None),
        (lambda: gymnasium.wrappers.TransformReward(make(), lambda reward: 2 * reward), None),
        (lambda: gymnasium.wrappers.FrameStackObservation(make(), 2), None),
        (lambda: VecNormalize(FunctionalVecEnv(MAZE, 3)), None),
        (lambda: VecMonitor(VecNormalize(FunctionalVecEnv(MAZE, 3))), None),
        (lambda: VecNormalize(VecMonitor(DummyVecEnv([make]))), None),
        (lambda: gymnasium.wrappers.vector.NormalizeReward(make_vec()), None),
        (lambda: gymnasium.make_vec("mbrl/ProcMaze-v0", num_envs=2, vectorization_mode="sync"), None),
        (lambda: DummyVecEnv([make, lambda: make(max_episode_steps=7)]), None),
        (lambda: DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]), None),
        # Monitors that copy from infos, or what was given to reset.
        (lambda: Monitor(make(), info_keywords=("goal",)), None),
        (lambda: Monitor(make(), reset_keywords=("goal",)), None),
        (lambda: VecMonitor(make_sb3(), info_keywords=("goal",)), None),
        # Subclasses may change anything.
        (lambda: subclass(gymnasium.wrappers.TimeLimit)(make(), 20), None),
        (lambda: subclass(gymnasium.wrappers.RecordEpisodeStatistics)(make()), None),
        (lambda: subclass(Monitor)(make()), None),
        (lambda: subclass(mbrl_envs.FunctionalGymEnv)(MAZE), None),
        (lambda: subclass(FunctionalVecEnv)(MAZE, 3), None),
        (lambda: subclass(VecMonitor)(make_sb3()), None),
        (lambda: subclass(DummyVecEnv)([make]), None),
        (lambda: 5, None),
        (lambda: None, None),
    ],
)
def test_the_dynamics_behind_an_environment(env: Any, expected: FunctionalTask | None) -> None:
    made = env()
    assert functional_task(made) == expected
    if expected is None:
        with pytest.raises(ValueError, match="env must have functional dynamics"):
            functional(made)
    else:
        assert functional(made) == expected.env
