"""Pictures (matplotlib, colour-blind safe, units on every axis). Each function returns a figure; :func:`save` writes it.

* :func:`front`: a front with its controls, one panel for each pair of objectives.
"""

from analysis.plots.fronts import front
from analysis.plots.style import COLOURS, axis_label, save, styled

__all__ = ["COLOURS", "axis_label", "front", "save", "styled"]
