"""Settings of all tests."""

import os

# Before torch is imported: threads that wait in a loop for each other make small tensors up to ten times slower
# where other programs use the cores too.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from hypothesis import settings

settings.register_profile("moprune", deadline=None, derandomize=True)
settings.load_profile("moprune")
