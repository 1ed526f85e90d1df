"""Figures and tables of CAE-ADMM, from the records of `papers.cae_admm`."""

from __future__ import annotations

import numpy as np

from reproduce.drawings import Figure, code_map
from reproduce.figures.base import LABELS, STYLE, Table, laptop, new_figure, pictures, sign
from reproduce.papers import cae_admm as numbers
from reproduce.papers.baselines import baselines, curve
from reproduce.papers.cae_admm import ESTIMATED, HEADLINE, PRUNED, VARIED
from reproduce.records import Curve, Records, RunRecord
from sparsecomp import codecs, data, metrics
from sparsecomp.codecs.base import BudgetError
from sparsecomp.codecs.trained import CaeAdmm, latent_of, pruned
from sparsecomp.models.pretrained import Models, Stored, default_models

# Every kind of training: its name, colour and marker.
KINDS = {
    "pruned": ("pruned by ADMM", "#0072B2", "o"),
    "estimated": ("entropy estimated", "#D55E00", "s"),
    "unpruned": ("neither", "#000000", "D"),
    "released": ("pruned as released", "#CC79A7", "X"),
    "16 channels": ("neither, 16 channels", "#777777", "P"),
}
CHANGED = {"rho": "ρ =", "interval": "updates every"}
NAMES = {
    "unpruned": "neither pruned nor estimated",
    "released": "pruned as the released code does",
    "16 channels": "neither, 16 channels in place of 32",
}
ROWS = {  # of Table 2, and the paper's name for them
    "cae-admm near 0.6": ("pruned by ADMM, ours", "CAE-ADMM"),
    "cae-theis near 0.6": ("entropy estimated, ours", None),
    "jpeg": ("JPEG", "JPEG"),
    "jpeg2000": ("JPEG 2000", "JPEG 2000"),
    "jpeg2000 no transform": ("JPEG 2000, no colour transform", None),
}
DIGITISED = {"Theis et al. 2017": "-", "Toderici et al. 2017": "--", "JPEG": ":", "JPEG 2000": "-."}


def name_of(label: str) -> str:
    """A label of `papers.cae_admm` as a reader should see it."""
    if label in PRUNED:
        return f"pruned to {100 * PRUNED[label]:g} %"
    if label in VARIED:
        changed = ", ".join(f"{CHANGED[name]} {value:g}" for name, value in VARIED[label].items())
        return f"pruned to 10 %, {changed}"
    return f"entropy estimated, λ = {ESTIMATED[label]:g}" if label in ESTIMATED else NAMES.get(label, label)


# Figures --------------------------------------------------------------------------------------------------------------


def admm_rate_distortion(metric: str = "ssim", records: Records | None = None) -> Figure:
    """Figure 2 (``"ssim"``, ``"ms_ssim"``; ``"psnr"`` is not in the paper): quality over the rate of files, Kodak.

    A training a point, its code as the encoder makes it; dashed, of pruned models as many entries as training aimed at;
    dotted, one unpruned model's code pruned in use. Hollow: the paper's own points, as printed and if they are nats;
    grey: what its authors compare with.
    """
    records = laptop(records)
    figure, axes = new_figure()
    figure.set_size_inches(7.2, 6.0)
    used, highest = [], 0.0
    for kind, (name, colour, marker) in KINDS.items():
        found = [numbers.training(records, label) for label in numbers.FAMILIES.get(kind, (kind,))]
        used += found
        rates, qualities = _points(found, metric, "code")
        highest = max(highest, *rates)
        label = f"{name}, ours" if kind in ("pruned", "estimated") else name
        axes.plot(rates, qualities, "-", color=colour, marker=marker, ms=6, lw=1.8, label=label, zorder=4)
    ours, unpruned = KINDS["pruned"], KINDS["unpruned"]
    found = [numbers.training(records, label) for label in PRUNED]
    axes.plot(*_points(found, metric, "share"), "--", color=ours[1], marker=ours[2], ms=4, lw=1.2,
              label="pruned by ADMM, only that share kept", zorder=3)  # fmt: skip
    axes.plot(*numbers.training(records, "unpruned").curve(metric), ":", color=unpruned[1], marker=unpruned[2],
              ms=3, lw=1.2, label="neither, pruned in use", zorder=3)  # fmt: skip
    for codec in ("jpeg", "jpeg2000"):
        name, colour, marker = STYLE[codec]
        axes.plot(*curve(records, codec, metric), "-", color=colour, marker=marker, ms=4, lw=1.2, label=f"{name}, fair")
    highest = max([highest, *(rate for rate, _ in _printed(axes, metric))])
    _digitised(axes, metric)
    low = min(np.min(line.get_ydata()) for line in axes.lines if line.get_zorder() >= 4)
    axes.set(xlabel=LABELS["bpp"], ylabel=LABELS[metric], xlim=(0, 1.05 * highest))
    axes.set_ylim(*_limits(axes, 1.05 * highest, low))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    sign(figure, [*used, *baselines(records, "jpeg"), *baselines(records, "jpeg2000")])
    return figure


def _points(found: list[RunRecord], metric: str, files: str) -> Curve:
    """One mean point a record, by rate."""
    left = [numbers.only(record, files) for record in found]
    return Curve.of((record.mean("bpp"), record.mean(metric)) for record in left)


def _printed(axes: object, metric: str) -> list[tuple[float, float]]:
    """Draw the paper's own points twice; the PSNR of none was printed."""
    drawn = []
    if metric == "psnr":
        return drawn
    for bits, colour, how in ((False, "#009E73", "as printed"), (True, "#882255", "nats in bits")):
        points = numbers.points(metric, bits)
        axes.plot(*zip(*points, strict=True), "o", mfc="none", mec=colour, mew=1.4, ms=8, label=f"the paper, {how}",
                  zorder=5)  # fmt: skip
        drawn += points
    return drawn


def _digitised(axes: object, metric: str) -> None:
    """Draw the curves that the paper compares with, thin and grey."""
    for series, style in DIGITISED.items():
        points = numbers.comparator(series, metric)
        if not points.rates:  # none of PSNR, and of MS-SSIM two
            continue
        label = f"{series}, in the paper"
        axes.plot(*points, style, color="#999999", lw=1.0, label=label, zorder=1)


def _limits(axes: object, right: float, low: float) -> tuple[float, float]:
    """From below the lowest of our points, as the encoder makes them, to above all that is drawn up to ``right``."""
    tops = [np.interp(right, line.get_xdata(), line.get_ydata()) for line in axes.lines]
    high = max(tops)
    return low - 0.05 * (high - low), high + 0.03 * (high - low)


def admm_pictures(
    bpp: float = 0.3, side: int = 208, models: Models | None = None, records: Records | None = None
) -> Figure:
    """Figure 3: the original, JPEG, JPEG 2000 and the best of our pruned models in files of at most ``bpp``.

    ``side`` pixels of Kodak's kodim21, or of the astronaut where Kodak is not at hand; SSIM and PSNR of all of it.
    """
    records = laptop(records)
    (name, original), models = _shown(), models or default_models()
    row, column = (260, 300) if name == "kodim21" else (128, 228)
    panels = {f"{name}, original\n24 bpp": original}
    files = {
        "JPEG": codecs.get_codec("jpeg").at_bpp(original, bpp),
        "JPEG 2000": codecs.get_codec("jpeg2000").at_bpp(original, bpp),
        "pruned by ADMM": _best(records, original, bpp, models),
    }
    for codec, file in files.items():
        found = codecs.measure(file, original, encode_seconds=0.0, models=models)
        panels[f"{codec}, {found.bpp:.2f} bpp\nSSIM {found.ssim:.3f}, {found.psnr:.2f} dB"] = found.reconstruction
    return pictures(panels, columns=2, crop=(row - side // 2, column - side // 2, side, side))


def _shown() -> tuple[str, np.ndarray]:
    name = "kodim21" if data.available("kodak") else "astronaut"
    return name, (data.kodak if name == "kodim21" else data.bundled)()[name]


def _stored(records: Records, label: str, models: Models) -> Stored:
    """The model of a training; `LookupError` where the one that is here is another."""
    result = numbers.training(records, label).result
    try:
        stored = models.find(result["file"])
    except ValueError as error:
        raise LookupError(str(error)) from error
    if stored.key != result["model"]:
        raise LookupError(f"the model {result['file']} is not the one of its record")
    return stored


def _best(records: Records, original: np.ndarray, bpp: float, models: Models) -> bytes:
    """Of the files that the pruned models make of at most ``bpp``, the one of the highest SSIM."""
    files = []
    for label in PRUNED:
        try:
            files.append(CaeAdmm(model=_stored(records, label, models).name, models=models).at_bpp(original, bpp))
        except BudgetError:
            continue
    if not files:
        raise LookupError(f"no pruned model makes a file of at most {bpp} bpp")
    shown = {file: codecs.decode(file, models=models) for file in files}
    return max(files, key=lambda file: metrics.ssim(reference=original, reconstruction=shown[file]))


def admm_codes(models: Models | None = None, records: Records | None = None) -> Figure:
    """Figure 4: the code of kodim21 (the astronaut, where Kodak is not at hand) before and after pruning.

    Every channel a tile, blue above zero and orange below, zeros black (`drawings.code_map`). Below, of the pruned
    model's code only the share that its training aimed at.
    """
    records = laptop(records)
    name, original = _shown()
    before, after = (_stored(records, label, models or default_models()) for label in (numbers.BEFORE, numbers.AFTER))
    share = PRUNED[numbers.AFTER]
    codes = {
        "before pruning": latent_of(before, original),
        "after pruning, as the encoder makes it": latent_of(after, original),
    }
    codes[f"after pruning, {100 * share:g} % kept"] = pruned(codes["after pruning, as the encoder makes it"], share)
    channels, rows, columns = codes["before pruning"].shape
    size = -(-channels // 8) * (rows + 2), 8 * (columns + 2)
    figure = Figure(figsize=(7.2, len(codes) * (7.0 * size[0] / size[1] + 0.3) + 0.3), layout="constrained",
                    facecolor="white")  # fmt: skip
    for axes, (title, code) in zip(figure.subplots(len(codes)), codes.items(), strict=True):
        axes.imshow(code_map(code, size), interpolation="nearest")
        axes.set_title(f"{name}, {title}: {100 * (code == 0).mean():.1f} % zeros", fontsize=10)
        axes.axis("off")
    sign(figure, [numbers.training(records, label) for label in (numbers.BEFORE, numbers.AFTER)], name)
    return figure


def admm_residuals(records: Records | None = None) -> Figure:
    """ADMM's residuals and the share of zeros in all crops' codes, over the steps of every training that was pruned."""
    records = laptop(records)
    figure = Figure(figsize=(8.4, 3.6), layout="constrained", facecolor="white")
    panels = {"primal": "primal residual", "dual": "dual residual", "zeros": "share of zeros"}
    colours = ("#009E73", "#56B4E9", "#0072B2", "#000000", "#E69F00", "#D55E00", "#F0E442", "#CC79A7")
    used = [numbers.training(records, label) for label in (*PRUNED, *VARIED, "released")]
    for axes, (column, title) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for record, colour in zip(used, colours, strict=True):
            course, label = record.result["admm"], record.config["label"]
            style = "-" if label in PRUNED else "--"
            axes.plot(course["step"], course[column], style, color=colour, lw=1.4, label=name_of(label))
        axes.set(title=title, xlabel="step")
        if column != "zeros":
            axes.set_yscale("log")
        axes.grid(color="#e4e4e4", lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    crops, source = used[0].config["descent"]["codes"], used[0].config["train"]["data"]
    sign(figure, used, f"{crops:,} training crops of {source}")
    return figure


# Tables ---------------------------------------------------------------------------------------------------------------


def admm_table1(records: Records | None = None) -> Table:
    """Table 1: rate and share of zeros on the mixed set before and after pruning, with 95 % intervals.

    An interval is 1.96 s / sqrt(n) to either side, s the standard deviation over n pictures.
    """
    records = laptop(records)
    rows = []
    for series, label in (("before pruning", numbers.BEFORE), ("after pruning", numbers.AFTER)):
        record = numbers.mixed(records, label)
        values = {metric: numbers.printed(series, metric, "Table 1") for metric in ("bpp", "bpp_ci95")}
        zeros = {metric: numbers.printed(series, metric, "Table 1") for metric in ("zeros", "zeros_ci95")}
        rows.append({
            "code": series,
            "bpp of the file": _with_interval(numbers.interval(record, "bpp"), 3),
            "nats, the released code's bpp": _with_interval(numbers.interval(record, "nats"), 3),
            "these in bits": _with_interval(numbers.interval(record, "nats", numbers.BITS), 3),
            "bpp as printed": _with_interval(values.values(), 3),
            "zeros %": _with_interval(numbers.interval(record, "zeros", 100), 2),
            "zeros % as printed": _with_interval(zeros.values(), 2),
            "SSIM": _with_interval(numbers.interval(record, "ssim"), 3),
            "pictures": f"{len(record.rows)}",
        })  # fmt: skip
    before, after = (numbers.mixed(records, label) for label in (numbers.BEFORE, numbers.AFTER))
    bpp, zeros = ([numbers.printed(f"{when} pruning", metric, "Table 1") for when in ("before", "after")]
                  for metric in ("bpp", "zeros"))  # fmt: skip
    rows.append({
        "code": "saved, or gained",
        "bpp of the file": f"{numbers.rate_saved(records):.1f} %",
        "nats, the released code's bpp": f"{numbers.rate_saved(records, 'nats'):.1f} %",
        "these in bits": f"{numbers.rate_saved(records, 'nats'):.1f} %",
        "bpp as printed": f"{numbers.saved(*bpp):.1f} %",
        "zeros %": f"{numbers.zeros_gained(records):+.2f} points",
        "zeros % as printed": f"{zeros[1] - zeros[0]:+.2f} points",
        "SSIM": f"{after.mean('ssim') - before.mean('ssim'):+.3f}",
        "pictures": "",
    })  # fmt: skip
    return Table(rows)


def admm_table2(records: Records | None = None) -> Table:
    """Table 2: SSIM near 0.6 bpp and seconds from picture to file to picture, one thread, with 95 % intervals.

    The paper's printed numbers beside them; its JPEG 2000 stands in the row of the fair one.
    """
    records = laptop(records)
    rows = []
    for label, (name, series) in ROWS.items():
        record = numbers.mixed(records, label)
        rows.append({
            "codec": name,
            "setting": _setting(records, record),
            "bpp of the file": f"{record.mean('bpp'):.3f}",
            "SSIM": _with_interval(numbers.interval(record, "ssim"), 3),
            "MS-SSIM": _with_interval(numbers.interval(record, "ms_ssim"), 3),
            "seconds": _with_interval(numbers.interval(record, numbers.seconds), 3),
            **_printed_row(series),
        })  # fmt: skip
    return Table(rows)


def _setting(records: Records, record: RunRecord) -> str:
    """What was chosen on validation pictures: of a trained codec its training, and the share that is kept in use."""
    options = record.config["options"]
    if "model" not in options:
        return ", ".join(f"{name} {value:g}" for name, value in options.items() if not isinstance(value, bool))
    (label,) = (r.config["label"] for r in numbers.made(records) if r.result["model"] == options["model"])
    return f"{name_of(label)}, {100 * options.get('keep', 1):.0f} % kept"


def _printed_row(series: str | None) -> dict[str, str]:
    columns = {"bpp": "bpp", "ssim": "SSIM", "seconds": "seconds"}
    if series is None:
        return {f"{name} as printed": "–" for name in columns.values()}
    values = {metric: numbers.printed(series, metric, "Table 2") for metric in columns}
    half = {metric: numbers.printed(series, f"{metric}_ci95", "Table 2") for metric in ("ssim", "seconds")}
    return {
        f"{name} as printed": _with_interval((values[metric], half[metric]), 3)
        if metric in half
        else f"{values[metric]:g}"
        for metric, name in columns.items()
    }


def _with_interval(of: object, digits: int) -> str:
    mean, half = of
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def admm_variants_table(records: Records | None = None) -> Table:
    """Every training on Kodak, its codes as the encoder makes them. ± is the standard deviation over seeds."""
    records = laptop(records)
    records.some("cae_admm")
    rows = []
    for label in numbers.labels(records):
        record = numbers.training(records, label, numbers.seeds_of(records, label)[0])
        rows.append({
            "training": name_of(label),
            "zeros %": _over_seeds(records, label, "zeros", 1, 100),
            "bpp of the file": _over_seeds(records, label, "bpp", 3),
            "SSIM": _over_seeds(records, label, "ssim", 4),
            "MS-SSIM": _over_seeds(records, label, "ms_ssim", 4),
            "PSNR in dB": _over_seeds(records, label, "psnr", 2),
            "nats, the released code's bpp": _over_seeds(records, label, "nats", 3),
            "updates of ADMM": f"{numbers.updates(record)}" if record.config["pruning"] else "–",
            "seeds": f"{len(numbers.seeds_of(records, label))}",
        })  # fmt: skip
    return Table(rows)


def _over_seeds(records: Records, label: str, column: str, digits: int, unit: float = 1.0) -> str:
    mean, deviation = numbers.over_seeds(records, label, column)
    text = f"{unit * mean:.{digits}f}"
    return text if np.isnan(deviation) else f"{text} ± {unit * deviation:.{digits}f}"


def admm_nats_table(records: Records | None = None) -> Table:
    """What is called a rate, and what SSIM: files, entropies of patches in bits and in nats; whole, and by patches.

    Means over the mixed set; SSIM over Kodak, whose pictures are whole patches. A standard codec has no code whose
    entropy could be taken.
    """
    records = laptop(records)
    rows = []
    for label, name in ((numbers.BEFORE, "before pruning"), (numbers.AFTER, "after pruning"),
                        *((label, name) for label, (name, _) in ROWS.items())):  # fmt: skip
        record = numbers.mixed(records, label)
        nats = record.mean("nats") if "nats" in record.rows[0] else None
        kodak = record.only([row["picture"] for row in record.rows if row["picture"].startswith("kodak/")])
        rows.append({
            "codec": name if label in ROWS else f"ours, {name}",
            "bpp of the file": f"{record.mean('bpp'):.3f}",
            "entropy of patches, bits": "–" if nats is None else f"{nats * numbers.BITS:.3f}",
            "the same, nats": "–" if nats is None else f"{nats:.3f}",
            "file over nats": "–" if nats is None else f"{record.mean('bpp') / nats:.3f}",
            "SSIM, Kodak": f"{kodak.mean('ssim'):.4f}", "by patches": f"{kodak.mean('ssim_patches'):.4f}",
            "difference": f"{numbers.patches_to_whole(records, label):+.4f}",
        })  # fmt: skip
    return Table(rows)


FAIR = (
    ("pruned by ADMM, as the encoder makes it", "pruned", "code", "estimated", "entropy estimated, likewise"),
    ("pruned by ADMM, only that share kept", "pruned", "share", "estimated", "entropy estimated, as it is made"),
    ("pruned by ADMM, every file", "pruned", "all", "estimated", "entropy estimated, every file"),
    ("pruned by ADMM, every file", "pruned", "all", "unpruned", "neither, pruned in use"),
    ("pruned by ADMM, every file", "pruned", "all", "jpeg", "JPEG"),
    ("pruned by ADMM, every file", "pruned", "all", "jpeg2000", "JPEG 2000"),
    ("entropy estimated, every file", "estimated", "all", "jpeg", "JPEG"),
    ("entropy estimated, every file", "estimated", "all", "jpeg2000", "JPEG 2000"),
)


def admm_fair_table(records: Records | None = None) -> Table:
    """The question at equal bytes, on Kodak: mean vertical distances of curves, and bytes at equal SSIM.

    Each by pchip over what both curves have, which is given in bpp. The last row is of points: one share against one
    price, over the seeds, ± their standard deviation.
    """
    records = laptop(records)
    rows = []
    for name, of, files, over, other in FAIR:
        row = {"curve": name, "against": other}
        row |= {title: _bd(records, numbers.difference, of, over, metric, files, digits)
                for metric, title, digits in (("ssim", "SSIM", 4), ("ms_ssim", "MS-SSIM", 4), ("psnr", "PSNR in dB", 2))
                }  # fmt: skip
        row["bytes at equal SSIM"] = _bd(records, numbers.bytes_more, of, over, "ssim", files, 1, " %")
        try:
            low, high = numbers.difference(records, of, over, "ssim", files).overlap
            row["over bpp"] = f"{low:.2f} to {high:.2f}"
        except LookupError:
            row["over bpp"] = "too few in common"
        rows.append(row)
    row = {"curve": name_of(HEADLINE[0]), "against": f"{name_of(HEADLINE[1])}, seed by seed"}
    for metric, title, digits in (("ssim", "SSIM", 4), ("ms_ssim", "MS-SSIM", 4), ("psnr", "PSNR in dB", 2)):
        try:
            mean, deviation = numbers.headline(records, metric)
            row[title] = f"{mean:+.{digits}f} ± {deviation:.{digits}f}"
        except LookupError:
            row[title] = "–"
    return Table([*rows, row | {"bytes at equal SSIM": "–", "over bpp": "at its own rate"}])


def _bd(
    records: Records, measure: object, of: str, over: str, metric: str, files: str, digits: int, unit: str = ""
) -> str:
    (
        numbers.family(records, of, metric, files),
        numbers.family(records, over, metric),
    )  # where a record is missing, there is no table
    try:
        return f"{measure(records, of, over, metric, files).value:+.{digits}f}{unit}"
    except LookupError:
        return "–"


def admm_models_table(models: Models | None = None) -> Table:
    """The trained models of CAE-ADMM and of its comparison, by default in ``results/models``: what a file can name."""
    models, rows = models or default_models(), []
    for stored in models.of_codec("cae-admm", "cae-theis"):
        about = stored.about
        rows.append({
            "model": stored.name, "key": stored.key, "codec": stored.codec, "trained": name_of(about.get("label", "–")),
            "channels": f"{stored.model.shape.latent}",
            "chosen by the codec": "yes" if about.get("search") else "only by name",
            "kB": f"{models.files[stored.name].stat().st_size / 1000:,.0f}",
        })  # fmt: skip
    return Table(rows)
