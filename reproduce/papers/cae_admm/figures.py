"""Data of figures and tables of CAE-ADMM."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from contextlib import suppress

import numpy as np

from reproduce.figure_data import Entry, FigureData, line
from reproduce.papers import baselines
from reproduce.papers.cae_admm.in_use import seconds
from reproduce.papers.cae_admm.measures import (
    BITS,
    FAMILIES,
    above,
    at_random,
    comparator,
    curves_of,
    family,
    headline,
    interval,
    made,
    members,
    mixed,
    nats_to_files,
    on_kodak,
    over_seeds,
    pair,
    patches_to_whole,
    points,
    printed,
    rate_saved,
    rounding,
    saved,
    seeds_of,
    stepped,
    training,
    unpruned,
    updates,
    zeros_gained,
)
from reproduce.papers.cae_admm.plans import (
    AFTER,
    BEFORE,
    HEADLINE,
    NAMES,
    PRUNED,
    SCHEDULES,
    STEPS,
    VARIANTS,
    VARIED,
)
from reproduce.records import Records, RunRecord
from sparsecomp import data, metrics
from sparsecomp.codecs import BudgetError, decode, get_codec
from sparsecomp.codecs.trained import latent_of, pruned
from sparsecomp.coding.integer_latents import STEP
from sparsecomp.models.pretrained import Models, Stored, default_models

QUALITIES = {"ssim": ("SSIM", 4), "ms_ssim": ("MS-SSIM", 4), "psnr": ("PSNR in dB", 2)}  # column and digits
DRAWN = (  # family, files and name of our lines in Figure 2
    ("pruned", "code", "ours, pruned by ADMM"),
    ("estimated", "code", "ours, entropy estimated"),
    ("unpruned", "code", "ours, unpruned"),
    ("released", "code", "ours, pruned as released"),
    ("16 channels", "code", "ours, unpruned, 16 channels"),
    ("pruned", "share", "ours, pruned by ADMM, only that share kept"),
    ("unpruned", "all", "ours, pruned in use only"),
)
COMPARED = ("Theis et al. 2017", "Toderici et al. 2017", "JPEG", "JPEG 2000")  # curves of the paper's Figure 2
ROWS = {  # of Table 2, and the paper's name for them
    "cae-admm near 0.6": ("pruned by ADMM, ours", "CAE-ADMM"),
    "cae-theis near 0.6": ("entropy estimated, ours", None),
    "jpeg": ("JPEG", "JPEG"),
    "jpeg2000": ("JPEG 2000", "JPEG 2000"),
    "jpeg2000 no transform": ("JPEG 2000, no colour transform", None),
}
FAIR = (  # family, files and name of a curve, and with what it is compared
    ("pruned", "code", "pruned by ADMM, as the encoder makes it", "estimated", "entropy estimated, likewise"),
    ("pruned", "all", "pruned by ADMM, every file", "estimated", "entropy estimated, every file"),
    ("pruned", "all", "pruned by ADMM, every file", "unpruned", "neither, pruned in use"),
    ("pruned", "all", "pruned by ADMM, every file", "jpeg", "JPEG"),
    ("pruned", "all", "pruned by ADMM, every file", "jpeg2000", "JPEG 2000"),
    ("estimated", "all", "entropy estimated, every file", "jpeg", "JPEG"),
    ("estimated", "all", "entropy estimated, every file", "jpeg2000", "JPEG 2000"),
)


def rate_distortion(records: Records, metric: str = "ssim") -> FigureData:
    """Figure 2: quality over the rate of files on Kodak ("psnr" is not in the paper).

    A row has a ``kind``: "code", one point a training, its code as the encoder makes it; "share", of every pruned model
    as many entries as its training aimed at; "all", one unpruned model's code pruned in use; "standard", a standard
    codec; "printed", the paper's own points, as printed and if they are nats; "compared", a curve from its Figure 2.
    """
    rows = []
    for name, files, title in DRAWN:
        curves = curves_of(records, name, metric, files)
        rows.append(line(name, title, sorted(point for of in curves for point in zip(*of, strict=True)), kind=files))
    standard = {codec: family(records, codec, metric) for codec in ("jpeg", "jpeg2000")}
    rows += [line(codec, f"{baselines.NAMES[codec]}, our files", zip(*curve, strict=True), kind="standard")
             for codec, curve in standard.items()]  # fmt: skip
    if metric != "psnr":
        rows += [line("paper", f"the paper, {how}", points(metric, bits), kind="printed")
                 for how, bits in (("as printed", False), ("nats in bits", True))]  # fmt: skip
    rows += [line(name, f"{name}, in the paper", zip(*curve, strict=True), kind="compared")
             for name in COMPARED if (curve := comparator(name, metric)).rates]  # fmt: skip
    used = [training(records, label) for name in FAMILIES for label in members(records, name)]
    return FigureData(rows, used + [record for codec in standard for record in baselines.baselines(records, codec)])


def _shown() -> tuple[str, np.ndarray]:
    """Kodak's kodim21, or the astronaut where Kodak is not at hand."""
    name = "kodim21" if data.available("kodak") else "astronaut"
    return name, (data.kodak if name == "kodim21" else data.bundled)()[name]


def _stored(records: Records, label: str, models: Models) -> Stored:
    """The model of a training; `LookupError` where the one that is here is another."""
    result = training(records, label).result
    try:
        stored = models.find(result["file"])
    except ValueError as error:
        raise LookupError(str(error)) from error
    if stored.key != result["model"]:
        raise LookupError(f"the model {result['file']} is not the one of its record")
    return stored


def _scored(file: bytes, original: np.ndarray, models: Models | None = None) -> tuple[float, float, np.ndarray]:
    """SSIM, bits per pixel and picture of a file."""
    picture = decode(file, models=models)
    rate = metrics.bpp(data=file, height=original.shape[0], width=original.shape[1])
    return metrics.ssim(reference=original, reconstruction=picture) or 0.0, rate, picture


def details(records: Records, bpp: float = 0.3, side: int = 208, models: Models | None = None) -> FigureData:
    """Figure 3: a picture, and its files of at most ``bpp`` by JPEG, JPEG 2000 and our pruned and estimated models.

    ``side`` pixels of each; SSIM and PSNR are of the whole picture. Of the pruned models the one of the highest SSIM is
    shown, of the estimated ones that which the codec chooses.
    """
    (name, original), models, found = _shown(), models or default_models(), []
    for label in PRUNED:
        own = get_codec("cae-admm", model=_stored(records, label, models).name, models=models)
        with suppress(BudgetError):
            found.append(_scored(own.at_bpp(original, bpp), original, models))
    if not found:
        raise LookupError(f"no pruned model makes a file of at most {bpp} bpp")
    shown = {f"{name}, original\n24 bpp": original}
    files = {baselines.NAMES[codec]: _scored(get_codec(codec).at_bpp(original, bpp), original)
             for codec in ("jpeg", "jpeg2000")}  # fmt: skip
    files["pruned by ADMM"] = max(found, key=lambda of: of[0])
    files["entropy estimated"] = _scored(get_codec("cae-theis", models=models).at_bpp(original, bpp), original, models)
    for codec, (ssim, rate, picture) in files.items():
        psnr = metrics.psnr(reference=original, reconstruction=picture)
        shown[f"{codec}, {rate:.2f} bpp\nSSIM {ssim:.3f}, {psnr:.2f} dB"] = picture
    row, column = (260 - side // 2, 300 - side // 2) if name == "kodim21" else (128 - side // 2, 228 - side // 2)
    rows = [{"title": title, "of": name, "picture": picture[row : row + side, column : column + side]}
            for title, picture in shown.items()]  # fmt: skip
    both = (label for name in ("pruned", "estimated") for label in members(records, name))
    return FigureData(rows, [training(records, label) for label in both])


def codes(records: Records, models: Models | None = None) -> FigureData:
    """Figure 4: a picture's code that was not pruned, or pruned in use, or pruned in training."""
    name, original = _shown()
    labels = (unpruned(records), AFTER)
    before, after = (latent_of(_stored(records, label, models or default_models()), original) for label in labels)
    shown = {"not pruned": before, "pruned in use": pruned(before, PRUNED[AFTER]), "pruned in training": after}
    rows = [{"title": f"{name}, {title}: {100 * (code == 0).mean():.1f} % zeros", "of": name, "code": code}
            for title, code in shown.items()]  # fmt: skip
    return FigureData(rows, [training(records, label) for label in labels])


def residuals(records: Records) -> FigureData:
    """ADMM's residuals and the share of zeros in all crops' codes, over the steps of every training that was pruned."""
    others = [label for label in VARIED if seeds_of(records, label)]  # some presets have none
    used = [training(records, label) for label in (*PRUNED, *others, "released")]
    return _residuals(used, NAMES)


def schedule_residuals(records: Records) -> FigureData:
    """The same of one share by the schedules of `schedules_table` that have a Z and a U."""
    labels = [label for label, (_, of) in SCHEDULES.items() if of.get("until") != 0]
    used = [training(records, label) for label in (AFTER, *labels)]
    return _residuals(used, _schedules())


def _residuals(used: list[RunRecord], names: dict[str, str]) -> FigureData:
    rows = [{"series": record.config["label"], "name": names[record.config["label"]], **record.result["admm"]}
            for record in used]  # fmt: skip
    return FigureData(rows, used)


def _schedules() -> dict[str, str]:
    """The names of all schedules at one share, by label."""
    return {AFTER: "ADMM, then the projection"} | {label: name for label, (name, _) in SCHEDULES.items()}


def _with(of: Iterable[float], digits: int) -> str:
    """A number and what lies to either side of it, which one picture or seed does not have."""
    mean, half = of
    return f"{mean:.{digits}f}" + ("" if math.isnan(half) else f" ± {half:.{digits}f}")


def _as_printed(series: str, metric: str, where: str, digits: int) -> str:
    return _with((printed(series, name, where) for name in (metric, f"{metric}_ci95")), digits)


def table_1(records: Records) -> FigureData:
    """Table 1: rate and share of zeros on the mixed set before and after pruning, with 95 % intervals."""
    rows, series, nats = [], ("before pruning", "after pruning"), "nats, the released code's bpp"
    before, after = used = [mixed(records, label) for label in (BEFORE, AFTER)]
    for name, record in zip(series, used, strict=True):
        rows.append({
            "code": name,
            "bpp of the file": _with(interval(record, "bpp"), 3),
            nats: _with(interval(record, "nats"), 3),
            "these in bits": _with(interval(record, "nats", BITS), 3),
            "bpp as printed": _as_printed(name, "bpp", "Table 1", 3),
            "zeros %": _with(interval(record, "zeros", 100), 2),
            "zeros % as printed": _as_printed(name, "zeros", "Table 1", 2),
            "SSIM": _with(interval(record, "ssim"), 3),
            "pictures": f"{len(record.rows)}",
        })  # fmt: skip
    bpp, zeros = ([printed(name, metric, "Table 1") for name in series] for metric in ("bpp", "zeros"))
    rows.append({
        "code": "saved, or gained",
        "bpp of the file": f"{rate_saved(records):.1f} %",
        nats: f"{rate_saved(records, 'nats'):.1f} %",
        "these in bits": f"{rate_saved(records, 'nats'):.1f} %",
        "bpp as printed": f"{saved(*bpp):.1f} %",
        "zeros %": f"{zeros_gained(records):+.2f} points",
        "zeros % as printed": f"{zeros[1] - zeros[0]:+.2f} points",
        "SSIM": f"{after.mean('ssim') - before.mean('ssim'):+.3f}",
        "pictures": "",
    })  # fmt: skip
    return FigureData(rows, used)


def table_2(records: Records) -> FigureData:
    """Table 2: SSIM near 0.6 bpp and seconds from picture to file to picture, one thread, with 95 % intervals.

    The paper's printed numbers beside them; its JPEG 2000 stands in the row of the fair one.
    """
    rows, used = [], [mixed(records, label) for label in ROWS]
    for (name, series), record in zip(ROWS.values(), used, strict=True):
        rows.append({
            "codec": name,
            "setting": _setting(records, record.config["options"]),
            "bpp of the file": f"{record.mean('bpp'):.3f}",
            "SSIM": _with(interval(record, "ssim"), 3),
            "MS-SSIM": _with(interval(record, "ms_ssim"), 3),
            "seconds": _with(interval(record, seconds), 3),
            "bpp as printed": f"{printed(series, 'bpp', 'Table 2'):g}" if series else "–",
            "SSIM as printed": _as_printed(series, "ssim", "Table 2", 3) if series else "–",
            "seconds as printed": _as_printed(series, "seconds", "Table 2", 3) if series else "–",
        })  # fmt: skip
    return FigureData(rows, used)


def _setting(records: Records, options: dict) -> str:
    """What was chosen on validation pictures: of a trained codec its training, and the share or the step in use."""
    if "model" not in options:
        return ", ".join(f"{name} {value:g}" for name, value in options.items() if not isinstance(value, bool))
    (label,) = (r.config["label"] for r in made(records) if r.result["model"] == options["model"])
    used = f"step {options['step'] / STEP:.1f}" if "step" in options else f"{100 * options.get('keep', 1):.0f} % kept"
    return f"{NAMES[label]}, {used}"


def fair_table(records: Records) -> FigureData:
    """Pruning against an estimate at equal bytes, on Kodak: mean vertical distances of curves, bytes at equal SSIM.

    Each by pchip over what both curves have, which is given in bpp. The last row is of points: one share against one
    price, over the seeds, ± their standard deviation.
    """
    rows = []
    for of, files, name, over, other in FAIR:
        row = {"curve": name, "against": other}
        for metric, (title, digits) in QUALITIES.items():
            ours, theirs = pair(records, of, over, metric, files)  # where a record is missing, there is no table
            row[title] = _cell(f"{{0.value:+.{digits}f}}", ours.better, theirs)
        ours, theirs = pair(records, of, over, files=files)
        row["bytes at equal SSIM"] = _cell("{0.value:+.1f} %", ours.longer, theirs)
        overlap = _cell("{0.overlap[0]:.2f} to {0.overlap[1]:.2f}", ours.better, theirs)
        rows.append(row | {"over bpp": "too few in common" if overlap == "–" else overlap})
    of, over = HEADLINE
    row = {"curve": NAMES[of], "against": f"{NAMES[over]}, seed by seed"}
    for metric, (title, digits) in QUALITIES.items():
        row[title] = _cell(f"{{0[0]:+.{digits}f}} ± {{0[1]:.{digits}f}}", headline, records, metric)
    rows.append(row | {"bytes at equal SSIM": "–", "over bpp": "at its own rate"})
    labels = [label for name in ("pruned", "estimated", "unpruned") for label in members(records, name)]
    used = [training(records, label, seed) for label in labels for seed in seeds_of(records, label)]
    return FigureData(rows, used + [r for codec in ("jpeg", "jpeg2000") for r in baselines.baselines(records, codec)])


def _cell(text: str, measure: Callable, *of: object) -> str:
    """What a measure gives, as text; a dash where it gives nothing."""
    try:
        return text.format(measure(*of))
    except LookupError:
        return "–"


def variants_table(records: Records) -> FigureData:
    """Every training on Kodak, its codes as the encoder makes them. ± is the standard deviation over seeds."""
    records.some("cae_admm")
    rows, names = [], NAMES | VARIANTS
    used = made(records) + made(records, ("cae_admm_variants",))
    for label in (label for label in names if label in {record.config["label"] for record in used}):
        seeds = seeds_of(records, label)
        record = training(records, label, seeds[0])
        zeros = (100 * value for value in over_seeds(records, label, "zeros"))
        rows.append({
            "training": names[label],
            "zeros %": _with(zeros, 1),
            "bpp of the file": _with(over_seeds(records, label, "bpp"), 3),
            **{title: _with(over_seeds(records, label, metric), digits)
               for metric, (title, digits) in QUALITIES.items()},
            "nats, the released code's bpp": _with(over_seeds(records, label, "nats"), 3),
            "updates of ADMM": f"{updates(record)}" if record.config["pruning"] else "–",
            "seeds": f"{len(seeds)}",
        })  # fmt: skip
    return FigureData(rows, used)


def schedules_table(records: Records) -> FigureData:
    """Schedules of ADMM at one share, from one unpruned model and with as many steps: residuals, files, SSIM.

    Residuals are the lowest, and that of the last update; of a price on the size of the code there are none. The last
    two columns are at equal bytes: how far the codes lie above the curves of the estimated and of the pruned models.
    """
    rows, used = [], []
    for label, name in _schedules().items():
        record = training(records, label, files="code")
        primal = record.result["admm"]["primal"] if record.config["pruning"].get("until") != 0 else []
        used.append(record)
        rows.append({
            "schedule": name,
            "primal residual, lowest": f"{min(primal):.3f}" if primal else "–",
            "at the end": f"{primal[-1]:.3f}" if primal else "–",
            "zeros %": f"{100 * record.mean('zeros'):.1f}",
            "bpp of the file": f"{record.mean('bpp'):.3f}",
            **{title: f"{record.mean(metric):.{digits}f}" for metric, (title, digits) in QUALITIES.items()},
            "SSIM over the estimated models": _cell("{:+.4f}", above, records, label, "estimated"),
            "over the pruned models": _cell("{:+.4f}", above, records, label, "pruned"),
        })  # fmt: skip
    return FigureData(rows, used)


def steps_table(records: Records) -> FigureData:
    """Codes that are rounded to multiples of a step in use, by family; against the estimated ones at equal bytes."""
    rows, each = [], (1, *STEPS)
    names = {"pruned": "pruned by ADMM", "estimated": "entropy estimated"}
    compared = [("pruned", (step,), (1,)) for step in each] + [("estimated", each, (1,)), ("pruned", each, each)]
    for of, steps, others in compared:
        row = {"codes": f"{names[of]}, {_said(steps)}", "against": f"{names['estimated']}, {_said(others)}"}
        for metric, (title, digits) in QUALITIES.items():
            ours, theirs = (stepped(records, name, by, metric) for name, by in ((of, steps), ("estimated", others)))
            row[title] = _cell(f"{{0.value:+.{digits}f}}", ours.better, theirs)
        ours, theirs = stepped(records, of, steps), stepped(records, "estimated", others)
        row["bytes at equal SSIM"] = _cell("{0.value:+.1f} %", ours.longer, theirs)
        rows.append(row | {"over bpp": _cell("{0.overlap[0]:.2f} to {0.overlap[1]:.2f}", ours.better, theirs)})
    return FigureData(rows, records.some("cae_admm_steps", data="kodak"))


def _said(steps: tuple[int, ...]) -> str:
    return f"step {steps[0]}" if len(steps) == 1 else "best step"


def nats_table(records: Records) -> FigureData:
    """What is called a rate, and what SSIM: files, entropies of patches in bits and in nats; whole, and by patches.

    Means over the mixed set; SSIM over Kodak, whose pictures are whole patches. A standard codec has no code whose
    entropy could be taken.
    """
    rows, used = [], []
    names = {BEFORE: "ours, before pruning", AFTER: "ours, after pruning"}
    for label, name in (names | {label: name for label, (name, _) in ROWS.items()}).items():
        record, kodak = mixed(records, label), on_kodak(records, label)
        used.append(record)
        nats = record.mean("nats") if "nats" in record.rows[0] else None
        rows.append({
            "codec": name,
            "bpp of the file": f"{record.mean('bpp'):.3f}",
            "entropy of patches, bits": "–" if nats is None else f"{nats * BITS:.3f}",
            "the same, nats": "–" if nats is None else f"{nats:.3f}",
            "file over nats": "–" if nats is None else f"{nats_to_files(records, label):.3f}",
            "SSIM, Kodak": f"{kodak.mean('ssim'):.4f}",
            "by patches": f"{kodak.mean('ssim_patches'):.4f}",
            "difference": f"{patches_to_whole(records, label):+.4f}",
        })  # fmt: skip
    return FigureData(rows, used)


def rounding_table(records: Records) -> FigureData:
    """Codes of two models, rounded in use to the nearest and at random, means over pictures and draws."""
    rows, used = [], []
    for label in (BEFORE, AFTER):
        record = rounding(records, label)
        used.append(record)
        nearest = functools.partial(record.mean, setting="nearest")
        drawn = functools.partial(at_random, record)
        for how, mean in (("to the nearest", nearest), (f"at random, {len(record.config['draws'])} draws", drawn)):
            name = NAMES[unpruned(records) if label == BEFORE else label]
            rows.append({
                "training": name, "rounded": how, "bpp of the file": f"{mean('bpp'):.3f}",
                "zeros %": f"{100 * mean('zeros'):.1f}",
                **{title: f"{mean(metric):.{digits}f}" for metric, (title, digits) in QUALITIES.items()},
            })  # fmt: skip
    return FigureData(rows, used)


def models_table(models: Models | None = None) -> FigureData:
    """The trained models of CAE-ADMM and of its comparison, by default in ``results/models``: what a file can name."""
    models, rows = models or default_models(), []
    for stored in models.of_codec("cae-admm", "cae-theis"):
        label = stored.about.get("label", "–")
        rows.append({
            "model": stored.name, "key": stored.key, "codec": stored.codec, "trained": NAMES.get(label, label),
            "channels": f"{stored.model.shape.latent}",
            "chosen by the codec": "yes" if stored.about.get("search") else "only by name",
            "kB": f"{models.files[stored.name].stat().st_size / 1000:,.0f}",
        })  # fmt: skip
    return FigureData(rows, [])


FIGURES = {
    key: Entry(title, function, study, preset="desktop")
    for key, title, function, study in (
        ("admm-rate-distortion", "SSIM and MS-SSIM over the rate (CAE-ADMM, Fig. 2)", rate_distortion, "cae_admm"),
        ("admm-pictures", "Details near 0.3 bpp (CAE-ADMM, Fig. 3)", details, "cae_admm"),
        ("admm-codes", "A code before and after pruning (CAE-ADMM, Fig. 4)", codes, "cae_admm"),
        ("admm-table-1", "CAE-ADMM, Table 1", table_1, "cae_admm_mixed"),
        ("admm-table-2", "CAE-ADMM, Table 2", table_2, "cae_admm_mixed"),
        ("admm-fair", "Pruning against an estimate, at equal bytes", fair_table, "cae_admm"),
        ("admm-variants", "Every training of CAE-ADMM", variants_table, "cae_admm"),
        ("admm-residuals", "ADMM's residuals over steps", residuals, "cae_admm"),
        ("admm-schedules", "Schedules of ADMM at one share", schedules_table, "cae_admm_schedules"),
        ("admm-schedule-residuals", "Residuals of these schedules", schedule_residuals, "cae_admm_schedules"),
        ("admm-steps", "Codes rounded to multiples of a step", steps_table, "cae_admm_steps"),
        ("admm-rounding", "Rounding at random in use", rounding_table, "cae_admm_rounding"),
        ("admm-nats", "Bits, nats and patches", nats_table, "cae_admm_mixed"),
    )
}
