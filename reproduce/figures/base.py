"""What all figures and tables share: their look, and the line that says where they come from."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd

from reproduce.claims import weigh_all
from reproduce.drawings import Figure
from reproduce.records import Records, RunRecord

# One colour and one marker for a codec in every figure; distinguishable without colour (Okabe & Ito 2008).
STYLE = {
    "jpeg": ("JPEG", "#E69F00", "s"),
    "jpeg2000": ("JPEG 2000", "#56B4E9", "^"),
    "jpeg2000-no-transform": ("JPEG 2000, no colour transform", "#56B4E9", "v"),
    "webp": ("WebP", "#009E73", "D"),
    "avif": ("AVIF", "#0072B2", "P"),
    "jpegxl": ("JPEG XL", "#D55E00", "X"),
    "coin": ("COIN, ours (coordinates per axis)", "#000000", "o"),
    "file": ("our files: quantised in training", "#CC79A7", "*"),
    "nonzeros": ("L0onie (gates)", "#0072B2", "P"),
    "magnitude": ("magnitude pruning", "#009E73", "v"),
    "dense": ("COIN, as many steps", "#000000", "o"),
}
OTHERS = {"struempler2021": ("Strümpler 2021", "<"), "mscn": ("MSCN", ">"), "recombiner": ("RECOMBINER", "h")}
STANDARD = ("jpeg", "jpeg2000", "webp", "avif", "jpegxl")
SHORT = ("paper", "claim", "published", "ours", "preset", "status")
LONG = ("claim", "where", "published", "ours", "preset", "status", "why")
LABELS = {"psnr": "PSNR in dB", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "bpp": "bits per pixel"}


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


class Table(pd.DataFrame):
    """A table as a page shows it: no index, every cell whole. `print` and everything else is pandas."""

    @property
    def _constructor(self) -> type:
        return Table

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return self.to_html(index=False, border=0, justify="left")


def laptop(records: Records | None = None) -> Records:
    """The records that a figure shows: those given, or this clone's of the preset laptop."""
    return Records(preset="laptop") if records is None else records


def new_figure() -> tuple[Figure, object]:
    figure = Figure(figsize=(7.2, 4.6), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e4e4e4", lw=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def sign(figure: Figure, records: list[RunRecord], of: str = "") -> None:
    """Write `provenance` below a figure."""
    lines = textwrap.wrap(
        provenance(records, of), 118, break_long_words=False
    )  # a longer line would squeeze the figure
    figure.supxlabel("\n".join(lines), fontsize=7, color="#666666", x=0.99, ha="right")


def pictures(
    panels: Mapping[str, np.ndarray], *, columns: int = 3, crop: tuple[int, int, int, int] | None = None
) -> Figure:
    """Pictures side by side, shown pixel by pixel; ``crop`` is (top, left, height, width)."""
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.4 * rows), layout="constrained")
    for axes, (title, picture) in zip(figure.subplots(rows, columns, squeeze=False).flat, panels.items(), strict=False):
        if crop is not None:
            top, left, height, width = crop
            picture = picture[top : top + height, left : left + width]
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(title, fontsize=10)
    for axes in figure.axes:
        axes.axis("off")
    return figure


def verdict_table(paper: str | None = None, keys: str = "", records: Records | None = None) -> Table:
    """What holds: claim, published number, ours, status; of one paper with the reason, or of all in short.

    ``keys`` is how the keys of the claims begin that are shown.
    """
    rows = [v.row() for v in weigh_all(records) if paper in (None, v.claim.paper) and v.key.startswith(keys)]
    columns = LONG if paper else SHORT
    return Table([{name: row[name] for name in columns} for row in rows])
