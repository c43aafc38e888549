"""Infos tell the hidden state of cue–reward tasks, through each adapter; those of others are as empty as before."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from mbrl_envs import Contingency, CueReward, FunctionalGymEnv, FunctionalVecEnv, FunctionalVectorEnv, ProcMaze, Starkweather
from mbrl_envs.conditioning.task import ConditioningTask
from tests.envs.test_vector_env import assert_same_info


@pytest.mark.parametrize("task", [CueReward(), Starkweather(), Contingency()], ids=repr)
def test_the_hidden_state_follows_the_chain_and_shows_what_is_seen(task: ConditioningTask) -> None:
    env, chain = FunctionalGymEnv(task), task.chain
    observation, info = env.reset(seed=0)
    before = chain.num_states
    for _ in range(150):
        assert list(info) == ["state"]
        assert type(info["state"]) is int
        state = info["state"]
        where = chain.successors[before] == state
        assert chain.probabilities[before][where].sum() > 0
        assert observation[-1] == chain.reward[state]
        assert np.flatnonzero(observation[:-1]).tolist() == [cue for cue in [chain.cue[state]] if cue >= 0]
        observation, _, terminated, _, info = env.step(0)
        before = state
        if terminated:
            assert chain.terminal[info["state"]]
            (observation, info), before = env.reset(), chain.num_states


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP], ids=lambda mode: mode.value)
def test_lanes_tell_what_single_environments_tell(mode: AutoresetMode) -> None:
    task, limit = CueReward(), 7
    ours = FunctionalVectorEnv(task, 3, limit, mode)
    theirs = SyncVectorEnv([lambda: gymnasium.wrappers.TimeLimit(FunctionalGymEnv(task), limit)] * 3, autoreset_mode=mode)
    mask = np.array([False, True, False])
    for options in ({}, {"reset_mask": mask}):
        infos = [envs.reset(seed=1, options=dict(options))[1] for envs in (ours, theirs)]
        assert infos[0]
        assert_same_info(*infos)
        for _ in range(20):
            infos = [envs.step(np.zeros(3, int))[-1] for envs in (ours, theirs)]
            assert {*infos[0]} == {*infos[1]}
            for name in infos[0]:
                assert_same_info(infos[0][name], infos[1][name])


def test_stable_baselines_infos() -> None:
    from stable_baselines3.common.vec_env import DummyVecEnv

    task, limit = CueReward(), 7
    ours = FunctionalVecEnv(task, 2, limit)
    theirs = DummyVecEnv([lambda: gymnasium.wrappers.TimeLimit(FunctionalGymEnv(task), limit)] * 2)
    for vec in (ours, theirs):
        vec.seed(4)
        vec.reset()
    assert ours.reset_infos == theirs.reset_infos
    for _ in range(30):
        infos, others = (vec.step(np.zeros(2, int))[-1] for vec in (ours, theirs))
        assert [info["state"] for info in infos] == [info["state"] for info in others]
        assert ours.reset_infos == theirs.reset_infos


def test_infos_of_other_environments_are_empty() -> None:
    env, lanes = FunctionalGymEnv(ProcMaze()), FunctionalVectorEnv(ProcMaze(), 2)
    assert env.reset(seed=0)[1] == env.step(0)[-1] == {}
    assert lanes.reset(seed=0)[1] == lanes.step([0, 0])[-1] == {}
    vec = FunctionalVecEnv(ProcMaze(), 2)
    vec.seed(0)  # without a seed a maze now and then ends at the first step, whose infos are others
    vec.reset()
    assert vec.step(np.zeros(2, int))[-1] == [{"TimeLimit.truncated": False}] * 2
