"""The README's program runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_python_example_runs_as_written(tmp_path):
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    (tmp_path / "example.py").write_text(program)
    environment = {**os.environ, "MOPRUNE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    assert "error_select" in done.stdout


def test_the_example_of_refinement_runs_as_written(tmp_path):
    page = README.parent / "docs" / "refinement.md"
    (program,) = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "macro_error_test" in done.stdout


def test_help_is_instant_because_torch_is_not_imported():
    program = "import sys, experiments.main, moprune; sys.exit('torch' in sys.modules or 'pymoo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
