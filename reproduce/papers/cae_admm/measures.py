"""Numbers out of records, and measures of claims of CAE-ADMM."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch

from reproduce.papers import baselines
from reproduce.papers.baselines import TRAINED_ON
from reproduce.papers.cae_admm.in_use import seconds
from reproduce.papers.cae_admm.plans import (
    AFTER,
    BEFORE,
    ESTIMATED,
    HEADLINE,
    LABELS,
    NEAR,
    PRESETS,
    PRUNED,
    SCHEDULES,
    STEPS,
    TUNED,
    VARIANTS,
)
from reproduce.records import Curve, Records, RunRecord, published
from sparsecomp.checks import InputError
from sparsecomp.metrics import BD
from sparsecomp.sparsify import admm

BITS = 1 / math.log(2)  # in a nat
FAMILIES = {"pruned": tuple(PRUNED), "estimated": tuple(ESTIMATED), "unpruned": (BEFORE,)}
FAMILIES |= {label: (label,) for label in ("released", "16 channels")}
FILES = ("all", "code", "share")
TRAININGS = ("cae_admm_unpruned", "cae_admm")  # the studies of all that has a name in `NAMES`


def made(records: Records, studies: tuple[str, ...] = TRAININGS, **where: object) -> list[RunRecord]:
    """The trainings that count: measured on Kodak, trained on BSDS500, not on a folder of a reader's own."""
    found = [record for study in studies for record in records.find(study, data="kodak", **where)]
    return [r for r in found if r.config["train"]["data"] == TRAINED_ON]


def training(records: Records, label: str, seed: int = 0, files: str = "all") -> RunRecord:
    """The record of one training with the rows of some files alone, see `family`; `LookupError` where it is missing."""
    others: dict[str, dict] = {"cae_admm_variants": VARIANTS, "cae_admm_schedules": SCHEDULES}
    studies = tuple(study for study, own in others.items() if label in own) or TRAININGS
    record = _one(made(records, studies, label=label, seed=seed), f"{label}, seed {seed}", studies[-1])
    if files not in FILES:
        raise InputError(f"files={files!r}: one of {', '.join(FILES)} is needed")
    if files == "all":
        return record
    if files == "share" and not record.config["pruning"]:
        raise LookupError(f"{record.name} was not pruned in training, so it aimed at no share of a code")
    share = record.config["pruning"]["keep"] if files == "share" else 1.0
    return replace(record, rows=[row for row in record.rows if row["setting"] == share])


def unpruned(records: Records) -> str:
    """The label of the unpruned model that others are compared with: trained for as many steps as they."""
    return TUNED if made(records, label=TUNED) else BEFORE


def members(records: Records, family: str) -> tuple[str, ...]:
    """The labels of one of `FAMILIES` that the preset of the records trains."""
    if family == "unpruned":
        return (unpruned(records),)
    trained = PRESETS[records.preset].labels if records.preset else LABELS
    return tuple(label for label in FAMILIES[family] if label in trained)


def mixed(records: Records, label: str) -> RunRecord:
    """The record of one row of Tables 1 and 2: Kodak and the test pictures of BSDS500."""
    found = records.find("cae_admm_mixed", data="mixed", label=label)
    ours = {r.result["model"] for r in made(records)} | {None}
    return _one([r for r in found if r.config["options"].get("model") in ours], label, "cae_admm_mixed")


def _one(found: list[RunRecord], what: str, study: str) -> RunRecord:
    if len(found) != 1:
        raise LookupError(f"{len(found)} records of {what}, where one is needed: `python -m reproduce study {study}`")
    return found[0]


def seeds_of(records: Records, label: str) -> list[int]:
    """From which seeds a label was trained."""
    return sorted(r.config["seed"] for r in made(records, (*TRAININGS, "cae_admm_variants"), label=label))


def rounding(records: Records, label: str = AFTER) -> RunRecord:
    """The record of rounding to the nearest and at random in use, of one trained model."""
    return _one(records.find("cae_admm_rounding", data="kodak", label=label), label, "cae_admm_rounding")


def random_rounding(records: Records, column: str = "bpp", label: str = AFTER) -> float:
    """What rounding at random in use adds to a column's mean over pictures and draws; to "bpp" in per cent."""
    record = rounding(records, label)
    drawn, nearest = at_random(record, column), record.mean(column, setting="nearest")
    return 100 * (drawn / nearest - 1) if column == "bpp" else drawn - nearest


def at_random(record: RunRecord, column: str) -> float:
    """Mean over pictures and draws."""
    return float(np.mean([record.mean(column, setting=f"random {seed}") for seed in record.config["draws"]]))


def random_rounding_at_rate(records: Records) -> float:
    """How far the SSIM of codes rounded at random in use lies above that of pruned models, of as many bytes, whose
    codes are rounded to the nearest; below 0 where it is lower.
    """
    record = rounding(records)
    return at_random(record, "ssim") - family(records, "pruned", files="code").at(at_random(record, "bpp"))


def updates(record: RunRecord) -> int:
    """How often ADMM updated Z and U (a history is thinned above 200)."""
    return len(record.result["admm"]["step"])


def over_seeds(records: Records, label: str, column: str) -> tuple[float, float]:
    """Mean over the seeds of a label, its codes as the encoder makes them, and the standard deviation (nan for one)."""
    values = [training(records, label, seed).mean(column, setting=1.0) for seed in seeds_of(records, label)]
    if not values:
        raise LookupError(f"no records of {label}: make them with `python -m reproduce study cae_admm`")
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


# Tables 1 and 2 -------------------------------------------------------------------------------------------------------


def gain(records: Records, label: str, metric: str = "ssim") -> float:
    """What a variant gains over "keep 10" at equal bytes: of both, how far they lie above the estimated models."""
    return above(records, label, "estimated", metric) - above(records, AFTER, "estimated", metric)


def interval(record: RunRecord, column: str | Callable[[dict], float], unit: float = 1.0) -> tuple[float, float]:
    """Mean over pictures and half of its 95 % interval, ``1.96 s / sqrt(n)`` with s their standard deviation."""
    of = column if callable(column) else lambda row: row[column]
    values = unit * np.array([of(row) for row in record.rows], dtype=float)
    return float(values.mean()), float(1.96 * values.std(ddof=1) / math.sqrt(len(values)))


def printed(series: str, metric: str, where: str) -> float:
    """One number of Table 1 or 2 as the paper prints it."""
    (row,) = published("cae_admm", where=where, series=series, metric=metric)
    return row["value"]


def saved(before: float, after: float) -> float:
    """Per cent that ``after`` is less than ``before``."""
    return 100 * (1 - after / before)


def rate_saved(records: Records, column: str = "bpp") -> float:
    """Per cent that pruning takes off the mean rate on the mixed set: of files ("bpp"), or as "nats"."""
    return saved(*(mixed(records, label).mean(column) for label in (BEFORE, AFTER)))


def zeros_gained(records: Records) -> float:
    """Points by which pruning raises the share of zeros on the mixed set."""
    before, after = (mixed(records, label).mean("zeros") for label in (BEFORE, AFTER))
    return 100 * (after - before)


def near(records: Records, label: str) -> RunRecord:
    """A row of Table 2; `LookupError` where its files are not within 10 % of 0.6 bpp."""
    record = mixed(records, label)
    if abs(record.mean("bpp") / NEAR - 1) > 0.1:
        raise LookupError(f"the files of {label} have {record.mean('bpp'):.3f} bpp on the mixed set, not about {NEAR}")
    return record


def ssim_over(records: Records, other: str, of: str = "cae-admm near 0.6") -> float:
    """Mean difference in SSIM near 0.6 bpp over the same pictures."""
    ours, theirs = ({row["picture"]: row["ssim"] for row in near(records, label).rows} for label in (of, other))
    if set(ours) != set(theirs):
        raise LookupError(f"the records of {of} and {other} are of different pictures")
    return float(np.mean([ours[name] - theirs[name] for name in ours]))


def time_over(records: Records, other: str) -> float:
    """Our mean time from picture to file to picture near 0.6 bpp over another codec's, one thread each."""
    ours, theirs = (interval(near(records, label), seconds)[0] for label in ("cae-admm near 0.6", other))
    return ours / theirs


# Figure 2 -------------------------------------------------------------------------------------------------------------


def family(records: Records, name: str, metric: str = "ssim", files: str = "all", seed: int = 0) -> Curve:
    """Mean quality over mean rate of files on Kodak, both rising: no point that a smaller file equals.

    Parameters
    ----------
    name : str
        The models of `FAMILIES` together; or a standard codec, "jpeg" or "jpeg2000", as fairly as in chapter 01.
    metric : str
        A column of the rows.
    files : {"all", "code", "share"}
        Of our models: at every share of the code that was measured; the code as the encoder makes it; or of what was
        pruned as many entries as its training aimed at.
    """
    if name not in FAMILIES:
        return baselines.curve(records, name, metric)
    return Curve.rising(*curves_of(records, name, metric, files, seed))


def curves_of(records: Records, name: str, metric: str, files: str, seed: int = 0) -> list[Curve]:
    """The curve of each training of a family; arguments as of `family`."""
    return [training(records, label, seed, files).curve(metric) for label in members(records, name)]


def stepped(records: Records, name: str, steps: Iterable[int], metric: str = "ssim") -> Curve:
    """The curve of a family whose codes are rounded to multiples of some steps in use; 1 is their trainings' own."""
    curves = [family(records, name, metric, "code")] if 1 in steps else []
    for label in members(records, name):
        record = _one(records.find("cae_admm_steps", data="kodak", label=label), label, "cae_admm_steps")
        curves.append(replace(record, rows=[row for row in record.rows if row["setting"] in steps]).curve(metric))
    return Curve.rising(*curves)


def stepped_at(records: Records, of: str, over: str, bpp: float) -> float:
    """SSIM of a family with the best of all steps, less that of another family or codec, at a rate of files."""
    each = (1, *STEPS)
    theirs = stepped(records, over, each) if over in FAMILIES else family(records, over)
    return stepped(records, of, each).at(bpp, of) - theirs.at(bpp, over)


def pair(records: Records, of: str, over: str, metric: str = "ssim", files: str = "all") -> tuple[Curve, Curve]:
    """Two families' curves that are compared.

    ``files`` is of the first one; of estimated models it is "code" beside "code" and "share", else every file counts.
    """
    theirs = "code" if over == "estimated" and files != "all" else "all"
    return family(records, of, metric, files), family(records, over, metric, theirs)


def difference(records: Records, of: str, over: str, metric: str = "ssim", files: str = "all") -> BD:
    """Mean vertical distance of a `pair` at equal bytes, above 0 where the first is better; and over which rates."""
    ours, theirs = pair(records, of, over, metric, files)
    return ours.better(theirs)


def bytes_more(records: Records, of: str, over: str, metric: str = "ssim", files: str = "all") -> BD:
    """Per cent of bytes that the first of a `pair` needs more (below 0: fewer) at equal quality; and over which."""
    ours, theirs = pair(records, of, over, metric, files)
    return ours.longer(theirs)


def above(records: Records, label: str, over: str, metric: str = "ssim", seed: int = 0) -> float:
    """How far one training's codes, as its encoder makes them, lie above a family's curve at their own rate.

    The curve of estimated models is of codes as their encoders make them, too; of others every file counts.
    """
    record = training(records, label, seed, "code")
    files = "code" if over == "estimated" else "all"
    return record.mean(metric) - family(records, over, metric, files).at(record.mean("bpp"), over)


def headline(records: Records, metric: str = "ssim") -> tuple[float, float]:
    """ "keep 10" against "lambda 400" over the seeds that both have, at equal bytes: mean and standard deviation.

    Of each seed the difference of how far the two lie above the curve of the estimated models of the first seed.
    """
    pruned, estimated = HEADLINE
    shared = sorted(set(seeds_of(records, pruned)) & set(seeds_of(records, estimated)))
    if len(shared) < 2:
        raise LookupError(
            f"{len(shared)} seeds of {pruned} and {estimated}, where two are needed: "
            "`python -m reproduce study cae_admm`"
        )
    each = [
        above(records, pruned, "estimated", metric, s) - above(records, estimated, "estimated", metric, s)
        for s in shared
    ]
    return float(np.mean(each)), float(np.std(each, ddof=1))


def comparator(series: str, metric: str = "ssim") -> Curve:
    """A curve of Figure 2 as its authors digitised it from Theis et al. 2017."""
    rows = published("cae_admm", where="Fig. 2", series=series, metric=metric)
    return Curve.of((row["x"], row["value"]) for row in rows)


def points(metric: str = "ssim", bits: bool = False) -> list[tuple[float, float]]:
    """The paper's own points of Figure 2, but the two that its authors dropped; rates as printed, or nats in bits."""
    rows = published("cae_admm", where="Fig. 2", series="CAE-ADMM", metric=metric, setting="")
    return [(row["x"] * (BITS if bits else 1), row["value"]) for row in rows]


def points_over(curve: Curve, metric: str = "ssim", bits: bool = False) -> float:
    """Mean of how far the paper's own points lie above a curve, of those that it has rates for."""
    inside = [(rate, value) for rate, value in points(metric, bits) if curve.rates[0] <= rate <= curve.rates[-1]]
    if not inside:
        raise LookupError(f"no printed point lies between {curve.rates[0]:.3f} and {curve.rates[-1]:.3f} bpp")
    return float(np.mean([value - curve.at(rate) for rate, value in inside]))


# What the released code does ------------------------------------------------------------------------------------------


def nats_to_files(records: Records, label: str = "cae-admm near 0.6") -> float:
    """Bits per pixel of files over what the released code prints as "bpp", on the mixed set."""
    return mixed(records, label).mean("bpp") / mixed(records, label).mean("nats")


def on_kodak(records: Records, label: str) -> RunRecord:
    """`mixed`, with the rows of Kodak alone, whose pictures are whole patches of 128 x 128."""
    record = mixed(records, label)
    if rows := [row for row in record.rows if row["picture"].startswith("kodak/")]:
        return replace(record, rows=rows)
    raise LookupError(f"the record of {label} has no picture of Kodak")


def patches_to_whole(records: Records, label: str = "cae-admm near 0.6") -> float:
    """How much higher SSIM is as the mean over patches of 128 x 128 than of whole pictures, on Kodak.

    On other pictures the difference would include the borders, which no patch covers.
    """
    return float(np.mean([row["ssim_patches"] - row["ssim"] for row in on_kodak(records, label).rows]))


def lost_in_use(records: Records, label: str, share: float = 0.1) -> float:
    """SSIM that a training's codes lose when only a share of them is kept in use, on Kodak."""
    record = training(records, label)
    if not {1.0, share} <= {row["setting"] for row in record.rows}:
        raise LookupError(f"{label} was not measured with {share} of its code kept")
    return record.mean("ssim", setting=1.0) - record.mean("ssim", setting=share)


def overlap(records: Records, keep: float | None = None, codes: int = 16) -> float:
    """Per cent of the l largest entries that the released code keeps: of normal codes, as large as a crop's."""
    keep = printed("all", "elements_kept", "training") / 100 if keep is None else keep
    v = torch.randn(codes, 32, 16, 16, generator=torch.Generator().manual_seed(0))
    right, found = admm.top_l(v, keep) != 0, admm.released(v, keep) != 0
    return 100 * float((right & found).sum() / right.sum())


# Measures of claims beside those above --------------------------------------------------------------------------------


def on_mixed(records: Records, label: str, column: str) -> float:
    """Mean of a column over the mixed set; zeros in per cent."""
    return mixed(records, label).mean(column) * (100 if column == "zeros" else 1)


def ssim_near(records: Records, label: str) -> float:
    """Mean SSIM of a row of Table 2."""
    return near(records, label).mean("ssim")


def curves(records: Records, of: str, over: str, metric: str = "ssim") -> float:
    """`difference` in the unit of the quality."""
    return difference(records, of, over, metric).value


def at_points(records: Records, metric: str, bits: bool) -> float:
    """How far our pruned models lie above the paper's own points, at their rates; SSIM by patches, as there."""
    column = "ssim_patches" if metric == "ssim" else metric
    return -points_over(family(records, "pruned", column), metric, bits)


def theis_points(records: Records, metric: str, bits: bool) -> float:
    """How far the paper's own points lie above its curve of the original CAE."""
    return points_over(comparator("Theis et al. 2017", metric), metric, bits)


def families_at(records: Records, of: str, over: str, bpp: float) -> float:
    """Difference in SSIM of two families at a rate of files."""
    return family(records, of).at(bpp, of) - family(records, over).at(bpp, over)


def released_rate(records: Records) -> float:
    """Per cent that pruning as released takes off the rate of files on Kodak."""
    labels = (unpruned(records), "released")
    return saved(*(training(records, label, files="code").mean("bpp") for label in labels))


def released_zeros(records: Records) -> float:
    """Points by which pruning as released raises the share of zeros on Kodak."""
    labels = (unpruned(records), "released")
    before, after = (training(records, label, files="code").mean("zeros") for label in labels)
    return 100 * (after - before)


def bears(records: Records, of: str, over: str, share: float = 0.1) -> float:
    """SSIM that one training's codes lose less than another's when only a share of them is kept in use."""
    return lost_in_use(records, over, share) - lost_in_use(records, of, share)


