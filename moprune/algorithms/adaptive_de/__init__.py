"""Differential evolution that adapts itself, as pymoo algorithms for one objective within bounds.

* :class:`SaDE`, :class:`JADE`, :class:`SHADE`, :class:`LSHADE`, :class:`LSHADEEpSin`: from choosing strategies by
  success to remembering parameters, shrinking the population and following sinusoids;
* :class:`TDE`: with the trigonometric mutation;
* :class:`SASHADETriEnSin`: all of it, for the weights of pre-trained networks, by a :class:`Profile`.

Each scores a generation as one batch, draws from its own generator alone, and starts from members given or drawn.
"""

from moprune.algorithms.adaptive_de.base import AdaptiveDE
from moprune.algorithms.adaptive_de.epsin import LSHADEEpSin
from moprune.algorithms.adaptive_de.jade import JADE
from moprune.algorithms.adaptive_de.lshade import LSHADE
from moprune.algorithms.adaptive_de.profile import PROFILES, Profile
from moprune.algorithms.adaptive_de.sa_shade import SASHADETriEnSin
from moprune.algorithms.adaptive_de.sade import SaDE
from moprune.algorithms.adaptive_de.shade import SHADE
from moprune.algorithms.adaptive_de.tde import TDE

__all__ = [
    "JADE",
    "LSHADE",
    "PROFILES",
    "SHADE",
    "TDE",
    "AdaptiveDE",
    "LSHADEEpSin",
    "Profile",
    "SASHADETriEnSin",
    "SaDE",
]
