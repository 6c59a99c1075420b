"""The command line as such."""

import subprocess
import sys

import typer

from experiments.cli import app


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
