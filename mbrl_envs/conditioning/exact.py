"""What a perfect observer of a cue–reward task believes and expects.

The observer knows the task, sees cues and rewards, and keeps the probability of each hidden state (the belief state of Hennig
et al. 2023; in Starkweather's task with one odour it is a function of the time since the odour). As nothing it does changes the
task, the value of a belief is the mean of the values of the states, which solve the linear system

    v(s) = Σ_s' P(s, s') · (r(s') + γ · v(s')).

So V(t) = E[r(t+1) + γ r(t+2) + … | everything seen up to t] is exact, whatever is omitted, uncued or hidden. In a continuing
task it looks beyond the trial, at all the trials to come.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mbrl_envs.checks import number_in
from mbrl_envs.conditioning.chain import Chain
from mbrl_envs.conditioning.observers import observer
from mbrl_envs.conditioning.task import ConditioningTask
from mbrl_envs.conditioning.trials import conditioning_task

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def state_values(env: Any, gamma: float) -> np.ndarray:
    """The value of each hidden state: what would be expected if it were seen.

    Args:
        env: The task: dynamics, a Gymnasium id or a Gymnasium environment.
        gamma: Discount per step, 0 to 1; below 1 in continuing tasks.

    Returns:
        float64 (S,), in the order of ``env.chain.states``; 0 for terminal states.

    Raises:
        TypeError, ValueError: An argument is of a wrong type or out of range.
    """
    task = conditioning_task(env)
    gamma = number_in("gamma", gamma, 0, 1)
    if task.continuing and gamma == 1:
        raise ValueError(f"gamma must be below 1 in {task.env_id}, which never ends, got 1")
    return _state_values(task, gamma).copy()


def beliefs(env: Any, observations: Any, *, reward_noise: float = 0.0, omission: str = "late") -> np.ndarray:
    """The probability of each hidden state given all observations up to each step, from the start of an episode.

    Args:
        env: The task: dynamics, a Gymnasium id or a Gymnasium environment.
        observations: (T, F), or (N, T, F) for several of one length; T at least 1. The first is that of a reset.
        reward_noise: Standard deviation of a Normal by which the observer takes the size of a reward to be blurred, so that a
            size that the task does not have tells it something, too; 0 for an observer that knows sizes exactly.
        omission: ``"late"``: the observer knows the task, in which a trial without reward lasts as long as its longest delay.
            ``"at_cue"``: it takes such a trial to be over with its cue, as the published study does. See
            :mod:`mbrl_envs.conditioning.observers`.

    Returns:
        float64 (T, S) or (N, T, S), in the order of ``env.chain.states``; with ``"at_cue"`` (…, G), G groups of states.

    Raises:
        TypeError, ValueError: An argument is of a wrong type or out of range, or the task cannot show these observations.
    """
    task = conditioning_task(env)
    array, model = _checked(task, observations), observer(task, omission)
    steps = [np.asarray(model.groups @ belief).T for belief in _filtered(task, model.chain, array, reward_noise)]
    filtered = np.stack(steps, axis=1)
    return filtered[0] if array.ndim == 2 else filtered


def values(env: Any, observations: Any, gamma: float, *, reward_noise: float = 0.0) -> np.ndarray:
    """The exact value at each step given all observations up to it, from the start of an episode.

    Arguments and errors as for :func:`beliefs` and :func:`state_values`.

    Returns:
        float64 (T,) or (N, T).
    """
    task = conditioning_task(env)
    array, of_states = _checked(task, observations), state_values(task, gamma)
    filtered = np.stack([of_states @ belief for belief in _filtered(task, task.chain, array, reward_noise)], axis=1)
    return filtered[0] if array.ndim == 2 else filtered


def prediction_errors(env: Any, observations: Any, gamma: float, *, reward_noise: float = 0.0) -> np.ndarray:
    """The exact reward prediction errors δ(t) = r(t) + γ V(t) − V(t−1), the one at t being caused by what is seen at t.

    Arguments as for :func:`values`; T at least 2.

    Returns:
        float64 (T−1,) or (N, T−1), for t = 1 … T−1.

    Raises:
        TypeError, ValueError: As for :func:`values`, or there is but one step.
    """
    expected = values(env, observations, gamma, reward_noise=reward_noise)
    if expected.shape[-1] < 2:
        raise ValueError(f"observations must have at least 2 steps for prediction errors, got {expected.shape[-1]}")
    rewards = np.asarray(observations, np.float64)[..., 1:, -1]
    return rewards + gamma * expected[..., 1:] - expected[..., :-1]


def transition_matrix(task: ConditioningTask) -> csr_array:
    """P(s, s') as a sparse matrix (S+1, S); row S is where an episode begins, and rows of terminal states are empty."""
    return _matrix_of(task.chain)


@functools.lru_cache(maxsize=64)
def _matrix_of(chain: Chain) -> csr_array:
    from scipy.sparse import csr_array

    kept = chain.probabilities * ~np.append(chain.terminal, False)[:, None]
    rows = np.broadcast_to(np.arange(chain.num_states + 1)[:, None], kept.shape)
    matrix = csr_array((kept.ravel(), (rows.ravel(), chain.successors.ravel())), (chain.num_states + 1, chain.num_states))
    matrix.eliminate_zeros()
    return matrix


@functools.lru_cache(maxsize=64)
def _state_values(task: ConditioningTask, gamma: float) -> np.ndarray:
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import spsolve

    matrix = transition_matrix(task)[: task.chain.num_states]
    return np.atleast_1d(spsolve((eye_array(task.chain.num_states) - gamma * matrix).tocsc(), matrix @ _rewards(task.chain)))


def _rewards(chain: Chain) -> np.ndarray:
    return chain.reward.astype(np.float64)


def _checked(task: ConditioningTask, observations: Any) -> np.ndarray:
    try:
        array = np.asarray(observations, np.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(f"observations must be an array of numbers, got {type(observations).__name__}: {error}") from None
    features = len(task.cue_names) + 1
    if array.ndim not in (2, 3) or array.shape[-1] != features or 0 in array.shape:
        raise ValueError(f"observations must have shape (T, {features}) or (N, T, {features}), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("observations must be finite numbers, got NaN or infinity")
    cues = array[..., :-1]
    if not (np.isin(cues, (0, 1)).all() and (cues.sum(axis=-1) <= 1).all()):
        raise ValueError("observations must have a 1 for at most one cue in every step, and 0 for all others")
    return array


def _filtered(task: ConditioningTask, chain: Chain, array: np.ndarray, reward_noise: float) -> Iterator[np.ndarray]:
    """Beliefs of each step in turn, (S, N), of an observer who takes the task to be a chain."""
    noise = number_in("reward_noise", reward_noise, 0, 1e6)
    batch = array if array.ndim == 3 else array[None]
    cues = np.where(batch[..., :-1].any(axis=-1), batch[..., :-1].argmax(axis=-1), -1)
    rewards = batch[..., -1]
    forward = _matrix_of(chain).T.tocsr()
    belief = np.zeros((chain.num_states + 1, len(batch)))
    belief[-1] = 1.0  # before the start
    for t in range(batch.shape[1]):
        predicted = forward @ belief
        likely = predicted * _likelihood(chain, cues[:, t], rewards[:, t], noise, predicted)
        total = likely.sum(axis=0)
        if (total <= 0).any():
            n = int(np.argmax(total <= 0))
            where = f" of row {n}" if array.ndim == 3 else ""
            raise ValueError(
                f"observations must be possible in {task}: at step {t}{where} it cannot show "
                f"cue {cues[n, t]} (−1 for none) and reward {rewards[n, t]:g} after what came before"
            )
        now = likely / total
        yield now
        belief[:-1], belief[-1] = now, 0.0


def _likelihood(chain: Chain, cues: np.ndarray, rewards: np.ndarray, noise: float, predicted: np.ndarray) -> np.ndarray:
    """How likely each state shows these cues and rewards, up to a factor for each column, (S, N)."""
    same_cue = chain.cue[:, None] == cues
    given = chain.reward[:, None]
    if noise == 0:
        return same_cue & (given == rewards)
    distance = np.where((given != 0) & (rewards != 0), (_rewards(chain)[:, None] - rewards) / noise, 0.0)
    possible = same_cue & ((given != 0) == (rewards != 0)) & (predicted > 0)
    # The nearest possible size counts as 1: far away from all of them, densities would all round to 0.
    nearest = np.where(possible, distance**2, np.inf).min(axis=0)
    return possible * np.exp(-0.5 * np.maximum(distance**2 - nearest, 0.0))
