"""Figures and tables of Sparse CAE, from the records of `papers.sparse_cae`."""

from __future__ import annotations

import numpy as np

from reproduce.drawings import Figure
from reproduce.figures.base import LABELS, STYLE, Table, laptop, new_figure, pictures, sign
from reproduce.papers import sparse_cae as numbers
from reproduce.papers.baselines import baselines, curve
from reproduce.records import Records, RunRecord, published
from sparsecomp import codecs, data, metrics
from sparsecomp.codecs.trained import Cae
from sparsecomp.models.pretrained import Models, Stored, default_models
from sparsecomp.sparsify import surgery
from sparsecomp.sparsify.projections import PROJECTIONS

# Every constraint: its name, colour and marker.
CONSTRAINTS = {
    "dense": ("dense", "#000000", "o"),
    "l1": ("l1", "#E69F00", "s"),
    "bilevel_l11": ("l1,1 (bilevel)", "#0072B2", "P"),
    "l1inf": ("l1,inf", "#D55E00", "^"),
    "l21": ("l2,1", "#009E73", "v"),
    "bilevel_l1inf": ("l1,inf (bilevel)", "#CC79A7", "D"),
}
NAMES = {
    "magnitude": "control: the largest weights of all layers",
    "random mask": "control: random weights",
    "random restart": "control: l1,1, from other first values",
    "dense, trained on": "control: dense, going on as long",
    "trained restart": "l1,1, going on",
    "per layer": "l1,1, a radius for each layer",
    "coupled, trained": "l1,1, stream coupled, going on",
    "filters, then l1": "whole filters, then l1, going on",
    "filters, then l1, rewound": "whole filters, then l1",
}


def name_of(label: str) -> str:
    """A label of `papers.sparse_cae.SPARSE` as a reader should see it; *going on*: from the trained weights."""
    small = f"control: {label}" if label.startswith("small") else CONSTRAINTS.get(label, (label,))[0]
    return NAMES.get(label, small)


def macs_over_density(records: Records | None = None) -> Figure:
    """Figure 2: multiply-accumulates of the projected encoder over the density, relative to the dense one.

    Left as the paper counts, layer by layer; right what surgery leaves. One trained encoder, projected; no second
    descent.
    """
    records = laptop(records)
    figure = Figure(figsize=(8.4, 4.6), layout="constrained", facecolor="white")
    record = records.one("cae_density")
    for axes, (column, title) in zip(
        figure.subplots(1, 2, sharey=True),
        (("macs_paper", "as the paper counts"), ("macs", "after surgery")),
        strict=True,
    ):
        for kind in PROJECTIONS:
            name, colour, marker = CONSTRAINTS[kind]
            _line(axes, numbers.density(records, kind), column, "-", colour, marker, name)
        for kind in ("bilevel_l11", "bilevel_l1inf"):
            name, colour, marker = CONSTRAINTS[kind]
            _line(
                axes,
                numbers.density(records, kind, coupled=True),
                column,
                "--",
                colour,
                marker,
                f"{name}, stream coupled",
            )
        axes.set(title=title, xlabel="density 1 - S", xlim=(0, 1), ylim=(0, 1.05))
        axes.grid(color="#e4e4e4", lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("relative MACs of the encoder")
    figure.legend(*figure.axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False,
                  fontsize=8)  # fmt: skip
    sign(figure, [record])
    return figure


def _line(axes: object, rows: list[dict], column: str, style: str, colour: str, marker: str, name: str) -> None:
    points = [(1 - row["sparsity"], row[column]) for row in rows]
    axes.plot(*zip(*points, strict=True), style, color=colour, marker=marker, ms=4, lw=1.4, label=name)


def cae_rate_distortion(metric: str = "psnr", records: Records | None = None) -> Figure:
    """Figures 3 (``"psnr"``) and 4 (``"ssim"``): quality over the rate of files, Kodak, S near 83 %.

    One model a line, its step varied, as the paper's lines must have been made; means over 24 pictures.
    """
    records = laptop(records)
    figure, axes = new_figure()
    used = [numbers.dense(records), *(numbers.sparse(records, kind) for kind in numbers.CONSTRAINTS)]
    for record, kind in zip(used, ("dense", *numbers.CONSTRAINTS), strict=True):
        name, colour, marker = CONSTRAINTS[kind]
        axes.plot(
            *record.curve(metric), "-", color=colour, marker=marker, ms=5, lw=1.5, label=_with_sparsity(name, record)
        )
    axes.set(xlabel=LABELS["bpp"], ylabel={"ssim": "mean SSIM"}.get(metric, LABELS[metric]))
    axes.legend(frameon=False, fontsize=9)
    sign(figure, used)
    return figure


def _with_sparsity(name: str, record: RunRecord) -> str:
    found = record.result.get("sparsity")
    return f"{name}, S = {100 * found:.1f} %" if found else name


def cae_high_rates(metric: str = "psnr", records: Records | None = None) -> Figure:
    """Figure 6: all dense models together, l1,1, and JPEG and JPEG 2000 as fairly as here, to 5 bits per pixel."""
    records = laptop(records)
    figure, axes = new_figure()
    used = [numbers.dense(records, label) for label in numbers.MODELS]
    name, colour, marker = CONSTRAINTS["dense"]
    axes.plot(
        *numbers.hull(records, metric),
        "-",
        color=colour,
        marker=marker,
        ms=4,
        lw=1.5,
        label="dense models, the best of four",
    )
    sparse = numbers.sparse(records, "bilevel_l11")
    name, colour, marker = CONSTRAINTS["bilevel_l11"]
    axes.plot(*sparse.curve(metric), "-", color=colour, marker=marker, ms=5, lw=1.5, label=_with_sparsity(name, sparse))
    for label in ("jpeg", "jpeg2000"):
        name, colour, marker = STYLE[label]
        axes.plot(*curve(records, label, metric, high=True), "-", color=colour, marker=marker, ms=4, lw=1.2, label=name)
    axes.set(xlabel=LABELS["bpp"], ylabel=LABELS[metric], xlim=(0, 5))
    axes.legend(frameon=False, fontsize=9)
    sign(figure, [*used, sparse, *baselines(records, "jpeg", high=True), *baselines(records, "jpeg2000", high=True)])
    return figure


def cae_table(records: Records | None = None) -> Table:
    """Table I: sparsity, MACs, memory and loss of the paper's constraints, with the printed numbers in brackets."""
    records = laptop(records)
    rows = []
    for kind, printed_as in numbers.CONSTRAINTS.items():
        record = numbers.sparse(records, kind)
        printed = {row["metric"]: row["value"] for row in published("sparse_cae", where="Table I", series=printed_as)}
        loss, spread = numbers.over_seeds(records, kind, numbers.relative_loss)
        counted = numbers.macs_saved(records, kind, accounting="macs_paper")
        rows.append({
            "constraint": CONSTRAINTS[kind][0],
            "S %": f"{100 * record.result['sparsity']:.2f} ({printed['sparsity']:g})",
            "fewer MACs %, paper's count": f"{counted:.0f} ({printed['macc_reduction']:g})",
            "after surgery": f"{numbers.macs_saved(records, kind):.0f}",
            "less memory %": f"{numbers.memory_saved(records, kind):.1f} ({printed['memory_reduction']:g})",
            "relative loss dB": _with_spread(loss, spread) + f" ({printed['relative_loss']:g})",
            **_at_rate(records, kind),
        })  # fmt: skip
    return Table(rows)


def cae_variants_table(records: Records | None = None) -> Table:
    """Every second descent and every control: what it saves, and what it loses. ± is the deviation over seeds."""
    records = laptop(records)
    records.some("cae_sparse")
    rows = []
    for label in numbers.labels(records):
        record = numbers.sparse(records, label, numbers.seeds_of(records, label)[0])
        try:
            speed = numbers.speedup(records, label)
            quicker = f"{speed['speedup']:.2f} ({speed['lower']:.2f} to {speed['upper']:.2f})"
        except LookupError:
            quicker = "–"
        rows.append({
            "second descent": name_of(label),
            "S %": f"{100 * record.result.get('sparsity', 0):.1f}",
            "fewer MACs %": f"{round(numbers.macs_saved(records, label))}",
            "less memory %": f"{round(numbers.memory_saved(records, label))}",
            "times as fast": quicker,
            "steps": f"{record.config['descent']['steps'] * (1 + _went_on(record)):,}",
            "relative loss dB": _with_spread(*numbers.over_seeds(records, label, numbers.relative_loss)),
            **_at_rate(records, label),
        })  # fmt: skip
    known = [row for row in rows if row["dB at the same bytes"] != "–"]
    known.sort(key=lambda row: -float(row["dB at the same bytes"].split()[0]))
    return Table(known + [row for row in rows if row not in known])


def _went_on(record: RunRecord) -> bool:
    return record.config["constraint"] is not None and record.config["constraint"]["restart"] == "trained"


def _at_rate(records: Records, label: str) -> dict[str, str]:
    """The difference at equal bytes over the seeds, and the rates that it is a mean over."""
    try:
        low, high = numbers.at_rate(records, label, numbers.seeds_of(records, label)[0]).overlap
        text = _with_spread(*numbers.over_seeds(records, label, numbers.loss_at_rate))
    except LookupError:
        return {"dB at the same bytes": "–", "over bpp": "no rates in common"}
    return {"dB at the same bytes": text, "over bpp": f"{low:.1f} to {high:.1f}"}


def _with_spread(mean: float, deviation: float) -> str:
    return f"{mean:+.2f}" if np.isnan(deviation) else f"{mean:+.2f} ± {deviation:.2f}"


def surgery_table(stored: Stored) -> Table:
    """What surgery leaves of an encoder, layer by layer."""
    rows = []
    for row in surgery.report(stored.model.encoder):
        inputs = "" if "inputs" not in row else f"{row['inputs']:.0f} of {row['all_inputs']:.0f}"
        rows.append({
            "layer": row["layer"], "filters": f"{row['filters']} of {row['all_filters']}", "inputs": inputs,
            "MACs a pixel": f"{row['macs']:,.0f} of {row['all_macs']:,.0f}",
        })  # fmt: skip
    return Table(rows)


def cae_training(records: Records | None = None) -> Figure:
    """PSNR of validation pictures over the steps of both descents, rounded at the middle step."""
    records = laptop(records)
    figure, axes = new_figure()
    used = [numbers.dense(records), *(numbers.sparse(records, label) for label in ("bilevel_l11", "trained restart"))]
    for record, colour in zip(used, ("#000000", "#0072B2", "#CC79A7"), strict=True):
        history = record.result["history"]
        label = record.config["label"]
        shown = "first descent" if record.config["constraint"] is None else f"second: {name_of(label)}"
        axes.plot(history["step"], history["psnr"], color=colour, lw=1.5, label=shown)
    axes.set(xlabel="step", ylabel=f"{LABELS['psnr']}, validation")
    axes.legend(frameon=False, fontsize=9)
    scored = used[0].config["validation"]
    sign(figure, used, f"{scored['pictures']} of {scored['data']}, validation")
    return figure


def cae_pictures(
    bpp: float = 2.25, side: int = 128, models: Models | None = None, records: Records | None = None
) -> Figure:
    """Figure 5 (and, near 4.28 bpp, 7): dense, l1,1 and l1,inf at about one rate, as files; ``side`` pixels of them.

    Of Kodak's kodim23, or of the astronaut where Kodak is not at hand.
    """
    records = laptop(records)
    name, (row, column) = ("kodim23", (190, 470)) if data.available("kodak") else ("astronaut", (128, 228))
    original = (data.kodak if name == "kodim23" else data.bundled)()[name]
    crop, models = (row - side // 2, column - side // 2, side, side), models or default_models()
    panels = {f"{name}, original\n24 bpp": original}
    for kind, record in (
        ("dense", numbers.dense(records)),
        *((k, numbers.sparse(records, k)) for k in ("bilevel_l11", "l1inf")),
    ):
        if models.find(record.result["file"]).key != record.result["model"]:
            raise LookupError(f"the model {record.result['file']} is not the one of its record")
        file = Cae(model=record.result["file"], models=models).at_bpp(original, bpp)
        decoded = codecs.decode(file, models=models)
        psnr = metrics.psnr(reference=original, reconstruction=decoded)
        rate = metrics.bpp(data=file, height=original.shape[0], width=original.shape[1])
        saved = "" if kind == "dense" else f", {numbers.macs_saved(records, kind):.0f} % fewer MACs"
        panels[f"{CONSTRAINTS[kind][0]}{saved}\n{rate:.2f} bpp, {psnr:.2f} dB"] = decoded
    return pictures(panels, columns=4, crop=crop)


def cae_models_table(models: Models | None = None) -> Table:
    """The trained models of Sparse CAE, by default in ``results/models``: what a file can name."""
    models, rows = models or default_models(), []
    for stored in models.of_codec("cae"):
        rows.append({
            "model": stored.name, "key": stored.key, "sparsity": f"{100 * stored.about.get('sparsity', 0):.0f} %",
            "steps": f"1/{1 / stored.about['finest']:.0f} to 1/{1 / stored.about['coarsest']:.0f}",
            "chosen by the codec": "yes" if stored.about.get("search") else "only by name",
            "kB": f"{models.files[stored.name].stat().st_size / 1000:,.0f}",
        })  # fmt: skip
    return Table(rows)
