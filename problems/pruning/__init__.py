"""Pruning: which units of a transferred head stay.

:class:`PruningProblem` scores masks over the units of a head on frozen features. :class:`Encoding` says what a
bit of the genome switches.
"""

from problems.pruning.encodings import ENCODINGS, Encoding
from problems.pruning.problem import PruningProblem

__all__ = ["ENCODINGS", "Encoding", "PruningProblem"]
