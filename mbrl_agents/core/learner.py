"""The protocol of algorithms: pure functions that know neither environment nor loop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, Self

import jax
from jax.tree_util import GetAttrKey

from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.schedules import Now


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


class Learner(Protocol):
    """Functions of an algorithm that the loops call; hashable, as compiled programs are kept by it."""

    def __hash__(self) -> int:
        """Equal learners make the same program."""

    def init(self, key: jax.Array, hyper: Any) -> Any:
        """The state before any learning; ``hyper`` are numbers in which runs of one program may differ."""

    def act(self, state: Any, observation: jax.Array, key: jax.Array, explore: Exploration) -> jax.Array:
        """Exploring actions, as the :class:`~mbrl_agents.core.actions.ActionCodec` of the space has them."""

    def act_greedily(self, state: Any, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Greedy actions."""

    def update(self, state: Any, batch: Any, key: jax.Array, now: Now) -> tuple[Any, dict]:
        """One gradient step on what the replay memory draws, mostly a :class:`~mbrl_agents.core.replay.Batch`."""

    def update_target(self, state: Any) -> Any:
        """One update of the target network."""
