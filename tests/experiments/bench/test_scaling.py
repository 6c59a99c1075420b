from dataclasses import replace
from types import MappingProxyType

import pytest
import torch

from experiments.bench import scaling, suite
from experiments.bench.strategies import bench_strategies
from experiments.main import main
from moprune.errors import UsageError


@pytest.fixture
def tiny(monkeypatch):
    """Heads of no size at all."""
    small = {"images": 40, "features": 12, "hidden": 6, "classes": 3, "candidates": 2, "epochs": 1}
    kinds = {**suite.KINDS, "heads": replace(suite.KINDS["heads"], small=small)}
    monkeypatch.setattr(scaling, "KINDS", MappingProxyType(kinds))


def quiet(_):
    pass


@pytest.mark.parametrize(
    ("axis", "size"),
    [("population", "candidates"), ("features", "features"), ("units", "hidden"), ("images", "images")],
)
def test_one_size_changes_and_no_other(tiny, axis, size):
    rows = scaling.bench_scaling("heads", axis, [3, 9], rounds=2, progress=quiet)
    assert [row.name for row in rows] == [f"heads, {axis} 3", f"heads, {axis} 9"]
    assert [row.sizes[size] for row in rows] == [3, 9]
    first, second = ({k: v for k, v in row.sizes.items() if k != size} for row in rows)
    assert first == second


def test_cores_are_threads_of_torch_and_put_back(tiny, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    before = torch.get_num_threads()
    rows = scaling.bench_scaling("heads", "cores", [1, 2], rounds=2, progress=quiet)
    assert [row.sizes["threads"] for row in rows] == [1, 2]
    assert torch.get_num_threads() == before
    with pytest.raises(UsageError, match="3 cores are asked for, and this machine has 2"):
        scaling.bench_scaling("heads", "cores", [3], rounds=2, progress=quiet)


def test_what_each_kind_scales_along_is_one_of_its_sizes():
    for kind in suite.KINDS.values():
        assert set(kind.axes.values()) <= kind.small.keys()


@pytest.mark.parametrize(
    ("kind", "axis", "values", "match"),
    [
        ("knees", "images", [1], "kind of benchmark"),
        ("ood", "features", [1], "axis of ood"),
        ("heads", "images", [], "different whole numbers"),
        ("heads", "images", [4, 4], "different whole numbers"),
        ("heads", "images", [0], "different whole numbers"),
    ],
)
def test_bad_requests(kind, axis, values, match):
    with pytest.raises(UsageError, match=match):
        scaling.bench_scaling(kind, axis, values, rounds=2, progress=quiet)


def test_command(tiny, tmp_path, capsys):
    picture = tmp_path / "curve.svg"
    command = ["bench", "scaling", "heads", "--over", "images", "--values", "8,16", "--rounds", "2"]
    assert main([*command, "--picture", str(picture)]) == 0
    assert "heads, images 16" in capsys.readouterr().out
    assert "candidates a second" in picture.read_text()
    for values in ("8,x", "8;16", ""):
        assert main([*command[:6], values]) == 2
        assert "--values" in capsys.readouterr().err


def test_strategies_show_what_is_chosen():
    shapes = [(8, 4), (400, 130)]
    rows = bench_strategies(shapes, images=20, candidates=2, rounds=2)
    assert [row.name for row in rows] == ["strategies: 8 x 4", "strategies: 400 x 130"]
    assert [row.figures["chosen"] for row in rows] == ["stacked", "loop"]
    for row, (features, hidden) in zip(rows, shapes, strict=True):
        assert row.ways.keys() == {"loop", "stacked"}
        own = row.ways[row.figures["chosen"]]
        assert own.ratio.least == own.ratio.most == 1
        assert row.rate == own.rate
        assert row.difference < 1e-5
        assert row.figures["weights"] == features * hidden + hidden * 4 + 4


def test_shapes_are_checked(capsys):
    with pytest.raises(UsageError, match="different shapes"):
        bench_strategies([(8, 4), (8, 4)])
    for shapes in ("8", "8x4x2", "8xa", "0x4"):
        assert main(["bench", "strategies", "--shapes", shapes]) == 2
        assert "--shapes" in capsys.readouterr().err
