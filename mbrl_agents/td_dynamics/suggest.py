"""The step sizes with which the theory predicts the smallest error at the end."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from tqdm import tqdm

from mbrl_agents.td_dynamics import arguments
from mbrl_agents.td_dynamics.covariances import AnyCovariance, as_covariance
from mbrl_agents.td_dynamics.reduced import reduced
from mbrl_agents.td_dynamics.schedules import PowerSchedule
from mbrl_agents.td_dynamics.stability import MAX_BATCH, limit
from mbrl_agents.td_dynamics.theory import theory_curve
from mbrl_envs.checks import integer_in, one_of

FAMILIES = ("constant", "power", "delayed_power")
SAFE = 0.99  # share of the largest stable step size that is not exceeded
_MOST_EXPONENT, _SMALLEST = 4.0, 1e-4  # largest χ; smallest first step size, as a share of the largest stable one
_SHARES = (0.003, 0.01, 0.03, 0.1, 0.3, 0.9)  # of the largest stable step size, where the search for a constant one begins
_EXPONENTS = (0.25, 0.5, 1.0)  # where that for χ begins


class SuggestedSchedule(NamedTuple):
    """A schedule and what the theory says about it.

    Attributes:
        schedule: The step sizes, to be handed to ``theory_curve``, ``simulate_td`` and ``LinearTD``.
        num_steps: Updates that the budget allows.
        losses: The predicted curve, float64 (num_steps + 1,).
        best_constant: The best constant step size found.
        constant_losses: Its predicted curve.
        largest_stable: The largest stable step size.
        evaluations: Curves that were computed.
    """

    schedule: PowerSchedule
    num_steps: int
    losses: np.ndarray
    best_constant: float
    constant_losses: np.ndarray
    largest_stable: float
    evaluations: int


def suggest_schedule(
    covariance: AnyCovariance,
    reward_weights: Any,
    *,
    gamma: float,
    budget: int,
    batch_size: int,
    family: str = "delayed_power",
    reward_noise: float = 0.0,
    shaping: Any = None,
    fourth_moments: str = "published",
    max_evaluations: int = 200,
    progress_bar: bool = False,
) -> SuggestedSchedule:
    """The schedule η (1 + (n − 1)/delay)^(−χ) with the smallest predicted loss after the last update.

    The search (Nelder & Mead 1965) goes over constant ones, then also over χ with a delay of 1, then also over the delay, each
    from the best one before, so that a larger family is never worse. It stays below the largest stable step size at every
    update. It is a local search of a curve with more than one valley: what it finds is good, not proven best.

    Args:
        covariance: Second moments of features, as for :func:`~mbrl_agents.td_dynamics.theory.theory_curve`.
        reward_weights: w_R, float (N,).
        gamma: γ, at least 0 and below 1.
        budget: Episodes that may be used in all, at least ``batch_size``; ``budget // batch_size`` updates.
        batch_size: B, episodes per update.
        family: ``"constant"``, ``"power"`` (η n^(−χ)), or ``"delayed_power"``.
        reward_noise: As for ``theory_curve``.
        shaping: As there.
        fourth_moments: As there.
        max_evaluations: Most curves that are computed, at least 10.
        progress_bar: Whether to show one.

    Returns:
        The schedule, its curve, and the best constant step size to compare with.

    Raises:
        TypeError, ValueError: Bad arguments, or a budget smaller than a batch.
    """
    one_of("family", family, FAMILIES)
    batch = integer_in("batch_size", batch_size, 1, MAX_BATCH)
    num_steps = integer_in("budget", budget, batch, 2**62) // batch
    most = integer_in("max_evaluations", max_evaluations, 10, 10**6)
    form = as_covariance(covariance, fourth_moments)
    stable = limit(reduced(form, arguments.discount(gamma), fourth_moments), batch)
    common = {"gamma": gamma, "batch_size": batch, "num_steps": num_steps, "reward_noise": reward_noise, "shaping": shaping}

    def curve(schedule: PowerSchedule) -> np.ndarray:
        return theory_curve(
            form, reward_weights, step_size=schedule, fourth_moments=fourth_moments, check_stability=False, **common
        )

    with tqdm(total=most, unit=" curves", disable=not progress_bar) as bar:
        search = _Search(curve, stable, num_steps, most, bar)
        best = search.improve(search.lowest([np.log([share]) for share in _SHARES]), most // 5)
        constant = search.schedule(best)
        if family != "constant":
            best = search.improve(search.lowest([np.append(best, exponent) for exponent in _EXPONENTS]), most // 2)
        if family == "delayed_power":
            delays = [np.append(best, np.log(num_steps) * share) for share in (0.0, 0.5)]
            search.improve(search.lowest(delays), most)
    suggested = search.best
    return SuggestedSchedule(
        suggested, num_steps, curve(suggested), constant.step_size, curve(constant), stable, search.evaluations
    )


class _Search:
    """Schedules by one to three coordinates: log of the mean step size as a share of the largest stable one, χ, log of delay.

    With the mean held, what has been learned of the slow modes stays about the same when χ changes, and the search is short.
    """

    def __init__(self, curve: Any, stable: float, num_steps: int, most: int, bar: Any) -> None:
        self._curve, self._stable, self._num_steps, self._most, self._bar = curve, stable, num_steps, most, bar
        self.evaluations = 0
        self.best, self._lowest = PowerSchedule(stable * SAFE), np.inf

    def schedule(self, at: np.ndarray) -> PowerSchedule:
        exponent = float(np.clip(at[1], 0, _MOST_EXPONENT)) if len(at) > 1 else 0.0
        delay = float(np.exp(np.clip(at[2], 0, np.log(2 * self._num_steps + 1)))) if len(at) > 2 else 1.0
        mean = PowerSchedule(1.0, exponent, delay).step_sizes(self._num_steps).mean()
        share = np.clip(np.exp(at[0]) / mean, _SMALLEST, SAFE)
        return PowerSchedule(float(share * self._stable), exponent, delay)

    def lowest(self, points: list[np.ndarray]) -> np.ndarray:
        """The best of some points."""
        return min(points, key=self.loss)

    def loss(self, at: np.ndarray) -> float:
        """Log of the loss at the end; points outside of the bounds have that of the nearest ones inside."""
        schedule = self.schedule(at)
        self.evaluations += 1
        self._bar.update()
        found = float(np.log(self._curve(schedule)[-1]))
        if found < self._lowest:
            self.best, self._lowest = schedule, found
        return found

    def improve(self, start: np.ndarray, until: int) -> np.ndarray:
        """Goes downhill from ``start`` until ``until`` evaluations have been spent in all."""
        left = min(until, self._most) - self.evaluations
        if left <= len(start):
            return start
        options = {"maxfev": left, "xatol": 1e-3, "fatol": 1e-5, "initial_simplex": _simplex(start)}
        return minimize(self.loss, start, method="Nelder-Mead", options=options).x


def _simplex(start: np.ndarray) -> np.ndarray:
    """The points that a search begins with: ``start``, and a step along each coordinate."""
    return np.vstack([start, start + np.diag([0.4, 0.2, 1.0][: len(start)])])
