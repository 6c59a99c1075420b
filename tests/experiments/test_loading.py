import re
from pathlib import Path

import pytest

from experiments.config import ExperimentConfig
from experiments.loading import bundled, dump, load_experiment, validate
from experiments.reference import entries
from experiments.yaml_file import read_yaml

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(bundled()))
def test_bundled_experiments_are_valid_described_and_survive_a_round_trip(name, tmp_path):
    config = load_experiment(name)
    assert config.description
    (tmp_path / "again.yaml").write_text(dump(config))
    assert validate(read_yaml(tmp_path / "again.yaml")) == config


def test_overrides_reach_keys_that_the_file_does_not_mention():
    config = load_experiment("quickstart", ["pruning.training.epochs=7", "seeds=[3,4]", "search.n_offsprings=2"])
    assert config.pruning.training.epochs == 7
    assert config.seeds == (3, 4)
    assert config.search.n_offsprings == 2
    assert config.search.algorithm == "nsga2"


def test_class_names_that_look_like_numbers_stay_names(tmp_path):
    config = load_experiment("quickstart", ["data.exclude=[0, 1]"])
    assert config.data.exclude == ("0", "1")


def test_every_key_is_explained():
    rows = list(entries())
    assert all(meaning for _, _, _, meaning in rows), [row[0] for row in rows if not row[3]]
    assert {"data.source", "search.n_eval", "objectives[].name", "data.splits.SPLIT.share"} <= {row[0] for row in rows}


def test_the_page_of_keys_is_up_to_date():
    page = (ROOT / "docs/experiments.md").read_text().split("## Data")[0]
    listed = re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE)
    assert listed == [row[0] for row in entries()]


def test_the_example_of_the_readme_is_a_valid_experiment(tmp_path):
    _, _, text = (ROOT / "README.md").read_text().split("```yaml")[1].split("```")[0].partition("\n")
    (tmp_path / "mine.yaml").write_text(text)
    assert isinstance(load_experiment(str(tmp_path / "mine.yaml")), ExperimentConfig)
