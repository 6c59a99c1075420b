"""Swarms that pymoo lacks, as pymoo algorithms for one objective within finite bounds.

* :class:`BatAlgorithm`, :class:`FireflyAlgorithm`, :class:`RelativisticPSO`.

Each scores a generation as one batch, draws from its own generator alone, and starts from members given or drawn.
"""

from moprune.algorithms.swarms.bat import BatAlgorithm
from moprune.algorithms.swarms.firefly import FireflyAlgorithm
from moprune.algorithms.swarms.relativistic import RelativisticPSO

__all__ = ["BatAlgorithm", "FireflyAlgorithm", "RelativisticPSO"]
