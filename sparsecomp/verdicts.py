"""What holds: every number and claim of the papers against ours, recomputed from the records each time.

A verdict is *holds*, *differs* (with the reason), or *not run* (the record that could decide is not there).
``sparsecomp verify`` compares today's verdicts with those in ``results/verdicts.json`` and fails if one that
held no longer does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sparsecomp import profiles, results
from sparsecomp.results import RunRecord

HOLDS, DIFFERS, NOT_RUN = "holds", "differs", "not run"


@dataclass(frozen=True)
class Verdict:
    """One claim, weighed."""

    key: str
    paper: str
    claim: str
    published: str
    ours: str
    tolerance: str
    verdict: str
    why: str


@dataclass(frozen=True)
class Claim:
    """One claim and how it is weighed.

    ``measure`` computes our number from records (`LookupError` where they are missing), ``accepts`` says whether it
    agrees, ``shown`` prints it. ``why`` explains what the number is, whatever the verdict.
    """

    key: str
    paper: str
    claim: str
    published: str
    tolerance: str
    measure: Callable[[], float]
    accepts: Callable[[float], bool]
    shown: str
    why: str

    def weigh(self) -> Verdict:
        told = (self.key, self.paper, self.claim, self.published)
        try:
            ours = self.measure()
        except LookupError as missing:
            return Verdict(*told, "–", self.tolerance, NOT_RUN, str(missing))
        verdict = HOLDS if self.accepts(ours) else DIFFERS
        return Verdict(*told, self.shown.format(ours), self.tolerance, verdict, self.why)


# Numbers out of records -----------------------------------------------------------------------------------------------


def coin_curve() -> list[RunRecord]:
    """Our COIN on all of Kodak at the paper's architectures with the engine's own budget, smallest network first."""
    budget = profiles.as_dict(profiles.FAST)
    found = [r for r in results.records("coin", data="kodak", pictures=24, seed=0) if r.config["fit"] == budget]
    if not found:
        raise LookupError("no COIN records on Kodak: make them with `sparsecomp study coin --profile laptop`")
    one_each = {r.config["architecture"]: r for r in found}  # laptop and paper-fast fit alike: one record is enough
    return sorted(one_each.values(), key=lambda r: r.mean("bpp"))


def baseline(label: str) -> RunRecord:
    """One standard codec on all of Kodak over its settings."""
    return results.record("baselines", label=label, data="kodak", pictures=24, seed=0, profile="laptop")


def baselines(label: str) -> list[RunRecord]:
    """The records behind a codec's curve: of JPEG and AVIF both samplings of the chroma."""
    return [
        baseline(name) for name in {"jpeg": ("jpeg", "jpeg-444"), "avif": ("avif", "avif-444")}.get(label, (label,))
    ]


def curve(label: str, metric: str = "psnr") -> tuple[list[float], list[float]]:
    """Mean quality over mean rate of a standard codec, both rising.

    A measured point counts if no other of the codec's records is above it there, between that record's own points, and
    if no smaller file is as good.
    """
    measured = [record.curve(metric) for record in baselines(label)]
    rates, qualities = [], []
    for rate, quality in sorted(point for rs, qs in measured for point in zip(rs, qs, strict=True)):
        best = max(np.interp(np.log(rate), np.log(rs), qs) for rs, qs in measured if rs[0] <= rate <= rs[-1])
        if quality >= best and (not qualities or (quality > qualities[-1] and rate > rates[-1])):
            rates.append(rate)
            qualities.append(quality)
    return rates, qualities


def psnr_at(label: str, bpp: float) -> float:
    """Mean PSNR in dB at a rate, interpolated linearly over the logarithm of the rate between measured settings."""
    rates, qualities = curve(label)
    if not rates[0] <= bpp <= rates[-1]:
        raise LookupError(f"{label} was measured from {rates[0]:.3f} to {rates[-1]:.3f} bpp, not at {bpp}")
    return float(np.interp(np.log(bpp), np.log(rates), qualities))


def coin_psnr(architecture: str) -> float:
    """Mean PSNR in dB of one architecture over Kodak."""
    found = [r for r in coin_curve() if r.config["architecture"] == architecture]
    if not found:
        raise LookupError(f"{architecture} was not run on Kodak: `sparsecomp study coin --profile paper-fast`")
    return found[0].mean("psnr")


def crossing(of: str = "jpeg") -> float:
    """Rate in bpp up to which COIN beats a standard codec in mean PSNR, where both have files; 0 if nowhere."""
    rates, qualities = curve(of)
    ours = coin_curve()
    our_rates, our_qualities = [r.mean("bpp") for r in ours], [r.mean("psnr") for r in ours]
    grid = np.linspace(max(rates[0], our_rates[0]), min(rates[-1], our_rates[-1]), 2000)
    above = np.interp(np.log(grid), np.log(our_rates), our_qualities) > np.interp(
        np.log(grid), np.log(rates), qualities
    )
    return float(grid[above].max()) if above.any() else 0.0


# The claims -----------------------------------------------------------------------------------------------------------


def _coin_claims() -> list[Claim]:
    return [
        Claim(
            key=f"coin-{row['setting']}",
            paper="COIN",
            claim=f"{row['setting']} on Kodak, {row['x']:.3f} bpp",
            published=f"{row['value']:.2f} dB",
            tolerance="at most 0.2 dB less",
            measure=lambda architecture=row["setting"]: coin_psnr(architecture),
            accepts=lambda ours, published=row["value"]: ours >= published - 0.2,
            shown="{:.2f} dB",
            why="same architecture and fp16 file; our coordinates (per axis) and optimiser (SOAP, 20,000 steps)",
        )
        for row in results.published("coin", where="Kodak mean", metric="psnr")
        if row["setting"]
    ]


def claims() -> list[Claim]:
    """All claims, in the order of the chapters."""
    return [
        Claim(
            key="jpeg2000-transform",
            paper="baselines",
            claim="JPEG 2000 without its colour transform loses about 3.4 dB at 0.6 bpp on Kodak",
            published="3.42 dB (own earlier measurement)",
            tolerance="0.5 dB",
            measure=lambda: psnr_at("jpeg2000", 0.6) - psnr_at("jpeg2000-no-transform", 0.6),
            accepts=lambda ours: abs(ours - 3.42) <= 0.5,
            shown="{:.2f} dB",
            why="Pillow leaves the transform off unless mct=1; CAE-ADMM's JPEG 2000 was made that way",
        ),
        Claim(
            key="jpeg-kodak",
            paper="baselines",
            claim="JPEG on Kodak at 0.6 bpp (CompressAI's curve)",
            published="29.89 dB (interpolated)",
            tolerance="0.7 dB",
            measure=lambda: psnr_at("jpeg", 0.6),
            accepts=lambda ours: abs(ours - 29.89) <= 0.7,
            shown="{:.2f} dB",
            why="ours optimises its Huffman tables, and takes progressive and 4:4:4 where they are better",
        ),
        *_coin_claims(),
        Claim(
            key="coin-beats-jpeg",
            paper="COIN",
            claim="outperforms JPEG at low bit-rates (PSNR, Kodak)",
            published="yes",
            tolerance="some rate at which both have files",
            measure=crossing,
            accepts=lambda ours: ours > 0,
            shown="up to {:.2f} bpp",
            why="means over 24 pictures, lengths of files, JPEG as fairly as in chapter 00",
        ),
    ]  # fmt: skip


def weigh_all() -> list[Verdict]:
    """Every claim against the records that are there."""
    return [claim.weigh() for claim in claims()]


# Verification ---------------------------------------------------------------------------------------------------------


def kept() -> Path:
    """Where the verdicts stand that were last agreed on."""
    return results.folder() / "verdicts.json"


def lost(now: list[Verdict], before: dict[str, str]) -> list[str]:
    """Keys that held before and do not now, or are gone."""
    today = {v.key: v.verdict for v in now}
    return [key for key, verdict in before.items() if verdict == HOLDS and today.get(key) != HOLDS]


def verify() -> tuple[list[Verdict], list[str]]:
    """Today's verdicts, and the keys of those that held and no longer do."""
    if not kept().is_file():
        raise ValueError(f"{kept()} is missing: agree on today's verdicts with `sparsecomp verify --update`")
    now = weigh_all()
    return now, lost(now, json.loads(kept().read_text()))


def write(verdicts: list[Verdict], path: Path | None = None) -> None:
    """Agree on these verdicts from now on."""
    (path or kept()).write_text(json.dumps({v.key: v.verdict for v in verdicts}, indent=2) + "\n")


def table() -> list[dict]:
    """The verdicts as rows for a table."""
    return [asdict(v) for v in weigh_all()]
