"""Targets that read what people write and run folders hold: experiments, overrides, results and logs."""

import contextlib
import io
import os
import shutil
import sqlite3
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

from experiments.loading import bundled, dump, load_experiment, validate
from experiments.main import main
from experiments.yaml_file import read_yaml
from moprune.errors import printable
from moprune.log import EvaluationLog
from tests.fuzz.oracle import Target, refused, scratch

_SMALL = ("search.n_eval=16", "search.pop_size=8", "pruning.hidden=[4]", "pruning.training.epochs=1", "seeds=[1,2]")


def read_experiment(data: bytes) -> None:
    """Loads an experiment file; one that is accepted is the same once written and read again."""
    path = scratch("experiment") / "mine.yaml"
    path.write_bytes(data)
    with refused("mine.yaml"):
        config = load_experiment(str(path))
        path.write_text(dump(config), encoding="utf-8")
        assert validate(read_yaml(path)) == config


def experiments() -> list[bytes]:
    """Returns the bundled experiments, and files with tags, anchors, depths and keys that YAML allows."""
    start = b"data: {source: digits}\nnetwork: {arch: digits}\n"
    return [
        *(path.read_bytes() for path in bundled().values()),
        start,
        b"",
        b"- 1\n",
        b"\xff",
        b"a: b: c\n",
        b"!!python/object/apply:os.system ['true']\n",
        start + b"seeds: !!python/tuple [1]\n",
        start + b"? [1, 2]\n: 3\n",
        start + b"<<: {seeds: [3]}\n",
        start + b'"a\\e\\n\\u202e": 1\n',
        b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (i + 1, i + 1, i, i) for i in range(97, 117)),
        b"[" * 700,
        b"{a: " * 400,
        start + b"seeds: [" + b"9" * 5000 + b"]\n",
        start + b"budget: .nan\n",
        start + b"search: {n_eval: 1e400}\n",
        start + b"task: selection\n",
        start + b"data: *x\n",
        start + b"seeds: 0o9\n",
        start + b"seeds: 2020-99-99\n",
        start + b"seeds: [1:60:60]\n",
        start + b"controls: [random, random]\n",
        start + b"objectives: [{name: error, detector: energy}, [error]]\nbudget: true\n",
        start + b"seeds: !!binary x\n",
    ]


def read_override(data: bytes) -> None:
    """Overrides a key of a bundled experiment, as --set does; several are separated by line ends."""
    overrides = data.decode("utf-8", "surrogateescape").split("\n")[:4]
    with refused(*(f"--set {printable(each)}" for each in overrides)):
        load_experiment("quickstart", overrides)


def overrides() -> list[bytes]:
    """Returns overrides, those that work and those that try names, types and depths."""
    return [
        b"search.n_eval=200",
        b"seeds=[1,2]\nprofile=paper",
        b"=",
        b"a",
        b"data.path=",
        b"data.splits.train.share=2",
        b"objectives=[error,{name: ood_auroc, detector: mahalanobis}]",
        b"search.n_eval=[",
        b"search=1\nsearch.n_eval=2",
        b"description=\x1b[2J\xff\xe2\x80\xae",
        b"objectives.0.name=error",
        b"a" * 500 + b"=" + b"[" * 700,
        b"seeds=" + b"9" * 5000,
        b"..=1",
        b"search.algorithm=&a [*a]",
        b"profile=[1]",
        b"data.exclude=!!set {a}",
        b"objectives.x=1",
        b"profile={a: 1}\nprofile=\xff",
        b"search.=1",
        b"data=2020-01-01",
    ]


@cache
def finished() -> Path:
    """Returns the folder of a small finished run whose files carry no digests, as somebody may send it."""
    folder = scratch("run") / "theirs"
    os.environ["MOPRUNE_CACHE"] = str(scratch("cache"))
    _command("run", "quickstart", "--out", str(folder), *(part for each in _SMALL for part in ("--set", each)))
    (folder / "SHA256SUMS").unlink()
    shutil.rmtree(folder / "figures")
    (folder / "explain").mkdir()
    return folder


_FILES = (
    "summary.json",
    "front.csv",
    "controls.csv",
    "environment.json",
    "experiment.yaml",
    "SHA256SUMS",
    "ensembles.csv",
    "explain/neurons.csv",
    "explain/findings.txt",
    "explain/picture.png",
)


def read_run_folder(data: bytes) -> None:
    """Shows and reports a run whose file of that number (the first byte) holds the rest."""
    path = finished() / _FILES[data[0] % len(_FILES) if data else 0]
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(data[1:])
    try:
        _look()
    finally:
        path.unlink() if before is None else path.write_bytes(before)


def run_folders() -> list[bytes]:
    """Returns each file of a finished run behind its number, and names that try to get out of tables and pages."""
    folder = finished()
    whole = [bytes([i]) + (folder / name).read_bytes() for i, name in enumerate(_FILES) if (folder / name).is_file()]
    hostile = b"</script><script>[/red]\\u001b[2J\"'&"
    changed = [
        content.replace(old, new)
        for content in whole
        for old, new in (
            (b"1-unpruned", hostile),
            (b"random masks", hostile),
            (b"moprune", hostile),
            (b"0.", b"-9e999"),
            (b"search", b"x"),
            (b"1", b"NaN"),
            (b"true", b"[]"),
            (b"{", b"[{"),
            (b",", b"\n"),
        )
        if old in content
    ]
    others = [
        b"\x05abc  summary.json\n",
        b"\x06seed,ensemble,vote,members\n1,a,b,2\n",
        b"\x07solution,unit,class,ablation\n1-2,[/x]<b>,all,0.5\n",
        b"\x08\x1b[2J<b>found</b>\n\xff",
        b"\x09\x89PNG\r\n\x1a\n",
        b"\x00" + b"[" * 3000,
        b"\x03{}",
        b"\x03[1]",
        b"\x01",
        b"\x01a,b\n1,2,3\n",
        b'\x03{"packages": 3}',
    ]
    return [*whole, *changed, *others]


def _look() -> None:
    folder, page = finished(), scratch("run") / "report.html"
    for command in (("show", str(folder)), ("report", str(folder), "--out", str(page))):
        with refused("theirs"):
            said = _command(*command)
            assert all(line.isprintable() for line in said.split("\n")), f"not shown safely: {said!r}"
            if command[0] == "report":
                assert not _Markup(page.read_text(encoding="utf-8")).foreign


def _command(*arguments: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
        status = main([*arguments, "--debug"])
    assert status == 0, f"{arguments} ended with status {status}"
    return out.getvalue()


class _Markup(HTMLParser):
    """Finds elements and attributes that no report has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.foreign: list[str] = []
        self._scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._scripts += tag == "script"
        if tag in ("b", "iframe", "object", "embed", "link", "base") or self._scripts > 2:
            self.foreign.append(tag)
        self.foreign += [name for name, _ in attributes if name.startswith("on")]


def read_log(data: bytes) -> None:
    """Reads an evaluation log, and reports the run with it."""
    log = finished() / "log.sqlite"
    before = log.read_bytes()
    log.write_bytes(data)
    try:
        with refused("log.sqlite"), EvaluationLog(log, read_only=True) as opened:
            for stage in ("search", "random"):
                opened.history(stage, 1)
                opened.requests(stage, 1)
            opened.meta("fingerprint")
        _look()
    finally:
        log.write_bytes(before)


def logs() -> list[bytes]:
    """Returns a sealed log, and logs as they were before there were seals, with rows that cannot be."""
    whole = (finished() / "log.sqlite").read_bytes()
    changes = (
        "SELECT 1",
        "UPDATE evaluation SET \"values\" = '{}'",
        "UPDATE evaluation SET \"values\" = '[1'",
        'UPDATE evaluation SET "values" = \'{"F": [1], "natural": [1e999]}\'',
        "UPDATE request SET position = 'x' WHERE position = 0",
        "UPDATE evaluation SET boolean = 9",
        "UPDATE evaluation SET length = -5, genome = ''",
        "UPDATE evaluation SET genome = x'00'",
        "UPDATE meta SET value = '{' WHERE key = 'fingerprint'",
        'UPDATE meta SET value = \'{"problem": {"head": 1, "layers": 2, "edges": 3}}\' WHERE key = \'fingerprint\'',
        "DELETE FROM request",
        "ALTER TABLE evaluation RENAME COLUMN seconds TO x",
        "UPDATE request SET generation = -1",
        "UPDATE evaluation SET \"values\" = replace(\"values\", 'natural', 'other')",
        "UPDATE request SET generation = 1e300",
        "UPDATE evaluation SET seconds = 'x'",
        "CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM evaluation; END",
    )
    return [whole, b"", b"SQLite format 3\0", whole[:9000], *(_unsealed(whole, change) for change in changes)]


def _unsealed(log: bytes, change: str) -> bytes:
    path = scratch("log") / "log.sqlite"
    path.write_bytes(log)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'seal'")
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'format'")
        connection.execute(change)
        connection.commit()
        connection.execute("VACUUM")
    return path.read_bytes()


TARGETS = {
    "experiment": Target(read_experiment, experiments),
    "override": Target(read_override, overrides),
    "run_folder": Target(read_run_folder, run_folders, examples=20),
    "log": Target(read_log, logs, examples=20),
}
