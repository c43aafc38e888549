"""Agents are copied, pickled, asked from other threads, and exported."""

from __future__ import annotations

import concurrent.futures
import copy
import io
import multiprocessing
import pathlib
import pickle
import threading
import warnings
from typing import Any

import jax
import numpy as np
import onnxruntime
import pytest
import torch
from gymnasium import spaces

from mbrl_agents import R2D2, ReplayDQN
from mbrl_agents.core.networks import ACTIVATIONS, MLP
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.sb3.policy import JaxPolicy
from mbrl_agents.sb3.torch_copy import Features, mlp
from tests.agents.cases import SOME_IN_JAX, make
from tests.agents.comparing import assert_same
from tests.agents.small import agent, both_loops

# --- pickles --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda agent: pickle.loads(pickle.dumps(agent))], ids=["deepcopy", "pickle"])
@both_loops
def test_a_copy_learns_on_like_the_original(device_loop: bool, copied: Any) -> None:
    original = agent(device_loop, device="cpu").learn(60)
    again = copied(original)
    assert_same(again.memory.state, original.memory.state)
    again.gamma = original.gamma = 0.5
    for each in (original, again):
        each.learn(40, reset_num_timesteps=not device_loop)
    assert_same(again.learner_state, original.learner_state)


@pytest.mark.parametrize("case", SOME_IN_JAX)
def test_every_agent_is_pickled(case: str) -> None:
    learner = make(case)
    again = pickle.loads(pickle.dumps(learner))
    assert_same(again.learner_state, learner.learner_state)
    observation = observations_of(learner, 3)
    assert_same(again.predict(observation)[0], learner.predict(observation)[0])


def trained(seed: int) -> ReplayDQN:
    return agent(seed=seed).learn(40)


def test_a_process_pool_returns_agents() -> None:
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        returned = pool.submit(trained, 5).result()
    assert_same(returned.learner_state, trained(5).learner_state)


# --- threads --------------------------------------------------------------------------------------------------------------


@both_loops
def test_another_thread_predicts_and_saves_while_the_agent_learns(device_loop: bool) -> None:
    learner = agent(device_loop, learning_starts=0, batch_size=64).learn(10)
    over, failures, answers = threading.Event(), [], []

    def ask() -> None:
        while not over.is_set():
            try:
                answers.append(learner.predict(np.zeros(6, bool))[0])
                learner.q_values(np.zeros(6, bool))
                learner.get_parameters()
                learner.save_replay_buffer(io.BytesIO())
            except Exception as error:
                failures.append(error)
                return

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        learner.learn(1500 if device_loop else 300)
    finally:
        over.set()
        thread.join()
    assert not failures
    assert answers


# --- policies -------------------------------------------------------------------------------------------------------------


def test_a_saved_policy_has_its_weights(tmp_path: pathlib.Path) -> None:
    learner = agent().learn(60)
    learner.policy.save(str(tmp_path / "policy"))
    again = JaxPolicy.load(str(tmp_path / "policy"))
    observations = np.random.default_rng(0).random((50, 6)) < 0.5
    assert_same(again.predict(observations, deterministic=True)[0], learner.predict(observations, deterministic=True)[0])
    assert_same(ReplayDQN.load(tmp_path / "policy").learner_state, learner.learner_state)
    buffer = io.BytesIO()
    learner.policy.save(buffer)  # type: ignore[arg-type]
    assert len(buffer.getvalue()) > 1000


def test_policies_of_unknown_agents_are_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mbrl_agents.sb3 import policy

    agent().policy.save(str(tmp_path / "policy"))
    monkeypatch.delitem(policy.AGENTS, "ReplayDQN")
    with pytest.raises(ValueError, match="holds a policy of 'ReplayDQN': import that class first"):
        JaxPolicy.load(str(tmp_path / "policy"))


@pytest.mark.parametrize(
    "given", [{"net_arch": [8]}, {"net_arch": (8,), "activation_fn": torch.nn.ELU}, {"activation_fn": "elu", "net_arch": [8]}]
)
def test_loading_with_the_policy_kwargs_given_at_first(given: dict[str, Any], tmp_path: pathlib.Path) -> None:
    agent(policy_kwargs=given).save(tmp_path / "agent")
    assert ReplayDQN.load(tmp_path / "agent", policy_kwargs=given).arguments["policy_kwargs"]["net_arch"] == [8]
    with pytest.raises(ValueError, match=r"policy_kwargs must equal the saved .*\[8\].* got .*\[9\]"):
        ReplayDQN.load(tmp_path / "agent", policy_kwargs={"net_arch": [9]})


def test_loading_omd_with_the_policy_kwargs_given_at_first(tmp_path: pathlib.Path) -> None:
    """Whose networks have other defaults."""
    learner = make("omd", policy_kwargs={"activation_fn": "tanh"})
    learner.save(tmp_path / "agent")
    assert type(learner).load(tmp_path / "agent", policy_kwargs={"activation_fn": "tanh"}).learner == learner.learner


# --- values and torch -----------------------------------------------------------------------------------------------------


def observations_of(learner: Any, number: int = 40) -> np.ndarray:
    learner.observation_space.seed(1)
    return np.stack([learner.observation_space.sample() for _ in range(number)])


def by_hand(params: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """Two layers, ELU between them, in float64."""
    hidden = features @ params["Dense_0/kernel"].astype(float) + params["Dense_0/bias"]
    hidden = np.where(hidden > 0, hidden, np.expm1(np.minimum(hidden, 0)))
    return hidden @ params["Dense_1/kernel"].astype(float) + params["Dense_1/bias"]


@pytest.mark.parametrize("case", ["replay", "perfect", "simple"])
def test_action_values(case: str) -> None:
    learner = make(case)
    seen = observations_of(learner)
    values = learner.q_values(seen)
    assert (values.dtype, values.shape) == (np.float32, (40, 2))
    np.testing.assert_allclose(values, by_hand(learner.get_parameters()["policy"], seen), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(learner.predict(seen, deterministic=True)[0], values.argmax(1))
    np.testing.assert_allclose(learner.q_values(seen[3]), values[3], rtol=1e-5)
    for wrong in (seen[:, :3], seen[None], 3.0):
        with pytest.raises(ValueError, match=r"Unexpected observation shape .* please use \(4,\) or \(n_env, 4\)"):
            learner.q_values(wrong)


def test_action_values_of_other_agents() -> None:
    for case in ("omd", "categorical"):
        learner = make(case)
        seen = observations_of(learner)
        values = learner.q_values(seen)
        np.testing.assert_array_equal(learner.predict(seen, deterministic=True)[0], values.argmax(1))


@pytest.mark.parametrize("case", ["replay", "simple", "omd", "sac"])
def test_copies_in_torch_say_the_same(case: str) -> None:
    learner = make(case)
    seen = observations_of(learner)
    copied = learner.to_torch()
    expected = learner.predict(seen, deterministic=True)[0] if case == "sac" else learner.q_values(seen)
    with torch.no_grad():
        np.testing.assert_allclose(copied(torch.as_tensor(seen)).numpy(), expected, atol=1e-5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as such
            script = torch.jit.trace(copied, torch.as_tensor(seen[:2]))
        np.testing.assert_allclose(script(torch.as_tensor(seen)).numpy(), expected, atol=1e-5)


def test_copies_in_onnx_say_the_same(tmp_path: pathlib.Path) -> None:
    learner = make("replay")
    seen = observations_of(learner)
    torch.onnx.export(learner.to_torch(), (torch.as_tensor(seen[:1]),), tmp_path / "q.onnx", input_names=["observation"])
    session = onnxruntime.InferenceSession(str(tmp_path / "q.onnx"))
    (values,) = session.run(None, {"observation": seen[:1]})
    np.testing.assert_allclose(values, learner.q_values(seen[:1]), atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_layers_in_torch(activation: str) -> None:
    network = MLP((7, 5), 3, activation)
    inputs = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32) * 3
    params = network.init(jax.random.PRNGKey(0), inputs)["params"]
    with torch.no_grad():
        copied = mlp(params, activation)(torch.as_tensor(inputs)).numpy()
    np.testing.assert_allclose(copied, network.apply({"params": params}, inputs), atol=1e-5)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (4, 3), np.uint8),
        spaces.Box(0, 9, (4,), np.uint8),
        spaces.Box(-1, 1, (2, 2), np.float64),
        spaces.MultiBinary(5),
        spaces.Discrete(4, start=-1),
    ],
    ids=str,
)
def test_observations_in_torch(space: spaces.Space) -> None:
    space.seed(0)
    seen = np.stack([space.sample() for _ in range(9)])
    codec = ObservationCodec.of(space)
    np.testing.assert_allclose(Features(codec)(torch.as_tensor(seen)).numpy(), codec.features(codec.from_host(seen)), rtol=1e-6)


def test_agents_without_such_a_network_say_so() -> None:
    for case in ("categorical", "linear"):
        with pytest.raises(NotImplementedError, match=type(make(case)).__name__):
            make(case).to_torch()


# --- whole files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["agent", "memory", "r2d2", "r2d2 memory"])
def test_a_full_disk_leaves_the_good_file_and_is_named(
    which: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner: Any = make("r2d2") if which.startswith("r2d2") else agent()
    save = learner.save_replay_buffer if which.endswith("memory") else learner.save
    save(tmp_path / "file")
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    learner.learn(40)
    with pytest.raises(OSError, match=f"No space left on device: '.*{file.name}'") as caught:
        save(tmp_path / "file")
    assert caught.value.errno == 28
    assert [each.name for each in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == before
    monkeypatch.undo()
    if which == "r2d2":
        assert R2D2.load(file).num_timesteps == 0
    save(tmp_path / "file")
    assert file.read_bytes() != before


def test_r2d2_saves_to_streams() -> None:
    buffer = io.BytesIO()
    make("r2d2").save(buffer)
    buffer.seek(0)
    assert R2D2.load(buffer).layout.burn_in == 2


# --- schedules that stop being numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["learning_rate", "temperature"])
@both_loops
def test_a_schedule_that_becomes_nan_is_refused_at_its_step(device_loop: bool, name: str) -> None:
    learner = agent(device_loop, **{name: lambda progress: np.nan if 0.1 < progress < 0.5 else 0.1})
    with pytest.raises(ValueError, match=rf"{name}\(progress_remaining=0\.4\d*\) must be a finite number .* got nan"):
        learner.learn(100)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(learner.get_parameters()))
    assert learner.num_timesteps <= 52
    learner.lr_schedule = lambda progress: -1.0  # whoever puts it there
    learner.temperature = 0.1
    with pytest.raises(
        ValueError, match=r"learning_rate\(progress_remaining=\d.*\) must be a finite number of at least 0, got -1"
    ):
        learner.learn(100)


@pytest.mark.parametrize("name", ["learning_rate", "importance_exponent"])
def test_r2d2_refuses_such_schedules(name: str) -> None:
    learner = make("r2d2", **{name: lambda progress: np.nan if 0.1 < progress < 0.5 else 0.1})
    with pytest.raises(ValueError, match=rf"{name}\(progress_remaining=0\.\d*\) must be a finite number .* got nan"):
        learner.learn(100)
    assert all(weight.isfinite().all() for weight in learner.policy.state_dict().values())
