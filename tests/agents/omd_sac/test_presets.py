"""The presets: the published settings of OMD on HalfCheetah (arXiv 2106.03273), and agents that can be made of them."""

from __future__ import annotations

import inspect

import gymnasium
import numpy as np
import pytest

from mbrl_agents import OMDSAC
from mbrl_agents.experiments import published
from mbrl_agents.omd import Identity

PUBLISHED = {
    "learning_rate": 3e-4,
    "model_learning_rate": 3e-4,
    "learning_starts": 10_000,
    "batch_size": 256,
    "tau": 0.005,
    "train_freq": 1,
    "gradient_steps": 1,
    "target_entropy": -6 / 2,
    "inner_steps": 1,
    "inner_loop": "all",
    "solver": "identity",
    "damping": 1e-5,  # of conjugate gradients, if they are asked for; OMDSAC's default is another
    "solver_steps": 100,
    "stochastic_model": False,
    "model_trunk": "shared",
    "initializer": "orthogonal",
    "policy_kwargs": {"net_arch": [256, 256], "activation_fn": "relu"},
}
WIDTHS = {"omd-halfcheetah": 256, "omd-halfcheetah-small-model": 64, "omd-halfcheetah-distractors": 256}
OTHER = {"policy", "env", "stats_window_size", "tensorboard_log", "verbose", "seed", "device", "device_loop"}


class CheetahSpaces(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (17,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (6,), np.float32)


@pytest.mark.parametrize("name", WIDTHS)
def test_settings_are_the_published_ones(name: str) -> None:
    preset = published.preset(name)
    regime = preset.regime
    assert (regime.total_timesteps, regime.eval_interval, regime.eval_episodes, regime.n_envs) == (1_000_000, 5000, 10, 1)
    if name.endswith("distractors"):
        assert preset.environment.id == "mbrl/Distracted-v0"
        assert preset.environment.arguments == {"env_id": "HalfCheetah-v5", "num_distractors": 0}
    else:
        assert (preset.environment.id, preset.environment.arguments) == ("HalfCheetah-v5", {})
    assert set(preset.agents) == {"omd", "mle"}
    for label, arguments in preset.arguments.items():
        expected = PUBLISHED | {"model_loss": label, "model_net_arch": [WIDTHS[name]] * 2}
        assert {key: arguments[key] for key in expected} == expected
        # Complete: another default cannot change what a preset says.
        assert set(arguments) == {*inspect.signature(OMDSAC).parameters} - OTHER - {"_init_setup_model"}


def test_the_agent_of_a_preset() -> None:
    """One trunk with two outputs (6 866 parameters), all weights orthogonal with gain √2, all biases 0."""
    arguments = published.preset("omd-halfcheetah-small-model").for_label("omd", "OMDSAC", {})
    agent = OMDSAC("MlpPolicy", CheetahSpaces(), **arguments, seed=0)
    assert agent.learner.solver == Identity()
    assert float(agent.learner_state.hyper.target_entropy) == -3.0
    parts = agent.get_parameters()
    assert sum(array.size for array in parts["model"].values()) == 6866
    arrays = {**parts["model"], **parts["policy"]}
    kernels = [array for name, array in arrays.items() if name.endswith("kernel")]
    assert len(kernels) == 9
    for kernel in (each for array in kernels for each in (array if array.ndim == 3 else array[None])):
        short = kernel if kernel.shape[0] <= kernel.shape[1] else kernel.T
        np.testing.assert_allclose(short @ short.T, 2 * np.eye(len(short)), atol=1e-5)
    assert all((array == 0).all() for name, array in arrays.items() if name.endswith("bias"))
