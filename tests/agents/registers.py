"""A module that registers an environment when it is imported, which Gymnasium does for ids such as ``module:id``."""

import gymnasium

gymnasium.register("test/Registered-v0", "gymnasium.envs.classic_control:CartPoleEnv")
