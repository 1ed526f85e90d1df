"""The standard codecs on Kodak, which every paper is compared with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reproduce.figure_data import Entry, FigureData, line
from reproduce.pictures import PicturePlan, label_of, row_of
from reproduce.records import Curve, Records, RunRecord
from reproduce.runner import Request, Work
from sparsecomp.codecs import BudgetError, evaluate, get_codec, measure
from sparsecomp.files import write_atomic

# Settings of the standard codecs, from about 0.05 to 2 bits per pixel on a photograph.
GRIDS: dict[str, tuple[str, tuple[float, ...]]] = {
    "jpeg": ("quality", (1, 3, 5, 8, 12, 18, 25, 35, 50, 65, 80, 90)),
    "jpeg2000": ("rate", (0.05, 0.075, 0.15, 0.3, 0.45, 0.6, 0.9, 1.2, 1.6, 2.0)),
    "webp": ("quality", (0, 2, 5, 10, 20, 35, 50, 65, 80, 90)),
    "avif": ("quality", (5, 10, 18, 26, 35, 45, 55, 65, 75, 85)),
    "jpegxl": ("distance", (15.0, 11.0, 8.0, 6.0, 4.5, 3.2, 2.2, 1.5, 1.0, 0.6)),
}
# The same from 2 to 5 bits per pixel, where Sparse CAE is compared.
HIGH_GRIDS = {"jpeg": ("quality", (92, 94, 96, 97, 98)), "jpeg2000": ("rate", (2.5, 3.0, 3.5, 4.0, 4.5, 5.0))}
# JPEG and AVIF with chroma at half resolution and, in a record of its own, at full: the better of the two is their
# curve. JPEG 2000 also without its colour transform. High rates in records of their own.
RUNS: tuple[tuple[str, str, dict, tuple[str, tuple[float, ...]]], ...] = (
    *((codec, codec, {}, GRIDS[codec]) for codec in GRIDS),
    *((f"{codec}-444", codec, {"subsampling": "4:4:4"}, GRIDS[codec]) for codec in ("jpeg", "avif")),
    ("jpeg2000-no-transform", "jpeg2000", {"colour_transform": False}, GRIDS["jpeg2000"]),
    *((f"{codec}-high", codec, {}, grid) for codec, grid in HIGH_GRIDS.items()),
    ("jpeg-444-high", "jpeg", {"subsampling": "4:4:4"}, HIGH_GRIDS["jpeg"]),
)
PICTURES = {"smoke": 1}  # of a set; of other presets all 24 of Kodak
EVERY = {"smoke": slice(1, None, 4)}  # settings of a grid; of other presets all

TRAINED_ON = "bsds500/train"  # what the autoencoders that count were trained on
STANDARD = ("jpeg", "jpeg2000", "webp", "avif", "jpegxl")
NAMES = {
    "jpeg": "JPEG",
    "jpeg2000": "JPEG 2000",
    "jpeg2000-no-transform": "JPEG 2000, no colour transform",
    "webp": "WebP",
    "avif": "AVIF",
    "jpegxl": "JPEG XL",
}
SAMPLINGS = {"jpeg": ("jpeg", "jpeg-444"), "avif": ("avif", "avif-444")}  # of chroma, both: the better one counts


def baseline(records: Records, label: str) -> RunRecord:
    """One standard codec on all of Kodak over its settings. (No preset changes what a standard codec writes.)"""
    return records.one("baselines", label=label, data="kodak", pictures=24, seed=0, profile="laptop")


def baselines(records: Records, label: str, high: bool = False) -> list[RunRecord]:
    """The records behind a codec's curve: of JPEG and AVIF both samplings of the chroma; ``high`` rates, too."""
    names = SAMPLINGS.get(label, (label,))
    return [baseline(records, name + end) for end in ("", "-high")[: 1 + high] for name in names]


def curve(
    records: Records, label: str, metric: str = "psnr", pictures: Sequence[str] | None = None, high: bool = False
) -> Curve:
    """Mean quality over mean rate of a standard codec, both rising; over all pictures, or over some.

    A measured point counts if no other of the codec's records is above it there, between that record's own points, and
    if no smaller file is as good.
    """
    measured = [record.only(pictures).curve(metric) for record in baselines(records, label, high)]
    best = Curve([], [])
    for rate, quality in sorted(point for of in measured for point in zip(*of, strict=True)):
        most = max(np.interp(np.log(rate), np.log(rs), qs) for rs, qs in measured if rs[0] <= rate <= rs[-1])
        if quality >= most and (not best.rates or (quality > best.qualities[-1] and rate > best.rates[-1])):
            best.rates.append(rate)
            best.qualities.append(quality)
    return best


# Plans ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StandardPlan(PicturePlan):
    """A standard codec over the values of one option.

    Parameters
    ----------
    label, codec : str
    options : dict
        Of the codec, the same for all.
    option : str
    values : tuple of float
    """

    label: str
    codec: str
    options: dict
    option: str
    values: tuple[float, ...]

    def config(self) -> dict:
        """What it adds to the configuration."""
        return super().config() | {
            "codec": self.codec, "label": self.label, "options": self.options, "grid": [self.option, *self.values],
        }  # fmt: skip

    def measure(self, work: Work, piece: str) -> list[dict]:
        """A row a setting."""
        picture, rows = self.shown()[piece], []
        for value in self.values:
            started = time.perf_counter()
            written = get_codec(self.codec, **{self.option: value}, **self.options).encode(picture)
            measured = measure(written, picture, encode_seconds=time.perf_counter() - started)
            rows.append({"picture": piece, "setting": value} | row_of(measured, 8 * len(written)))
        return rows


@dataclass(frozen=True, kw_only=True)
class BudgetsPlan(PicturePlan):
    """A standard codec at some budgets, its files kept for the book; one that it cannot reach has no row."""

    codec: str
    budgets: tuple[float, ...]

    def config(self) -> dict:
        """What it adds to the configuration."""
        return super().config() | {"codec": self.codec, "budgets": list(self.budgets)}

    def measure(self, work: Work, piece: str) -> list[dict]:
        """A row a budget."""
        picture, rows = self.shown()[piece], []
        for bpp in self.budgets:
            try:
                measured = evaluate(get_codec(self.codec), picture, bpp)
            except BudgetError:
                continue
            keep_file(work, self, f"{piece}-{self.codec}-{bpp:g}.spc", measured.data)
            rows.append({"picture": piece, "setting": bpp} | row_of(measured, 8 * measured.bytes))
        return rows


def keep_file(work: Work, plan: PicturePlan, name: str, content: bytes) -> None:
    """Keep a file beside the records of its study, for the pictures and widgets of the book."""
    path = work.out / plan.study / "files" / plan.preset / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)


def plans(request: Request) -> list[StandardPlan]:
    """The standard codecs over their settings, one record a codec."""
    of, preset = request.pictures_of or "kodak", request.preset
    return [
        StandardPlan(
            study="baselines", name=f"{label}-{label_of(of)}-{preset}", preset=preset, seed=request.seed,
            device=request.device, pictures_of=of, count=PICTURES.get(preset, 24), label=label, codec=codec,
            options=options, option=option, values=values[EVERY.get(preset, slice(None))],
        )
        for label, codec, options, (option, values) in RUNS
    ]  # fmt: skip


STUDIES = {"baselines": plans}

# Measures of claims ---------------------------------------------------------------------------------------------------


def psnr_at(records: Records, label: str, bpp: float) -> float:
    """Mean PSNR in dB at a rate, up to 5 bpp for JPEG and JPEG 2000."""
    return curve(records, label, high=label in ("jpeg", "jpeg2000")).at(bpp, label)


def transform_loss(records: Records, bpp: float) -> float:
    """What JPEG 2000 loses without its colour transform, in dB."""
    return psnr_at(records, "jpeg2000", bpp) - psnr_at(records, "jpeg2000-no-transform", bpp)


def above_standard(records: Records, psnr: float, label: str, bpp: float) -> float:
    """How far a PSNR in dB that a paper prints lies above a standard codec on Kodak at a rate."""
    return psnr - psnr_at(records, label, bpp)


def ssim_below(records: Records, label: str, over: str, bpp: float, picture: str) -> float:
    """SSIM that one standard codec has less than another, on one picture of Kodak at a rate."""
    theirs, ours = (curve(records, name, "ssim", [picture]).at(bpp, name) for name in (over, label))
    return theirs - ours


# Data of figures and tables -------------------------------------------------------------------------------------------


def rate_distortion(records: Records, metric: str = "psnr", labels: Sequence[str] = STANDARD) -> FigureData:
    """Mean quality over mean rate on Kodak, a line a codec."""
    rows = [line(label, NAMES[label], zip(*curve(records, label, metric), strict=True)) for label in labels]
    return FigureData(rows, [record for label in labels for record in baselines(records, label)])


def colour_transform(records: Records) -> FigureData:
    """What JPEG 2000 loses when its colour transform is left off, as Pillow leaves it by default."""
    return rate_distortion(records, labels=("jpeg", "jpeg2000", "jpeg2000-no-transform"))


def bd_row(name: str, curve: Curve, anchor: Curve, against: str) -> dict[str, str]:
    """BD-rate and BD-PSNR of one curve against another, each with the range that the two share."""
    cells = ("–",) * 4  # fewer than four points are no curve
    if len(curve.rates) >= 4:
        saved, gained = curve.longer(anchor), curve.better(anchor)
        overlaps = ("{:.1f} to {:.1f}".format(*saved.overlap), "{:.2f} to {:.2f}".format(*gained.overlap))
        cells = (f"{saved.value:+.1f}", overlaps[0], f"{gained.value:+.2f}", overlaps[1])
    columns = (f"BD-rate against {against}, %", "over dB", f"BD-PSNR against {against}, dB", "over bpp")
    return {"codec": name} | dict(zip(columns, cells, strict=True))


def bd_table(records: Records) -> FigureData:
    """BD-rate and BD-PSNR of the standard codecs against JPEG on Kodak."""
    labels, anchor = (*STANDARD[1:], "jpeg2000-no-transform"), curve(records, "jpeg")
    rows = [bd_row(NAMES[label], curve(records, label), anchor, NAMES["jpeg"]) for label in labels]
    return FigureData(rows, [record for label in ("jpeg", *labels) for record in baselines(records, label)])


FIGURES = {
    "baselines": Entry("Standard codecs on Kodak", rate_distortion, "baselines"),
    "colour-transform": Entry("JPEG 2000's colour transform", colour_transform, "baselines"),
    "bd": Entry("BD-rate and BD-PSNR", bd_table, "baselines"),
}
