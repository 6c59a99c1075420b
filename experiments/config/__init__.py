"""The configuration of an experiment: what its file may say, checked.

:class:`ExperimentConfig` is the whole; its sections are one class each, see :mod:`experiments.reference` for a list of
every key.
"""

from experiments.config.data import DataConfig, NetworkConfig, SplitsConfig
from experiments.config.experiment import ExperimentConfig
from experiments.config.selection import SelectionConfig
from experiments.config.tasks import MembersConfig, PruningConfig, RefinementConfig

__all__ = [
    "DataConfig",
    "ExperimentConfig",
    "MembersConfig",
    "NetworkConfig",
    "PruningConfig",
    "RefinementConfig",
    "SelectionConfig",
    "SplitsConfig",
]
