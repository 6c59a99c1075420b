"""How sources are told apart."""

from analysis.plots.style import dashes, look


def test_a_dozen_sources_are_told_apart_by_marker_and_by_line():
    points = {tuple(look(place).values()) for place in range(14)}
    lines = {(look(place)["color"], dashes(place)) for place in range(14)}
    assert len(points) == len(lines) == 14
