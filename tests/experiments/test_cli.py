"""The command line as such."""

import subprocess
import sys


def test_help_is_instant_because_torch_is_not_imported():
    program = "import sys, experiments.main, moprune; sys.exit('torch' in sys.modules or 'pymoo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
