"""Numbers and claims of CAE-ADMM, from the records of `studies.cae_admm`.

A rate is the length of a file. What the released code calls "bpp" stands beside it under its own name, nats. Curves are
compared by their mean vertical distance over the rates that both have (`metrics.bd_psnr`: by pchip, over the logarithm
of the rate), in the unit of the quality: SSIM and MS-SSIM as they are, from 0 to 1, and not in dB.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from sparsecomp import metrics, profiles, results
from sparsecomp.checks import InputError
from sparsecomp.results import RunRecord
from sparsecomp.sparsify import admm
from sparsecomp.studies.cae_admm import ESTIMATED, HEADLINE, NEAR, PATCH, PRUNED, VARIED
from sparsecomp.verdicts import networks
from sparsecomp.verdicts.autoencoders import TRAINED_ON, rising
from sparsecomp.verdicts.base import Claim

PAPER, BEYOND = "CAE-ADMM", "beyond the papers"
BEFORE, AFTER = "unpruned", "keep 10"  # of Table 1
LABELS = (BEFORE, *PRUNED, *VARIED, *ESTIMATED, "released", "16 channels")
BITS = 1 / math.log(2)  # in a nat
FAMILIES = {"pruned": tuple(PRUNED), "estimated": tuple(ESTIMATED), "unpruned": (BEFORE,)}
FILES = ("all", "code", "share")
UPDATES = 15  # of ADMM, in the paper's training: every 20 of 300 epochs

# Records --------------------------------------------------------------------------------------------------------------


def made(profile: str = "laptop", **where: object) -> list[RunRecord]:
    """The trainings that count: measured on Kodak, trained on BSDS500, not on a folder of a reader's own."""
    found = results.records("cae_admm", profile=profile, data="kodak", **where)
    return [r for r in found if r.config["train"]["data"] == TRAINED_ON]


def training(label: str, seed: int = 0, profile: str = "laptop") -> RunRecord:
    """The record of one training; `LookupError` where it is missing."""
    return _one(made(profile, label=label, seed=seed), f"{label}, seed {seed}", "cae_admm", profile)


def mixed(label: str, profile: str = "laptop") -> RunRecord:
    """The record of one row of Tables 1 and 2: Kodak and the test pictures of BSDS500."""
    found = results.records("cae_admm_mixed", profile=profile, data="mixed", label=label)
    ours = {r.result["model"] for r in made(profile)} | {None}
    return _one([r for r in found if r.config["options"].get("model") in ours], label, "cae_admm_mixed", profile)


def _one(found: list[RunRecord], what: str, study: str, profile: str) -> RunRecord:
    if len(found) != 1:
        command = f"`sparsecomp study {study} --profile {profile}`"
        raise LookupError(f"{len(found)} records of {what}, where one is needed: {command}")
    return found[0]


def labels(profile: str = "laptop") -> list[str]:
    """What trainings there are, in the order of `LABELS`."""
    there = {r.config["label"] for r in made(profile)}
    return [label for label in LABELS if label in there]


def seeds_of(label: str, profile: str = "laptop") -> list[int]:
    """From which seeds a label was trained."""
    return sorted(r.config["seed"] for r in made(profile, label=label))


def updates(record: RunRecord) -> int:
    """How often ADMM updated Z and U (a history is thinned above 200)."""
    return len(record.result["admm"]["step"])


def over_seeds(label: str, column: str) -> tuple[float, float]:
    """Mean over the seeds of a label, its codes as the encoder makes them, and the standard deviation (nan for one)."""
    values = [training(label, seed).mean(column, setting=1.0) for seed in seeds_of(label)]
    if not values:
        raise LookupError(f"no records of {label}: make them with `sparsecomp study cae_admm --profile laptop`")
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


# Tables 1 and 2 -------------------------------------------------------------------------------------------------------


def seconds(row: dict) -> float:
    """From picture to file to picture."""
    return row["encode_seconds"] + row["decode_seconds"]


def interval(record: RunRecord, column: str | Callable[[dict], float], unit: float = 1.0) -> tuple[float, float]:
    """Mean over pictures and half of its 95 % interval, ``1.96 s / sqrt(n)`` with s their standard deviation."""
    of = column if callable(column) else lambda row: row[column]
    values = unit * np.array([of(row) for row in record.rows], dtype=float)
    return float(values.mean()), float(1.96 * values.std(ddof=1) / math.sqrt(len(values)))


def printed(series: str, metric: str, where: str) -> float:
    """One number of Table 1 or 2 as the paper prints it."""
    (row,) = results.published("cae_admm", where=where, series=series, metric=metric)
    return row["value"]


def saved(before: float, after: float) -> float:
    """Per cent that ``after`` is less than ``before``."""
    return 100 * (1 - after / before)


def rate_saved(column: str = "bpp") -> float:
    """Per cent that pruning takes off the mean rate on the mixed set: of files ("bpp"), or as "nats"."""
    return saved(*(mixed(label).mean(column) for label in (BEFORE, AFTER)))


def zeros_gained() -> float:
    """Points by which pruning raises the share of zeros on the mixed set."""
    before, after = (mixed(label).mean("zeros") for label in (BEFORE, AFTER))
    return 100 * (after - before)


def near(label: str, profile: str = "laptop") -> RunRecord:
    """A row of Table 2; `LookupError` where its files are not within 10 % of 0.6 bpp."""
    record = mixed(label, profile)
    if abs(record.mean("bpp") / NEAR - 1) > 0.1:
        raise LookupError(f"the files of {label} have {record.mean('bpp'):.3f} bpp on the mixed set, not about {NEAR}")
    return record


def ssim_over(other: str, of: str = "cae-admm near 0.6") -> float:
    """Mean difference in SSIM near 0.6 bpp over the same pictures."""
    ours, theirs = ({row["picture"]: row["ssim"] for row in near(label).rows} for label in (of, other))
    if set(ours) != set(theirs):
        raise LookupError(f"the records of {of} and {other} are of different pictures")
    return float(np.mean([ours[name] - theirs[name] for name in ours]))


def time_over(other: str, profile: str = "laptop") -> float:
    """Our mean time from picture to file to picture near 0.6 bpp over another codec's, one thread each."""
    ours, theirs = (interval(near(label, profile), seconds)[0] for label in ("cae-admm near 0.6", other))
    return ours / theirs


# Figure 2 -------------------------------------------------------------------------------------------------------------


def family(name: str, metric: str = "ssim", files: str = "all", seed: int = 0) -> tuple[list[float], list[float]]:
    """Mean quality over mean rate of files on Kodak, both rising: no point that a smaller file equals.

    Parameters
    ----------
    name : {"pruned", "estimated", "unpruned", "jpeg", "jpeg2000"}
        The models of `FAMILIES` together, or a standard codec as fairly as in chapter 00.
    metric : str
        A column of the rows.
    files : {"all", "code", "share"}
        Of our models: at every share of the code that was measured; the code as the encoder makes it; or of what was
        pruned as many entries as its training aimed at.
    """
    if name not in FAMILIES:
        return networks.curve(name, metric)
    return rising(*(only(training(label, seed), files) for label in FAMILIES[name]), metric=metric)


def only(record: RunRecord, files: str) -> RunRecord:
    """The record with the rows of some files alone, see `family`."""
    if files not in FILES:
        raise InputError(f"files={files!r}: one of {', '.join(FILES)} is needed")
    if files == "all":
        return record
    if files == "share" and not record.config["pruning"]:
        raise LookupError(f"{record.name} was not pruned in training, so it aimed at no share of a code")
    share = record.config["pruning"]["keep"] if files == "share" else 1.0
    return replace(record, rows=[row for row in record.rows if row["setting"] == share])


def difference(of: str, over: str, metric: str = "ssim", files: str = "all") -> metrics.BD:
    """Mean vertical distance of two families' curves at equal bytes, above 0 where the first is better; and its rates.

    ``files`` is of the first one; of estimated models it is "code" beside "code" and "share", else every file counts.
    """
    return _bd(metrics.bd_psnr, of, over, metric, files)


def bytes_more(of: str, over: str, metric: str = "ssim", files: str = "all") -> metrics.BD:
    """Per cent of bytes more (below 0: fewer) at equal quality, see `difference`; and over which qualities."""
    return _bd(metrics.bd_rate, of, over, metric, files)


def _bd(measure: Callable[..., metrics.BD], of: str, over: str, metric: str, files: str) -> metrics.BD:
    theirs = "code" if over == "estimated" and files != "all" else "all"
    (rates, qualities), (others, their) = family(of, metric, files), family(over, metric, theirs)
    try:
        return measure(rate_anchor=others, quality_anchor=their, rate_test=rates, quality_test=qualities)
    except ValueError as error:  # too few points, or none in common
        raise LookupError(f"{metric} of {of} over {over}: {error}") from error


def at(curve: tuple[list[float], list[float]], bpp: float) -> float:
    """Quality of a curve at a rate, interpolated linearly over the logarithm of the rate."""
    rates, qualities = curve
    if not rates[0] <= bpp <= rates[-1]:
        raise LookupError(f"measured from {rates[0]:.3f} to {rates[-1]:.3f} bpp, not at {bpp:.3f}")
    return float(np.interp(np.log(bpp), np.log(rates), qualities))


def above(label: str, over: str, metric: str = "ssim", seed: int = 0) -> float:
    """How far one training's codes, as its encoder makes them, lie above a family's curve at their own rate.

    The curve of estimated models is of codes as their encoders make them, too; of others every file counts.
    """
    record = only(training(label, seed), "code")
    files = "code" if over == "estimated" else "all"
    return record.mean(metric) - at(family(over, metric, files), record.mean("bpp"))


def headline(metric: str = "ssim") -> tuple[float, float]:
    """ "keep 10" against "lambda 400" over the seeds that both have, at equal bytes: mean and standard deviation.

    Of each seed the difference of how far the two lie above the curve of the estimated models of the first seed.
    """
    pruned, estimated = HEADLINE
    shared = sorted(set(seeds_of(pruned)) & set(seeds_of(estimated)))
    if len(shared) < 2:
        raise LookupError(f"{len(shared)} seeds of {pruned} and {estimated}, where two are needed")
    each = [above(pruned, "estimated", metric, s) - above(estimated, "estimated", metric, s) for s in shared]
    return float(np.mean(each)), float(np.std(each, ddof=1))


def comparator(series: str, metric: str = "ssim") -> tuple[list[float], list[float]]:
    """A curve of Figure 2 as its authors digitised it from Theis et al. 2017."""
    rows = results.published("cae_admm", where="Fig. 2", series=series, metric=metric)
    if not rows:
        raise LookupError(f"Figure 2 has no {metric} of {series}")
    return [row["x"] for row in rows], [row["value"] for row in rows]


def points(metric: str = "ssim", bits: bool = False) -> list[tuple[float, float]]:
    """The paper's own points of Figure 2, but the two that its authors dropped; rates as printed, or nats in bits."""
    rows = results.published("cae_admm", where="Fig. 2", series=PAPER, metric=metric, setting="")
    return [(row["x"] * (BITS if bits else 1), row["value"]) for row in rows]


def points_over(curve: tuple[list[float], list[float]], metric: str = "ssim", bits: bool = False) -> float:
    """Mean of how far the paper's own points lie above a curve, of those that it has rates for."""
    inside = [(rate, value) for rate, value in points(metric, bits) if curve[0][0] <= rate <= curve[0][-1]]
    if not inside:
        raise LookupError(f"no printed point lies between {curve[0][0]:.3f} and {curve[0][-1]:.3f} bpp")
    return float(np.mean([value - at(curve, rate) for rate, value in inside]))


# What the released code does ------------------------------------------------------------------------------------------


def nats_to_files(label: str = "cae-admm near 0.6") -> float:
    """Bits per pixel of files over what the released code prints as "bpp", on the mixed set."""
    return mixed(label).mean("bpp") / mixed(label).mean("nats")


def patches_to_whole(label: str = "cae-admm near 0.6") -> float:
    """How much higher SSIM is as the mean over patches of 128 x 128 than of whole pictures.

    On Kodak, whose pictures are whole patches: elsewhere it would tell what the borders are like, which are left out.
    """
    rows = [row for row in mixed(label).rows if row["picture"].startswith("kodak/")]
    if not rows:
        raise LookupError(f"the record of {label} has no picture of Kodak")
    return float(np.mean([row["ssim_patches"] - row["ssim"] for row in rows]))


def lost_in_use(label: str, share: float = 0.1) -> float:
    """SSIM that a training's codes lose when only a share of them is kept in use, on Kodak."""
    record = training(label)
    if not {1.0, share} <= {row["setting"] for row in record.rows}:
        raise LookupError(f"{label} was not measured with {share} of its code kept")
    return record.mean("ssim", setting=1.0) - record.mean("ssim", setting=share)


def overlap(keep: float | None = None, codes: int = 16) -> float:
    """Per cent of the l largest entries that the released code keeps: of normal codes, as large as those of a crop."""
    keep = printed("all", "elements_kept", "training") / 100 if keep is None else keep
    v = torch.randn(codes, 32, 16, 16, generator=torch.Generator().manual_seed(0))
    right, found = admm.top_l(v, keep) != 0, admm.released(v, keep) != 0
    return 100 * float((right & found).sum() / right.sum())


def released_gains() -> tuple[float, float]:
    """What the released code's pruning changes on Kodak: per cent off the rate of files, and points more zeros."""
    before, after = (only(training(label), "code") for label in (BEFORE, "released"))
    return saved(before.mean("bpp"), after.mean("bpp")), 100 * (after.mean("zeros") - before.mean("zeros"))


# The claims -----------------------------------------------------------------------------------------------------------


def claims() -> list[Claim]:
    """Tables 1 and 2, Figure 2, what the text promises, and our own comparisons."""
    laptop, paper = profiles.get("laptop"), profiles.get("paper")
    size = (f"profile laptop: {laptop.code_width} filters and {laptop.code_depth} residual blocks in place of "
            f"{paper.code_width} and {paper.code_depth}, {laptop.code.steps:,} steps")  # fmt: skip
    return [
        *_table1(size),
        *_table2(size),
        *_figure2(size),
        *_released(size),
        *_beyond(size),
    ]


SET = "Kodak and BSDS500's test pictures in place of Kodak, Urban100 and Manga109; "


def _table1(size: str) -> list[Claim]:
    said = {
        (metric, series): printed(series, metric, "Table 1")
        for metric in ("bpp", "bpp_ci95", "zeros", "zeros_ci95")
        for series in ("before pruning", "after pruning")
    }
    found = []
    for series, label in (("before pruning", BEFORE), ("after pruning", AFTER)):
        bpp, zeros, half = (said[metric, series] for metric in ("bpp", "zeros", "zeros_ci95"))
        key = series.split()[0]
        found += [
            Claim(f"admm-bpp-{key}", PAPER, f'Table 1, {series}: "bpp" as the released code counts it, in nats',
                  f"{bpp:g}", "10 %", lambda label=label: mixed(label).mean("nats"),
                  lambda ours, bpp=bpp: abs(ours / bpp - 1) <= 0.1, "{:.3f}", SET + size),
            Claim(f"admm-zeros-{key}", PAPER, f"Table 1, {series}: share of zeros", f"{zeros:.2f} %",
                  f"{half:g} points, the printed interval", lambda label=label: 100 * mixed(label).mean("zeros"),
                  lambda ours, zeros=zeros, half=half: abs(ours - zeros) <= half, "{:.2f} %", SET + size),
        ]  # fmt: skip
    rate = saved(said["bpp", "before pruning"], said["bpp", "after pruning"])
    more = said["zeros", "after pruning"] - said["zeros", "before pruning"]
    told = f"{rate:.1f} % ({said['bpp', 'before pruning']:g} to {said['bpp', 'after pruning']:g})"
    kept = printed("all", "elements_kept", "training")
    unbounded = "before, nothing bounds our rate, and the quality is another after; "
    return [
        *found,
        Claim("admm-saved", PAPER, "pruning takes this off the rate (Table 1), bytes of files", told, "5 points",
              rate_saved, lambda ours: abs(ours - rate) <= 5, "{:.1f} %", unbounded + SET + size),
        Claim("admm-saved-nats", PAPER, "the same as the released code counts, in nats", told, "5 points",
              lambda: rate_saved("nats"), lambda ours: abs(ours - rate) <= 5, "{:.1f} %", unbounded + SET + size),
        Claim("admm-zeros-gained", PAPER, "pruning makes this many zeros more (Table 1)", f"{more:.2f} points",
              "5 points", zeros_gained, lambda ours: abs(ours - more) <= 5, "{:.2f} points", unbounded + SET + size),
        Claim("admm-keep", PAPER, f"{kept:g} % of the elements are retained: the rest of each code is zero",
              f"{100 - kept:g} % zeros (text); {said['zeros', 'after pruning']:g} % (Table 1)", "5 points",
              lambda: 100 * mixed(AFTER).mean("zeros"), lambda ours: abs(ours - 100 + kept) <= 5, "{:.1f} % zeros",
              "of the code as the encoder makes it: Z has so many zeros, the code is only drawn to it; " + SET + size),
    ]  # fmt: skip


def _table2(size: str) -> list[Claim]:
    ssim, rate, half = (printed(PAPER, metric, "Table 2") for metric in ("ssim", "bpp", "ssim_ci95"))
    time, theirs = printed(PAPER, "seconds", "Table 2"), printed("JPEG 2000", "seconds", "Table 2")
    way = "files near 0.6 bpp, one setting for all pictures; " + SET
    found = [
        Claim("admm-ssim", PAPER, f"Table 2: SSIM near 0.6 bpp, bytes of files, {PAPER}",
              f'{ssim:g} at {rate:g} "bpp"', f"at most {half:g} less, the printed interval",
              lambda: near("cae-admm near 0.6").mean("ssim"), lambda ours: ours >= ssim - half, "{:.3f}", way + size),
    ]  # fmt: skip
    for label, name in (("jpeg", "JPEG"), ("jpeg2000", "JPEG 2000")):
        other, x = printed(name, "ssim", "Table 2"), printed(name, "bpp", "Table 2")
        found += [
            Claim(f"admm-over-{label}", PAPER, f"Table 2: SSIM above {name} near 0.6 bpp, bytes of files",
                  f"+{ssim - other:.3f}", "none", lambda label=label: ssim_over(label), lambda ours: ours > 0,
                  "{:+.3f}", way + size),
            Claim(f"admm-{label}", PAPER, f"Table 2: SSIM of {name} near 0.6 bpp", f"{other:g} at {x:g} bpp", "0.02",
                  lambda label=label: near(label).mean("ssim"),
                  lambda ours, other=other: abs(ours - other) <= 0.02, "{:.3f}",
                  f"{name} as fairly as in chapter 00; " + way[:-2]),
        ]  # fmt: skip
    other = printed("JPEG 2000", "ssim", "Table 2")
    return [
        *found,
        Claim("admm-jpeg2000-no-transform", PAPER, "the same without its colour transform, as the released scripts",
              f"{other:g}", "0.02", lambda: near("jpeg2000 no transform").mean("ssim"),
              lambda ours: abs(ours - other) <= 0.02, "{:.3f}", "Pillow's default, mct=0; the paper says Kakadu; "
              + way[:-2]),
        Claim("admm-seconds", PAPER, "acceptable inference speed (Table 2): time over JPEG 2000's",
              f"{time / theirs:.2f} ({time:g} s against {theirs:g} s a picture)", "no more time than JPEG 2000",
              lambda: time_over("jpeg2000", "paper"), lambda ours: ours <= 1, "{:.2f} times",
              "from picture to file to picture, one thread; the paper's is the network's time on two GPUs"),
    ]  # fmt: skip


def _figure2(size: str) -> list[Claim]:
    least = {"ssim": printed(PAPER, "ssim_ci95", "Table 2"), "ms_ssim": 0.001}
    names = {"ssim": "SSIM", "ms_ssim": "MS-SSIM"}
    others = {"estimated": "the original CAE (entropy estimated)", "jpeg": "JPEG", "jpeg2000": "JPEG 2000"}
    area = "mean distance of the curves over the rates that both have; "
    found = [
        Claim(f"admm-{metric}-over-{over}", PAPER, f"Fig. 2: better than {name} in {names[metric]} on Kodak, bytes of "
              "files", "yes", f"more than {least[metric]:g}",
              lambda over=over, metric=metric: difference("pruned", over, metric).value,
              lambda ours, metric=metric: ours > least[metric], "{:+.4f}",
              area + ("the same network, steps and coder, every file measured; " if over == "estimated" else "") + size)
        for metric in names for over, name in others.items()
    ]  # fmt: skip
    for bits, way in ((False, "as printed"), (True, "if they are nats")):
        key = "bits" if bits else "printed"
        found += [
            Claim(f"admm-points-{key}-{metric}", PAPER, "Fig. 2: our pruned models at the rates of the paper's points, "
                  f"{way} ({names[metric]})", "the paper's points", "at most 0.02 less in the mean",
                  lambda metric=metric, bits=bits: -points_over(family("pruned", column_of(metric)), metric, bits),
                  lambda ours: ours >= -0.02, "{:+.3f}",
                  ("SSIM by patches, as the released code; " if metric == "ssim" else "") + size)
            for metric in names
        ] + [
            Claim(f"admm-theis-{key}-{metric}", PAPER, "Fig. 2: the paper's own points above the original CAE's curve, "
                  f"rates {way} ({names[metric]})", "yes", "more than 0 in the mean",
                  lambda metric=metric, bits=bits: points_over(comparator("Theis et al. 2017", metric), metric, bits),
                  lambda ours: ours > 0, "{:+.3f}", "both from the authors' own data, nothing of ours; points beyond "
                  "the curve's rates and two that the authors dropped are left out")
            for metric in names
        ]  # fmt: skip
    return [
        *found,
        Claim("admm-jpeg-0.3", PAPER, "JPEG breaks down under 0.3 bpp, JPEG 2000 does not (Fig. 3, kodim21): SSIM",
              "yes (text, of its look)", "at least 0.1 below JPEG 2000, at 0.3 bpp", lambda: jpeg_below("jpeg2000"),
              lambda ours: ours >= 0.1, "{:.3f} below", "both as fairly as in chapter 00"),
        Claim("admm-ours-0.3", PAPER, "nor do ours: SSIM at 0.3 bpp of all Kodak above JPEG's", "yes (text)", "none",
              lambda: at(family("pruned"), 0.3) - at(family("jpeg"), 0.3), lambda ours: ours > 0, "{:+.3f}", size),
    ]  # fmt: skip


def column_of(metric: str) -> str:
    """The column of our rows that is measured as the paper's points were: SSIM by patches."""
    return "ssim_patches" if metric == "ssim" else metric


def jpeg_below(other: str, picture: str = "kodim21", bpp: float = 0.3) -> float:
    """SSIM that JPEG has less than another standard codec, on one picture of Kodak at a rate."""
    theirs, jpeg = (at(networks.curve(name, "ssim", [picture]), bpp) for name in (other, "jpeg"))
    return theirs - jpeg


def _released(size: str) -> list[Claim]:
    before, after = (printed(series, "bpp", "Table 1") for series in ("before pruning", "after pruning"))
    empty, full = (printed(series, "zeros", "Table 1") for series in ("before pruning", "after pruning"))
    rate, more, half = saved(before, after), full - empty, printed(PAPER, "ssim_ci95", "Table 2")
    kept = printed("all", "elements_kept", "training")
    own = "on Kodak, one Z and U for the mean code, norm penalty, argsort for rank; " + size
    return [
        Claim("admm-top-l", PAPER, "the l largest elements are kept (eq. 10): share of them that the released code "
              "keeps", "100 %", "5 points", overlap, lambda ours: ours >= 95, "{:.1f} %",
              f"of normal codes, {kept:g} % kept: about what chance keeps; it takes argsort for rank"),
        Claim("admm-released-saved", PAPER, "pruning as released takes this off the rate, bytes of files",
              f"{rate:.1f} %", "5 points", lambda: released_gains()[0], lambda ours: abs(ours - rate) <= 5,
              "{:.1f} %", own),
        Claim("admm-released-zeros", PAPER, "pruning as released makes this many zeros more", f"{more:.2f} points",
              "5 points", lambda: released_gains()[1], lambda ours: abs(ours - more) <= 5, "{:.2f} points",
              own),
        Claim("admm-nats", PAPER, 'what the released code prints as "bpp" is the rate of a file in bits',
              "yes (bpp)", "5 %", nats_to_files, lambda ours: abs(ours - 1) <= 0.05, "{:.2f} times as many",
              f"a nat is {BITS:.4f} bits, and a table for every patch is in no file; {SET[:-2]}"),
        Claim("admm-patches", PAPER, f"SSIM of patches of {PATCH} x {PATCH}, as the released code takes it, is a "
              "picture's", "implied", f"{half:g}, the printed interval", patches_to_whole,
              lambda ours: abs(ours) <= half, "{:+.4f}", "near 0.6 bpp, on Kodak, whose pictures are whole patches"),
    ]  # fmt: skip


def _beyond(size: str) -> list[Claim]:
    """Our own comparisons: they are questions, and what is expected is said before."""
    return [
        Claim("admm-fair", BEYOND, f'pruning ("{HEADLINE[0]}") beats an estimate of the entropy ("{HEADLINE[1]}") at '
              "equal bytes: SSIM, Kodak", "implied", "more than the deviation over the seeds", headline,
              lambda ours: ours[0] > ours[1], "{0[0]:+.4f} ± {0[1]:.4f}",
              "two seeds; how far each lies above the curve of the estimated models of the first; ADMM at rho = 0.1, "
              "updated every 100 steps; " + size),
        Claim("admm-near", BEYOND, "the same near 0.6 bpp on the mixed set, the best model of each", "implied", "none",
              lambda: ssim_over("cae-theis near 0.6"), lambda ours: ours > 0, "{:+.4f}",
              "chosen on validation pictures; " + SET + size),
        Claim("admm-in-use", BEYOND, "codes pruned in training beat an unpruned model's code pruned in use: SSIM at "
              "equal bytes, Kodak", "implied", "more than 0", lambda: difference("pruned", "unpruned").value,
              lambda ours: ours > 0, "{:+.4f}", size),
        Claim("admm-bears", BEYOND, "a code pruned in training to 10 % loses less, when 10 % of it are kept in use, "
              f'than one whose entropy was estimated ("{HEADLINE[1]}"): SSIM, Kodak', "implied", "more than 0",
              lambda: lost_in_use(HEADLINE[1]) - lost_in_use(HEADLINE[0]), lambda ours: ours > 0, "{:+.4f}", size),
        Claim("admm-time", BEYOND, "the small network needs no more time than JPEG 2000, near 0.6 bpp",
              "no number", "none", lambda: time_over("jpeg2000"), lambda ours: ours <= 1, "{:.2f} times",
              "from picture to file to picture, one thread of a CPU; " + SET + size),
    ]  # fmt: skip
