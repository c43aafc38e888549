"""Many runs in one program: seeds × hyperparameters."""

from mbrl_agents.experiments.sweeps.result import BestSetting, SweepResult
from mbrl_agents.experiments.sweeps.specification import grid
from mbrl_agents.experiments.sweeps.sweep import sweep_memory, train_sweep

__all__ = ["BestSetting", "SweepResult", "grid", "sweep_memory", "train_sweep"]
