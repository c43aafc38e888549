"""Arguments that are set on an agent after it was made: they act from then on and are saved, or are refused."""

from __future__ import annotations

from collections import deque
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_agents.core.compilation import by_usual_rules
from mbrl_agents.sb3.agent_base import AgentBase


def set_argument(agent: AgentBase, name: str, value: Any) -> None:
    """Sets an argument of the constructor on an agent.

    Args:
        agent: The agent.
        name: The argument.
        value: As the constructor takes it.

    Raises:
        TypeError, ValueError: It is out of range, or does not go with another.
        AttributeError: The networks or the replay memory would need arrays of other shapes. The agent is as it was.
    """
    before = dict(vars(agent))
    try:
        _set(agent, name, value)
    except BaseException:
        vars(agent).clear()
        vars(agent).update(before)
        raise
    if name == "seed" and agent.seed is not None:
        agent.set_random_seed(agent.seed)


def _set(agent: AgentBase, name: str, value: Any) -> None:
    own = vars(agent)
    own["arguments"] = agent._check_arguments(agent.arguments | {name: value})
    if name in own and name not in (
        "device",
        "policy",
    ):  # of these two, the attributes are torch's device and the policy object
        own[name] = agent.arguments[name]
    if name == "stats_window_size":
        own["_stats_window_size"] = size = agent.arguments[name]
        for buffer in ("ep_info_buffer", "ep_success_buffer"):
            own[buffer] = None if own[buffer] is None else deque(own[buffer], maxlen=size)
    if agent.env is not None:
        agent._check_spaces()
    if "learner" not in own:  # not made yet
        return
    learner, replay, lr_schedule = agent.learner, agent.replay, agent.lr_schedule
    agent._setup_program()
    if name != "learning_rate":  # one that was put into its place stays
        agent.lr_schedule = lr_schedule
    if not agent.has_run:
        return
    hyper = agent._make_hyperparameters()
    if agent.learner != learner:
        shapes = jax.eval_shape(by_usual_rules(agent.learner.init), jax.ShapeDtypeStruct((2,), np.uint32), hyper)
        _check_shapes(name, shapes, agent.learner_state)
    if agent.replay != replay:
        _check_shapes(name, jax.eval_shape(by_usual_rules(agent.replay.init)), agent.run.memory)
    hyper = jax.tree.map(lambda each: jnp.asarray(each, jnp.float32), hyper)
    state = agent._with_argument(name, agent.learner_state._replace(hyper=hyper))
    run = agent.run._replace(learner=state, target_update_interval=np.int32(agent.target_update_interval))
    agent.run = agent._put(run)


def _check_shapes(name: str, wanted: Any, present: Any) -> None:
    def described(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), tree)

    if described(wanted) != described(present):
        raise AttributeError(
            f"{name} cannot be set to this on an agent that has been made: its networks or its replay memory would need arrays "
            "of other shapes. Make a new agent"
        )
