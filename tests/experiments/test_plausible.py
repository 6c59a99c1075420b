"""Result files that somebody else made: what does not fit together is named, and nothing is made of it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.main import main
from experiments.result import load_result
from experiments.run_folder import open_finished
from moprune.errors import MopruneError


@pytest.fixture
def theirs(finished_run, tmp_path):
    """A run folder without digests, to be changed."""
    folder = shutil.copytree(finished_run, tmp_path / "theirs")
    (folder / "SHA256SUMS").unlink()
    return folder


def change_table(folder, name, change):
    table = pd.read_csv(folder / name, dtype={"solution": str})
    change(table)
    table.to_csv(folder / name, index=False)


def change_summary(folder, change):
    summary = json.loads((folder / "summary.json").read_text())
    change(summary)
    (folder / "summary.json").write_text(json.dumps(summary))


def test_what_a_run_wrote_fits(theirs):
    assert len(load_result(open_finished(theirs)).front)


@pytest.mark.parametrize("name", ["front.csv", "controls.csv"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e101, "many", True])
def test_values_that_are_no_finite_numbers(theirs, name, value):
    # NaN made moocore end the process (a segmentation fault).
    change_table(theirs, name, lambda table: table.__setitem__("brier_test", value))
    with pytest.raises(MopruneError, match=rf"{name}.*column brier_test"):
        load_result(open_finished(theirs))


@pytest.mark.parametrize("column", ["solution", "seed", "brier_search"])
def test_columns_that_are_gone(theirs, column):
    change_table(theirs, "front.csv", lambda table: table.pop(column))
    with pytest.raises(MopruneError, match=rf"front\.csv.*no column {column}"):
        load_result(open_finished(theirs))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("seeds"), "seeds"),
        (lambda s: s["seeds"].pop("1"), "seeds are not those"),
        (lambda s: s["seeds"]["1"]["test"].pop("unpruned"), "not of the search and the controls"),
        (lambda s: s["seeds"]["1"]["test"]["search"].pop("brier"), "not said of every objective"),
        (lambda s: s["seeds"]["1"]["test"]["search"].update(solution="1-999"), "not among its points"),
        (lambda s: s["seeds"]["1"].update(chosen="1-999"), "not the one that was opened"),
        (lambda s: s["seeds"]["1"]["hypervolume"]["search"].update(test=float("inf")), "hypervolume"),
        (lambda s: s["images"].update(test=-1), "images.test"),
        (lambda s: s["images"].update(test="many"), "images.test"),
        (lambda s: s["objectives"].pop("brier"), "objectives are not those"),
        (lambda s: s.update(choice="\x1b[2J"), "choice"),
        (lambda s: s.update(notes=["\u202e"]), "notes"),
    ],
)
def test_summaries_that_do_not_fit(theirs, change, said):
    change_summary(theirs, change)
    with pytest.raises(MopruneError, match=rf"summary\.json.*{said}"):
        load_result(open_finished(theirs))


@pytest.mark.parametrize(
    "content", ["[]", "null", "3", "[" * 5000, '{"packages": []}', '{"digests": {"data": "\\u001b"}}']
)
def test_environments_that_are_none(theirs, content):
    (theirs / "environment.json").write_text(content)
    with pytest.raises(MopruneError, match=r"environment\.json"):
        _ = load_result(open_finished(theirs)).environment


def test_markup_in_names_is_shown_as_it_is(theirs, capsys):
    renamed = "[/red]x"
    change_table(theirs, "controls.csv", lambda table: table.replace("random masks", renamed, inplace=True))

    def rename(summary):
        for entry in summary["seeds"].values():
            for key in ("test", "hypervolume"):
                entry[key][renamed] = entry[key].pop("random masks")

    change_summary(theirs, rename)
    assert main(["show", str(theirs)]) == 0
    assert renamed in capsys.readouterr().out


@settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_value_put_anywhere_in_the_summary_is_shown_or_refused(theirs, data):
    """Whatever is in it: no failure but one that names it."""
    path = theirs / "summary.json"
    before = path.read_text()
    summary = json.loads(before)
    place, key = summary, None
    while isinstance(place, dict) and place and (key is None or data.draw(st.booleans())):
        parent, key = place, data.draw(st.sampled_from(sorted(place)))
        place = parent[key]
    parent[key] = data.draw(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({}) | st.just([])
    )
    try:
        path.write_text(json.dumps(summary))
        load_result(open_finished(theirs))
    except MopruneError as error:
        assert "summary.json" in str(error)  # noqa: PT017 - it may also pass
    finally:
        path.write_text(before)
