"""Presets and trainings of CAE-ADMM. What measures trained models in use is in `in_use`."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from reproduce.estimates import Cost
from reproduce.models import VALIDATION, ModelPlan, history_of, made_before, name_of, not_made, sets
from reproduce.papers.cae_admm.released import by_patches, of_code
from reproduce.pictures import pictures, row_of
from reproduce.records import thin
from reproduce.runner import Request, Work
from sparsecomp import complexity
from sparsecomp.codecs import evaluate, get_codec
from sparsecomp.codecs.trained import latent_of, pruned
from sparsecomp.coding import integer_latents
from sparsecomp.models import pretrained
from sparsecomp.models.cae_admm import SCALE, CaeAdmm, Padding, Shape
from sparsecomp.models.pretrained import Models
from sparsecomp.options import as_dict
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
ESTIMATED = {
    "lambda 50": 50.0, "lambda 150": 150.0, "lambda 400": 400.0, "lambda 1000": 1000.0, "lambda 2500": 2500.0,
}  # fmt: skip
LOWEST = "lambda 2500"  # for the rates of "keep 5" where all are fine-tuned from one model
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
LABELS = tuple(label for label in NAMES if label not in (TUNED, LOWEST))
# The released code's other choices, at the paper's share: a new crop of each picture in every epoch; and how residual
# blocks pad, with the slope that PReLUs begin with.
VARIANTS = {
    "fresh crops": "pruned to 10 %, a new crop of every picture in each epoch",
    "reflection, slope 0.25": "pruned to 10 %, blocks pad by reflection, PReLUs begin at 0.25",
}
WHOLE = (BEFORE, "16 channels")  # neither pruned nor estimated; every preset trains these from first values
# An ablation of the schedule. At `desktop`, "keep 10" replaces ADMM by the projection after half of the steps. The
# first three change that: ADMM to the end, Z and U at rest in place of the projection, and the projection alone. The
# last one keeps Z = U = 0, which leaves a price on the size of the code. "keep 10" may balance rho, too, but at these
# residuals the rule never acts, so that balancing needs no training of its own.
SCHEDULES: dict[str, tuple[str, dict]] = {
    "plain": ("ADMM to the end", {"balance": False, "until": None, "then": "penalty"}),
    "rests": ("Z and U rest after half of the steps", {"balance": False, "then": "penalty"}),
    "projected at once": ("the projection, no ADMM", {"balance": False, "until": 0}),
    "price on the norm": (
        "Z = U = 0: a price on the norm",
        {"balance": False, "until": 0, "then": "penalty", "penalty": "norm", "rho": 3.0},
    ),
}
HEADLINE = ("keep 10", "lambda 400")  # one change: pruning against an estimate of the entropy
SHARES = (1.0, 0.2, 0.1, 0.05)  # of the code that a file keeps; 1 is the code as the encoder makes it
STEPS = (2, 4, 8)  # of rounding in use; 1 is the trainings' own
NEAR = 0.6  # bpp of Table 2


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


def scale_of(preset: str) -> str:
    """How large the networks of a preset are beside the paper's, and how long they are trained: for verdicts."""
    of = PRESETS[preset]
    whole = (of.width, of.depth) == (Shape().width, Shape().depth)
    place = "" if whole else f" in place of {Shape().width} and {Shape().depth}"
    outer = f", outer layers as at {of.outer}" if of.outer else ""
    more = f" and {of.tuning.steps:,} of fine-tuning" if of.tuning else ""
    return f"{of.width} filters and {of.depth} residual blocks{place}{outer}, {of.descent.steps:,} steps{more}"


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
                raise not_made(self.first, "cae_admm_unpruned", self.preset)
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
            row = {"picture": piece, "setting": share} | row_of(measured, round(estimate)) | of_code(symbols)
            rows.append(row | by_patches(picture, measured.reconstruction))
        return rows


@functools.cache
def _size(shape: Shape) -> tuple[float, float, int]:
    """Multiply-accumulates a pixel of encoder and decoder, and the weights of both."""
    model, side = CaeAdmm(shape), 8 * SCALE
    encoder = complexity.macs_per_pixel(model.encoder, (1, 3, side, side), pixels=side**2)
    decoder = complexity.macs_per_pixel(model.decoder, (1, shape.latent, 8, 8), pixels=side**2)
    return encoder, decoder, complexity.count_parameters(model)


def code_plans(request: Request) -> list[CodePlan]:
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
