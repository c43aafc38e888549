"""The model-based agents: they learn what can be known, in both loops; they save, continue, sweep; bad input."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mbrl_envs
from mbrl_agents import LatentModelDQN, PerfectModelDQN, ReplayDQN, SimpleModelDQN, train_sweep
from mbrl_agents.core.replay import Batch
from mbrl_agents.core.schedules import Now
from mbrl_agents.model_dqn import learner as dqn_learner
from mbrl_agents.model_dqn.learner import ModelDQNLearner
from mbrl_agents.model_dqn.world_model import Imagined
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_envs import PanFlute
from tests.agents.comparing import assert_same
from tests.agents.probes import Probe, make

AGENTS: dict[str, tuple[type[JaxAgent], dict[str, Any]]] = {
    "perfect": (PerfectModelDQN, {}),
    "simple": (SimpleModelDQN, {}),
    "categorical": (LatentModelDQN, {"latent": "categorical"}),
    "gaussian": (LatentModelDQN, {"latent": "gaussian"}),
    "tanh_gaussian": (LatentModelDQN, {"latent": "tanh_gaussian"}),
}
SMALL: dict[str, Any] = {
    "learning_rate": 3e-3,
    "buffer_size": 500,
    "learning_starts": 50,
    "batch_size": 16,
    "rollout_length": 3,
    "target_update_interval": 10,
    "weight_decay": 0.0,
    "policy_kwargs": {"net_arch": [32], "activation_fn": "tanh"},
    "seed": 0,
}


def agent(name: str, env: Any = "mbrl/PanFlute-v0", **changes: Any) -> Any:
    cls, own = AGENTS[name]
    return cls("MlpPolicy", env, **(SMALL | own | changes))


def values(model: Any, *observations: tuple[float, float]) -> np.ndarray:
    """Action values, averaged over what latent models draw."""
    features = jnp.repeat(jnp.array(observations, jnp.float32), 64, 0)
    state = model.learner_state
    read = model.learner._perceive(state, features, jax.random.PRNGKey(0))
    return np.asarray(model.learner.q.values(state.params, read)).reshape(len(observations), 64, -1).mean(1)


# The tanh is the only difference between two of them (tests/agents/test_latents.py).
all_agents = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "tanh_gaussian" else name for name in AGENTS]
)
SLOW_TO_LEARN = [("simple", False), ("gaussian", True), ("categorical", True)]


# --- What can be known is learned ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{}, {"double_q": True, "rollout_length": 1}, pytest.param({"rollout_batch_size": 5}, marks=pytest.mark.slow)],
    ids=str,
)
def test_the_perfect_model_reaches_closed_form_values(changes: dict) -> None:
    model = agent("perfect", make(Probe(2, "last")), temperature=1.0, **changes).learn(900)
    np.testing.assert_allclose(values(model, (0, 1), (0, -1)), 0.9, atol=0.05)
    np.testing.assert_allclose(values(model, (1, 1), (1, -1)), 1.0, atol=0.05)


@pytest.mark.parametrize(
    ("name", "device_loop"),
    [("simple", True), *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW_TO_LEARN)],
    ids=str,
)
def test_learned_models_reach_closed_form_values(name: str, device_loop: bool) -> None:
    """One step with a reward that the action decides; the model has to find reward and end."""
    changes = {"temperature": 2.0, "model_learning_rate": 3e-3, "device_loop": device_loop, "batch_size": 32}
    model = agent(name, make(Probe(1, "action")), **changes).learn(1200)
    np.testing.assert_allclose(values(model, (0, 1), (0, -1)), [[-1, 1], [-1, 1]], atol=0.15)


def test_a_learned_model_finds_the_dynamics_of_a_deterministic_environment() -> None:
    """PanFlute without chance: after training no imagined bit, and no reward, is wrong."""
    env = PanFlute(2, spontaneous=False)
    changes = {"model_learning_rate": 3e-3, "temperature": 1.0, "batch_size": 64}
    model = agent("simple", mbrl_envs.FunctionalGymEnv(env), **changes).learn(2500)
    state, key = env.reset(jax.random.PRNGKey(5)), jax.random.PRNGKey(6)
    step = jax.jit(env.step)
    for t in range(40):
        action = int(jax.random.randint(jax.random.fold_in(key, t), (), 0, 2))
        features = jnp.asarray(env.observe(state), jnp.float32)[None]
        world, params = model.learner.model, model.learner_state.model
        imagined, known = world.step(params, features, jnp.array([action]), key)
        outcome = world.outcome(params, features, jnp.array([action]), known)
        out = step(key, state, jnp.int32(action))
        if t >= 2:  # silence, with which the task begins, never comes again, and is no longer in the replay memory
            np.testing.assert_array_equal(imagined[0], env.observe(out.state))
            assert float(outcome.reward[0]) == pytest.approx(float(out.reward), abs=0.05)
            assert float(outcome.continuation[0]) == 1
        state = out.state


# --- Updates ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("double_q", [False, True])
@pytest.mark.parametrize("name", ["simple", "categorical"])
def test_targets_of_imagined_steps(name: str, double_q: bool) -> None:
    """r + γ·c·max Q⁻ (or Q⁻ of the network's best), weighted by the c before; loss against NumPy."""
    model = agent(name, make(Probe(2, "last")), double_q=double_q)
    learner, state = model.learner, model.learner_state
    state = state._replace(target_params=jax.tree.map(lambda leaf: -1.5 * leaf + 0.1, state.params))
    rng = np.random.default_rng(0)
    if learner.q.num_codes:
        features = 32 * rng.integers(32, size=(4, 5, 32)) + np.arange(32)
    else:
        features = rng.normal(size=(4, 5, 2)).astype(np.float32)
    action, reward, continuation = rng.integers(2, size=(3, 5)), rng.normal(size=(3, 5)), rng.uniform(size=(3, 5))
    imagined = Imagined(
        jnp.asarray(features, jnp.int32 if learner.q.num_codes else jnp.float32),
        jnp.asarray(action, jnp.int32),
        jnp.asarray(reward, jnp.float32),
        jnp.asarray(continuation, jnp.float32),
        learner.q.values_with_aux(state.params, jnp.asarray(features[:-1]))[1],
    )
    experience = learner.experience(imagined, jnp.float32(0.9))
    after, metrics = learner.q.update(state, experience, jnp.float32(0.01))
    again, _ = learner.q.update(state, experience._replace(products=None), jnp.float32(0.01))
    for a, b in zip(jax.tree.leaves(after.params), jax.tree.leaves(again.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)  # steps of .01 and less
    online, target = (np.asarray(learner.q.values(p, imagined.features)) for p in (state.params, state.target_params))
    best = (online if double_q else target)[1:].argmax(-1)
    goal = reward + 0.9 * continuation * np.take_along_axis(target[1:], best[..., None], -1)[..., 0]
    error = np.take_along_axis(online[:-1], action[..., None], -1)[..., 0] - goal
    weight = np.concatenate([np.ones((1, 5)), np.cumprod(continuation[:-1], 0)])
    assert float(metrics["loss"]) == pytest.approx((weight * error**2).mean(), rel=1e-4)


@pytest.mark.parametrize("name", ["simple", pytest.param("categorical", marks=pytest.mark.slow)])
def test_q_learning_does_not_change_the_model(name: str) -> None:
    """With the model's step size 0 (and no decay) its parameters stay as they were; those of Q do not."""
    model = agent(name, model_learning_rate=0.0)
    before = jax.tree.map(np.array, model.learner_state)
    after = model.learn(150).learner_state
    assert_same(before.model, after.model)
    moved = zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True)
    assert any((one != other).any() for one, other in moved)


@pytest.mark.parametrize("cls", [SimpleModelDQN, LatentModelDQN])
def test_weights_of_the_models_losses_reach_the_learner(cls: type[JaxAgent]) -> None:
    own = {"reward": 0.5, "termination": 2.0, "observation": 0.25}
    own |= {"dynamics": 3.0, "prior": 0.125, "dynamics_kl": 0.5, "encoder_kl": 0.75} if cls is LatentModelDQN else {}
    given = {f"{name}_weight": value for name, value in own.items()}
    model = cls("MlpPolicy", "mbrl/PanFlute-v0", **(SMALL | given))
    weights = model.learner_state.hyper.model.weights._asdict()
    assert {name: float(weights[name]) for name in own} == own


# Each of them is a program of its own: by default once fewer, once more; once of the model's own, once of others.
ROLLOUTS = [(sizes, separate) for sizes in ((16, None), (16, 4), (4, 16)) for separate in (False, True)]
ROLLOUTS_BY_DEFAULT = [((16, 4), True), ((4, 16), False)]


@pytest.mark.parametrize(
    ("sizes", "separate"),
    [pytest.param(*each, marks=[] if each in ROLLOUTS_BY_DEFAULT else pytest.mark.slow) for each in ROLLOUTS],
    ids=str,
)
def test_roll_outs_may_be_more_or_fewer_than_the_models_batch(
    sizes: tuple[int, int | None], separate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model learns from the first transitions that are drawn; roll-outs start from these, too, or from further ones."""
    size, rollout = sizes[0], sizes[1] or sizes[0]
    model = agent("simple", batch_size=size, rollout_batch_size=sizes[1], separate_rollout_batch=separate).learn(60)
    assert model._n_updates == 10
    assert model.plan.batch_size == (size + rollout if separate else max(size, rollout))
    batch = model.memory.sample(model.plan.batch_size, jax.random.PRNGKey(0), 0.9)
    used: dict[str, Any] = {}
    learn, imagine = ModelDQNLearner.update_model, dqn_learner.imagine

    def update_model(self: Any, state: Any, seen: Batch, key: jax.Array) -> Any:
        used["model"] = seen.observation
        return learn(self, state, seen, key)

    def imagined(world: Any, params: Any, start: jax.Array, *rest: Any) -> Imagined:
        used["roll-outs"] = start
        return imagine(world, params, start, *rest)

    monkeypatch.setattr(ModelDQNLearner, "update_model", update_model)
    monkeypatch.setattr(dqn_learner, "imagine", imagined)
    now = Now(model.exploration_at(1.0), np.float32(1e-3))
    found = jax.jit(lambda: (model.learner.update(model.learner_state, batch, jax.random.PRNGKey(0), now), used)[1])()
    np.testing.assert_array_equal(found["model"], batch.observation[:size])
    begin = size if separate else 0
    np.testing.assert_array_equal(found["roll-outs"], batch.observation[begin : begin + rollout])


# --- SB3's contract -----------------------------------------------------------------------------------------------------------


@all_agents
def test_continuing_equals_never_having_stopped(name: str, tmp_path: pathlib.Path) -> None:
    undisturbed = agent(name).learn(90)
    undisturbed.learn(60, reset_num_timesteps=False)
    stopped = agent(name).learn(90)
    stopped.save(tmp_path / "agent")
    stopped.save_replay_buffer(tmp_path / "replay")
    continued = AGENTS[name][0].load(tmp_path / "agent", env=gymnasium.make("mbrl/PanFlute-v0"))
    continued.load_replay_buffer(tmp_path / "replay")
    continued.learn(60, reset_num_timesteps=False)
    assert_same(undisturbed.run, continued.run)
    parameters = continued.get_parameters()
    expected = {"policy", "policy.target", "policy.optimizer"}
    assert set(parameters) == expected | (set() if name == "perfect" else {"model", "model.optimizer"})


@all_agents
def test_an_agent_without_an_environment_predicts(name: str, tmp_path: pathlib.Path) -> None:
    model = agent(name).learn(60)
    model.save(tmp_path / "agent")
    loaded = AGENTS[name][0].load(tmp_path / "agent")
    observations = np.random.default_rng(0).integers(2, size=(64, 15)).astype(bool)
    actions, _ = model.predict(observations, deterministic=True)
    assert len(set(actions.tolist())) > 1
    np.testing.assert_array_equal(loaded.predict(observations, deterministic=True)[0], actions)


@pytest.mark.parametrize(
    ("name", "learned_variance"),
    [("simple", True), ("gaussian", False), pytest.param("categorical", False, marks=pytest.mark.slow)],
)
def test_learned_models_run_on_cartpole(name: str, learned_variance: bool) -> None:
    model = agent(name, "CartPole-v1", learned_variance=learned_variance).learn(120)
    assert model._n_updates == 70
    assert all(np.isfinite(leaf).all() for part in model.get_parameters().values() for leaf in part.values())


def test_a_sweep_over_what_is_special_to_models() -> None:
    """One program; each run is the one made alone."""
    swept = {"model_learning_rate": [1e-3, 3e-4], "observation_weight": [1.0, 0.1]}
    own = {name: value for name, value in SMALL.items() if name != "seed"}
    result = train_sweep(SimpleModelDQN, "mbrl/PanFlute-v0", own | swept, total_timesteps=150, eval_interval=150)
    for run in range(2):
        alone = agent("simple", **{name: each[run] for name, each in swept.items()}).learn(150)
        assert_same(alone.learner_state, result.agent(run).learner_state)
    assert {"train/model_loss", "train/model_reward", "train/model_observation"} <= set(result.table()["metric"])


# --- Bad input ----------------------------------------------------------------------------------------------------------------


def test_the_perfect_model_needs_dynamics() -> None:
    with pytest.raises(
        ValueError, match=r"needs functional dynamics .*SimpleModelDQN and LatentModelDQN learn a model anywhere"
    ):
        PerfectModelDQN("MlpPolicy", "CartPole-v1")


@pytest.mark.parametrize(
    ("cls", "changes", "error", "message"),
    [
        (SimpleModelDQN, {"rollout_length": 0}, ValueError, "rollout_length must be an integer from 1"),
        (SimpleModelDQN, {"rollout_batch_size": 1.5}, TypeError, "rollout_batch_size must be an integer"),
        (SimpleModelDQN, {"model_learning_rate": float("nan")}, ValueError, "model_learning_rate must be"),
        (SimpleModelDQN, {"observation_weight": -1.0}, ValueError, "observation_weight must be"),
        (SimpleModelDQN, {"raw_logits": 1}, TypeError, "raw_logits must be True or False"),
        (SimpleModelDQN, {"separate_rollout_batch": 2}, TypeError, "separate_rollout_batch must be True or False"),
        (SimpleModelDQN, {"warmup": "greedy"}, ValueError, "warmup must be one of 'uniform', 'policy'; got 'greedy'"),
        (SimpleModelDQN, {"adam_b2": 1.0}, ValueError, "adam_b2 must be a finite number of at least 0 and below 1, got 1.0"),
        (SimpleModelDQN, {"adam_eps": 0.0}, ValueError, "adam_eps must be a finite number above 0, got 0.0"),
        (LatentModelDQN, {"latent_classes": 1}, ValueError, "latent_classes must be an integer from 2"),
        (LatentModelDQN, {"latent_units": 2.5}, TypeError, "latent_units must be an integer from 1"),
        (LatentModelDQN, {"latent_min_std": -0.1}, ValueError, "latent_min_std must be"),
        (
            LatentModelDQN,
            {"latent_std_activation": "exp"},
            ValueError,
            "latent_std_activation must be one of 'sigmoid', 'softp",
        ),
        (LatentModelDQN, {"encoder_kl_weight": -1}, ValueError, "encoder_kl_weight must be"),
        (SimpleModelDQN, {"continuing": "no"}, TypeError, "continuing must be True or False"),
        (
            LatentModelDQN,
            {"latent": "discrete"},
            ValueError,
            "latent must be one of 'categorical', 'gaussian', 'tanh_gaussian'",
        ),
        (LatentModelDQN, {"published_mask": None}, TypeError, "published_mask must be True or False"),
        (LatentModelDQN, {"policy_kwargs": {"net_arch": []}}, ValueError, "net_arch must have at least one hidden layer"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_arguments(cls: type[JaxAgent], changes: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cls("MlpPolicy", "mbrl/PanFlute-v0", **changes)


@functools.cache
def first_steps_of_replay_dqn() -> Any:
    changes = {"learning_starts": 50, "batch_size": 16, "policy_kwargs": {"net_arch": [8]}}
    return jax.device_get(ReplayDQN("MlpPolicy", "mbrl/PanFlute-v0", seed=0, **changes).learn(40).memory.state.stored)


@all_agents
def test_actions_before_learning_are_those_of_replay_dqn(name: str) -> None:
    """They share everything but where transitions come from: equal seeds give equal starts and first actions."""
    one, other = first_steps_of_replay_dqn(), jax.device_get(agent(name).learn(40).memory.state.stored)
    np.testing.assert_array_equal(one.action[:40], other.action[:40])
    np.testing.assert_array_equal(one.observation[:40], other.observation[:40])
    assert len(set(one.action[:40, 0].tolist())) > 1
