"""OMDSAC's inner steps: beside Stable-Baselines3's own SAC, number by number."""

from __future__ import annotations

import types
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.logger import configure

from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.optimizer import AdamHyperparameters
from mbrl_agents.core.replay import Batch
from mbrl_agents.core.schedules import Now
from mbrl_agents.omd_sac.learner import OMDSACLearner, SACHyperparameters, SACParams
from mbrl_agents.omd_sac.networks import SquashedGaussianActor

FEATURES, ACTIONS, ROWS, GAMMA, RATE, ENT_COEF = 5, 3, 64, 0.99, 3e-4, 0.7
CODEC = ObservationCodec("float", (FEATURES,), FEATURES)
ADAM = AdamHyperparameters(b2=0.999, eps=1e-8, weight_decay=0.0)
HYPER = SACHyperparameters(GAMMA, 0.005, RATE, -float(ACTIONS), ENT_COEF, ADAM)


def learner_of(model_loss: str, learn_ent_coef: bool = True, **changes: Any) -> OMDSACLearner:
    return OMDSACLearner(CODEC, None, model_loss, SquashedGaussianActor(ACTIONS), learn_ent_coef=learn_ent_coef, **changes)


def batch_of(rng: np.random.Generator, rows: int = ROWS) -> Batch:
    observation, following = rng.normal(size=(2, rows, FEATURES))
    terminated = rng.random(rows) < 0.2
    action = rng.uniform(-1, 1, (rows, ACTIONS))
    return Batch(observation, action, rng.normal(size=rows), following, GAMMA * ~terminated, terminated)


def wide(tree: Any) -> Any:
    """The tree with all its real numbers in double precision."""
    numbers = jax.tree.map(jnp.asarray, tree)
    return jax.tree.map(lambda leaf: leaf.astype(float) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, numbers)


class Nowhere(gymnasium.Env):
    """Spaces without dynamics."""

    observation_space = spaces.Box(-np.inf, np.inf, (FEATURES,), np.float32)
    action_space = spaces.Box(-1, 1, (ACTIONS,), np.float32)


class SB3:
    """Stable-Baselines3's SAC with our parameters, batches and noise."""

    def __init__(self, state: Any, ent_coef: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sac = SAC("MlpPolicy", Nowhere(), ent_coef=ent_coef, gamma=GAMMA, learning_rate=RATE, device="cpu")
        self.sac.set_logger(configure(None, []))
        self.sac.policy.double()
        actor, critics = state.params.actor, state.params.critics
        last = {name: np.split(np.asarray(values), 2, axis=-1) for name, values in actor["Dense_2"].items()}
        for layer, given in (
            (self.sac.actor.latent_pi[0], actor["Dense_0"]),
            (self.sac.actor.latent_pi[2], actor["Dense_1"]),
            (self.sac.actor.mu, {name: each[0] for name, each in last.items()}),
            (self.sac.actor.log_std, {name: each[1] for name, each in last.items()}),
        ):
            self._set(layer, given)
        for i, name in enumerate(("qf0", "qf1")):
            for place in range(3):
                given = {key: each[i] for key, each in critics[f"Dense_{place}"].items()}
                self._set(getattr(self.sac.critic, name)[2 * place], given)
                self._set(getattr(self.sac.critic_target, name)[2 * place], given)
        if self.sac.log_ent_coef is not None:
            self.sac.log_ent_coef.data = torch.tensor([float(state.params.log_ent_coef)], dtype=torch.float64)
        else:
            self.sac.ent_coef_tensor = torch.tensor(ENT_COEF, dtype=torch.float64)
        self.noise: list[torch.Tensor] = []
        monkeypatch.setattr("stable_baselines3.common.policies.preprocess_obs", lambda obs, *_, **__: obs)  # casts to float32
        monkeypatch.setattr("torch.distributions.normal._standard_normal", lambda *_, **__: self.noise.pop(0))

    def _set(self, layer: Any, given: dict[str, Any]) -> None:
        layer.weight.data = torch.tensor(np.array(given["kernel"]).T, dtype=torch.float64)
        layer.bias.data = torch.tensor(np.array(given["bias"]), dtype=torch.float64)

    def update(self, batch: Batch, noise: Any) -> None:
        def tensor(array: Any) -> torch.Tensor:
            return torch.tensor(np.array(array), dtype=torch.float64)

        data = types.SimpleNamespace(
            observations=tensor(batch.observation),
            actions=tensor(batch.action),
            rewards=tensor(batch.reward)[:, None],
            next_observations=tensor(batch.next_observation),
            dones=tensor(batch.terminated)[:, None],
            discounts=None,
        )
        self.noise = [tensor(noise.action), tensor(noise.next_action)]
        self.sac.replay_buffer = types.SimpleNamespace(sample=lambda *_, **__: data)  # type: ignore[assignment]
        self.sac.train(1, ROWS)
        assert not self.noise

    def critic(self, which: Any) -> list[np.ndarray]:
        return [layer.detach().numpy() for name in ("qf0", "qf1") for layer in getattr(which, name).parameters()]


def critic_arrays(params: Any) -> list[np.ndarray]:
    arrays = []
    for i in range(2):
        for place in range(3):
            layer = params[f"Dense_{place}"]
            arrays += [np.asarray(layer["kernel"][i]).T, np.asarray(layer["bias"][i])]
    return arrays


@pytest.mark.parametrize(
    ("ent_coef", "inner_loop", "inner_steps"),
    [(f"auto_{ENT_COEF}", "critics", 1), (f"{ENT_COEF}", "critics", 1), (f"auto_{ENT_COEF}", "all", 2)],
)
def test_updates_are_those_of_sb3(ent_coef: str, inner_loop: str, inner_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three updates in double precision: in single, Adam makes steps of any size of gradients that are rounding errors.

    Two inner steps of everything are two updates of SAC, on one batch with fresh noise.
    """
    tolerance = 1e-11
    with jax.enable_x64(True):
        rng, now = np.random.default_rng(0), Now(Exploration(1.0, 0.0), RATE)
        learner = learner_of("none", ent_coef.startswith("auto"), inner_loop=inner_loop, inner_steps=inner_steps)
        state = wide(learner.init(jax.random.PRNGKey(0), HYPER))
        state = state._replace(hyper=wide(HYPER), params=state.params._replace(log_ent_coef=jnp.log(ENT_COEF)))
        begin = state
        sb3 = SB3(state, ent_coef, monkeypatch)
        update = jax.jit(learner.update)
        for step in range(3):
            batch, key = batch_of(rng), jax.random.PRNGKey(step)
            state, metrics, _ = update(state, batch, key, now)
            noises = [learner.noise(each, ROWS) for each in learner.keys(key)[0]]
            assert len(noises) == inner_steps
            assert len({float(noise.action[0, 0]) for noise in noises}) == inner_steps
            for noise in noises:
                sb3.update(batch, noise)
            logged = sb3.sac.logger.name_to_value
            for name in ("actor_loss", "critic_loss", *(("ent_coef", "ent_coef_loss") if learner.learn_ent_coef else ())):
                assert float(metrics[name]) == pytest.approx(float(logged[f"train/{name}"]), rel=tolerance, abs=tolerance), name

        def same(ours: list[np.ndarray], theirs: list[np.ndarray], before: list[np.ndarray]) -> None:
            for mine, yours, first in zip(ours, theirs, before, strict=True):
                np.testing.assert_allclose(mine, yours, atol=tolerance, rtol=0)
                assert np.abs(mine - first).max() > 5e-6  # it has moved, by more than the tolerance

        same(critic_arrays(state.params.critics), sb3.critic(sb3.sac.critic), critic_arrays(begin.params.critics))
        same(critic_arrays(state.target_params), sb3.critic(sb3.sac.critic_target), critic_arrays(begin.target_params))
        theirs = [each.detach().numpy() for each in sb3.sac.actor.parameters()]
        ours = [np.asarray(state.params.actor[f"Dense_{i}"][name]).T for i in range(2) for name in ("kernel", "bias")]
        ends = {name: np.split(np.asarray(state.params.actor["Dense_2"][name]), 2, axis=-1) for name in ("kernel", "bias")}
        ours += [ends[name][i].T for i in range(2) for name in ("kernel", "bias")]
        for mine, yours in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, yours, atol=tolerance, rtol=0)
        if learner.learn_ent_coef:
            assert float(state.params.log_ent_coef) == pytest.approx(float(sb3.sac.log_ent_coef.detach()), abs=tolerance)
            assert float(state.params.log_ent_coef) != float(begin.params.log_ent_coef)
        else:
            assert float(state.params.log_ent_coef) == float(begin.params.log_ent_coef)


@pytest.mark.parametrize(("inner_loop", "others"), [("critics", 1), ("all", 3)])
def test_an_inner_step_is_one_of_the_critics_or_of_everything(inner_loop: str, others: int) -> None:
    """Three of them, of which target critics and α tell by how far they have gone, and optimisers by their counts."""
    learner = learner_of("none", inner_loop=inner_loop, inner_steps=3)
    before = learner.init(jax.random.PRNGKey(0), HYPER)
    now = Now(Exploration(1.0, 0.0), jnp.float32(RATE))
    after, *_ = learner.update(before, batch_of(np.random.default_rng(0)), jax.random.PRNGKey(1), now)
    counts = {name: int(getattr(after.optimizer, name).count) for name in SACParams._fields}
    assert counts == {"critics": 3, "actor": others, "log_ent_coef": others}
    gone = after.params.log_ent_coef - before.params.log_ent_coef  # Adam's first steps are as long as the learning rate
    assert abs(float(gone)) == pytest.approx(others * RATE, rel=0.05)
    ours, target, begin = (
        np.asarray(critics["Dense_2"]["bias"]) for critics in (after.params.critics, after.target_params, before.target_params)
    )
    moved_once = begin + 0.005 * (ours - begin)
    assert np.allclose(target, moved_once, rtol=0, atol=1e-8) == (inner_loop == "critics")


def test_networks_begin_as_those_of_torch() -> None:
    """Kernels and biases of ``torch.nn.Linear``: uniform in ±1/√inputs; compared by range and deviation."""
    state = learner_of("none").init(jax.random.PRNGKey(1), HYPER)
    torch.manual_seed(0)
    networks = [(state.params.actor, FEATURES), (state.params.critics, FEATURES + ACTIONS)]
    for params, inputs in networks:
        for layer, width in (("Dense_0", inputs), ("Dense_1", 256)):
            torch_layer = torch.nn.Linear(width, 256)
            for ours, theirs in ((params[layer]["kernel"], torch_layer.weight), (params[layer]["bias"], torch_layer.bias)):
                numbers, yours = np.asarray(ours).ravel(), theirs.detach().numpy().ravel()
                assert np.abs(numbers).max() <= width**-0.5
                assert numbers.std() == pytest.approx(yours.std(), rel=0.12)
    first, second = np.asarray(state.params.critics["Dense_1"]["kernel"])
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02  # two networks, not one twice


def test_saturated_actions_have_their_likelihood_and_its_slope_in_single_precision() -> None:
    """From a tanh in single precision the pull back out of saturation, which is what entropy is for, would be gone."""
    actor = SquashedGaussianActor(1, hidden=())
    params = {"Dense_0": {"kernel": jnp.array([[1.0, 0.0]], jnp.float32), "bias": jnp.zeros(2, jnp.float32)}}

    def log_likelihood(unbounded: jax.Array) -> jax.Array:
        return actor.sample(params, unbounded[None, None], jnp.zeros((1, 1), jnp.float32))[1][0]

    given = np.linspace(-12, 12, 481).astype(np.float32)
    found, slopes = jax.jit(jax.vmap(jax.value_and_grad(log_likelihood)))(given)
    tanh = np.tanh(given.astype(float))
    remains = 1 - tanh**2
    np.testing.assert_allclose(found, -0.5 * np.log(2 * np.pi) - np.log(remains + 1e-6), atol=3e-6)
    np.testing.assert_allclose(slopes, 2 * tanh * remains / (remains + 1e-6), atol=3e-6)
