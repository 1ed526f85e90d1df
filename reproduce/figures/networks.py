"""Figures and tables of the standard codecs, COIN and L0onie, and of measurements of speed."""

from __future__ import annotations

import numpy as np

from reproduce.drawings import PROJECTION_NAMES, Figure
from reproduce.figures.base import (
    LABELS,
    OTHERS,
    STANDARD,
    STYLE,
    Table,
    laptop,
    new_figure,
    pictures,
    sign,
)
from reproduce.papers import loonie as networks
from reproduce.papers.baselines import baselines, curve
from reproduce.papers.loonie import METHODS, coin_curve, counted, loonie, loonie_curve, third
from reproduce.records import Records, RunRecord, published
from sparsecomp import codecs, data, metrics
from sparsecomp.complexity import mlp_macs_per_pixel

# Figures --------------------------------------------------------------------------------------------------------------


def rate_distortion(
    metric: str = "psnr",
    *,
    labels: tuple[str, ...] = STANDARD,
    coin: bool = True,
    top: float = 1.3,
    records: Records | None = None,
) -> Figure:
    """Quality over rate on Kodak: means of per-picture values at every setting, rates of files, up to ``top`` bpp."""
    records = laptop(records)
    figure, axes = new_figure()
    used, highest = [record for label in labels for record in baselines(records, label)], []
    for label in labels:
        name, colour, marker = STYLE[label]
        rate, quality = curve(records, label, metric)
        highest.append(np.interp(top, rate, quality))
        dashed = "--" if "no-transform" in label else "-"
        axes.plot(rate, quality, dashed, color=colour, marker=marker, ms=5, lw=1.4, label=name)
    if coin:
        ours = coin_curve(records)
        used += ours
        name, colour, marker = STYLE["coin"]
        points = [(r.mean("bpp"), r.mean(metric)) for r in ours]
        axes.plot(*zip(*points, strict=True), "-", color=colour, marker=marker, ms=6, lw=1.8, label=name)
        if metric == "psnr":
            printed = published("coin", where="Kodak mean", metric="psnr")
            xs, ys = [row["x"] for row in printed], [row["value"] for row in printed]
            axes.plot(xs, ys, "o", mfc="none", mec="#000000", ms=9, label="COIN, published (its own coordinates)")
    low, _ = axes.get_ylim()
    axes.set(
        xlabel=LABELS["bpp"],
        ylabel=LABELS[metric],
        xlim=(0, top),
        ylim=(low, max(highest) + 0.03 * (max(highest) - low)),
    )
    axes.legend(frameon=False, fontsize=9)
    sign(figure, used)
    return figure


def colour_transform(records: Records | None = None) -> Figure:
    """What JPEG 2000 loses when its colour transform is left off, as Pillow leaves it by default."""
    records = laptop(records)
    labels = ("jpeg", "jpeg2000", "jpeg2000-no-transform")
    return rate_distortion(labels=labels, coin=False, top=2.0, records=records)


def depth_search(records: Records | None = None) -> Figure:
    """COIN at equal bytes: mean PSNR over depth, every depth with the widest layers that fit the budget."""
    records = laptop(records)
    figure, axes = new_figure()
    found = [r for r in records.find("search") if r.config["profile"] == "laptop"]
    if not found:
        raise LookupError(
            "no records of study 'search': make them with `python -m reproduce study search --preset laptop`"
        )
    for bpp, colour, marker in ((0.15, "#0072B2", "o"), (0.3, "#D55E00", "s")):
        runs = sorted((r for r in found if r.config["target_bpp"] == bpp), key=_depth)
        points = [(_depth(r), r.mean("psnr")) for r in runs]
        axes.plot(*zip(*points, strict=True), "-", color=colour, marker=marker, label=f"at most {bpp} bpp")
        for record, (depth, psnr) in zip(runs, points, strict=True):
            axes.annotate(
                record.config["architecture"],
                (depth, psnr),
                (0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    axes.set(xlabel="depth (sine layers)", ylabel=LABELS["psnr"])
    axes.margins(y=0.15)
    axes.legend(frameon=False)
    sign(figure, found)
    return figure


def fit_course(architecture: str = "10x28", records: Records | None = None) -> Figure:
    """PSNR over steps: our fits of all Kodak pictures, their mean, kodim15, and the official code on kodim15."""
    records = laptop(records)
    figure, axes = new_figure()
    (record,) = [r for r in coin_curve(records) if r.config["architecture"] == architecture]
    courses = {row["picture"]: row["history"] for row in record.rows}
    for name, history in courses.items():
        ours, label = name == "kodim15", f"ours, kodim15 ({record.config['fit']['batch_pixels']:,} pixels a step)"
        axes.plot(
            history["step"], history["psnr"], color="#0072B2" if ours else "#cccccc", lw=1.8 if ours else 0.7,
            zorder=3 if ours else 1, label=label if ours else None,
        )  # fmt: skip
    mean = np.mean([history["psnr"] for history in courses.values()], axis=0)
    axes.plot(courses["kodim15"]["step"], mean, color="#000000", lw=1.8, label=f"ours, mean of {len(courses)} pictures")
    official = published("coin", where="course of a fit, kodim15")
    steps, psnr = [row["x"] for row in official], [row["value"] for row in official]
    axes.plot(steps, psnr, "o-", color="#D55E00", ms=4, label="official code, kodim15 (393,216 pixels a step)")
    axes.set(xlabel="step", ylabel=LABELS["psnr"], xscale="log")
    axes.legend(frameon=False, fontsize=9)
    sign(figure, [record])
    return figure


# L0onie ---------------------------------------------------------------------------------------------------------------


def loonie_rate_distortion(accounting: str = "nonzeros", records: Records | None = None) -> Figure:
    """PSNR over rate on the pictures of Kodak that all records have: L0onie, magnitude pruning, COIN, JPEG.

    ``accounting="nonzeros"`` is the paper's: 16 bits a nonzero value (JPEG by its files). ``"file"`` counts the bytes
    of files for all, and draws our own files beside them.
    """
    records = laptop(records)
    figure, axes = new_figure()
    shared, used = third(records), []
    for method in METHODS if accounting == "file" else METHODS[1:]:
        (rates, qualities), found = loonie_curve(records, method, accounting, shared)
        used += found
        name, colour, marker = STYLE[method]
        axes.plot(rates, qualities, "-", color=colour, marker=marker, ms=7, lw=1.6, label=name)
    name, colour, marker = STYLE["jpeg"]
    rates, qualities = curve(records, "jpeg", "psnr", shared)
    inside = [i for i, rate in enumerate(rates) if rate < 0.75]
    axes.plot(*([values[i] for i in inside] for values in (rates, qualities)), "-", color=colour, marker=marker, ms=4,
              lw=1.2, label=name + ("" if accounting == "file" else " (files)"))  # fmt: skip
    estimate = "16 bits a nonzero value, per pixel (an estimate)"
    axes.set(xlabel="bits per pixel of the file" if accounting == "file" else estimate, ylabel=LABELS["psnr"])
    axes.legend(frameon=False, fontsize=9)
    sign(figure, [*used, *(r.only(shared) for r in baselines(records, "jpeg"))])
    return figure


def loonie_files(records: Records | None = None) -> Figure:
    """Our files on all of Kodak at 0.3 bpp and on a third of it at the other rates, against what others published."""
    records = laptop(records)
    figure, axes = new_figure()
    name, colour, marker = STYLE["file"]
    (rates, qualities), used = loonie_curve(records, "file", "file", third(records))
    axes.plot(rates, qualities, "-", color=colour, marker=marker, ms=10, lw=1.8, label=f"{name}, 8 pictures")
    whole = loonie(records, "file")
    axes.plot(whole.mean("bpp"), whole.mean("psnr"), marker, color="none", mec=colour, ms=16,
              label=f"{name}, {len(whole.rows)} pictures")  # fmt: skip
    for series, (label, shape) in OTHERS.items():
        rows = [r for r in published("kodak", where="Kodak mean", series=series, metric="psnr") if r["x"] < 0.8]
        axes.plot([r["x"] for r in rows], [r["value"] for r in rows], "--", color="#888888", marker=shape, mfc="none",
                  ms=6, lw=1, label=f"{label}, published")  # fmt: skip
    for codec, points in (("coin", _coin_curve(records)), ("jpeg", curve(records, "jpeg"))):
        label, shade, shape = STYLE[codec]
        inside = [pair for pair in zip(*points, strict=True) if pair[0] < 0.8]
        axes.plot(*zip(*inside, strict=True), "-", color=shade, marker=shape, ms=4, lw=1, label=label)
    axes.set(xlabel="bits per pixel of the file", ylabel=LABELS["psnr"])
    axes.legend(frameon=False, fontsize=8)
    sign(figure, [*used, whole, *coin_curve(records), *baselines(records, "jpeg")])
    return figure


def loonie_dynamics(records: Records | None = None) -> Figure:
    """Training dynamics at 0.3 bpp: rate in the paper's accounting, multiplier and PSNR over steps, every picture."""
    records = laptop(records)
    figure = Figure(figsize=(7.2, 6.6), layout="constrained", facecolor="white")
    record = loonie(records, "nonzeros")
    columns = (
        ("rate", "16 bits a nonzero,\nper pixel (estimate)"),
        ("lambda", "multiplier λ"),
        ("psnr", LABELS["psnr"]),
    )
    for axes, (column, label) in zip(figure.subplots(3, 1, sharex=True), columns, strict=True):
        courses = [(row["course"]["step"], row["course"][column]) for row in record.rows]
        for steps, values in courses:
            axes.plot(steps, values, color="#bbbbbb", lw=0.7)
        axes.plot(courses[0][0], np.mean([values for _, values in courses], axis=0), color=STYLE["nonzeros"][1], lw=2)
        if column == "rate":
            axes.axhline(record.config["bpp"], color="#D55E00", ls="--", lw=1)
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("step")
    sign(figure, [record])
    return figure


def loonie_race(records: Records | None = None) -> Figure:
    """PSNR over the work of training, at a budget of 0.3, Adam at a constant rate: L0onie, and COIN at two rates.

    The work is multiply-accumulates, three passes a step and pixel, which is time without the other programs of a
    machine. L0onie's line is dotted while any picture is over its budget: such a network is no answer yet.
    """
    records = laptop(records)
    figure, axes = new_figure()
    found = records.find("loonie_race", data="kodak")
    if not found:
        raise LookupError("no records of study 'loonie_race': make them with `python -m reproduce study loonie_race`")
    colours = {"L0onie at 1e-3": STYLE["nonzeros"][1], "COIN at 1e-3": "#000000", "COIN at 2e-4": "#888888"}
    for record in sorted(found, key=lambda r: list(colours).index(r.config["runner"])):
        runner, rows = record.config["runner"], record.rows
        steps = np.array(rows[0]["history"]["step"])
        depth, width = map(int, record.config["architecture"].split("x"))
        work = 3e-12 * mlp_macs_per_pixel(depth, width) * (record.config["fit"]["batch_pixels"] or 512 * 768) * steps
        psnr = np.mean([row["history"]["psnr"] for row in rows], axis=0)
        over = np.zeros(len(steps), bool)
        if "course" in rows[0]:
            most = np.max([row["course"]["rate"] for row in rows], axis=0)
            over = most > record.config["bpp"] * (1 + 1e-6)
        axes.plot(work, np.where(over, np.nan, psnr), color=colours[runner], lw=1.8, label=runner)
        axes.plot(work, np.where(over, psnr, np.nan), ":", color=colours[runner], lw=1.8)
    axes.set(xlabel="work of training, 10¹² multiply-accumulates a picture", ylabel=LABELS["psnr"])
    axes.legend(frameon=False)
    sign(figure, found)
    return figure


def loonie_histogram(methods: tuple[str, ...] = METHODS[:0:-1], records: Records | None = None) -> Figure:
    """How the 24 pictures are spread over PSNR at a budget of 0.3: a mark a picture, a line at the mean."""
    records = laptop(records)
    figure, axes = new_figure()
    found = [loonie(records, method) for method in methods]
    for height, (method, record) in enumerate(zip(methods, found, strict=True)):
        name, colour, _ = STYLE[method]
        psnr = [row["psnr"] for row in record.rows]
        counts, edges = np.histogram(psnr, bins=np.arange(19, 37, 1.0))
        axes.bar(edges[:-1] + 0.5, counts / 12, bottom=height, width=0.9, color=colour, alpha=0.35)
        axes.plot(psnr, np.full(len(psnr), height - 0.06), "|", color=colour, ms=9)
        axes.plot([np.mean(psnr)] * 2, [height - 0.12, height + 0.7], color=colour, lw=2)
        axes.annotate(f"{np.mean(psnr):.2f}", (np.mean(psnr), height + 0.72), ha="center", fontsize=9)
    axes.set(xlabel=LABELS["psnr"], yticks=range(len(methods)), yticklabels=[STYLE[m][0] for m in methods])
    axes.grid(visible=False, axis="y")
    sign(figure, found)
    return figure


def loonie_reconstructions(records: Records | None = None) -> Figure:
    """The astronaut's face from files: our file and L0onie's at a budget of 0.3, COIN, JPEG; rates are of the files."""
    records = laptop(records)
    records.some("gallery")
    original = data.bundled()["astronaut"]
    files = {"our file": "loonie-file-0.3", "L0onie": "loonie-nonzeros-0.3", "COIN 10x28": "10x28", "JPEG": "jpeg-0.3"}
    panels = {"original": original}
    for name, kept in files.items():
        file = (records.folder / "gallery" / "files" / "laptop" / f"astronaut-{kept}.spc").read_bytes()
        shown = codecs.decode(file)
        psnr = metrics.psnr(reference=original, reconstruction=shown)
        panels[f"{name}: {8 * len(file) / original[..., 0].size:.3f} bpp, {psnr:.2f} dB"] = shown
    return pictures(panels, columns=3, crop=(10, 146, 192, 160))


def loonie_table(records: Records | None = None) -> Table:
    """Every method at every rate there is a record of: pictures, rate in both accountings, PSNR, work to decode."""
    records = laptop(records)
    records.some("loonie")
    rows = []
    for method in METHODS:
        _, found = loonie_curve(records, method, "file", None)
        for record in found:
            rows.append({
                "method": STYLE[method][0],
                "start": record.config["architecture"],
                "pictures": len(record.rows),
                "16 bits a nonzero value, per pixel (estimate)": "–" if method == "file" else f"{counted(record):.4f}",
                "bpp of the file": f"{record.mean('bpp'):.4f}",
                "PSNR in dB": f"{record.mean('psnr'):.2f}",
                "MAC/px": int(record.mean("macs_per_pixel")),
                "steps": f"{record.config['fit']['steps']:,}",
                "preset": record.config["profile"],
            })  # fmt: skip
    return Table(rows)


def loonie_parts_table(records: Records | None = None) -> Table:
    """What each part of L0onie does at 0.3 bpp, on 6 pictures: PSNR, both accountings, spread over pictures."""
    records = laptop(records)
    found = records.find("loonie_parts", data="kodak")
    if not found:
        raise LookupError("no records of study 'loonie_parts': make them with `python -m reproduce study loonie_parts`")
    order = (*networks.LOONIE_PARTS, *networks.FILE_PARTS)
    whole = {r.config["part"]: r for r in found}
    rows = []
    for part in sorted(whole, key=order.index):
        record = whole[part]
        against = "our file" if part.startswith("our file") else "L0onie"
        against = "our file, no frequencies" if part.endswith("gates") else against
        base = whole[against]
        pairs = zip(record.rows, base.rows, strict=True)
        difference = [ours["psnr"] - theirs["psnr"] for ours, theirs in pairs]
        rows.append({
            "fit": part,
            "bpp of the file": f"{record.mean('bpp'):.4f}",
            "16 bits a nonzero value, per pixel (estimate)": "–" if "file" in part else f"{counted(record):.4f}",
            "PSNR in dB": f"{record.mean('psnr'):.2f}",
            "difference": "" if record is base else f"{np.mean(difference):+.2f}",
            "least to most": "" if record is base else f"{min(difference):+.2f} to {max(difference):+.2f}",
            "against": "" if record is base else against,
            "collapses noticed": sum(len(row["restarts"]) for row in record.rows),
            "MAC/px": f"{record.mean('macs_per_pixel'):,.0f}",
            "preset": record.config["profile"],
        })  # fmt: skip
    return Table(rows)


# Tables ---------------------------------------------------------------------------------------------------------------


def coin_table(records: Records | None = None) -> Table:
    """COIN on Kodak: the paper's accounting, our files, published and our PSNR."""
    records = laptop(records)
    printed = {row["setting"]: row for row in published("coin", where="Kodak mean", metric="psnr")}
    rows = []
    for record in coin_curve(records):
        architecture = record.config["architecture"]
        # Both rates are of the same pictures; the estimate stands to the file as its bits to the file's bits.
        estimate = record.mean("bpp") * record.mean("estimated_bits") / (8 * record.mean("bytes"))
        row = {
            "architecture": architecture,
            "bpp of the file": round(record.mean("bpp"), 4),
            "16 bits a parameter": round(estimate, 4),
            "published bpp": round(printed[architecture]["x"], 4),
            "PSNR, ours": round(record.mean("psnr"), 2),
            "PSNR, published": round(printed[architecture]["value"], 2),
            "SSIM": round(record.mean("ssim"), 3),
            "MS-SSIM": round(record.mean("ms_ssim"), 3),
            "MAC/px": int(record.mean("macs_per_pixel")),
            "s to encode": round(record.mean("encode_seconds")),
            "preset": record.config["profile"],
        }
        rows.append(row)
    return Table(rows)


def bd_table(anchor: str = "jpeg", records: Records | None = None) -> Table:
    """BD-rate and BD-PSNR on Kodak against one codec, with the range that the two curves share."""
    records = laptop(records)
    against = STYLE[anchor][0]
    columns = (f"BD-rate against {against}, %", "over dB", f"BD-PSNR against {against}, dB", "over bpp")
    rate_anchor, quality_anchor = curve(records, anchor)
    rows = []
    for label in (*STANDARD, "jpeg2000-no-transform", "coin"):
        if label == anchor:
            continue
        rate, quality = _coin_curve(records) if label == "coin" else curve(records, label)
        cells = ("–",) * 4  # fewer than four points are no curve
        if len(rate) >= 4:
            pair = {"rate_anchor": rate_anchor, "quality_anchor": quality_anchor}
            saved = metrics.bd_rate(**pair, rate_test=rate, quality_test=quality)
            gained = metrics.bd_psnr(**pair, rate_test=rate, quality_test=quality)
            overlaps = ("{:.1f} to {:.1f}".format(*saved.overlap), "{:.2f} to {:.2f}".format(*gained.overlap))
            cells = (f"{saved.value:+.1f}", overlaps[0], f"{gained.value:+.2f}", overlaps[1])
        rows.append({"codec": STYLE[label][0], **dict(zip(columns, cells, strict=True))})
    return Table(rows)


def bench_table(records: Records | None = None) -> Table:
    """Seconds to a PSNR on kodim15, 10x28: COIN's own way in PyTorch, the engine with and without its kernel.

    The seconds of COIN's own way are extrapolated: three timed steps times the steps of a recorded course.
    """
    records = laptop(records)
    record = max(records.at(None).some("bench", data="kodim15"), key=lambda r: r.config["threads"])
    rows = []
    for row in record.rows:
        shown = {
            "mode": f"{row['mode']}, {row['backend']}" + (", extrapolated" if row["mode"] == "reference" else ""),
            "optimiser": row["optimiser"],
            "pixels a step": f"{row['pixels']:,}",
            "ns a pixel and step": f"{row['nanoseconds']:,.0f}",
        }
        for reached in row["reached"]:
            missed = reached["seconds"] is None
            shown[f"s to {reached['target']:g} dB"] = "–" if missed else f"{reached['seconds']:,.1f}"
            shown[f"ratio, {reached['target']:g} dB"] = "–" if missed else f"{reached['ratio']:.0f}x"
        rows.append(shown | {"threads": record.config["threads"]})
    return Table(rows)


def projections_table(records: Records | None = None) -> Table:
    """Milliseconds of each projection of a 512x512x3x3 tensor, as multiples of a sort, and what it leaves."""
    records = laptop(records)
    found = records.at(None).find("bench", data="normal")
    if not found:
        command = "python -m reproduce bench projections --out results/runs"
        raise LookupError(f"no record of the projections' speed: make one with `{command}`")
    record = max(found, key=lambda r: r.config["threads"])
    rows = []
    for row in record.rows:
        rows.append({
            "projection": PROJECTION_NAMES[row["projection"]],
            "ms": f"{row['milliseconds']:,.1f}",
            "times a sort": f"{row['ratio']:.2f}",
            "zeros": f"{100 * row['sparsity']:.1f} %",
            "dead filters": f"{100 * row['dead']:.1f} %",
            "distance to v, over |v|": f"{row['distance']:.3f}",
            "over the Euclidean one, same radius": f"{row['over_euclidean']:.3f}" if row["over_euclidean"] else "–",
            "released code, ms (shown, not counted)": f"{row['released']:,.0f}" if row["released"] else "–",
            "threads": record.config["threads"],
        })  # fmt: skip
    return Table(rows)


def ingredients_table(records: Records | None = None) -> Table:
    """PSNR without each ingredient of the engine's budget: mean over pictures, and over seeds mean, least and most."""
    records = laptop(records)
    found = [r for r in records.find("ingredients") if r.config["profile"] == "laptop"]
    if not found:
        raise LookupError("no records of study 'ingredients': make them with `python -m reproduce study ingredients`")
    of: dict[str, list[RunRecord]] = {}
    for record in found:
        of.setdefault(record.config["ingredient"], []).append(record)
    whole = np.mean([r.mean("psnr") for r in of["all"]])
    rows = []
    for ingredient, runs in sorted(of.items(), key=lambda item: item[0] != "all"):
        psnr = [r.mean("psnr") for r in runs]
        rows.append({
            "fit": "as it is" if ingredient == "all" else ingredient,
            "PSNR in dB": f"{np.mean(psnr):.2f}",
            "over seeds": f"{min(psnr):.2f} to {max(psnr):.2f}",
            "difference": "" if ingredient == "all" else f"{np.mean(psnr) - whole:+.2f}",
            "collapses noticed": sum(len(row["restarts"]) for r in runs for row in r.rows),
        })  # fmt: skip
    return Table(rows)


def _coin_curve(records: Records) -> tuple[list[float], list[float]]:
    found = coin_curve(records)
    return [r.mean("bpp") for r in found], [r.mean("psnr") for r in found]


def _depth(record: RunRecord) -> int:
    return int(record.config["architecture"].split("x")[0])
