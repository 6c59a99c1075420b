"""Work spread over threads: in order, one thread each, and nothing of it left behind."""

import os
import platform
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from moprune.population.workers import Cancelled, give_up_if, in_parallel


def blas():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def two_blas_threads():
    with threadpool_limits(2, "blas"):
        yield


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("ahead", [None, 1, 2])
def test_results_come_in_order_with_one_thread_each(workers, ahead):
    np.ones((2, 2)) @ np.ones((2, 2))  # BLAS is there
    threads = torch.get_num_threads()
    seen = list(in_parallel(lambda n, _: (n, torch.get_num_threads(), blas()), range(7), workers, ahead=ahead))
    assert [n for n, *_ in seen] == list(range(7))
    assert all(torchs == 1 and set(blases) == {1} for _, torchs, blases in seen)
    assert set(blas()) == {2}
    assert torch.get_num_threads() == threads


def test_items_are_taken_no_further_ahead_than_asked():
    taken = []
    results = in_parallel(lambda n, _: n, (taken.append(n) or n for n in range(9)), 2, ahead=3)
    assert next(results) == 0
    assert len(taken) == 4
    results.close()


@pytest.mark.parametrize(("ahead", "begun"), [(None, [4, 5, 1, 3, 9]), (3, [4, 1, 3, 9, 5]), (1, [3, 1, 4, 9, 5])])
def test_the_costliest_of_what_is_taken_at_once_is_begun_first(ahead, begun):
    costs, seen = {3: 1, 1: 2, 4: 9, 9: 0.5, 5: 9}, []
    assert list(in_parallel(lambda n, _: seen.append(n) or n, costs, 1, ahead=ahead, cost=costs.get)) == [*costs]
    assert seen == begun


def test_whoever_ends_first_the_last_puts_the_settings_back():
    turn = sys.getswitchinterval()
    first, second = (in_parallel(lambda n, _: n, range(3), 1, long=True) for _ in range(2))
    next(first), next(second)
    first.close()
    assert set(blas()) == {1}
    assert sys.getswitchinterval() == pytest.approx(1e-4)
    second.close()
    assert set(blas()) == {2}
    assert sys.getswitchinterval() == turn


def test_turns_that_are_shorter_already_stay_so():
    turn = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    try:
        (seen,) = in_parallel(lambda *_: sys.getswitchinterval(), range(1), 1, long=True)
        assert seen == pytest.approx(2e-5)
        assert sys.getswitchinterval() == pytest.approx(2e-5)
    finally:
        sys.setswitchinterval(turn)


def test_an_error_ends_the_others_and_comes_out():
    started, gave_up = threading.Event(), threading.Event()

    def work(n, stop):
        if n == 0:
            started.wait(10)
            raise ValueError("zero")
        started.set()
        try:
            while True:
                stop.wait(0.01)
                give_up_if(stop)
        except Cancelled:
            gave_up.set()
            raise

    with pytest.raises(ValueError, match="zero"):
        list(in_parallel(work, range(2), 2))
    assert gave_up.is_set()
    assert set(blas()) == {2}


linux = pytest.mark.skipif(sys.platform != "linux", reason="threads have no cores of their own here")


def cores_of_workers(workers, long=True):
    together = threading.Barrier(workers)

    def cores(_item, _stop):
        together.wait(10)  # one item each
        return os.sched_getaffinity(0)

    return list(in_parallel(cores, range(workers), workers, long=long))


@linux
def test_each_worker_has_a_core_where_there_is_one_for_each(monkeypatch):
    own = os.sched_getaffinity(0)
    assert sorted(map(tuple, cores_of_workers(len(own)))) == [(core,) for core in sorted(own)]
    assert os.sched_getaffinity(0) == own
    assert cores_of_workers(len(own) + 1) == [own] * (len(own) + 1)
    assert cores_of_workers(len(own), long=False) == [own] * len(own)

    def refused(_process, _cores):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refused)
    assert cores_of_workers(len(own)) == [own] * len(own)


@pytest.mark.skipif(
    tuple(map(int, platform.libc_ver("", "glibc", "0")[1].split("."))) < (2, 33), reason="no mallinfo2 to ask"
)
@pytest.mark.parametrize(("keep", "mapped"), [(True, 0), (False, 1)])
def test_memory_that_is_freed_is_not_given_back(keep, mapped):
    """A block of 20 MB comes from what the process has, and is not mapped for itself."""
    program = f"""
import ctypes, torch
from moprune.process_wide import keep_what_is_freed

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks".split()
                + "uordblks fordblks keepcost".split()]

ask = ctypes.CDLL(None).mallinfo2
ask.restype = Mallinfo
if {keep}:
    keep_what_is_freed()
before = ask().hblks
block = torch.empty(20 * 2**20, dtype=torch.uint8)
print(ask().hblks - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == mapped
