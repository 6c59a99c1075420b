"""What is in force while one candidate is evaluated, besides its genome and the problem.

An algorithm may say, for each candidate it asks for, how well it has to do to matter, on which part of the data, and
how much its score may cost::

    Population.new("X", trials, "context", [Context(bound=loss) for loss in losses_of_parents])

A problem that makes no use of bounds evaluates the candidate in full, which is always right. What is scored on a
subset, on a rung or with fewer training seeds than all is provisional: it is in no front.

A contextual problem says what it has: ``subsets``; ``rungs``, how many fidelities there are below the full one (0 or
absent: none); ``seeds``, the training seeds of a full evaluation (absent: 1).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Context:
    """The context of one evaluation.

    Attributes:
        bound: of the single, minimised objective: once it certainly exceeds this, the candidate may be dropped, and
            what comes back is some number above the bound. Comparisons with the bound stay exact.
        subset: score on the subset of the search split with this number, >= 0; None for the whole split.
        rung: score on the problem's cheaper fidelity with this number, 0 the cheapest; None for the full one.
        seeds: score as the mean over the first so many training seeds, >= 1; None for all that the problem has.
    """

    bound: float | None = None
    subset: int | None = None
    rung: int | None = None
    seeds: int | None = None

    def __str__(self) -> str:
        """Returns what is stored with an evaluation; nothing for the plain context."""
        parts = {"subset": self.subset, "rung": self.rung, "seeds": self.seeds, "bound": self.bound}
        return " ".join(f"{name}={value!r}" for name, value in parts.items() if value is not None)


PLAIN = Context()
