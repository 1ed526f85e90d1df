"""Numbers and claims of Sparse CAE, from the records of `studies.autoencoders`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sparsecomp import metrics, results
from sparsecomp.results import RunRecord
from sparsecomp.verdicts import networks
from sparsecomp.verdicts.base import Claim

PAPER = "Sparse CAE"
CONSTRAINTS = {"l1": "l1", "bilevel_l11": "l1,1", "l1inf": "l1,inf"}  # ours: the paper's names in Table I
# What goes beyond the paper; fixed before any second descent was measured on Kodak.
BEYOND = "filters, then l1, rewound"
TRAINED_ON = "bsds500/train"


def dense(label: str = "high", seed: int = 0, profile: str = "laptop") -> RunRecord:
    """The record of a dense autoencoder; `LookupError` where it is missing."""
    return _one("cae", label, seed, profile)


def sparse(label: str, seed: int = 0, profile: str = "laptop") -> RunRecord:
    """The record of a second descent, or a control."""
    return _one("cae_sparse", label, seed, profile)


def made(study: str, profile: str = "laptop", **where: object) -> list[RunRecord]:
    """The records of a study that count: measured on Kodak, trained on BSDS500, not on a folder of a reader's own."""
    found = results.records(study, profile=profile, data="kodak", **where)
    return [r for r in found if r.config["train"]["data"] == TRAINED_ON]


def _one(study: str, label: str, seed: int, profile: str) -> RunRecord:
    found = made(study, profile, label=label, seed=seed)
    if len(found) != 1:
        raise LookupError(
            f"{len(found)} records of {label}, seed {seed}, where one is needed: `sparsecomp study {study}`"
        )
    return found[0]


def labels(profile: str = "laptop") -> list[str]:
    """What second descents and controls there are."""
    return sorted({r.config["label"] for r in made("cae_sparse", profile)})


def seeds_of(label: str, profile: str = "laptop") -> list[int]:
    """From which seeds a label was run."""
    return sorted(r.config["seed"] for r in made("cae_sparse", profile, label=label))


def reference(label: str, seed: int = 0) -> RunRecord:
    """The dense model that had as many steps: of what goes on from trained weights the one that went on, too."""
    constraint = sparse(label, seed).config["constraint"]
    went_on = constraint is not None and constraint["restart"] == "trained" and "dense" not in label
    return sparse("dense, trained on", seed) if went_on else dense(seed=seed)


def relative_loss(label: str, seed: int = 0) -> float:
    """The paper's relative loss in dB, no quantiser: mean over pictures of ``10 log10 (MSE_ref / MSE)``.

    Below 0 is a loss, as the paper prints it. Of 8-bit reconstructions; the reference is the dense model of the same
    seed and as many steps. It compares models at whatever rates they have.
    """
    records = reference(label, seed), sparse(label, seed)
    theirs, ours = ({row["picture"]: row["mse_unquantised"] for row in record.rows} for record in records)
    if set(ours) != set(theirs):
        raise LookupError(f"the records of {label} and the dense model are of different pictures")
    return float(np.mean([10 * np.log10(theirs[name] / ours[name]) for name in ours]))


def at_rate(label: str, seed: int = 0) -> metrics.BD:
    """Mean difference in PSNR to the dense model of as many steps at equal bytes of files (BD-PSNR), and over which
    rates.

    Both curves have the steps that both were measured at. Where the dense model would have to work beyond the steps it
    was trained for, because the other has so few channels that its rates are low, the best of all dense models stands
    in its place.
    """
    ours, theirs = sparse(label, seed), reference(label, seed)
    shared = {row["setting"] for row in ours.rows} & {row["setting"] for row in theirs.rows}
    ours, theirs = (replace(r, rows=[row for row in r.rows if row["setting"] in shared]) for r in (ours, theirs))
    test, known = rising(ours), theirs.config["descent"]["coarsest"] * 2**14
    low = test[0][-1] < min(theirs.mean("bpp", setting=s) for s in shared if s <= known)
    anchor = hull() if low else rising(theirs)
    if min(len(anchor[0]), len(test[0])) < 4 or anchor[0][0] >= test[0][-1] or test[0][0] >= anchor[0][-1]:
        raise LookupError(f"the curves of {label} and the dense model have too few points in common")
    return metrics.bd_psnr(rate_anchor=anchor[0], quality_anchor=anchor[1], rate_test=test[0], quality_test=test[1])


def loss_at_rate(label: str, seed: int = 0) -> float:
    """`at_rate` in dB; below 0 is a loss."""
    return at_rate(label, seed).value


def over_seeds(label: str, measure: object) -> tuple[float, float]:
    """Mean over the seeds of a label, and the standard deviation (nan for one)."""
    values = [measure(label, seed) for seed in seeds_of(label)]
    if not values:
        raise LookupError(f"no records of {label}: make them with `sparsecomp study cae_sparse --profile laptop`")
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def macs_saved(label: str, seed: int = 0, accounting: str = "macs") -> float:
    """Per cent fewer multiply-accumulates of the encoder: after surgery ("macs"), or as the paper counts."""
    return 100 * (1 - sparse(label, seed).result[accounting] / dense(seed=seed).result["macs"])


def memory_saved(label: str, seed: int = 0) -> float:
    """Per cent fewer bytes of the encoder: its sparse file against its dense weights, 16 bits each."""
    return 100 * (1 - sparse(label, seed).result["encoder_bytes"] / dense(seed=seed).result["dense_bytes"])


def speedup(label: str, profile: str = "laptop") -> dict:
    """The row of `cae_speed`: median and quartiles of dense over pruned."""
    rows = [row for record in results.records("cae_speed", profile=profile, data="kodak") for row in record.rows]
    for row in rows:
        if row["label"] == label:
            return row
    raise LookupError(f"cae_speed has not timed {label}: make it anew with `sparsecomp study cae_speed`")


def density(kind: str, radius: str = "common", coupled: bool = False, profile: str = "laptop") -> list[dict]:
    """Rows of Figure 2 for one projection, densest last."""
    rows = results.record("cae_density", profile=profile).rows
    found = [r for r in rows if (r["kind"], r["radius_rule"], r["coupled"]) == (kind, radius, coupled)]
    return sorted(found, key=lambda row: -row["sparsity"])


def macs_at_density(kind: str, sparsity: float, accounting: str = "macs_paper") -> float:
    """Per cent fewer multiply-accumulates when ``sparsity`` of the encoder is zero, before any second descent."""
    rows = density(kind)
    grid, left = [row["sparsity"] for row in rows][::-1], [row[accounting] for row in rows][::-1]
    if not grid[0] <= sparsity <= grid[-1]:
        raise LookupError(f"{kind} was projected from {grid[0]:.2f} to {grid[-1]:.2f}, not to {sparsity}")
    return 100 * (1 - float(np.interp(sparsity, grid, left)))


def rising(*records: RunRecord, metric: str = "psnr") -> tuple[list[float], list[float]]:
    """Mean quality over mean rate of files at all steps of some records, without points that a smaller file equals."""
    every = (point for record in records for point in zip(*record.curve(metric), strict=True))
    rates, qualities = [], []
    for rate, quality in sorted(every, key=lambda point: (point[0], -point[1])):  # the better one of two at one rate
        if not qualities or (quality > qualities[-1] and rate > rates[-1]):
            rates.append(rate)
            qualities.append(quality)
    return rates, qualities


def hull(metric: str = "psnr", profile: str = "laptop") -> tuple[list[float], list[float]]:
    """The best that the dense models reach together."""
    found = made("cae", profile, seed=0)
    if not found:
        raise LookupError("no dense autoencoders: make them with `sparsecomp study cae --profile laptop`")
    return rising(*found, metric=metric)


def psnr_near(bpp: float, label: str | None = None) -> float:
    """Mean PSNR in dB at a rate of files: of one second descent, or of the dense models together."""
    rates, qualities = hull() if label is None else rising(sparse(label))
    if not rates[0] <= bpp <= rates[-1]:
        raise LookupError(f"measured from {rates[0]:.2f} to {rates[-1]:.2f} bpp, not at {bpp}")
    return float(np.interp(bpp, rates, qualities))


# The claims -----------------------------------------------------------------------------------------------------------


def claims() -> list[Claim]:
    """Table I, what the text promises, and our own aims."""
    size = "profile laptop: width 48 in place of 128, BSDS500 in place of Flickr, 4,000 steps a descent"
    taps = "our groups are filters, the released projection empties input taps: another method; "
    table = []
    for kind, name in CONSTRAINTS.items():
        rows = results.published("sparse_cae", where="Table I", series=name)
        printed = {row["metric"]: row["value"] for row in rows}
        macs, memory, loss = (printed[key] for key in ("macc_reduction", "memory_reduction", "relative_loss"))
        why = taps + size if kind == "l1inf" else size
        table += [
            Claim(f"cae-{kind}-macs", PAPER, f"{name}: fewer MACCs near S = 83 %, the paper's count", f"{macs:g} %",
                  "at most 5 points less", lambda kind=kind: macs_saved(kind, accounting="macs_paper"),
                  lambda ours, macs=macs: ours >= macs - 5, "{:.1f} %", why),
            Claim(f"cae-{kind}-memory", PAPER, f"{name}: memory of the encoder near S = 83 %, bytes of a sparse file",
                  f"{memory:g} % less", "at most 5 points less", lambda kind=kind: memory_saved(kind),
                  lambda ours, memory=memory: ours >= memory - 5, "{:.1f} % less",
                  "positions are paid for: the share of zeros is not the share of bytes; " + size),
            Claim(f"cae-{kind}-loss", PAPER, f"{name}: relative loss near S = 83 %, no quantiser", f"{loss:g} dB",
                  "at most 0.5 dB more", lambda kind=kind: over_seeds(kind, relative_loss)[0],
                  lambda ours, loss=loss: ours >= loss - 0.5, "{:.2f} dB", "mean over pictures; " + why),
        ]  # fmt: skip
    return [
        *table,
        Claim("cae-86", PAPER, "l1,1: MACCs at S = 86 %, counted as the paper does, no second descent (Fig. 2)",
              "30 % fewer", "at most 5 points less", lambda: macs_at_density("bilevel_l11", 0.86),
              lambda ours: ours >= 25, "{:.1f} % fewer", size),
        Claim("cae-l21", PAPER, "l2,1 gives no structured sparsity", "yes (text; no number)",
              "MACs saved at S = 83 %, after surgery: no more than by l1 and 5 points",
              lambda: macs_saved("l21"), lambda ours: ours <= macs_saved("l1") + 5, "{:.1f} % fewer MACs",
              "group soft thresholding makes no single zeros; the released l2,1 takes l1 norms"),
        Claim("cae-less-than-1-db", PAPER, "l1,1 loses less than 1 dB (files on Kodak, same bytes)", "< 1 dB",
              "none", lambda: over_seeds("bilevel_l11", loss_at_rate)[0], lambda ours: ours > -1, "{:.2f} dB", size),
        Claim("cae-47", PAPER, "47 dB at about 4 bpp (l1,1, Kodak, bytes of files)", "47 dB", "1 dB",
              lambda: psnr_near(4.0, "bilevel_l11"), lambda ours: ours >= 46, "{:.2f} dB", size),
        Claim("cae-4-db-jpeg", PAPER, "at least 4 dB above JPEG at about 4 bpp: the paper's own 47 dB", "4 dB",
              "none", lambda: 47 - standard_at("jpeg", 4.0), lambda ours: ours >= 4, "{:+.1f} dB",
              "against JPEG as fairly as in chapter 00, files on Kodak"),
        Claim("cae-4-db-jpeg2000", PAPER, "at least 4 dB above JPEG 2000 at about 4 bpp: the paper's own 47 dB",
              "4 dB", "none", lambda: 47 - standard_at("jpeg2000", 4.0), lambda ours: ours >= 4, "{:+.1f} dB",
              "JPEG 2000 with its colour transform; the curve that the paper cites ends at 2.40 bpp"),
        Claim("cae-over-jpeg2000", PAPER, "our dense models against JPEG 2000 at 4 bpp, files on Kodak", "+4 dB",
              "none", lambda: psnr_near(4.0) - standard_at("jpeg2000", 4.0), lambda ours: ours >= 4, "{:+.1f} dB",
              "a factorised prior on a latent at a quarter of the resolution; " + size),
        Claim("cae-energy", PAPER, "25 % less energy", "25 %", "a measurement", _energy, bool, "{}", ""),
        *(claim for label, name in (("bilevel_l11", "the paper's l1,1"), (BEYOND, "whole filters, then l1"))
          for claim in _aims(label, name, size)),
    ]  # fmt: skip


def _aims(label: str, name: str, size: str) -> list[Claim]:
    """Our own aims for one way of making the encoder sparse, over three seeds."""
    return [
        Claim(f"cae-aim-macs-{label}", "beyond the papers", f"{name}, S near 83 %: 40 % fewer MACs, after surgery",
              "our own aim", "none", lambda: over_seeds(label, macs_saved)[0], lambda ours: ours >= 40,
              "{:.1f} % fewer", size),
        Claim(f"cae-aim-loss-{label}", "beyond the papers", f"{name}, S near 83 %: at most 0.5 dB (same bytes)",
              "our own aim", "none", lambda: over_seeds(label, loss_at_rate)[0], lambda ours: ours >= -0.5,
              "{:.2f} dB", "mean of three seeds; " + size),
        Claim(f"cae-aim-speed-{label}", "beyond the papers", f"{name}: the encoder 1.3 times as fast on a CPU",
              "our own aim", "the lower quartile", lambda: speedup(label)["lower"], lambda ours: ours >= 1.3,
              "{:.2f} times", "wall-clock, one whole picture of Kodak, one thread, pairs of calls in turn"),
    ]  # fmt: skip


def standard_at(codec: str, bpp: float) -> float:
    """Mean PSNR in dB of JPEG or JPEG 2000 on Kodak at a rate, high ones too."""
    rates, qualities = networks.curve(codec, high=True)
    if not rates[0] <= bpp <= rates[-1]:
        raise LookupError(f"{codec} was measured from {rates[0]:.2f} to {rates[-1]:.2f} bpp, not at {bpp}")
    return float(np.interp(bpp, rates, qualities))


def _energy() -> float:
    raise LookupError("energy is nowhere measured, in the paper or here; it does not follow from multiply-accumulates")
