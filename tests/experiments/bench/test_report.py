import json

import pytest

from experiments.bench.report import Machine, Report, load, table
from experiments.bench.rows import OURS, Measured, Row, in_sequence
from experiments.bench.timing import Limits, Spread, Work
from moprune.errors import UsageError

TWO = [Limits(100.0, 10.0), Limits(200.0, 10.0)]


@pytest.fixture
def rows():
    import torch

    rates = {"naive": [2.0, 4.0], "published": [0.5, 0.25], OURS: [8.0, 6.0]}
    cpu, how = torch.device("cpu"), {"naive": "slowly", "published": "one image, multiplied by 7"}
    first = Measured(rates, TWO).row(
        "heads", "candidates", {"images": 7}, how, Work(10, 0.5), cpu, difference=1e-5, tolerance=1e-3
    )
    second = Measured({OURS: [1.0, 1.0], "naive": [4.0, 4.0]}, TWO).row(
        "ood", "candidates", {"images": 8}, {"naive": "quickly"}, Work(1, 5), cpu, difference=0.0, tolerance=1e-3,
        figures={"strategy": "loop", "share": 0.25},
    )  # fmt: skip
    return first, second


def test_a_row_by_hand(rows):
    first, second = rows
    assert first.rate == 7.0
    assert first.ways["naive"].ratio == Spread(1.5, 2.75, 4.0)
    assert first.ways["published"].ratio == Spread(16.0, 20.0, 24.0)
    # Ten operations take 1/10 s at 100 a second, 1/20 s at 200 or over memory; there are 8 and 6 a second.
    assert first.floor == Spread(pytest.approx(6 / 20), pytest.approx(0.55), 8 / 10)
    assert second.floor == Spread(0.5, 0.5, 0.5)
    assert first.limits == Limits(200.0, 10.0)


def test_one_after_another_takes_the_sum_of_times():
    assert in_sequence([[2.0, 1.0], [2.0, 3.0]]) == [pytest.approx(1.0), pytest.approx(0.75)]


def test_json_round_trip(rows, tmp_path):
    report = Report(Machine("a", 2, "2.15", "cpu", "a"), 2, rows)
    report.save(tmp_path / "figures.json")
    assert load(tmp_path / "figures.json") == report
    assert isinstance(load(tmp_path / "figures.json").rows[0], Row)
    values = json.loads((tmp_path / "figures.json").read_text())
    assert values["machine"]["torch"] == "2.15"
    assert values["rows"][1]["figures"] == {"strategy": "loop", "share": 0.25}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "moprune benchmark 0", "rows": []}'])
def test_files_that_are_none_are_refused_in_a_line(text, tmp_path):
    file = tmp_path / "other.json"
    with pytest.raises(UsageError, match="cannot read"):
        load(file)
    file.write_text(text)
    with pytest.raises(UsageError, match="is no benchmark of this version") as caught:
        load(file)
    assert "\n" not in str(caught.value)


def test_the_table_has_every_way_once_and_says_what_it_is(rows):
    report = Report(Machine("a", 2, "2.15", "cpu", "a"), 2, rows)
    lines = table(report).splitlines()
    header, rule, *cells = [line for line in lines if line.startswith("|")]
    names = [cell.strip() for cell in header.split("|")[1:-1]]
    assert names == ["", "naive, 1/s", "published, 1/s", "moprune, 1/s", "over naive", "over published", "of the floor"]
    assert {len(line) for line in (header, rule, *cells)} == {len(header)}
    assert [cell.strip() for cell in cells[0].split("|")[1:-1]] == [
        "heads [candidates]", "3", "0.38", "7", "2.8 (1.5 to 4)", "20 (16 to 24)", "55.0% (30.0% to 80.0%)",
    ]  # fmt: skip
    assert cells[1].count("|  ") == 2  # nothing was published for it
    assert "published: one image, multiplied by 7" in lines
    assert "naive (ood): quickly" in lines
    assert "  strategy" not in table(report)
    assert "strategy             loop" in table(report, details=True)
