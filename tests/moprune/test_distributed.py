"""Worker processes compute what this process does, whoever dies meanwhile; one Ray of two cores for all tests."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from moprune.algorithms import make
from moprune.contexts import Context
from moprune.errors import MopruneError, UsageError
from moprune.executors import InProcess
from moprune.search import search
from moprune.testing.toy import ToyProblem

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'moprune[ray]'")

from moprune.distributed import RayExecutor  # noqa: E402 - after it is known that there is Ray
from moprune.tensor_sharing import _made, _reduced  # noqa: E402

pytestmark = [pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning")]


@pytest.fixture(scope="module", autouse=True)
def two_cores():
    """A Ray of two cores that all executors here use; what is defined in this file goes along by value."""
    ray.init(
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        _system_config={"worker_niceness": 0},
    )  # fmt: skip
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    ray.shutdown()


@pytest.fixture(scope="module")
def executor(two_cores):
    with RayExecutor(2) as executor:
        yield executor


class Odd(ToyProblem):
    """Does something else than computing: with the genome that is all ones, a limited number of times."""

    def __init__(self, folder, times):
        super().__init__()
        self.folder, self.times = folder, times

    def outcomes(self, X, splits):
        for genome in X:
            count = len(list(self.folder.iterdir()))
            if genome.all() and count < self.times:
                (self.folder / str(count)).touch()
                self.act()
            yield from super().outcomes(genome[None], splits)

    def act(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Refusing(Odd):
    def act(self):
        raise UsageError("no ones, please")


class Contextual(ToyProblem):
    """Puts out its contexts, and the process it is in."""

    contextual = True

    def __init__(self):
        super().__init__()
        self.requires_kwargs = True

    def _evaluate(self, X, out, *_, contexts, **__):
        out["F"] = self.minimised(self.values(X)[:, 0])
        out["seeds"] = np.array([context.seeds for context in contexts])
        out["process"] = np.full(len(X), os.getpid())


class Heavy(ToyProblem):
    """Holds a large tensor and puts out how it lies in memory."""

    def __init__(self):
        super().__init__()
        self.features = torch.rand(2, 64, 64, 64, dtype=torch.float64).contiguous(memory_format=torch.channels_last)

    def _evaluate(self, X, out, *_, **__):
        super()._evaluate(X, out)
        place = self.features.data_ptr()
        maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
        held = [line for line in maps if int(line[0].split("-")[0], 16) <= place < int(line[0].split("-")[1], 16)]
        out["shared"] = np.full(len(X), held[0][1].endswith("s"))  # rw-s: a mapping that processes share
        out["sum"] = np.full(len(X), self.features.sum().item())
        out["strides"] = np.tile(self.features.stride(), (len(X), 1))
        out["threads"] = np.full(len(X), torch.get_num_threads())


def population(problem, n=24):
    X = np.random.default_rng(0).random((n, problem.n_var)) < 0.5
    X[n // 2] = True
    return list(X)


def evaluated(executor, problem, n=24):
    return executor.evaluate(problem, population(problem, n), ["F"], {})


def history(executor, problem):
    run = search(problem, make("nsga2", problem, pop_size=20), n_eval=100, seed=1, executor=executor)
    return run.history().drop(columns="seconds"), run.genomes()


@pytest.mark.parametrize("workers", [1, 4])
def test_a_search_is_the_same_with_any_number_of_workers_and_without(workers):
    expected, genomes = history(None, ToyProblem())
    with RayExecutor(workers) as executor:  # of four workers on two cores two are never started
        found, its = history(executor, ToyProblem())
    assert found.equals(expected)
    assert np.array_equal(its, genomes)


def test_contexts_go_with_their_candidates_and_several_processes_work(executor):
    problem = Contextual()
    genomes = population(problem)
    contexts = [Context(seeds=i) for i in range(1, len(genomes) + 1)]
    out = executor.evaluate(problem, genomes, ["F"], {"contexts": contexts, "algorithm": threading.Lock()})
    assert out["seeds"][:, 0].tolist() == list(range(1, len(genomes) + 1))
    assert np.array_equal(out["F"], evaluated(InProcess(), ToyProblem())["F"])
    assert os.getpid() not in out["process"]


def test_what_killed_workers_were_at_is_done_by_others(executor, tmp_path):
    out = evaluated(executor, Odd(tmp_path, 2))
    assert len(list(tmp_path.iterdir())) == 2
    assert np.array_equal(out["F"], evaluated(InProcess(), ToyProblem())["F"])


def test_candidates_that_always_kill_are_named(executor, tmp_path):
    with pytest.raises(MopruneError, match=r"^candidates 12 to 14 of a generation ended the processes of 3 workers \("):
        evaluated(executor, Odd(tmp_path, 99))
    assert len(list(tmp_path.iterdir())) == 3
    assert np.array_equal(evaluated(executor, ToyProblem())["F"], evaluated(InProcess(), ToyProblem())["F"])


def test_an_error_of_the_problem_comes_as_itself_and_work_can_go_on(executor, tmp_path):
    problem = Refusing(tmp_path, 1)
    with pytest.raises(UsageError, match=r"^no ones, please$"):
        evaluated(executor, problem)
    assert np.array_equal(evaluated(executor, problem)["F"], evaluated(InProcess(), ToyProblem())["F"])


def test_large_tensors_are_shared_and_keep_their_layout(executor):
    problem = Heavy()
    out = evaluated(executor, problem)
    assert out["shared"].all()
    assert (out["sum"] == problem.features.sum().item()).all()
    assert (out["strides"] == problem.features.stride()).all()
    assert (out["threads"] == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize(
    "shape_of",
    [
        lambda x: x, lambda x: x.contiguous(memory_format=torch.channels_last), lambda x: x.permute(3, 1, 0, 2),
        lambda x: x[:, ::2], lambda x: x[:1], lambda x: x[:0], lambda x: x[0, 0, 0, 0],
        lambda x: x[:1].expand(3, -1, -1, -1),
    ],
)  # fmt: skip
def test_a_tensor_is_made_again_as_it_was(dtype, shape_of):
    tensor = shape_of((torch.rand(8, 32, 64, 64) * 9).to(dtype))
    found = _made(_reduced(tensor))
    assert torch.equal(found, tensor)
    assert found.dtype == tensor.dtype
    if tensor.untyped_storage().nbytes() == tensor.nbytes:  # convolutions round otherwise in another layout
        assert found.stride() == tensor.stride()
    assert found.untyped_storage().nbytes() <= max(tensor.nbytes, 1)  # a view does not bring what it was cut from


def test_tensors_with_gradients_and_parameters_stay_what_they_are():
    tensor = torch.rand(600, 600, requires_grad=True)
    found = _made(_reduced(tensor))
    assert found.requires_grad
    assert torch.equal(found, tensor)


def test_what_cannot_work_is_said_in_a_line(executor, tmp_path):
    with pytest.raises(UsageError, match="workers is 0"):
        RayExecutor(0)
    with pytest.raises(UsageError, match="enter the executor first"):
        evaluated(RayExecutor(1), ToyProblem())
    problem = ToyProblem()
    problem.lock = threading.Lock()
    with pytest.raises(UsageError, match=r"^ToyProblem cannot go to another process \(.*\); do without workers$"):
        evaluated(executor, problem)
    with RayExecutor(1, gpus_per_worker=0.5) as on_gpus, pytest.raises(UsageError, match="lies on the CPU"):
        evaluated(on_gpus, ToyProblem())


def test_no_cluster_at_an_address_is_an_error_of_a_line():
    program = "from moprune.distributed import connected\nwith connected(1, '127.0.0.1:1'): pass"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "moprune.errors.MopruneError: there is no Ray at 127.0.0.1:1 (" in done.stderr.splitlines()[-1]
    assert "RAY_AUTH_MODE=token" in done.stderr.splitlines()[-1]
