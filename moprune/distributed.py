"""Candidates evaluated by worker processes, on this machine or on many, through Ray.

Each worker is an actor that holds the problem; what it reads (features, say) lies once on each machine, in Ray's object
store. Log, duplicates and replay stay with the driver, so that nothing is lost with a worker, and a search that was
killed goes on from its log with any number of workers, or with none.
"""

import os
import socket
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import torch
from pymoo.core.problem import Problem

from moprune.errors import MopruneError, UsageError
from moprune.executors import InProcess, Values, joined, parts, told_of
from moprune.optional import require
from moprune.problem import Genomes, SearchProblem
from moprune.tensor_sharing import sharing_tensors

# Parts a worker gets of a population: enough that none waits long for the last, few enough that each is worth sending.
_PARTS = 4
_ATTEMPTS = 3
_PATIENCE = 300.0  # seconds without any worker that could be started; on a busy machine torch alone may take a minute


@contextmanager
def connected(cpus: int, address: str | None) -> Iterator[Any]:
    """Gives the module ``ray``, connected; a connection that was there before is used and stays.

    Args:
        cpus: processes of one core each that a Ray of one's own on this machine is to hold at once, even where there
            are fewer cores.
        address: of a cluster (``HOST:PORT``, or ``auto`` for one that runs on this machine); None starts Ray here.

    Raises:
        UsageError: Ray is not installed.
        MopruneError: there is no cluster at the address, or Ray does not start.
    """
    ray = require("ray", "ray")
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody who prunes a network has agreed to tell of it
    own: dict[str, Any] = {} if address is not None else {
        "num_cpus": cpus, "include_dashboard": False,
        "_system_config": {"worker_niceness": 0},  # as important as the driver, which waits for them: Ray's is 15
    }  # fmt: skip
    try:
        if address is not None and "/" not in address and ":" in address:  # Ray itself would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **own)
    except (OSError, RuntimeError, ValueError) as error:
        if address is None:
            raise MopruneError(f"Ray does not start on this machine ({_line(error)})") from error
        raise MopruneError(
            f"there is no Ray at {address} ({_line(error)}); `ray status` shows whether one runs. If it asks for a "
            "token, set RAY_AUTH_MODE=token in the environment"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def fetched(ray: Any, result: Any) -> Any:
    """Returns what a process computed, or raises what it raised, as itself; a RayError where the process is gone."""
    try:
        return ray.get(result)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from error


class RayExecutor:
    """Evaluates candidates in worker processes of one core each; a context manager.

    Results do not depend on the number of workers or on who evaluated what: a population is cut where the problem says
    it may be (:attr:`moprune.problem.SearchProblem.lockstep`) and put together in order. What a worker was at when its
    process or machine died is given to another.

    Args:
        workers: processes, >= 1.
        address: of a Ray cluster, see :func:`connected`; moprune has to be installed on each of its machines.
        gpus_per_worker: whole GPUs, or the share of one; more than 0 for a problem that lies on a CUDA device.

    Raises:
        UsageError: Ray is not installed, or there are no workers.
    """

    def __init__(self, workers: int, *, address: str | None = None, gpus_per_worker: float = 0.0) -> None:
        if workers < 1 or gpus_per_worker < 0:
            raise UsageError(f"workers is {workers}, gpus_per_worker {gpus_per_worker:g}; give >= 1 and >= 0")
        require("ray", "ray")
        self.workers, self.gpus_per_worker = workers, gpus_per_worker
        self._session = connected(workers, address)
        self._ray: Any = None
        self._problem: tuple[Problem, Any] | None = None  # with where it lies in the object store
        self._workers: list[Any] = []
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}  # what is resolved once a worker holds the problem -> worker

    def __enter__(self) -> Self:
        self._ray = self._session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dismiss()
        self._session.__exit__(None, None, None)

    def evaluate(
        self, problem: Problem, genomes: Sequence[Genomes], values_of: Sequence[str], told: Mapping[str, Any]
    ) -> Values:
        """Returns the values of the genomes, see :class:`moprune.executors.Executor`.

        Of what the problem is told, ``contexts`` alone leave this process.

        Raises:
            UsageError: the problem cannot go to another process, or lies on another device than the workers have.
            MopruneError: candidates that end three workers' processes, or no worker can be started; what the problem
                itself raises comes as it is.
        """
        if self._ray is None:
            raise UsageError("enter the executor first: with RayExecutor(2) as executor: ...")
        told = {name: value for name, value in told.items() if name == "contexts"}
        try:
            self._hand_out(problem)
            cut = parts(len(genomes), -(-len(genomes) // (_PARTS * self.workers)), problem)
            return joined(self._results([(genomes[part], list(values_of), told_of(part, told)) for part in cut]))
        except BaseException:  # an interruption too: nobody waits for what is under way
            self._dismiss()
            raise

    def _results(self, jobs: Sequence[tuple[Any, ...]]) -> list[Values]:
        """Returns what workers make of jobs, each given to the next that is free."""
        waiting, deaths = deque(range(len(jobs))), Counter[int]()
        running: dict[Any, tuple[int, Any]] = {}
        results: dict[int, Values] = {}
        while len(results) < len(jobs):
            while waiting and self._idle:
                job, worker = waiting.popleft(), self._idle.pop()
                running[worker.evaluate.remote(*jobs[job])] = job, worker
            for ready in self._wait([*running, *self._starting], patient=bool(running)):
                number: int | None
                number, worker = running.pop(ready) if ready in running else (None, self._starting.pop(ready))
                value, death = self._get(ready)
                if death is None:
                    self._idle.append(worker)
                    if number is not None:
                        results[number] = value
                    continue
                deaths[-1 if number is None else number] += 1
                if number is not None:
                    waiting.appendleft(number)
                if max(deaths.values()) == _ATTEMPTS:
                    raise _hopeless(number, jobs, death)
                self._ray.kill(worker)
                self._workers.remove(worker)
                self._start()
        return [results[job] for job in range(len(jobs))]

    def _wait(self, pending: list[Any], *, patient: bool) -> list[Any]:
        """Returns those that are done; while nothing is evaluated, only so long is waited for a worker to start."""
        ready: list[Any] = self._ray.wait(pending, num_returns=1, timeout=None if patient else _PATIENCE)[0]
        if not ready:
            held = self._ray.cluster_resources()
            raise MopruneError(
                f"no worker could be started in {_PATIENCE:.0f} s: each needs a core and {self.gpus_per_worker:g} "
                f"GPUs, and the cluster has {held.get('CPU', 0):g} and {held.get('GPU', 0):g}, with what others use"
            )
        return ready

    def _get(self, ready: Any) -> tuple[Any, Exception | None]:
        """Returns a result, or why its worker is gone; raises what the problem itself has raised."""
        try:
            return fetched(self._ray, ready), None
        except self._ray.exceptions.RayError as error:
            return None, error

    def _hand_out(self, problem: Problem) -> None:
        """Gives all workers a problem in the place of the former one, unless they hold it."""
        if self._problem is not None and self._problem[0] is problem:
            return
        if isinstance(problem, SearchProblem):
            problem.prepare()
        self._problem = problem, self._stored(problem)
        self._idle, self._starting = [], {}
        for worker in self._workers:
            self._hold(worker)
        while len(self._workers) < self.workers:
            self._start()

    def _stored(self, problem: Problem) -> Any:
        """Returns where a problem lies in the object store."""
        name = type(problem).__name__
        with sharing_tensors(self._ray, gpus=self.gpus_per_worker > 0) as on_gpu:
            try:
                stored = self._ray.put(problem)
            except (TypeError, AttributeError, ValueError) as error:
                if isinstance(error, UsageError):
                    raise
                raise UsageError(f"{name} cannot go to another process ({_line(error)}); do without workers") from error
        if self.gpus_per_worker and not on_gpu:
            raise UsageError(
                f"gpus_per_worker is {self.gpus_per_worker:g} and {name} lies on the CPU; give it a device"
            )
        return stored

    def _start(self) -> None:
        worker = self._ray.remote(num_cpus=1, num_gpus=self.gpus_per_worker)(_Worker).remote()
        self._workers.append(worker)
        self._hold(worker)

    def _hold(self, worker: Any) -> None:
        assert self._problem is not None  # it is handed out first
        self._starting[worker.hold.remote(self._problem[1])] = worker

    def _dismiss(self) -> None:
        for worker in self._workers:
            self._ray.kill(worker)
        self._workers, self._idle, self._starting, self._problem = [], [], {}, None


class _Worker:
    """Holds a problem in a process of its own."""

    def __init__(self) -> None:
        torch.set_num_threads(1)

    def hold(self, problem: Problem) -> None:
        self._problem = problem

    def evaluate(self, genomes: Sequence[Genomes], values_of: Sequence[str], told: Mapping[str, Any]) -> Values:
        return InProcess().evaluate(self._problem, genomes, values_of, told)


def _hopeless(number: int | None, jobs: Sequence[tuple[Any, ...]], death: Exception) -> MopruneError:
    """Returns the error for what has ended the processes of several workers."""
    if number is None:
        return MopruneError(f"{_ATTEMPTS} workers died as they were started ({_line(death)})")
    first = sum(len(genomes) for genomes, *_ in jobs[:number])
    last = first + len(jobs[number][0]) - 1
    return MopruneError(
        f"candidates {first} to {last} of a generation ended the processes of {_ATTEMPTS} workers ({_line(death)}); if "
        "memory ran out, use fewer workers a machine"
    )


def _line(error: Exception) -> str:
    """Returns the first line of what an error says."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
