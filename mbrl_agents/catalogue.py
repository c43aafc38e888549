"""The agents of this package by name, and where they are; imported when they are first asked for."""

from __future__ import annotations

AGENTS = {
    "OMD": "mbrl_agents.omd.agent",
    "OMDSAC": "mbrl_agents.omd_sac.agent",
    "R2D2": "mbrl_agents.r2d2",
    "JaxR2D2": "mbrl_agents.r2d2_jax",
    "LatentModelDQN": "mbrl_agents.model_dqn",
    "LinearTD": "mbrl_agents.linear_td",
    "PerfectModelDQN": "mbrl_agents.model_dqn",
    "ReplayDQN": "mbrl_agents.replay_dqn",
    "SimpleModelDQN": "mbrl_agents.model_dqn",
    "ValueRNN": "mbrl_agents.value_rnn",
}
