"""What an experiment file leaves out, by its task and profile: as published, or as a user should do it."""

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Values = Mapping[str, Any]

_PRUNING_PAPER: Values = MappingProxyType(
    {
        "pruning": {
            "members": 1,
            "folds": 1,
            "refit": False,
            # EvoPruneDeepTL, section "Experimental framework".
            "training": {
                "epochs": 600,
                "learning_rate": 1e-3,
                "decay": 1e-6,
                "weight_decay": 0.0,
                "patience": 10,
                "restore_best": True,
            },
        },
        "objectives": ["error", "active_fraction", {"name": "ood_auroc", "detector": "odin"}],
        "reported": [],
        "budget": 1.0,
        "search": {"algorithm": "nsga2_published", "pop_size": 30, "n_eval": 200},
    }
)
_PRUNING: Values = MappingProxyType(
    {
        "pruning": {"members": 8, "mode": "short", "folds": 4, "refit": True, "training": {"epochs": 30}},
        "objectives": ["brier", "active_fraction", {"name": "ood_auroc", "detector": "knn_features"}],
        "reported": ["error"],
        "search": {"algorithm": "nsga2", "pop_size": 40, "n_eval": 400},
    }
)
# Of all that was tried on a real shift, shares of fine-tuned members in each stage did best: see docs/refinement.md.
_REFINEMENT: Values = MappingProxyType(
    {
        "refinement": {
            "genome": "mixing",
            "per": "stage",
            "low": -0.5,
            "high": 1.5,
            "members": {"count": 8, "epochs": 3},
        },
        "objectives": ["nll"],
        "reported": ["error", "worst_class_error"],
        "search": {"algorithm": "sa_shade_faithful", "pop_size": 10, "n_eval": 60},
        "controls": ["start", "best_member", "uniform_soup", "greedy_soup", "ensemble", "gradient", "random"],
    }
)
# Stage D of the released code, see problems.refinement: ten fine-tunings of one checkpoint at small rates; convolutions
# and normalisation evolve without bounds, by the loss on subsets drawn anew, with statistics re-estimated.
_SA_SHADE: Values = MappingProxyType(
    {
        "refinement": {
            "publication": "sa_shade",
            "genome": "weights",
            "parameters": ["convolutions", "norms"],
            "members": {"count": 10, "epochs": 3, "base_rate": 1e-3},
            "reestimate": True,
            "images_a_subset": 1024,
        },
        "objectives": ["nll"],
        "reported": ["error"],
        "search": {"algorithm": "sa_shade_faithful", "pop_size": 10, "n_eval": 200},
        "controls": ["start", "best_member", "uniform_soup", "ensemble"],
    }
)
# The official code's defaults: one layer's weights in a box of 0.01 around them, ten agents for 15 iterations.
_METAHEURISTICS: Values = MappingProxyType(
    {
        "refinement": {"publication": "metaheuristics", "genome": "weights", "parameters": ["head"], "delta": 0.01},
        "objectives": ["error"],
        "reported": ["macro_error"],
        "search": {"algorithm": "pso", "pop_size": 10, "n_eval": 160},
        "controls": ["start", "random"],
    }
)
# Units tuned to a grade and at a rate of their own; first on half of the images for a third of the epochs.
_SELECTION: Values = MappingProxyType(
    {
        "selection": {
            "genome": "graded",
            "granularity": "stage",
            "seeds": 3,
            "rungs": [{"epochs": 0.34, "images": 0.5}],
        },
        "objectives": ["macro_error", "trainable_parameters"],
        "reported": ["error", "trainable_share"],
        "budget": 1.0,
        # Most of the 400 are on the rung, at a sixth of a training: about what 80 evaluations by three seeds cost.
        "search": {"algorithm": "nsga2_promoting", "pop_size": 20, "n_eval": 400},
        "controls": ["linear_probe", "full", "last_k", "front_soup", "front_ensemble", "random"],
    }
)
# Davila et al. 2025, IEEE Access 13, and the code published with it: ten generations of ten members, 140 evaluations.
_BIOTUNE: Values = MappingProxyType(
    {
        "selection": {
            "genome": "importances",
            "granularity": "stage",
            "head": "new",
            "seeds": 3,
            "folds": 2,
            "recipe": {
                "optimiser": "adam",
                "learning_rate": 1e-3,
                "epochs": 30,
                "batch_size": 96,
                "horizon": 100,
                "patience": 3,
                "statistics": "all",
            },
        },
        "objectives": ["macro_error"],
        "reported": ["error", "trainable_share"],
        "budget": 1.0,
        "search": {"algorithm": "biotune_faithful", "pop_size": 10, "n_eval": 140},
        "controls": ["linear_probe", "full", "random"],
    }
)

PROFILES: Mapping[str, Mapping[str, Values]] = MappingProxyType(
    {
        "pruning": MappingProxyType({"sound": _PRUNING, "paper": _PRUNING_PAPER}),
        "refinement": MappingProxyType({"sound": _REFINEMENT, "paper": _SA_SHADE}),
        "selection": MappingProxyType({"sound": _SELECTION, "paper": _BIOTUNE}),
    }
)
"""By task and profile, what is left out of a file."""


def completed(given: dict[str, Any]) -> dict[str, Any]:
    """Returns an experiment's values with what its profile says of the keys it leaves out.

    A group of keys is completed key by key; a list is taken as it is given. An unknown task or profile changes nothing:
    whoever checks the values says so.
    """
    task = str(given.get("task", "pruning"))
    profile = PROFILES.get(task, {}).get(str(given.get("profile", "sound")))
    if profile is None:
        return given
    fitting = {"pruning": _pruned, "refinement": _refined, "selection": _selected}[task]
    return _under(_searched(fitting(profile, given), given), given)


def _pruned(profile: Values, given: dict[str, Any]) -> Values:
    """Returns the profile for what is given: plain heads for connections."""
    pruning = given.get("pruning")
    if isinstance(pruning, dict) and _plain(pruning):
        return {**profile, "pruning": {**profile["pruning"], "members": 1}}
    return profile


def _refined(profile: Values, given: dict[str, Any]) -> Values:
    """Returns the profile of the publication, without what it says of other variables than those given."""
    refinement = given.get("refinement")
    if not isinstance(refinement, dict):
        return profile
    if profile is _SA_SHADE and refinement.get("publication") == "metaheuristics":
        profile = _METAHEURISTICS
    said = profile["refinement"]
    if refinement.get("genome", said["genome"]) == said["genome"]:
        return profile
    kept = {name: value for name, value in said.items() if name in ("members", "publication")}
    return {**profile, "refinement": kept}


def _selected(profile: Values, given: dict[str, Any]) -> Values:
    """Returns the profile for what is given: rungs and folds for the algorithm that uses them, corruptions if any."""
    data, search = given.get("data"), given.get("search")
    fitted = dict(profile)
    corruptions = data.get("corruptions") if isinstance(data, dict) else None
    if "rungs" in profile["selection"] and isinstance(corruptions, dict) and corruptions.get("search"):
        fitted["objectives"] = [*profile["objectives"], "corruption_error"]
    if isinstance(search, dict) and search.get("algorithm", said := profile["search"]["algorithm"]) != said:
        fitted["selection"] = {
            name: value for name, value in profile["selection"].items() if name not in ("rungs", "folds")
        }
    return fitted


def _searched(profile: Values, given: dict[str, Any]) -> Values:
    """Returns the profile without what it reports of an objective, or says of another algorithm, than those given."""
    fitted = dict(profile)
    objectives = given.get("objectives", profile["objectives"])
    if isinstance(objectives, list | tuple):
        names = [each.get("name") if isinstance(each, dict) else each for each in objectives]
        fitted["reported"] = [each for each in profile["reported"] if each not in names]
    search = given.get("search")
    if isinstance(search, dict) and search.get("algorithm") is not None:
        # What pruning's algorithms need for a population they say themselves; agents of refinement are as many for all.
        own = ("algorithm", "pop_size") if "pruning" in profile else ("algorithm",)
        fitted["search"] = {name: value for name, value in profile["search"].items() if name not in own}
    return fitted


def _plain(pruning: dict[str, Any]) -> bool:
    """Whether what is given goes with plain heads alone: connections, and start weights that a plain head left."""
    return str(pruning.get("encoding", "")).startswith("edges") or pruning.get("mode") in ("warm", "one_shot")


def _under(defaults: Values, given: dict[str, Any]) -> dict[str, Any]:
    merged = dict(given)
    for name, value in defaults.items():
        if name not in merged or merged[name] is None:
            merged[name] = copy.deepcopy(value)
        elif isinstance(value, dict) and isinstance(merged[name], dict):
            merged[name] = _under(value, merged[name])
    return merged
