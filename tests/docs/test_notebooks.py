"""The notebooks run from the first cell to the last; outputs are not kept in the repository."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


EXECUTE = """
import sys
import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

source, target, sockets = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
kernel = AsyncKernelManager(transport="ipc", ip=sockets)  # sockets are files; no port is opened
NotebookClient(notebook, km=kernel, timeout=300).execute()
nbformat.write(notebook, target)
"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_written(path, environment, tmp_path):
    target, sockets = tmp_path / "done.ipynb", tmp_path / "kernel"
    command = [sys.executable, "-c", EXECUTE, str(path), str(target), str(sockets)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    code = [cell for cell in nbformat.read(target, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    kinds = {kind for cell in code for output in cell.outputs for kind in output.get("data", {})}
    assert "text/html" in kinds, "no table is shown"
    assert ("image/png" in kinds) == ("plots." in path.read_text())


def test_the_site_publishes_them():
    pages = (Path(__file__).parents[2] / "mkdocs.yml").read_text()
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        assert f"notebooks/{path.stem}.md" in pages


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_kept(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
