"""The evaluation log: exact, exclusive, and clear about everything that can be wrong with a file."""

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moprune.errors import MopruneError, UsageError
from moprune.log import KEPT_BYTES, EvaluationLog, Record, genome_digest

finite = st.floats(allow_nan=False, allow_infinity=False)


def record(genome, **values):
    return Record(genome_digest(genome), genome, values or {"F": [0.5]}, 0.25, "c")


def append(log, records, *, position=0, generation=0, seed=1, stage="search", digests=None):
    digests = [r.digest for r in records] if digests is None else digests
    requests = [("c", digest) for digest in digests]
    log.append(stage=stage, seed=seed, generation=generation, position=position, requests=requests, records=records)


def genomes(count, length=9, seed=0):
    return list(np.random.default_rng(seed).random((count, length)) < 0.5)


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=5), st.lists(finite, min_size=1, max_size=20))
def test_doubles_come_back_exactly(rows, genome):
    with EvaluationLog() as log:
        records = [record(np.array([*genome, float(i)]), F=list(row), natural=[row[0]]) for i, row in enumerate(rows)]
        append(log, records)
        found = log.lookup([r.key for r in records])
        table, X = log.history("search", 1)
    for i, (row, r) in enumerate(zip(rows, records, strict=True)):
        assert np.array(found[r.key].values["F"]).tobytes() == np.array(row).tobytes()
        assert table["F"][i].tobytes() == np.array(row).tobytes()
        assert table["natural"][i].tobytes() == np.array(row[:1]).tobytes()
        assert X[i].tobytes() == r.genome.tobytes() == found[r.key].genome.tobytes()
        assert found[r.key].seconds == 0.25


@given(st.lists(st.booleans(), max_size=70))
def test_bits_come_back_exactly(bits):
    genome = np.array(bits, dtype=bool)
    with EvaluationLog() as log:
        append(log, [record(genome)])
        _, X = log.history("search", 1)
    assert X.dtype == bool
    assert X[0].tolist() == bits


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_singles_come_back_exactly(numbers):
    genome = np.array(numbers, dtype=np.float32)
    with EvaluationLog() as log:
        append(log, [record(genome)])
        _, X = log.history("search", 1)
        found = log.lookup([("c", genome_digest(genome))])
    assert X.dtype == np.float32
    assert X.tobytes() == genome.tobytes() == found["c", genome_digest(genome)].genome.tobytes()


def test_genomes_of_more_than_a_megabyte_are_logged_by_their_digest_until_they_are_kept(tmp_path):
    a, b = (np.full(KEPT_BYTES // 8 + 1, number) for number in (1.5, 2.5))
    with EvaluationLog(tmp_path / "log.sqlite") as log:
        append(log, [record(a), record(b)])
        assert log.lookup([record(a).key])[record(a).key].genome is None
        table, X = log.history("search", 1)
        assert X.tolist() == [None, None]
        log.keep([b])
        log.keep([b])
    with EvaluationLog(tmp_path / "log.sqlite") as log:
        after, X = log.history("search", 1)
        assert after.equals(table)
        assert (X.shape, X[0]) == ((2,), None)
        np.testing.assert_array_equal(X[1], b)


def test_a_genome_of_a_megabyte_is_logged_as_it_is():
    genome = np.full(KEPT_BYTES // 8, 1.5)
    with EvaluationLog() as log:
        append(log, [record(genome)])
        np.testing.assert_array_equal(log.history("search", 1)[1], genome[None])


def test_digests_tell_types_and_lengths_apart():
    variants = [
        np.zeros(8, bool), np.zeros(9, bool), np.zeros(1), np.zeros(2), np.array([0.0, -0.0]), np.ones(8, bool),
    ]  # fmt: skip
    assert len({genome_digest(v) for v in variants}) == len(variants)
    swapped = np.arange(3.0).astype(">f8")
    assert genome_digest(swapped) == genome_digest(np.arange(3.0))
    assert genome_digest(np.arange(6.0)[::2]) == genome_digest(np.array([0.0, 2.0, 4.0]))
    assert genome_digest(np.arange(3)) == genome_digest(np.arange(3.0)) != genome_digest(np.arange(3, dtype=np.float32))


def test_requests_repeat_genomes_and_history_does_not(tmp_path):
    a, b, c = (record(g) for g in genomes(3))
    with EvaluationLog(tmp_path / "log.sqlite") as log:
        append(log, [a, b])
        append(log, [c], position=2, generation=1, digests=[b.digest, c.digest, a.digest])
        append(log, [], seed=2, digests=[c.digest, a.digest, c.digest])  # evaluated earlier, in another order
        append(log, [], stage="random", digests=[b.digest])
    with EvaluationLog(tmp_path / "log.sqlite") as log:
        assert log.requests("search", 1) == [a.digest, b.digest, b.digest, c.digest, a.digest]
        counts = [log.count(*each) for each in (("search", 1), ("search", 2), ("random", 1), ("random", 2))]
        assert counts == [5, 3, 1, 0]
        table, X = log.history("search", 2)
        assert table["position"].tolist() == [0, 1]
        assert (np.array([c.genome, a.genome]) == X).all()
        table, X = log.history("search", 1)
        assert table["position"].tolist() == [0, 1, 3]
        assert table["generation"].tolist() == [0, 0, 1]
        assert (np.array([a.genome, b.genome, c.genome]) == X).all()
        assert list(table) == ["position", "generation", "seconds", "context", "digest", "F"]
        assert table["digest"].tolist() == [a.digest, b.digest, c.digest]
        assert (table[["seconds", "context"]] == [0.25, "c"]).all(axis=None)
        assert log.lookup([a.key, ("c", "none")]).keys() == {a.key}
        assert log.lookup([("another context", a.digest)]) == {}
        nothing, X = log.history("search", 9)
        assert (list(nothing), len(nothing), X.shape) == (list(table), 0, (0, 0))


def test_a_generation_is_written_whole_or_not_at_all(tmp_path):
    a, b, c = (record(g) for g in genomes(3))
    with EvaluationLog(tmp_path / "log.sqlite") as log:
        append(log, [a])
        with pytest.raises(MopruneError):
            append(log, [b, a, c], position=1)  # a is there already
        assert log.requests("search", 1) == [a.digest]
        assert log.lookup([b.key, c.key]) == {}
        append(log, [b, c], position=1)
        assert log.count("search", 1) == 3


def test_what_is_stored_beside_the_evaluations_can_be_replaced(tmp_path):
    path = tmp_path / "log.sqlite"
    with EvaluationLog(path) as log:
        assert log.meta("notes") is None
        for value in ({"b": 1, "a": [2.5, None]}, "another"):
            log.set_meta("notes", value)
            assert log.meta("notes") == value
    with EvaluationLog(path, read_only=True) as log:  # the seal is checked
        assert log.meta("notes") == "another"


def test_values_that_are_not_finite_are_never_written():
    with EvaluationLog() as log, pytest.raises(ValueError, match="JSON"):
        append(log, [record(genomes(1)[0], F=[float("nan")])])


def test_a_claim_of_another_configuration_names_what_differs(tmp_path):
    ours = {"problem": {"task": "a", "training": {"epochs": 3, "rate": 0.1}}, "n_eval": 10}
    theirs = {"problem": {"task": "a", "training": {"epochs": 4, "rate": 0.1}, "more": 1}, "n_eval": 10}
    with EvaluationLog(tmp_path / "log.sqlite") as log:
        log.claim(ours)
        log.claim(dict(reversed(ours.items())))
    with EvaluationLog(tmp_path / "log.sqlite") as log:
        log.claim(ours)
        with pytest.raises(UsageError, match=r"differs in: problem\.more, problem\.training\.epochs\)"):
            log.claim(theirs)
        log.claim(ours)


HOLD = """
import sys
from pathlib import Path
from moprune.log import EvaluationLog

with EvaluationLog(Path(sys.argv[1])):
    print("holding", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "log.sqlite"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "holding\n"
        with pytest.raises(MopruneError, match="in use by another process") as caught:
            EvaluationLog(path)
        assert caught.value.exit_status == 1
        holder.communicate()
    EvaluationLog(path).close()


def test_closing_twice_does_no_harm_and_a_closed_log_says_so(tmp_path):
    log = EvaluationLog(tmp_path / "log.sqlite")
    log.close()
    log.close()
    with pytest.raises(MopruneError, match="closed"):
        log.requests("search", 1)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "log.sqlite"
    with EvaluationLog(path) as log:
        for i in range(20):
            append(log, [record(g) for g in genomes(30, 600, i)], position=30 * i, generation=i)
    return path


def one_line(error):
    assert "\n" not in str(error.value)


def test_a_truncated_file_is_damaged(written):
    written.write_bytes(written.read_bytes()[: written.stat().st_size // 2])
    with pytest.raises(MopruneError, match="damaged") as error:
        EvaluationLog(written)
    one_line(error)


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("evaluation", "\"values\" = replace(\"values\", '0.5', '0.7')"),
        ("evaluation", "seconds = 0.125"),
        ("evaluation", "context = 'd'"),
        ("evaluation", "genome = zeroblob(75)"),
        ("evaluation", "\"values\" = CAST(x'ff41' AS TEXT)"),
        ("request", "generation = 3"),
        ("request", "evaluation = 4"),
        ("request", "stage = 'random'"),
        ("meta", "value = '2.0'"),
    ],
)
def test_a_value_that_was_not_written_is_damage(written, table, change):
    """SQLite's own check sees none of these."""
    EvaluationLog(written).close()
    connection = sqlite3.connect(written)
    where = {"evaluation": "id = 7", "request": "position = 500", "meta": "key = 'format'"}[table]
    assert connection.execute(f"UPDATE {table} SET {change} WHERE {where}").rowcount == 1
    connection.commit()
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    for read_only in (False, True):
        with pytest.raises(MopruneError, match=r"log\.sqlite is (damaged|no evaluation log)") as error:
            EvaluationLog(written, read_only=read_only)
        one_line(error)


@pytest.mark.parametrize("row", ["request WHERE position = 599", "meta WHERE key = 'seal'"])
def test_a_row_that_is_gone_is_damage(written, row):
    connection = sqlite3.connect(written)
    assert connection.execute(f"DELETE FROM {row}").rowcount == 1
    connection.commit()
    connection.close()
    with pytest.raises(MopruneError, match="damaged"):
        EvaluationLog(written)


def test_a_log_from_before_the_seal_is_read_and_sealed_when_written_to(written):
    connection = sqlite3.connect(written)
    connection.execute("DELETE FROM meta WHERE key = 'seal'")
    connection.execute("UPDATE meta SET value = '1' WHERE key = 'format'")
    connection.commit()
    with EvaluationLog(written, read_only=True) as log:
        assert log.count("search", 1) == 600
    with EvaluationLog(written) as log:
        append(log, [record(g) for g in genomes(3, 600, 99)], position=600)
    with EvaluationLog(written, read_only=True) as log:
        assert log.count("search", 1) == 603
    connection.execute("UPDATE evaluation SET seconds = 1 WHERE id = 1")
    connection.commit()
    connection.close()
    with pytest.raises(MopruneError, match="damaged"):
        EvaluationLog(written)


def test_an_empty_log_that_is_to_be_read_is_damaged(tmp_path):
    (tmp_path / "log.sqlite").touch()
    with pytest.raises(MopruneError, match="damaged"):
        EvaluationLog(tmp_path / "log.sqlite", read_only=True)


def test_bits_flipped_anywhere_change_nothing_that_is_read_or_are_refused(written):
    whole, rng = written.read_bytes(), random.Random(1)
    with EvaluationLog(written, read_only=True) as log:
        before = log.history("search", 1)[0].to_csv()
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        written.write_bytes(damaged)
        try:
            with EvaluationLog(written, read_only=True) as log:
                assert log.history("search", 1)[0].to_csv() == before
        except MopruneError as error:
            refused += "log.sqlite" in str(error)
    assert refused > 30


def test_a_file_with_bytes_changed_is_read_or_refused_clearly(written):
    whole, rng = written.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(25):
        damaged = bytearray(whole)
        start = rng.randrange(len(whole) - 600)
        damaged[start : start + 600] = rng.randbytes(600)
        written.write_bytes(damaged)
        try:
            with EvaluationLog(written) as log:
                log.requests("search", 1)
                log.history("search", 1)
        except MopruneError:
            refused += 1
    assert refused > 5


@pytest.mark.parametrize("content", [b"not a database, but long enough to have a header" * 20, b"short"])
def test_a_file_that_is_no_database_is_refused(tmp_path, content):
    path = tmp_path / "log.sqlite"
    path.write_bytes(content)
    with pytest.raises(MopruneError, match="damaged") as error:
        EvaluationLog(path)
    one_line(error)
    assert path.read_bytes() == content


def test_another_database_is_refused(tmp_path):
    path = tmp_path / "log.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE addresses (name TEXT)")
    connection.close()
    with pytest.raises(MopruneError, match="no evaluation log"):
        EvaluationLog(path)


def test_a_later_format_is_refused(written):
    with EvaluationLog(written) as log:
        log.set_meta("format", 3)
    with pytest.raises(MopruneError, match="of format 2"):
        EvaluationLog(written)


def test_a_refused_log_holds_no_lock(written):
    content = written.read_bytes()
    written.write_bytes(b"x" * 2000)
    with pytest.raises(MopruneError):
        EvaluationLog(written)
    written.write_bytes(content)
    EvaluationLog(written).close()


def test_folders_that_do_not_exist_are_made(tmp_path):
    EvaluationLog(tmp_path / "a" / "b" / "log.sqlite").close()
    assert (tmp_path / "a" / "b" / "log.sqlite").is_file()


def test_an_empty_file_is_a_new_log(tmp_path):
    (tmp_path / "log.sqlite").touch()
    with EvaluationLog(tmp_path / "log.sqlite") as log:
        assert log.requests("search", 1) == []


def test_a_full_disk_is_one_clear_line_and_loses_nothing(written):
    with EvaluationLog(written) as log:
        connection = log._open_connection()
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        before = log.requests("search", 1)
        with pytest.raises(MopruneError, match="full; free some space") as error:
            append(log, [record(g) for g in genomes(400, 600, 99)], position=600)
        one_line(error)
        assert log.requests("search", 1) == before
        connection.execute("PRAGMA max_page_count = 1000000")
        append(log, [record(g) for g in genomes(400, 600, 99)], position=600)
    with EvaluationLog(written) as log:
        assert log.requests("search", 1)[:600] == before
        assert log.count("search", 1) == 1000


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to every folder")
def test_a_read_only_folder_is_one_clear_line(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(MopruneError, match=str(tmp_path)) as error:
            EvaluationLog(tmp_path / "log.sqlite")
        one_line(error)
    finally:
        tmp_path.chmod(0o700)


def test_a_database_that_cannot_be_written_is_one_clear_line(written):
    """What a read-only file gives, also for root."""
    with EvaluationLog(written) as log:
        log._open_connection().execute("PRAGMA query_only = ON")
        with pytest.raises(MopruneError, match="make it writable") as error:
            append(log, [record(g) for g in genomes(1, 5)], position=600)
        one_line(error)


def test_a_folder_that_is_a_file_is_one_clear_line(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(MopruneError, match="runs"):
        EvaluationLog(tmp_path / "runs" / "log.sqlite")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE evaluation SET \"values\" = '{'",
        "UPDATE evaluation SET \"values\" = '[1]'",
        'UPDATE evaluation SET "values" = \'{"F": [1e999]}\'',
        'UPDATE evaluation SET "values" = \'{"F": ["x"]}\'',
        'UPDATE evaluation SET "values" = \'{"F": [1, 2]}\' WHERE id = 1',
        "UPDATE evaluation SET seconds = 'x'",
        "UPDATE evaluation SET boolean = 9",
        "UPDATE evaluation SET length = 1000000000000",
        "UPDATE evaluation SET genome = x'00'",
        "UPDATE evaluation SET genome = 'text'",
        "UPDATE request SET generation = -1",
        "UPDATE request SET position = 'x' WHERE position = 0",
    ],
)
def test_a_log_without_a_seal_that_holds_something_else_is_damaged(tmp_path, change):
    """Anybody can write such a log: before there were seals all were like that."""
    path = tmp_path / "log.sqlite"
    with EvaluationLog(path) as log:
        append(log, [record(genome) for genome in genomes(3)])
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM meta WHERE key = 'seal'")
    connection.execute("UPDATE meta SET value = '1' WHERE key = 'format'")
    connection.execute(change)
    connection.commit()
    connection.close()
    with pytest.raises(MopruneError, match=r"log\.sqlite is damaged"), EvaluationLog(path, read_only=True) as log:
        log.history("search", 1)


@pytest.mark.parametrize("value", ["{", "[" * 5000, "\xff"])
def test_a_fingerprint_that_cannot_be_read_is_damage(tmp_path, value):
    path = tmp_path / "log.sqlite"
    EvaluationLog(path).close()
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM meta")
    connection.execute("INSERT INTO meta VALUES ('format', '1'), ('fingerprint', ?)", (value,))
    connection.commit()
    connection.close()
    with EvaluationLog(path, read_only=True) as log, pytest.raises(MopruneError, match="fingerprint cannot be read"):
        log.meta("fingerprint")


_DRIVER = """
import os, random, signal, sys, time
from pathlib import Path
from moprune.algorithms import make
from moprune.search import search
from moprune.testing import ToyProblem

class Slow(ToyProblem):
    def values(self, X, splits=("search",)):
        time.sleep(0.01)
        return super().values(X, splits)

def start(folder):
    child = os.fork()  # imports take seconds; a fork has them already
    if child == 0:
        problem = Slow(20)
        search(problem, make("nsga2", problem, pop_size=8), n_eval=240, seed=1, out=Path(folder))
        os._exit(0)
    return child

rng, killed = random.Random(int(sys.argv[2])), 0
broken, straight = f"{sys.argv[1]}/broken", f"{sys.argv[1]}/straight"
for _ in range(5):
    child = start(broken)
    time.sleep(rng.uniform(0.02, 0.15))
    os.kill(child, signal.SIGKILL)
    killed += os.waitpid(child, 0)[1] == signal.SIGKILL
print(killed, flush=True)
for folder in (broken, straight):
    print(os.waitpid(start(folder), 0)[1], flush=True)
"""


def rows(path):
    """All rows of all tables of a log but the seconds."""
    connection = sqlite3.connect(path)
    content = [
        connection.execute("SELECT * FROM meta WHERE key <> 'seal' ORDER BY key").fetchall(),  # it seals the seconds
        connection.execute(
            'SELECT id, context, genome_sha256, genome, "values" FROM evaluation ORDER BY id'
        ).fetchall(),
        connection.execute("SELECT * FROM request ORDER BY stage, seed, position").fetchall(),
    ]
    connection.close()
    return content


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_moment_a_run_resumes_to_the_same_bytes(tmp_path):
    (tmp_path / "driver.py").write_text(_DRIVER)
    finished = subprocess.run(
        [sys.executable, str(tmp_path / "driver.py"), str(tmp_path), "1"],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, check=False,
    )  # fmt: skip
    killed, *exits = finished.stdout.split()
    assert int(killed) >= 2, f"too few runs were killed: {finished.stderr}"
    assert exits == ["0", "0"], finished.stderr
    broken, straight = (rows(tmp_path / name / "log.sqlite") for name in ("broken", "straight"))
    assert len(straight[2]) == 240
    assert broken == straight
