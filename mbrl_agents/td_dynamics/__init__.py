"""Learning dynamics of temporal-difference learning with linear features: theory, simulation, and policy evaluation.

* :func:`theory_curve` — the typical learning curve of features, from their second moments alone; :func:`plateau`,
  :func:`fixed_point`.
* :func:`largest_stable_step_size`, :func:`spectral_radius` — which step sizes converge.
* :func:`spectrum`, :func:`alignment` — what is learned fast, and what slowly.
* :func:`simulate_td` — TD itself, many repeats and settings in one program.
* :func:`suggest_schedule` — the step sizes with the smallest predicted error.
* :func:`rotated_shaping` — potentials at an angle to the values.
* :func:`published_study` — settings of the published studies.
* Second moments: arrays, a finite chain's (:class:`ChainCovariance`), or any environment's (:func:`estimate_covariance`).
"""

from mbrl_agents.td_dynamics.chains import ChainCovariance
from mbrl_agents.td_dynamics.covariances import DecoupledCovariance, DenseCovariance, FeatureCovariance
from mbrl_agents.td_dynamics.episodes import EpisodeCovariance, estimate_covariance
from mbrl_agents.td_dynamics.published import PublishedStudy, published_study
from mbrl_agents.td_dynamics.schedules import PowerSchedule
from mbrl_agents.td_dynamics.shaping import rotated_shaping
from mbrl_agents.td_dynamics.simulation import simulate_td
from mbrl_agents.td_dynamics.spectrum import Spectrum, alignment, spectrum
from mbrl_agents.td_dynamics.stability import largest_stable_step_size, spectral_radius
from mbrl_agents.td_dynamics.suggest import SuggestedSchedule, suggest_schedule
from mbrl_agents.td_dynamics.theory import fixed_point, plateau, theory_curve

__all__ = [
    "ChainCovariance",
    "DecoupledCovariance",
    "DenseCovariance",
    "EpisodeCovariance",
    "FeatureCovariance",
    "PowerSchedule",
    "PublishedStudy",
    "Spectrum",
    "SuggestedSchedule",
    "alignment",
    "estimate_covariance",
    "fixed_point",
    "largest_stable_step_size",
    "plateau",
    "published_study",
    "rotated_shaping",
    "simulate_td",
    "spectral_radius",
    "spectrum",
    "suggest_schedule",
    "theory_curve",
]
