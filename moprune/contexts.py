"""What is in force while one candidate is evaluated, besides its genome and the problem.

An algorithm may say, for each candidate it asks for, how well it has to do to matter, and on which part of the data::

    Population.new("X", trials, "context", [Context(bound=loss) for loss in losses_of_parents])

A problem that makes no use of bounds evaluates the candidate in full, which is always right.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Context:
    """The context of one evaluation.

    Attributes:
        bound: of the single, minimised objective: once it certainly exceeds this, the candidate may be dropped, and
            what comes back is some number above the bound. Comparisons with the bound stay exact.
        subset: score on the subset of the search split with this number, >= 0; None for the whole split.
    """

    bound: float | None = None
    subset: int | None = None

    def __str__(self) -> str:
        """Returns what is stored with an evaluation; nothing for the plain context."""
        parts = []
        if self.subset is not None:
            parts.append(f"subset={self.subset}")
        if self.bound is not None:
            parts.append(f"bound={self.bound!r}")
        return " ".join(parts)


PLAIN = Context()
