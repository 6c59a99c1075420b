import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from analysis.ensembles.verdict import findings, means, rivals


def table(seeds, single, unpruned, masks):
    """Errors of an ensemble at 0.10 and of its rivals, with a little of their own each seed."""
    rows = []
    for seed in range(seeds):
        for i, (name, kind, error) in enumerate(
            [("greedy", "ensemble", 0.1), ("best single member", "single", single),
             ("unpruned heads", "control", unpruned), ("random masks: greedy", "control", masks)]
        ):  # fmt: skip
            jitter = 0.001 * np.sin(7.0 * seed + 3.0 * i)
            rows.append({
                "seed": seed, "ensemble": name, "kind": kind, "vote": "soft", "members": 1 if kind == "single" else 5,
                "solutions": "x", "error_select": 0.1, "nll_select": 0.1, "error_test": error + jitter,
                "ood_auroc_test": 0.5,
            })  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ((0.2, 0.2, 0.2), "the ensemble helps, and so does the search"),
        ((0.2, 0.1, 0.1), "that the search found them is not shown to"),
        ((0.1, 0.1, 0.1), "is not shown to help"),
        ((0.05, 0.05, 0.05), "errs more than the best single member, 5 unpruned heads and 5 random masks"),
        ((0.2, 0.05, 0.2), "against some only"),
    ],
)
def test_the_verdict_follows_the_tests(errors, said):
    assert said in findings(table(10, *errors), 100)[1]


def test_few_seeds_say_so():
    assert findings(table(3, 0.2, 0.2, 0.2), 100)[1] == (
        "3 seeds are too few to say whether it helps: the test needs at least 7."
    )
    assert "One seed is" in findings(table(1, 0.2, 0.2, 0.2), 100)[1]


def test_p_is_scipys_with_holm_by_hand():
    data = table(8, 0.1003, 0.1001, 0.2)
    errors = data.pivot(index="seed", columns="ensemble", values="error_test")
    found = rivals(data, "greedy")
    raw = [wilcoxon(errors["greedy"] - errors[each.name]).pvalue for each in found]
    order = np.argsort(raw)
    adjusted, running = {}, 0.0
    for step, i in enumerate(order):
        running = max(running, min(1.0, raw[i] * (3 - step)))
        adjusted[i] = running
    assert [each.p for each in found] == pytest.approx([adjusted[i] for i in range(3)])


def test_means_and_deviations():
    found = means(table(4, 0.2, 0.2, 0.2))
    assert found.loc["greedy", "error_test"] == pytest.approx(0.1, abs=1e-3)
    assert found.loc["greedy", "error_test_sd"] > 0
    assert means(table(1, 0.2, 0.2, 0.2))["error_test_sd"].isna().all()
