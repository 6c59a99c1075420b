"""Hostile and broken input: each target reads what somebody else may have made, and may refuse it in one line.

- The long command, guided by coverage: ``python -m tests.fuzz --minutes 10 --targets all --seed 1 --out DIR``
  (``pip install atheris``).
- The short one, in the suite: ``pytest tests/fuzz``, by hypothesis, from the same beginnings through the same targets.
"""
