"""Kinds of tasks: what is searched, how controls are made and members chosen; one class each, the rest is common."""

from experiments.config import ExperimentConfig
from experiments.tasks.kind import Deliverable, TaskKind, Working
from experiments.tasks.pruning import Pruning
from experiments.tasks.refinement import Refinement
from experiments.tasks.selection import Selection

__all__ = ["Deliverable", "TaskKind", "Working", "task_kind"]

_KINDS: dict[str, type[TaskKind]] = {"pruning": Pruning, "refinement": Refinement, "selection": Selection}


def task_kind(config: ExperimentConfig) -> TaskKind:
    """Returns an experiment as its kind of task sees it."""
    return _KINDS[config.task](config)
