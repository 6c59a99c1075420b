"""README and the pages do what they say: their code blocks are run as written.

A block with a title (``python title="use.py"``) is a file. Of the others those of Python, bash and console are run, in
order, in one folder a page; ``moprune`` in this process, so that torch is imported once. A block after a comment
``<!-- not run: needs ... -->`` is not: its commands are parsed as the command line would, and its experiments read.
"""

import importlib
import re
import shlex
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from experiments.cli import app
from experiments.loading import load_experiment
from experiments.main import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
LANGUAGES = ("python", "bash", "console")
NOT_RUN = {
    "README.md": 5,  # two installations, which .ci/run does, and runs of minutes
    "docs/algorithms.md": 1,  # studies of hours from here on
    "docs/experiments.md": 1,  # 9 GB
    "docs/pruning-study.md": 1,
    "docs/pruning.md": 1,
    "docs/refinement-confirmed.md": 1,
    "docs/refinement.md": 2,
    "docs/scaling.md": 2,  # installation; a cluster
    "docs/selection-study.md": 2,
    "docs/selection.md": 1,
    "docs/tutorial.md": 2,  # installation; published weights
}

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<needs>needs [^\n]+) -->\n)?"
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"\n]+)")?\n(?P<text>.*?)^```$',
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    page: str
    language: str
    title: str | None
    text: str
    needs: str | None

    def commands(self):
        """The commands of a bash block, each as written and as words."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [(line, words) for line in lines if (words := shlex.split(line, comments=True))]


def blocks_of(page):
    name = page.relative_to(ROOT).as_posix()
    found = [Block(name, m["language"], m["title"], m["text"], m["needs"]) for m in _BLOCK.finditer(page.read_text())]
    return [block for block in found if block.title or block.language in LANGUAGES]


BLOCKS = {page.relative_to(ROOT).as_posix(): blocks_of(page) for page in PAGES}
RUN = [name for name, blocks in BLOCKS.items() if any(not (b.needs or b.title) for b in blocks)]
COMMANDS = [
    (block, line, words)
    for blocks in BLOCKS.values()
    for block in blocks
    if block.needs and block.language == "bash"
    for line, words in block.commands()
]


@pytest.mark.parametrize("page", RUN)
def test_the_blocks_of_a_page_run_as_written(page, environment, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in BLOCKS[page]:
        if block.title:
            Path(block.title).write_text(block.text)
        elif block.needs:
            continue
        elif block.language == "python":
            in_a_process([sys.executable, "-c", block.text])
        elif block.language == "bash":
            for line, words in block.commands():
                if words[0] == "moprune":
                    assert main(words[1:]) == 0, f"{line}\n{capsys.readouterr().err}"
                else:
                    in_a_process(["bash", "-c", line])
        else:
            compare_with_what_is_shown(block.text, capsys)


def in_a_process(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"


def compare_with_what_is_shown(session, capsys):
    """Each ``$ moprune`` fails with the error shown below it, ``...`` standing for any text."""
    for command, shown in re.findall(r"^\$ moprune (.*)\n((?:(?!\$ ).+\n)+)", session, flags=re.MULTILINE):
        capsys.readouterr()
        assert main(shlex.split(command)) in (1, 2), command
        expected = ".*".join(re.escape(part) for part in shown.rstrip("\n").split("..."))
        assert re.fullmatch(expected, capsys.readouterr().err.rstrip("\n"), flags=re.DOTALL), command


def test_the_blocks_that_are_not_run_are_known():
    found = Counter(block.page for blocks in BLOCKS.values() for block in blocks if block.needs)
    assert dict(found) == NOT_RUN, "mark and count a block that cannot run, or unmark one that can"
    marks = sum(page.read_text().count("<!-- not run") for page in PAGES)
    assert marks == sum(NOT_RUN.values()), "a comment <!-- not run: needs ... --> belongs right before its block"


def test_every_page_is_looked_at():
    fences = {name: len(re.findall(rf"^```(?:{'|'.join(LANGUAGES)})\b", (ROOT / name).read_text(), flags=re.MULTILINE))
              for name in BLOCKS}  # fmt: skip
    assert {name: sum(b.language in LANGUAGES for b in blocks) for name, blocks in BLOCKS.items()} == fences
    assert "README.md" in RUN
    assert "docs/tutorial.md" in RUN


@pytest.mark.parametrize(
    ("block", "words"), [(block, words) for block, _, words in COMMANDS], ids=[line for _, line, _ in COMMANDS]
)
def test_a_command_that_is_not_run_can_be_understood(block, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if words[:2] == ["python", "-m"]:
        study = importlib.import_module(words[2])
        understood(study.main, words[3:], tmp_path)
    elif words[0] == "moprune":
        for other in BLOCKS[block.page]:
            if other.title:
                Path(other.title).write_text(other.text)
        understood(app, words[1:], tmp_path)
        if words[1] == "run":
            overrides = [value for key, value in pairwise(words) if key == "--set"]
            load_experiment(words[2], overrides)
    else:
        known = ("python3 -m venv", ".venv/bin/pip", "pip install", ". .venv/bin/activate")
        assert " ".join(words).startswith(known), "neither run nor understood"


def understood(commands, words, folder):
    """Parses words as the command line does, without doing anything; options that do not exist are an error."""
    if not isinstance(commands, typer.Typer):
        single, commands = commands, typer.Typer()
        commands.command()(single)
    command = typer.main.get_command(commands)
    while hasattr(command, "commands") and not words[0].startswith("-"):
        command, words = command.commands[words[0]], words[1:]
    if hasattr(command, "commands"):
        assert all(word in known_options(command) for word in words), words
        return
    command.make_context(command.name, list(words))


def known_options(command):
    return {name for parameter in command.params for name in parameter.opts}
