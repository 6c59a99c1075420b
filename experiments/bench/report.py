"""What a run of the benchmark measured as a whole: a table to print, and a file to keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import TypeAdapter, ValidationError

from experiments.bench.rows import OURS, Row
from experiments.bench.timing import Spread, device_name, processor
from moprune.errors import UsageError
from moprune.files import write_text


@dataclass(frozen=True)
class Machine:
    """Where a run was made.

    Attributes:
        processor: its name.
        threads: that torch uses on the CPU.
        torch: its version.
        device: where candidates were scored.
        device_name: its name.
    """

    processor: str
    threads: int
    torch: str
    device: str
    device_name: str


def this_machine(device: torch.device) -> Machine:
    """Returns where a run on this device is made."""
    return Machine(processor(), torch.get_num_threads(), str(torch.__version__), str(device), device_name(device))


@dataclass(frozen=True)
class Report:
    """The rows of one run; the content of its file.

    Attributes:
        machine: where it was made.
        rounds: how often each way was measured.
        rows: what was measured.
        format: of the file.
    """

    machine: Machine
    rounds: int
    rows: tuple[Row, ...]
    format: Literal["moprune benchmark 1"] = "moprune benchmark 1"

    def save(self, path: Path) -> None:
        """Writes the report as JSON.

        Raises:
            MopruneError: the file cannot be written.
        """
        write_text(path, _REPORT.dump_json(self, indent=2).decode() + "\n")


_REPORT = TypeAdapter(Report)

FLOOR = (
    "of the floor: the time of the operations at the measured matrix-product peak, or of the bytes at the measured "
    "bandwidth if that is longer, over the time taken"
)
"""What the last column of the table says."""


def load(path: Path) -> Report:
    """Reads what :meth:`Report.save` wrote.

    Raises:
        UsageError: the file cannot be read, or is none of a benchmark.
    """
    try:
        return _REPORT.validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}; give a file that moprune bench --json wrote"
        ) from error
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "it"
        raise UsageError(
            f"{path} is no benchmark of this version ({where}: {error.errors()[0]['msg']}); make it again with moprune "
            "bench --json"
        ) from error


def table(report: Report, *, details: bool = False) -> str:
    """Returns a Markdown table of all rows, with what the ways are below it.

    Args:
        report: the run.
        details: also say the sizes and figures of each row.
    """
    machine = report.machine
    ways = list(dict.fromkeys(way for row in report.rows for way in row.ways))
    header = ["", *(f"{way}, 1/s" for way in ways), f"{OURS}, 1/s", *(f"over {way}" for way in ways), "of the floor"]
    lines = [
        f"{machine.device} ({machine.device_name}), torch {machine.torch}, CPU threads: {machine.threads}; median of "
        f"{report.rounds} rounds (range)",
        "",
        *_aligned([header, *(_cells(row, ways) for row in report.rows)]),
        "",
        *_hows(report.rows, ways),
        FLOOR,
        *(_agreement(row) for row in report.rows),
    ]
    if details:
        lines += [line for row in report.rows for line in ("", *_details(row))]
    return "\n".join(lines)


def _cells(row: Row, ways: Sequence[str]) -> list[str]:
    rates = [_number(row.ways[way].rate) if way in row.ways else "" for way in ways]
    ratios = [_range(row.ways[way].ratio) if way in row.ways else "" for way in ways]
    share = f"{row.floor.median:.1%} ({row.floor.least:.1%} to {row.floor.most:.1%})"
    return [f"{row.name} [{row.unit}]", *rates, _number(row.rate), *ratios, share]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]


def _hows(rows: Sequence[Row], ways: Sequence[str]) -> list[str]:
    """Returns what each way is; for which rows, where it is not the same thing for all."""
    lines = []
    for way in ways:
        said: dict[str, list[str]] = {}
        for row in rows:
            if way in row.ways:
                said.setdefault(row.ways[way].how, []).append(row.name)
        lines += [
            f"{way} ({', '.join(names)}): {how}" if len(said) > 1 else f"{way}: {how}" for how, names in said.items()
        ]
    return lines


def _agreement(row: Row) -> str:
    return f"{row.name}: largest difference of results {row.difference:.1e} (accepted up to {row.tolerance:.0e})"


def _details(row: Row) -> list[str]:
    """Returns sizes, limits and figures of a row."""
    work, most = row.work, row.limits
    rows = {
        "sizes": ", ".join(f"{name} {value}" for name, value in row.sizes.items()),
        "matrix-product peak": f"{most.peak / 1e9:.0f} GFLOP/s, bandwidth {most.bandwidth / 1e9:.1f} GB/s",
        "work of a unit": f"{work.operations / 1e9:.3g} GFLOP, {work.bytes / 1e6:.3g} MB",
        **{name: value if isinstance(value, str) else _number(value) for name, value in row.figures.items()},
    }
    width = max(map(len, rows))
    return [row.name, *(f"  {name:<{width}}  {value}" for name, value in rows.items())]


def _range(ratio: Spread) -> str:
    return f"{_number(ratio.median)} ({_number(ratio.least)} to {_number(ratio.most)})"


def _number(value: float) -> str:
    """Returns a number with two significant digits at least."""
    if abs(value) >= 10 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2g}"
