"""What a run found, in a few plain sentences: the chosen member against the controls, on the test split."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.fronts import OPTIMISTIC, standard_error
from experiments.result import Result


def findings(result: Result) -> list[str]:
    """Returns the sentences: what is chosen and reached, the fronts, and how far that can be trusted."""
    summary = result.summary
    names = [o.name for o in result.measures]
    seeds = list(summary["seeds"].values())
    sentences = [f"Mind that {OPTIMISTIC}."] if result.optimistic else []
    items = summary.get("items", "images")
    if "error" in names:
        sentences.append(_choice_sentence(seeds, names, summary["images"]["test"], items, result.baselines))
    fronts = [name for name in seeds[0]["hypervolume"] if name not in result.baselines]
    volumes = [float(np.mean([seed["hypervolume"][name]["test"] for seed in seeds])) for name in fronts]
    compared = ", ".join(f"{_front_of(name)} {v:.3f}" for name, v in zip(fronts, volumes, strict=True))
    sentences.append(f"Hypervolume on the test split: {compared}.")
    opened = _times(summary["test_opened"])
    where = "on the test split itself" if result.optimistic else f"without the test split, which was opened {opened}"
    sentences.append(f"Members were found and chosen {where}. {_seeds_note(len(seeds))}")
    if "forward_images" in seeds[0]:
        sentences.append(_cost_sentence([seed["forward_images"] for seed in seeds], items))
    return [*sentences, *summary.get("notes", [])]


def _choice_sentence(
    seeds: list[dict[str, Any]], names: Sequence[str], images: int, items: str, baselines: set[str]
) -> str:
    def mean(who: str, objective: str) -> float:
        return float(np.mean([seed["test"][who][objective] for seed in seeds]))

    ours = mean("search", "error")
    size = next((name for name in _SIZES if name in names), None)
    kept = f"{_SIZES[size][0]} {_size(mean('search', size), size)} and " if size else ""
    text = f"The chosen member {kept}errs on {ours:.1%} of the {images} test {items}"
    groups: dict[str, list[str]] = {verdict: [] for verdict in _VERDICTS}
    controls = [name for name in seeds[0]["test"] if name != "search"]
    for who in controls:
        theirs = mean(who, "error")
        alike = size == "active_fraction" and who in baselines  # unpruned, or of another kind
        kept = f" with {_size(mean(who, size), size)}" if size and not alike else ""
        groups[_verdict(ours, theirs, images)].append(f"{_called(who)} ({theirs:.1%}{kept})")
    for verdict, told in groups.items():
        if told:
            text += f"; {verdict.format(items)} {_listed(told)}"
    if "ood_auroc" in names:
        text += f". Its OOD AUROC on pools the search never saw is {mean('search', 'ood_auroc'):.3f}"
        text += _against({_called(who): mean(who, "ood_auroc") for who in controls})
    for name in () if size == "active_fraction" else [each for each in names if each in _TOLD]:
        text += f". Its {_TOLD[name]} is {mean('search', name):.3f}"
        text += _against({_called(who): mean(who, name) for who in controls})
    return text + "."


# What a member is made of: what it does with it, and what it is a share of.
_SIZES: Mapping[str, tuple[str, str]] = {
    "active_fraction": ("keeps", "units"),
    "trainable_share": ("tunes", "parameters"),
}


def _size(share: float, name: str) -> str:
    return f"{share:.1%} of the {_SIZES[name][1]}" if 0 < share < 0.1 else f"{share:.0%} of the {_SIZES[name][1]}"


# Beside the error and what the mean over images hides.
_TOLD: Mapping[str, str] = {
    "nll": "loss (NLL)",
    "brier": "Brier score",
    "ece": "calibration error",
    "macro_error": "mean error of the classes",
    "worst_class_error": "error of the worst class",
    "corruption_error": "error on corrupted images",
}


def _cost_sentence(spent: Sequence[Mapping[str, int]], items: str) -> str:
    """Returns what search and controls cost, each that cost anything."""
    means = {who: float(np.mean([each[who] for each in spent])) for who in spent[0]}
    told = ", ".join(f"{who} {count:,.0f}" for who, count in means.items() if count)
    return f"Forward passes of single {items}, a training step counted as three: {told}."


def _against(values: Mapping[str, float]) -> str:
    """Returns what controls reach; of many the range, which a table tells one by one."""
    if len(values) > 3:
        return f", against {min(values.values()):.3f} to {max(values.values()):.3f} for the controls"
    told = _listed([f"{value:.3f} for {name}" for name, value in values.items()])
    return f", against {told}" if told else ""


_VERDICTS = (
    "that is fewer errors than",
    "that is more errors than",
    "so many {} show no difference from",
)


def _verdict(ours: float, theirs: float, images: int) -> str:
    """Returns whether the errors differ by more than two standard errors of their difference."""
    if abs(ours - theirs) <= 2 * 2**0.5 * standard_error(ours, images):
        return _VERDICTS[2]
    return _VERDICTS[0] if ours < theirs else _VERDICTS[1]


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _called(name: str) -> str:
    return {
        "unpruned": "the unpruned head",
        "random masks": "the best of as many random masks",
        "start": "the start",
        "best member": "the best member",
        "uniform soup": "the uniform soup",
        "greedy soup": "the greedy soup",
        "learned soup": "the learned soup",
        "ensemble": "the ensemble of members",
        "linear probe": "the linear probe",
        "full": "full fine-tuning",
        "last k": "the last units",
        "front soup": "the mean of the front's weights",
        "front ensemble": "the front's ensemble",
    }.get(name, name)


def _front_of(name: str) -> str:
    return {"search": "the front of the search", "random masks": "that of as many random masks"}.get(name, name)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times (an earlier attempt was interrupted after opening it)"


def _seeds_note(count: int) -> str:
    if count >= 5:
        return f"Figures are means over {count} seeds."
    few = "One seed is" if count == 1 else f"{count} seeds are"
    return f"{few} too few to call a difference: use --seeds with ten."
