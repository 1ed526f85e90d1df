"""Numbers and claims of Sparse CAE, from the records of `studies.autoencoders`."""

from __future__ import annotations

import numpy as np

from sparsecomp import metrics, results
from sparsecomp.results import RunRecord
from sparsecomp.verdicts.base import Claim

PAPER = "Sparse CAE"
CONSTRAINTS = {"l1": "l1", "bilevel_l11": "l1,1", "l1inf": "l1,inf"}  # ours: the paper's names in Table I
SPREAD = 2.0  # a difference within so many standard errors of the seeds is called none


def dense(label: str = "high", seed: int = 0, profile: str = "laptop") -> RunRecord:
    """The record of a dense autoencoder; `LookupError` where it is missing."""
    return results.record("cae", label=label, seed=seed, profile=profile, data="kodak")


def sparse(label: str, seed: int = 0, profile: str = "laptop") -> RunRecord:
    """The record of a second descent, or a control."""
    return results.record("cae_sparse", label=label, seed=seed, profile=profile, data="kodak")


def labels(profile: str = "laptop") -> list[str]:
    """What second descents and controls there are."""
    return sorted({r.config["label"] for r in results.records("cae_sparse", profile=profile, data="kodak")})


def seeds_of(label: str, profile: str = "laptop") -> list[int]:
    """From which seeds a label was run."""
    found = results.records("cae_sparse", label=label, profile=profile, data="kodak")
    return sorted(r.config["seed"] for r in found)


def relative_loss(label: str, seed: int = 0) -> float:
    """The paper's relative loss in dB, without a quantiser: mean over pictures of ``10 log10 (MSE_ref / MSE)``.

    Below 0 is a loss, as the paper prints it. The reference is the dense model of the same seed.
    """
    theirs, ours = (
        {r["picture"]: r["mse_unquantised"] for r in record.rows} for record in (dense(seed=seed), sparse(label, seed))
    )
    if set(ours) != set(theirs):
        raise LookupError(f"the records of {label} and the dense model are of different pictures")
    return float(np.mean([10 * np.log10(theirs[name] / ours[name]) for name in ours]))


def loss_at_rate(label: str, seed: int = 0) -> float:
    """Mean difference in PSNR to the dense model at equal bytes of files, in dB (BD-PSNR); below 0 is a loss."""
    (anchor, theirs), (test, ours) = (rising(r) for r in (dense(seed=seed), sparse(label, seed)))
    if min(len(anchor), len(test)) < 4 or anchor[0] >= test[-1] or test[0] >= anchor[-1]:
        raise LookupError(f"the curves of {label} and the dense model have too few points in common")
    return metrics.bd_psnr(rate_anchor=anchor, quality_anchor=theirs, rate_test=test, quality_test=ours).value


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
    found = sparse(label, seed).result
    return 100 * (1 - found["encoder_bytes"] / found["dense_bytes"])


def speedup(label: str, profile: str = "laptop") -> dict:
    """The row of `cae_speed`: median and quartiles of dense over pruned."""
    record = results.record("cae_speed", profile=profile, data="kodak")
    for row in record.rows:
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
    found = results.records("cae", profile=profile, data="kodak", seed=0)
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
    """Table I, and what the text promises."""
    size = "profile laptop: width 48 in place of 128, BSDS500 in place of Flickr, one descent a few thousand steps"
    table = []
    for kind, name in CONSTRAINTS.items():
        rows = results.published("sparse_cae", where="Table I", series=name)
        printed = {row["metric"]: row["value"] for row in rows}
        macs, memory, loss = (printed[key] for key in ("macc_reduction", "memory_reduction", "relative_loss"))
        table += [
            Claim(f"cae-{kind}-macs", PAPER, f"{name}: fewer MACCs near S = 83 %, the paper's count", f"{macs:g} %",
                  "5 points", lambda kind=kind: macs_saved(kind, accounting="macs_paper"),
                  lambda ours, macs=macs: abs(ours - macs) <= 5, "{:.1f} %", size),
            Claim(f"cae-{kind}-memory", PAPER, f"{name}: memory of the encoder near S = 83 %, bytes of a sparse file",
                  f"{memory:g} % less", "5 points", lambda kind=kind: memory_saved(kind),
                  lambda ours, memory=memory: abs(ours - memory) <= 5, "{:.1f} % less",
                  "positions are paid for: the share of zeros is not the share of bytes; " + size),
            Claim(f"cae-{kind}-loss", PAPER, f"{name}: relative loss near S = 83 %, no quantiser", f"{loss:g} dB",
                  "0.5 dB", lambda kind=kind: over_seeds(kind, relative_loss)[0],
                  lambda ours, loss=loss: abs(ours - loss) <= 0.5, "{:.2f} dB", size),
        ]  # fmt: skip
    return [
        *table,
        Claim("cae-86", PAPER, "l1,1: MACCs at S = 86 %, counted as the paper does, no second descent (Fig. 2)",
              "30 % fewer", "5 points", lambda: macs_at_density("bilevel_l11", 0.86),
              lambda ours: abs(ours - 30) <= 5, "{:.1f} % fewer", size),
        Claim("cae-l21", PAPER, "l2,1 gives no structured sparsity", "yes (text; no number)",
              "no more MACs saved than l1,1 at S = 83 %, after surgery",
              lambda: macs_saved("l21") - macs_saved("bilevel_l11"), lambda ours: ours <= 0, "{:+.1f} points",
              "the group soft threshold removes whole filters and nothing else; the released l2,1 takes l1 norms"),
        Claim("cae-less-than-1-db", PAPER, "l1,1 loses less than 1 dB (files on Kodak, same bytes)", "< 1 dB",
              "none", lambda: over_seeds("bilevel_l11", loss_at_rate)[0], lambda ours: ours > -1, "{:.2f} dB", size),
        Claim("cae-47", PAPER, "47 dB near 4 bpp (l1,1, Kodak, bytes of files)", "47 dB at 4.28 bpp", "1 dB",
              lambda: psnr_near(4.28, "bilevel_l11"), lambda ours: ours >= 46, "{:.2f} dB", size),
        Claim("cae-energy", PAPER, "25 % less energy", "25 %", "a measurement", _energy, bool, "{}", ""),
        Claim("cae-40-macs", "beyond the papers", "S near 83 %: 40 % fewer MACs for at most 0.5 dB (bytes of files)",
              "our own aim", "none", best_beyond, lambda ours: ours >= 40, "{:.1f} % fewer MACs",
              "the most that a variant within 0.5 dB saves, after surgery; " + size),
        Claim("cae-faster", "beyond the papers", "the pruned encoder is 1.3 times as fast as the dense one on a CPU",
              "our own aim", "none", fastest, lambda ours: ours >= 1.3, "{:.2f} times",
              "wall-clock, whole pictures, pairs in turn; the quickest variant within 0.5 dB"),
    ]  # fmt: skip


def _energy() -> float:
    raise LookupError("energy is nowhere measured, in the paper or here; it does not follow from multiply-accumulates")


def within(loss: float = 0.5) -> list[str]:
    """Second descents (no dense nets) that lose at most so many dB at equal bytes of files."""
    found = [label for label in labels() if "dense" not in label]
    return [label for label in found if over_seeds(label, loss_at_rate)[0] >= -loss]


def best_beyond() -> float:
    """The most MACs, in per cent, that a variant within 0.5 dB saves."""
    if not labels():
        raise LookupError("no records of study 'cae_sparse'")
    return max((macs_saved(label) for label in within()), default=0.0)


def fastest() -> float:
    """The greatest speed-up of a variant within 0.5 dB; 0 if none is within."""
    if not labels():
        raise LookupError("no records of study 'cae_sparse'")
    return max((speedup(label)["speedup"] for label in within()), default=0.0)
