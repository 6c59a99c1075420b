"""What an experiment file leaves out, by its profile: as published, or as a user should do it."""

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Values = Mapping[str, Any]

_PAPER: Values = MappingProxyType(
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
_SOUND: Values = MappingProxyType(
    {
        "pruning": {"members": 8, "mode": "short", "folds": 4, "refit": True, "training": {"epochs": 30}},
        "objectives": ["brier", "active_fraction", {"name": "ood_auroc", "detector": "knn_features"}],
        "reported": ["error"],
        "search": {"algorithm": "nsga2", "pop_size": 40, "n_eval": 400},
    }
)

PROFILES: Mapping[str, Values] = MappingProxyType({"sound": _SOUND, "paper": _PAPER})


def completed(given: dict[str, Any]) -> dict[str, Any]:
    """Returns an experiment's values with what its profile says of the keys it leaves out.

    A group of keys is completed key by key; a list is taken as it is given. An unknown profile changes nothing: whoever
    checks the values says so.
    """
    profile = PROFILES.get(str(given.get("profile", "sound")))
    return given if profile is None else _under(_fitting(profile, given), given)


def _fitting(profile: Values, given: dict[str, Any]) -> Values:
    """Returns the profile for what is given: plain heads for connections, no objective reported twice."""
    fitted = dict(profile)
    pruning = given.get("pruning")
    if isinstance(pruning, dict) and _plain(pruning):
        fitted["pruning"] = {**profile["pruning"], "members": 1}
    objectives = given.get("objectives", profile["objectives"])
    if isinstance(objectives, list | tuple):
        names = [each.get("name") if isinstance(each, dict) else each for each in objectives]
        fitted["reported"] = [each for each in profile["reported"] if each not in names]
    search = given.get("search")
    if isinstance(search, dict) and search.get("algorithm") is not None:
        fitted["search"] = {name: value for name, value in profile["search"].items() if name == "n_eval"}
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
