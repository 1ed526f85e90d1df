"""Presets and plans of COIN and L0onie."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from reproduce.estimates import Cost
from reproduce.papers import baselines
from reproduce.pictures import PicturePlan, label_of, pictures, row_of
from reproduce.records import thin
from reproduce.runner import Request, Work
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

