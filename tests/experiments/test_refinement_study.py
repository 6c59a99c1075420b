"""The refinement study: its arms run on a small task, and its tables say what its figures do."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from experiments.studies import refinement, refinement_table
from experiments.studies.memory import PeakMemory
from moprune.data import Task, TensorInputs
from moprune.errors import UsageError
from moprune.networks import pretrained
from moprune.population.recipes import Recipe
from problems.refinement import finetuned


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 10
    images = torch.rand(120, 3, 8, 8, generator=generator) + labels.view(-1, 1, 1, 1) * 0.05
    plain = Task.from_tensors(images, labels, seed=1)
    splits = {split: plain.split(split) for split in ("train", "search", "select", "test")}
    corruptions = {
        split: {"contrast@1" if split == "test" else "blur@1": TensorInputs(0.5 * _stacked(each))}
        for split, each in splits.items()
    }
    task = Task("small", plain.classes, **splits, corruptions=corruptions)
    network = pretrained("cifar_resnet20", "random", num_classes=10)
    recipes = [Recipe(0.01, epochs=1), Recipe(0.02, epochs=1)]
    members = finetuned(
        network, task, recipes, preprocess=refinement._PREPROCESS, seed=1, cache=tmp_path_factory.mktemp("members")
    )
    return refinement.Cell(1, task, network, members, tmp_path_factory.mktemp("cell"), evaluations=12)


def _stacked(split):
    return torch.stack([split.inputs[i] for i in range(len(split))])


def test_arms_of_each_kind_measure_the_same_on_test(cell):
    arms = refinement.arms(cell)
    assert {f"head {name}" for name in refinement.HEAD} | {f"mixing {name}" for name in refinement.MIXED} <= set(arms)
    rows = {}
    measured = ["control start", "control uniform_soup", "control gradient for all that was spent", "mixing stage D"]
    for name in (*measured, "biases rule", "head pso"):
        (rows[name],) = arms[name]()
    names = {f"{name}_test" for name in ("nll", "error", "worst_class_error", "ece", "corruption_error")}
    assert all(names <= set(row) for row in rows.values())
    assert rows["mixing stage D"]["nll_search"] <= rows["control start"]["nll_search"]
    assert rows["mixing stage D"]["claimed"] == pytest.approx(rows["mixing stage D"]["nll_search"], rel=1e-5)
    assert 0 < rows["mixing stage D"]["diversity"] < 1
    whole = 2 * refinement.POPULATION * len(cell.task.search)  # the last generation is completed
    assert 0 < rows["mixing stage D"]["images"] <= whole


def made(rows):
    return pd.DataFrame(rows, columns=["arm", "seed", "nll_test", "error_test"])


def test_comparisons_are_paired_t_tests_with_holm():
    random = np.random.default_rng(0)
    levels = {"control uniform_soup": 0.5, "mixing a": 0.45, "mixing b": 0.5}
    losses = {arm: random.normal(level, 0.02, 10) for arm, level in levels.items()}
    table = made([(arm, s, each[s], 0.1) for arm, each in losses.items() for s in range(10)])
    found = refinement_table.compared(table, "nll_test").set_index("arm")
    a = losses["mixing a"] - losses["control uniform_soup"]
    p = [stats.ttest_rel(losses[f"mixing {x}"], losses["control uniform_soup"]).pvalue for x in "ab"]
    low, high = np.argsort(p)
    expected = {low: min(1.0, 2 * p[low])}
    expected[high] = max(expected[low], p[high])
    assert found.loc["mixing a", "difference"] == pytest.approx(a.mean())
    assert found.loc["mixing a", "p"] == pytest.approx(expected[0])
    assert found.loc["mixing b", "p"] == pytest.approx(expected[1])


def test_results_are_read_point_by_point_and_written_into_a_page(tmp_path):
    measures = dict.fromkeys([*refinement_table.MEASURES, "nll_search", "images", "seconds"], 0.25)
    for seed in (1, 2):
        folder = tmp_path / "results" / str(seed)
        folder.mkdir(parents=True)
        gradient = [
            {"arm": "control gradient", "seed": seed, "point": f"{kind}, 3 epochs", **measures}
            for kind in ("everything", "norms")
        ]
        mixed = [{"arm": "mixing de", "seed": seed, **measures, "nll_test": 0.5, "diversity": 0.5}]
        (folder / "control gradient.json").write_text(json.dumps(gradient))
        (folder / "mixing de.json").write_text(json.dumps(mixed))
    table = refinement_table.read(tmp_path / "results")
    assert set(table["arm"]) == {"control gradient, everything", "control gradient, norms", "mixing de"}
    page = tmp_path / "page.md"
    page.write_text("Read me.\n\n<!-- tables -->\nold")
    refinement_table.main([tmp_path / "results"], csv=tmp_path / "all.csv", page=page)
    text = page.read_text()
    assert text.startswith("Read me.")
    assert "old" not in text
    assert "| mixing de | 0.500 | 25.0% |" in text
    assert "| s | diversity | seeds |" in text
    again = refinement_table.read(tmp_path / "all.csv")
    assert len(again) == 6
    with pytest.raises(UsageError, match="holds no results"):
        refinement_table.read(tmp_path / "none")


def test_diversity_is_the_mean_difference_of_two_genomes():
    genomes = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]])
    assert refinement.diversity(genomes) == pytest.approx((5 + 5 + 0) / 3 / np.sqrt(2))


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells it on Linux alone")
def test_peak_memory_is_that_of_the_part_alone():
    with PeakMemory() as small:
        pass
    with PeakMemory() as large:
        held = np.ones(50_000_000)
        del held
    with PeakMemory() as after:
        pass
    assert large.peak - small.peak == pytest.approx(0.4, abs=0.1)
    assert after.peak - small.peak < 0.1
