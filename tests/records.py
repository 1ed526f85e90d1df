"""Made-up records whose numbers are known by hand, in a folder of their own.

Files of standard codecs, L0onie and CAE-ADMM lie on three lines, ``PSNR = 30 + 5 log2(bpp)`` and so on for SSIM and
MS-SSIM (`quality`). A shift, in SSIM, lifts a record above them: 0.01 are 1 dB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from reproduce import records
from reproduce.papers import cae_admm
from reproduce.papers.cae_admm import ESTIMATED, PRUNED, SCHEDULES, SHARES, VARIED
from reproduce.papers.loonie import FAST, STARTS
from reproduce.papers.sparse_cae import RELEASED, VARIANTS
from reproduce.records import Records, RunRecord
from sparsecomp import data
from sparsecomp.options import as_dict


class Kept:
    """A folder of records. Call it to keep some; it returns a view of all, at the preset laptop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *made: RunRecord) -> Records:
        for record in made:
            records.write(record, self.folder)
        return Records(self.folder, preset="laptop")


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Kept:
    """An empty folder of records; those of this clone, and Kodak, are out of reach."""
    monkeypatch.setattr(records, "runs_folder", lambda: tmp_path / "nothing")
    monkeypatch.setattr(data, "available", lambda name: False)
    return Kept(tmp_path / "runs")


SLOPE = {"ssim": 0.05, "ms_ssim": 0.02, "psnr": 5.0}  # for a doubling of the rate
AT_ONE = {"ssim": 0.8, "ms_ssim": 0.94, "psnr": 30.0}  # at 1 bpp


def quality(metric: str, bpp: float) -> float:
    return AT_ONE[metric] + SLOPE[metric] * math.log2(bpp)


def row(picture: str, setting: float, bpp: float, shift: float = 0.0, **more: object) -> dict:
    """Of a picture of 1,000 pixels; MS-SSIM and PSNR are as many slopes above their lines as SSIM."""
    found = {metric: quality(metric, bpp) + shift / SLOPE["ssim"] * slope for metric, slope in SLOPE.items()}
    return {
        "picture": picture, "setting": setting, "bytes": 125 * bpp, "bpp": bpp, **found,
        "encode_seconds": 0.25, "decode_seconds": 0.5, "estimated_bits": 990 * bpp, "zeros": 1 - 0.25 * bpp,
        "nats": bpp / 2, "ssim_patches": found["ssim"] + 0.001,
    } | more  # fmt: skip


def record(study: str, name: str, rows: list[dict], result: dict | None = None, **config: object) -> RunRecord:
    """Of the preset laptop, on Kodak, seed 0, unless the configuration says otherwise."""
    config = {"profile": "laptop", "data": "kodak", "seed": 0} | config
    environment = {"commit": "abcdef0123", "clean": True, "device": "cpu", "versions": {"torch": "2"}}
    return RunRecord(study, name, config, rows, 1.0, environment, result=result or {})


# Standard codecs, COIN and L0onie -------------------------------------------------------------------------------------

KODAK = [f"kodim{number:02d}" for number in range(1, 25)]


def standard(label: str, rates: Sequence[float] = (0.1, 0.3, 0.6, 2.0), **shifts: float) -> RunRecord:
    """On kodim20 and kodim21, each with a shift of its own."""
    rows = [row(name, setting, bpp, shifts.get(name, 0.0))
            for name in ("kodim20", "kodim21") for setting, bpp in enumerate(rates)]  # fmt: skip
    return record("baselines", label, rows, label=label, pictures=24)


def standards() -> list[RunRecord]:
    """JPEG on the line, with full chroma 1 dB below it; JPEG 2000 1 dB above it, without its transform 1 dB below."""
    high, below = (2.0, 4.0, 5.0), {"kodim20": -0.01, "kodim21": -0.01}
    return [
        standard("jpeg"), standard("jpeg-high", high),
        standard("jpeg-444", **below), standard("jpeg-444-high", high, **below),
        standard("jpeg2000", kodim21=0.02), standard("jpeg2000-high", high, kodim21=0.02),
        standard("jpeg2000-no-transform", kodim21=-0.02),
    ]  # fmt: skip


def coin(architecture: str, bpp: float, shift: float = 0.0, **config: object) -> RunRecord:
    config = {"architecture": architecture, "pictures": 24, "fit": as_dict(FAST)} | config
    return record("coin", architecture, [row("a", 0, bpp, shift)], **config)


def fit(method: str, bpp: float, rate: float, shift: float = 0.0, pictures: Sequence[str] = KODAK[::3],
        share: float = 1.0, seed: int = 0) -> RunRecord:  # fmt: skip
    """A method of `loonie` at a budget: files of ``rate`` bpp, of which ``share`` are 16 bits a nonzero value."""
    rows = [row(name, bpp, rate, shift, estimated_bits=1000 * share * rate) for name in pictures]
    budget = {} if method == "dense" else {"bpp": bpp}
    start = STARTS[bpp][method == "dense"]
    return record("loonie", f"{method}-{bpp}", rows, label=method, seed=seed, architecture=start, **budget)


def race(runner: str, psnr: list[float], seconds: float, **config: object) -> RunRecord:
    """A fit that was scored at four steps; L0onie is within its budget from the second one on."""
    history, course = {"step": [10, 20, 30, 40], "psnr": psnr}, {"course": {"rate": [0.6, 0.3, 0.3, 0.3]}}
    found = {"picture": "a", "psnr": psnr[-1], "history": history, "encode_seconds": seconds}
    found |= course if runner.startswith("L0onie") else {}
    return record("loonie_race", runner.replace(" ", "-"), [found], runner=runner, bpp=0.3, **config)


# Sparse CAE -----------------------------------------------------------------------------------------------------------


def descent(label: str, *, seed: int = 0, shift: float = 0.0, mse: float = 2.0, profile: str = "laptop",
            rates: Sequence[float] = (0.5, 1.0, 2.0, 4.0, 8.0), restart: str = "rewind",
            train: str = "bsds500/train", **result: object) -> RunRecord:  # fmt: skip
    """On two pictures, so many dB above the line; the second has 2 dB more, and three times the error."""
    study = "cae" if label in ("high", "low") else "cae_sparse"
    study = "cae_released" if label in RELEASED else "cae_variants" if label in VARIANTS else study
    rows = [
        {"picture": name, "setting": i, "bpp": rate, "psnr": quality("psnr", rate) + shift + more,
         "mse_unquantised": mse * (1 + more)}
        for name, more in (("a", 0.0), ("b", 2.0)) for i, rate in enumerate(rates)
    ]  # fmt: skip
    result = {"macs": 100.0, "macs_paper": 100.0, "encoder_bytes": 900, "dense_bytes": 1000, "model": label} | result
    return record(study, f"{label}-{seed}", rows, result, label=label, seed=seed, profile=profile,
                  descent={"coarsest": 1 / 64}, train={"data": train},
                  constraint=None if study in ("cae", "cae_released") else {"restart": restart})  # fmt: skip


# CAE-ADMM -------------------------------------------------------------------------------------------------------------

RATES = {
    "unpruned": 2.0, "keep 40": 1.6, "keep 20": 0.8, "keep 10": 0.4, "keep 5": 0.2,
    "rho 0.03": 0.5, "rho 0.3": 0.3, "every 256": 0.45,
    "lambda 50": 1.5, "lambda 150": 0.75, "lambda 400": 0.375, "lambda 1000": 0.1875,
    "released": 1.5, "16 channels": 1.0,
}  # fmt: skip
OF_SHARE = 0.75  # of a file, that is left when only the share is kept that training aimed at


def training(label: str, seed: int = 0, *, rate: float | None = None, shift: float = 0.0, profile: str = "laptop",
             train: str = "bsds500/train") -> RunRecord:  # fmt: skip
    """Of two pictures, 0.01 of SSIM below and above the line; variants and schedules at the rate of "keep 10"."""
    rate = RATES.get(label, RATES["keep 10"]) if rate is None else rate
    shares = {share: rate * share for share in SHARES} if label in ("unpruned", "tuned") else {1.0: rate}
    if label in PRUNED or label == "lambda 400":
        shares[PRUNED.get(label, 0.1)] = OF_SHARE * rate
    pruned = label in (*PRUNED, *VARIED, "released", *cae_admm.VARIANTS, *SCHEDULES)
    steps = range(100, 4001, 100) if pruned else ()
    admm = {"step": [*steps], "primal": [1 / s for s in steps], "dual": [2 / s for s in steps],
            "zeros": [s / 5000 for s in steps]}  # fmt: skip
    name = f"code-{label.replace(' ', '-')}-seed-{seed}-{profile}"
    rows = [row(picture, setting, bpp, shift + up)
            for picture, up in (("a", -0.01), ("b", 0.01)) for setting, bpp in shares.items()]  # fmt: skip
    study = "cae_admm_variants" if label in cae_admm.VARIANTS else "cae_admm"
    study = "cae_admm_schedules" if label in SCHEDULES else study
    until = {"until": SCHEDULES[label][1].get("until", 1000)} if label in SCHEDULES else {}
    return record(study, name, rows, {"model": f"{label} {seed}", "file": name, "admm": admm}, label=label,
                  seed=seed, profile=profile, train={"data": train}, descent={"steps": 4000},
                  codec="cae-theis" if label in ESTIMATED else "cae-admm", lam=ESTIMATED.get(label, 0.0),
                  pruning={"keep": PRUNED.get(label, 0.1), "interval": 100} | until if pruned else None)  # fmt: skip


def trainings(**shifts: float) -> list[RunRecord]:
    """All of the first seed; ``keep_10=0.1`` lifts one."""
    return [training(label, shift=shifts.get(label.replace(" ", "_"), 0.0)) for label in RATES]


def rounding(label: str) -> RunRecord:
    """Two draws, with twice the bytes of the nearest; both at the quality of the line there, less 0.02 and 0.04."""
    rows = [row(name, setting, bpp, shift) for name in ("a", "b") for setting, bpp, shift in (
        ("nearest", 0.4, 0.0), ("random 0", 0.8, -0.02), ("random 1", 0.8, -0.04))]  # fmt: skip
    return record("cae_admm_rounding", label.replace(" ", "-"), rows, label=label, draws=[0, 1])


def stepped(label: str, shift: float) -> RunRecord:
    """With step 2 half of the bytes, with step 4 a quarter, ``shift`` above the line."""
    rows = [row(name, step, RATES[label] / step, shift) for name in ("a", "b") for step in (2, 4, 8)]
    return record("cae_admm_steps", label.replace(" ", "-"), rows, label=label)


def mixed(label: str, bpp: float, shift: float = 0.0, *, model: str | None = None, **more: object) -> RunRecord:
    """A row of Tables 1 and 2, on three pictures; the rate is their mean, SSIM rises from one to the next by 0.01."""
    pictures = ("kodak/a", "kodak/b", "bsds500/test/c")
    rows = [row(name, 1.0, bpp, shift + 0.01 * i, **more) for i, name in enumerate(pictures, -1)]
    rows[-1]["ssim_patches"] += 0.05  # its borders are in no patch
    if model is None:
        rows = [{key: value for key, value in r.items() if key not in ("zeros", "nats")} for r in rows]
    options = {"model": model} if model else {}
    return record("cae_admm_mixed", label.replace(" ", "-"), rows, data="mixed", label=label, options=options)


def tables() -> list[RunRecord]:
    """All rows of both tables; the models are those of `trainings`."""
    return [
        mixed("unpruned", 2.0, model="unpruned 0"),
        mixed("keep 10", 1.5, model="keep 10 0", nats=0.25),
        mixed("cae-admm near 0.6", 0.6, 0.02, model="keep 20 0"),
        mixed("cae-theis near 0.6", 0.62, model="lambda 150 0"),
        mixed("jpeg", 0.58, -0.01, encode_seconds=0.025, decode_seconds=0.025),
        mixed("jpeg2000", 0.6, 0.01, encode_seconds=0.5, decode_seconds=0.5),
        mixed("jpeg2000 no transform", 0.6, -0.05),
    ]
