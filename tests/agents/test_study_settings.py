"""Settings of the model-based generalisation study (REFERENCE section 2): initial weights, first actions, the optimiser."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from mbrl_agents import OMD, OMDSAC, LatentModelDQN, PerfectModelDQN, ReplayDQN, SimpleModelDQN, train_sweep
from mbrl_agents.core.networks import CodeDense
from mbrl_agents.core.q_learning import QLearning
from mbrl_envs import ProcMaze
from tests.agents.comparing import assert_same
from tests.agents.probes import Probe, ProbeState, make
from tests.agents.small import TINY

DQNS: dict[str, tuple[Any, dict[str, Any]]] = {
    "replay": (ReplayDQN, {}),
    "perfect": (PerfectModelDQN, {}),
    "simple": (SimpleModelDQN, {}),
    "categorical": (LatentModelDQN, {"latent": "categorical"}),
    "gaussian": (LatentModelDQN, {"latent": "gaussian"}),
}
CUT = scipy.stats.truncnorm(-2, 2)  # its standard deviation is .8796
FLUTE = "mbrl/PanFlute-v0"


# --- Initial weights ----------------------------------------------------------------------------------------------------------


def layers(params: Any) -> list[dict[str, np.ndarray]]:
    """All linear layers of a tree of networks."""
    if "kernel" in params:
        return [{name: np.asarray(each, float) for name, each in params.items()}]
    return [layer for each in params.values() for layer in layers(each)]


def unit_weights(found: list[dict[str, np.ndarray]]) -> np.ndarray:
    """All weights of layers, each times the root of its layer's number of inputs."""
    return np.concatenate([(layer["kernel"] * np.sqrt(len(layer["kernel"]))).ravel() for layer in found])


@pytest.mark.parametrize("name", DQNS)
def test_every_layer_starts_with_a_truncated_normal(name: str) -> None:
    """Weights·√inputs are standard normal, truncated at two and not rescaled (Kolmogorov–Smirnov); biases are 0."""
    cls, special = DQNS[name]
    state = cls("MlpPolicy", FLUTE, **special, policy_kwargs={"net_arch": [64, 64]}, seed=0).learner_state
    found = layers(state.params) + layers(getattr(state, "model", {}))
    # Three layers each: Q; dynamics and reward; encoder, decoder, dynamics and reward.
    assert len(found) == {"replay": 3, "perfect": 3, "simple": 9, "categorical": 15, "gaussian": 15}[name]
    for layer in found:
        assert not layer["bias"].any()
        assert np.abs(unit_weights([layer])).max() <= 2
        assert scipy.stats.kstest(unit_weights([layer]), CUT.cdf).pvalue > 1e-3
    units = unit_weights(found)
    error = CUT.std() * np.sqrt((CUT.stats("k") + 2) / 4 / len(units))  # of an estimated standard deviation
    assert units.std() == pytest.approx(0.8796, abs=4 * error)


def test_a_layer_of_codes_counts_all_values_as_inputs() -> None:
    params = CodeDense(300, 1024).init(jax.random.PRNGKey(0), jnp.zeros((1, 32), jnp.int32))["params"]
    assert np.std(params["kernel"]) * 32 == pytest.approx(0.8796, rel=0.005)


def test_first_action_values_are_as_wide_as_the_published_ones() -> None:
    """ProcMaze n=4, a network's values of five actions in 64 first observations: published .217, rescaled weights .33."""
    env = ProcMaze(4)
    states = jax.vmap(env.reset)(jax.random.split(jax.random.PRNGKey(0), 64))
    features = jax.vmap(env.observe)(states).reshape(64, -1).astype(jnp.float32)
    q = QLearning(features.shape[1], 5)
    values = jax.vmap(lambda key: q.values(q.init(key), features))(jax.random.split(jax.random.PRNGKey(1), 100))
    assert np.std(values, axis=(1, 2)).mean() == pytest.approx(0.217, rel=0.05)


@pytest.mark.parametrize("cls", [OMD, OMDSAC])
def test_other_agents_start_as_before(cls: Any) -> None:
    """OMD's kernels are orthogonal, OMDSAC's uniform: neither is a truncated normal."""
    env = FLUTE if cls is OMD else "Pendulum-v1"
    found = layers(cls("MlpPolicy", env, seed=0).learner_state.params if cls is OMD else {"actor": actor(env)})
    for layer in found:
        units = unit_weights([layer])
        assert units.size < 200 or scipy.stats.kstest(units, CUT.cdf).pvalue < 1e-6


def actor(env: str) -> Any:
    return OMDSAC("MlpPolicy", env, seed=0).learner_state.params.actor


# --- Who plays before learning starts -----------------------------------------------------------------------------------------

WARM: dict[str, Any] = {
    "learning_starts": 2000,
    "buffer_size": 2000,
    "batch_size": 16,
    "policy_kwargs": {"net_arch": [16, 16]},
    "temperature": 0.1,
    "seed": 4,
}


def softmax_policy(agent: Any, observation: np.ndarray) -> np.ndarray:
    """Probabilities of actions, from the saved parameters in float64."""
    x, params = observation.astype(float), agent.learner_state.params
    for i in range(len(params)):
        layer = params[f"Dense_{i}"]
        x = x @ np.asarray(layer["kernel"], float) + np.asarray(layer["bias"], float)
        x = np.where(x > 0, x, np.expm1(np.minimum(x, 0))) if i < len(params) - 1 else x
    return scipy.special.softmax(x / agent.temperature)


@pytest.mark.parametrize(
    ("name", "device_loop", "warmup"),
    [
        *(("replay", True, warmup) for warmup in ("uniform", "policy")),
        *((name, device_loop, "policy") for name, device_loop in (("replay", False), ("simple", True))),
        *(pytest.param(*each, "uniform", marks=pytest.mark.slow) for each in (("replay", False), ("simple", True))),
    ],
)
def test_first_actions_are_drawn_as_asked(name: str, device_loop: bool, warmup: str) -> None:
    """Where the observation never changes, counts of actions have the policy's binomial distribution."""
    cls, special = DQNS[name]
    agent = cls("MlpPolicy", make(Probe(0, "always")), **special, **WARM, warmup=warmup, device_loop=device_loop)
    untrained = jax.tree.map(np.array, agent.learner_state)
    agent.learn(2000)
    assert_same(untrained, agent.learner_state)
    stored = jax.device_get(agent.memory.state.stored)
    observations = stored.observation.reshape(2000, 2)
    assert (observations == observations[0]).all()
    counts = np.bincount(stored.action[:, 0], minlength=2)
    softmax = softmax_policy(agent, observations[0])
    assert np.abs(softmax - 0.5).min() > 0.1  # the two policies can be told apart
    expected = {"uniform": np.full(2, 0.5), "policy": softmax}
    assert scipy.stats.chisquare(counts, 2000 * expected.pop(warmup)).pvalue > 1e-3
    (other,) = expected.values()
    assert scipy.stats.chisquare(counts, 2000 * other).pvalue < 1e-9


@dataclasses.dataclass(frozen=True)
class Still(Probe):
    """Shows the same in every episode, too."""

    def observe(self, state: ProbeState) -> jax.Array:
        return jnp.array([1.0, -0.5])


def test_loops_draw_the_same_first_actions() -> None:
    """Both loops play the untrained network with the same keys, and learning begins after as many steps as ever."""
    agents = []
    for device_loop in (True, False):
        settings = WARM | {"learning_starts": 50, "warmup": "policy", "device_loop": device_loop}
        agents.append(ReplayDQN("MlpPolicy", make(Still(0, "always")), **settings).learn(60))
    one, other = (jax.device_get(agent.memory.state.stored.action)[:50] for agent in agents)
    assert 0 < one.mean() < 1
    np.testing.assert_array_equal(one, other)
    assert [agent._n_updates for agent in agents] == [10, 10]


@pytest.mark.parametrize("cls", [OMD, OMDSAC])
def test_agents_without_the_argument_play_uniformly(cls: Any) -> None:
    agent = cls("MlpPolicy", FLUTE if cls is OMD else "Pendulum-v1", _init_setup_model=False)
    agent._setup_program()
    assert agent.plan.warmup == "uniform"


def test_a_sweep_over_who_plays_first() -> None:
    """Each run is the one made alone, though these are two programs."""
    own = {name: value for name, value in TINY.items() if name != "seed"}
    swept = {"warmup": ["policy", "uniform"]}
    result = train_sweep(ReplayDQN, FLUTE, own | swept, seeds=[1], total_timesteps=60, eval_interval=60)
    for run, warmup in enumerate(swept["warmup"]):
        alone = ReplayDQN("MlpPolicy", FLUTE, **own, warmup=warmup, seed=1).learn(60)
        assert_same(alone.learner_state, result.agent(run).learner_state)


# --- Files --------------------------------------------------------------------------------------------------------------------


def rewritten(path: pathlib.Path, target: pathlib.Path, without: set[str]) -> pathlib.Path:
    """A saved agent's file whose configuration lacks some arguments, as older ones do."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "data":
                data = json.loads(content)
                data["arguments"] = {key: value for key, value in data["arguments"].items() if key not in without}
                content = json.dumps(data).encode()
            new.writestr(name, content)
    return target


def test_who_plays_first_is_saved_and_older_files_mean_uniform(tmp_path: pathlib.Path) -> None:
    agent = LatentModelDQN("MlpPolicy", FLUTE, latent="gaussian", **TINY, warmup="policy", latent_units=5, latent_min_std=0.2)
    agent.save(tmp_path / "agent.zip")
    again = LatentModelDQN.load(tmp_path / "agent.zip")
    assert (again.plan.warmup, again.learner.model.latent.num_units) == ("policy", 5)
    assert float(again.learner_state.hyper.model.min_std) == pytest.approx(0.2)
    agent = LatentModelDQN("MlpPolicy", FLUTE, latent="gaussian", **TINY)
    agent.save(tmp_path / "new.zip")
    added = {name for name in agent.arguments if name.startswith(("adam_", "latent_"))}
    added |= {"warmup", "separate_rollout_batch", "dynamics_kl_weight", "encoder_kl_weight"}
    old = LatentModelDQN.load(rewritten(tmp_path / "new.zip", tmp_path / "old.zip", added))
    assert old.plan.warmup == "uniform"
    assert old.arguments == agent.arguments
    assert_same(old.learner_state, agent.learner_state)


# --- The optimiser ------------------------------------------------------------------------------------------------------------


def test_the_optimisers_numbers_are_the_published_ones_and_can_be_changed() -> None:
    """b1 .9, b2 .99, ε 1e-5 and a decay of 1e-6 that is not multiplied by the learning rate; all are numbers of the state."""
    for cls, special in DQNS.values():
        agent = cls("MlpPolicy", FLUTE, **special, **TINY, _init_setup_model=False)
        agent._setup_program()
        adam = agent._make_hyperparameters().adam
        np.testing.assert_allclose(adam[:4], [0.9, 0.99, 1e-5, 1e-6], rtol=1e-6)
    numbers = {"adam_b1": 0.5, "adam_b2": 0.6, "adam_eps": 1e-3, "weight_decay": 1e-4}
    agent = ReplayDQN("MlpPolicy", FLUTE, **TINY, **numbers)
    np.testing.assert_allclose(agent.learner_state.hyper.adam[:4], list(numbers.values()), rtol=1e-6)
