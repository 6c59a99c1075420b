import dataclasses

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.fronts import SPLITS
from analysis.report import gather
from analysis.report.extras import attributions, embedded, explanations
from analysis.report.points import hex_of
from moprune.errors import MopruneError
from moprune.fronts import hypervolume


@pytest.fixture(scope="module")
def content(finished):
    return gather(finished)


def test_every_point_has_the_values_of_the_tables(content, finished):
    table = pd.concat([finished.front, finished.controls]).set_index("solution")
    assert len(content.points) == len(table)
    for point in content.points:
        row = table.loc[point.id]
        assert point.seed == row["seed"]
        for split in SPLITS:
            assert point.values[split] == [row[f"{o.name}_{split}"] for o in (*finished.objectives, *finished.reported)]


def test_masks_and_places_are_those_of_the_log(content, finished):
    stages = {"search": "search", "random masks": "random"}
    for point in content.points:
        if point.group == "unpruned":
            assert point.bits(12).all()
            continue
        history, genomes = finished.log.history(stages[point.group], point.seed)
        where = int(np.flatnonzero(history["position"] + 1 == point.evaluation)[0])
        assert point.generation == history["generation"][where]
        assert (point.bits(12) == genomes[where]).all()
        assert point.kept == [genomes[where][:8].sum(), genomes[where][8:].sum()]
        assert np.allclose(history["natural"][where], point.values["search"][:3])


def test_chosen_are_those_of_the_summary(content, finished):
    wanted = {
        values["solution"]
        for entry in finished.summary["seeds"].values()
        for who, values in entry["test"].items()
        if who != "unpruned"
    }
    assert {point.id for point in content.points if point.chosen} == wanted


def test_a_point_holds_unless_another_of_its_front_dominates_it_on_test(content):
    for point in content.points:
        ours = np.array(point.values["test"][:3]) * [1, 1, -1]
        rivals = [p for p in content.points if (p.seed, p.group) == (point.seed, point.group)]
        theirs = np.array([p.values["test"][:3] for p in rivals]) * [1, 1, -1]
        dominated = ((theirs <= ours).all(1) & (theirs < ours).any(1)).any()
        assert point.holds == (not dominated)


def test_curves_end_at_the_hypervolume_of_everything(content, finished):
    for curve, stage in zip(content.curves, ("search", "random"), strict=True):
        ends = []
        for seed in content.seeds:
            history, _ = finished.log.history(stage, seed)
            ends.append(hypervolume(np.stack(list(history["natural"])) * [1, 1, -1] + [0, 0, 1], finished.objectives))
        assert curve.low[-1] == pytest.approx(min(ends), abs=1e-6)
        assert curve.high[-1] == pytest.approx(max(ends), abs=1e-6)
        assert sorted(curve.median) == curve.median


def test_frequencies_are_means_over_seeds(content):
    masks = {seed: [p.bits(12) for p in content.points if (p.group, p.seed) == ("search", seed)] for seed in (1, 2)}
    expected = np.mean([np.mean(rows, axis=0) for rows in masks.values()], axis=0)
    features, hidden = content.frequencies
    assert dict(zip(features.units, features.frequency, strict=True)) == pytest.approx(
        dict(enumerate(expected[:8])), abs=1e-4
    )
    assert dict(zip(hidden.units, hidden.frequency, strict=True)) == pytest.approx(
        dict(enumerate(expected[8:])), abs=1e-4
    )
    assert not features.tested
    assert hidden.recurring == []


def test_differences_are_search_less_control_by_seed(content, finished):
    entries = finished.summary["seeds"].values()
    error = next(d for d in content.differences if (d.label, d.against) == ("error", "random masks"))
    assert error.values == [e["test"]["search"]["error"] - e["test"]["random masks"]["error"] for e in entries]
    assert error.verdict == "too few"
    assert len(content.verdicts) == len(content.differences)
    assert ("active fraction", "unpruned") not in {(d.label, d.against) for d in content.differences}


def test_warnings_name_what_makes_the_figures_weak(content, finished):
    text = " ".join(content.warnings)
    assert "2 seeds are too few" in text
    assert "opened 2 times" in text
    assert "one image is worth 0.5 on search (200 images)" in text
    published = dataclasses.replace(finished, optimistic=True)
    assert any("optimistic" in warning for warning in gather(published).warnings)


def test_choice_is_mean_and_deviation(content, finished):
    errors = [entry["test"]["search"]["error"] for entry in finished.summary["seeds"].values()]
    assert content.choice.rows[0][1] == f"{np.mean(errors):.3f} ± {np.std(errors, ddof=1):.3f}"


def test_without_controls_nothing_is_compared(finished):
    seeds = {
        seed: {
            **entry,
            "test": {"search": entry["test"]["search"]},
            "hypervolume": {"search": entry["hypervolume"]["search"]},
        }
        for seed, entry in finished.summary["seeds"].items()
    }
    alone = dataclasses.replace(
        finished, controls=finished.controls.iloc[:0], summary={**finished.summary, "seeds": seeds}
    )
    content = gather(alone)
    assert content.differences == []
    assert {point.group for point in content.points} == {"search"}
    assert [curve.group for curve in content.curves] == ["search"]


def test_hex_keeps_bits_in_order():
    assert hex_of(np.array([1, 0, 0, 0, 0, 0, 0, 1, 1], dtype=bool)) == "8180"


def test_explanations_are_shown_small_and_whole(tmp_path):
    folder = tmp_path / "explain"
    folder.mkdir()
    Image.new("RGB", (3000, 300), "white").save(folder / "a_map.png")
    pd.DataFrame({"unit": ["<b>"], "score": [np.nan]}).to_csv(folder / "units.csv", index=False)
    found = explanations(tmp_path)
    (picture,), (table,) = found.pictures, found.tables
    assert (picture.width, picture.height, picture.name) == (1400, 140, "a map")
    assert picture.uri.startswith("data:image/png;base64,")
    assert table.rows == [["<b>", None]]


def test_a_broken_picture_is_one_clear_line(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"no picture")
    with pytest.raises(MopruneError, match=r"broken\.png"):
        embedded(path)


def test_attributions_are_the_largest_ablations_of_all_classes(tmp_path):
    (tmp_path / "explain").mkdir()
    rows = [("1-2", f"feature {i}", kind, value) for i in range(9) for kind, value in (("all", i - 6.5), ("cat", 99.0))]
    table = pd.DataFrame(rows, columns=["solution", "unit", "class", "ablation"])
    table.to_csv(tmp_path / "explain" / "neurons.csv", index=False)
    found = attributions(tmp_path, units=3)
    assert found == {"1-2": [("feature 0", -6.5), ("feature 1", -5.5), ("feature 2", -4.5)]}
    assert attributions(tmp_path / "elsewhere") == {}
