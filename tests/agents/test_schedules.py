"""What follows a schedule in acting and learning, and when target networks move, in both loops."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

from mbrl_agents import ReplayDQN
from mbrl_envs import FunctionalVecEnv
from tests.agents.comparing import assert_same
from tests.agents.small import TINY, agent, both_loops
from tests.agents.watching import assert_normalized, batches_drawn


class Keep(BaseCallback):
    """Keeps the parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    def _on_step(self) -> bool:
        self.kept.append(self.model.get_parameters()["policy"])
        return True


@both_loops
def test_learning_follows_the_schedule_of_its_step_size(device_loop: bool) -> None:
    """Nothing is learned any more where the step size is 0."""
    keep = Keep()
    learner = agent(device_loop, learning_rate=lambda progress: 1e-2 if progress > 0.5 else 0.0, weight_decay=0.0)
    begin = learner.get_parameters()["policy"]
    learner.learn(100, EveryNTimesteps(50, keep))
    middle, _ = keep.kept
    assert learner._n_updates == 70
    assert_same(learner.get_parameters()["policy"], middle)
    assert all((begin[name] != middle[name]).any() for name in begin)


@both_loops
def test_acting_follows_the_schedule_of_epsilon(device_loop: bool) -> None:
    """It falls from 1 to 0 in the first half: in the second one all actions are greedy."""
    explore: dict[str, Any] = {"exploration": "epsilon_greedy", "exploration_fraction": 0.5, "exploration_final_eps": 0.0}
    learner = agent(device_loop, gradient_steps=0, learning_starts=1, **explore)
    learner.learn(120)
    stored = jax.device_get(learner.memory.state.stored)
    greedy, _ = learner.predict(learner.replay.codec.decode(stored.observation[:120, 0]).astype(bool), deterministic=True)
    same = greedy == stored.action[:120, 0]
    assert same[60:].all()
    assert 20 < same[:60].sum() < 60  # by chance, too


def test_numbers_of_schedules() -> None:
    learner = agent(learning_rate=LinearSchedule(1e-3, 0.0, 1.0), temperature=lambda progress: 0.1 + progress)
    assert [learner.lr_schedule(progress) for progress in (1.0, 0.25, 0.0)] == pytest.approx([1e-3, 0.25e-3, 0.0])
    assert learner.exploration_at(0.5).temperature == pytest.approx(0.6)
    explore = {"exploration_fraction": 0.4, "exploration_initial_eps": 0.9, "exploration_final_eps": 0.1}
    learner = agent(exploration="epsilon_greedy", **explore)
    found = [learner.exploration_at(progress).epsilon for progress in (1.0, 0.9, 0.8, 0.6, 0.3, 0.0)]
    assert found == pytest.approx([0.9, 0.7, 0.5, 0.1, 0.1, 0.1])


@both_loops
def test_target_networks_move_once_an_interval(device_loop: bool) -> None:
    """After 30 transitions, and then not before 40: what it was given is what was learned up to the step before."""

    def learned(timesteps: int) -> Any:
        env = FunctionalVecEnv("PanFlute", 2, max_episode_steps=20)
        changes = TINY | {"target_update_interval": 10, "learning_starts": 14}
        return ReplayDQN("MlpPolicy", env, device_loop=device_loop, **changes).learn(timesteps).get_parameters()

    before, after = learned(28), learned(38)
    assert_same(after["policy.target"], before["policy"])
    assert all((after["policy"][name] != before["policy"][name]).any() for name in before["policy"])


def test_vec_normalize_goes_through_the_host_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored is not normalised; what is learned from is."""
    env = VecNormalize(make_vec_env("CartPole-v1", n_envs=2))
    learner = ReplayDQN("MlpPolicy", env, **TINY)
    batches = batches_drawn(learner, monkeypatch)
    learner.learn(120)
    stored = np.asarray(learner.memory.state.stored.reward)[: learner.memory.size()]
    assert set(np.unique(stored)) == {1.0}
    assert len(batches) == learner._n_updates > 0
    assert_normalized(batches)
