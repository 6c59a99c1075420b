import numpy as np
import pandas as pd
import pytest
from pymoo.indicators.hv import HV

from analysis import indicators as ind
from moprune.objectives import objective

OBJECTIVES = [objective("error"), objective("active_fraction"), objective("ood_auroc")]
SPLITS = ("search", "select", "test")


def points(seed, count, objectives=OBJECTIVES, generator=None):
    generator = generator or np.random.default_rng(seed)
    table = {"solution": [f"{seed}-{i}" for i in range(count)], "seed": seed}
    for o in objectives:
        for split in SPLITS:
            table[f"{o.name}_{split}"] = generator.random(count) * o.scale
    return pd.DataFrame(table)


def dominates(a, b):
    return bool((a <= b).all() and (a < b).any())


def minimised(frame, split):
    return np.column_stack(
        [frame[f"error_{split}"], frame[f"active_fraction_{split}"], 1 - frame[f"ood_auroc_{split}"]]
    )


def test_every_indicator_is_that_of_its_definition():
    front = pd.concat([points(1, 12), points(2, 9)], ignore_index=True)
    controls = pd.concat([points(3, 7).assign(seed=1), points(4, 8).assign(seed=2)]).assign(control="random masks")
    table = ind.indicators(front, controls, OBJECTIVES).set_index(["seed", "source", "split"])
    assert len(table) == 2 * 2 * 3
    for split in SPLITS:
        everything = np.concatenate([minimised(front, split), minimised(controls, split)])
        reference = [p for p in everything if not any(dominates(q, p) for q in everything)]
        for seed in (1, 2):
            F = minimised(front[front["seed"] == seed], split)
            row = table.loc[(seed, "search", split)]
            alone = np.array([not any(dominates(q, p) for q in F) for p in F])
            assert row["members"] == len(F)
            assert row["nondominated"] == pytest.approx(alone.mean())
            assert row["hypervolume"] == pytest.approx(HV(ref_point=np.ones(3))(F))
            shortfalls = [min(np.sqrt((np.maximum(a - z, 0) ** 2).sum()) for a in F) for z in reference]
            assert row["igd_plus"] == pytest.approx(np.mean(shortfalls))
            best = F[alone]
            nearest = [min(np.abs(p - q).sum() for j, q in enumerate(best) if j != i) for i, p in enumerate(best)]
            assert row["spacing"] == pytest.approx(np.std(nearest))
            assert row["spread"] == pytest.approx(np.sqrt(((best.max(0) - best.min(0)) ** 2).sum()))
            members = front[front["seed"] == seed]
            shift = members[f"ood_auroc_{split}"].mean() - members["ood_auroc_search"].mean()
            assert row["shift_ood_auroc"] == pytest.approx(shift)


def test_the_reference_front_itself_falls_short_of_nothing_and_an_even_front_has_no_spacing():
    line = np.linspace(0, 1, 6)
    front = pd.DataFrame(
        {"solution": list("abcdef"), "seed": 1, "error_search": line, "active_fraction_search": line[::-1]}
    )
    row = ind.indicators(front, None, OBJECTIVES[:2], ["search"]).iloc[0]
    assert row["igd_plus"] == 0
    assert row["spacing"] == pytest.approx(0)
    assert row["spread"] == pytest.approx(2**0.5)
    assert row["nondominated"] == 1


def test_units_do_not_matter():
    shares = points(1, 10, OBJECTIVES[:2])
    counts = objective("active_units", largest=512.0)
    other = shares.rename(columns=lambda c: c.replace("active_fraction", "active_units"))
    for split in SPLITS:
        other[f"active_units_{split}"] *= 512
    ours = ind.indicators(shares, None, OBJECTIVES[:2]).drop(columns="shift_active_fraction")
    theirs = ind.indicators(other, None, [OBJECTIVES[0], counts]).drop(columns="shift_active_units")
    pd.testing.assert_frame_equal(ours, theirs)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_one_member_one_seed_and_any_number_of_objectives(count):
    objectives = [*OBJECTIVES, objective("nll")][:count]
    row = ind.indicators(points(1, 1, objectives), None, objectives).iloc[0]
    assert (row["members"], row["nondominated"], row["spread"], row["igd_plus"]) == (1, 1, 0, 0)
    assert np.isnan(row["spacing"])
    summary = ind.over_seeds(ind.indicators(points(1, 5, objectives), None, objectives))
    assert summary[("hypervolume", "std")].isna().all()


def test_equal_members_do_not_dominate_each_other():
    front = pd.concat([points(1, 1)] * 3, ignore_index=True)
    row = ind.indicators(front, None, OBJECTIVES).iloc[0]
    assert row["nondominated"] == 1
    assert np.isnan(row["spacing"])  # one distinct point


def test_merged_is_what_no_seed_dominates():
    front = pd.concat([points(1, 15), points(2, 15)], ignore_index=True)
    for split in SPLITS:
        F = minimised(front, split)
        expected = [i for i, p in enumerate(F) if not any(dominates(q, p) for q in F)]
        assert ind.merged(front, OBJECTIVES, split).index.tolist() == expected


def test_sources_keep_baselines_last_so_that_colours_stay():
    front = points(1, 5)
    controls = pd.concat([points(2, 1).assign(control="a"), points(3, 4).assign(control="b", seed=1)])
    assert list(ind.sources(front, controls)) == ["search", "b", "a"]
    assert list(ind.sources(front, controls[:0])) == ["search"]
