"""BioTune's evolutionary algorithm: elites that are probed, children that mutate the more the worse their parents."""

from moprune.algorithms.biotune.algorithm import BioTune
from moprune.algorithms.biotune.profile import PROFILES, Profile

__all__ = ["PROFILES", "BioTune", "Profile"]
