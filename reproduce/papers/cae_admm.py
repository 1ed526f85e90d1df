"""CAE-ADMM (Zhao & Liao 2019): presets, plans, and measures of claims.

Every training is one record, and one model in ``models/`` beside the folder of records: codes that are pruned, codes
whose entropy is estimated, and codes that are left alone.

A rate is the length of a file. What the released code calls "bpp" stands beside it under its own name, nats. Curves are
compared by their mean vertical distance over the rates that both have (`metrics.bd_psnr`: by pchip, over the logarithm
of the rate), in the unit of the quality: SSIM and MS-SSIM as they are, from 0 to 1, and not in dB.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reproduce.estimates import Cost
from reproduce.figure_data import Entry, FigureData, line
from reproduce.models import VALIDATION, ModelPlan, history_of, kept, made_before, name_of, sets
from reproduce.papers import baselines
from reproduce.papers.baselines import TRAINED_ON
from reproduce.pictures import PicturePlan, pictures, row_of
from reproduce.records import Curve, Records, RunRecord, published, thin
from reproduce.runner import Plan, Request, Work
from sparsecomp import complexity, data, metrics
from sparsecomp.checks import InputError
from sparsecomp.codecs import BudgetError, decode, evaluate, get_codec
from sparsecomp.codecs.trained import latent_of, pruned, read_symbols
from sparsecomp.coding import integer_latents
from sparsecomp.coding.container import unpack
from sparsecomp.metrics import BD
from sparsecomp.models import pretrained
from sparsecomp.models.cae_admm import SCALE, CaeAdmm, Padding, Shape
from sparsecomp.models.pretrained import Models, Stored, default_models
from sparsecomp.options import as_dict
from sparsecomp.sparsify import admm
from sparsecomp.training.arithmetic import FLOAT32, Arithmetic
from sparsecomp.training.configs import CodeDescent, Pruning
from sparsecomp.training.latent_pruning import CodeTraining
from sparsecomp.training.loop import run

# Presets --------------------------------------------------------------------------------------------------------------

# What is trained, by label: Zhao & Liao's pruning at several shares, Theis et al.'s estimate at several prices. Beside
# them what the released code makes of pruning, and nothing at all, with all channels and with half of them. Each sees
# the same crops in the same order, and begins with the same first values, but for the one with half the channels.
# Where models are fine-tuned from the unpruned one, it is compared with them after as many steps more: "tuned".
BEFORE, TUNED, AFTER = "unpruned", "tuned", "keep 10"  # BEFORE and AFTER of Table 1
PRUNED = {"keep 40": 0.4, "keep 20": 0.2, "keep 10": 0.1, "keep 5": 0.05}
ESTIMATED = {"lambda 50": 50.0, "lambda 150": 150.0, "lambda 400": 400.0, "lambda 1000": 1000.0}
# Beside the released code's rho of 0.1 and updates every 100 steps, at the paper's share. 256 steps are an epoch.
VARIED: dict[str, dict] = {"rho 0.03": {"rho": 0.03}, "rho 0.3": {"rho": 0.3}, "every 256": {"interval": 256}}
RELEASED = Pruning(z_update="released", state="data_set", penalty="norm")
NAMES = {  # of all that is trained
    BEFORE: "neither pruned nor estimated",
    TUNED: "neither, fine-tuned as long",
    **{label: f"pruned to {100 * keep:g} %" for label, keep in PRUNED.items()},
    "rho 0.03": "pruned to 10 %, ρ = 0.03",
    "rho 0.3": "pruned to 10 %, ρ = 0.3",
    "every 256": "pruned to 10 %, updates every 256",
    **{label: f"entropy estimated, λ = {lam:g}" for label, lam in ESTIMATED.items()},
    "released": "pruned as the released code does",
    "16 channels": "neither, 16 channels in place of 32",
}
LABELS = tuple(label for label in NAMES if label != TUNED)
# The released code's other choices, at the paper's share: a new crop of each picture in every epoch; and how residual
# blocks pad, with the slope that PReLUs begin with.
VARIANTS = {
    "fresh crops": "pruned to 10 %, a new crop of every picture in each epoch",
    "reflection, slope 0.25": "pruned to 10 %, blocks pad by reflection, PReLUs begin at 0.25",
}
WHOLE = (BEFORE, "16 channels")  # neither pruned nor estimated; every preset trains these from first values
# An ablation of the schedule. At `desktop`, "keep 10" balances rho, and replaces ADMM by the projection after half of
# the steps. The first five change that: no remedy, one of the two, Z and U at rest in place of the projection, and the
# projection without ADMM before it. The last two keep Z = U = 0, which leaves a price on the size of the code.
SCHEDULES: dict[str, tuple[str, dict]] = {
    "plain": ("ADMM to the end, fixed ρ", {"balance": False, "until": None, "then": "penalty"}),
    "balanced": ("ADMM to the end, ρ balanced", {"until": None, "then": "penalty"}),
    "rests": ("Z and U rest after half of the steps", {"balance": False, "then": "penalty"}),
    "then projected": ("fixed ρ, then the projection", {"balance": False}),
    "projected at once": ("the projection, no ADMM", {"balance": False, "until": 0}),
    "price on the square": ("Z = U = 0: a price on the square", {"balance": False, "until": 0, "then": "penalty"}),
    "price on the norm": (
        "Z = U = 0: a price on the norm",
        {"balance": False, "until": 0, "then": "penalty", "penalty": "norm", "rho": 50.0},
    ),
}
HEADLINE = ("keep 10", "lambda 400")  # one change: pruning against an estimate of the entropy
SHARES = (1.0, 0.2, 0.1, 0.05)  # of the code that a file keeps; 1 is the code as the encoder makes it
NEAR = 0.6  # bpp of Table 2
PATCH = 128  # pixels, along one side, of the patches that the released code measures by


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How much work a preset is.

    Attributes
    ----------
    descent : CodeDescent
        How an autoencoder is trained.
    pruning : Pruning
        How ADMM prunes its code.
    tuning : CodeDescent, optional
        How pruned and estimated models are fine-tuned from the unpruned one. By default there is no fine-tuning, and
        `descent` trains each model from the same first values.
    padding, width, depth, outer
        Of its `Shape`.
    pictures : int
        How many are measured.
    labels : tuple of str
        What is trained.
    seeds : int
        Of `HEADLINE`.
    search : bool
        May the codecs choose the models by themselves?
    scored : int
        Validation pictures that are scored while a model trains.
    mixed : int, optional
        How many pictures of each part of the mixed set; by default all.
    arithmetic : Arithmetic
        In which networks are trained.
    """

    descent: CodeDescent
    pruning: Pruning = Pruning()
    tuning: CodeDescent | None = None
    padding: Padding = "zeros"
    width: int = 128
    depth: int = 15
    outer: int | None = None
    pictures: int = 24
    labels: tuple[str, ...] = LABELS
    seeds: int = 2
    search: bool = True
    scored: int = VALIDATION
    mixed: int | None = None
    arithmetic: Arithmetic = FLOAT32


# Chosen on eight validation pictures of BSDS500 at 800 or 1,000 steps, in trials that were not kept: with no price on
# the code Muon over Adam, and the rate of 0.01, 0.02 and 0.04; with an estimate of the entropy, that batch
# normalisations settle; with pruning, rho of 0.02, 0.03, 0.1 and 0.5. Nothing else was tuned for one of them alone.
DESCENT = CodeDescent(steps=4000)
PRESETS = {
    "smoke": Preset(
        descent=replace(DESCENT, steps=16, warmup=4, batch=2, codes=8, mse_steps=4, settle=8, score_every=8),
        pruning=Pruning(interval=1),
        width=16,
        depth=1,
        pictures=1,
        labels=("unpruned", "keep 10", "lambda 400", "released"),
        seeds=1,
        search=False,
        scored=1,
        mixed=1,
    ),
    "laptop": Preset(descent=DESCENT, width=64, depth=2),
    # The layers beside the code are the paper's, so a place holds 32 numbers and not 16. The unpruned model is trained
    # first, and the others are fine-tuned from it. In 500 steps of a trial bfloat16 ended 0.0002 of SSIM below float32,
    # in half of the time; of three learning rates for fine-tuning, 0.02 and 0.04 ended alike.
    "desktop": Preset(
        descent=replace(DESCENT, steps=6000, codes=4096, start="dct"),
        pruning=Pruning(balance=True, until=1000, then="projection"),
        tuning=replace(DESCENT, steps=2000, lr=0.02, mse_steps=0, settle=0),
        width=64,
        depth=2,
        outer=128,
        labels=(*WHOLE, TUNED, *PRUNED, *ESTIMATED, "released"),
        seeds=3,
        arithmetic=Arithmetic("bfloat16"),
    ),
    "paper-fast": Preset(descent=replace(DESCENT, steps=30_000, batch=16), pruning=Pruning(interval=500)),
    # The paper's 300 epochs of 16 steps, ADMM's updates every 20 epochs of its, batch and rate. Its epoch is 500
    # pictures; ours, without the test pictures, are 200, so that the same steps make 800 epochs of 6.
    "paper": Preset(
        descent=CodeDescent(
            steps=4_800,
            lr=4e-3,
            optimiser="adam",
            schedule="plateau",
            warmup=0,
            weight_decay=1e-10,
            batch=32,
            mse_steps=16,
            settle=4_800,
            crops="fresh",
            slope=0.25,
        ),
        pruning=Pruning(interval=320),
        padding="reflect",
    ),
}


# Plans ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CodePlan(ModelPlan):
    """One training, and its files at several shares of the code.

    Parameters
    ----------
    descent : CodeDescent
    shape : Shape
    shares : tuple of float
        Of the code that a file keeps; 1 is the code as the encoder makes it.
    pruning : Pruning, optional
    lam : float
        Price of an estimated bit per pixel.
    first : Path, optional
        The model whose values are the first ones; by default they are drawn.
    first_key : str, optional
        Its key.
    """

    descent: CodeDescent
    shape: Shape
    shares: tuple[float, ...]
    pruning: Pruning | None = None
    lam: float = 0.0
    first: Path | None = None
    first_key: str | None = None

    @property
    def codec(self) -> str:
        """Theis et al.'s where an entropy is estimated; else Zhao & Liao's, pruned or not."""
        return "cae-theis" if self.lam else "cae-admm"

    def config(self) -> dict:
        """What it adds to the configuration."""
        return super().config() | {
            "codec": self.codec, "descent": as_dict(self.descent), "shape": as_dict(self.shape),
            "pruning": as_dict(self.pruning) if self.pruning else None, "lam": self.lam,
        } | ({"first": self.first_key} if self.first_key else {})  # fmt: skip

    def cost(self) -> Cost:
        """Encoder, decoder and their optimiser; now and then the codes of all crops."""
        descent, (encoder, decoder, weights) = self.descent, _size(self.shape)
        fresh = descent.crops == "fresh"
        whole = sum(p.shape[0] * p.shape[1] for p in pictures(self.train_on).values()) if fresh else (
            descent.codes * descent.crop**2
        )  # fmt: skip
        macs, pixels, saved = 0.0, descent.batch * descent.crop**2, 12 * weights
        if self.pruning is not None:
            macs += encoder * whole / self.pruning.interval
            each = 8 if self.pruning.balance else 4  # bytes of Z and of U together
            saved += each * self.shape.latent * whole // SCALE**2 if self.pruning.state == "per_code" else 0
        kernels = 60 * (2 * self.shape.depth + 8) * (3 if descent.optimiser == "muon" else 1)
        macs += 3 * pixels * (encoder + decoder)
        return Cost("cae-admm", descent.steps, macs, 0.0, kernels, saved, 2 * weights)

    def train(self, work: Work) -> dict:
        """Train one model, store it, and say what became of it."""
        model = CaeAdmm(self.shape, self.seed, self.descent.slope, self.descent.start)
        if self.first is not None:
            if not self.first.exists():
                command = f"python -m reproduce study cae_admm_unpruned --preset {self.preset}"
                raise InputError(f"there is no model {self.first.stem}: make it first, with `{command}`")
            model.load_state_dict(pretrained.load(self.first).model.state_dict())
        training = CodeTraining(
            model, pictures(self.train_on),
            pictures(self.validate_on, self.scored), self.descent,
            pruning=self.pruning, lam=self.lam, seed=self.seed, device=self.device, arithmetic=self.arithmetic,
        )  # fmt: skip
        run(training, checkpoint=work.checkpoints / "training.safetensors", max_seconds=work.seconds_left())
        pretrained.round_(training.model)  # what is stored is what is measured, and what the tables are made for
        score = training.score()
        histograms = torch.stack([integer_latents.histogram_of(code) for code in training.codes()])
        counts = integer_latents.counts_of(histograms.sum(0))
        about = {
            "codec": self.codec, "label": self.label, "seed": self.seed, "lam": self.lam, "steps": self.descent.steps,
            "keep": self.pruning.keep if self.pruning else 1.0, "search": self.search, "profile": self.preset,
        } | ({"projects": True} if training.projects else {})  # fmt: skip
        pretrained.save(self.model_file, training.model.cpu(), counts, about)
        stored, (macs, macs_decoder, _) = pretrained.load(self.model_file), _size(self.shape)
        balanced = self.pruning is not None and self.pruning.balance
        return {
            "model": stored.key, "file": self.model_file.stem, "seconds": round(training.seconds, 1),
            "psnr": round(score["psnr"], 4), "estimated_bpp": round(score["estimated_bpp"], 4),
            **{name: round(score[name], 5) for name in ("ssim", "ms_ssim", "zeros")}, "skipped": training.skipped,
            "macs": macs, "macs_decoder": macs_decoder,
            "history": history_of(training),
            "admm": thin(training.residuals, ("step", "primal", "dual", "zeros", *(("rho",) if balanced else ()))),
        }  # fmt: skip

    def measure(self, work: Work, piece: str) -> list[dict]:
        """One picture at every share of its code."""
        picture, models, rows = self.shown()[piece], Models(self.model_file), []
        stored = self.stored(work)
        code = latent_of(stored, picture)
        for share in self.shares:
            keep = None if share == 1 else share
            measured = evaluate(get_codec(self.codec, model=str(self.model_file), models=models, keep=keep), picture)
            symbols = code if keep is None else pruned(code, share)
            estimate = integer_latents.bits(symbols, stored.counts, integer_latents.threshold_of(symbols))
            row = {"picture": piece, "setting": share} | row_of(measured, round(estimate)) | _of_code(symbols)
            rows.append(row | _by_patches(picture, measured.reconstruction))
        return rows


@functools.cache
def _size(shape: Shape) -> tuple[float, float, int]:
    """Multiply-accumulates a pixel of encoder and decoder, and the weights of both."""
    model, side = CaeAdmm(shape), 8 * SCALE
    encoder = complexity.macs_per_pixel(model.encoder, (1, 3, side, side), pixels=side**2)
    decoder = complexity.macs_per_pixel(model.decoder, (1, shape.latent, 8, 8), pixels=side**2)
    return encoder, decoder, complexity.count_parameters(model)


def plans(request: Request) -> list[CodePlan]:
    """One record a training: pruned, estimated, as the released code does it, and neither.

    Rows are pictures at several shares of the code kept.
    """
    preset = PRESETS[request.preset]
    base = preset.pruning
    changes: dict[str, dict] = {
        BEFORE: {},
        TUNED: {},
        **{label: {"pruning": replace(base, keep=keep), "search": preset.search} for label, keep in PRUNED.items()},
        **{label: {"lam": lam, "search": preset.search} for label, lam in ESTIMATED.items()},
        **{label: {"pruning": replace(base, **of)} for label, of in VARIED.items()},
        "released": {"pruning": replace(RELEASED, keep=base.keep, rho=0.1, interval=base.interval)},
        "16 channels": {"shape": _half(preset)},
    }
    found = []
    for seed in range(request.seed, request.seed + preset.seeds):
        first = seed == request.seed
        for label in preset.labels if first else HEADLINE:
            if preset.tuning and label in WHOLE:
                continue  # it is one of `unpruned_plans`
            options = changes[label] | ({} if first else {"search": False}) | _tuned(request, seed)
            shares = _shares(label, options.get("pruning"), first)
            found.append(_training("cae_admm", request, label, seed, shares, **options))
    return found


def unpruned_plans(request: Request) -> list[CodePlan]:
    """Unpruned models, one for each seed, that the others are fine-tuned from; none at presets without `tuning`."""
    preset = PRESETS[request.preset]
    if preset.tuning is None:
        return []
    seeds = range(request.seed, request.seed + preset.seeds)
    found = [_training("cae_admm_unpruned", request, BEFORE, seed, _shares(BEFORE, None, seed == request.seed))
             for seed in seeds]  # fmt: skip
    return [*found, _training("cae_admm_unpruned", request, "16 channels", request.seed, shape=_half(preset))]


def _half(preset: Preset) -> Shape:
    """The shape with half of the channels in the code."""
    return Shape(preset.width, 16, preset.depth, preset.padding, preset.outer)


def schedule_plans(request: Request) -> list[CodePlan]:
    """The ablation `SCHEDULES`; none at presets whose own schedule has no remedy."""
    preset = PRESETS[request.preset]
    if preset.pruning == replace(preset.pruning, **SCHEDULES["plain"][1]):
        return []
    return [_training("cae_admm_schedules", request, label, request.seed, pruning=replace(preset.pruning, **of),
                      **_tuned(request, request.seed)) for label, (_, of) in SCHEDULES.items()]  # fmt: skip


def _tuned(request: Request, seed: int) -> dict[str, Any]:
    """Options of a training that is fine-tuned from the unpruned model of that seed; none without `tuning`."""
    tuning = PRESETS[request.preset].tuning
    if tuning is None:
        return {}
    # Without the model of a further seed, plans of that seed are listed all the same; `CodePlan.train` refuses.
    asked = replace(request, planned=request.planned or seed != request.seed)
    path, key = made_before(_training("cae_admm_unpruned", request, BEFORE, seed), asked)
    return {"descent": tuning, "first": path, "first_key": key}


def _training(
    study: str, request: Request, label: str, seed: int, shares: tuple[float, ...] = (1.0,), **options: Any
) -> CodePlan:
    """One training of the preset, with some options of its own."""
    preset, chosen = PRESETS[request.preset], sets(request)
    default: dict[str, Any] = {
        "shape": Shape(preset.width, 32, preset.depth, preset.padding, preset.outer), "descent": preset.descent,
        "search": False,
    }  # fmt: skip
    return CodePlan(
        study=study, name=name_of("code", label, seed, chosen["train_on"], request.preset), label=label,
        preset=request.preset, seed=seed, device=request.device, arithmetic=request.trained_in(preset.arithmetic),
        count=preset.pictures,
        out=request.out, scored=preset.scored, pictures_of=request.pictures_of or "kodak", shares=shares,
        **default | options, **chosen,
    )  # fmt: skip


def variant_plans(request: Request) -> list[CodePlan]:
    """Pruned to the paper's share as the released code trains; none where the preset does so anyway.

    A model that is fine-tuned inherits slopes and borders, so it has no variant of these.
    """
    preset, begun = PRESETS[request.preset], _tuned(request, request.seed)
    descent = preset.tuning or preset.descent
    found: dict[str, dict[str, Any]] = {"fresh crops": begun | {"descent": replace(descent, crops="fresh")}}
    if not begun:
        reflecting = Shape(preset.width, 32, preset.depth, "reflect", preset.outer)
        found["reflection, slope 0.25"] = {"descent": replace(descent, slope=0.25), "shape": reflecting}
    return [_training("cae_admm_variants", request, label, request.seed, pruning=preset.pruning, **of)
            for label, of in found.items() if of["descent"] != descent]  # fmt: skip


def _shares(label: str, pruning: Pruning | None, first: bool) -> tuple[float, ...]:
    """All of the unpruned model and of the headline's first seed; else the code as it is, and at its own share."""
    if first and label in (BEFORE, TUNED, *HEADLINE):
        return SHARES
    return (1.0, pruning.keep) if first and pruning and label in PRUNED else (1.0,)


@dataclass(frozen=True, kw_only=True)
class MixedPlan(Plan):
    """A row of Table 1 or 2: a codec at one setting on the mixed set.

    The paper's mixed set holds Urban100 and Manga109; here it is Kodak and the test pictures of BSDS500. What is near
    0.6 bpp is chosen on validation pictures, one setting for all pictures. Seconds are of one thread, from picture to
    file to picture, with as many rows side by side as there are workers; run it on a machine that has nothing else to
    do.

    Parameters
    ----------
    parts : tuple of str
        The sets.
    count : int, optional
        How many pictures of each; all by default.
    """

    label: str
    codec: str
    options: dict
    parts: tuple[str, ...]
    count: int | None

    def config(self) -> dict:
        """All that decides the result."""
        options = dict(self.options)
        if "model" in options:
            options["model"] = pretrained.load(Path(options["model"])).key
        shown = self.shown()
        return {
            "profile": self.preset, "seed": self.seed, "device": torch.device(self.device).type,
            "data": "mixed" if len(self.parts) > 1 else self.parts[0], "pictures": len(shown),
            "data_sha256": data.fingerprint(shown), "codec": self.codec, "label": self.label, "options": options,
        }  # fmt: skip

    def shown(self) -> dict[str, np.ndarray]:
        """The pictures, by set and name."""
        return {f"{part}/{key}": picture for part in self.parts for key, picture in pictures(part, self.count).items()}

    def pieces(self) -> tuple[str, ...]:
        """One: seconds of one row are comparable."""
        return ("all",)

    def measure(self, work: Work, piece: str) -> list[dict]:
        """A row a picture."""
        models = Models(self.options["model"]) if "model" in self.options else None
        shown, rows = self.shown(), []
        own = get_codec(self.codec, **self.options, **({"models": models} if models else {}))
        own.encode(next(iter(shown.values())))  # a first call pays for what is loaded once
        for name, picture in shown.items():
            work.seconds_left()
            measured = evaluate(own, picture)
            row = {"picture": name, "setting": 1.0} | row_of(measured, 8 * measured.bytes)
            if models:
                row |= _of_code(read_symbols(unpack(measured.data), models)[1])
            rows.append(row | _by_patches(picture, measured.reconstruction))
        return rows

    def result(self, rows: list[dict], trained: dict | None, work: Work) -> dict:
        """How many rows ran at once."""
        return {"side_by_side": work.side_by_side}

    def seconds(self, rows: list[dict], trained: dict | None, spent: float) -> float:
        """Of encoding and decoding alone: what SSIM takes is no part of the row."""
        return sum(map(seconds, rows))


def mixed_plans(request: Request) -> list[MixedPlan]:
    """Tables 1 and 2: codes before and after pruning, and codecs near 0.6 bpp with their seconds; one record a row."""
    preset, of = PRESETS[request.preset], request.pictures_of
    parts = ("kodak", "bsds500/test") if of in (None, "mixed") else (of,)
    request = replace(request, pictures_of="kodak" if len(parts) > 1 else of)
    return [
        MixedPlan(
            study="cae_admm_mixed", name=f"{label}-{request.preset}".replace(" ", "-"), preset=request.preset,
            seed=request.seed, device=request.device, label=label, codec=codec, options=options, parts=parts,
            count=preset.mixed,
        )
        for label, (codec, options) in _table_rows(request).items()
    ]  # fmt: skip


def _table_rows(request: Request) -> dict[str, tuple[str, dict]]:
    """For each row of the two tables a codec and its options."""
    needed = (BEFORE, *PRUNED, *ESTIMATED)
    plain = {label: kept(plan.model_file) for label, plan in _compared(request).items() if label in needed}
    if absent := [path.stem for path in plain.values() if not path.exists()]:
        raise InputError(f"there is no model {absent[0]}: make it first, with `python -m reproduce study cae_admm`")
    scored = list(pictures(sets(request)["validate_on"], VALIDATION).values())
    rows: dict[str, tuple[str, dict]] = {label: ("cae-admm", {"model": str(plain[label])}) for label in (BEFORE, AFTER)}
    for codec, labels in (("cae-admm", PRUNED), ("cae-theis", ESTIMATED)):
        found = [_near(str(plain[label]), scored) for label in labels if label in plain]
        rows[f"{codec} near 0.6"] = codec, max(found, key=lambda one: one[0])[1]
    quality = _nearest(range(95, 4, -1), lambda quality: _mean_bpp("jpeg", {"quality": quality}, scored))
    rows["jpeg"] = "jpeg", {"quality": quality}
    rows["jpeg2000"] = "jpeg2000", {"rate": NEAR}
    rows["jpeg2000 no transform"] = "jpeg2000", {"rate": NEAR, "colour_transform": False}
    return rows


def _compared(request: Request) -> dict[str, CodePlan]:
    """The first seed's trainings by label; `BEFORE` is the one that was trained for as many steps as the others."""
    found = {plan.label: plan for plan in (*unpruned_plans(request), *plans(request)) if plan.seed == request.seed}
    return found | ({BEFORE: found[TUNED]} if TUNED in found else {})


def _near(model: str, scored: list[np.ndarray]) -> tuple[float, dict]:
    """The share of a model's code whose files are nearest to 0.6 bpp in the mean; SSIM, and the codec's options.

    A model that does not come within 10 % counts as the worst.
    """
    stored = pretrained.load(Path(model))
    codes = [latent_of(stored, picture) for picture in scored]
    pixels = [picture.shape[0] * picture.shape[1] for picture in scored]

    def rate(share: float) -> float:
        shorter = [pruned(code, share) for code in codes]
        return float(np.mean([integer_latents.bits(code, stored.counts, integer_latents.threshold_of(code)) / n
                              for code, n in zip(shorter, pixels, strict=True)]))  # fmt: skip

    share = _nearest([round(0.9**k, 5) for k in range(40)], rate)
    options = {"model": model} | ({} if share == 1 else {"keep": share})
    if abs(rate(share) / NEAR - 1) > 0.1:
        return 0.0, options
    pairs = [(picture, stored.decode(pruned(code, share), *picture.shape[:2]))
             for code, picture in zip(codes, scored, strict=True)]  # fmt: skip
    return float(np.mean([metrics.ssim(reference=a, reconstruction=b) for a, b in pairs])), options


def _nearest(settings: Sequence[float], rate: Callable[[float], float]) -> float:
    """The setting whose rate is nearest to 0.6 bpp; rates fall along the settings."""
    below = bisect_left(settings, True, key=lambda setting: rate(setting) <= NEAR)
    return min(settings[max(0, below - 1) : below + 1], key=lambda setting: abs(rate(setting) - NEAR))


def _mean_bpp(codec: str, options: dict, scored: list[np.ndarray]) -> float:
    own = get_codec(codec, **options)
    return float(np.mean([8 * len(own.encode(picture)) / (picture.shape[0] * picture.shape[1]) for picture in scored]))


@dataclass(frozen=True, kw_only=True)
class RoundingPlan(PicturePlan):
    """What a trained model loses where its code is rounded at random in use, too, as the released code does.

    Parameters
    ----------
    label : str
    model : Path
    key : str
    draws : tuple of int
        Seeds of the random rounding.
    """

    label: str
    model: Path
    key: str
    draws: tuple[int, ...] = (0, 1, 2)

    def config(self) -> dict:
        """What it adds to the configuration."""
        return super().config() | {
            "codec": "cae-admm", "label": self.label, "model": self.key, "draws": list(self.draws),
        }  # fmt: skip

    def measure(self, work: Work, piece: str) -> list[dict]:
        """One picture: to the nearest, and at random for each seed."""
        picture, models, rows = self.shown()[piece], Models(self.model), []
        stored = models.find(self.model)
        for draws in (None, *self.draws):
            measured = evaluate(get_codec("cae-admm", model=str(self.model), models=models, draws=draws), picture)
            symbols = read_symbols(unpack(measured.data), models)[1]
            estimate = integer_latents.bits(symbols, stored.counts, integer_latents.threshold_of(symbols))
            setting = "nearest" if draws is None else f"random {draws}"
            rows.append({"picture": piece, "setting": setting} | row_of(measured, round(estimate)) | _of_code(symbols))
        return rows


def rounding_plans(request: Request) -> list[RoundingPlan]:
    """The unpruned model and the one pruned to the paper's share; one record each."""
    found = []
    for label, plan in _compared(request).items():
        if label not in (BEFORE, AFTER):
            continue
        path = kept(plan.model_file)
        if not path.exists():
            raise InputError(f"there is no model {path.stem}: make it first, with `python -m reproduce study cae_admm`")
        found.append(RoundingPlan(
            study="cae_admm_rounding", name=f"rounding-{label}-{request.preset}".replace(" ", "-"),
            preset=request.preset, seed=request.seed, device=request.device, pictures_of=plan.pictures_of,
            count=plan.count, label=label, model=path, key=pretrained.load(path).key,
        ))  # fmt: skip
    return found


STUDIES = {
    "cae_admm": plans, "cae_admm_mixed": mixed_plans, "cae_admm_variants": variant_plans,
    "cae_admm_rounding": rounding_plans, "cae_admm_unpruned": unpruned_plans, "cae_admm_schedules": schedule_plans,
}  # fmt: skip

# The released code's way of measuring ---------------------------------------------------------------------------------


def _of_code(symbols: np.ndarray) -> dict:
    """What a row says of a code: its share of zeros, and the released code's "bpp"."""
    return {"zeros": round(float((symbols == 0).mean()), 5), "nats": round(released_bpp(symbols), 5)}


def _by_patches(reference: np.ndarray, reconstruction: np.ndarray) -> dict:
    """What a row says of SSIM by patches: null where it is not defined."""
    measured = patch_ssim(reference, reconstruction)
    return {"ssim_patches": None if measured is None else round(measured, 5)}


def released_bpp(symbols: np.ndarray) -> float:
    """What the released code prints as "bpp": the entropy, in nats, of a patch's symbols, over its pixels; the mean of
    all patches of 128 x 128.

    All channels of a patch go into one histogram of its own, which no file would hold. For a code int ``(C, h, w)``
    patches are 16 x 16 places; what is left at the borders makes smaller ones, weighed by their size.
    """
    side, nats = PATCH // SCALE, 0.0
    channels, rows, columns = symbols.shape
    for top, left in product(range(0, rows, side), range(0, columns, side)):
        patch = symbols[:, top : top + side, left : left + side]
        counts = np.unique(patch, return_counts=True)[1]
        nats -= float(counts @ np.log(counts / counts.sum()))
    return nats / (rows * columns * SCALE**2)


def patch_ssim(reference: np.ndarray, reconstruction: np.ndarray) -> float | None:
    """SSIM as the released code has it: of patches of 128 x 128, and their mean, so that no window crosses a border.

    Patches that the picture's borders cut are left out; a picture smaller than one patch is measured whole.
    None where SSIM is not defined (`metrics.ssim`).
    """
    height, width, _ = reference.shape
    if min(height, width) < PATCH:
        return metrics.ssim(reference=reference, reconstruction=reconstruction)
    tops, lefts = range(0, height - PATCH + 1, PATCH), range(0, width - PATCH + 1, PATCH)
    return float(np.mean([
        metrics.ssim(reference=reference[top : top + PATCH, left : left + PATCH],
                     reconstruction=reconstruction[top : top + PATCH, left : left + PATCH])
        for top, left in product(tops, lefts)
    ]))  # fmt: skip


# Numbers out of records -----------------------------------------------------------------------------------------------

BITS = 1 / math.log(2)  # in a nat
FAMILIES = {"pruned": tuple(PRUNED), "estimated": tuple(ESTIMATED), "unpruned": (BEFORE,)}
FAMILIES |= {label: (label,) for label in ("released", "16 channels")}
FILES = ("all", "code", "share")
TRAININGS = ("cae_admm_unpruned", "cae_admm")  # the studies of all that has a name in `NAMES`


def made(records: Records, studies: tuple[str, ...] = TRAININGS, **where: object) -> list[RunRecord]:
    """The trainings that count: measured on Kodak, trained on BSDS500, not on a folder of a reader's own."""
    found = [record for study in studies for record in records.find(study, data="kodak", **where)]
    return [r for r in found if r.config["train"]["data"] == TRAINED_ON]


def training(records: Records, label: str, seed: int = 0, files: str = "all") -> RunRecord:
    """The record of one training with the rows of some files alone, see `family`; `LookupError` where it is missing."""
    others: dict[str, dict] = {"cae_admm_variants": VARIANTS, "cae_admm_schedules": SCHEDULES}
    studies = tuple(study for study, own in others.items() if label in own) or TRAININGS
    record = _one(made(records, studies, label=label, seed=seed), f"{label}, seed {seed}", studies[-1])
    if files not in FILES:
        raise InputError(f"files={files!r}: one of {', '.join(FILES)} is needed")
    if files == "all":
        return record
    if files == "share" and not record.config["pruning"]:
        raise LookupError(f"{record.name} was not pruned in training, so it aimed at no share of a code")
    share = record.config["pruning"]["keep"] if files == "share" else 1.0
    return replace(record, rows=[row for row in record.rows if row["setting"] == share])


def unpruned(records: Records) -> str:
    """The label of the unpruned model that others are compared with: trained for as many steps as they."""
    return TUNED if made(records, label=TUNED) else BEFORE


def members(records: Records, family: str) -> tuple[str, ...]:
    """The labels of one of `FAMILIES`."""
    return (unpruned(records),) if family == "unpruned" else FAMILIES[family]


def mixed(records: Records, label: str) -> RunRecord:
    """The record of one row of Tables 1 and 2: Kodak and the test pictures of BSDS500."""
    found = records.find("cae_admm_mixed", data="mixed", label=label)
    ours = {r.result["model"] for r in made(records)} | {None}
    return _one([r for r in found if r.config["options"].get("model") in ours], label, "cae_admm_mixed")


def _one(found: list[RunRecord], what: str, study: str) -> RunRecord:
    if len(found) != 1:
        raise LookupError(f"{len(found)} records of {what}, where one is needed: `python -m reproduce study {study}`")
    return found[0]


def seeds_of(records: Records, label: str) -> list[int]:
    """From which seeds a label was trained."""
    return sorted(r.config["seed"] for r in made(records, (*TRAININGS, "cae_admm_variants"), label=label))


def rounding(records: Records, label: str = AFTER) -> RunRecord:
    """The record of rounding to the nearest and at random in use, of one trained model."""
    return _one(records.find("cae_admm_rounding", data="kodak", label=label), label, "cae_admm_rounding")


def random_rounding(records: Records, column: str = "bpp", label: str = AFTER) -> float:
    """What rounding at random in use adds to a column's mean over pictures and draws; to "bpp" in per cent."""
    record = rounding(records, label)
    drawn, nearest = _at_random(record, column), record.mean(column, setting="nearest")
    return 100 * (drawn / nearest - 1) if column == "bpp" else drawn - nearest


def _at_random(record: RunRecord, column: str) -> float:
    """Mean over pictures and draws."""
    return float(np.mean([record.mean(column, setting=f"random {seed}") for seed in record.config["draws"]]))


def random_rounding_at_rate(records: Records) -> float:
    """How far the SSIM of codes rounded at random in use lies above that of pruned models, of as many bytes, whose
    codes are rounded to the nearest; below 0 where it is lower.
    """
    record = rounding(records)
    return _at_random(record, "ssim") - family(records, "pruned", files="code").at(_at_random(record, "bpp"))


def updates(record: RunRecord) -> int:
    """How often ADMM updated Z and U (a history is thinned above 200)."""
    return len(record.result["admm"]["step"])


def over_seeds(records: Records, label: str, column: str) -> tuple[float, float]:
    """Mean over the seeds of a label, its codes as the encoder makes them, and the standard deviation (nan for one)."""
    values = [training(records, label, seed).mean(column, setting=1.0) for seed in seeds_of(records, label)]
    if not values:
        raise LookupError(f"no records of {label}: make them with `python -m reproduce study cae_admm`")
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


# Tables 1 and 2 -------------------------------------------------------------------------------------------------------


def seconds(row: dict) -> float:
    """From picture to file to picture."""
    return row["encode_seconds"] + row["decode_seconds"]


def gain(records: Records, label: str, metric: str = "ssim") -> float:
    """What a variant gains over "keep 10" at equal bytes: of both, how far they lie above the estimated models."""
    return above(records, label, "estimated", metric) - above(records, AFTER, "estimated", metric)


def interval(record: RunRecord, column: str | Callable[[dict], float], unit: float = 1.0) -> tuple[float, float]:
    """Mean over pictures and half of its 95 % interval, ``1.96 s / sqrt(n)`` with s their standard deviation."""
    of = column if callable(column) else lambda row: row[column]
    values = unit * np.array([of(row) for row in record.rows], dtype=float)
    return float(values.mean()), float(1.96 * values.std(ddof=1) / math.sqrt(len(values)))


def printed(series: str, metric: str, where: str) -> float:
    """One number of Table 1 or 2 as the paper prints it."""
    (row,) = published("cae_admm", where=where, series=series, metric=metric)
    return row["value"]


def saved(before: float, after: float) -> float:
    """Per cent that ``after`` is less than ``before``."""
    return 100 * (1 - after / before)


def rate_saved(records: Records, column: str = "bpp") -> float:
    """Per cent that pruning takes off the mean rate on the mixed set: of files ("bpp"), or as "nats"."""
    return saved(*(mixed(records, label).mean(column) for label in (BEFORE, AFTER)))


def zeros_gained(records: Records) -> float:
    """Points by which pruning raises the share of zeros on the mixed set."""
    before, after = (mixed(records, label).mean("zeros") for label in (BEFORE, AFTER))
    return 100 * (after - before)


def near(records: Records, label: str) -> RunRecord:
    """A row of Table 2; `LookupError` where its files are not within 10 % of 0.6 bpp."""
    record = mixed(records, label)
    if abs(record.mean("bpp") / NEAR - 1) > 0.1:
        raise LookupError(f"the files of {label} have {record.mean('bpp'):.3f} bpp on the mixed set, not about {NEAR}")
    return record


def ssim_over(records: Records, other: str, of: str = "cae-admm near 0.6") -> float:
    """Mean difference in SSIM near 0.6 bpp over the same pictures."""
    ours, theirs = ({row["picture"]: row["ssim"] for row in near(records, label).rows} for label in (of, other))
    if set(ours) != set(theirs):
        raise LookupError(f"the records of {of} and {other} are of different pictures")
    return float(np.mean([ours[name] - theirs[name] for name in ours]))


def time_over(records: Records, other: str) -> float:
    """Our mean time from picture to file to picture near 0.6 bpp over another codec's, one thread each."""
    ours, theirs = (interval(near(records, label), seconds)[0] for label in ("cae-admm near 0.6", other))
    return ours / theirs


# Figure 2 -------------------------------------------------------------------------------------------------------------


def family(records: Records, name: str, metric: str = "ssim", files: str = "all", seed: int = 0) -> Curve:
    """Mean quality over mean rate of files on Kodak, both rising: no point that a smaller file equals.

    Parameters
    ----------
    name : str
        The models of `FAMILIES` together; or a standard codec, "jpeg" or "jpeg2000", as fairly as in chapter 01.
    metric : str
        A column of the rows.
    files : {"all", "code", "share"}
        Of our models: at every share of the code that was measured; the code as the encoder makes it; or of what was
        pruned as many entries as its training aimed at.
    """
    if name not in FAMILIES:
        return baselines.curve(records, name, metric)
    return Curve.rising(*_curves(records, name, metric, files, seed))


def _curves(records: Records, name: str, metric: str, files: str, seed: int = 0) -> list[Curve]:
    return [training(records, label, seed, files).curve(metric) for label in members(records, name)]


def pair(records: Records, of: str, over: str, metric: str = "ssim", files: str = "all") -> tuple[Curve, Curve]:
    """Two families' curves that are compared.

    ``files`` is of the first one; of estimated models it is "code" beside "code" and "share", else every file counts.
    """
    theirs = "code" if over == "estimated" and files != "all" else "all"
    return family(records, of, metric, files), family(records, over, metric, theirs)


def difference(records: Records, of: str, over: str, metric: str = "ssim", files: str = "all") -> BD:
    """Mean vertical distance of a `pair` at equal bytes, above 0 where the first is better; and over which rates."""
    ours, theirs = pair(records, of, over, metric, files)
    return ours.better(theirs)


def bytes_more(records: Records, of: str, over: str, metric: str = "ssim", files: str = "all") -> BD:
    """Per cent of bytes that the first of a `pair` needs more (below 0: fewer) at equal quality; and over which."""
    ours, theirs = pair(records, of, over, metric, files)
    return ours.longer(theirs)


def above(records: Records, label: str, over: str, metric: str = "ssim", seed: int = 0) -> float:
    """How far one training's codes, as its encoder makes them, lie above a family's curve at their own rate.

    The curve of estimated models is of codes as their encoders make them, too; of others every file counts.
    """
    record = training(records, label, seed, "code")
    files = "code" if over == "estimated" else "all"
    return record.mean(metric) - family(records, over, metric, files).at(record.mean("bpp"), over)


def headline(records: Records, metric: str = "ssim") -> tuple[float, float]:
    """ "keep 10" against "lambda 400" over the seeds that both have, at equal bytes: mean and standard deviation.

    Of each seed the difference of how far the two lie above the curve of the estimated models of the first seed.
    """
    pruned, estimated = HEADLINE
    shared = sorted(set(seeds_of(records, pruned)) & set(seeds_of(records, estimated)))
    if len(shared) < 2:
        raise LookupError(
            f"{len(shared)} seeds of {pruned} and {estimated}, where two are needed: "
            "`python -m reproduce study cae_admm`"
        )
    each = [
        above(records, pruned, "estimated", metric, s) - above(records, estimated, "estimated", metric, s)
        for s in shared
    ]
    return float(np.mean(each)), float(np.std(each, ddof=1))


def comparator(series: str, metric: str = "ssim") -> Curve:
    """A curve of Figure 2 as its authors digitised it from Theis et al. 2017."""
    rows = published("cae_admm", where="Fig. 2", series=series, metric=metric)
    return Curve.of((row["x"], row["value"]) for row in rows)


def points(metric: str = "ssim", bits: bool = False) -> list[tuple[float, float]]:
    """The paper's own points of Figure 2, but the two that its authors dropped; rates as printed, or nats in bits."""
    rows = published("cae_admm", where="Fig. 2", series="CAE-ADMM", metric=metric, setting="")
    return [(row["x"] * (BITS if bits else 1), row["value"]) for row in rows]


def points_over(curve: Curve, metric: str = "ssim", bits: bool = False) -> float:
    """Mean of how far the paper's own points lie above a curve, of those that it has rates for."""
    inside = [(rate, value) for rate, value in points(metric, bits) if curve.rates[0] <= rate <= curve.rates[-1]]
    if not inside:
        raise LookupError(f"no printed point lies between {curve.rates[0]:.3f} and {curve.rates[-1]:.3f} bpp")
    return float(np.mean([value - curve.at(rate) for rate, value in inside]))


# What the released code does ------------------------------------------------------------------------------------------


def nats_to_files(records: Records, label: str = "cae-admm near 0.6") -> float:
    """Bits per pixel of files over what the released code prints as "bpp", on the mixed set."""
    return mixed(records, label).mean("bpp") / mixed(records, label).mean("nats")


def on_kodak(records: Records, label: str) -> RunRecord:
    """`mixed`, with the rows of Kodak alone, whose pictures are whole patches of 128 x 128."""
    record = mixed(records, label)
    if rows := [row for row in record.rows if row["picture"].startswith("kodak/")]:
        return replace(record, rows=rows)
    raise LookupError(f"the record of {label} has no picture of Kodak")


def patches_to_whole(records: Records, label: str = "cae-admm near 0.6") -> float:
    """How much higher SSIM is as the mean over patches of 128 x 128 than of whole pictures, on Kodak.

    On other pictures the difference would include the borders, which no patch covers.
    """
    return float(np.mean([row["ssim_patches"] - row["ssim"] for row in on_kodak(records, label).rows]))


def lost_in_use(records: Records, label: str, share: float = 0.1) -> float:
    """SSIM that a training's codes lose when only a share of them is kept in use, on Kodak."""
    record = training(records, label)
    if not {1.0, share} <= {row["setting"] for row in record.rows}:
        raise LookupError(f"{label} was not measured with {share} of its code kept")
    return record.mean("ssim", setting=1.0) - record.mean("ssim", setting=share)


def overlap(records: Records, keep: float | None = None, codes: int = 16) -> float:
    """Per cent of the l largest entries that the released code keeps: of normal codes, as large as a crop's."""
    keep = printed("all", "elements_kept", "training") / 100 if keep is None else keep
    v = torch.randn(codes, 32, 16, 16, generator=torch.Generator().manual_seed(0))
    right, found = admm.top_l(v, keep) != 0, admm.released(v, keep) != 0
    return 100 * float((right & found).sum() / right.sum())


# Measures of claims beside those above --------------------------------------------------------------------------------


def on_mixed(records: Records, label: str, column: str) -> float:
    """Mean of a column over the mixed set; zeros in per cent."""
    return mixed(records, label).mean(column) * (100 if column == "zeros" else 1)


def ssim_near(records: Records, label: str) -> float:
    """Mean SSIM of a row of Table 2."""
    return near(records, label).mean("ssim")


def curves(records: Records, of: str, over: str, metric: str = "ssim") -> float:
    """`difference` in the unit of the quality."""
    return difference(records, of, over, metric).value


def at_points(records: Records, metric: str, bits: bool) -> float:
    """How far our pruned models lie above the paper's own points, at their rates; SSIM by patches, as there."""
    column = "ssim_patches" if metric == "ssim" else metric
    return -points_over(family(records, "pruned", column), metric, bits)


def theis_points(records: Records, metric: str, bits: bool) -> float:
    """How far the paper's own points lie above its curve of the original CAE."""
    return points_over(comparator("Theis et al. 2017", metric), metric, bits)


def families_at(records: Records, of: str, over: str, bpp: float) -> float:
    """Difference in SSIM of two families at a rate of files."""
    return family(records, of).at(bpp, of) - family(records, over).at(bpp, over)


def released_rate(records: Records) -> float:
    """Per cent that pruning as released takes off the rate of files on Kodak."""
    labels = (unpruned(records), "released")
    return saved(*(training(records, label, files="code").mean("bpp") for label in labels))


def released_zeros(records: Records) -> float:
    """Points by which pruning as released raises the share of zeros on Kodak."""
    labels = (unpruned(records), "released")
    before, after = (training(records, label, files="code").mean("zeros") for label in labels)
    return 100 * (after - before)


def bears(records: Records, of: str, over: str) -> float:
    """SSIM that one training's codes lose less than another's when 10 % of them are kept in use."""
    return lost_in_use(records, over) - lost_in_use(records, of)


# Data of figures and tables -------------------------------------------------------------------------------------------

QUALITIES = {"ssim": ("SSIM", 4), "ms_ssim": ("MS-SSIM", 4), "psnr": ("PSNR in dB", 2)}  # column and digits
DRAWN = (  # family, files and name of our lines in Figure 2
    ("pruned", "code", "ours, pruned by ADMM"),
    ("estimated", "code", "ours, entropy estimated"),
    ("unpruned", "code", "ours, unpruned"),
    ("released", "code", "ours, pruned as released"),
    ("16 channels", "code", "ours, unpruned, 16 channels"),
    ("pruned", "share", "ours, pruned by ADMM, only that share kept"),
    ("unpruned", "all", "ours, pruned in use only"),
)
COMPARED = ("Theis et al. 2017", "Toderici et al. 2017", "JPEG", "JPEG 2000")  # curves of the paper's Figure 2
ROWS = {  # of Table 2, and the paper's name for them
    "cae-admm near 0.6": ("pruned by ADMM, ours", "CAE-ADMM"),
    "cae-theis near 0.6": ("entropy estimated, ours", None),
    "jpeg": ("JPEG", "JPEG"),
    "jpeg2000": ("JPEG 2000", "JPEG 2000"),
    "jpeg2000 no transform": ("JPEG 2000, no colour transform", None),
}
FAIR = (  # family, files and name of a curve, and with what it is compared
    ("pruned", "code", "pruned by ADMM, as the encoder makes it", "estimated", "entropy estimated, likewise"),
    ("pruned", "share", "pruned by ADMM, only that share kept", "estimated", "entropy estimated, as it is made"),
    ("pruned", "all", "pruned by ADMM, every file", "estimated", "entropy estimated, every file"),
    ("pruned", "all", "pruned by ADMM, every file", "unpruned", "neither, pruned in use"),
    ("pruned", "all", "pruned by ADMM, every file", "jpeg", "JPEG"),
    ("pruned", "all", "pruned by ADMM, every file", "jpeg2000", "JPEG 2000"),
    ("estimated", "all", "entropy estimated, every file", "jpeg", "JPEG"),
    ("estimated", "all", "entropy estimated, every file", "jpeg2000", "JPEG 2000"),
)


def rate_distortion(records: Records, metric: str = "ssim") -> FigureData:
    """Figure 2: quality over the rate of files on Kodak ("psnr" is not in the paper).

    A row has a ``kind``: "code", one point a training, its code as the encoder makes it; "share", of every pruned model
    as many entries as its training aimed at; "all", one unpruned model's code pruned in use; "standard", a standard
    codec; "printed", the paper's own points, as printed and if they are nats; "compared", a curve from its Figure 2.
    """
    rows = []
    for name, files, title in DRAWN:
        curves = _curves(records, name, metric, files)
        rows.append(line(name, title, sorted(point for of in curves for point in zip(*of, strict=True)), kind=files))
    standard = {codec: family(records, codec, metric) for codec in ("jpeg", "jpeg2000")}
    rows += [line(codec, f"{baselines.NAMES[codec]}, our files", zip(*curve, strict=True), kind="standard")
             for codec, curve in standard.items()]  # fmt: skip
    if metric != "psnr":
        rows += [line("paper", f"the paper, {how}", points(metric, bits), kind="printed")
                 for how, bits in (("as printed", False), ("nats in bits", True))]  # fmt: skip
    rows += [line(name, f"{name}, in the paper", zip(*curve, strict=True), kind="compared")
             for name in COMPARED if (curve := comparator(name, metric)).rates]  # fmt: skip
    used = [training(records, label) for name in FAMILIES for label in members(records, name)]
    return FigureData(rows, used + [record for codec in standard for record in baselines.baselines(records, codec)])


def _shown() -> tuple[str, np.ndarray]:
    """Kodak's kodim21, or the astronaut where Kodak is not at hand."""
    name = "kodim21" if data.available("kodak") else "astronaut"
    return name, (data.kodak if name == "kodim21" else data.bundled)()[name]


def _stored(records: Records, label: str, models: Models) -> Stored:
    """The model of a training; `LookupError` where the one that is here is another."""
    result = training(records, label).result
    try:
        stored = models.find(result["file"])
    except ValueError as error:
        raise LookupError(str(error)) from error
    if stored.key != result["model"]:
        raise LookupError(f"the model {result['file']} is not the one of its record")
    return stored


def _scored(file: bytes, original: np.ndarray, models: Models | None = None) -> tuple[float, float, np.ndarray]:
    """SSIM, bits per pixel and picture of a file."""
    picture = decode(file, models=models)
    rate = metrics.bpp(data=file, height=original.shape[0], width=original.shape[1])
    return metrics.ssim(reference=original, reconstruction=picture) or 0.0, rate, picture


def details(records: Records, bpp: float = 0.3, side: int = 208, models: Models | None = None) -> FigureData:
    """Figure 3: a picture, and its files of at most ``bpp`` by JPEG, JPEG 2000 and the best of our pruned models.

    ``side`` pixels of each; SSIM and PSNR are of the whole picture. The best is the one of the highest SSIM.
    """
    (name, original), models, found = _shown(), models or default_models(), []
    for label in PRUNED:
        own = get_codec("cae-admm", model=_stored(records, label, models).name, models=models)
        with suppress(BudgetError):
            found.append(_scored(own.at_bpp(original, bpp), original, models))
    if not found:
        raise LookupError(f"no pruned model makes a file of at most {bpp} bpp")
    shown = {f"{name}, original\n24 bpp": original}
    files = {baselines.NAMES[codec]: _scored(get_codec(codec).at_bpp(original, bpp), original)
             for codec in ("jpeg", "jpeg2000")}  # fmt: skip
    for codec, (ssim, rate, picture) in (files | {"pruned by ADMM": max(found, key=lambda of: of[0])}).items():
        psnr = metrics.psnr(reference=original, reconstruction=picture)
        shown[f"{codec}, {rate:.2f} bpp\nSSIM {ssim:.3f}, {psnr:.2f} dB"] = picture
    row, column = (260 - side // 2, 300 - side // 2) if name == "kodim21" else (128 - side // 2, 228 - side // 2)
    rows = [{"title": title, "of": name, "picture": picture[row : row + side, column : column + side]}
            for title, picture in shown.items()]  # fmt: skip
    return FigureData(rows, [training(records, label) for label in PRUNED])


def codes(records: Records, models: Models | None = None) -> FigureData:
    """Figure 4: a picture's code before and after pruning, and of the latter the share that its training aimed at."""
    name, original = _shown()
    labels = (unpruned(records), AFTER)
    before, after = (latent_of(_stored(records, label, models or default_models()), original) for label in labels)
    shown = {"before pruning": before, "after pruning, as the encoder makes it": after}
    shown[f"after pruning, {100 * PRUNED[AFTER]:g} % kept"] = pruned(after, PRUNED[AFTER])
    rows = [{"title": f"{name}, {title}: {100 * (code == 0).mean():.1f} % zeros", "of": name, "code": code}
            for title, code in shown.items()]  # fmt: skip
    return FigureData(rows, [training(records, label) for label in labels])


def residuals(records: Records) -> FigureData:
    """ADMM's residuals and the share of zeros in all crops' codes, over the steps of every training that was pruned."""
    others = [label for label in VARIED if seeds_of(records, label)]  # some presets have none
    used = [training(records, label) for label in (*PRUNED, *others, "released")]
    return _residuals(used, NAMES)


def schedule_residuals(records: Records) -> FigureData:
    """The same of one share by the schedules of `schedules_table` that have a Z and a U."""
    labels = [label for label, (_, of) in SCHEDULES.items() if of.get("until") != 0]
    used = [training(records, label) for label in (AFTER, *labels)]
    return _residuals(used, _schedules())


def _residuals(used: list[RunRecord], names: dict[str, str]) -> FigureData:
    rows = [{"series": record.config["label"], "name": names[record.config["label"]], **record.result["admm"]}
            for record in used]  # fmt: skip
    return FigureData(rows, used)


def _schedules() -> dict[str, str]:
    """The names of all schedules at one share, by label."""
    return {AFTER: "ρ balanced, then the projection"} | {label: name for label, (name, _) in SCHEDULES.items()}


def _with(of: Iterable[float], digits: int) -> str:
    """A number and what lies to either side of it, which one picture or seed does not have."""
    mean, half = of
    return f"{mean:.{digits}f}" + ("" if math.isnan(half) else f" ± {half:.{digits}f}")


def _as_printed(series: str, metric: str, where: str, digits: int) -> str:
    return _with((printed(series, name, where) for name in (metric, f"{metric}_ci95")), digits)


def table_1(records: Records) -> FigureData:
    """Table 1: rate and share of zeros on the mixed set before and after pruning, with 95 % intervals."""
    rows, series, nats = [], ("before pruning", "after pruning"), "nats, the released code's bpp"
    before, after = used = [mixed(records, label) for label in (BEFORE, AFTER)]
    for name, record in zip(series, used, strict=True):
        rows.append({
            "code": name,
            "bpp of the file": _with(interval(record, "bpp"), 3),
            nats: _with(interval(record, "nats"), 3),
            "these in bits": _with(interval(record, "nats", BITS), 3),
            "bpp as printed": _as_printed(name, "bpp", "Table 1", 3),
            "zeros %": _with(interval(record, "zeros", 100), 2),
            "zeros % as printed": _as_printed(name, "zeros", "Table 1", 2),
            "SSIM": _with(interval(record, "ssim"), 3),
            "pictures": f"{len(record.rows)}",
        })  # fmt: skip
    bpp, zeros = ([printed(name, metric, "Table 1") for name in series] for metric in ("bpp", "zeros"))
    rows.append({
        "code": "saved, or gained",
        "bpp of the file": f"{rate_saved(records):.1f} %",
        nats: f"{rate_saved(records, 'nats'):.1f} %",
        "these in bits": f"{rate_saved(records, 'nats'):.1f} %",
        "bpp as printed": f"{saved(*bpp):.1f} %",
        "zeros %": f"{zeros_gained(records):+.2f} points",
        "zeros % as printed": f"{zeros[1] - zeros[0]:+.2f} points",
        "SSIM": f"{after.mean('ssim') - before.mean('ssim'):+.3f}",
        "pictures": "",
    })  # fmt: skip
    return FigureData(rows, used)


def table_2(records: Records) -> FigureData:
    """Table 2: SSIM near 0.6 bpp and seconds from picture to file to picture, one thread, with 95 % intervals.

    The paper's printed numbers beside them; its JPEG 2000 stands in the row of the fair one.
    """
    rows, used = [], [mixed(records, label) for label in ROWS]
    for (name, series), record in zip(ROWS.values(), used, strict=True):
        rows.append({
            "codec": name,
            "setting": _setting(records, record.config["options"]),
            "bpp of the file": f"{record.mean('bpp'):.3f}",
            "SSIM": _with(interval(record, "ssim"), 3),
            "MS-SSIM": _with(interval(record, "ms_ssim"), 3),
            "seconds": _with(interval(record, seconds), 3),
            "bpp as printed": f"{printed(series, 'bpp', 'Table 2'):g}" if series else "–",
            "SSIM as printed": _as_printed(series, "ssim", "Table 2", 3) if series else "–",
            "seconds as printed": _as_printed(series, "seconds", "Table 2", 3) if series else "–",
        })  # fmt: skip
    return FigureData(rows, used)


def _setting(records: Records, options: dict) -> str:
    """What was chosen on validation pictures: of a trained codec its training, and the share that is kept in use."""
    if "model" not in options:
        return ", ".join(f"{name} {value:g}" for name, value in options.items() if not isinstance(value, bool))
    (label,) = (r.config["label"] for r in made(records) if r.result["model"] == options["model"])
    return f"{NAMES[label]}, {100 * options.get('keep', 1):.0f} % kept"


def fair_table(records: Records) -> FigureData:
    """Pruning against an estimate at equal bytes, on Kodak: mean vertical distances of curves, bytes at equal SSIM.

    Each by pchip over what both curves have, which is given in bpp. The last row is of points: one share against one
    price, over the seeds, ± their standard deviation.
    """
    rows = []
    for of, files, name, over, other in FAIR:
        row = {"curve": name, "against": other}
        for metric, (title, digits) in QUALITIES.items():
            ours, theirs = pair(records, of, over, metric, files)  # where a record is missing, there is no table
            row[title] = _cell(f"{{0.value:+.{digits}f}}", ours.better, theirs)
        ours, theirs = pair(records, of, over, files=files)
        row["bytes at equal SSIM"] = _cell("{0.value:+.1f} %", ours.longer, theirs)
        overlap = _cell("{0.overlap[0]:.2f} to {0.overlap[1]:.2f}", ours.better, theirs)
        rows.append(row | {"over bpp": "too few in common" if overlap == "–" else overlap})
    of, over = HEADLINE
    row = {"curve": NAMES[of], "against": f"{NAMES[over]}, seed by seed"}
    for metric, (title, digits) in QUALITIES.items():
        row[title] = _cell(f"{{0[0]:+.{digits}f}} ± {{0[1]:.{digits}f}}", headline, records, metric)
    rows.append(row | {"bytes at equal SSIM": "–", "over bpp": "at its own rate"})
    labels = [label for name in ("pruned", "estimated", "unpruned") for label in members(records, name)]
    used = [training(records, label, seed) for label in labels for seed in seeds_of(records, label)]
    return FigureData(rows, used + [r for codec in ("jpeg", "jpeg2000") for r in baselines.baselines(records, codec)])


def _cell(text: str, measure: Callable, *of: object) -> str:
    """What a measure gives, as text; a dash where it gives nothing."""
    try:
        return text.format(measure(*of))
    except LookupError:
        return "–"


def variants_table(records: Records) -> FigureData:
    """Every training on Kodak, its codes as the encoder makes them. ± is the standard deviation over seeds."""
    records.some("cae_admm")
    rows, names = [], NAMES | VARIANTS
    used = made(records) + made(records, ("cae_admm_variants",))
    for label in (label for label in names if label in {record.config["label"] for record in used}):
        seeds = seeds_of(records, label)
        record = training(records, label, seeds[0])
        zeros = (100 * value for value in over_seeds(records, label, "zeros"))
        rows.append({
            "training": names[label],
            "zeros %": _with(zeros, 1),
            "bpp of the file": _with(over_seeds(records, label, "bpp"), 3),
            **{title: _with(over_seeds(records, label, metric), digits)
               for metric, (title, digits) in QUALITIES.items()},
            "nats, the released code's bpp": _with(over_seeds(records, label, "nats"), 3),
            "updates of ADMM": f"{updates(record)}" if record.config["pruning"] else "–",
            "seeds": f"{len(seeds)}",
        })  # fmt: skip
    return FigureData(rows, used)


def schedules_table(records: Records) -> FigureData:
    """Schedules of ADMM at one share, from one unpruned model and with as many steps: residuals, files, SSIM.

    Residuals are of the last update, and the lowest of all; of a price on the size of the code there are none. At equal
    bytes: how far the codes lie above the curve of the estimated models.
    """
    rows, used = [], []
    for label, name in _schedules().items():
        record = training(records, label, files="code")
        primal = record.result["admm"]["primal"] if record.config["pruning"].get("until") != 0 else []
        used.append(record)
        rows.append({
            "schedule": name,
            "primal residual, lowest": f"{min(primal):.3f}" if primal else "–",
            "at the end of ADMM": f"{primal[-1]:.3f}" if primal else "–",
            "zeros %": f"{100 * record.mean('zeros'):.1f}",
            "bpp of the file": f"{record.mean('bpp'):.3f}",
            **{title: f"{record.mean(metric):.{digits}f}" for metric, (title, digits) in QUALITIES.items()},
            "SSIM at equal bytes": _cell("{:+.4f}", above, records, label, "estimated"),
        })  # fmt: skip
    return FigureData(rows, used)


def nats_table(records: Records) -> FigureData:
    """What is called a rate, and what SSIM: files, entropies of patches in bits and in nats; whole, and by patches.

    Means over the mixed set; SSIM over Kodak, whose pictures are whole patches. A standard codec has no code whose
    entropy could be taken.
    """
    rows, used = [], []
    names = {BEFORE: "ours, before pruning", AFTER: "ours, after pruning"}
    for label, name in (names | {label: name for label, (name, _) in ROWS.items()}).items():
        record, kodak = mixed(records, label), on_kodak(records, label)
        used.append(record)
        nats = record.mean("nats") if "nats" in record.rows[0] else None
        rows.append({
            "codec": name,
            "bpp of the file": f"{record.mean('bpp'):.3f}",
            "entropy of patches, bits": "–" if nats is None else f"{nats * BITS:.3f}",
            "the same, nats": "–" if nats is None else f"{nats:.3f}",
            "file over nats": "–" if nats is None else f"{nats_to_files(records, label):.3f}",
            "SSIM, Kodak": f"{kodak.mean('ssim'):.4f}",
            "by patches": f"{kodak.mean('ssim_patches'):.4f}",
            "difference": f"{patches_to_whole(records, label):+.4f}",
        })  # fmt: skip
    return FigureData(rows, used)


def rounding_table(records: Records) -> FigureData:
    """Codes of two models, rounded in use to the nearest and at random, means over pictures and draws."""
    rows, used = [], []
    for label in (BEFORE, AFTER):
        record = rounding(records, label)
        used.append(record)
        nearest = functools.partial(record.mean, setting="nearest")
        drawn = functools.partial(_at_random, record)
        for how, mean in (("to the nearest", nearest), (f"at random, {len(record.config['draws'])} draws", drawn)):
            rows.append({
                "training": NAMES[label], "rounded": how, "bpp of the file": f"{mean('bpp'):.3f}",
                "zeros %": f"{100 * mean('zeros'):.1f}",
                **{title: f"{mean(metric):.{digits}f}" for metric, (title, digits) in QUALITIES.items()},
            })  # fmt: skip
    return FigureData(rows, used)


def models_table(models: Models | None = None) -> FigureData:
    """The trained models of CAE-ADMM and of its comparison, by default in ``results/models``: what a file can name."""
    models, rows = models or default_models(), []
    for stored in models.of_codec("cae-admm", "cae-theis"):
        label = stored.about.get("label", "–")
        rows.append({
            "model": stored.name, "key": stored.key, "codec": stored.codec, "trained": NAMES.get(label, label),
            "channels": f"{stored.model.shape.latent}",
            "chosen by the codec": "yes" if stored.about.get("search") else "only by name",
            "kB": f"{models.files[stored.name].stat().st_size / 1000:,.0f}",
        })  # fmt: skip
    return FigureData(rows, [])


FIGURES = {
    "admm-rate-distortion": Entry("SSIM and MS-SSIM over the rate (CAE-ADMM, Fig. 2)", rate_distortion, "cae_admm"),
    "admm-pictures": Entry("Details near 0.3 bpp (CAE-ADMM, Fig. 3)", details, "cae_admm"),
    "admm-codes": Entry("A code before and after pruning (CAE-ADMM, Fig. 4)", codes, "cae_admm"),
    "admm-table-1": Entry("CAE-ADMM, Table 1", table_1, "cae_admm_mixed"),
    "admm-table-2": Entry("CAE-ADMM, Table 2", table_2, "cae_admm_mixed"),
    "admm-fair": Entry("Pruning against an estimate, at equal bytes", fair_table, "cae_admm"),
    "admm-variants": Entry("Every training of CAE-ADMM", variants_table, "cae_admm"),
    "admm-residuals": Entry("ADMM's residuals over steps", residuals, "cae_admm"),
    "admm-rounding": Entry("Rounding at random in use", rounding_table, "cae_admm_rounding"),
    "admm-nats": Entry("Bits, nats and patches", nats_table, "cae_admm_mixed"),
}
