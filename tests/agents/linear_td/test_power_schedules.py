"""LinearTD with step sizes that follow a power of the number of updates: both loops, files, sweeps, predictions, logs."""

import gymnasium
import numpy as np
import pytest
import yaml
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from mbrl_agents import LinearTD, ReplayDQN, train_sweep
from mbrl_agents.td_dynamics import PowerSchedule
from mbrl_agents.td_dynamics.given_features import to_json
from tests.agents.linear_td.probes import FEATURES, GAMMA, SETTINGS, STEPS, Corridor
from tuning import create_study

SCHEDULE = PowerSchedule(0.2, 0.75, 3.0)
RATES = 0.2 * (1 + np.arange(10) / 3) ** -0.75  # of the updates 1 … 10
WITH_SCHEDULE = SETTINGS | {"learning_rate": SCHEDULE}


class Kept(KVWriter):
    """Keeps what is logged of the learning rate."""

    def __init__(self):
        self.rates = []

    def write(self, key_values, key_excluded, step=0):
        if "train/learning_rate" in key_values:
            self.rates.append(key_values["train/learning_rate"])

    def close(self):
        pass


def updated(weights, rate, psi, rewards, psi_next, terminated):
    """An update of one episode's transitions in float64."""
    delta = rewards + GAMMA * (1 - terminated) * (psi_next @ weights) - psi @ weights
    return weights + rate * delta @ psi


def test_host_loop_is_the_formula_and_logs_the_step_size():
    env, kept = Corridor(), Kept()
    agent = LinearTD("tabular", env, policy=[2] * 5, **{**WITH_SCHEDULE, "episode_steps": 4})
    agent.set_logger(Logger(None, [kept]))
    weights = np.zeros(5)
    for rate in RATES:
        agent.learn(4, log_interval=1, reset_num_timesteps=False)
        now, _, rewards, after, terminated = (np.array(each) for each in zip(*env.seen[-4:], strict=True))
        weights = updated(weights, rate, np.eye(5)[now - 3], rewards, np.eye(5)[after - 3], terminated)
        np.testing.assert_allclose(agent.weights, weights, rtol=1e-5, atol=1e-6)
    agent.dump_logs()  # else an update is logged at the end of the next episode
    assert len(env.seen) == 40
    np.testing.assert_allclose(kept.rates, RATES, rtol=1e-5)


def on_device(num_updates, found=None, kept=None):
    env = DummyVecEnv([lambda: gymnasium.make("mbrl/MountainCar-v0", max_episode_steps=STEPS)])
    agent = LinearTD(FEATURES, env, device_loop=True, **WITH_SCHEDULE)
    if kept is not None:
        agent.set_logger(Logger(None, [kept]))
    for i in range(num_updates):
        agent.learn(STEPS, log_interval=1, reset_num_timesteps=i == 0)
        if found is not None:
            stored = agent.memory.state.stored
            rows = (stored.observation, stored.reward, stored.next_observation, stored.terminated)
            found.append((agent.weights, [np.asarray(each).reshape(STEPS, *each.shape[2:]) for each in rows]))
    return agent


def test_device_loop_is_the_formula_and_logs_the_step_size():
    found, kept, weights = [], Kept(), np.zeros(9)
    on_device(5, found, kept)
    for rate, (after, (now, reward, later, ended)) in zip(RATES, found, strict=False):
        psi, psi_next = (np.asarray(FEATURES(each), float) for each in (now, later))
        weights = updated(weights, rate, psi, reward.astype(float), psi_next, ended)
        np.testing.assert_allclose(after, weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(kept.rates, RATES[:5], rtol=1e-5)


def test_saved_and_loaded_it_goes_on_with_the_next_step_size(tmp_path):
    agent = on_device(3)
    agent.save(tmp_path / "agent.zip")
    again = LinearTD.load(tmp_path / "agent.zip", env=agent.env, device="cpu")
    assert again.arguments["learning_rate"] == {"kind": "PowerSchedule", "step_size": 0.2, "exponent": 0.75, "delay": 3.0}
    again.learn(2 * STEPS, reset_num_timesteps=False)
    undisturbed = on_device(5)
    np.testing.assert_array_equal(again.weights, undisturbed.weights)
    fixed = LinearTD.load(tmp_path / "agent.zip", env=agent.env, device="cpu", learning_rate=0.2)
    fixed.learn(2 * STEPS, reset_num_timesteps=False)
    assert not np.allclose(fixed.weights, undisturbed.weights)


def test_predicted_curve_follows_the_schedule():
    """Where nothing is left to chance it is what learning does: to the right, four steps from place 3 to the end."""
    agent = LinearTD("tabular", Corridor(), policy=lambda place: 2, **{**WITH_SCHEDULE, "episode_steps": 4})
    predicted = agent.predict_curve(10, num_episodes=2, fourth_moments="exact")
    values = np.append(-(1 - GAMMA ** np.arange(4, 0, -1)) / (1 - GAMMA), 0)
    learned = [np.square(agent.weights - values).sum()]
    for _ in range(10):
        agent.learn(4, reset_num_timesteps=False)
        learned.append(np.square(agent.weights - values).sum())
    np.testing.assert_allclose(predicted, learned, rtol=1e-4)


def test_sweeps_run_schedules_beside_numbers():
    hyperparameters = {"learning_rate": [SCHEDULE, 0.05], "gamma": GAMMA, "episode_steps": STEPS, "features": to_json(FEATURES)}
    env = gymnasium.make("mbrl/MountainCar-v0", max_episode_steps=STEPS)
    result = train_sweep("LinearTD", env, hyperparameters, seeds=1, total_timesteps=10 * STEPS, execution="vmap")
    assert yaml.safe_load(yaml.safe_dump(result.setting(0)))["learning_rate"]["step_size"] == 0.2
    for run, rate in enumerate((SCHEDULE, 0.05)):
        alone = LinearTD(FEATURES, env, **(SETTINGS | {"learning_rate": rate}))
        alone.learn(10 * STEPS)
        np.testing.assert_allclose(result.agent(run).weights, alone.weights, rtol=1e-5)
        assert result.agent(run).learner_state.updates == 10


def test_other_agents_refuse_them_by_name():
    with pytest.raises(TypeError, match="learning_rate must be"):
        train_sweep("ReplayDQN", "mbrl/PanFlute-v0", {"learning_rate": [SCHEDULE, 1e-3]}, total_timesteps=10)
    with pytest.raises(TypeError, match="learning_rate must be"):
        ReplayDQN("MlpPolicy", "mbrl/PanFlute-v0", learning_rate=SCHEDULE)


def test_studies_search_numbers_and_refuse_them_by_name(tmp_path):
    with pytest.raises(TypeError, match=r"learning_rate: values must be numbers, .* got PowerSchedule"):
        create_study(
            "LinearTD", "mbrl/MountainCar-v0", {"learning_rate": [SCHEDULE, 0.1]}, folder=tmp_path / "study", total_timesteps=10
        )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "Staircase", "step_size": 0.1}, "kind 'PowerSchedule', got 'Staircase'"),
        ({"kind": "PowerSchedule", "step_size": -0.1}, "step_size must be"),
        ({"kind": "PowerSchedule", "exponent": 1.0}, "must have a step_size"),
        ({"kind": "PowerSchedule", "step_size": 0.1, "power": 1.0}, "not power"),
    ],
)
def test_damaged_schedules_are_refused(data, message):
    with pytest.raises((TypeError, ValueError), match=message):
        LinearTD("tabular", Corridor(), **(SETTINGS | {"learning_rate": data}))
    assert PowerSchedule.from_json(SCHEDULE.to_json()) == SCHEDULE
