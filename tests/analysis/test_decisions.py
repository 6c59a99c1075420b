import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.decomposition.aasf import AASF

from analysis.decisions import knee, parse_wishes, prefer
from moprune.errors import UsageError
from moprune.objectives import objective

ERROR, COST, AUROC = objective("error"), objective("active_fraction"), objective("ood_auroc")


def frame(split="select", **columns):
    count = len(next(iter(columns.values())))
    table = {f"{name}_{split}": values for name, values in columns.items()}
    return pd.DataFrame({"solution": [f"1-{i}" for i in range(count)], "seed": 1, **table})


def test_the_knee_of_a_quarter_circle_is_its_middle():
    angle = np.linspace(0, np.pi / 2, 21)
    front = frame(error=1 - np.sin(angle), active_fraction=1 - np.cos(angle))
    assert knee(front, [ERROR, COST]).solution == "1-10"


def test_the_knee_lies_farthest_from_the_line_through_the_extremes():
    generator = np.random.default_rng(0)
    x = np.sort(generator.random(30))
    y = np.sort(generator.random(30))[::-1]
    front = frame(error=x, active_fraction=y)
    a, b = np.array([x[0], y[0]]), np.array([x[-1], y[-1]])
    span = b - a
    unit = np.column_stack([(x - a[0]) / span[0], (y - b[1]) / -span[1]])
    start, direction = unit[0], (unit[-1] - unit[0]) / np.linalg.norm(unit[-1] - unit[0])
    signed = [-(direction[0] * (p - start)[1] - direction[1] * (p - start)[0]) for p in unit]
    assert knee(front, [ERROR, COST]).solution == f"1-{int(np.argmax(signed))}"


def test_the_knee_of_three_objectives_bulges_from_the_plane_through_the_best_in_each():
    F = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0], [0.4, 0.9, 0.4], [0.5, 0.5, 0.5], [0.9, 0.4, 0.6]])
    front = frame(error=F[:, 0], active_fraction=F[:, 1], ood_auroc=1 - F[:, 2])
    assert knee(front, [ERROR, COST, AUROC]).solution == "1-4"


def test_extremes_that_span_no_plane_give_way_to_the_nadirs_intercepts():
    # One member is best in two objectives; the least sum of normalised objectives is taken then.
    F = np.array([[0, 0, 1], [1, 1, 0], [0.3, 0.3, 0.3], [0.6, 0.1, 0.5]])
    front = frame(error=F[:, 0], active_fraction=F[:, 1], ood_auroc=1 - F[:, 2])
    assert knee(front, [ERROR, COST, AUROC]).solution == "1-2"


@pytest.mark.parametrize(
    ("columns", "objectives", "expected"),
    [
        ({"error": [0.3]}, [ERROR], "1-0"),
        ({"error": [0.3, 0.1, 0.2]}, [ERROR], "1-1"),
        ({"ood_auroc": [0.3, 0.1, 0.2]}, [AUROC], "1-0"),
        ({"error": [0.2, 0.2], "active_fraction": [0.5, 0.5]}, [ERROR, COST], "1-0"),  # equal members: the first
        ({"error": [0.2, 0.2], "active_fraction": [0.5, 0.4]}, [ERROR, COST], "1-1"),  # a constant column
        ({"error": [0.1, 0.2], "active_fraction": [0.5, 0.4]}, [ERROR, COST], "1-0"),  # a tie: the id
    ],
)
def test_boundaries_of_the_knee(columns, objectives, expected):
    assert knee(frame(**columns), objectives).solution == expected


def test_members_that_satisfy_all_are_preferred_and_the_best_compromise_taken():
    front = frame(error=[0.01, 0.04, 0.05, 0.2], active_fraction=[0.9, 0.5, 0.3, 0.1])
    decision = prefer(front, [ERROR, COST], {"error": 0.05})
    assert (decision.solution, decision.satisfying, dict(decision.missed)) == ("1-2", 3, {})


def test_a_wish_that_is_just_met_is_met_in_natural_units():
    front = frame(error=[0.1, 0.2], ood_auroc=[0.9, 0.95])
    for wish in (0.9, 0.95):
        assert not prefer(front, [ERROR, AUROC], {"ood_auroc": wish}).missed


def test_the_nearest_says_what_it_misses_and_by_how_much():
    front = frame(error=[0.1, 0.3], active_fraction=[0.5, 0.1], ood_auroc=[0.8, 0.7])
    decision = prefer(front, [ERROR, COST, AUROC], {"error": 0.05, "ood_auroc": 0.75})
    assert decision.solution == "1-0"
    assert decision.satisfying == 0
    assert dict(decision.missed) == {"error": pytest.approx(0.05)}


@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_the_compromise_is_that_of_pymoo_and_undominated(seed, error, auroc):
    generator = np.random.default_rng(seed)
    front = frame(error=generator.random(12), active_fraction=generator.random(12), ood_auroc=generator.random(12))
    wishes = {"error": error, "ood_auroc": auroc}
    decision = prefer(front, [ERROR, COST, AUROC], wishes)
    F = np.column_stack([front["error_select"], front["active_fraction_select"], 1 - front["ood_auroc_select"]])
    good = ((front["error_select"] <= error) & (front["ood_auroc_select"] >= auroc)).to_numpy()
    assert decision.satisfying == good.sum()
    taken = F[int(decision.solution[2:])]
    if good.any():
        aim = np.array([error, F[:, 1].min(), 1 - auroc])
        value = AASF(rho=1e-4, eps=0).do(F, weights=np.ptp(F, axis=0), utopian_point=aim).ravel()
        assert value[int(decision.solution[2:])] == pytest.approx(value[good].min())
        assert not any((p <= taken).all() and (p < taken).any() for p in F[good])
    else:
        assert decision.missed


@pytest.mark.parametrize("choose", [knee, lambda *a, **k: prefer(*a, {"error": 0.1}, **k)])
def test_test_never_chooses(choose):
    front = frame(split="test", error=[0.1, 0.2])
    with pytest.raises(UsageError, match="never chosen on test"):
        choose(front, [ERROR], split="test")
    with pytest.raises(UsageError, match="split 'train' is not known"):
        choose(front, [ERROR], split="train")
    with pytest.raises(UsageError, match="no member"):
        choose(frame(error=[0.1])[:0], [ERROR])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["eror=0.1"], "did you mean 'error'"),
        (["error"], "not OBJECTIVE=VALUE"),
        (["error=low"], "'low' is not a number"),
        (["error=nan"], "finite"),
        (["error=inf"], "finite"),
        (["error=0.1", "error=0.2"], "twice"),
    ],
)
def test_wishes_that_cannot_be_read(texts, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse_wishes(texts, [ERROR, AUROC])
    assert "\n" not in str(caught.value)


def test_wishes_are_read():
    assert parse_wishes(["error = 0.05", "ood_auroc=9e-1"], [ERROR, AUROC]) == {"error": 0.05, "ood_auroc": 0.9}
    assert parse_wishes([], [ERROR]) == {}
    with pytest.raises(UsageError, match="no wish"):
        prefer(frame(error=[0.1]), [ERROR], {})
