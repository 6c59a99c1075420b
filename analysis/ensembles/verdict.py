"""What a table of ensembles says, in plain sentences: also that they do not help, where they do not."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.ensembles.comparison import RANDOM, SINGLE, UNPRUNED_ENSEMBLE, choose_method
from analysis.statistics import holm, pairs_needed, signed_rank

_LEVEL = 0.05
_CALLED = {SINGLE: "the best single member", UNPRUNED_ENSEMBLE: "unpruned heads"}


@dataclass(frozen=True)
class Rival:
    """What the chosen ensemble has to beat, on the test split.

    Attributes:
        name: the row of the table.
        members: its votes, the mean over seeds.
        error: its error, the mean over seeds.
        difference: the chosen ensemble's error less this one's, the mean over seeds; negative: the ensemble is better.
        p: of Wilcoxon's signed-rank test over seeds, two-sided, Holm-corrected over the rivals; None with fewer seeds
            than it takes to reach 0.05.
    """

    name: str
    members: float
    error: float
    difference: float
    p: float | None

    @property
    def beaten(self) -> bool | None:
        """Whether the chosen ensemble errs less, by the test; None where no test can say."""
        return None if self.p is None else self.p <= _LEVEL and self.difference < 0


def rivals(table: pd.DataFrame, method: str) -> list[Rival]:
    """Returns the best single member and the controls of the same size beside one method, paired by seed.

    Args:
        table: of :func:`analysis.ensembles.compare_ensembles`, of one or more seeds.
        method: the name of an ensemble in it.
    """
    errors = table.pivot(index="seed", columns="ensemble", values="error_test")
    votes = table.groupby("ensemble")["members"].mean()
    names = [name for name in (SINGLE, UNPRUNED_ENSEMBLE, RANDOM.format(method)) if name in errors]
    differences = [(errors[method] - errors[name]).to_numpy(float) for name in names]
    enough = len(errors) >= pairs_needed(len(names))
    p = holm([signed_rank(each) for each in differences]).tolist() if enough else [None] * len(names)
    return [
        Rival(name, float(votes[name]), float(errors[name].mean()), float(difference.mean()), each)
        for name, difference, each in zip(names, differences, p, strict=True)
    ]


def findings(table: pd.DataFrame, images: int) -> list[str]:
    """Returns a few plain sentences on the ensemble that is best on ``select`` among those of the size asked for.

    Args:
        table: of :func:`analysis.ensembles.compare_ensembles`, of one or more seeds.
        images: images of the test split.
    """
    method = choose_method(table)
    chosen = table[table["ensemble"] == method]
    seeds, votes = len(chosen), chosen["members"].mean()
    over = f", mean over {seeds} seeds" if seeds > 1 else ""
    found = rivals(table, method)
    against = ", ".join(
        f"{_counted(each)} on {each.error:.2%}" + ("" if each.p is None else f" (p = {each.p:.2g})") for each in found
    )
    sentences = [
        f"The ensemble chosen on select is {method}: {votes:.3g} votes of front members err on "
        f"{chosen['error_test'].mean():.2%} of the {images} test images{over}; {against}.",
        _verdict(found, seeds),
    ]
    if "ood_auroc_test" in table:
        areas = table.groupby("ensemble")["ood_auroc_test"].mean()
        compared = ", ".join(f"{areas[each.name]:.3f} for {_counted(each)}" for each in found)
        sentences.append(f"Its OOD AUROC is {areas[method]:.3f}, against {compared} (not tested).")
    return sentences


def _verdict(found: Sequence[Rival], seeds: int) -> str:
    if any(each.beaten is None for each in found):
        needed = pairs_needed(len(found))
        counted = "One seed is" if seeds == 1 else f"{seeds} seeds are"
        return f"{counted} too few to say whether it helps: the test needs at least {needed}."
    won = [each for each in found if each.beaten]
    lost = [each for each in found if each.p is not None and each.p <= _LEVEL and each.difference > 0]
    even = [each for each in found if each not in won and each not in lost]
    parts = [
        f"{verb} {_listed(group)}"
        for verb, group in (
            ("errs less than", won),
            ("errs more than", lost),
            ("shows no difference from", even),
        )
        if group
    ]
    controls = [each for each in found if each.name != SINGLE]
    if not any(each.beaten for each in found):
        meaning = "the ensemble is not shown to help"
    elif won and SINGLE in {each.name for each in won} and controls and not any(each.beaten for each in controls):
        meaning = "several heads help; that the search found them is not shown to"
    elif all(each.beaten for each in found):
        meaning = "the ensemble helps, and so does the search for its members"
    else:
        meaning = "it helps against some only"
    return f"It {_joined(parts)}: {meaning} (Wilcoxon's signed-rank test over {seeds} seeds, Holm, level {_LEVEL})."


def _counted(rival: Rival) -> str:
    called = _CALLED.get(rival.name, "random masks chosen the same way")
    return called if rival.name == SINGLE else f"{rival.members:.3g} {called}"


def _listed(group: Sequence[Rival]) -> str:
    return _joined([_counted(each) for each in group])


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table's means and sample standard deviations over seeds, in its order, a row an ensemble.

    Columns are ``kind``, ``vote``, and for each number ``<column>`` and ``<column>_sd`` (missing with one seed).
    """
    numbers = [name for name in table.columns if name not in ("seed", "ensemble", "kind", "vote", "solutions")]
    groups = table.groupby("ensemble", sort=False)
    spread = groups[numbers].std(ddof=1).add_suffix("_sd")
    return pd.concat([groups[["kind", "vote"]].first(), groups[numbers].mean(), spread], axis=1)
