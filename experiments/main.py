"""The console command: checks whose packages it got, and turns every failure into one clear line."""

import sys
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("moprune", "problems", "analysis", "experiments")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0 done, 1 failure, 2 usage or data, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    hidden = _hidden_by()
    if hidden:
        print(f"moprune: error: {hidden}", file=sys.stderr)
        return 1
    debug = "--debug" in arguments
    try:
        from experiments.cli import app

        app([a for a in arguments if a != "--debug"])
    except SystemExit as stop:  # the command line's own way to end, wrong usage included
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        print("moprune: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            raise
        return _report(error)
    return 0


def _report(error: Exception) -> int:
    """Prints an error as one line, or one a fault; returns the exit status."""
    from moprune.errors import MopruneError

    if isinstance(error, MopruneError):
        for line in str(error).splitlines():
            print(f"moprune: error: {line}", file=sys.stderr)
        return error.exit_status
    if isinstance(error, OSError) and error.filename is not None:
        print(f"moprune: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    if _out_of_memory(error):
        print(
            "moprune: error: out of memory; use fewer images or smaller batches, or set pruning.chunk (what was "
            "evaluated is kept)",
            file=sys.stderr,
        )
        return 1
    print(
        f"moprune: internal error: {type(error).__name__}: {error} (run again with --debug for a traceback)",
        file=sys.stderr,
    )
    return 1


def _out_of_memory(error: Exception) -> bool:
    """Returns whether memory ran out; torch says so by a RuntimeError, in other words on a CPU than on a GPU."""
    said = str(error)
    torchs = isinstance(error, RuntimeError) and ("out of memory" in said or "can't allocate memory" in said)
    return isinstance(error, MemoryError) or torchs


def _hidden_by() -> str | None:
    """Returns what is wrong if another folder's package hides one of ours, which have general names."""
    home = Path(__file__).resolve().parent.parent
    for package in _PACKAGES:
        spec = find_spec(package)
        places = [Path(place).resolve() for place in (spec.submodule_search_locations or [])] if spec else []
        if home / package not in places[:1]:
            where = places[0] if places else "nothing"
            return f"the package {package!r} is hidden by {where}; run moprune from another folder, or rename that one"
    return None


if __name__ == "__main__":
    sys.exit(main())
