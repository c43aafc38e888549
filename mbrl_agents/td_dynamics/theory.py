"""Typical learning curves of linear TD(0), from second moments of features alone.

V = ψ·w is learned from batches of B episodes by w ← w + (η/B) Σ_{b,t} ψ_t δ_t, δ_t = ψ_t·(w_R − w) + γ ψ_{t+1}·w + σξ_t, with
t = 1 … T−1. With Σ̄ = Σ_t Σ(t,t), Σ̄₊ = Σ_t Σ(t,t+1), A = Σ̄ − γΣ̄₊, the error e = w_V − w has

    ⟨e⟩ ← (I − ηA) ⟨e⟩,
    M = ⟨e eᵀ⟩ ← (I − ηA) M (I − ηA)ᵀ + (η²/B) Σ_{t,s} Σ(t,s) Q(t,s),     Q(t,s) = ⟨δ_t δ_s⟩,     loss = Tr(M Σ̄),

about the fixed point w_V = A⁻¹ Σ̄ w_R (Bordelon, Masset, Kuo & Pehlevan 2023, Dynamics of Temporal Difference Reinforcement
Learning, NeurIPS). Shaping with a potential moves it to w_V + w_S, and the start with it; all else stays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator, gmres

from mbrl_agents.td_dynamics import arguments
from mbrl_agents.td_dynamics.covariances import (
    AnyCovariance,
    DecoupledCovariance,
    FeatureCovariance,
    WeightMoments,
    as_covariance,
)
from mbrl_agents.td_dynamics.reduced import reduced
from mbrl_agents.td_dynamics.schedules import StepSize, step_sizes
from mbrl_agents.td_dynamics.stability import MAX_BATCH, check_step_sizes
from mbrl_envs.checks import integer_in, number_in

MAX_STEPS = 100_000_000
_ROWS = 2000  # updates of decoupled features whose mean errors are held at once
_PLATEAU_TOLERANCE = 1e-10


class _Problem(NamedTuple):
    """Checked arguments, with d = w_R − w_V and the error e₀ = w_V + w_S at the start."""

    covariance: FeatureCovariance
    value: np.ndarray
    distance: np.ndarray
    first_error: np.ndarray
    gamma: float
    batch_size: int
    reward_noise: float
    fourth_moments: str


def _problem(
    covariance: Any, reward_weights: Any, gamma: Any, batch_size: Any, reward_noise: Any, shaping: Any, fourth_moments: str
) -> _Problem:
    form = as_covariance(covariance, fourth_moments)
    value = fixed_point(form, reward_weights, gamma=gamma)
    moved = np.zeros_like(value) if shaping is None else arguments.weights("shaping", shaping, form.num_features)
    return _Problem(
        form,
        value,
        np.asarray(reward_weights, np.float64) - value,
        value + moved,
        arguments.discount(gamma),
        integer_in("batch_size", batch_size, 1, MAX_BATCH),
        number_in("reward_noise", reward_noise, 0),
        fourth_moments,
    )


def fixed_point(covariance: AnyCovariance, reward_weights: Any, *, gamma: float) -> np.ndarray:
    """w_V = A⁻¹ Σ̄ w_R, where TD's mean update is 0, within the span of the features that are seen.

    Args:
        covariance: Σ, as for :func:`theory_curve`.
        reward_weights: w_R, float (N,).
        gamma: γ, at least 0 and below 1.

    Returns:
        float64 (N,).

    Raises:
        TypeError, ValueError: Bad arguments.
    """
    form = as_covariance(covariance)
    rewards = arguments.weights("reward_weights", reward_weights, form.num_features)
    mean = form.total * rewards if isinstance(form, DecoupledCovariance) else form.total @ rewards
    return reduced(form, arguments.discount(gamma)).solve(mean)


def theory_curve(
    covariance: AnyCovariance,
    reward_weights: Any,
    *,
    gamma: float,
    step_size: StepSize,
    batch_size: int,
    num_steps: int,
    reward_noise: float = 0.0,
    shaping: Any = None,
    fourth_moments: str = "published",
    check_stability: bool = True,
) -> np.ndarray:
    """The typical learning curve; the equations are at the head of this module.

    Args:
        covariance: Σ: an array (N, T, T) of features that are independent of each other, an array (N, T, N, T) in general, or a
            :class:`~mbrl_agents.td_dynamics.covariances.FeatureCovariance`. Arrays are checked and prepared at every call:
            for many curves, make the form once.
        reward_weights: w_R, float (N,): expected rewards are ψ·w_R.
        gamma: γ, at least 0 and below 1.
        step_size: η, above 0: a number, an array with one for each update, or a
            :class:`~mbrl_agents.td_dynamics.schedules.PowerSchedule`.
        batch_size: B, episodes per update, at least 1.
        num_steps: Number of updates.
        reward_noise: σ, standard deviation of independent noise on every reward, at least 0.
        shaping: w_S, float (N,), or None: rewards are shaped so that the value learned is ψ·(w_V + w_S).
        fourth_moments: ``"published"``: features as Gaussian, of whose three pairings one is left out, as published.
            ``"gaussian"``: all three. ``"exact"``: those of the process itself, where the form has them.
        check_stability: Whether to refuse step sizes with which learning diverges; also those of a schedule that is above the
            limit for a while only.

    Returns:
        Losses, float64 (num_steps + 1,): ``losses[n]`` is Tr(M Σ̄) after n updates, the expected squared error of values,
        summed over an episode's T − 1 first times.

    Raises:
        TypeError, ValueError: Bad arguments; for an unstable step size the message names the largest stable one.
    """
    problem = _problem(covariance, reward_weights, gamma, batch_size, reward_noise, shaping, fourth_moments)
    etas = step_sizes(step_size, integer_in("num_steps", num_steps, 0, MAX_STEPS))
    if check_stability and len(etas):
        check_step_sizes(reduced(problem.covariance, problem.gamma, fourth_moments), etas, problem.batch_size)
    with np.errstate(over="ignore", invalid="ignore"):  # unstable curves may reach infinity
        if isinstance(problem.covariance, DecoupledCovariance):
            return _decoupled_curve(problem, problem.covariance, etas)
        return _coupled_curve(problem, etas)


def _coupled_curve(problem: _Problem, etas: np.ndarray) -> np.ndarray:
    covariance, mean_map = problem.covariance, problem.covariance.mean_map(problem.gamma)
    error, identity = problem.first_error, np.eye(covariance.num_features)
    moments = np.outer(error, error)
    losses = np.empty(len(etas) + 1)
    losses[0] = (moments * covariance.total).sum()
    for n, eta in enumerate(etas):
        noise = _noise(problem, error, moments)
        kept = identity - eta * mean_map
        moments = kept @ moments @ kept.T + eta**2 / problem.batch_size * noise
        moments = (moments + moments.T) / 2  # rounding errors that are not symmetric could grow though moments shrink
        error = kept @ error
        losses[n + 1] = (moments * covariance.total).sum()
    return losses


def _noise(problem: _Problem, error: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """The noise of an update, given mean and second moments of the error (general features)."""
    distance, value = problem.distance, problem.value
    mixed = np.outer(distance, error)
    fading = np.outer(value, error)
    weights = WeightMoments(
        aa=np.outer(distance, distance) + mixed + mixed.T + moments,
        aw=np.outer(distance, value) - mixed + fading.T - moments,
        ww=np.outer(value, value) - fading - fading.T + moments,
    )
    return problem.covariance.noise(weights, problem.gamma, problem.reward_noise, problem.fourth_moments)


def _decoupled_curve(problem: _Problem, covariance: DecoupledCovariance, etas: np.ndarray) -> np.ndarray:
    """As :func:`_coupled_curve`, of diagonals.

    The noise is linear in M, ⟨e⟩ and 1, and ⟨e⟩ is known beforehand, so that an update is one product of matrix and vector.
    """
    by_aa, by_aw, by_ww = covariance.coefficients(problem.gamma, problem.fourth_moments)
    distance, value, total = problem.distance, problem.value, covariance.total
    by_moments = by_aa - by_aw + by_ww
    by_error = 2 * by_aa * distance + by_aw * (value - distance) - 2 * by_ww * value
    constant = by_aa @ distance**2 + by_aw @ (distance * value) + by_ww @ value**2 + problem.reward_noise**2 * total
    mean_map = covariance.mean_map(problem.gamma)
    error = problem.first_error
    moments = error**2
    losses = np.empty(len(etas) + 1)
    losses[0] = moments @ total
    for begin in range(0, len(etas), _ROWS):
        eta = etas[begin : begin + _ROWS, None]
        kept = 1 - eta * mean_map
        errors = np.cumprod(np.concatenate([error[None], kept]), axis=0)
        drive = eta**2 / problem.batch_size * (errors[:-1] @ by_error.T + constant)
        squared, scale = kept**2, eta[:, 0] ** 2 / problem.batch_size
        for i in range(len(eta)):
            moments = squared[i] * moments + scale[i] * (by_moments @ moments) + drive[i]
            losses[begin + i + 1] = moments @ total
        error = errors[-1]
    return losses


def plateau(
    covariance: AnyCovariance,
    reward_weights: Any,
    *,
    gamma: float,
    step_size: float,
    batch_size: int,
    reward_noise: float = 0.0,
    fourth_moments: str = "published",
) -> float:
    """The loss that is left when a constant step size has learned all it can: the fixed point of the recursion of M.

    It solves M − η D⁻¹(A M Aᵀ + H(M)/B) = (η/B) D⁻¹(C), with D and H as in :mod:`~mbrl_agents.td_dynamics.stability` and C the
    noise of updates at w_V: one linear system, solved by GMRES. For small η it is proportional to η/B.

    Args:
        covariance: As for :func:`theory_curve`.
        reward_weights: w_R, float (N,).
        gamma: γ, at least 0 and below 1.
        step_size: η, a number above 0.
        batch_size: B, at least 1.
        reward_noise: σ, at least 0.
        fourth_moments: As for :func:`theory_curve`.

    Returns:
        The loss. Shaping does not change it.

    Raises:
        TypeError, ValueError: Bad arguments, or an unstable step size, with which there is no plateau.
    """
    problem = _problem(covariance, reward_weights, gamma, batch_size, reward_noise, None, fourth_moments)
    eta = number_in("step_size", step_size, 0, open_low=True)
    operators = reduced(problem.covariance, problem.gamma, fourth_moments)
    check_step_sizes(operators, np.array([eta]), problem.batch_size)
    one = operators.identity()
    outer = np.multiply if one.ndim == 1 else np.outer
    distance, value = problem.distance, problem.value
    weights = WeightMoments(outer(distance, distance), outer(distance, value), outer(value, value))
    noise = operators.noise(weights, problem.reward_noise)
    right = eta / problem.batch_size * operators.inverse_drift(noise)

    def system(flat: np.ndarray) -> np.ndarray:
        moments = flat.reshape(one.shape)
        grown = operators.spread(moments) + operators.own_noise(moments) / problem.batch_size
        return (moments - eta * operators.inverse_drift(grown)).ravel()

    operator = LinearOperator((one.size, one.size), system, dtype=np.float64)
    found, failed = gmres(operator, right.ravel(), rtol=_PLATEAU_TOLERANCE, atol=0.0, restart=50, maxiter=40)
    if failed:
        raise ValueError(f"step_size={eta:g} is too near the largest stable one: the plateau was not found")
    return operators.loss(found.reshape(one.shape))
