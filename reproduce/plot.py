"""How the chapters draw: one colour and marker for a method in every figure, and a line that says where data come from.

A chapter's cell takes `figure_data.FigureData` from a paper and draws it with matplotlib; here is only what all cells
share.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import figure as matplotlib_figure
from matplotlib.axes import Axes

from reproduce.figure_data import FigureData
from reproduce.records import RunRecord

# Colour and marker of every method; distinguishable without colour (Okabe & Ito 2008).
STYLE = {
    "jpeg": ("#E69F00", "s"),
    "jpeg2000": ("#56B4E9", "^"),
    "jpeg2000-no-transform": ("#56B4E9", "v"),
    "webp": ("#009E73", "D"),
    "avif": ("#0072B2", "P"),
    "jpegxl": ("#D55E00", "X"),
    # Networks that are a picture
    "coin": ("#000000", "o"),
    "file": ("#CC79A7", "*"),
    "nonzeros": ("#0072B2", "P"),
    "magnitude": ("#009E73", "v"),
    "dense": ("#000000", "o"),
    "struempler2021": ("#888888", "<"),
    "mscn": ("#888888", ">"),
    "recombiner": ("#888888", "h"),
    # Constraints on an encoder
    "l1": ("#E69F00", "s"),
    "bilevel_l11": ("#0072B2", "P"),
    "l1inf": ("#D55E00", "^"),
    "l21": ("#009E73", "v"),
    "bilevel_l1inf": ("#CC79A7", "D"),
    # Trainings of CAE-ADMM
    "pruned": ("#0072B2", "o"),
    "estimated": ("#D55E00", "s"),
    "unpruned": ("#000000", "D"),
    "released": ("#CC79A7", "X"),
    "16 channels": ("#777777", "P"),
}
PSNR, SSIM, MS_SSIM, BPP = "PSNR in dB", "SSIM", "MS-SSIM", "bits per pixel of the file"
LABELS = {"psnr": PSNR, "ssim": SSIM, "ms_ssim": MS_SSIM}


def style(series: str, **more: object) -> dict[str, Any]:
    """Arguments of `Axes.plot` for a method (grey if it has no style); ``more`` adds to them or replaces them."""
    colour, marker = STYLE.get(series, ("#777777", "o"))
    return {"color": colour, "marker": marker, "ms": 9 if marker == "*" else 5, "lw": 1.5} | more


def printed(colour: str = "#000000", marker: str = "o", **more: object) -> dict[str, Any]:
    """Arguments of `Axes.plot` for points that a paper prints: hollow, without a line."""
    return {"color": colour, "marker": marker, "mfc": "none", "ms": 9, "ls": "none"} | more


class Figure(matplotlib_figure.Figure):
    """A matplotlib figure that a notebook shows without pyplot, and so without any global state."""

    def png(self, *, transparent: bool = False) -> bytes:
        """Return the figure as a PNG file, on white or on whatever it is laid on."""
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=150, bbox_inches="tight", transparent=transparent)
        return file.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png(transparent=True)  # the page has the paper: white, or light grey in dark mode


def panels(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (7.2, 4.6), **share: Any
) -> tuple[Figure, Any]:
    """Return a figure and the array of its axes (of one panel: the axes), with a light grid and two spines."""
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    found = figure.subplots(rows, columns, **share)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#d9d9d9", lw=0.6)
        axes.set_axisbelow(True)
    return figure, found


def lines(axes: Axes, data: FigureData, **more: object) -> None:
    """Draw every row of ``data`` in the style of its series."""
    for row in data.rows:
        axes.plot(row["x"], row["y"], label=row["name"], **style(row["series"], **more))


def zoom(axes: Axes, right: float, low: float | None = None) -> None:
    """Cut a figure at ``right``, with all that lies left of it in view; ``low`` is the lowest value that matters."""
    found = [np.asarray(line.get_xydata()) for line in axes.lines]
    high = max(np.interp(right, *of.T) for of in found)
    low = min(of[:, 1].min() for of in found) if low is None else low
    axes.set(xlim=(0, right), ylim=(low - 0.05 * (high - low), high + 0.03 * (high - low)))


def name_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], apart: float = 0.09) -> None:
    """Write names at the right border, beside the ends of lines; set the limits of the axes first.

    ``ends`` are (y, name, colour). Names are moved up until they are ``apart``, a share of the height of the axes.
    """
    low, high = axes.get_ylim()
    last = -np.inf
    for y, name, colour in sorted(ends):
        last = max(y, last + apart * (high - low))
        axes.annotate(
            name, (1, last), (4, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points", color=colour,
            va="center", annotation_clip=False,
        )  # fmt: skip


def pictures(
    shown: Mapping[str, np.ndarray] | FigureData,
    *,
    columns: int = 3,
    crop: tuple[int, int, int, int] | None = None,
    font: float = 10,
) -> Figure:
    """Pictures side by side, shown pixel by pixel; ``crop`` is (top, left, height, width), ``font`` in points."""
    if isinstance(shown, FigureData):
        shown = {row["title"]: row["picture"] for row in shown.rows}
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.4 * rows), layout="constrained")
    for axes, (title, picture) in zip(figure.subplots(rows, columns, squeeze=False).flat, shown.items(), strict=False):
        if crop is not None:
            top, left, height, width = crop
            picture = picture[top : top + height, left : left + width]
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(title, fontsize=font)
    for axes in figure.axes:
        axes.axis("off")
    return figure


# Where the data come from ---------------------------------------------------------------------------------------------


def provenance(records: list[RunRecord], of: str = "") -> str:
    """One line under a figure: preset, pictures, device and commit of what it shows.

    ``of`` says which pictures it shows, where they are not those that the records measured.
    """
    pictured = [r for r in records if "picture" in r.rows[0]]
    budgets = [r.config.get("fit", r.config.get("descent")) for r in records]
    said = {
        "preset": sorted({r.config["profile"] for r in records}),
        "pictures": [of] if of else sorted({f"{_pictures(r)} of {r.config['data']}" for r in pictured}),
        "steps": sorted({f"{budget['steps']:,}" for budget in budgets if budget}),
        "coordinates": sorted({r.config["coordinates"] for r in records if "coordinates" in r.config}),
        "device": sorted({r.environment["device"] for r in records}),
        "commit": sorted({(r.environment["commit"] or "unknown")[:8] for r in records}),
    }
    return " · ".join(f"{name}: {', '.join(values)}" for name, values in said.items() if values)


def _pictures(record: RunRecord) -> int:
    return len({row["picture"] for row in record.rows})


def sign(figure: Figure, records: list[RunRecord], of: str = "") -> None:
    """Write `provenance` below a figure."""
    wrapped = textwrap.wrap(provenance(records, of), 118, break_long_words=False)  # a longer line squeezes the figure
    figure.supxlabel("\n".join(wrapped), fontsize=7, color="#666666", x=0.99, ha="right")


# Tables ---------------------------------------------------------------------------------------------------------------


class Table(pd.DataFrame):
    """A table as a page shows it: no index, every cell whole. `print` and everything else is pandas."""

    @property
    def _constructor(self) -> type:
        return Table

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return self.to_html(index=False, border=0, justify="left")


def table(data: FigureData) -> Table:
    """Show the rows of ``data`` as a table."""
    return Table(data.rows)
