"""Ensembles of front members: how they vote, which members to take, whether it helps, and one module to ship.

* :mod:`~analysis.ensembles.votes`: from the members' logits to one prediction and one OOD score.
* :mod:`~analysis.ensembles.selection`: which members, from what they predict on the ``select`` split alone.
* :mod:`~analysis.ensembles.controls`: as many unpruned heads and as many random masks.
* :mod:`~analysis.ensembles.comparison`: all of these in one table, :func:`compare_ensembles`.
* :mod:`~analysis.ensembles.verdict`: what the table says, with tests over seeds.
* :mod:`~analysis.ensembles.export`: the ensemble as one network, the frozen backbone run once; uniform soups.
"""

from analysis.ensembles.comparison import Controls, Ensemble, choose_method, compare_ensembles, ensembles_of
from analysis.ensembles.controls import drawn_masks, make_controls, unpruned_heads
from analysis.ensembles.export import HeadVote, ensemble_network, load_ensemble, save_ensemble, uniform_soup
from analysis.ensembles.selection import METHODS, best_k, diverse, greedy, windows
from analysis.ensembles.votes import SoftVote, ensemble_ood_scores, hard_vote, soft_vote, threshold_vote_auroc

__all__ = [
    "METHODS",
    "Controls",
    "Ensemble",
    "HeadVote",
    "SoftVote",
    "best_k",
    "choose_method",
    "compare_ensembles",
    "diverse",
    "drawn_masks",
    "ensemble_network",
    "ensemble_ood_scores",
    "ensembles_of",
    "greedy",
    "hard_vote",
    "load_ensemble",
    "make_controls",
    "save_ensemble",
    "soft_vote",
    "threshold_vote_auroc",
    "uniform_soup",
    "unpruned_heads",
    "windows",
]
