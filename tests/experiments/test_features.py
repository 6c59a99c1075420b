"""Experiments on features somebody has extracted, in memory and on disk; and the benchmark of large ones."""

import json

import numpy as np
import pytest

from experiments.bench.large import bench_large, write_features
from experiments.main import main
from moprune.errors import UsageError

EXPERIMENT = """
data: {{source: features, path: {folder}, ood: {{search: [a], test: [b]}}}}
network: {{arch: features}}
pruning: {{hidden: [5], training: {{epochs: 2}}}}
objectives: [brier, active_fraction, {{name: ood_auroc, detector: energy}}]
search: {{n_eval: 12, pop_size: 6}}
controls: [unpruned, random, anova]
device: cpu
"""


@pytest.fixture
def experiment(tmp_path):
    write_features(tmp_path, 600, 8)
    (tmp_path / "classes.txt").write_text("\n".join("abcdefghij"))
    path = tmp_path / "given.yaml"
    path.write_text(EXPERIMENT.format(folder=tmp_path))
    return path


def run(experiment, out, *overrides):
    sets = [word for each in overrides for word in ("--set", each)]
    return main(["run", str(experiment), "--out", str(out), *sets])


def test_results_are_the_same_wherever_the_features_are(experiment, tmp_path):
    assert run(experiment, tmp_path / "held") == 0
    assert run(experiment, tmp_path / "stored", "pruning.memory_limit=1e-9") == 0
    for name in ("front.csv", "controls.csv"):
        assert (tmp_path / "held" / name).read_bytes() == (tmp_path / "stored" / name).read_bytes()


def test_a_head_on_given_features_can_be_exported_and_run(experiment, tmp_path, capsys):
    """Read back by the command itself; its input is a batch of feature vectors."""
    assert run(experiment, tmp_path / "run", "pruning.memory_limit=1e-9", "controls=[unpruned]") == 0
    target = tmp_path / "head.safetensors"
    assert main(["export", str(tmp_path / "run"), "--format", "state-dict", "--out", str(target)]) == 0
    assert "logits differ by at most" in capsys.readouterr().out
    assert json.loads(target.with_suffix(".json").read_text())["input"]["shape"] == ["n", 8]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["network.arch=digits"], "data.source: features and network.arch: features go together"),
        (["data.source=digits"], "data.source: features and network.arch: features go together"),
        (["task=refinement"], "given features leave no network to tune"),
        (["network.features=fc"], "network.features: features is made here and has its own"),
        (["data.path=null"], "data.path: give the path of the features"),
        (["data.ood.test=[noise]"], "no pool can be made like items of shape (8,)"),
        (["data.corruptions.search=[gaussian_noise@3]"], "data.corruptions: given features are no images"),
        (["data.corrupted=gaussian_blur@3"], "data.corrupted: given features are no images"),
        (["pruning.memory_limit=0"], "pruning.memory_limit"),
        (["pruning.memory_limit=1e-9", "controls=[unpruned, lasso]"], "lasso needs all features in memory"),
        (["pruning.memory_limit=1e-9", "search.ranking=mutual_information"], "mutual_information needs all features"),
        (["pruning.memory_limit=1e-9", "objectives=[brier, ood_auroc]"], "or raise pruning.memory_limit"),
        (["objectives=[brier, adversarial_error]"], "of given features there are none"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_before_the_search(experiment, tmp_path, capsys, overrides, message):
    if "objectives=[brier, ood_auroc]" in overrides:
        overrides = [overrides[0], "objectives=[brier, {name: ood_auroc, detector: knn}]"]
    if "task=refinement" in overrides:
        experiment.write_text(experiment.read_text().replace("pruning:", "refinement: {} #"))
    assert run(experiment, tmp_path / "run", *overrides) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("moprune: error:")]
    assert any(message in line for line in lines), lines


def test_a_value_that_is_not_finite_is_told_with_its_row(experiment, tmp_path, capsys):
    features = np.load(tmp_path / "features.npy")
    features[7, 3] = np.nan
    np.save(tmp_path / "features.npy", features)
    assert run(experiment, tmp_path / "run") == 2
    assert "row 7 of" in capsys.readouterr().err


def test_the_benchmark_tells_what_a_search_in_a_process_of_its_own_takes(tmp_path):
    found = bench_large(500, 4, candidates=4, memory_limit=1e-9, folder=tmp_path)
    assert found.data == 500 * 4 * 4
    assert 10**8 < found.peak < 4 * 10**9  # the process itself
    assert found.searched > 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="has no space for"):
        bench_large(10**12, 10**3, folder=tmp_path)
