"""Tables about the project itself: what holds, which figure comes from which records, and all records."""

from __future__ import annotations

import html

from reproduce import bench
from reproduce.claims import weigh_all
from reproduce.figure_data import Entry
from reproduce.plot import Table
from reproduce.records import Records
from reproduce.studies import PAPERS

FIGURES: dict[str, Entry] = {
    name: entry for module in (*PAPERS.values(), bench) for name, entry in module.FIGURES.items()
}
SHORT = ("paper", "claim", "published", "ours", "preset", "status")
LONG = ("claim", "where", "published", "ours", "preset", "status", "why")


def verdict_table(paper: str | None = None, keys: str = "", records: Records | None = None) -> Table:
    """What holds: claim, published number, ours, status; of one paper with the reason, or of all in short.

    ``keys`` is how the keys of the claims begin that are shown. How a preset differs from the paper stands once, below
    the table, and not in each reason.
    """
    shown = [v for v in weigh_all(records) if paper in (None, v.claim.paper) and v.key.startswith(keys)]
    if not paper:
        return Table([{name: v.row()[name] for name in SHORT} for v in shown])
    rows, scales = [], {}
    for v in shown:
        row = {name: v.row()[name] for name in LONG}
        if v.preset and "{scale}" in v.claim.why:
            scale = v.claim.scale_of(v.preset)
            scales[scale] = v.preset  # two papers may have a preset in common, and two scales
            row["why"] = row["why"].removesuffix(scale).removesuffix("; ")
        rows.append(row)
    found = Scaled(rows)
    found.attrs["scales"] = scales
    return found


def say(name: str, value: float, form: str = ".2f") -> None:
    """Keep a number for the text of a page, which shows it with ``{glue:text}``.

    A minus sign becomes U+2212, and a per cent sign gets a space before it.
    """
    from myst_nb import glue  # belongs to the book's tools, which a record does not need

    glue(name, f"{value:{form}}".replace("-", "−").replace("%", " %"), display=False)


class Scaled(Table):
    """A table, and below it how the presets in it differ from the paper."""

    def _repr_html_(self) -> str:
        scales = self.attrs.get("scales", {}).items()
        notes = "<br>".join(f"Preset <code>{preset}</code>: {html.escape(scale)}." for scale, preset in scales)
        return super()._repr_html_() + f"<p><small>{notes}</small></p>" * bool(notes)


class Filtered(Table):
    """A table whose rows a reader can filter by the values of some columns (``_static/filters.js``)."""

    def _repr_html_(self) -> str:
        boxes = "".join(
            f'<label>{column} <select data-column="{self.columns.get_loc(column)}"><option value="">all</option>'
            + "".join(f"<option>{html.escape(value)}</option>" for value in self[column].unique())
            + "</select></label>"
            for column in self.attrs["filters"]
        )
        return f'<div class="filtered"><p class="filters">{boxes} <output></output></p>{super()._repr_html_()}</div>'


def claims_page() -> Filtered:
    """Every claim with its verdict, filtered by paper, status and preset."""
    found = Filtered(verdict_table())
    found.attrs["filters"] = ("paper", "status", "preset")
    return found


def figure_map() -> Table:
    """The figure map: for every figure its data, its records, the command that makes them, preset and commit."""
    rows, records = [], Records()
    for entry in FIGURES.values():
        found = [r for r in records.find(entry.study) if r.config["profile"] != "smoke"]
        rows.append({
            "figure": entry.title,
            "data": f"{entry.function.__module__.removeprefix('reproduce.')}.{entry.function.__name__}",
            "records": f"{entry.study}/ ({len(found)})",
            "command": entry.command,
            "preset": ", ".join(sorted({r.config["profile"] for r in found})) or "not run",
            "commit": ", ".join(sorted({(r.environment["commit"] or "unknown")[:8] for r in found})) or "–",
        })  # fmt: skip
    return Table(rows)


def record_table() -> Table:
    """Every record: where it lies, how it was made, and on which commit."""
    rows, records = [], Records()
    for study in records.studies:
        for record in records.find(study):
            environment = record.environment
            rows.append(
                {
                    "record": f"{study}/{record.name}",
                    "preset": record.config["profile"],
                    "pictures": record.config["pictures"],
                    "seed": record.config["seed"],
                    "device": environment["device"],
                    "minutes": f"{record.wall_seconds / 60:.1f}",
                    "commit": (environment["commit"] or "unknown")[:8] + ("" if environment["clean"] else ", changed"),
                    "torch": environment["versions"].get("torch", "–"),
                }
            )
    return Table(rows)
