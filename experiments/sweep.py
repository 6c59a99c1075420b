"""Many runs side by side: every combination of experiment, seed and varied values in a run folder of its own."""

import itertools
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.config import ExperimentConfig
from experiments.loading import find_experiment, load_experiment
from experiments.run_folder import RunFolder
from moprune.distributed import fetched
from moprune.errors import MopruneError, UsageError
from moprune.objectives import resolve

_RETRIES = 2  # of a run whose process died; it goes on from its log


@dataclass(frozen=True)
class Member:
    """One run of a sweep.

    Attributes:
        folder: where it is, ``OUT/EXPERIMENT[,KEY=VALUE]/seed-N``.
        config: the experiment, of a single seed.
    """

    folder: Path
    config: ExperimentConfig

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.folder.parent.name}/{self.folder.name}"


@dataclass(frozen=True)
class Ended:
    """How a run of a sweep ended.

    Attributes:
        member: the run.
        seconds: it took, the start of its process included; 0 for one that was there.
        fault: what was wrong, in a line; None for one that is finished.
    """

    member: Member
    seconds: float
    fault: str | None = None


def planned(
    experiments: Sequence[str], overrides: Sequence[str], seeds: str | None, varied: Sequence[str], out: Path
) -> list[Member]:
    """Returns the runs of a sweep.

    Args:
        experiments: bundled names or files.
        overrides: ``key=value``, for all of them.
        seeds: as ``1,2,3``; None for each experiment's own.
        varied: ``key=a,b,c``, of which every combination is a run; values are YAML.
        out: the folder of all.

    Raises:
        UsageError: an experiment, key or value that cannot be used, or two runs of one name.
    """
    given = [*overrides, *([f"seeds=[{seeds}]"] if seeds is not None else [])]
    members = []
    for experiment, values in itertools.product(experiments, itertools.product(*map(_values, varied))):
        settings = [*given, *values]
        name = ",".join([find_experiment(experiment, settings).stem, *map(_label, values)])
        for seed in load_experiment(experiment, settings).seeds:
            config = load_experiment(experiment, [*settings, f"seeds=[{seed}]"])
            members.append(Member(out / name / f"seed-{seed}", config))
    folders = [member.folder for member in members]
    for i, folder in enumerate(folders):
        if folder in folders[:i]:
            raise UsageError(f"two runs of the sweep are called {folder.parent.name}/{folder.name}; name each once")
    return members


def sweep(members: Sequence[Member], ray: Any, *, workers: int, gpus: float = 0.0) -> Iterator[Ended]:
    """Yields how runs end, as they do; those that were finished first. A run that fails does not stop the others.

    Each has a process of its own, with one core. One whose process dies is tried again, from its log.

    Args:
        members: the runs.
        ray: the module, connected (:func:`moprune.distributed.connected`).
        workers: runs at once, >= 1.
        gpus: GPUs a run, or the share of one.
    """
    yield from (Ended(member, 0.0) for member in members if RunFolder(member.folder).finished)
    waiting = [member for member in members if not RunFolder(member.folder).finished][::-1]
    task = ray.remote(num_cpus=1, num_gpus=gpus, max_calls=1, max_retries=_RETRIES)(_run)
    running: dict[Any, tuple[Member, float]] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            member = waiting.pop()
            running[task.remote(member.config, member.folder.resolve())] = member, time.monotonic()
        for ready in ray.wait(list(running), num_returns=1)[0]:
            member, started = running.pop(ready)
            yield Ended(member, time.monotonic() - started, _fault(ray, ready))


def comparable(members: Sequence[Member]) -> list[list[Path]]:
    """Returns the folders of the sweep's experiments, those of the same objectives together."""
    groups: dict[tuple[str, ...], dict[Path, None]] = {}
    for member in members:
        objectives = tuple(f"{each.name} {each.unit}" for each in resolve(member.config.resolved_objectives()))
        groups.setdefault(objectives, {})[member.folder.parent] = None
    return [list(folders) for folders in groups.values()]


def _run(config: ExperimentConfig, folder: Path) -> None:
    import torch

    from experiments.runner import run_experiment

    torch.set_num_threads(1)
    run_experiment(config, folder, _Silent())


class _Silent:
    """A :class:`experiments.runner.Watcher` that tells nobody."""

    def working(self, *_: object) -> None: ...
    def generation(self, *_: object) -> None: ...
    def assessing(self, *_: object) -> None: ...


def _fault(ray: Any, result: Any) -> str | None:
    """Returns what was wrong with a run, in a line; None if nothing was."""
    try:
        fetched(ray, result)
    except MopruneError as error:
        return "; ".join(str(error).splitlines())
    except Exception as error:  # of this run alone
        return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    return None


def _values(varied: str) -> list[str]:
    """Returns the overrides that ``key=a,b,c`` stands for."""
    key, separator, text = varied.partition("=")
    try:
        values = yaml.safe_load(f"[{text}]")
    except yaml.YAMLError:
        values = None
    if not separator or not values:
        raise UsageError(f"--vary {varied}: write key=a,b,c, such as search.pop_size=20,40")
    return [f"{key.strip()}={json.dumps(value)}" for value in values]


def _label(override: str) -> str:
    """Returns an override as part of a folder's name."""
    return re.sub(r"[^\w.,=+-]", "", override)
