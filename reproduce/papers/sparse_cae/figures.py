"""Data of figures and tables of Sparse CAE."""

from __future__ import annotations

import functools

import numpy as np

from reproduce.figure_data import Entry, FigureData, line
from reproduce.papers import baselines
from reproduce.papers.sparse_cae.measures import (
    at_rate,
    dense,
    density,
    fine,
    hull,
    labels,
    loss_at_rate,
    macs_saved,
    macs_saved_paper,
    made,
    mean_over_seeds,
    memory_saved,
    over_seeds,
    relative_loss,
    released_longer,
    seeds_of,
    sparse,
    sparsity,
    speedup,
)
from reproduce.papers.sparse_cae.plans import CONSTRAINTS, MODELS, VARIANTS, network_of
from reproduce.records import Records, RunRecord, published
from sparsecomp import data, metrics
from sparsecomp.codecs import decode
from sparsecomp.codecs.trained import Cae
from sparsecomp.models.pretrained import Models, Stored, default_models
from sparsecomp.sparsify import surgery
from sparsecomp.sparsify.projections import PROJECTIONS

NAMES = {  # of dense models and second descents; what is not here is a small dense encoder
    "dense": "dense",
    "l1": "l1",
    "bilevel_l11": "l1,1 (bilevel)",
    "l1inf": "l1,inf",
    "l21": "l2,1",
    "bilevel_l1inf": "l1,inf (bilevel)",
    "magnitude": "control: the largest weights of all layers",
    "random mask": "control: random weights",
    "random restart": "control: l1,1, from other first values",
    "dense, trained on": "control: dense, fine-tuned as long",
    "trained restart": "l1,1, fine-tuned",
    "per layer": "l1,1, a radius for each layer",
    "coupled, trained": "l1,1, stream coupled, fine-tuned",
    "filters, then l1": "whole filters, then l1, fine-tuned",
    "filters, then l1, rewound": "whole filters, then l1",
    "l1inf of taps": "l1,inf over input taps",
    "bilevel_l11, random start": "l1,1 (bilevel), random first values",
    "bilevel_l11, no quantiser": "l1,1 (bilevel), no quantiser",
    "bilevel_l11 at 87.87": "l1,1 (bilevel) at 87.87 %",
    "l1inf at 86.35": "l1,inf at 86.35 %",
    "all layers": "l1,1 (bilevel), decoder too",
}
RELEASED_NAMES = {"random start": "PyTorch's first values", "no quantiser": "no quantiser in training"}
MIDDLE = 128  # in 1/16384: the step 1/128


def macs_over_density(records: Records) -> FigureData:
    """Figure 2: multiply-accumulates of the projected encoder over the density, relative to the dense one.

    Two panels, as the paper counts and after surgery. One trained encoder, projected; no second descent. The points
    that the paper prints are rows with ``printed``, in the first panel.
    """
    ways = [(kind, False) for kind in PROJECTIONS] + [("bilevel_l11", True), ("bilevel_l1inf", True)]
    rows = []
    for column, panel in (("macs_paper", "as the paper counts"), ("macs", "after surgery")):
        for kind, coupled in ways:
            points = [(1 - row["sparsity"], row[column]) for row in density(records, kind, coupled=coupled)]
            name = f"{NAMES[kind]}, stream coupled" if coupled else NAMES[kind]
            rows.append(line(kind, name, points, panel=panel, coupled=coupled))
    for kind, printed_as in CONSTRAINTS.items():
        for saved in published("sparse_cae", series=printed_as, metric="macc_reduction"):
            where = saved["where"]
            beside = published("sparse_cae", where=where, series=printed_as, metric="sparsity")
            sparsity = saved["x"] if saved["x_name"] == "sparsity" else beside[0]["value"] if beside else None
            if sparsity is not None:  # the abstract and Sec. IV print none
                point = (1 - sparsity / 100, 1 - saved["value"] / 100)
                more = {"panel": "as the paper counts", "coupled": False, "printed": True}
                rows.append(line(kind, f"{printed_as}, printed ({where})", [point], **more))
    return FigureData(rows, [records.one("cae_density")])


def rate_distortion(records: Records, metric: str = "psnr") -> FigureData:
    """Figures 3 (``"psnr"``) and 4 (``"ssim"``): quality over the rate of files, Kodak, S near 83 %.

    One model a line, its step varied, as the paper's lines must have been made; means over 24 pictures. In PSNR also
    what the paper prints for l1,1, and what follows from it for the others if Table I's relative losses hold there.
    """
    used = {"dense": [dense(records), *fine(records, "high")]}
    used |= {kind: [sparse(records, kind), *fine(records, kind)] for kind in CONSTRAINTS}
    rows = [_course(kind, of, metric) for kind, of in used.items()]
    if metric == "psnr":
        printed = _printed_psnr()
        (bpp,), (psnr,) = printed["x"], printed["y"]
        losses = {r["series"]: r["value"] for r in published("sparse_cae", where="Table I", metric="relative_loss")}
        rows.append(printed)
        for kind, printed_as in {"dense": "dense", "l1": "l1", "l1inf": "l1,inf"}.items():
            more = round(losses.get(printed_as, 0) - losses["l1,1"], 2)
            name = f"{printed_as}, derived: {abs(more):g} dB {'more' if more > 0 else 'less'}"
            rows.append(line(kind, name, [(bpp, psnr + more)], printed=True))
    return FigureData(rows, [record for of in used.values() for record in of])


def high_rates(records: Records, metric: str = "psnr") -> FigureData:
    """Figure 6: all dense models together, l1,1, and JPEG and JPEG 2000 as fairly as here, to high rates."""
    pruned = [sparse(records, "bilevel_l11"), *fine(records, "bilevel_l11")]
    ours = [*(dense(records, label) for label in MODELS), *fine(records, "high"), *pruned]
    best = zip(*hull(records, metric), strict=True)
    rows = [line("dense", "dense models, the best of four", best), _course("bilevel_l11", pruned, metric)]
    for codec in ("jpeg", "jpeg2000"):
        points = zip(*baselines.curve(records, codec, metric, high=True), strict=True)
        rows.append(line(codec, baselines.NAMES[codec], points))
        ours += baselines.baselines(records, codec, high=True)
    return FigureData(rows + [_printed_psnr()] * (metric == "psnr"), ours)


def _course(kind: str, of: list[RunRecord], metric: str) -> dict:
    """Files of one model, over its steps, from all its records."""
    found = of[0].result.get("sparsity")
    name = f"{NAMES[kind]}, S = {100 * found:.1f} %" if found else NAMES[kind]
    return line(kind, name, sorted(point for record in of for point in zip(*record.curve(metric), strict=True)))


def _printed_psnr() -> dict:
    """The one PSNR that the paper prints with a rate: of "the CAE with low energy consumption", so of l1,1."""
    (found,) = published("sparse_cae", metric="psnr")
    name = f"l1,1, printed: {found['setting']} {found['value']:g} dB at {found['x']:g} bpp"
    return line("bilevel_l11", name, [(found["x"], found["value"])], printed=True)


def training_course(records: Records) -> FigureData:
    """PSNR of validation pictures over the steps of both descents, rounded at the middle step."""
    used = [dense(records), *(sparse(records, label) for label in ("bilevel_l11", "trained restart"))]
    rows = []
    for record, series in zip(used, ("dense", "bilevel_l11", "bilevel_l11"), strict=True):
        history, label = record.result["history"], record.config["label"]
        name = "first descent" if series == "dense" else f"second: {NAMES[label]}"
        points = zip(history["step"], history["psnr"], strict=True)
        rows.append(line(series, name, points, fine_tuned=_fine_tuned(record)))
    return FigureData(rows, used)


def details(
    records: Records, bpp: float = 2.25, side: int = 128, models: Models | None = None,
    second: tuple[str, ...] = ("bilevel_l11", "l1inf"), kodak: tuple[str, int, int] = ("kodim23", 190, 470),
) -> FigureData:  # fmt: skip
    """Figures 5 (there at 87.87 and 86.35 %, here at 83 %) and, near 4.28 bpp, 7: a square of ``side`` pixels from
    files of the dense model and of ``second`` descents at one rate.

    ``kodak`` is a picture of Kodak, and the row and column of the middle of the square; where Kodak is not at hand, it
    is a square of the astronaut.
    """
    name, row, column = kodak if data.available("kodak") else ("astronaut", 128, 228)
    original = (data.kodak() if data.available("kodak") else data.bundled())[name]
    top, left, models = row - side // 2, column - side // 2, models or default_models()
    shown = {f"{name}, original\n24 bpp": original}
    used = {"dense": dense(records)} | {label: sparse(records, label) for label in second}
    for kind, record in used.items():
        if models.find(record.result["file"]).key != record.result["model"]:
            raise LookupError(f"the model {record.result['file']} is not the one of its record")
        file = Cae(model=record.result["file"], models=models).at_bpp(original, bpp)
        decoded = decode(file, models=models)
        rate = 8 * len(file) / original[..., 0].size
        psnr = metrics.psnr(reference=original, reconstruction=decoded)
        saved = "" if kind == "dense" else f", {macs_saved(records, kind):.0f} % fewer MACs"
        shown[f"{NAMES[kind]}{saved}\n{rate:.2f} bpp, {psnr:.2f} dB"] = decoded
    square = np.s_[top : top + side, left : left + side]
    return FigureData([{"title": title, "picture": whole[square]} for title, whole in shown.items()], [*used.values()])


def table_1(records: Records) -> FigureData:
    """Table I: sparsity, MACs, memory and loss of the paper's constraints, with the printed numbers in brackets.

    Means over the seeds; ± is the standard deviation.
    """
    rows, used = [], made(records, "cae")
    for kind, printed_as in CONSTRAINTS.items():
        mean = functools.partial(mean_over_seeds, records, kind)
        printed = {row["metric"]: row["value"] for row in published("sparse_cae", where="Table I", series=printed_as)}
        loss = _with_spread(*over_seeds(records, kind, relative_loss))
        rows.append({
            "constraint": NAMES[kind],
            "S %": f"{mean(sparsity):.2f} ({printed['sparsity']:g})",
            "fewer MACs %, paper's count": f"{mean(macs_saved_paper):.0f} ({printed['macc_reduction']:g})",
            "after surgery": f"{mean(macs_saved):.0f}",
            "less memory %": f"{mean(memory_saved):.1f} ({printed['memory_reduction']:g})",
            "relative loss dB": f"{loss} ({printed['relative_loss']:g})",
            **_loss_cells(records, kind),
        })  # fmt: skip
        used += made(records, "cae_sparse", label=kind)
    return FigureData(rows, used)


def variants_table(records: Records) -> FigureData:
    """Every second descent and every control: what it saves, and what it loses. ± is the deviation over seeds."""
    records.some("cae_sparse")
    rows = []
    for label in labels(records):
        record = sparse(records, label, seeds_of(records, label)[0])
        try:
            speed = speedup(records, label)
            quicker = f"{speed['speedup']:.2f} ({speed['lower']:.2f} to {speed['upper']:.2f})"
        except LookupError:
            quicker = "–"
        steps = f"{record.config['descent']['steps'] * (1 + _fine_tuned(record)):,}"
        rows.append(_saved_and_lost(records, label, **{"times as fast": quicker, "steps": steps}))
    known = [row for row in rows if row["dB at the same bytes"] != "–"]
    known.sort(key=lambda row: -float(row["dB at the same bytes"].split()[0]))
    rows = known + [row for row in rows if row not in known]
    used = [*made(records, "cae"), *made(records, "cae_sparse"), *records.find("cae_speed", data="kodak")]
    return FigureData(rows, used)


def _saved_and_lost(records: Records, label: str, **more: str) -> dict[str, str]:
    """The cells of a second descent that every table of them has, and more between what is saved and what is lost.

    Means over the seeds.
    """
    mean = functools.partial(mean_over_seeds, records, label)
    return {
        "second descent": NAMES.get(label, f"control: {label}"),
        "S %": f"{mean(sparsity):.1f}",
        "fewer MACs %": f"{round(mean(macs_saved))}",
        "less memory %": f"{round(mean(memory_saved))}",
        **more,
        "relative loss dB": _with_spread(*over_seeds(records, label, relative_loss)),
        **_loss_cells(records, label),
    }  # fmt: skip


def released_table(records: Records) -> FigureData:
    """First descents as ours and as the released code's, one thing at a time: rounded to the middle step, and not."""
    rows, used = [], []
    for label, name in ({"high": "ours"} | RELEASED_NAMES).items():
        record = dense(records, label)
        used.append(record)
        middle = {"bpp": record.mean("bpp", setting=MIDDLE), "psnr": record.mean("psnr", setting=MIDDLE)}
        unrounded = np.mean([10 * np.log10(255**2 / row["mse_unquantised"]) for row in record.rows])
        longer = "–" if label == "high" else f"{released_longer(records, label):+.0f}"
        rows.append({
            "first descent": name, "PSNR dB, nothing rounded": f"{unrounded:.2f}",
            "bpp at step 1/128": f"{middle['bpp']:.2f}", "PSNR dB": f"{middle['psnr']:.2f}",
            "bytes at the same PSNR %": longer,
        })  # fmt: skip
    return FigureData(rows, used)


def second_table(records: Records) -> FigureData:
    """Second descents beside those of Table I: as the released code, at other sparsities, of all layers."""
    rows = []
    for label in ("bilevel_l11", "l1inf", *VARIANTS):
        row = _saved_and_lost(records, label)
        first_cells = {name: row[name] for name in ("second descent", "S %")}
        counted = f"{round(mean_over_seeds(records, label, macs_saved_paper))}"
        after = row.pop("fewer MACs %")
        rows.append(first_cells | {"fewer MACs %, paper's count": counted, "after surgery": after} | row)
    used = [*made(records, "cae"), *made(records, "cae_released"), *made(records, "cae_sparse")]
    return FigureData(rows, used + made(records, "cae_variants"))


def _fine_tuned(record: RunRecord) -> bool:
    """Did its second descent begin from trained weights?"""
    return record.config["constraint"] is not None and record.config["constraint"]["restart"] == "trained"


def _loss_cells(records: Records, label: str) -> dict[str, str]:
    """The difference at equal bytes over the seeds, and the rates that it is a mean over."""
    try:
        low, high = at_rate(records, label, seeds_of(records, label)[0]).overlap
        text = _with_spread(*over_seeds(records, label, loss_at_rate))
    except LookupError:
        return {"dB at the same bytes": "–", "over bpp": "no rates in common"}
    return {"dB at the same bytes": text, "over bpp": f"{low:.1f} to {high:.1f}"}


def _with_spread(mean: float, deviation: float) -> str:
    return f"{mean:+.2f}" if np.isnan(deviation) else f"{mean:+.2f} ± {deviation:.2f}"


def surgery_table(stored: Stored) -> FigureData:
    """What surgery leaves of an encoder, layer by layer."""
    rows = []
    for row in surgery.report(network_of(stored).encoder):
        inputs = "" if "inputs" not in row else f"{row['inputs']:.0f} of {row['all_inputs']:.0f}"
        rows.append({
            "layer": row["layer"], "filters": f"{row['filters']} of {row['all_filters']}", "inputs": inputs,
            "MACs a pixel": f"{row['macs']:,.0f} of {row['all_macs']:,.0f}",
        })  # fmt: skip
    return FigureData(rows, [])


def models_table(models: Models | None = None) -> FigureData:
    """The trained models of Sparse CAE, by default in ``results/models``: what a file can name."""
    models, rows = models or default_models(), []
    for stored in models.of_codec("cae"):
        rows.append({
            "model": stored.name, "key": stored.key, "sparsity": f"{100 * stored.about.get('sparsity', 0):.0f} %",
            "steps": f"1/{1 / stored.about['finest']:.0f} to 1/{1 / stored.about['coarsest']:.0f}",
            "chosen by the codec": "yes" if stored.about.get("search") else "only by name",
            "kB": f"{models.files[stored.name].stat().st_size / 1000:,.0f}",
        })  # fmt: skip
    return FigureData(rows, [])


FIGURES = {
    "cae-density": Entry("MACs over density (Sparse CAE, Fig. 2)", macs_over_density, "cae_density", preset="desktop"),
    "cae-rate-distortion": Entry(
        "PSNR and mean SSIM over the rate (Sparse CAE, Figs 3 and 4)", rate_distortion, "cae_sparse", preset="desktop"
    ),
    "cae-table": Entry("Sparse CAE, Table I", table_1, "cae_sparse", preset="desktop"),
    "cae-pictures": Entry("Details (Sparse CAE, Figs 5 and 7)", details, "cae_sparse", preset="desktop"),
    "cae-high-rates": Entry("High rates (Sparse CAE, Fig. 6)", high_rates, "cae", preset="desktop"),
    "cae-released": Entry("First descents as in the released code", released_table, "cae_released"),
    "cae-second": Entry("Second descents beside those of Table I", second_table, "cae_variants"),
    "cae-variants": Entry("Every second descent, and the controls", variants_table, "cae_sparse", preset="desktop"),
    "cae-training": Entry("PSNR over steps of both descents", training_course, "cae_sparse"),
}
