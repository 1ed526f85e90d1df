"""What a sweep leaves for its reader: a table of all rows, and a page that draws any value over any two axes."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reproduce.grid import Grid
from reproduce.row import Task
from reproduce.sweep import record_of
from sparsecomp.files import write_atomic


def rows_of(grid: Grid, tasks: list[Task]) -> list[dict[str, Any]]:
    """One dict a row, in the order of the grid: its name, state, axes and seed, values, seconds and peak memory."""
    rows = []
    for task in tasks:
        found = {"row": task.name, "state": "failed" if task.file("ipynb").exists() else "not run"}
        found |= {axis: task.parameters[axis] for axis in grid.axes}
        if task.file("json").exists():
            record = record_of(task)
            values = {f"{name} (measured)" if name in grid.axes else name: of for name, of in record["values"].items()}
            found |= {"state": "done"} | values
            found |= {"seconds": record["wall_seconds"], "peak MB": round(record["peak_memory"] / 1e6)}
        rows.append(found)
    return rows


def columns_of(rows: list[dict[str, Any]]) -> list[str]:
    """The columns of all rows, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row))


def write(grid: Grid, tasks: list[Task]) -> list[Path]:
    """Write ``sweep.tsv`` and ``report.html`` into the folder of the sweep; return both paths."""
    out, rows = tasks[0].out, rows_of(grid, tasks)
    columns = columns_of(rows)
    lines = ["\t".join(columns)] + ["\t".join(cell(row.get(name, "")) for name in columns) for row in rows]
    write_atomic(out / "sweep.tsv", ("\n".join(lines) + "\n").encode())
    write_atomic(out / "report.html", page(grid.name, grid.source.stem, grid.axes, rows).encode())
    return [out / "sweep.tsv", out / "report.html"]


def cell(value: object) -> str:
    """A value as text without tabs or line breaks."""
    text = "" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)
    return " ".join(text.split())


def page(name: str, notebook: str, axes: Sequence[str], rows: list[dict[str, Any]], *, linked: bool = True) -> str:
    """Write the report: one file that needs no network.

    Parameters
    ----------
    name, notebook : str
        Of the sweep.
    axes : sequence of str
        The columns of ``rows`` that were varied; the first two are drawn at first.
    rows : list of dict
        As `rows_of` gives them.
    linked : bool
        Names of rows link to their executed notebooks.
    """
    columns = columns_of(rows)
    values = [column for column in columns if column not in ("row", "state", *axes)]
    data = {"axes": list(axes), "values": values, "rows": rows}
    counts = {state: sum(row["state"] == state for row in rows) for state in ("done", "failed", "not run")}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{_link(row) if linked and of == 'row' else html.escape(cell(row.get(of)))}</td>"
                         for of in columns) + "</tr>"
        for row in rows
    )  # fmt: skip
    heads = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    title = f"Sweep {html.escape(name)}"
    links = " Each row links to its executed notebook." if linked else ""
    # "</" ends a script, wherever it stands in it.
    script = SCRIPT.replace("DATA", json.dumps(data).replace("</", "<\\/"))
    return f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{STYLE}</style>
<h1>{title}</h1>
<p>Notebook {html.escape(notebook)}, {len(rows)} rows: {said}.{links}</p>
<form>
<label>value <select id="value"></select></label>
<label>along <select id="x"></select></label>
<label>across <select id="y"></select></label>
<span id="others"></span>
</form>
<p id="note"></p>
<div class="scroll"><svg id="chart" role="img" viewBox="0 0 760 420"></svg></div>
<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>
{body}
</tbody></table></div>
<script>{script}</script>
</html>
"""


@dataclass(frozen=True)
class Embedded:
    """A `page` as a notebook shows it: in a frame ``height`` pixels high, and light, as the book's figures are."""

    source: str
    height: int = 720

    def _repr_html_(self) -> str:
        style = f"width:100%;height:{self.height}px;border:0"
        source = html.escape(self.source.replace("color-scheme: light dark", "color-scheme: light"))
        return f'<iframe srcdoc="{source}" title="report of a sweep" style="{style}"></iframe>'


def _link(row: dict[str, Any]) -> str:
    name = html.escape(row["row"])
    return name if row["state"] == "not run" else f'<a href="rows/{name}.ipynb">{name}</a>'


STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; padding: 1rem; max-width: 70rem; background: Canvas; color: CanvasText; }
form, #others { display: flex; flex-wrap: wrap; gap: 1rem; }
h1 { font-size: 1.4rem; }
.scroll { overflow-x: auto; }
#chart { display: block; width: 100%; min-width: 34rem; max-width: 48rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: left; border-bottom: 1px solid color-mix(in srgb, CanvasText 25%, Canvas); }
svg text { font: 13px system-ui, sans-serif; fill: CanvasText; }
svg .axis { stroke: CanvasText; }
"""

# Two numeric axes make curves, one for each value across; an axis of words makes a heat map. Of every other axis the
# reader may choose one value. Rows that then agree in both axes (seeds, say) are averaged, and the note says so.
SCRIPT = """
const data = DATA, pick = id => document.getElementById(id), svg = pick("chart");
const colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777"];
const fill = (id, names) => names.forEach(name => pick(id).add(new Option(name)));
const numeric = name => data.rows.every(row => typeof row[name] === "number");
const levels = name => [...new Set(data.rows.map(row => row[name]))]
  .sort((a, b) => typeof a === "number" && typeof b === "number" ? a - b : 0);
const short = value => typeof value === "number" ? Number(value.toPrecision(4)).toString() : String(value);
fill("value", data.values.filter(name => data.rows.some(row => typeof row[name] === "number")));
fill("x", data.axes); fill("y", [...data.axes.slice(1), "(none)", ...data.axes.slice(0, 1)]);
function add(kind, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  svg.append(made); return made;
}
const chosen = {};
for (const axis of data.axes) {
  const label = document.createElement("label"), select = document.createElement("select");
  select.id = `only-${axis}`;
  ["all", ...levels(axis).map(String)].forEach(text => select.add(new Option(text)));
  select.addEventListener("change", draw);
  label.append(`${axis} `, select); pick("others").append(label);
  chosen[axis] = {label, select};
}
function mean(x, xValue, y, yValue, value) {
  const free = data.axes.filter(axis => axis !== x && axis !== y && chosen[axis].select.value !== "all");
  const found = data.rows.filter(row => row[x] === xValue && (y === null || row[y] === yValue)
    && free.every(axis => String(row[axis]) === chosen[axis].select.value)
    && typeof row[value] === "number").map(row => row[value]);
  return {n: found.length, value: found.reduce((a, b) => a + b, 0) / found.length};
}
function draw() {
  svg.replaceChildren();
  const value = pick("value").value, x = pick("x").value;
  const y = ["(none)", x].includes(pick("y").value) ? null : pick("y").value;
  for (const axis of data.axes) chosen[axis].label.hidden = axis === x || axis === y;
  if (!value || !x) { pick("note").textContent = "There is no value to draw yet."; return; }
  const xs = levels(x), ys = y === null ? [null] : levels(y);
  const cells = ys.flatMap(b => xs.map(a => ({a, b, ...mean(x, a, y, b, value)}))).filter(cell => cell.n);
  const low = Math.min(...cells.map(cell => cell.value)), high = Math.max(...cells.map(cell => cell.value));
  const many = Math.max(...cells.map(cell => cell.n), 0);
  pick("note").textContent = many > 1 ? `Means of up to ${many} rows.` : "";
  const left = 90, right = 600, top = 20, bottom = 360, span = high - low || 1;
  if (numeric(x)) {
    const across = v => left + (right - left) * (v - xs[0]) / (xs[xs.length - 1] - xs[0] || 1);
    const up = v => bottom - (bottom - top) * (v - low) / span;
    add("path", {d: `M${left} ${top}V${bottom}H${right}`, fill: "none", class: "axis"});
    xs.forEach(v => add("text", {x: across(v), y: bottom + 18, "text-anchor": "middle"}, short(v)));
    for (const v of [low, (low + high) / 2, high])
      add("text", {x: left - 8, y: up(v) + 4, "text-anchor": "end"}, short(v));
    ys.forEach((b, i) => {
      const points = cells.filter(cell => cell.b === b), colour = colours[i % colours.length];
      add("polyline", {points: points.map(c => `${across(c.a)},${up(c.value)}`).join(" "), fill: "none", stroke: colour,
        "stroke-width": 2, "stroke-dasharray": i < colours.length ? "" : "4 3"});
      points.forEach(c => add("circle", {cx: across(c.a), cy: up(c.value), r: 4, fill: colour})
        .append(Object.assign(document.createElementNS("http://www.w3.org/2000/svg", "title"),
          {textContent: short(c.value)})));
      const place = {x: right + 12, y: top + 14 + 18 * i, style: `fill: ${colour}`};
      if (b !== null) add("text", place, `${y} = ${short(b)}`);
    });
  } else {
    const width = (right - left) / xs.length, height = (bottom - top) / ys.length;
    cells.forEach(c => {
      const i = xs.indexOf(c.a), j = ys.indexOf(c.b), share = (c.value - low) / span;
      add("rect", {x: left + i * width, y: top + j * height, width: width - 2, height: height - 2,
        fill: `color-mix(in srgb, #0072B2 ${Math.round(15 + 70 * share)}%, white)`});
      add("text", {x: left + (i + .5) * width, y: top + (j + .5) * height + 4, "text-anchor": "middle",
        style: `fill: ${share > .6 ? "white" : "black"}`}, short(c.value));
    });
    xs.forEach((v, i) => add("text", {x: left + (i + .5) * width, y: bottom + 18, "text-anchor": "middle"}, short(v)));
    if (y !== null) ys.forEach((v, j) =>
      add("text", {x: left - 8, y: top + (j + .5) * height + 4, "text-anchor": "end"}, short(v)));
  }
  add("text", {x: (left + right) / 2, y: bottom + 42, "text-anchor": "middle"}, x);
  add("text", {x: left, y: 12, "text-anchor": "middle"}, value);
  svg.setAttribute("aria-label", `${value} over ${x}` + (y === null ? "" : ` and ${y}`));
}
["value", "x", "y"].forEach(id => pick(id).addEventListener("change", draw));
draw();
"""
