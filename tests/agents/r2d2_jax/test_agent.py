"""R2D2 in JAX as an agent: values that are known, memory, sweeps."""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import numpy as np
import pytest

from mbrl_agents import JaxR2D2, SweepResult, train_sweep
from mbrl_envs import CueRecall
from tests.agents import cases, probes
from tests.agents.comparing import assert_same, assert_same_parameters
from tests.agents.small import both_loops

NETWORK = {"cell": "gru", "lstm_hidden_size": 16, "pre_net_arch": [], "net_arch": [16]}
SMALL: dict[str, Any] = {
    **{"learning_starts": 50, "batch_size": 16, "buffer_size": 1000, "train_freq": 2, "target_update_interval": 20},
    **{"burn_in": 0, "sequence_length": 4, "overlap": 0, "n_steps": 1, "learning_rate": 1e-2, "seed": 0},
    "policy_kwargs": NETWORK,
}


@both_loops
@pytest.mark.parametrize("rescaling", [True, False])
def test_episodes_of_one_step_that_are_truncated(device_loop: bool, rescaling: bool) -> None:
    """A reward of 1 in each, and all goes on unseen: the value is 1 / (1 − γ) = 10, far beyond any return that is seen."""
    env = probes.make(probes.Probe(length=0, reward="always"), 1)
    learner = JaxR2D2("MlpLstmPolicy", env, device_loop=device_loop, gamma=0.9, value_rescaling=rescaling, **SMALL)
    learner.learn(3000)
    observation = learner.get_env().reset()[0]
    np.testing.assert_allclose(learner.q_values(observation), 10, rtol=0.05)


def test_a_cue_is_remembered() -> None:
    """Chance is ½. A network without memory stays there."""
    env = gymnasium.make("mbrl/CueRecall-v0", delay=3, num_cues=2)
    given = SMALL | {"sequence_length": 8, "n_steps": 2, "train_freq": 8, "batch_size": 32, "learning_rate": 3e-3}
    learner = JaxR2D2("MlpLstmPolicy", env, gamma=0.95, exploration_fraction=0.5, **given).learn(4000)
    played = learner.learner.evaluate(
        CueRecall(delay=3, num_cues=2), learner.learner_state, jax.random.PRNGKey(1), learner.exploration_at(), 200, 20
    )
    assert played["score"].mean() > 0.95


def swept(execution: str) -> SweepResult:
    arguments = cases.RECURRENT | {"priority_eta": [0.9, 0.1]}
    sizes = {"eval_interval": 50, "eval_episodes": 2, "eval_steps": 10}
    return train_sweep(JaxR2D2, cases.environment("r2d2"), arguments, [1], 100, execution=execution, **sizes)


@pytest.mark.parametrize("execution", ["loop", "vmap"])
def test_it_is_swept(execution: str) -> None:
    """Run by run to the bit, and mapped up to rounding, it is the run alone."""
    result = swept(execution)
    for run, eta in enumerate((0.9, 0.1)):
        alone = cases.make("r2d2_jax", seed=1, priority_eta=eta).learn(100)
        theirs = result.agent(run)
        np.testing.assert_array_equal(theirs.memory.state.stored.action, alone.memory.state.stored.action)
        np.testing.assert_allclose(theirs.memory.state.sums[0], alone.memory.state.sums[0], rtol=1e-3)
        if execution == "loop":
            assert_same(theirs.memory.state, alone.memory.state)
            assert_same_parameters(theirs, alone)


def test_the_state_of_predict() -> None:
    learner = cases.make("r2d2_jax")
    observations = np.zeros((3, 4), np.float32)
    _, state = learner.predict(observations, deterministic=True)
    assert [each.shape for each in state] == [(3, 8), (3,)]  # an LSTM of 4 units, and the previous action
    first = learner.q_values(observations)
    assert not np.allclose(learner.q_values(observations, state), first)
    np.testing.assert_array_equal(learner.q_values(observations, state, np.ones(3, bool)), first)
    with pytest.raises(ValueError, match=r"state must be arrays of shapes \[\(3, 8\), \(3,\)\]"):
        learner.predict(observations, (state[0][:2], state[1]))


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="buffer_size must hold a sequence for each environment, at least 8"):
        cases.make("r2d2_jax", buffer_size=7)
    with pytest.raises(TypeError, match="policy_kwargs has no 'hidden'"):
        cases.make("r2d2_jax", policy_kwargs={"hidden": 3})
    with pytest.raises(ValueError, match="cell must be one of"):
        cases.make("r2d2_jax", policy_kwargs={"cell": "rnn"})
    with pytest.raises(ValueError, match="sequence_length must be at least n_steps"):
        cases.make("r2d2_jax", sequence_length=1)
