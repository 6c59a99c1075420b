"""The two kinds of failure a person sees, each one clear line: what is wrong, where, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class MopruneError(Exception):
    """Something failed while running; the command line exits with status 1.

    Args:
        lines: one, or one for each of several faults. Control characters in them, of a name in somebody's file say, are
            shown as escapes: they neither break the line nor reach the terminal.
    """

    exit_status = 1

    def __str__(self) -> str:
        return "\n".join(printable(str(line)) for line in self.args)


class UsageError(MopruneError, ValueError):
    """The request or the data given cannot be used; the command line exits with status 2."""

    exit_status = 2


def printable(text: str) -> str:
    """Returns text with its control characters (line ends, escapes, changes of direction) written as Python would."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def not_one_of(what: str, given: object, accepted: Iterable[str]) -> UsageError:
    """Returns the error for a name that is not known, with the accepted ones and the nearest match."""
    names = sorted(accepted)
    near = get_close_matches(str(given), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UsageError(f"{what} {given!r} is not known{hint} (accepted: {', '.join(names)})")
