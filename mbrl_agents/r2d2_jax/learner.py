"""R2D2's learner: pure functions that know neither environment nor loop."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mbrl_agents.core import exploration, optimizer, returns
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.learner import Acted, Hyperparameters, Learner, Updated
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.schedules import Now
from mbrl_agents.core.sequence_replay import SequenceLayout, Sequences
from mbrl_agents.r2d2_jax.network import Memory, RecurrentQNetwork

EXPLORATIONS = ("schedule", "ladder")
_LEAST_PRIORITY = 1e-6


class R2D2State(NamedTuple):
    """Everything that learning changes, and the hyperparameters.

    Attributes:
        params: Parameters of the Q-network.
        target_params: Parameters of the target network.
        optimizer: State of the optimiser.
        hyper: Hyperparameters, by the names of the agent's arguments.
        rewards: The least and the largest reward that was learned from, or 0 where that is less or larger, float32 (2,).
    """

    params: Any
    target_params: Any
    optimizer: Any
    hyper: Hyperparameters
    rewards: jax.Array


@dataclasses.dataclass(frozen=True)
class R2D2Learner(Learner):
    """Recurrent Q-learning from replayed sequences; the fields are what shapes the program.

    Attributes:
        codec: Reads observations.
        network: The Q-network.
        layout: Lengths of sequences.
        stored_state: Whether sequences start from the state that the agent had then, or from zeros.
        double_q: Whether the network chooses the action that the target network values.
        rescales: Whether values are learned on the scale of h (:func:`~mbrl_agents.core.returns.rescale`).
        prioritized: Whether sequences are drawn by priority.
        explore: ``"schedule"`` (one ε) or ``"ladder"`` (each environment has an ε of its own).
        clip: Whether gradients are clipped.
        bounded: Whether values to bootstrap from are kept within what the rewards so far allow, see :func:`sequence_targets`.
    """

    codec: ObservationCodec
    network: RecurrentQNetwork
    layout: SequenceLayout
    stored_state: bool = True
    double_q: bool = True
    rescales: bool = True
    prioritized: bool = True
    explore: str = "schedule"
    clip: bool = True
    bounded: bool = True

    def init(self, key: jax.Array, hyper: Hyperparameters) -> R2D2State:
        """Fresh parameters; the target network starts as a copy."""
        params = self.network.init(key)
        target, hyper = jax.tree.map(jnp.copy, params), jax.tree.map(jnp.float32, hyper)
        return R2D2State(params, target, optimizer.init(params), hyper, jnp.zeros(2, jnp.float32))

    # ------------------------------------------------------------------ acting

    def initial_carry(self, num: int) -> Memory:
        """Nothing is remembered."""
        return self.network.initial_memory(num)

    def extras_of(self, carry: Memory) -> tuple[jax.Array, ...]:
        """What is stored of the memory before a step: the previous action, and the states that sequences start from."""
        return (carry.action, *(carry.states if self.stored_state else ()))

    def act(self, state: R2D2State, carry: Memory, observation: Any, key: jax.Array, explore: Exploration | None) -> Acted:
        """ε-greedy actions, int32 (n,), and what is remembered after them."""
        values, states = self.network.step(state.params, carry, self.codec.features(observation))
        if explore is not None and self.explore == "ladder":
            ladder = epsilon_ladder(len(carry.action), state.hyper.ladder_base, state.hyper.ladder_exponent)
            explore = explore._replace(epsilon=jnp.where(jnp.asarray(explore.epsilon) >= 1, 1.0, ladder))
        action = exploration.select(values, key, "epsilon_greedy", explore)
        return Acted(action, Memory(states, action), self.extras_of(carry))

    def q_values(self, state: R2D2State, carry: Memory, observation: Any) -> jax.Array:
        """Action values, float32 (n, actions), on the scale of returns."""
        values = self.network.step(state.params, carry, self.codec.features(observation))[0]
        return returns.unscale(values, state.hyper.rescaling_epsilon) if self.rescales else values

    # ------------------------------------------------------------------ learning

    def update(self, state: R2D2State, batch: Sequences, key: jax.Array, now: Now) -> Updated:
        """One gradient step on :func:`sequence_loss`; the key is not used."""
        del key
        weights = batch.relative**-now.importance_exponent if self.prioritized else jnp.ones_like(batch.relative)
        loss = jax.value_and_grad(sequence_loss, has_aux=True)
        rewards = self._rewards(state.rewards, batch)
        bounds = rewards if self.bounded else None
        (value, errors), grads = loss(state.params, state.target_params, batch, weights, state.hyper, self, bounds)
        params, adam = optimizer.apply(
            state.params, grads, state.optimizer, now.learning_rate, state.hyper.adam, clip=self.clip
        )
        priority = sequence_priorities(errors, batch.trained, state.hyper.priority_eta)
        scaled = jnp.maximum(priority, _LEAST_PRIORITY) ** state.hyper.priority_exponent
        metrics = {"loss": value, "priority": priority.mean()}
        state = state._replace(params=params, optimizer=adam, rewards=rewards)
        return Updated(state, metrics, scaled if self.prioritized else None)

    def _rewards(self, known: jax.Array, batch: Sequences) -> jax.Array:
        """The least and the largest reward so far."""
        real = jnp.where(jnp.arange(len(batch.reward))[:, None] < batch.last, batch.reward, 0)
        return jnp.stack([jnp.minimum(known[0], real.min()), jnp.maximum(known[1], real.max())])

    def update_target(self, state: R2D2State) -> R2D2State:
        """Moves the target network towards the network by the fraction τ."""
        return state._replace(target_params=optimizer.move_towards(state.target_params, state.params, state.hyper.tau))


def sequence_loss(
    params: Any,
    target_params: Any,
    batch: Sequences,
    weights: jax.Array,
    hyper: Hyperparameters,
    learner: R2D2Learner,
    rewards: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The loss of R2D2, ½ Σ w δ² over the number of steps that are trained on (Kapturowski et al. 2019).

        δ_t = h(R_t + γ^m h⁻¹(Q⁻(s_{t+m}, a*))) − Q(s_t, a_t),    a* = argmax_a Q(s_{t+m}, a),

    with the n-step return R and m of :func:`returns_within`. No gradient goes through the target, nor into the burn-in.

    Args:
        params: Parameters of the network.
        target_params: Those of the target network Q⁻.
        batch: The sequences.
        weights: Importance weights w, (B,).
        hyper: ``gamma`` and ``rescaling_epsilon``.
        learner: Networks, lengths, and what is learned.
        rewards: The least and the largest reward that bound values; None for no bounds.

    Returns:
        The loss, and δ, float32 (burn_in + length, B).
    """
    network, layout = learner.network, learner.layout
    first, *states = batch.extras
    initial = network.initial_memory(len(first))
    starts = batch.from_start
    first = jnp.where(starts, initial.action, first)
    previous = jnp.concatenate([first[None], batch.action[:-1]])
    begin = tuple(jnp.where(starts[:, None], 0, own) for own in states) if states else initial.states
    inputs = (batch.observation, previous, begin)
    values = network.unroll(params, *inputs, layout.burn_in, starts, layout.n_steps)
    target_values = network.unroll(target_params, *inputs)
    targets = lax.stop_gradient(sequence_targets(values, target_values, batch, hyper, learner, rewards))
    taken = jax.nn.one_hot(batch.action[: layout.trainable], network.num_actions, dtype=values.dtype)
    errors = targets - (values[: layout.trainable] * taken).sum(axis=-1)
    loss = 0.5 * (jnp.square(errors) * batch.trained * weights).sum() / batch.trained.sum()
    return loss, errors


def sequence_targets(
    values: jax.Array,
    target_values: jax.Array,
    batch: Sequences,
    hyper: Hyperparameters,
    learner: R2D2Learner,
    rewards: jax.Array | None = None,
) -> jax.Array:
    """What the values of the actions taken should be, (burn_in + length, B).

    A truncated episode bootstraps from its final observation, at which nothing is ever learned: what the network says there
    follows what it learns elsewhere, and nothing keeps the two from driving each other up. With rewards r between known ones
    no value can lie outside of [min(r, 0), max(r, 0)] / (1 − γ), so values to bootstrap from are clipped to that (ours; it does
    nothing where values are possible ones).

    Args:
        values: Values of the network that is trained, (T, B, actions).
        target_values: Values of the target network, likewise.
        batch: The sequences.
        hyper: ``gamma`` and ``rescaling_epsilon``.
        learner: Networks, lengths, and what is learned.
        rewards: The least reward or 0, and the largest or 0; None for no bounds.
    """
    reward, discount, bootstrap = returns_within(batch, hyper.gamma, learner.layout.n_steps)
    best = returns.double_q_value(target_values, values) if learner.double_q else returns.greedy_value(target_values)
    next_value = jnp.take_along_axis(best, bootstrap, axis=0)
    if rewards is not None:
        low, high = rewards / jnp.maximum(1 - hyper.gamma, 1e-6)  # γ = 1 has no bounds to speak of
        if learner.rescales:
            low, high = (returns.rescale(each, hyper.rescaling_epsilon) for each in (low, high))
        next_value = jnp.clip(next_value, low, high)
    if learner.rescales:
        return returns.rescaled_td_target(reward, discount, next_value, hyper.rescaling_epsilon)
    return returns.td_target(reward, discount, next_value)


def returns_within(batch: Sequences, gamma: Any, n_steps: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """n-step returns that end with the episode, of the steps 0 … T − n − 1.

    The target of step t is R + γ^m V(s_{t+m}), where m = n unless the episode ends before: then m is what is left of it, and V
    is dropped after a termination (nothing follows) but not after a truncation (all goes on, only unseen), where s_{t+m} is the
    episode's true final observation.

    Args:
        batch: Sequences of T observations.
        gamma: Discount factor γ.
        n_steps: n.

    Returns:
        R, float32 (T − n, B); γ^m, or 0 where V is dropped; and t + m, int32. Entries of padding mean nothing.
    """
    number = len(batch.reward) - n_steps
    steps = jnp.arange(number, dtype=jnp.int32)[:, None]
    total = jnp.zeros_like(batch.reward[:number])
    discount = jnp.ones_like(total)
    for ahead in range(n_steps):
        real = steps + ahead < batch.last
        total = total + jnp.where(real, discount * batch.reward[ahead : ahead + number], 0)
        discount = jnp.where(real, discount * gamma, discount)
    bootstrap = jnp.minimum(steps + n_steps, batch.last)
    return total, jnp.where(batch.terminated & (bootstrap == batch.last), 0, discount), bootstrap


def sequence_priorities(errors: jax.Array, trained: jax.Array, eta: Any) -> jax.Array:
    """Priorities p = η max|δ| + (1 − η) mean|δ| over the steps trained on (Kapturowski et al. 2019, section 2.3), (B,).

    Args:
        errors: TD errors δ, (τ, B).
        trained: 1 for steps trained on, 0 for burn-in and padding, (τ, B); at least one in each sequence.
        eta: η, in [0, 1].
    """
    sizes = jnp.abs(errors) * trained
    return eta * sizes.max(axis=0) + (1 - eta) * sizes.sum(axis=0) / trained.sum(axis=0)


def epsilon_ladder(num: int, base: Any, exponent: Any) -> jax.Array:
    """ε of several actors, from much exploring to almost none: ε_i = base^(1 + exponent·i/(N − 1)) (Horgan et al. 2018).

    Args:
        num: Number of actors N, at least 1; a single one has ε = base.
        base: ε of the first actor, in (0, 1].
        exponent: The last actor has base^(1 + exponent).

    Returns:
        float32 (N,).
    """
    share = np.arange(num, dtype=np.float32) / max(num - 1, 1)
    return base ** (1 + exponent * share)
