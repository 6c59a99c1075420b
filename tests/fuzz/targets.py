"""All targets by name."""

from collections.abc import Mapping

from tests.fuzz import files, runs, weights
from tests.fuzz.oracle import Target

TARGETS: Mapping[str, Target] = {**runs.TARGETS, **weights.TARGETS, **files.TARGETS}
