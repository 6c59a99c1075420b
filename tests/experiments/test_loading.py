import re
from itertools import pairwise
from pathlib import Path

import pytest

from experiments.config import ExperimentConfig
from experiments.loading import bundled, dump, load_experiment, validate
from experiments.reference import entries
from experiments.yaml_file import read_yaml
from moprune.errors import UsageError

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


def test_aliases_of_aliases_are_refused_before_they_are_followed(tmp_path):
    doubled = "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnopqrstuvwxyz"))
    (tmp_path / "bomb.yaml").write_text(f"a: &a [x, x]\n{doubled}")  # 2 ** 26 items, in 500 bytes
    with pytest.raises(UsageError, match=r"bomb\.yaml: more than 10,000"):
        load_experiment(str(tmp_path / "bomb.yaml"))
    (tmp_path / "self.yaml").write_text("data: &a [*a]\n")
    with pytest.raises(UsageError, match=r"self\.yaml: not valid YAML"):
        load_experiment(str(tmp_path / "self.yaml"))


def test_a_text_that_would_take_minutes_to_read_is_refused(tmp_path):
    (tmp_path / "long.yaml").write_text("a:\n " * 500_000)
    with pytest.raises(UsageError, match=r"long\.yaml: more than 500,000 characters"):
        load_experiment(str(tmp_path / "long.yaml"))


def test_an_alias_may_stand_for_what_is_said_twice(tmp_path):
    text = "data: {source: digits, ood: {search: &pools [noise], test: [photographs]}}\nnetwork: {arch: digits}\n"
    (tmp_path / "mine.yaml").write_text(f"{text}pruning: {{hidden: &h [4]}}\nseeds: *h\n")
    config = load_experiment(str(tmp_path / "mine.yaml"))
    assert config.seeds == config.pruning.hidden == (4,)


@pytest.mark.parametrize("value", ["2020-99-99", "!!binary x", "!!python/tuple [1]", "9" * 5000, "[" * 3000])
def test_values_that_yaml_cannot_make_are_said_so(tmp_path, value):
    (tmp_path / "bad.yaml").write_text(f"data: {{source: digits}}\nseeds: {value}\n")
    with pytest.raises(UsageError, match=r"bad\.yaml.*not valid YAML"):
        load_experiment(str(tmp_path / "bad.yaml"))
    with pytest.raises(UsageError, match=r"--set seeds=.*not valid YAML"):
        load_experiment("quickstart", [f"seeds={value}"])


def test_a_key_that_breaks_the_line_is_one_line_still(tmp_path):
    (tmp_path / "bad.yaml").write_text('data: {source: digits}\nnetwork: {arch: digits}\n"a\\n\\e[2J": 1\n')
    with pytest.raises(UsageError) as caught:
        load_experiment(str(tmp_path / "bad.yaml"))
    assert str(caught.value).isprintable()


def test_a_fault_above_what_an_override_sets_is_put_down_to_it():
    with pytest.raises(UsageError, match=r"--set objectives\.0\.name=error: objectives: expected a list"):
        load_experiment("quickstart", ["objectives.0.name=error"])


def test_a_key_that_is_no_text_is_said_so():
    with pytest.raises(UsageError, match="the key is not UTF-8"):
        load_experiment("quickstart", ["\udc80search.n_eval=3"])
