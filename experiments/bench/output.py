"""What a benchmark leaves behind: its table, a file, a picture, and a comparison with an earlier run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer
from matplotlib.figure import Figure

from analysis.plots import save
from experiments.bench import baseline as baselines
from experiments.bench import pictures
from experiments.bench.report import Report, load, table


@dataclass(frozen=True)
class Output:
    """Where the results go; refuses what cannot work before anything is measured.

    Attributes:
        json_file: for the figures; None for none.
        picture: for the picture; None for none.
        baseline: a file of an earlier run to compare with; None for none.
        tolerance: share by which a ratio may fall.

    Raises:
        UsageError: the picture's suffix, the tolerance or the baseline cannot be used.
    """

    json_file: Path | None
    picture: Path | None
    baseline: Path | None
    tolerance: float

    def __post_init__(self) -> None:
        baselines.check_tolerance(self.tolerance)
        if self.picture is not None:
            pictures.check_suffix(self.picture)
        if self.baseline is not None:
            load(self.baseline)

    def finish(self, report: Report, *, details: bool, draw: Callable[[Report], Figure] | None = None) -> None:
        """Prints and writes; exits with status 1 where a ratio has fallen.

        Args:
            report: the run.
            details: print sizes and figures of each row, too.
            draw: the picture; by default the ratios as bars.
        """
        typer.echo(table(report, details=details))
        if self.json_file is not None:
            report.save(self.json_file)
        if self.picture is not None:
            save((draw or pictures.bars)(report), self.picture)
        if self.baseline is not None:
            found = baselines.compare(report, load(self.baseline), self.tolerance)
            typer.echo("\n" + "\n".join(map(str, found)))
            if any(each.slower for each in found):
                raise typer.Exit(1)
