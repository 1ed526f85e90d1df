"""Numbers out of records, and measures of claims of COIN and L0onie."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from reproduce.papers import baselines
from reproduce.papers.loonie.plans import PRESETS, STARTS
from reproduce.pictures import spread
from reproduce.records import Curve, Records, RunRecord, published
from sparsecomp.options import as_dict

# Numbers of COIN ------------------------------------------------------------------------------------------------------


def coin_curve(records: Records) -> list[RunRecord]:
    """Our COIN on all of Kodak at the paper's architectures, smallest network first.

    A record counts if its budget is that of the preset, whatever preset it was made at: laptop and paper-fast fit
    alike, so one record of each architecture is enough for both.
    """
    budget = as_dict(PRESETS[records.preset or "laptop"].fit)
    every = records.at(None).find("coin", data="kodak", pictures=24, seed=0)
    found = {r.config["architecture"]: r for r in every if r.config["fit"] == budget}
    if not found:
        raise LookupError("no COIN records on Kodak: make them with `python -m reproduce study coin`")
    records.asked.add("coin")
    return sorted(found.values(), key=lambda r: r.mean("bpp"))


def coin_points(records: Records, metric: str = "psnr") -> Curve:
    """Mean quality over mean rate of our COIN files on all of Kodak."""
    return Curve.of((r.mean("bpp"), r.mean(metric)) for r in coin_curve(records))


def coin_psnr(records: Records, architecture: str) -> float:
    """Mean PSNR in dB of one architecture over Kodak."""
    found = [r for r in coin_curve(records) if r.config["architecture"] == architecture]
    if not found:
        raise LookupError(f"{architecture} was not run on Kodak: `python -m reproduce study coin --preset paper-fast`")
    return found[0].mean("psnr")


def crossing(records: Records, of: str = "jpeg") -> float:
    """Rate in bpp up to which COIN beats a standard codec in mean PSNR, where both have files; 0 if nowhere."""
    theirs = baselines.curve(records, of)
    ours = coin_points(records)
    grid = np.linspace(max(theirs.rates[0], ours.rates[0]), min(theirs.rates[-1], ours.rates[-1]), 2000)
    above = [rate for rate in grid if ours.at(rate) > theirs.at(rate)]
    return float(max(above, default=0.0))


# L0onie ---------------------------------------------------------------------------------------------------------------

LOONIE_RATES = tuple(sorted(STARTS))
METHODS = ("file", "nonzeros", "magnitude", "dense")  # our files, the paper's gates, pruning, COIN


def loonie(records: Records, method: str, bpp: float = 0.3) -> RunRecord:
    """The record of one method at one of the paper's rates; `LookupError` where it is missing."""
    dense = {"architecture": STARTS[bpp][1]} if method == "dense" else {"bpp": bpp}
    return records.one("loonie", label=method, data="kodak", seed=0, **dense)


def third(records: Records) -> list[str]:
    """The pictures of Kodak that every record of L0onie has: every third."""
    return spread(sorted(row["picture"] for row in loonie(records, "file").rows), 8)


def counted(record: RunRecord) -> float:
    """Mean rate in the paper's accounting, 16 bits a nonzero value: an estimate, no length of a file."""
    return float(np.mean([r["bpp"] * r["estimated_bits"] / (8 * r["bytes"]) for r in record.rows]))


def loonie_curve(
    records: Records, method: str, accounting: str, pictures: Sequence[str] | None
) -> tuple[Curve, list[RunRecord]]:
    """Mean PSNR over mean rate, of files ("file") or as the paper counts; over the given pictures; and the records."""
    found = []
    for bpp in LOONIE_RATES:
        with suppress(LookupError):
            found.append(loonie(records, method, bpp).only(pictures))
    rate = counted if accounting != "file" else lambda record: record.mean("bpp")
    return Curve.of((rate(r), r.mean("psnr")) for r in found), found


def gain(records: Records, over: str, of: str = "nonzeros", bpp: float = 0.3) -> float:
    """Mean difference in PSNR of two methods of `loonie` over the same pictures, in dB."""
    ours, theirs = ({row["picture"]: row["psnr"] for row in loonie(records, m, bpp).rows} for m in (of, over))
    if set(ours) != set(theirs):
        raise LookupError(f"the records of {of} and {over} at {bpp} bpp are of different pictures")
    return float(np.mean([ours[name] - theirs[name] for name in ours]))


def gain_at_rate(
    records: Records, over: str = "dense", of: str = "nonzeros", bpp: float = 0.3, accounting: str = "nonzeros"
) -> float:
    """As `gain`, at equal counted bits or (``accounting="file"``) equal bytes, on the pictures with several rates.

    The other method is interpolated, picture by picture and over the logarithm of the rate, at the rate of this one.
    Where the rate of this one lies up to 5 % beyond the other's, the other's curve is continued straight on.
    """
    each = []
    for name in third(records):
        ours = loonie(records, of, bpp).only([name])
        rate = ours.mean("bpp") if accounting == "file" else counted(ours)
        theirs, _ = loonie_curve(records, over, accounting, [name])
        each.append(ours.mean("psnr") - theirs.at(rate, f"{over} on {name}", beyond=0.05))
    return float(np.mean(each))


def position_share(records: Records, bpp: float = 0.3) -> float:
    """What a file needs beyond 16 bits a nonzero value, in per cent of them: L0onie's networks, written with fp16."""
    record = loonie(records, "nonzeros", bpp)
    return 100 * (record.mean("bpp") / counted(record) - 1)


def file_psnr(records: Records, bpp: float = 0.3) -> float:
    """Mean PSNR in dB of our files over all of Kodak."""
    return on_all_of_kodak(loonie(records, "file", bpp)).mean("psnr")


def over_published(records: Records, series: str, bpp: float = 0.3) -> float:
    """Our files' mean PSNR over all of Kodak less a published codec's at the rate that our files have, in dB."""
    record = on_all_of_kodak(loonie(records, "file", bpp))
    rows = published("kodak", where="Kodak mean", series=series, metric="psnr")
    return record.mean("psnr") - Curve.of((row["x"], row["value"]) for row in rows).at(record.mean("bpp"), series)


def on_all_of_kodak(record: RunRecord) -> RunRecord:
    """The record, if it has all 24 pictures; else `LookupError`."""
    if len(record.rows) < 24:
        raise LookupError(f"{record.name} has {len(record.rows)} pictures, not the 24 that are published")
    return record


def race(records: Records) -> float:
    """Seconds that COIN takes to its final PSNR over those that L0onie takes to it, within its budget."""
    runs = {r.config["runner"]: r for r in records.find("loonie_race", data="kodak", seed=0)}
    if len(runs) < 3:
        raise LookupError("no race on a GPU: `python -m reproduce study loonie_race --preset paper --device cuda`")
    seconds = {}
    coin, ours = runs["COIN at 1e-3"], runs["L0onie at 1e-3"]
    goals = {row["picture"]: row["psnr"] for row in coin.rows}
    for runner in (coin, ours):
        each = []
        for row in runner.rows:
            steps, psnr = np.array(row["history"]["step"]), np.array(row["history"]["psnr"])
            if "course" in row:  # a network that is over its budget is no answer yet
                psnr = np.where(np.array(row["course"]["rate"]) <= runner.config["bpp"] * (1 + 1e-6), psnr, -np.inf)
            reached = steps[psnr >= goals[row["picture"]] - 1e-3]
            share = reached[0] / steps[-1] if len(reached) else np.inf
            each.append(share * row["encode_seconds"])
        seconds[runner.config["runner"]] = float(np.median(each))
    return seconds["COIN at 1e-3"] / seconds["L0onie at 1e-3"]


def starts(records: Records) -> dict[tuple[float, float, int], list[RunRecord]]:
    """The records of `start_plan` by budget in bpp, size and depth of the start; one record a picture.

    `LookupError` if there are none, or a start has not been run on every picture.
    """
    of: dict[tuple[float, float, int], list[RunRecord]] = {}
    for record in records.find("loonie_starts"):
        of.setdefault(tuple(record.config[name] for name in ("target_bpp", "size", "depth")), []).append(record)
    if not of or len({len(found) for found in of.values()}) > 1:
        raise LookupError(
            "the sweep over starts is not complete: make it with `python -m reproduce sweep sweeps/loonie_starts.yaml`"
        )
    return dict(sorted(of.items()))


def first_psnr(records: Records, label: str, step: int) -> float:
    """PSNR in dB of one of `FIRST_VALUES` on kodim15 after so many steps of the paper's own training."""
    history = records.one("first_values", label=label).rows[0]["history"]
    if step not in history["step"]:
        raise LookupError(f"no score of {label} at step {step}: make it with `python -m reproduce study first_values`")
    return history["psnr"][history["step"].index(step)]


def gain_of_division(records: Records, step: int = 400) -> float:
    """What dividing L0onie's first weights by 1 - drop rate brings on kodim15 after so many steps, in dB."""
    divided, whole = (first_psnr(records, of, step) for of in ("L0onie as released", "L0onie, weights not divided"))
    return divided - whole


def psnr_of_starts(records: Records) -> dict[float, dict[float, dict[int, float]]]:
    """Mean PSNR in dB over pictures, by budget, size and depth."""
    psnr: dict[float, dict[float, dict[int, float]]] = {}
    for (bpp, size, depth), found in starts(records).items():
        psnr.setdefault(bpp, {}).setdefault(size, {})[depth] = float(np.mean([r.mean("psnr") for r in found]))
    return psnr


def start_against_search(records: Records) -> float:
    """PSNR in dB of L0onie, mean over all its starts, less that of the COIN that a search over depths finds.

    The search takes the best depth of each budget, by the mean over pictures; the difference is a mean over budgets.
    """
    each = []
    for sizes in psnr_of_starts(records).values():
        ours = [psnr for size, depths in sizes.items() if size > 1 for psnr in depths.values()]
        each.append(np.mean(ours) - max(sizes[1.0].values()))
    return float(np.mean(each))


