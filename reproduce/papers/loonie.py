"""COIN (Dupont et al. 2021) and L0onie (Ramirez & Gallego-Posada 2022): presets, plans, and measures of claims."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from reproduce.estimates import Cost
from reproduce.figure_data import Entry, FigureData, line
from reproduce.papers import baselines
from reproduce.pictures import PicturePlan, label_of, pictures, row_of, spread
from reproduce.records import Curve, Records, RunRecord, published, thin
from reproduce.runner import Request, Work
from sparsecomp import codecs, data, metrics
from sparsecomp.codecs import measure
from sparsecomp.codecs.network import Coin, Loonie
from sparsecomp.complexity import mlp_macs_per_pixel
from sparsecomp.models.siren import Architecture
from sparsecomp.options import as_dict
from sparsecomp.training.configs import (
    FAST,
    LOONIE,
    QUICK,
    QUICK_LOONIE,
    REFERENCE,
    FitBudget,
    Sparsity,
    sparsity_at,
)
from sparsecomp.training.constrained_fit import ConstrainedFit, MagnitudePruning, SparseResult
from sparsecomp.training.fit import FitResult, Method, SirenTraining, fit

# Presets --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How much work a preset is.

    Attributes
    ----------
    fit : FitBudget
        How COIN is fitted to every picture.
    architectures : tuple of str
        The networks of COIN whose rate and distortion are measured.
    file : FitBudget
        How our files are fitted: weights quantised in training.
    gates : FitBudget
        How L0onie is fitted in the paper's accounting.
    magnitude : FitBudget
        How magnitude pruning is: half of its steps are fine-tuning.
    dense : FitBudget, optional
        How the dense COIN beside them is; as ``gates`` by default.
    parts : FitBudget
        How each part of L0onie is taken away by itself, and the race.
    search : FitBudget
        How depths are compared at equal bytes, and the ingredients of a fit.
    game : callable
        L0onie's game (a `Sparsity`) for a budget in bits per pixel and a number of steps.
    starts : dict
        For each rate what gates and magnitude pruning begin with, and the dense COIN that is compared.
    pictures, few : int
        How many of a set, and how many of them at rates beside 0.3 bpp.
    first : int
        Steps of the look at first values.
    depths, sizes, budgets, rates : tuple
        Of the search; of the gallery: COIN's networks, and what the standard codecs and ours aim at.
    coordinates : {"per_axis", "coin"}
        COIN's (`models.siren.spans`).
    compared : tuple of str
        Networks that are fitted with both.
    ingredients : str
        The network whose ingredients are taken away, from ``seeds`` seeds.
    """

    fit: FitBudget
    architectures: tuple[str, ...]
    file: FitBudget
    gates: FitBudget
    magnitude: FitBudget
    parts: FitBudget
    search: FitBudget
    game: Callable[[float, int], Sparsity]
    starts: dict[float, tuple[str, str]]
    pictures: int = 24
    few: int = 24
    first: int = 500
    depths: tuple[int, ...] = (2, 3, 4, 5, 7, 10, 13, 16)
    sizes: tuple[str, ...] = ("5x10", "5x20", "5x30", "10x20", "10x28", "10x40", "13x49")
    budgets: tuple[float, ...] = (0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2)
    rates: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
    dense: FitBudget | None = None
    coordinates: str = "per_axis"
    compared: tuple[str, ...] = ()
    ingredients: str = "10x28"
    seeds: int = 3


# L0onie's own four rates (Ramirez & Gallego-Posada 2022, the released code), and its dual learning rates for 50,000
# steps.
STARTS = {0.3: ("10x40", "10x28"), 0.15: ("10x28", "5x30"), 0.07: ("5x30", "5x20"), 0.6: ("13x40", "10x40")}
DUAL = {0.07: 7e-3, 0.15: 3e-3, 0.3: 1e-3, 0.6: 8e-4}
ARCHITECTURES = ("5x20", "5x30", "10x28", "10x40", "13x49")
PAPER = replace(REFERENCE, lr=1e-3, score_every=10)  # L0onie's: COIN's way at five times the rate
RELEASED = Sparsity("nonzeros", drop_rate=0.5, proxy_bits=32, limit=3.0, gate_betas=(0.9, 0.999), repair=False)


def our_game(bpp: float, steps: int) -> Sparsity:
    """Rates chosen on bundled photographs, for a budget and a length (`sparsity_at`)."""
    return sparsity_at("nonzeros", bpp, steps)


def paper_game(bpp: float, steps: int) -> Sparsity:
    """The released code's game, with its dual learning rates, chosen by hand for each of its rates."""
    return replace(RELEASED, dual_lr=DUAL[bpp])


LAPTOP = Preset(
    fit=FAST,
    architectures=ARCHITECTURES[:3],
    file=LOONIE,
    gates=replace(LOONIE, steps=8_000),
    magnitude=replace(LOONIE, steps=8_000),
    parts=replace(LOONIE, steps=5_000),
    search=replace(FAST, steps=5_000),
    game=our_game,
    starts=STARTS,
    few=8,
)
PRESETS = {
    "smoke": Preset(
        fit=QUICK,
        architectures=("5x20",),
        file=QUICK_LOONIE,
        gates=QUICK_LOONIE,
        magnitude=QUICK_LOONIE,
        parts=QUICK_LOONIE,
        search=QUICK,
        game=our_game,
        starts={0.04: ("5x20", "5x12")},
        pictures=1,
        few=1,
        first=8,
        depths=(2, 5),
        sizes=("5x10", "5x20"),
        budgets=(0.3,),
        rates=(0.04,),
        ingredients="5x20",
        seeds=1,
    ),
    "laptop": LAPTOP,
    "desktop": LAPTOP,  # that is for autoencoders, whose networks were too small at laptop
    "paper-fast": replace(
        LAPTOP, architectures=ARCHITECTURES, compared=("10x28",), gates=LOONIE, magnitude=LOONIE, parts=LOONIE, few=24
    ),
    "paper": Preset(
        fit=REFERENCE,
        architectures=ARCHITECTURES,
        file=LOONIE,
        gates=PAPER,
        magnitude=replace(REFERENCE, steps=100_000),  # dense, then fine-tuned
        parts=PAPER,
        search=REFERENCE,
        game=paper_game,
        starts=STARTS,
        dense=REFERENCE,
        coordinates="coin",
        ingredients="5x20",
        seeds=1,
    ),
}


# Plans ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitting:
    """What is fitted: COIN, unless said otherwise.

    Parameters
    ----------
    config : dict
        What it adds to the configuration of a record.
    make : callable
        The method of the fit (`training.fit.fit`).
    """

    config: dict = field(default_factory=lambda: {"codec": "coin"})
    make: Callable[[SirenTraining], Method] = Method
    coordinates: str = "per_axis"

    def file(self, architecture: Architecture, fitted: FitResult, height: int, width: int) -> bytes:
        """The file of a fit."""
        if self.config["codec"] == "coin":
            return Coin.write(architecture, fitted.parameters, height, width, self.coordinates)
        return Loonie.file_of(fitted, architecture, height, width, self.coordinates)

    def estimated_bits(self, architecture: Architecture, fitted: FitResult) -> int:
        """16 bits a parameter, or a nonzero one: the papers' accounting; of our files, their bits."""
        if self.config["codec"] == "coin":
            return 16 * architecture.n_parameters
        if isinstance(fitted, SparseResult):
            return fitted.bits
        return 16 * int((fitted.parameters.half() != 0).sum())


def sparse(bpp: float, sparsity: Sparsity, coordinates: str = "per_axis") -> Fitting:
    """L0onie's game under a budget."""
    config = {"codec": "loonie", "bpp": bpp, "sparsity": as_dict(sparsity)}
    return Fitting(config, functools.partial(ConstrainedFit, bpp=bpp, sparsity=sparsity), coordinates)


def our_file(bpp: float, steps: int) -> Fitting:
    """Our own files: weights quantised in training, no gates."""
    return sparse(bpp, sparsity_at("file", bpp, steps))


def pruned(bpp: float) -> Fitting:
    """Magnitude pruning to a budget of 16 bits a nonzero value; half of the steps are fine-tuning."""
    config = {"codec": "loonie", "bpp": bpp, "pruning": "magnitude"}
    return Fitting(config, functools.partial(MagnitudePruning, bpp=bpp))


@dataclass(frozen=True, kw_only=True)
class FitPlan(PicturePlan):
    """The same architecture, budget and method on every picture.

    On a CPU a picture is a piece; on a GPU all pictures of one size are, because they are one batch.

    Parameters
    ----------
    architecture : Architecture
    budget : FitBudget
    fitting : Fitting
    keep : str
        Keep the files, under this name.
    more : dict
        For the configuration.
    """

    architecture: Architecture
    budget: FitBudget
    fitting: Fitting = field(default_factory=Fitting)
    keep: str = ""
    more: dict = field(default_factory=dict)

    def config(self) -> dict:
        """What it adds to the configuration."""
        frequencies = (self.architecture.n_in - 2) // 4
        return super().config() | self.more | self.fitting.config | (
            {"frequencies": frequencies} if frequencies else {}
        ) | {
            "architecture": str(self.architecture), "coordinates": self.fitting.coordinates, "fit": as_dict(self.budget)
        }  # fmt: skip

    def cost(self) -> Cost:
        """One network a picture; each scoring draws the whole picture."""
        shown, budget, net = self.shown(), self.budget, self.architecture
        every = sum(p.shape[0] * p.shape[1] for p in shown.values())
        pixels = every if budget.batch_pixels is None else min(every, len(shown) * budget.batch_pixels)
        drawn = every / budget.score_every
        soap, sparse = budget.optimiser == "soap", "sparsity" in self.fitting.config
        # Forward and backward, each value is written and read about 12 times in all.
        forward, values = mlp_macs_per_pixel(net.depth, net.width, net.n_in), net.depth * net.width
        saved = len(shown) * net.n_parameters
        return Cost(
            f"siren {budget.optimiser}", budget.steps,
            forward * (3 * pixels + drawn), 4 * values * (12 * pixels + drawn),
            14 * net.depth + 160 * soap + 60 * sparse + 40 * len(shown) / budget.score_every,
            saved * (14 + 32 * soap + 16 * sparse),
        )  # fmt: skip

    def pieces(self) -> Sequence[str]:
        """The names of the pictures; on a GPU of each size the first one's."""
        return super().pieces() if self.device == "cpu" else tuple(self._batches())

    def _batches(self) -> dict[str, list[str]]:
        first: dict[int, str] = {}
        batches: dict[str, list[str]] = {}
        for name, picture in self.shown().items():
            key = first.setdefault(picture.shape[0] * picture.shape[1], name)
            batches.setdefault(key, []).append(name)
        return batches

    def trains(self, piece: str) -> bool:
        """Every piece is fits."""
        return True

    def measure(self, work: Work, piece: str) -> list[dict]:
        """Fit the pictures of a piece and give a row each."""
        names = [piece] if self.device == "cpu" else self._batches()[piece]
        images = [self.shown()[name] for name in names]
        fitted = fit(
            images, self.architecture, self.budget, seeds=[self.seed] * len(images), device=self.device,
            arithmetic=self.arithmetic, coordinates=self.fitting.coordinates,
            checkpoint=work.checkpoints / f"{piece}.safetensors",
            max_seconds=work.seconds_left(), method=self.fitting.make,
        )  # fmt: skip
        return [self._row(work, *of) for of in zip(names, images, fitted, strict=True)]

    def _row(self, work: Work, name: str, image: np.ndarray, fitted: FitResult) -> dict:
        written = self.fitting.file(self.architecture, fitted, *image.shape[:2])
        measured = measure(written, image, encode_seconds=fitted.seconds)
        row = {"picture": name} | row_of(measured, self.fitting.estimated_bits(self.architecture, fitted))
        if isinstance(fitted, SparseResult):
            row["course"] = thin(fitted.course, ("step", "rate", "lambda", "nonzeros", "psnr"))
        if self.keep:
            baselines.keep_file(work, self, f"{name}-{self.keep}.spc", written)
        return row | {"best_step": fitted.step, "restarts": fitted.restarts, "history": thin(fitted.history)}

    def seconds(self, rows: list[dict], trained: dict | None, spent: float) -> float:
        """Of all fits, pauses left out."""
        return sum(row["encode_seconds"] for row in rows)

    def summary(self, piece: str, rows: list[dict]) -> str:
        """Rate, quality and time of what was fitted."""
        row = rows[0]
        return f"{self.name} {piece}: {row['bpp']:.4f} bpp, {row['psnr']:.2f} dB, {row['encode_seconds']:.0f} s"


def _fits(request: Request, study: str, name: str, count: int, **options: Any) -> FitPlan:
    of = options.pop("pictures_of", None) or request.pictures_of or "kodak"
    given: dict[str, Any] = {
        "preset": request.preset, "seed": request.seed, "device": request.device,
        "arithmetic": request.trained_in(),
    } | options  # fmt: skip
    return FitPlan(study=study, name=f"{name}-{label_of(of)}-{request.preset}", pictures_of=of, count=count, **given)


def _smallest(plan_of: str, count: int) -> tuple[int, int]:
    """Height and width of the smallest picture, which decides which network fits a budget."""
    return min((p.shape[:2] for p in pictures(plan_of, count).values()), key=lambda size: size[0] * size[1])


def coin_plans(request: Request) -> list[FitPlan]:
    """COIN at the preset's architectures: one record an architecture; of some also with COIN's own coordinates."""
    preset = PRESETS[request.preset]
    each = [(arch, f"coin-{arch}", preset.coordinates) for arch in preset.architectures]
    each += [(arch, f"coin-{arch}-coordinates-of-coin", "coin") for arch in preset.compared]
    return [
        _fits(request, "coin", name, preset.pictures, architecture=Architecture.parse(arch), budget=preset.fit,
              fitting=Fitting(coordinates=coordinates))
        for arch, name, coordinates in each
    ]  # fmt: skip


def gallery_plans(request: Request) -> list[PicturePlan]:
    """The astronaut as files that are kept, for the pictures and widgets of the book.

    COIN in seven sizes; L0onie (our file, and the paper's accounting) and the standard codecs at seven budgets.
    """
    preset = PRESETS[request.preset]
    one: dict[str, Any] = {"count": 1, "pictures_of": "bundled"}
    made: list[PicturePlan] = [
        _fits(
            request,
            "gallery",
            f"coin-{size}",
            architecture=Architecture.parse(size),
            budget=preset.fit,
            keep=size,
            **one,
        )
        for size in preset.sizes
    ]
    astronaut = pictures("bundled", 1)["astronaut"]
    for bpp in preset.rates:
        for rate, budget in (("file", preset.file), ("nonzeros", preset.gates)):
            made.append(_fits(
                request, "gallery", f"loonie-{rate}-{bpp:g}", budget=budget, keep=f"loonie-{rate}-{bpp:g}",
                architecture=Loonie(rate=rate).architecture_at(astronaut, bpp),
                fitting=sparse(bpp, sparsity_at(rate, bpp, budget.steps)), **one,
            ))  # fmt: skip
    return made + [
        baselines.BudgetsPlan(
            study="gallery", name=f"{codec}-bundled-{request.preset}", preset=request.preset, seed=request.seed,
            device=request.device, codec=codec, budgets=preset.budgets, **one,
        )
        for codec in baselines.GRIDS
    ]  # fmt: skip


def search_plans(request: Request) -> list[FitPlan]:
    """PSNR over depth at equal bytes, each depth with the widest layers that fit. One record a budget and depth."""
    preset = PRESETS[request.preset]
    count = min(6, preset.pictures)
    size = _smallest(request.pictures_of or "kodak", count)
    return [
        _fits(request, "search", f"depth-{depth:02d}-{bpp:g}", count, architecture=Coin.widest(depth, *size, bpp),
              budget=preset.search, more={"target_bpp": bpp})
        for bpp in (0.15, 0.3) for depth in preset.depths
    ]  # fmt: skip


# What the engine's budget consists of, each taken away by itself; Adam at the better of the two rates tried for it.
INGREDIENTS: dict[str, dict] = {
    "all": {},
    "Adam in place of SOAP": {"optimiser": "adam", "lr": 1e-3},
    "random start": {"start": "torch"},
    "constant rate": {"schedule": "constant"},
}


def ingredient_plans(request: Request) -> list[FitPlan]:
    """What each ingredient of the engine's budget does, on two bundled photographs. One record an ingredient and seed.

    These are pictures that the settings were chosen on: the study explains a choice, it does not test it.
    """
    preset = PRESETS[request.preset]
    return [
        _fits(request, "ingredients", f"{ingredient.lower().replace(' ', '-')}-seed-{seed}", min(2, preset.pictures),
              pictures_of="bundled", architecture=Architecture.parse(preset.ingredients), seed=seed,
              budget=replace(preset.search, **changes), more={"ingredient": ingredient})
        for seed in range(request.seed, request.seed + preset.seeds) for ingredient, changes in INGREDIENTS.items()
    ]  # fmt: skip


def loonie_plans(request: Request) -> list[FitPlan]:
    """Our files, L0onie, magnitude pruning and COIN at the paper's four rates: one record a rate and method.

    The last three have the same budget of steps; magnitude pruning spends half of it on fine-tuning. All pictures at
    0.3 bpp; at the other rates as many as the preset has time for.
    """
    preset, made = PRESETS[request.preset], []
    for bpp, (start, dense) in preset.starts.items():
        count = preset.pictures if bpp == 0.3 else preset.few
        size = _smallest(request.pictures_of or "kodak", count)
        ours = Loonie().architecture_at(np.zeros((*size, 3), np.uint8), bpp)
        begin, small = Architecture.parse(start), Architecture.parse(dense)
        plan = (
            ("file", ours, preset.file, our_file(bpp, preset.file.steps)),
            ("nonzeros", begin, preset.gates, sparse(bpp, preset.game(bpp, preset.gates.steps))),
            ("magnitude", begin, preset.magnitude, pruned(bpp)),
            ("dense", small, preset.dense or preset.gates, Fitting()),
        )
        made += [
            _fits(request, "loonie", f"{label}-{bpp:g}", count, architecture=architecture, budget=budget,
                  fitting=fitting, more={"label": label})
            for label, architecture, budget, fitting in plan
        ]  # fmt: skip
    return made


def start_plan(request: Request, depth: int, size: float, bpp: float) -> FitPlan:
    """L0onie at a budget from one start; the sweep ``sweeps/loonie_starts.yaml`` makes one record a row from it.

    Parameters
    ----------
    depth : int
        Sine layers of the start.
    size : float
        The start is the widest network of this depth whose file takes at most ``size`` times the budget. At 1 nothing
        has to be pruned: that is COIN, and the depths are its architecture search.
    bpp : float
        The budget: of COIN the bits of the file, of L0onie 16 bits a nonzero weight.
    """
    preset = PRESETS[request.preset]
    count = min(6, preset.pictures)
    start = Coin.widest(depth, *_smallest(request.pictures_of or "kodak", count), size * bpp)
    label, fitting = ("dense", Fitting()) if size == 1 else (
        "nonzeros", sparse(bpp, preset.game(bpp, preset.parts.steps))
    )  # fmt: skip
    return _fits(request, "loonie_starts", f"start-{depth:02d}-{size:g}x-{bpp:g}", count, architecture=start,
                 budget=preset.parts, fitting=fitting,
                 more={"label": label, "depth": depth, "size": float(size), "target_bpp": bpp})  # fmt: skip


# What L0onie consists of, each part changed by itself; the first is the whole.
LOONIE_PARTS: dict[str, tuple[dict, str]] = {
    "L0onie": ({}, "per_axis"),
    "gates sampled": ({"gates": "sampled"}, "per_axis"),
    "no dual restarts": ({"restarts": False}, "per_axis"),
    "gates of neurons": ({"structured": True}, "per_axis"),
    "positions counted": ({"rate": "positions"}, "per_axis"),
    "coordinates of COIN": ({}, "coin"),
}
# The same of our files: what quantisation in training gives, and what gates add to it.
FILE_PARTS: dict[str, tuple[dict, int]] = {
    "our file": ({}, 3),
    "our file, no frequencies": ({}, 0),
    "our file, no frequencies, gates": ({"gates": "median", "log_alpha": 2.0, "gate_lr": 5e-3}, 0),
}


def part_plans(request: Request) -> list[FitPlan]:
    """What each part of L0onie does, at 0.3 bpp on 6 pictures: one record a part."""
    preset = PRESETS[request.preset]
    bpp, (start, _) = next(iter(preset.starts.items()))
    architecture, budget = Architecture.parse(start), preset.parts
    parts = {
        part: (architecture, sparse(bpp, sparsity_at(**{"rate": "nonzeros"} | changes, bpp=bpp, steps=budget.steps),
                                    coordinates))
        for part, (changes, coordinates) in LOONIE_PARTS.items()
    } | {
        part: (replace(architecture, n_in=2 + 4 * frequencies),
               sparse(bpp, sparsity_at("file", bpp, budget.steps, **changes)))
        for part, (changes, frequencies) in FILE_PARTS.items()
    }  # fmt: skip
    return [
        _fits(request, "loonie_parts", part.lower().replace(" ", "-").replace(",", ""), min(6, preset.pictures),
              architecture=network, budget=budget, fitting=fitting, more={"part": part})
        for part, (network, fitting) in parts.items()
    ]  # fmt: skip


# The race of the paper's second figure: L0onie trains at 1e-3, the COIN it is compared with at 2e-4.
RACE = {"L0onie at 1e-3": 1e-3, "COIN at 1e-3": 1e-3, "COIN at 2e-4": 2e-4}


def race_plans(request: Request) -> list[FitPlan]:
    """PSNR against time at 0.3 bpp with the paper's optimiser, Adam at a constant rate, on 6 pictures.

    COIN at the rate the paper gives it, and at the rate the paper gives L0onie. On a CPU with mini-batches, on a GPU
    (preset ``paper``) with every pixel.
    """
    preset, made = PRESETS[request.preset], []
    bpp, (start, dense) = next(iter(preset.starts.items()))
    for runner, lr in RACE.items():
        start_of = "coin" if preset.parts.start == "coin" else "torch"
        budget = replace(preset.parts, optimiser="adam", schedule="constant", start=start_of, lr=lr)
        gated = runner.startswith("L0onie")
        made.append(_fits(
            request, "loonie_race", runner.lower().replace(" ", "-"), min(6, preset.pictures), budget=budget,
            architecture=Architecture.parse(start if gated else dense), more={"runner": runner},
            fitting=sparse(bpp, preset.game(bpp, budget.steps)) if gated else Fitting(),
        ))  # fmt: skip
    return made


# COIN and the released L0onie with other first values, on the picture whose course the official COIN gave us.
FIRST_VALUES: dict[str, tuple[str, Fitting]] = {
    "COIN, biases as COIN": ("coin", Fitting(coordinates="coin")),
    "COIN, biases as PyTorch": ("torch", Fitting(coordinates="coin")),
    "L0onie as released": ("coin", sparse(0.3, replace(RELEASED, dual_lr=DUAL[0.3]))),
    "L0onie, weights not divided": ("coin", sparse(0.3, replace(RELEASED, dual_lr=DUAL[0.3], drop_rate=0.0))),
}


def first_value_plans(request: Request) -> list[FitPlan]:
    """The first steps of the papers' own trainings, every pixel in every step, on kodim15: one record a variant."""
    preset = PRESETS[request.preset]
    made = []
    for label, (start, fitting) in FIRST_VALUES.items():
        gated = fitting.config["codec"] == "loonie"
        own = PAPER if gated else REFERENCE
        budget = replace(own, steps=preset.first, score_every=min(own.score_every, max(1, preset.first // 10)),
                         start=start)  # fmt: skip
        made.append(_fits(
            request, "first_values", label.lower().replace(",", "").replace(" ", "-"), 1,
            pictures_of=request.pictures_of or "kodak/kodim15", budget=budget, fitting=fitting, more={"label": label},
            architecture=Architecture.parse("10x40" if gated else "10x28"),
        ))  # fmt: skip
    return made


STUDIES = {
    "coin": coin_plans,
    "first_values": first_value_plans,
    "gallery": gallery_plans,
    "search": search_plans,
    "ingredients": ingredient_plans,
    "loonie": loonie_plans,
    "loonie_parts": part_plans,
    "loonie_race": race_plans,
}

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
    return _whole(loonie(records, "file", bpp)).mean("psnr")


def over_published(records: Records, series: str, bpp: float = 0.3) -> float:
    """Our files' mean PSNR over all of Kodak less a published codec's at the rate that our files have, in dB."""
    record = _whole(loonie(records, "file", bpp))
    rows = published("kodak", where="Kodak mean", series=series, metric="psnr")
    return record.mean("psnr") - Curve.of((row["x"], row["value"]) for row in rows).at(record.mean("bpp"), series)


def _whole(record: RunRecord) -> RunRecord:
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


def _psnr_of_starts(records: Records) -> dict[float, dict[float, dict[int, float]]]:
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
    for sizes in _psnr_of_starts(records).values():
        ours = [psnr for size, depths in sizes.items() if size > 1 for psnr in depths.values()]
        each.append(np.mean(ours) - max(sizes[1.0].values()))
    return float(np.mean(each))


# Data of figures and tables -------------------------------------------------------------------------------------------

NAMES = {
    "coin": "COIN, ours (coordinates per axis)",
    "file": "our files: quantised in training",
    "nonzeros": "L0onie (gates)",
    "magnitude": "magnitude pruning",
    "dense": "COIN, as many steps",
}
# What our files are compared with, by the paper's name in ``kodak.csv``.
OTHERS = {"struempler2021": "Strümpler 2021", "mscn": "MSCN", "recombiner": "RECOMBINER"}
COIN_PRINTED = {"where": "Kodak mean", "metric": "psnr"}


def coin_printed() -> list[tuple[float, float]]:
    """COIN's points on Kodak as its authors published them: bpp and PSNR in dB."""
    return [(row["x"], row["value"]) for row in published("coin", **COIN_PRINTED)]


def coin_rate_distortion(records: Records, metric: str = "psnr") -> FigureData:
    """Figure 2 of COIN: quality over rate on Kodak of standard codecs and COIN, and (PSNR) the points it prints."""
    standard = baselines.rate_distortion(records, metric)
    rows = [*standard.rows, line("coin", NAMES["coin"], zip(*coin_points(records, metric), strict=True))]
    if metric == "psnr":
        rows.append(line("coin", "COIN, published (its own coordinates)", coin_printed(), printed=True))
    return FigureData(rows, [*standard.records, *coin_curve(records)])


def coin_table(records: Records) -> FigureData:
    """COIN on Kodak: the paper's accounting, our files, published and our PSNR."""
    printed = {row["setting"]: row for row in published("coin", **COIN_PRINTED)}
    rows, found = [], coin_curve(records)
    for record in found:
        architecture = record.config["architecture"]
        # Both rates are of the same pictures; the estimate stands to the file as its bits to the file's bits.
        estimate = record.mean("bpp") * record.mean("estimated_bits") / (8 * record.mean("bytes"))
        rows.append({
            "architecture": architecture,
            "bpp of the file": round(record.mean("bpp"), 4),
            "16 bits a parameter": round(estimate, 4),
            "published bpp": round(printed[architecture]["x"], 4),
            "PSNR, ours": round(record.mean("psnr"), 2),
            "PSNR, published": round(printed[architecture]["value"], 2),
            "SSIM": round(record.mean("ssim"), 3),
            "MS-SSIM": round(record.mean("ms_ssim"), 3),
            "MAC/px": int(record.mean("macs_per_pixel")),
            "s to encode": round(record.mean("encode_seconds")),
            "preset": record.config["profile"],
        })  # fmt: skip
    return FigureData(rows, found)


def coin_bd(records: Records) -> FigureData:
    """BD-rate and BD-PSNR of COIN against JPEG on Kodak."""
    jpeg = baselines.curve(records, "jpeg")
    row = baselines.bd_row("COIN, ours", coin_points(records), jpeg, baselines.NAMES["jpeg"])
    return FigureData([row], [*coin_curve(records), *baselines.baselines(records, "jpeg")])


def depth_search(records: Records) -> FigureData:
    """COIN at equal bytes: mean PSNR over depth, every depth with the widest layers that fit the budget."""
    found, rows = records.some("search"), []
    for bpp in (0.15, 0.3):
        runs = [r for r in found if r.config["target_bpp"] == bpp]
        runs.sort(key=lambda r: Architecture.parse(r.config["architecture"]).depth)
        points = [(Architecture.parse(r.config["architecture"]).depth, r.mean("psnr")) for r in runs]
        rows.append(line("coin", f"at most {bpp} bpp", points, networks=[r.config["architecture"] for r in runs]))
    return FigureData(rows, found)


def fit_course(records: Records, architecture: str = "10x28") -> FigureData:
    """PSNR over steps: our fits of all Kodak pictures, their mean, kodim15, and the official code on kodim15."""
    (record,) = [r for r in coin_curve(records) if r.config["architecture"] == architecture]
    courses = {row["picture"]: row["history"] for row in record.rows}
    steps, pixels = courses["kodim15"]["step"], record.config["fit"]["batch_pixels"]
    mean = np.mean([history["psnr"] for history in courses.values()], axis=0).tolist()
    official = published("coin", where="course of a fit, kodim15")
    rows = [line("coin", name, zip(history["step"], history["psnr"], strict=True), kind="picture")
            for name, history in courses.items() if name != "kodim15"]  # fmt: skip
    rows += [
        line("coin", f"ours, kodim15 ({pixels:,} pixels a step)", zip(steps, courses["kodim15"]["psnr"], strict=True),
             kind="kodim15"),
        line("coin", f"ours, mean of {len(courses)} pictures", zip(steps, mean, strict=True), kind="mean"),
        line("coin", "official code, kodim15 (393,216 pixels a step)",
             [(row["x"], row["value"]) for row in official], kind="official"),
    ]  # fmt: skip
    return FigureData(rows, [record])


def ingredients_table(records: Records) -> FigureData:
    """PSNR without each ingredient of the engine's budget: mean over pictures, and over seeds mean, least and most."""
    found = records.some("ingredients")
    of: dict[str, list[RunRecord]] = {}
    for record in found:
        of.setdefault(record.config["ingredient"], []).append(record)
    whole = np.mean([r.mean("psnr") for r in of["all"]])
    rows = []
    for ingredient, runs in sorted(of.items(), key=lambda item: item[0] != "all"):
        psnr = [r.mean("psnr") for r in runs]
        rows.append({
            "fit": "as it is" if ingredient == "all" else ingredient,
            "PSNR in dB": f"{np.mean(psnr):.2f}",
            "over seeds": f"{min(psnr):.2f} to {max(psnr):.2f}",
            "difference": "" if ingredient == "all" else f"{np.mean(psnr) - whole:+.2f}",
            "collapses noticed": sum(len(row["restarts"]) for r in runs for row in r.rows),
        })  # fmt: skip
    return FigureData(rows, found)


def rate_distortion(records: Records, accounting: str = "nonzeros") -> FigureData:
    """PSNR over rate on the pictures of Kodak that all records have: L0onie, magnitude pruning, COIN, JPEG.

    ``accounting="nonzeros"`` is the paper's: 16 bits a nonzero value (JPEG by its files). ``"file"`` counts the bytes
    of files for all, and has our own files beside them.
    """
    shared, used, rows = third(records), [], []
    for method in METHODS if accounting == "file" else METHODS[1:]:
        points, found = loonie_curve(records, method, accounting, shared)
        used += found
        rows.append(line(method, NAMES[method], zip(*points, strict=True)))
    name = "JPEG" + ("" if accounting == "file" else " (files)")
    jpeg = zip(*baselines.curve(records, "jpeg", "psnr", shared), strict=True)
    rows.append(line("jpeg", name, [point for point in jpeg if point[0] < 0.75]))
    return FigureData(rows, [*used, *(r.only(shared) for r in baselines.baselines(records, "jpeg"))])


def files_against_published(records: Records) -> FigureData:
    """Our files on all of Kodak at 0.3 bpp and on a third of it at the other rates, against what others published."""
    shared, whole = third(records), _whole(loonie(records, "file"))
    points, used = loonie_curve(records, "file", "file", shared)
    rows = [
        line("file", f"our files, {len(shared)} pictures", zip(*points, strict=True)),
        line("file", "our files, all of Kodak", [(whole.mean("bpp"), whole.mean("psnr"))], whole=True),
    ]
    for series, name in OTHERS.items():
        printed = published("kodak", where="Kodak mean", series=series, metric="psnr")
        inside = [(row["x"], row["value"]) for row in printed if row["x"] < 0.8]
        rows.append(line(series, f"{name}, published", inside, printed=True))
    for series, name, curve in (("coin", NAMES["coin"], coin_points(records)),
                                ("jpeg", baselines.NAMES["jpeg"], baselines.curve(records, "jpeg"))):  # fmt: skip
        rows.append(line(series, name, [point for point in zip(*curve, strict=True) if point[0] < 0.8]))
    return FigureData(rows, [*used, whole, *coin_curve(records), *baselines.baselines(records, "jpeg")])


def dynamics(records: Records) -> FigureData:
    """Training dynamics at 0.3 bpp: rate in the paper's accounting, multiplier and PSNR over steps, every picture."""
    record = loonie(records, "nonzeros")
    rows = [{"picture": row["picture"], **row["course"]} for row in record.rows]
    return FigureData(rows, [record])


def race_course(records: Records) -> FigureData:
    """PSNR over the work of training, at a budget of 0.3, Adam at a constant rate: L0onie, and COIN at two rates.

    The work is in 10¹² multiply-accumulates, three passes a step and pixel, which is time without the other programs
    of a machine. ``over`` is true at a point where any picture is over its budget: such a network is no answer yet.
    """
    found, rows = records.some("loonie_race", data="kodak"), []
    for record in sorted(found, key=lambda r: list(RACE).index(r.config["runner"])):
        steps = np.array(record.rows[0]["history"]["step"])
        depth, width = map(int, record.config["architecture"].split("x"))
        pixels = record.config["fit"]["batch_pixels"] or 512 * 768
        work = 3e-12 * mlp_macs_per_pixel(depth, width) * pixels * steps
        psnr = np.mean([row["history"]["psnr"] for row in record.rows], axis=0)
        over = np.zeros(len(steps), bool)
        if "course" in record.rows[0]:
            most = np.max([row["course"]["rate"] for row in record.rows], axis=0)
            over = most > record.config["bpp"] * (1 + 1e-6)
        points = zip(work.tolist(), psnr.tolist(), strict=True)
        series = "nonzeros" if over.any() else "dense"
        rows.append(line(series, record.config["runner"], points, over=over.tolist()))
    return FigureData(rows, found)


def _named(size: float) -> str:
    return "COIN, nothing pruned" if size == 1 else f"L0onie from {size:g} budgets"


def start_curves(records: Records) -> FigureData:
    """PSNR over depth at each budget: COIN's networks, and L0onie from starts of two sizes; means over pictures."""
    rows = [
        line("dense" if size == 1 else "nonzeros", _named(size), depths.items(), bpp=bpp, size=size)
        for bpp, sizes in _psnr_of_starts(records).items() for size, depths in sizes.items()
    ]  # fmt: skip
    return FigureData(rows, [record for found in starts(records).values() for record in found])


def starts_table(records: Records) -> FigureData:
    """What a choice of depth is worth, with and without gates: best, mean and worst PSNR over depths."""
    rows = []
    for bpp, sizes in _psnr_of_starts(records).items():
        for size, depths in sizes.items():
            best, worst = (of(depths, key=depths.__getitem__) for of in (max, min))
            rows.append({
                "budget": f"{bpp:g} bpp",
                "network": _named(size),
                "best depth": f"{best}: {depths[best]:.2f} dB",
                "mean over depths": f"{np.mean(list(depths.values())):.2f} dB",
                "worst depth": f"{worst}: {depths[worst]:.2f} dB",
                "best less mean": f"{depths[best] - np.mean(list(depths.values())):.2f} dB",
            })  # fmt: skip
    return FigureData(rows, [record for found in starts(records).values() for record in found])


def start_rows(records: Records) -> list[dict[str, Any]]:
    """The rows of the sweep over starts as `reproduce.sweep_report` shows them."""
    return [
        {"row": record.name, "state": "done", "depth": depth, "size": size, "bpp": bpp, "picture": picture["picture"],
         "PSNR in dB": picture["psnr"], "SSIM": picture["ssim"], "bpp of the file": picture["bpp"],
         "start": record.config["architecture"], "seconds": picture["encode_seconds"]}
        for (bpp, size, depth), found in starts(records).items() for record in found for picture in record.rows
    ]  # fmt: skip


def first_steps(records: Records, codec: str = "coin") -> FigureData:
    """PSNR over the first steps of the papers' own trainings on kodim15, of one codec; COIN's beside the official code.

    Each way differs in its first values (`FIRST_VALUES`). L0onie's last score is left out: by then no state was within
    the budget, and it is of weights that were repaired to it.
    """
    found = records.some("first_values", codec=codec)
    found.sort(key=lambda record: list(FIRST_VALUES).index(record.config["label"]))
    rows = [
        line("dense" if codec == "coin" else "nonzeros", record.config["label"],
             list(zip(*record.rows[0]["history"].values(), strict=True))[: None if codec == "coin" else -1])
        for record in found
    ]  # fmt: skip
    if codec == "coin":
        last = rows[0]["x"][-1]
        official = [(row["x"], row["value"]) for row in published("coin", where="course of a fit, kodim15")]
        rows.append(line("coin", "official code", [point for point in official if point[0] <= last], printed=True))
    return FigureData(rows, found)


def loonie_first_steps(records: Records) -> FigureData:
    """As `first_steps`, of L0onie."""
    return first_steps(records, "loonie")


def psnr_of_pictures(records: Records) -> FigureData:
    """PSNR of the 24 pictures at a budget of 0.3, method by method."""
    found = [loonie(records, method) for method in METHODS[:0:-1]]
    rows = [{"series": method, "name": NAMES[method], "psnr": [row["psnr"] for row in record.rows]}
            for method, record in zip(METHODS[:0:-1], found, strict=True)]  # fmt: skip
    return FigureData(rows, found)


def reconstructions(records: Records) -> FigureData:
    """The astronaut from files: our file and L0onie's at a budget of 0.3, COIN, JPEG; rates are of the files."""
    found, original = records.some("gallery"), data.bundled()["astronaut"]
    files = {"our file": "loonie-file-0.3", "L0onie": "loonie-nonzeros-0.3", "COIN 10x28": "10x28", "JPEG": "jpeg-0.3"}
    rows = [{"title": "original", "picture": original}]
    for name, kept in files.items():
        file = (records.folder / "gallery" / "files" / "laptop" / f"astronaut-{kept}.spc").read_bytes()
        shown = codecs.decode(file)
        psnr = metrics.psnr(reference=original, reconstruction=shown)
        title = f"{name}: {8 * len(file) / original[..., 0].size:.3f} bpp, {psnr:.2f} dB"
        rows.append({"title": title, "picture": shown})
    return FigureData(rows, found)


def methods_table(records: Records) -> FigureData:
    """Every method at every rate there is a record of: pictures, rate in both accountings, PSNR, work to decode.

    The records have 8 or 24 pictures, so the PSNR over the 8 that all of them have is given as well.
    """
    records.some("loonie")
    shared = third(records)
    used = [(method, record) for method in METHODS for record in loonie_curve(records, method, "file", None)[1]]
    rows = [{
        "method": NAMES[method],
        "start": record.config["architecture"],
        "pictures": len(record.rows),
        "16 bits a nonzero value, per pixel (estimate)": "–" if method == "file" else f"{counted(record):.4f}",
        "bpp of the file": f"{record.mean('bpp'):.4f}",
        "PSNR in dB": f"{record.mean('psnr'):.2f}",
        "PSNR in dB, the same 8 pictures": f"{record.only(shared).mean('psnr'):.2f}",
        "MAC/px": int(record.mean("macs_per_pixel")),
        "steps": f"{record.config['fit']['steps']:,}",
        "preset": record.config["profile"],
    } for method, record in used]  # fmt: skip
    return FigureData(rows, [record for _, record in used])


def parts_table(records: Records) -> FigureData:
    """What each part of L0onie does at 0.3 bpp, on 6 pictures: PSNR, both accountings, spread over pictures."""
    found, rows = records.some("loonie_parts", data="kodak"), []
    whole = {r.config["part"]: r for r in found}
    for part in sorted(whole, key=(*LOONIE_PARTS, *FILE_PARTS).index):
        record = whole[part]
        against = "our file" if part.startswith("our file") else "L0onie"
        against = "our file, no frequencies" if part.endswith("gates") else against
        base = whole[against]
        difference = [ours["psnr"] - theirs["psnr"] for ours, theirs in zip(record.rows, base.rows, strict=True)]
        rows.append({
            "fit": part,
            "bpp of the file": f"{record.mean('bpp'):.4f}",
            "16 bits a nonzero value, per pixel (estimate)": "–" if "file" in part else f"{counted(record):.4f}",
            "PSNR in dB": f"{record.mean('psnr'):.2f}",
            "difference": "" if record is base else f"{np.mean(difference):+.2f}",
            "least to most": "" if record is base else f"{min(difference):+.2f} to {max(difference):+.2f}",
            "against": "" if record is base else against,
            "collapses noticed": sum(len(row["restarts"]) for row in record.rows),
            "MAC/px": f"{record.mean('macs_per_pixel'):,.0f}",
            "preset": record.config["profile"],
        })  # fmt: skip
    return FigureData(rows, found)


STARTS_MADE_BY = "sweep sweeps/loonie_starts.yaml"
FIGURES = {
    "rate-distortion": Entry("COIN on Kodak (COIN, Fig. 2)", coin_rate_distortion, "coin"),
    "coin-table": Entry("COIN: bytes and PSNR", coin_table, "coin"),
    "coin-bd": Entry("COIN: BD-rate and BD-PSNR", coin_bd, "coin"),
    "fit-course": Entry("PSNR over steps of a fit", fit_course, "coin"),
    "depth-search": Entry("PSNR over depth at equal bytes", depth_search, "search"),
    "ingredients": Entry("What each ingredient of a fit does", ingredients_table, "ingredients"),
    "loonie-paper": Entry(
        "PSNR over the paper's estimate of the rate (L0onie, PSNR against bpp)", rate_distortion, "loonie"
    ),
    "loonie-files": Entry("Our files against published ones", files_against_published, "loonie"),
    "loonie-dynamics": Entry("Training dynamics (L0onie)", dynamics, "loonie"),
    "loonie-race": Entry("PSNR over the work of training (L0onie, PSNR against time)", race_course, "loonie_race"),
    "loonie-reconstructions": Entry("Reconstructions (L0onie)", reconstructions, "gallery"),
    "loonie-histogram": Entry("PSNR histogram (L0onie)", psnr_of_pictures, "loonie"),
    "loonie-table": Entry("L0onie, pruning, COIN and our files: rates and PSNR", methods_table, "loonie"),
    "loonie-parts": Entry("What each part of L0onie does", parts_table, "loonie_parts"),
    "first-steps": Entry("First values of COIN", first_steps, "first_values"),
    "loonie-first-steps": Entry("First steps of the released L0onie", loonie_first_steps, "first_values"),
    "loonie-starts": Entry("PSNR over the depth of L0onie's start", start_curves, "loonie_starts", STARTS_MADE_BY),
    "loonie-starts-table": Entry("What a choice of depth is worth", starts_table, "loonie_starts", STARTS_MADE_BY),
}
