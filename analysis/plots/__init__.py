"""Pictures (matplotlib, colour-blind safe, units on every axis). Each function returns a figure; :func:`save` writes.

What a front looks like:

* :func:`front`: a front with its controls, one panel for each pair of objectives.
* :func:`front_3d`: in space, a fourth objective as colour.
* :func:`scatter_matrix`: every objective against every other, with histograms.
* :func:`parallel_coordinates`: one axis an objective, the better end up.

Whether to trust it:

* :func:`search_to_test`: where each member seemed to be and where it is.
* :func:`attainment`: what the seeds reach, at best, in the median and at worst.
* :func:`hypervolume_history`: how the front grew, beside the controls.
* :func:`operator_success`: how many new solutions were of use.

What matters to a member:

* :func:`unit_frequencies`: how often the search kept each unit, against chance and ancestry.
* :func:`frequency_effects`: the same against what keeping the unit does in random masks.
* :func:`class_importance`: units by classes.
* :func:`attribution_panels`: maps over images.
* :func:`faithfulness_curves`: deletion and insertion.
* :func:`layer_reverts`: layers a search changed, and what each one's change is worth.
* :func:`weight_reverts`: what is left as the largest, the smallest or any changes are taken back.
* :func:`unit_rates`: which units of a network members tune, how far and how fast.
* :func:`ensemble`: ensembles beside single members and controls.
* :func:`critical_difference`: algorithms ranked over data sets.
"""

from analysis.plots.attribution import (
    attribution_panels,
    class_importance,
    faithfulness_curves,
    frequency_effects,
    unit_frequencies,
)
from analysis.plots.critical import layer_reverts, weight_reverts
from analysis.plots.critical_difference import critical_difference
from analysis.plots.ensembles import ensemble
from analysis.plots.fronts import front, staircase, view
from analysis.plots.many import front_3d, parallel_coordinates, positions, scatter_matrix
from analysis.plots.style import COLOURS, axis_label, save, styled
from analysis.plots.trust import attainment, hypervolume_history, operator_success, outline, search_to_test
from analysis.plots.units import unit_rates

__all__ = [
    "COLOURS",
    "attainment",
    "attribution_panels",
    "axis_label",
    "class_importance",
    "critical_difference",
    "ensemble",
    "faithfulness_curves",
    "frequency_effects",
    "front",
    "front_3d",
    "hypervolume_history",
    "layer_reverts",
    "operator_success",
    "outline",
    "parallel_coordinates",
    "positions",
    "save",
    "scatter_matrix",
    "search_to_test",
    "staircase",
    "styled",
    "unit_frequencies",
    "unit_rates",
    "view",
    "weight_reverts",
]
