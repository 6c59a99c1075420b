"""The engine of moprune: data, networks, populations, algorithms, the evaluation log and the search.

Importing this package is cheap: torch is imported by the modules that need it.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("moprune")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
