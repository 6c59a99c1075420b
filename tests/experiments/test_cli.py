"""The command line as such."""

import io
import subprocess
import sys

import pytest
import typer
from rich.console import Console

from experiments.cli import app
from experiments.progress import LiveProgress


def test_help_is_instant_because_torch_is_not_imported():
    program = "import sys, experiments.main, moprune; sys.exit('torch' in sys.modules or 'pymoo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_no_text_of_a_help_is_taken_for_markup_and_left_out():
    def texts(command):
        yield command.help
        for parameter in command.params:
            yield getattr(parameter, "help", None)
        for inner in getattr(command, "commands", {}).values():
            yield from texts(inner)

    found = [text for text in texts(typer.main.get_command(app)) if text]
    assert len(found) > 50
    assert [text for text in found if "[" in text] == []  # rich shows nothing of "[default: x]"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_says_at_once_what_is_going_on_and_a_file_is_not_bothered(terminal):
    out = io.StringIO()
    with LiveProgress(Console(file=out, force_terminal=terminal, width=80)) as progress:
        progress.opening()
    assert ("opening data and network" in out.getvalue()) == terminal
