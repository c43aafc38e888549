"""R2D2: recurrent Q-learning from replayed sequences."""

from mbrl_agents.r2d2.policies import CnnLstmPolicy, MlpLstmPolicy, MultiInputLstmPolicy, R2D2Policy
from mbrl_agents.r2d2.r2d2 import R2D2
from mbrl_agents.r2d2.sequence_buffer import SequenceReplayBuffer
from mbrl_agents.r2d2.sequences import SequenceLayout

__all__ = [
    "R2D2",
    "CnnLstmPolicy",
    "MlpLstmPolicy",
    "MultiInputLstmPolicy",
    "R2D2Policy",
    "SequenceLayout",
    "SequenceReplayBuffer",
]
