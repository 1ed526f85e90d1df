"""Numbers out of records, and measures of claims of Sparse CAE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from reproduce.papers import baselines
from reproduce.papers.baselines import TRAINED_ON
from reproduce.papers.sparse_cae.plans import MODELS, RELEASED, VARIANTS
from reproduce.records import Curve, Records, RunRecord
from sparsecomp.metrics import BD


def dense(records: Records, label: str = "high", seed: int = 0) -> RunRecord:
    """The record of a dense autoencoder; `LookupError` where it is missing."""
    return _one(records, "cae_released" if label in RELEASED else "cae", label, seed)


def sparse(records: Records, label: str, seed: int = 0) -> RunRecord:
    """The record of a second descent, or a control."""
    return _one(records, _study_of(label), label, seed)


def _study_of(label: str) -> str:
    return "cae_variants" if label in VARIANTS else "cae_sparse"


def first(records: Records, label: str, seed: int = 0) -> RunRecord:
    """The record of the first descent that a second one comes from."""
    return dense(records, VARIANTS[label][0] if label in VARIANTS else "high", seed)


def made(records: Records, study: str, **where: object) -> list[RunRecord]:
    """The records of a study that count: measured on Kodak, trained on BSDS500, not on a folder of a reader's own."""
    found = records.find(study, data="kodak", **where)
    return [r for r in found if r.config["train"]["data"] == TRAINED_ON]


def _one(records: Records, study: str, label: str, seed: int) -> RunRecord:
    found = made(records, study, label=label, seed=seed)
    if len(found) != 1:
        raise LookupError(
            f"{len(found)} records of {label}, seed {seed}, where one is needed: `python -m reproduce study {study}`"
        )
    return found[0]


def labels(records: Records) -> list[str]:
    """What second descents and controls there are."""
    return sorted({r.config["label"] for r in made(records, "cae_sparse")})


def seeds_of(records: Records, label: str) -> list[int]:
    """From which seeds a label was run."""
    return sorted(r.config["seed"] for r in made(records, _study_of(label), label=label))


def reference(records: Records, label: str, seed: int = 0) -> RunRecord:
    """The dense model that had as many steps: for a fine-tuned model the dense one that was fine-tuned, too."""
    constraint = sparse(records, label, seed).config["constraint"]
    fine_tuned = constraint is not None and constraint["restart"] == "trained" and "dense" not in label
    return sparse(records, "dense, trained on", seed) if fine_tuned else first(records, label, seed)


def relative_loss(records: Records, label: str, seed: int = 0) -> float:
    """The paper's relative loss in dB, no quantiser: mean over pictures of ``10 log10 (MSE_ref / MSE)``.

    Below 0 is a loss, as the paper prints it. Of 8-bit reconstructions; the reference is the dense model of the same
    seed and as many steps. It compares models at whatever rates they have.
    """
    pair = reference(records, label, seed), sparse(records, label, seed)
    theirs, ours = ({row["picture"]: row["mse_unquantised"] for row in record.rows} for record in pair)
    if set(ours) != set(theirs):
        raise LookupError(f"the records of {label} and the dense model are of different pictures")
    return float(np.mean([10 * np.log10(theirs[name] / ours[name]) for name in ours]))


def mean_over_seeds(records: Records, label: str, measure: Callable[[Records, str, int], float]) -> float:
    """The mean of `over_seeds`."""
    return over_seeds(records, label, measure)[0]


def at_rate(records: Records, label: str, seed: int = 0) -> BD:
    """Mean difference in PSNR to the dense model of as many steps at equal bytes of files (BD-PSNR), and over which
    rates.

    Both curves have the steps that both were measured at. Where the dense model would have to work beyond the steps it
    was trained for, because the other has so few channels that its rates are low, the best of all dense models stands
    in its place.
    """
    ours, theirs = sparse(records, label, seed), reference(records, label, seed)
    shared = {row["setting"] for row in ours.rows} & {row["setting"] for row in theirs.rows}
    ours, theirs = (replace(r, rows=[row for row in r.rows if row["setting"] in shared]) for r in (ours, theirs))
    test, known = rising(ours), theirs.config["descent"]["coarsest"] * 2**14
    low = test.rates[-1] < min(theirs.mean("bpp", setting=s) for s in shared if s <= known)
    try:
        return test.better(hull(records) if low else rising(theirs))
    except LookupError as error:
        raise LookupError(f"the curves of {label} and the dense model: {error}") from error


def loss_at_rate(records: Records, label: str, seed: int = 0) -> float:
    """`at_rate` in dB; below 0 is a loss."""
    return at_rate(records, label, seed).value


def released_over_ours(records: Records, label: str) -> float:
    """Mean difference in PSNR, dB at equal bytes, of a dense model made as the released code does to ours."""
    return rising(dense(records, label)).better(rising(dense(records))).value


def released_longer(records: Records, label: str) -> float:
    """Per cent of bytes that its files have more at equal PSNR."""
    return rising(dense(records, label)).longer(rising(dense(records))).value


def over_seeds(records: Records, label: str, measure: Callable[[Records, str, int], float]) -> tuple[float, float]:
    """Mean over the seeds of a label, and the standard deviation (nan for one)."""
    values = [measure(records, label, seed) for seed in seeds_of(records, label)]
    if not values:
        raise LookupError(f"no records of {label}: make them with `python -m reproduce study cae_sparse`")
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def sparsity(records: Records, label: str, seed: int = 0) -> float:
    """Per cent of the encoder's weights that are zero."""
    return 100 * sparse(records, label, seed).result.get("sparsity", 0)


def macs_saved_paper(records: Records, label: str, seed: int = 0) -> float:
    """`macs_saved` as the paper counts."""
    return macs_saved(records, label, seed, accounting="macs_paper")


def mean_relative_loss(records: Records, label: str) -> float:
    """`relative_loss`, the mean over the seeds there are."""
    return mean_over_seeds(records, label, relative_loss)


def mean_loss_at_rate(records: Records, label: str) -> float:
    """`loss_at_rate`, the mean over the seeds there are."""
    return over_seeds(records, label, loss_at_rate)[0]


def mean_macs_saved(records: Records, label: str) -> float:
    """`macs_saved` after surgery, the mean over the seeds there are."""
    return over_seeds(records, label, macs_saved)[0]


def macs_saved(records: Records, label: str, seed: int = 0, accounting: str = "macs") -> float:
    """Per cent fewer multiply-accumulates of the encoder: after surgery ("macs"), or as the paper counts."""
    return 100 * (1 - sparse(records, label, seed).result[accounting] / first(records, label, seed).result["macs"])


def decoder_macs_saved(records: Records, label: str = "all layers") -> float:
    """The same of a decoder whose weights were projected, too, as the paper counts."""
    found = sparse(records, label).result
    return 100 * (1 - found["macs_paper_decoder"] / found["macs_decoder"])


def memory_saved(records: Records, label: str, seed: int = 0) -> float:
    """Per cent fewer bytes of the encoder: its sparse file against its dense weights, 16 bits each."""
    ours, whole = sparse(records, label, seed).result, first(records, label, seed).result
    return 100 * (1 - ours["encoder_bytes"] / whole["dense_bytes"])


def speedup(records: Records, label: str) -> dict:
    """The row of `cae_speed`: median and quartiles of dense over pruned."""
    rows = [row for record in records.find("cae_speed", data="kodak") for row in record.rows]
    for row in rows:
        if row["label"] == label:
            return row
    raise LookupError(f"cae_speed has not timed {label}: make it anew with `python -m reproduce study cae_speed`")


def least_speedup(records: Records, label: str) -> float:
    """The lower quartile of `speedup`."""
    return speedup(records, label)["lower"]


def density(records: Records, kind: str, radius: str = "common", coupled: bool = False) -> list[dict]:
    """Rows of Figure 2 for one projection, densest last."""
    rows = records.one("cae_density").rows
    found = [r for r in rows if (r["kind"], r["radius_rule"], r["coupled"]) == (kind, radius, coupled)]
    return sorted(found, key=lambda row: -row["sparsity"])


def macs_at_density(records: Records, kind: str, sparsity: float, accounting: str = "macs_paper") -> float:
    """Per cent fewer multiply-accumulates when ``sparsity`` of the encoder is zero, before any second descent."""
    rows = density(records, kind)
    grid, left = [row["sparsity"] for row in rows][::-1], [row[accounting] for row in rows][::-1]
    if not grid or not grid[0] <= sparsity <= grid[-1]:
        ends = f"from {grid[0]:.2f} to {grid[-1]:.2f}" if grid else "nowhere"
        raise LookupError(f"{kind} was projected {ends}, not to {sparsity}")
    return 100 * (1 - float(np.interp(sparsity, grid, left)))


def rising(*records: RunRecord, metric: str = "psnr") -> Curve:
    """Mean quality over mean rate of files at all steps of some records, without points that a smaller file equals."""
    return Curve.rising(*(record.curve(metric) for record in records))


def fine(records: Records, label: str) -> list[RunRecord]:
    """The record of the first seed's model at finer steps, where there is one."""
    model = (dense if label in MODELS else sparse)(records, label).result["model"]
    return records.find("cae_fine", data="kodak", label=label, model=model)[:1]


def hull(records: Records, metric: str = "psnr") -> Curve:
    """The best that the dense models reach together."""
    found = made(records, "cae", seed=0)
    if not found:
        raise LookupError("no dense autoencoders: make them with `python -m reproduce study cae --preset laptop`")
    return rising(*found, *fine(records, "high"), metric=metric)


def psnr_near(records: Records, bpp: float, label: str | None = None) -> float:
    """Mean PSNR in dB at a rate of files: of one second descent, or of the dense models together."""
    curve = hull(records) if label is None else rising(sparse(records, label), *fine(records, label))
    return curve.at(bpp, label or "the dense models")


def over_standard(records: Records, codec: str, bpp: float) -> float:
    """PSNR in dB of the dense models above a standard codec on Kodak at a rate of files."""
    return psnr_near(records, bpp) - baselines.psnr_at(records, codec, bpp)


def contexts_save(records: Records) -> tuple[float, float]:
    """Smallest and largest saving of contexts over one table for each channel, over dense models and steps.

    In per cent of the bytes of code, which are summed over all pictures.
    """
    record, saved = records.one("cae_coders", data="kodak"), []
    for label, setting in {(row["label"], row["setting"]) for row in record.rows}:
        rows = [row for row in record.rows if (row["label"], row["setting"]) == (label, setting)]
        ours, theirs = (sum(row[f"{coder}_bytes"] for row in rows) for coder in ("contexts", "tables"))
        saved.append(100 * (1 - ours / theirs))
    return min(saved), max(saved)


def macs_over_l1(records: Records, label: str) -> float:
    """Points by which a second descent saves more multiply-accumulates than l1, after surgery."""
    return macs_saved(records, label) - macs_saved(records, "l1")


