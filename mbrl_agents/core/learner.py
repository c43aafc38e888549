"""The protocol of algorithms: pure functions that know neither environment nor loop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey

from mbrl_agents.core import evaluation
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.schedules import Now
from mbrl_envs import FunctionalEnv


@jax.tree_util.register_pytree_with_keys_class
class Hyperparameters:
    """Numbers in which runs of one program may differ, float32 scalars: a pytree, and an attribute for each.

    Their names are those of the agent's arguments, but for groups such as ``adam``.
    """

    def __init__(self, **numbers: Any) -> None:
        vars(self).update(numbers)

    if TYPE_CHECKING:  # which numbers there are is the agent's list of arguments

        def __getattr__(self, name: str) -> Any: ...

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("hyperparameters cannot be set one by one: use _replace, which gives new ones")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hyperparameters) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"Hyperparameters({', '.join(f'{name}={number!r}' for name, number in vars(self).items())})"

    def _replace(self, **numbers: Any) -> Self:
        """Others, which have these numbers in the place of some."""
        return type(self)(**(vars(self) | numbers))

    def tree_flatten_with_keys(self) -> tuple[list[tuple[GetAttrKey, Any]], tuple[str, ...]]:
        """Leaves with the names that they have in paths; the names."""
        return [(GetAttrKey(name), number) for name, number in vars(self).items()], tuple(vars(self))

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], numbers: Iterable[Any]) -> Self:
        """The inverse."""
        return cls(**dict(zip(names, numbers, strict=True)))


class Acted(NamedTuple):
    """Actions of a learner in n environments, and its memory.

    Attributes:
        action: Actions as the :class:`~mbrl_agents.core.actions.ActionCodec` of the space has them, (n, …).
        carry: What the learner remembers until its next action; leaves (n, …).
        extras: What the replay memory may store with the transition, leaves (n, …); only learners with a carry have any.
    """

    action: Any
    carry: Any = ()
    extras: Any = ()


class Updated(NamedTuple):
    """Results of a gradient step.

    Attributes:
        state: The learner's new state.
        metrics: Numbers by name, float32 scalars.
        priorities: New priorities of what was drawn, float32 (B,); None from learners that have no use for them.
    """

    state: Any
    metrics: dict[str, Any]
    priorities: Any = None


class Learner(Protocol):
    """Functions of an algorithm that the loops call; frozen, as equal learners make the same program.

    A learner that remembers what it has seen within an episode does so in its *carry*, a pytree whose leaves have a leading
    axis of environments. The loops hand it from step to step, keep it with the run, and put :meth:`initial_carry` in its place
    where an episode begins; :meth:`~mbrl_agents.sb3.jax_agent.JaxAgent.predict` gives it to the user as SB3's ``state``.
    """

    def __hash__(self) -> int:
        """By the fields, where a learner is a frozen dataclass."""
        return object.__hash__(self)

    def init(self, key: jax.Array, hyper: Any) -> Any:
        """The state before any learning; ``hyper`` are numbers in which runs of one program may differ."""

    def initial_carry(self, num: int) -> Any:
        """The carry at the start of an episode, for ``num`` environments; ``()`` of learners without memory."""
        del num
        return ()

    def act(self, state: Any, carry: Any, observation: Any, key: jax.Array, explore: Exploration | None) -> Acted:
        """Actions in n environments.

        Args:
            state: What has been learned.
            carry: What is remembered.
            observation: Observations, (n, …).
            key: Raw key, uint32 (2,).
            explore: How much to explore; None to act greedily. Learners with a carry act uniformly where ``epsilon`` is 1:
                so they are told to before learning starts, and remember what they did.
        """

    @property
    def prioritized(self) -> bool:
        """Whether updates give priorities, and are told an exponent of importance weights (``now.importance_exponent``)."""
        return False

    def update(self, state: Any, batch: Any, key: jax.Array, now: Now) -> Updated:
        """One gradient step on what the replay memory draws, mostly a :class:`~mbrl_agents.core.replay.Batch`."""

    def update_target(self, state: Any) -> Any:
        """One update of the target network; nothing for learners that have none."""
        return state

    def evaluate(
        self, env: FunctionalEnv, state: Any, key: jax.Array, explore: Exploration, num_episodes: int, num_steps: int
    ) -> dict[str, jax.Array]:
        """Measures of an evaluation by name, float32 (num_episodes,) each; ``"score"`` is what the learner is judged by.

        Args:
            env: The dynamics.
            state: What has been learned.
            key: Raw key, uint32 (2,).
            explore: How much it explores now, for policies that draw their actions.
            num_episodes: Number of episodes, side by side.
            num_steps: Steps of each.
        """
        del explore
        carry = self.initial_carry(num_episodes * env.num_agents)

        def act(carry: Any, observation: Any, step_key: jax.Array) -> Acted:
            return self.act(state, carry, observation, step_key, None)

        return {"score": evaluation.scores_of_policy(act, env, key, num_episodes, num_steps, carry)}


def begin_anew(learner: Learner, carry: Any, starts: Any) -> Any:
    """A carry, with the initial one in its place where an episode ``starts``, bool (n,)."""
    if not jax.tree.leaves(carry):
        return carry

    def chosen(first: jax.Array, own: jax.Array) -> jax.Array:
        return jnp.where(jnp.reshape(starts, (-1,) + (1,) * (own.ndim - 1)), first, own)

    return jax.tree.map(chosen, learner.initial_carry(len(starts)), carry)
