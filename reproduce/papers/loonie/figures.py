"""Data of figures and tables of COIN and L0onie."""

from __future__ import annotations

from typing import Any

import numpy as np

from reproduce.figure_data import Entry, FigureData, line
from reproduce.papers import baselines
from reproduce.papers.loonie.measures import (
    METHODS,
    coin_curve,
    coin_points,
    counted,
    loonie,
    loonie_curve,
    on_all_of_kodak,
    psnr_of_starts,
    starts,
    third,
)
from reproduce.papers.loonie.plans import FILE_PARTS, FIRST_VALUES, LOONIE_PARTS, RACE
from reproduce.records import Records, RunRecord, published
from sparsecomp import codecs, data, metrics
from sparsecomp.complexity import mlp_macs_per_pixel
from sparsecomp.models.siren import Architecture

NAMES = {
    "coin": "COIN, ours (coordinates per axis)",
    "file": "our files: quantised in training",
    "nonzeros": "L0onie (gates)",
    "magnitude": "magnitude pruning",
    "dense": "COIN, as many steps",
}
# What our files are compared with, by the paper's name in ``kodak.csv``.
OTHERS = {"struempler2021": "Strümpler 2021", "mscn": "MSCN", "recombiner": "RECOMBINER"}
COIN_PRINTED = {"where": "Kodak mean", "metric": "psnr"}


def coin_printed() -> list[tuple[float, float]]:
    """COIN's points on Kodak as its authors published them: bpp and PSNR in dB."""
    return [(row["x"], row["value"]) for row in published("coin", **COIN_PRINTED)]


def coin_rate_distortion(records: Records, metric: str = "psnr") -> FigureData:
    """Figure 2 of COIN: quality over rate on Kodak of standard codecs and COIN, and (PSNR) the points it prints."""
    standard = baselines.rate_distortion(records, metric)
    rows = [*standard.rows, line("coin", NAMES["coin"], zip(*coin_points(records, metric), strict=True))]
    if metric == "psnr":
        rows.append(line("coin", "COIN, published (its own coordinates)", coin_printed(), printed=True))
    return FigureData(rows, [*standard.records, *coin_curve(records)])


def coin_table(records: Records) -> FigureData:
    """COIN on Kodak: the paper's accounting, our files, published and our PSNR."""
    printed = {row["setting"]: row for row in published("coin", **COIN_PRINTED)}
    rows, found = [], coin_curve(records)
    for record in found:
        architecture = record.config["architecture"]
        # Both rates are of the same pictures; the estimate stands to the file as its bits to the file's bits.
        estimate = record.mean("bpp") * record.mean("estimated_bits") / (8 * record.mean("bytes"))
        rows.append({
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
        })  # fmt: skip
    return FigureData(rows, found)


def coin_bd(records: Records) -> FigureData:
    """BD-rate and BD-PSNR of COIN against JPEG on Kodak."""
    jpeg = baselines.curve(records, "jpeg")
    row = baselines.bd_row("COIN, ours", coin_points(records), jpeg, baselines.NAMES["jpeg"])
    return FigureData([row], [*coin_curve(records), *baselines.baselines(records, "jpeg")])


def depth_search(records: Records) -> FigureData:
    """COIN at equal bytes: mean PSNR over depth, every depth with the widest layers that fit the budget."""
    found, rows = records.some("search"), []
    for bpp in (0.15, 0.3):
        runs = [r for r in found if r.config["target_bpp"] == bpp]
        runs.sort(key=lambda r: Architecture.parse(r.config["architecture"]).depth)
        points = [(Architecture.parse(r.config["architecture"]).depth, r.mean("psnr")) for r in runs]
        rows.append(line("coin", f"at most {bpp} bpp", points, networks=[r.config["architecture"] for r in runs]))
    return FigureData(rows, found)


def fit_course(records: Records, architecture: str = "10x28") -> FigureData:
    """PSNR over steps: our fits of all Kodak pictures, their mean, kodim15, and the official code on kodim15."""
    (record,) = [r for r in coin_curve(records) if r.config["architecture"] == architecture]
    courses = {row["picture"]: row["history"] for row in record.rows}
    steps, pixels = courses["kodim15"]["step"], record.config["fit"]["batch_pixels"]
    mean = np.mean([history["psnr"] for history in courses.values()], axis=0).tolist()
    official = published("coin", where="course of a fit, kodim15")
    rows = [line("coin", name, zip(history["step"], history["psnr"], strict=True), kind="picture")
            for name, history in courses.items() if name != "kodim15"]  # fmt: skip
    rows += [
        line("coin", f"ours, kodim15 ({pixels:,} pixels a step)", zip(steps, courses["kodim15"]["psnr"], strict=True),
             kind="kodim15"),
        line("coin", f"ours, mean of {len(courses)} pictures", zip(steps, mean, strict=True), kind="mean"),
        line("coin", "official code, kodim15 (393,216 pixels a step)",
             [(row["x"], row["value"]) for row in official], kind="official"),
    ]  # fmt: skip
    return FigureData(rows, [record])


def ingredients_table(records: Records) -> FigureData:
    """PSNR without each ingredient of the engine's budget: mean over pictures, and over seeds mean, least and most."""
    found = records.some("ingredients")
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
    return FigureData(rows, found)


def rate_distortion(records: Records, accounting: str = "nonzeros") -> FigureData:
    """PSNR over rate on the pictures of Kodak that all records have: L0onie, magnitude pruning, COIN, JPEG.

    ``accounting="nonzeros"`` is the paper's: 16 bits a nonzero value (JPEG by its files). ``"file"`` counts the bytes
    of files for all, and has our own files beside them.
    """
    shared, used, rows = third(records), [], []
    for method in METHODS if accounting == "file" else METHODS[1:]:
        points, found = loonie_curve(records, method, accounting, shared)
        used += found
        rows.append(line(method, NAMES[method], zip(*points, strict=True)))
    name = "JPEG" + ("" if accounting == "file" else " (files)")
    jpeg = zip(*baselines.curve(records, "jpeg", "psnr", shared), strict=True)
    rows.append(line("jpeg", name, [point for point in jpeg if point[0] < 0.75]))
    return FigureData(rows, [*used, *(r.only(shared) for r in baselines.baselines(records, "jpeg"))])


def files_against_published(records: Records) -> FigureData:
    """Our files on all of Kodak at 0.3 bpp and on a third of it at the other rates, against what others published."""
    shared, whole = third(records), on_all_of_kodak(loonie(records, "file"))
    points, used = loonie_curve(records, "file", "file", shared)
    rows = [
        line("file", f"our files, {len(shared)} pictures", zip(*points, strict=True)),
        line("file", "our files, all of Kodak", [(whole.mean("bpp"), whole.mean("psnr"))], whole=True),
    ]
    for series, name in OTHERS.items():
        printed = published("kodak", where="Kodak mean", series=series, metric="psnr")
        inside = [(row["x"], row["value"]) for row in printed if row["x"] < 0.8]
        rows.append(line(series, f"{name}, published", inside, printed=True))
    for series, name, curve in (("coin", NAMES["coin"], coin_points(records)),
                                ("jpeg", baselines.NAMES["jpeg"], baselines.curve(records, "jpeg"))):  # fmt: skip
        rows.append(line(series, name, [point for point in zip(*curve, strict=True) if point[0] < 0.8]))
    return FigureData(rows, [*used, whole, *coin_curve(records), *baselines.baselines(records, "jpeg")])


def dynamics(records: Records) -> FigureData:
    """Training dynamics at 0.3 bpp: rate in the paper's accounting, multiplier and PSNR over steps, every picture."""
    record = loonie(records, "nonzeros")
    rows = [{"picture": row["picture"], **row["course"]} for row in record.rows]
    return FigureData(rows, [record])


def race_course(records: Records) -> FigureData:
    """PSNR over the work of training, at a budget of 0.3, Adam at a constant rate: L0onie, and COIN at two rates.

    The work is in 10¹² multiply-accumulates, three passes a step and pixel, which is time without the other programs
    of a machine. ``over`` is true at a point where any picture is over its budget: such a network is no answer yet.
    """
    found, rows = records.some("loonie_race", data="kodak"), []
    for record in sorted(found, key=lambda r: list(RACE).index(r.config["runner"])):
        steps = np.array(record.rows[0]["history"]["step"])
        depth, width = map(int, record.config["architecture"].split("x"))
        pixels = record.config["fit"]["batch_pixels"] or 512 * 768
        work = 3e-12 * mlp_macs_per_pixel(depth, width) * pixels * steps
        psnr = np.mean([row["history"]["psnr"] for row in record.rows], axis=0)
        over = np.zeros(len(steps), bool)
        if "course" in record.rows[0]:
            most = np.max([row["course"]["rate"] for row in record.rows], axis=0)
            over = most > record.config["bpp"] * (1 + 1e-6)
        points = zip(work.tolist(), psnr.tolist(), strict=True)
        series = "nonzeros" if over.any() else "dense"
        rows.append(line(series, record.config["runner"], points, over=over.tolist()))
    return FigureData(rows, found)


def _named(size: float) -> str:
    return "COIN, nothing pruned" if size == 1 else f"L0onie from {size:g} budgets"


def start_curves(records: Records) -> FigureData:
    """PSNR over depth at each budget: COIN's networks, and L0onie from starts of two sizes; means over pictures."""
    rows = [
        line("dense" if size == 1 else "nonzeros", _named(size), depths.items(), bpp=bpp, size=size)
        for bpp, sizes in psnr_of_starts(records).items() for size, depths in sizes.items()
    ]  # fmt: skip
    return FigureData(rows, [record for found in starts(records).values() for record in found])


def starts_table(records: Records) -> FigureData:
    """What a choice of depth is worth, with and without gates: best, mean and worst PSNR over depths."""
    rows = []
    for bpp, sizes in psnr_of_starts(records).items():
        for size, depths in sizes.items():
            best, worst = (of(depths, key=depths.__getitem__) for of in (max, min))
            rows.append({
                "budget": f"{bpp:g} bpp",
                "network": _named(size),
                "best depth": f"{best}: {depths[best]:.2f} dB",
                "mean over depths": f"{np.mean(list(depths.values())):.2f} dB",
                "worst depth": f"{worst}: {depths[worst]:.2f} dB",
                "best less mean": f"{depths[best] - np.mean(list(depths.values())):.2f} dB",
            })  # fmt: skip
    return FigureData(rows, [record for found in starts(records).values() for record in found])


def start_rows(records: Records) -> list[dict[str, Any]]:
    """The rows of the sweep over starts as `reproduce.sweep_report` shows them."""
    return [
        {"row": record.name, "state": "done", "depth": depth, "size": size, "bpp": bpp, "picture": picture["picture"],
         "PSNR in dB": picture["psnr"], "SSIM": picture["ssim"], "bpp of the file": picture["bpp"],
         "start": record.config["architecture"], "seconds": picture["encode_seconds"]}
        for (bpp, size, depth), found in starts(records).items() for record in found for picture in record.rows
    ]  # fmt: skip


def first_steps(records: Records, codec: str = "coin") -> FigureData:
    """PSNR over the first steps of the papers' own trainings on kodim15, of one codec; COIN's beside the official code.

    Each way differs in its first values (`FIRST_VALUES`). L0onie's last score is left out: by then no state was within
    the budget, and it is of weights that were repaired to it.
    """
    found = records.some("first_values", codec=codec)
    found.sort(key=lambda record: list(FIRST_VALUES).index(record.config["label"]))
    rows = [
        line("dense" if codec == "coin" else "nonzeros", record.config["label"],
             list(zip(*record.rows[0]["history"].values(), strict=True))[: None if codec == "coin" else -1])
        for record in found
    ]  # fmt: skip
    if codec == "coin":
        last = rows[0]["x"][-1]
        official = [(row["x"], row["value"]) for row in published("coin", where="course of a fit, kodim15")]
        rows.append(line("coin", "official code", [point for point in official if point[0] <= last], printed=True))
    return FigureData(rows, found)


def loonie_first_steps(records: Records) -> FigureData:
    """As `first_steps`, of L0onie."""
    return first_steps(records, "loonie")


def psnr_of_pictures(records: Records) -> FigureData:
    """PSNR of the 24 pictures at a budget of 0.3, method by method."""
    found = [loonie(records, method) for method in METHODS[:0:-1]]
    rows = [{"series": method, "name": NAMES[method], "psnr": [row["psnr"] for row in record.rows]}
            for method, record in zip(METHODS[:0:-1], found, strict=True)]  # fmt: skip
    return FigureData(rows, found)


def reconstructions(records: Records) -> FigureData:
    """The astronaut from files: our file and L0onie's at a budget of 0.3, COIN, JPEG; rates are of the files."""
    found, original = records.some("gallery"), data.bundled()["astronaut"]
    files = {"our file": "loonie-file-0.3", "L0onie": "loonie-nonzeros-0.3", "COIN 10x28": "10x28", "JPEG": "jpeg-0.3"}
    rows = [{"title": "original", "picture": original}]
    for name, kept in files.items():
        file = (records.folder / "gallery" / "files" / "laptop" / f"astronaut-{kept}.spc").read_bytes()
        shown = codecs.decode(file)
        psnr = metrics.psnr(reference=original, reconstruction=shown)
        title = f"{name}: {8 * len(file) / original[..., 0].size:.3f} bpp, {psnr:.2f} dB"
        rows.append({"title": title, "picture": shown})
    return FigureData(rows, found)


def methods_table(records: Records) -> FigureData:
    """Every method at every rate there is a record of: pictures, rate in both accountings, PSNR, work to decode.

    The records have 8 or 24 pictures, so the PSNR over the 8 that all of them have is given as well.
    """
    records.some("loonie")
    shared = third(records)
    used = [(method, record) for method in METHODS for record in loonie_curve(records, method, "file", None)[1]]
    rows = [{
        "method": NAMES[method],
        "start": record.config["architecture"],
        "pictures": len(record.rows),
        "16 bits a nonzero value, per pixel (estimate)": "–" if method == "file" else f"{counted(record):.4f}",
        "bpp of the file": f"{record.mean('bpp'):.4f}",
        "PSNR in dB": f"{record.mean('psnr'):.2f}",
        "PSNR in dB, the same 8 pictures": f"{record.only(shared).mean('psnr'):.2f}",
        "MAC/px": int(record.mean("macs_per_pixel")),
        "steps": f"{record.config['fit']['steps']:,}",
        "preset": record.config["profile"],
    } for method, record in used]  # fmt: skip
    return FigureData(rows, [record for _, record in used])


def parts_table(records: Records) -> FigureData:
    """What each part of L0onie does at 0.3 bpp, on 6 pictures: PSNR, both accountings, spread over pictures."""
    found, rows = records.some("loonie_parts", data="kodak"), []
    whole = {r.config["part"]: r for r in found}
    for part in sorted(whole, key=(*LOONIE_PARTS, *FILE_PARTS).index):
        record = whole[part]
        against = "our file" if part.startswith("our file") else "L0onie"
        against = "our file, no frequencies" if part.endswith("gates") else against
        base = whole[against]
        difference = [ours["psnr"] - theirs["psnr"] for ours, theirs in zip(record.rows, base.rows, strict=True)]
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
    return FigureData(rows, found)


STARTS_MADE_BY = "sweep sweeps/loonie_starts.yaml"
FIGURES = {
    "rate-distortion": Entry("COIN on Kodak (COIN, Fig. 2)", coin_rate_distortion, "coin"),
    "coin-table": Entry("COIN: bytes and PSNR", coin_table, "coin"),
    "coin-bd": Entry("COIN: BD-rate and BD-PSNR", coin_bd, "coin"),
    "fit-course": Entry("PSNR over steps of a fit", fit_course, "coin"),
    "depth-search": Entry("PSNR over depth at equal bytes", depth_search, "search"),
    "ingredients": Entry("What each ingredient of a fit does", ingredients_table, "ingredients"),
    "loonie-paper": Entry(
        "PSNR over the paper's estimate of the rate (L0onie, PSNR against bpp)", rate_distortion, "loonie"
    ),
    "loonie-files": Entry("Our files against published ones", files_against_published, "loonie"),
    "loonie-dynamics": Entry("Training dynamics (L0onie)", dynamics, "loonie"),
    "loonie-race": Entry("PSNR over the work of training (L0onie, PSNR against time)", race_course, "loonie_race"),
    "loonie-reconstructions": Entry("Reconstructions (L0onie)", reconstructions, "gallery"),
    "loonie-histogram": Entry("PSNR histogram (L0onie)", psnr_of_pictures, "loonie"),
    "loonie-table": Entry("L0onie, pruning, COIN and our files: rates and PSNR", methods_table, "loonie"),
    "loonie-parts": Entry("What each part of L0onie does", parts_table, "loonie_parts"),
    "first-steps": Entry("First values of COIN", first_steps, "first_values"),
    "loonie-first-steps": Entry("First steps of the released L0onie", loonie_first_steps, "first_values"),
    "loonie-starts": Entry("PSNR over the depth of L0onie's start", start_curves, "loonie_starts", STARTS_MADE_BY),
    "loonie-starts-table": Entry("What a choice of depth is worth", starts_table, "loonie_starts", STARTS_MADE_BY),
}
