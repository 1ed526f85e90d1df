"""Records: those there are, and others of numbers that can be told by hand, in a folder of their own.

Of CAE-ADMM every file lies on one line, ``SSIM = 0.8 + 0.05 log2(bpp)`` and more; a shift lifts a training above it.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sparsecomp import data, results
from sparsecomp.studies.cae_admm import ESTIMATED, PRUNED, SHARES, VARIED

RESULTS = results.folder()


class Kept:
    """A folder of results with the published ones alone: no models, no Kodak. Called, it keeps records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "runs").mkdir()
        (folder / "published").symlink_to(RESULTS / "published")

    def __call__(self, *records: results.RunRecord) -> None:
        for record in records:
            results.write(record, self.folder / "runs")

    def baselines(self) -> None:
        """The real records of the standard codecs, too."""
        (self.folder / "runs" / "baselines").symlink_to(RESULTS / "runs" / "baselines")


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Kept:
    made = Kept(tmp_path)
    monkeypatch.setattr(results, "folder", lambda: tmp_path)
    monkeypatch.setattr(data, "available", lambda name: False)
    return made


# Sparse CAE -----------------------------------------------------------------------------------------------------------

BPP = (0.5, 1.0, 2.0, 4.0, 8.0)


def descent(
    label: str,
    *,
    seed: int = 0,
    shift: float = 0.0,
    mse: float = 2.0,
    profile: str = "laptop",
    rates: tuple[float, ...] = BPP,
    restart: str = "rewind",
    train: str = "bsds500/train",
    **result: object,
) -> results.RunRecord:
    """On two pictures, so many dB above 30 + 5 log2(bpp), the second 2 dB above the first."""
    study = "cae" if label in ("high", "low") else "cae_sparse"
    rows = [
        {"picture": name, "setting": i, "bpp": rate, "psnr": 30 + 5 * math.log2(rate) + shift + more,
         "mse_unquantised": mse * (1 + more)}
        for name, more in (("a", 0.0), ("b", 2.0)) for i, rate in enumerate(rates)
    ]  # fmt: skip
    config = {
        "label": label, "seed": seed, "profile": profile, "data": "kodak", "descent": {"coarsest": 1 / 64},
        "train": {"data": train}, "constraint": None if study == "cae" else {"restart": restart},
    }  # fmt: skip
    result = {"macs": 100.0, "macs_paper": 100.0, "encoder_bytes": 900, "dense_bytes": 1000} | result
    return results.RunRecord(study, f"{label}-{seed}", config, rows, 1.0, {}, result=result)


# CAE-ADMM -------------------------------------------------------------------------------------------------------------

RATES = {
    "unpruned": 2.0, "keep 40": 1.6, "keep 20": 0.8, "keep 10": 0.4, "keep 5": 0.2,
    "rho 0.03": 0.5, "rho 0.3": 0.3, "every 256": 0.45,
    "lambda 50": 1.5, "lambda 150": 0.75, "lambda 400": 0.375, "lambda 1000": 0.1875,
    "released": 1.5, "16 channels": 1.0,
}  # fmt: skip
PICTURES = ("kodak/a", "kodak/b", "bsds500/test/c")  # of the mixed set
OF_SHARE = 0.75  # of a file, that is left when only the share is kept that training aimed at
SLOPE = {"ssim": 0.05, "ms_ssim": 0.02, "psnr": 5.0}
AT_ONE = {"ssim": 0.8, "ms_ssim": 0.94, "psnr": 30.0}  # at 1 bpp


def quality(metric: str, bpp: float) -> float:
    return AT_ONE[metric] + SLOPE[metric] * math.log2(bpp)


def row(picture: str, setting: float, bpp: float, shift: float = 0.0, **more: object) -> dict:
    """Of a picture of 1,000 pixels; SSIM is ``shift`` above the line, MS-SSIM and PSNR as many slopes as SSIM."""
    up = shift / SLOPE["ssim"]
    found = {metric: quality(metric, bpp) + up * slope for metric, slope in SLOPE.items()}
    return {
        "picture": picture, "setting": setting, "bytes": round(125 * bpp), "bpp": bpp, **found,
        "encode_seconds": 0.25, "decode_seconds": 0.5, "estimated_bits": round(990 * bpp), "zeros": 1 - 0.25 * bpp,
        "nats": bpp / 2, "ssim_patches": found["ssim"] + 0.001,
    } | more  # fmt: skip


def training(
    label: str,
    seed: int = 0,
    *,
    rate: float | None = None,
    shift: float = 0.0,
    settings: dict[float, float] | None = None,
    profile: str = "laptop",
    train: str = "bsds500/train",
    updates: int = 40,
    model: str | None = None,
    file: str | None = None,
    **more: object,
) -> results.RunRecord:
    """Of two pictures, the second 0.02 of SSIM (0.008, 2 dB) above the first and 0.01 above the line, which is their
    mean.
    """
    rate = RATES[label] if rate is None else rate
    if settings is None:
        settings = {1.0: rate}
        if label in PRUNED:
            settings |= {PRUNED[label]: OF_SHARE * rate}
        elif label == "lambda 400":
            settings |= {0.1: OF_SHARE * rate}
        elif label == "unpruned":
            settings |= {share: rate * share for share in SHARES}
    keep = PRUNED.get(label, 0.1)
    pruning = {"keep": keep, "interval": 100} if label in (*PRUNED, *VARIED, "released") else None
    config = {
        "profile": profile, "seed": seed, "data": "kodak", "pictures": 2, "label": label, "train": {"data": train},
        "codec": "cae-theis" if label in ESTIMATED else "cae-admm", "descent": {"steps": 4000},
        "pruning": pruning, "lam": ESTIMATED.get(label, 0.0),
    }  # fmt: skip
    steps = [100 * (i + 1) for i in range(updates if pruning else 0)]
    admm = {"step": steps, "primal": [1 / s for s in steps], "dual": [2 / s for s in steps],
            "zeros": [s / 5000 for s in steps]}  # fmt: skip
    name = f"code-{label.replace(' ', '-')}-seed-{seed}-{profile}"
    result = {"model": model or f"{label} {seed}", "file": file or name, "admm": admm}
    rows = [row(picture, setting, bpp, shift + up, **more)
            for picture, up in (("a", -0.01), ("b", 0.01)) for setting, bpp in settings.items()]  # fmt: skip
    return results.RunRecord("cae_admm", name, config, rows, 1.0, environment(), result=result)


def trainings(**shifts: float) -> list[results.RunRecord]:
    """All of the first seed; ``keep_10=0.1`` lifts one."""
    return [training(label, shift=shifts.get(label.replace(" ", "_"), 0.0)) for label in RATES]


def mixed(
    label: str, bpp: float, shift: float = 0.0, *, model: str | None = None, profile: str = "laptop", **more: object
) -> results.RunRecord:
    """A row of Tables 1 and 2, on three pictures; the rate is their mean, SSIM rises from one to the next by 0.01."""
    config = {
        "profile": profile, "seed": 0, "data": "mixed", "pictures": 3, "label": label, "threads": 1,
        "options": {"model": model} if model else {},
    }  # fmt: skip
    rows = [row(name, 1.0, bpp, shift + 0.01 * i, **more) for i, name in enumerate(PICTURES, -1)]
    rows[-1]["ssim_patches"] += 0.05  # its borders are in no patch
    if model is None:
        rows = [{key: value for key, value in r.items() if key not in ("zeros", "nats")} for r in rows]
    name = f"{label}-{profile}".replace(" ", "-")
    return results.RunRecord("cae_admm_mixed", name, config, rows, 1.0, environment())


def tables() -> list[results.RunRecord]:
    """All rows of both tables; the models are those of `trainings`."""
    return [
        mixed("unpruned", 2.0, model="unpruned 0"),
        mixed("keep 10", 1.5, model="keep 10 0"),
        mixed("cae-admm near 0.6", 0.6, 0.02, model="keep 20 0"),
        mixed("cae-theis near 0.6", 0.62, model="lambda 150 0"),
        mixed("jpeg", 0.58, -0.01, encode_seconds=0.025, decode_seconds=0.025),
        mixed("jpeg2000", 0.6, 0.01, encode_seconds=0.5, decode_seconds=0.5),
        mixed("jpeg2000 no transform", 0.6, -0.05),
    ]


def environment() -> dict:
    return {"commit": "abcdef0123", "clean": True, "device": "cpu", "versions": {"torch": "2"}}
