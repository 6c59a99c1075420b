"""What holds of the source as a whole."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "moprune": {"moprune"},
    "problems": {"moprune", "problems"},
    "analysis": {"moprune", "problems", "analysis"},
    "experiments": {"moprune", "problems", "analysis", "experiments"},
}
FILES = sorted(path for floor in MAY_IMPORT for path in (ROOT / floor).rglob("*.py"))
SEEDED_GLOBALLY = {
    "torch.manual_seed", "torch.seed", "torch.random.manual_seed", "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all", "np.random.seed", "numpy.random.seed", "random.seed",
}  # fmt: skip
UNPICKLING = {"pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "dill.load", "dill.loads",
              "cloudpickle.load", "cloudpickle.loads", "pandas.read_pickle", "pd.read_pickle"}  # fmt: skip
UNSAFE_YAML = {f"yaml.{name}{many}" for name in ("load", "full_load", "unsafe_load") for many in ("", "_all")}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.fixture(scope="module")
def trees():
    assert len(FILES) > 20
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def test_imports_point_down_only(trees):
    for path, tree in trees.items():
        floor = path.relative_to(ROOT).parts[0]
        used = {name.split(".")[0] for name in imported(tree)} & MAY_IMPORT.keys()
        assert used <= MAY_IMPORT[floor], f"{path} imports {used - MAY_IMPORT[floor]}"


def test_nothing_seeds_a_global_generator(trees):
    for path, tree in trees.items():
        used = {name for name, _ in calls(tree)} & SEEDED_GLOBALLY
        assert not used, f"{path} calls {used}; use moprune.seeding"


def test_nothing_is_unpickled(trees):
    for path, tree in trees.items():
        for name, call in calls(tree):
            assert name not in UNPICKLING, f"{path}:{call.lineno} calls {name}"
            keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
            assert name not in UNSAFE_YAML, f"{path}:{call.lineno} calls {name}"
            assert keywords.get("Loader", "yaml.SafeLoader") == "yaml.SafeLoader", f"{path}:{call.lineno}: {name}"
            if name == "torch.load":
                assert keywords.get("weights_only") == "True", f"{path}:{call.lineno}: torch.load without weights_only"
            if name in ("np.load", "numpy.load"):
                assert keywords.get("allow_pickle", "False") == "False", f"{path}:{call.lineno}: np.load of pickles"


def test_pytest_is_not_needed_to_import_the_contracts(trees):
    contracts = [tree for path, tree in trees.items() if path.is_relative_to(ROOT / "moprune" / "testing")]
    names = {name.split(".")[0] for tree in contracts for name in imported(tree)}
    assert "numpy" in names
    assert not names & {"pytest", "hypothesis", "_pytest"}


def test_importing_moprune_is_cheap():
    code = "import sys, moprune; print(sorted({'torch', 'pymoo', 'pandas', 'torchvision'} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"


def test_the_engine_does_not_import_torchvision_or_captum_until_they_are_asked_for():
    code = (
        "import sys, moprune.search, moprune.networks, moprune.data, problems.pruning;"
        "print(sorted({'torchvision', 'captum', 'matplotlib'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"
