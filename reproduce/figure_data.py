"""What a figure or a table shows, before it is drawn: rows of numbers and the records that they come from.

The functions that return it stand with their paper, and every paper lists them in its ``FIGURES``. They are tested
against golden data. The cells of the chapters draw them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from reproduce.records import Records, RunRecord


class FigureData(NamedTuple):
    """The numbers of a figure or table.

    Attributes
    ----------
    rows : list of dict
        Of a figure one row a line (see `line`) or a picture (``title``, ``picture``); of a table its rows, as text.
    records : list of RunRecord
        Where the numbers come from.
    """

    rows: list[dict[str, Any]]
    records: list[RunRecord]


def line(series: str, name: str, points: Iterable[tuple[float, float]], **more: object) -> dict[str, Any]:
    """One line of a figure.

    Parameters
    ----------
    series : str
        What it is, for `plot.style`.
    name : str
        What the legend calls it.
    points : iterable of (x, y)
    **more : object
        Further values of the row, such as the panel that it belongs to.
    """
    xs, ys = zip(*points, strict=True)
    return {"series": series, "name": name, "x": list(xs), "y": list(ys)} | more


@dataclass(frozen=True)
class Entry:
    """One figure or table of the book: what gives its data, from which study, and the command that makes its records.

    Attributes
    ----------
    title : str
    function : callable
        ``(records) -> FigureData``.
    study : str
    made_by : str
        The command, if it is not ``study STUDY``.
    preset : str
        Of the records that the book draws.
    """

    title: str
    function: Callable[[Records], FigureData]
    study: str
    made_by: str = ""
    preset: str = "laptop"

    @property
    def command(self) -> str:
        """What makes its records."""
        return f"python -m reproduce {self.made_by or f'study {self.study}'}"
