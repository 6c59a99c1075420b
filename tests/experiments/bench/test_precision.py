"""Low precision is measured against float32 on the same trials."""

import pytest
import typer
from typer.testing import CliRunner

from experiments.bench import precision
from experiments.bench.trials import digits


def test_each_precision_is_told_by_its_losses():
    found = precision.bench_precision(digits(50), candidates=6, rounds=1)
    assert set(found) == {"bfloat16", "float16"}
    for each in found.values():
        assert 0 < each.difference < 0.5
        assert 0.5 < each.tau <= 1
        assert 0.5 <= each.decisions <= 1
        assert each.ratio > 0
    assert found["float16"].difference < found["bfloat16"].difference  # three more bits


def test_the_command_prints_a_line_each(monkeypatch):
    app = typer.Typer()
    app.command()(precision.main)
    monkeypatch.setattr(precision, "digits", lambda: digits(20))
    result = CliRunner().invoke(app, ["--candidates", "4", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    assert result.output.count("Kendall's tau") == 2


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_the_same_trials_come_out_the_same(name):
    a, b = (precision.bench_precision(digits(20), candidates=4, rounds=1)[name] for _ in range(2))
    assert (a.difference, a.tau, a.decisions) == (b.difference, b.tau, b.decisions)
