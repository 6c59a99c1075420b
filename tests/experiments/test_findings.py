"""What is said of a run, on results made up for it."""

from types import SimpleNamespace

from experiments.findings import findings


def result(tested, *, profile="sound", baselines=("unpruned",), images=1000):
    measures = [SimpleNamespace(name=name) for name in ("error", "active_fraction", "ood_auroc")]
    test = {who: {"error": e, "active_fraction": a, "ood_auroc": o} for who, (e, a, o) in tested.items()}
    seed = {"test": test, "hypervolume": {who: {"test": 1 - e} for who, (e, _, _) in tested.items()}}
    return SimpleNamespace(
        summary={"seeds": {"1": seed}, "images": {"test": images}, "test_opened": 1},
        measures=measures, baselines=set(baselines), optimistic=profile == "paper",
    )  # fmt: skip


def test_controls_are_grouped_by_what_the_images_can_show():
    tested = {"search": (0.10, 0.5, 0.9), "worse": (0.30, 0.4, 0.8), "near": (0.11, 0.6, 0.9), "unpruned": (0.02, 1, 1)}
    (choice, volumes, trust) = findings(result(tested))
    assert "keeps 50% of the units and errs on 10.0% of the 1000 test images" in choice
    assert "fewer errors than worse (30.0% with 40% of the units)" in choice
    assert "more errors than the unpruned head (2.0%)" in choice
    assert "no difference from near (11.0% with 60% of the units)" in choice
    assert "against 0.800 for worse, 0.900 for near and 1.000 for the unpruned head" in choice
    assert volumes == "Hypervolume on the test split: the front of the search 0.900, worse 0.700, near 0.890."
    assert "without the test split, which was opened once" in trust


def test_more_images_show_smaller_differences():
    tested = {"search": (0.10, 0.5, 0.9), "near": (0.11, 0.6, 0.9)}
    assert "no difference from near" in findings(result(tested, images=1000))[0]
    assert "fewer errors than near" in findings(result(tested, images=100_000))[0]


def test_selection_on_test_is_said_first_and_last():
    said = findings(result({"search": (0.1, 0.5, 0.9)}, profile="paper"))
    assert said[0].endswith("so these figures are optimistic.")
    assert "chosen on the test split itself" in said[-1]


def test_of_refined_weights_loss_cost_and_notes_are_told():
    names = ("nll", "error")
    test = {"search": {"nll": 0.2, "error": 0.10}, "start": {"nll": 0.9, "error": 0.30}}
    seed = {
        "test": test,
        "hypervolume": {"search": {"test": 0.98}, "start": {"test": 0.91}},
        "forward_images": {"members": 600, "search": 90_000, "start": 0, "gradient": 89_000},
    }
    told = SimpleNamespace(
        summary={"seeds": {"1": seed, "2": seed}, "images": {"test": 500}, "test_opened": 1, "items": "texts",
                 "notes": ["Mind this."]},
        measures=[SimpleNamespace(name=name) for name in names], baselines={"start"}, optimistic=False,
    )  # fmt: skip
    choice, _, _, cost, note = findings(told)
    assert "chosen member errs on 10.0% of the 500 test texts; that is fewer errors than the start (30.0%)" in choice
    assert "Its loss (NLL) is 0.200, against 0.900 for the start." in choice
    assert cost.endswith("members 600, search 90,000, gradient 89,000.")
    assert note == "Mind this."
