"""The studies of networks that are a picture, COIN and L0onie, and of the standard codecs beside them."""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sparsecomp import data, results
from sparsecomp.codecs import BudgetError, evaluate, get_codec, measure
from sparsecomp.codecs.network import Coin, Loonie
from sparsecomp.models.siren import Architecture
from sparsecomp.profiles import (
    FAST,
    LOONIE_DUAL,
    LOONIE_STARTS,
    REFERENCE,
    FitBudget,
    Sparsity,
    as_dict,
    sparsity_at,
)
from sparsecomp.studies.base import Setup, config_of, finish, keep_file, missing, pictures_from, row_of
from sparsecomp.training import fit as fits
from sparsecomp.training.constrained_fit import ConstrainedFit, MagnitudePruning, SparseResult
from sparsecomp.training.fit import FitResult, SirenTraining, fit_set
from sparsecomp.training.loop import Paused

# The studies ----------------------------------------------------------------------------------------------------------


def coin(setup: Setup, pictures_of: str = "kodak") -> list[Path]:
    """COIN at the profile's architectures on a set of pictures: one record an architecture."""
    pictures = pictures_from(pictures_of, setup.profile.pictures)
    return [
        _fits(setup, "coin", f"coin-{arch}-{pictures_of}-{setup.profile.name}", Architecture.parse(arch),
        setup.profile.fit, pictures_of, pictures) for arch in setup.profile.architectures
    ]  # fmt: skip


def gallery(setup: Setup) -> list[Path]:
    """The astronaut as files that are kept, for the pictures and widgets of the book.

    COIN in seven sizes; L0onie (our file, and the paper's accounting) and the standard codecs at seven budgets; one
    that a codec cannot reach has no row.
    """
    smoke = setup.profile.name == "smoke"
    sizes = ("5x10", "5x20") if smoke else ("5x10", "5x20", "5x30", "10x20", "10x28", "10x40", "13x49")
    budgets = (0.3,) if smoke else (0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2)
    pictures = {"astronaut": data.bundled()["astronaut"]}
    made = [
        _fits(
            setup,
            "gallery",
            f"coin-{size}-bundled-{setup.profile.name}",
            Architecture.parse(size),
            setup.profile.fit,
            "bundled",
            pictures,
            keep=size,
        )
        for size in sizes
    ]
    for bpp in (0.04,) if smoke else (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0):
        for rate, budget in (("file", setup.profile.loonie_file), ("nonzeros", setup.profile.loonie)):
            name = f"loonie-{rate}-{bpp:g}-bundled-{setup.profile.name}"
            architecture = Loonie(rate=rate).architecture_at(pictures["astronaut"], bpp)
            method = sparse(bpp, sparsity_at(rate, bpp, budget.steps))
            made.append(
                _fits(
                    setup,
                    "gallery",
                    name,
                    architecture,
                    budget,
                    "bundled",
                    pictures,
                    keep=f"loonie-{rate}-{bpp:g}",
                    method=method,
                )
            )
    for codec in GRIDS:
        config = config_of(setup, "bundled", pictures) | {"codec": codec, "budgets": list(budgets)}
        path = results.path_of(setup.out, "gallery", f"{codec}-bundled-{setup.profile.name}", config)
        if missing(setup, path):
            begun, rows = time.perf_counter(), []
            for bpp in budgets:
                if setup.seconds_left() == 0:
                    raise Paused("the time given is over; this codec begins anew next time")
                try:
                    measured = evaluate(get_codec(codec), pictures["astronaut"], bpp)
                except BudgetError as error:
                    setup.report(str(error))
                    continue
                keep_file(path.parent / "files" / setup.profile.name / f"astronaut-{codec}-{bpp:g}.spc", measured.data)
                rows.append({"picture": "astronaut", "setting": bpp} | row_of(measured, 8 * measured.bytes))
            finish(setup, "gallery", path, config, rows, time.perf_counter() - begun)
        made.append(path)
    return made


def search(setup: Setup, pictures_of: str = "kodak") -> list[Path]:
    """PSNR over depth at equal bytes, each depth with the widest layers that fit. One record a budget and depth."""
    smoke = setup.profile.name == "smoke"
    budget = replace(FAST, steps=5000) if setup.profile.fit == FAST else setup.profile.fit
    pictures = pictures_from(pictures_of, min(6, setup.profile.pictures))
    made = []
    for bpp in (0.15, 0.3):
        for depth in (2, 5) if smoke else (2, 3, 4, 5, 7, 10, 13, 16):
            height, width, _ = min((p.shape for p in pictures.values()), key=lambda s: s[0] * s[1])
            architecture = Coin.widest(depth, height, width, bpp)
            name = f"depth-{depth:02d}-{bpp:g}-{pictures_of}-{setup.profile.name}"
            made.append(_fits(setup, "search", name, architecture, budget, pictures_of, pictures, target_bpp=bpp))
    return made


# What the engine's budget consists of, each taken away by itself; Adam at the better of the two rates tried for it.
INGREDIENTS = {
    "all": {},
    "Adam in place of SOAP": {"optimiser": "adam", "lr": 1e-3},
    "random start": {"start": "random"},
    "constant rate": {"schedule": "constant"},
}


def ingredients(setup: Setup) -> list[Path]:
    """What each ingredient of the engine's budget does: 10x28 on two bundled photographs, three seeds, 5,000 steps.

    One record an ingredient and seed. These are pictures that the settings were chosen on: the study explains a
    choice, it does not test it.
    """
    budget = replace(FAST, steps=5000) if setup.profile.fit == FAST else setup.profile.fit
    every = data.bundled()
    pictures = {name: every[name] for name in ("astronaut", "coffee")[: setup.profile.pictures]}
    architecture = Architecture.parse("10x28" if setup.profile.fit == FAST else "5x20")
    made = []
    for seed in range(setup.seed, setup.seed + (3 if setup.profile.fit == FAST else 1)):
        for ingredient, changes in INGREDIENTS.items():
            name = f"{ingredient.lower().replace(' ', '-')}-seed-{seed}-bundled-{setup.profile.name}"
            one = replace(setup, seed=seed, started=setup.started)
            fit = replace(budget, **changes)
            made.append(_fits(one, "ingredients", name, architecture, fit, "bundled", pictures, ingredient=ingredient))
    return made


def loonie(setup: Setup, pictures_of: str = "kodak") -> list[Path]:
    """Our files, L0onie, magnitude pruning and COIN at the paper's four rates: one record a rate and method.

    The last three have the same budget of steps; magnitude pruning spends half of it on fine-tuning.

    All of the profile's pictures at 0.3 bpp; at the other rates, too, but for the profile `laptop`, which has every
    third of them there.
    """
    profile, made = setup.profile, []
    for bpp, (start, dense) in _starts(setup).items():
        few = -(-profile.pictures // 3)
        pictures = pictures_from(pictures_of, few if profile.name == "laptop" and bpp != 0.3 else profile.pictures)
        height, width, _ = min((p.shape for p in pictures.values()), key=lambda s: s[0] * s[1])
        ours = Loonie().architecture_at(np.zeros((height, width, 3), np.uint8), bpp)
        begin, small = Architecture.parse(start), Architecture.parse(dense)
        paper = profile.name == "paper"
        game = sparsity_at("nonzeros", bpp, profile.loonie.steps)
        game = Sparsity("nonzeros", dual_lr=LOONIE_DUAL[bpp]) if paper else game
        twice = replace(REFERENCE, steps=100_000) if paper else profile.loonie  # dense, then fine-tuned
        plan = (
            ("file", ours, profile.loonie_file, sparse(bpp, sparsity_at("file", bpp, profile.loonie_file.steps))),
            ("nonzeros", begin, profile.loonie, sparse(bpp, game)),
            ("magnitude", begin, twice, pruned(bpp)),
            ("dense", small, profile.loonie, None),
        )
        for label, architecture, budget, method in plan:
            name = f"{label}-{bpp:g}-{pictures_of}-{profile.name}"
            made.append(
                _fits(setup, "loonie", name, architecture, budget, pictures_of, pictures, method=method, label=label)
            )
    return made


def _starts(setup: Setup) -> dict[float, tuple[str, str]]:
    return {0.04: ("5x20", "5x12")} if setup.profile.name == "smoke" else LOONIE_STARTS


def sparse(bpp: float, sparsity: Sparsity, coordinates: str = "per_axis") -> Method:
    """L0onie's game under a budget."""
    config = {"codec": "loonie", "bpp": bpp, "sparsity": as_dict(sparsity)}
    return Method(config, functools.partial(ConstrainedFit, bpp=bpp, sparsity=sparsity), coordinates)


def pruned(bpp: float) -> Method:
    """Magnitude pruning to a budget of 16 bits a nonzero value; half of the steps are fine-tuning."""
    return Method({"codec": "loonie", "bpp": bpp, "pruning": "magnitude"}, functools.partial(MagnitudePruning, bpp=bpp))


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


def loonie_parts(setup: Setup, pictures_of: str = "kodak") -> list[Path]:
    """What each part of L0onie does, at 0.3 bpp on 6 pictures: one record a part."""
    pictures = pictures_from(pictures_of, min(6, setup.profile.pictures))
    bpp, (start, _) = next(iter(_starts(setup).items()))
    architecture, budget = Architecture.parse(start), setup.profile.loonie_parts
    steps = budget.steps
    plan = {
        part: (
            architecture,
            sparse(bpp, sparsity_at(**{"rate": "nonzeros"} | changes, bpp=bpp, steps=steps), coordinates),
        )
        for part, (changes, coordinates) in LOONIE_PARTS.items()
    }
    plan |= {
        part: (replace(architecture, n_in=2 + 4 * frequencies), sparse(bpp, sparsity_at("file", bpp, steps, **changes)))
        for part, (changes, frequencies) in FILE_PARTS.items()
    }
    made = []
    for part, (network, method) in plan.items():
        name = f"{part.lower().replace(' ', '-').replace(',', '')}-{pictures_of}-{setup.profile.name}"
        made.append(
            _fits(setup, "loonie_parts", name, network, budget, pictures_of, pictures, method=method, part=part)
        )
    return made


# The race of the paper's second figure: L0onie trains at 1e-3, the COIN it is compared with at 2e-4.
RACE = {"L0onie at 1e-3": 1e-3, "COIN at 1e-3": 1e-3, "COIN at 2e-4": 2e-4}


def loonie_race(setup: Setup, pictures_of: str = "kodak") -> list[Path]:
    """PSNR against time at 0.3 bpp with the paper's optimiser, Adam at a constant rate, on 6 pictures.

    COIN at the rate the paper gives it, and at the rate the paper gives L0onie. On a CPU with mini-batches, on a GPU
    (profile ``paper``) with every pixel.
    """
    pictures = pictures_from(pictures_of, min(6, setup.profile.pictures))
    paper, starts = setup.profile.name == "paper", _starts(setup)
    bpp, made = next(iter(starts)), []
    for runner, lr in RACE.items():
        budget = replace(setup.profile.loonie_parts, optimiser="adam", schedule="constant", start="random", lr=lr)
        game = Sparsity("nonzeros") if paper else sparsity_at("nonzeros", bpp, budget.steps)
        method = sparse(bpp, game) if runner.startswith("L0onie") else None
        architecture = Architecture.parse(starts[bpp][0 if method else 1])
        name = f"{runner.lower().replace(' ', '-')}-{pictures_of}-{setup.profile.name}"
        made.append(
            _fits(setup, "loonie_race", name, architecture, budget, pictures_of, pictures, method=method, runner=runner)
        )
    return made


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


def baselines(setup: Setup, pictures_of: str = "kodak") -> list[Path]:
    """The standard codecs over their settings, one record a codec.

    JPEG and AVIF with chroma at half resolution and, in a record of its own, at full; the better of the two is their
    curve. JPEG 2000 also without its colour transform. JPEG and JPEG 2000 at high rates in records of their own.
    """
    pictures = pictures_from(pictures_of, setup.profile.pictures)
    runs = [(codec, codec, {}, GRIDS[codec]) for codec in GRIDS]
    runs += [(f"{codec}-444", codec, {"subsampling": "4:4:4"}, GRIDS[codec]) for codec in ("jpeg", "avif")]
    runs += [("jpeg2000-no-transform", "jpeg2000", {"colour_transform": False}, GRIDS["jpeg2000"])]
    runs += [(f"{codec}-high", codec, {}, grid) for codec, grid in HIGH_GRIDS.items()]
    runs += [("jpeg-444-high", "jpeg", {"subsampling": "4:4:4"}, HIGH_GRIDS["jpeg"])]
    made = []
    for label, codec, options, (option, settings) in runs:
        settings = settings[1::4] if setup.profile.name == "smoke" else settings
        config = config_of(setup, pictures_of, pictures) | {
            "codec": codec,
            "label": label,
            "options": options,
            "grid": [option, *settings],
        }
        path = results.path_of(setup.out, "baselines", f"{label}-{pictures_of}-{setup.profile.name}", config)
        if missing(setup, path):
            begun, rows = time.perf_counter(), []
            for name, picture in pictures.items():
                for setting in settings:
                    if setup.seconds_left() == 0:
                        raise Paused("the time given is over; this codec begins anew next time")
                    started = time.perf_counter()
                    written = get_codec(codec, **{option: setting}, **options).encode(picture)
                    took = time.perf_counter() - started
                    rows.append(
                        {"picture": name, "setting": setting}
                        | row_of(measure(written, picture, encode_seconds=took), 8 * len(written))
                    )
                setup.report(f"{label} {name}: {len(settings)} settings")
            finish(setup, "baselines", path, config, rows, time.perf_counter() - begun)
        made.append(path)
    return made


# How a study works ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """What is fitted: COIN, unless said otherwise.

    Parameters
    ----------
    config : dict
        What it adds to the configuration of a record.
    make : callable
        The method of the fit (`training.fit.fit`).
    """

    config: dict = field(default_factory=lambda: {"codec": "coin"})
    make: Callable[[SirenTraining], fits.Method] = fits.Method
    coordinates: str = "per_axis"

    def file(self, architecture: Architecture, fitted: FitResult, height: int, width: int) -> bytes:
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


def _fits(
    setup: Setup,
    study: str,
    name: str,
    architecture: Architecture,
    budget: FitBudget,
    pictures_of: str,
    pictures: Mapping[str, np.ndarray],
    *,
    keep: str = "",
    method: Method | None = None,
    **more: object,
) -> Path:
    """One record: the same architecture, budget and method on every picture."""
    method = method or Method()
    config = config_of(setup, pictures_of, pictures) | more
    config |= method.config | ({"frequencies": (architecture.n_in - 2) // 4} if architecture.n_in > 2 else {})
    config |= {
        "architecture": str(architecture),
        "coordinates": method.coordinates,
        "fit": as_dict(budget),
    }
    path = results.path_of(setup.out, study, name, config)
    if not missing(setup, path):
        return path
    partial = path.parent / ".partial" / path.stem
    partial.mkdir(parents=True, exist_ok=True)
    rows = {file.stem: json.loads(file.read_text()) for file in partial.glob("*.json")}

    def done(picture: str, fitted: FitResult) -> None:
        height, width, _ = pictures[picture].shape
        written = method.file(architecture, fitted, height, width)
        measured = measure(written, pictures[picture], encode_seconds=fitted.seconds)
        row = {"picture": picture} | row_of(measured, method.estimated_bits(architecture, fitted))
        if isinstance(fitted, SparseResult):
            row["course"] = results.thin(fitted.course, ("step", "rate", "lambda", "nonzeros", "psnr"))
        row |= {
            "best_step": fitted.step,
            "restarts": fitted.restarts,
            "history": results.thin(fitted.history),
        }
        if keep:
            keep_file(path.parent / "files" / setup.profile.name / f"{picture}-{keep}.spc", written)
        keep_file(partial / f"{picture}.json", json.dumps(row).encode())
        rows[picture] = row
        result = f"{measured.bpp:.4f} bpp, {measured.psnr:.2f} dB, {fitted.seconds:.0f} s"
        setup.report(f"{name} {picture}: {result} ({len(rows)}/{len(pictures)})")

    left = {picture: pixels for picture, pixels in pictures.items() if picture not in rows}
    if left and setup.device != "cpu":
        left = pictures  # a batch is resumed whole
    if left:
        fit_set(
            left, architecture, budget, folder=partial, seed=setup.seed, coordinates=method.coordinates,
            device=setup.device, workers=setup.workers, max_seconds=setup.seconds_left(), on_done=done,
            method=method.make,
        )  # fmt: skip
    ordered = [rows[picture] for picture in pictures]
    finish(setup, study, path, config, ordered, sum(row["encode_seconds"] for row in ordered))
    shutil.rmtree(partial)  # a killed worker may have left a folder of `files.atomic_path` in it
    return path
