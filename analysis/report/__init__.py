"""A finished run as one HTML page that opens offline.

* :func:`gather`: everything the page shows, as plain numbers and words (:mod:`analysis.report.content`).
* :func:`render`: the page (:mod:`analysis.report.page`).
"""

from analysis.report.content import Content, gather
from analysis.report.page import render
from analysis.report.sources import FinishedFiles

__all__ = ["Content", "FinishedFiles", "gather", "render"]
