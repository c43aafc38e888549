"""OMD's whole update beside one written from the equations alone, and the settings of the study's preset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_agents import OMD
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.networks import MLP
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.optimizer import PLAIN_ADAM
from mbrl_agents.core.replay import Batch
from mbrl_agents.core.schedules import Now
from mbrl_agents.experiments import published as presets
from mbrl_agents.omd import Direct, Identity
from mbrl_agents.omd.dynamics_model import DynamicsModel
from mbrl_agents.omd.learner import OMDHyperparameters, OMDLearner
from mbrl_agents.omd.losses import MODEL_LOSSES
from tests.agents.omd import published_update as published

FEATURES, ACTIONS, ROWS, UPDATES = 3, 2, 24, 3
CODEC = ObservationCodec("float", (FEATURES,), FEATURES)
GIVEN = published.Settings(0.9, 0.3, 0.1, 2e-2, 1e-2, 2, ACTIONS)


@pytest.fixture
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def wide(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def network(params: Any, i: int | None = None) -> published.Network:
    layers = (params[f"Dense_{k}"] for k in range(len(params)))
    return [tuple(each[name] if i is None else each[name][i] for name in ("kernel", "bias")) for each in layers]


def learned(state: Any) -> published.Learned:
    values, targets = ([network(each, i) for i in range(2)] for each in (state.params, state.target_params))
    model = {name: network(params) for name, params in state.model.items()}
    return published.Learned(values, targets, model, published.Adam.fresh(values), published.Adam.fresh(model))


def data_of(rng: np.random.Generator) -> published.Data:
    observation, following = rng.normal(size=(2, ROWS, FEATURES))
    return published.Data(observation, rng.integers(0, ACTIONS, ROWS), rng.normal(size=ROWS), following, rng.random(ROWS) < 0.3)


def batch_of(*parts: published.Data) -> Batch:
    data = published.Data(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    return Batch(*data[:4], GIVEN.gamma * ~data.terminated, data.terminated)


def learner_of(loss: str, **changes: Any) -> OMDLearner:
    return OMDLearner(
        CODEC, ACTIONS, DynamicsModel(CODEC, ACTIONS, hidden=(6, 5)), loss, hidden=(5, 6), inner_steps=2, **changes
    )


def narrow(state: Any) -> Any:
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.int32 if np.issubdtype(leaf.dtype, np.integer) else jnp.float32), state
    )


def state_of(learner: OMDLearner) -> Any:
    hyper = OMDHyperparameters(GIVEN.gamma, GIVEN.tau, GIVEN.model_rate, PLAIN_ADAM)
    state, other = (learner.init(jax.random.PRNGKey(key), hyper) for key in (0, 1))
    state = state._replace(target_params=other.params)
    if jax.config.jax_enable_x64:
        state = wide(state)
    # Weights of a size at which ReLUs, soft maxima and twins matter, and hyperparameters not rounded to float32.
    rng = np.random.default_rng(1)
    parts = {name: jax.tree.map(lambda leaf: rng.normal(size=leaf.shape) / 2, getattr(state, name)) for name in PARTS}
    return state._replace(**parts, hyper=jax.tree.map(np.float64, hyper))


PARTS = ("params", "target_params", "model", "value_networks")


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("loss", "damping"), [("omd", None), ("omd", 0.7), ("mle", None), ("vep", None)], ids=["omd", "omd, inverse", "mle", "vep"]
)
def test_three_updates_are_those_of_the_equations(loss: str, damping: float | None) -> None:
    """Optimisers, batches, moved targets, gradients: every weight after three updates of two inner steps, to 1e-9."""
    solver = Identity() if damping is None else Direct(damping)
    learner, rng = learner_of(loss, solver=solver), np.random.default_rng(2)
    state, given = state_of(learner), GIVEN._replace(damping=damping)
    wanted = learned(state)
    fixed = [network(state.value_networks, i) for i in range(5)] if loss == "vep" else None
    now = Now(Exploration(jnp.float64(GIVEN.alpha), 0.0), jnp.float64(GIVEN.rate))
    step, expect = jax.jit(learner.update), jax.jit(lambda *each: published.update(*each, loss, given, fixed))
    for _ in range(UPDATES):
        first, second = data_of(rng), data_of(rng)
        wanted = expect(wanted, first, second)
        state, *_ = step(state, batch_of(first) if loss == "omd" else batch_of(first, second), jax.random.PRNGKey(3), now)
    found = learned(state)
    for part in ("values", "targets", "model"):
        for ours, theirs in zip(jax.tree.leaves(getattr(found, part)), jax.tree.leaves(getattr(wanted, part)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12, err_msg=part)


def test_a_cold_start_begins_with_fresh_networks_and_targets() -> None:
    """What they were before does not matter, and without a learning rate the targets are the fresh networks."""
    learner = learner_of("omd", warm_start=False)
    batch = batch_of(data_of(np.random.default_rng(2)))
    now = Now(Exploration(jnp.float32(GIVEN.alpha), 0.0), jnp.float32(0.0))
    before = narrow(state_of(learner))
    other = before._replace(params=before.target_params, target_params=before.params)
    step = jax.jit(learner.update)
    one, two = (step(each, batch, jax.random.PRNGKey(4), now)[0] for each in (before, other))
    for part in ("params", "target_params", "model"):
        jax.tree.map(np.testing.assert_array_equal, getattr(one, part), getattr(two, part))
    jax.tree.map(np.testing.assert_array_equal, one.params, one.target_params)
    kernel = np.asarray(one.params["Dense_1"]["kernel"][0])
    np.testing.assert_allclose(kernel @ kernel.T, 2 * np.eye(5), atol=1e-6)  # fresh: orthogonal, with a gain of √2


def test_model_and_values_learn_from_batches_of_their_own_but_under_omd() -> None:
    """Their agents draw twice as many from the memory."""
    sizes = {}
    for loss in MODEL_LOSSES:
        agent = OMD("MlpPolicy", "mbrl/CartPole-v0", loss, batch_size=16, seed=0, _init_setup_model=False)
        agent._setup_program()
        sizes[loss] = (agent.batch_size, agent.plan.batch_size)
    assert sizes == {"omd": (16, 16), "mle": (16, 32), "vep": (16, 32), "vagram": (16, 32)}


def test_what_the_values_learn_from_does_not_reach_the_model() -> None:
    """Under the loss whose updates are not among those above; there the two batches differ, too."""
    learner, rng = learner_of("vagram"), np.random.default_rng(5)
    state = narrow(state_of(learner))
    parts = [data_of(rng) for _ in range(3)]
    now = Now(Exploration(jnp.float32(GIVEN.alpha), 0.0), jnp.float32(GIVEN.rate))
    batches = (batch_of(parts[i], parts[j]) for i, j in ((0, 1), (0, 2)))
    step = jax.jit(learner.update)
    one, two = (step(state, each, jax.random.PRNGKey(6), now)[0] for each in batches)
    jax.tree.map(np.testing.assert_array_equal, one.model, two.model)
    assert (one.params["Dense_0"]["kernel"] != two.params["Dense_0"]["kernel"]).any()


def test_initial_weights_are_the_published_ones() -> None:
    """Orthogonal, hidden layers with a gain of √2, the last with 1e-2; biases 0: of Q-networks, model and value functions."""
    agent = OMD("MlpPolicy", "mbrl/CartPole-v0", "vep", seed=0)
    state = agent.learner_state
    networks = [*state.model.values()]
    networks += [jax.tree.map(lambda leaf, i=i: leaf[i], state.params) for i in range(2)]
    networks += [jax.tree.map(lambda leaf, i=i: leaf[i], state.value_networks) for i in range(5)]
    assert len(networks) == 9
    for params in networks:
        assert set(params) == {"Dense_0", "Dense_1", "Dense_2"}
        for name, gain in (("Dense_0", 2**0.5), ("Dense_1", 2**0.5), ("Dense_2", 1e-2)):
            kernel = np.asarray(params[name]["kernel"], np.float64)
            kernel = kernel if len(kernel) <= kernel.shape[1] else kernel.T
            np.testing.assert_allclose(kernel @ kernel.T / gain**2, np.eye(len(kernel)), atol=1e-5)
            assert not params[name]["bias"].any()
    assert (state.params["Dense_0"]["kernel"][0] != state.params["Dense_0"]["kernel"][1]).any()
    jax.tree.map(np.testing.assert_array_equal, state.params, state.target_params)


def test_other_initial_weights_are_as_they_were() -> None:
    params = MLP((8,), 3, "relu", initializer="orthogonal").init(jax.random.PRNGKey(0), jnp.zeros((1, 4)))["params"]
    kernel = np.asarray(params["Dense_1"]["kernel"])
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(3), atol=1e-5)


@pytest.mark.parametrize(
    ("loss", "carry_optimizer", "goes_on"),
    [(loss, None, loss != "omd") for loss in MODEL_LOSSES] + [("omd", True, True), ("mle", False, False)],
)
def test_which_optimisers_go_on(loss: str, carry_optimizer: bool | None, goes_on: bool) -> None:
    given = OMD("MlpPolicy", "mbrl/CartPole-v0", loss, carry_optimizer=carry_optimizer, seed=0, _init_setup_model=False)
    given._setup_program()
    assert given.learner.carries_optimizer == goes_on
    assert learner_of(loss, carry_optimizer=carry_optimizer).carries_optimizer == goes_on


@pytest.mark.parametrize(("loss", "carry_optimizer", "goes_on"), [("omd", True, True), ("mle", False, False)])
def test_optimisers_go_on_or_not_as_asked(loss: str, carry_optimizer: bool, goes_on: bool) -> None:
    """Adam's count after two updates of two steps: four where it goes on, two where it begins anew."""
    learner = learner_of(loss, carry_optimizer=carry_optimizer)
    state, batch = narrow(state_of(learner)), batch_of(data_of(np.random.default_rng(2)))
    now = Now(Exploration(jnp.float32(GIVEN.alpha), 0.0), jnp.float32(GIVEN.rate))
    step = jax.jit(learner.update)
    for _ in range(2):
        state, *_ = step(state, batch, jax.random.PRNGKey(3), now)
    assert int(state.optimizer.count) == (4 if goes_on else 2)
    assert int(state.model_optimizer.count) == 2


def test_the_preset_is_the_published_one() -> None:
    """Numbers of REFERENCE, written down again here."""
    preset = presets.preset("omd-cartpole")
    regime = preset.regime
    assert preset.environment.id == "mbrl/CartPole-v0"  # CartPole-v1's dynamics and time limit
    assert (regime.total_timesteps, regime.eval_interval, regime.eval_episodes, regime.eval_steps) == (200_000, 1000, 10, 500)
    assert set(preset.arguments) == {"omd", "mle", "vep"}
    wanted: dict[str, Any] = {
        "learning_starts": 1000,
        "batch_size": 256,
        "gradient_steps": 1,
        "train_freq": 1,
        "inner_steps": 1,
        "twin": True,
        "soft_targets": True,
        "temperature": 0.01,
        "tau": 0.01,
        "learning_rate": 3e-4,
        "model_net_arch": [32, 32],
        "model_activation_fn": "relu",
        "stochastic_model": False,
        "model_learning_rate": 1e-3,
        "exploration_initial_eps": 0.1,
        "exploration_final_eps": 0.1,
        "policy_kwargs": {"net_arch": [32, 32], "activation_fn": "relu"},
        "solver": "identity",
        "damping": 1e-5,  # of conjugate gradients, if they are asked for
        "solver_steps": 100,
        "num_value_networks": 5,
        "learn_reward": True,
        "evaluation": "sample",
    }
    for label, arguments in preset.arguments.items():
        own = {"model_loss": label, "carry_optimizer": label != "omd"}
        assert {name: arguments[name] for name in wanted | own} == wanted | own
        agent = OMD("MlpPolicy", preset.environment.make(), **arguments, seed=0, _init_setup_model=False)
        given = set(agent.arguments) - {"stats_window_size", "tensorboard_log", "verbose", "seed", "device", "device_loop"}
        assert given == set(arguments)  # complete: no default can change it
        assert preset.for_agent("OMD", {"model_loss": label}) == arguments  # by mbrl train --set model_loss=…
    assert preset.for_agent("OMD") == preset.arguments["omd"]
