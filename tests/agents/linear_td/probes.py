"""Small environments whose values are known, and the settings of these tests."""

import gymnasium
import numpy as np
from gymnasium import spaces

from mbrl_agents.td_dynamics.linear_features import FourierBasis, TabularBins

GAMMA, RATE, STEPS = 0.8, 0.1, 6
CELLS = TabularBins((-1.2, -0.07), (0.6, 0.07), (6, 4))
FEATURES = FourierBasis((-1.2, -0.07), (0.6, 0.07), 2)
SETTINGS = {"gamma": GAMMA, "learning_rate": RATE, "episode_steps": STEPS, "seed": 0, "device": "cpu"}


class Corridor(gymnasium.Env):
    """Places 3 to 7 of a discrete space that begins at 3; a step to the right a time, −1 each, the end at 7."""

    observation_space = spaces.Discrete(5, start=3)
    action_space = spaces.Discrete(2, start=1)

    def __init__(self):
        self.seen = []  # (place, action, reward, next place, terminated)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 3
        return self.place, {}

    def step(self, action):
        before = self.place
        self.place = max(self.place + (1 if action == 2 else -1), 3)
        terminated = self.place == 7
        self.seen.append((before, int(action), -1.0, self.place, terminated))
        return self.place, -1.0, terminated, False, {}


class Buttons(gymnasium.Env):
    """Actions of a kind that is not supported."""

    observation_space, action_space = spaces.Box(0, 1, (2,)), spaces.MultiBinary(3)


def predictions_of(behaviour, monkeypatch):
    """A list that gets all that an agent predicts from now on; it must be asked to explore."""
    made, predict = [], behaviour.predict

    def note(observation, deterministic=True):
        assert not deterministic
        actions, state = predict(observation, deterministic=deterministic)
        made.append(actions)
        return actions, state

    monkeypatch.setattr(behaviour, "predict", note)
    return made


class Remembers(gymnasium.Wrapper):
    """Keeps the actions that it was given."""

    def __init__(self, env):
        super().__init__(env)
        self.actions = []

    def step(self, action):
        self.actions.append(np.array(action))
        return super().step(action)
