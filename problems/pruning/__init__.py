"""Pruning: which units of a transferred head stay.

:class:`PruningProblem` scores masks over the units of a head on frozen features. :class:`Encoding` says what a
bit of the genome switches, :class:`Protocol` which images heads learn from before they are scored,
:mod:`~problems.pruning.controls` what the search has to beat.
"""

from problems.pruning.encodings import ENCODINGS, Encoding
from problems.pruning.problem import PruningProblem
from problems.pruning.protocol import Protocol

__all__ = ["ENCODINGS", "Encoding", "Protocol", "PruningProblem"]
