"""Presets and plans of Sparse CAE."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from reproduce import sparse_weights
from reproduce.estimates import Cost
from reproduce.models import (
    VALIDATION,
    ModelPlan,
    history_of,
    made_before,
    name_of,
    not_made,
    sets,
)
from reproduce.pictures import pictures, row_of
from reproduce.runner import Request, Work
from sparsecomp import complexity
from sparsecomp.checks import InputError
from sparsecomp.codecs import evaluate
from sparsecomp.codecs.trained import Cae, coder_of
from sparsecomp.coding import latents
from sparsecomp.coding.contexts import Contexts
from sparsecomp.models import pretrained
from sparsecomp.models.inference import in_strips, to_input
from sparsecomp.models.pretrained import Models, Stored
from sparsecomp.models.sparse_cae import MARGIN, SCALE, Shape, SparseCAE
from sparsecomp.options import as_dict
from sparsecomp.sparsify import surgery
from sparsecomp.training.arithmetic import FLOAT32, Arithmetic
from sparsecomp.training.autoencoder import CaeTraining
from sparsecomp.training.configs import Descent
from sparsecomp.training.double_descent import Constraint, project, second_start
from sparsecomp.training.loop import run

# Presets --------------------------------------------------------------------------------------------------------------

# What goes beyond the paper; fixed before any second descent was measured on Kodak.
BEYOND = "filters, then l1, rewound"
HEADLINE = ("bilevel_l11", BEYOND)  # the paper's, and what goes beyond it: each has a small dense encoder beside it
CONSTRAINED = (*HEADLINE, "l1", "l1inf")  # and the paper's other two


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How much work a preset is.

    Attributes
    ----------
    descent : Descent
        How an autoencoder is trained, once through.
    width : int
        Filters of its residual stream.
    pictures : int
        How many are measured.
    seeds : int
        Of the dense model for high rates, and of ``several``.
    search : bool
        May the codec choose the models by itself?
    scored : int
        Validation pictures that are scored while a model trains.
    models : tuple of str, optional
        Of `MODELS`, the dense ones that are trained; by default all.
    rates : dict
        Learning rates of dense models that are not the descent's, by label.
    sparse : tuple of str, optional
        Of `SPARSE`, the second descents; by default all.
    several : tuple of str
        Labels of `SPARSE` that are run from all seeds.
    steps : tuple of int, optional
        Steps of the latent to measure at, in 1/16384; by default those that a model was trained for (`steps_of`).
    arithmetic : Arithmetic
        In which networks are trained.
    coder : {"tables", "contexts"}
        How files are coded: with one table for each channel, or with contexts (`coding.contexts`).
    finer : tuple of int
        Finer steps, in 1/16384, for the study `cae_fine`: with contexts, files at 1/256 are below the paper's 4 bpp.
    grid : tuple of float
        Shares of zeros that are projected to, for Figure 2.
    """

    descent: Descent
    width: int = 128
    pictures: int = 24
    seeds: int = 3
    search: bool = True
    scored: int = VALIDATION
    models: tuple[str, ...] | None = None
    rates: dict[str, float] = field(default_factory=dict)
    sparse: tuple[str, ...] | None = None
    several: tuple[str, ...] = (*CONSTRAINED, "magnitude", "random mask", "random restart")
    steps: tuple[int, ...] | None = None
    arithmetic: Arithmetic = FLOAT32
    coder: str = "tables"
    finer: tuple[int, ...] = ()
    grid: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.83, 0.86, 0.9, 0.95)


FITTED = 32  # training pictures, at most, that a context model is fitted to
STEPS = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072)  # 1/256 .. 1/5
# Chosen on astronaut, coffee, chelsea and the validation pictures of BSDS500, at width 48, in trials that were not
# kept: of the rates 0.001, 0.003 and 0.01 for Muon the last was best after 1,000 steps, and Adam, at the best of four,
# far behind.
DESCENT = Descent(steps=4000)
PRESETS = {
    "smoke": Preset(
        descent=replace(DESCENT, steps=20, warmup=5, batch=4, score_every=10),
        width=16,
        pictures=1,
        seeds=1,
        search=False,
        scored=1,
        steps=STEPS[::4],
        grid=(0.5, 0.83),
    ),
    "laptop": Preset(descent=DESCENT, width=48),
    # 14 minutes a training on one core: the paper's three constraints, the controls, and what goes beyond the paper.
    # After 6,000 steps 0.003 is the best learning rate of 0.003, 0.005 and 0.01 for high rates, on validation pictures
    # in trials that were not kept: at 0.01 the weights of a dense encoder grow, and it ends worse than a pruned one.
    # For low rates 0.01 is better than 0.003.
    "desktop": Preset(
        descent=replace(DESCENT, steps=6000, lr=0.003),
        rates={"low": 0.01, "lowest": 0.01},
        width=64,
        sparse=(*CONSTRAINED, "magnitude", "random mask", "dense, trained on"),
        several=("bilevel_l11", "l1"),  # the two that lose about the same
        arithmetic=Arithmetic("bfloat16"),
        coder="contexts",
        finer=(32, 48),
    ),
    "paper-fast": Preset(descent=replace(DESCENT, steps=60_000)),
    # Adam, its rate, batch, crop and decay are the released code's; its 100 epochs are 605,000 steps with its split of
    # the 473 pictures, 757,000 on all. As released, first values are PyTorch's, nothing stands in for rounding, and no
    # rate is trained, so there is one model.
    "paper": Preset(
        descent=Descent(
            steps=757_000,
            lr=1e-4,
            optimiser="adam",
            schedule="constant",
            warmup=0,
            weight_decay=1e-5,
            batch=16,
            crop=128,
            reduce=1,
            quantiser="none",
            score_every=2_000,
            start="torch",
        ),
        models=("high",),
    ),
}
# Models for high rates, as the paper's, and for lower ones: what they change in the preset's descent.
MODELS: dict[str, dict] = {
    "high": {},
    "middle": {"lam": 1.2},
    "low": {"lam": 1.0, "finest": 1 / 64, "coarsest": 1 / 24},
    "lowest": {"lam": 4.0, "finest": 1 / 56, "coarsest": 1 / 24},
}
S = 0.83  # the paper's sparsity
# Second descents. The paper's three constraints, the other two projections, the controls, and what might do better.
SPARSE: dict[str, Constraint] = {
    "l1": Constraint("l1", S),
    "bilevel_l11": Constraint("bilevel_l11", S),
    "l1inf": Constraint("l1inf", S),
    "l21": Constraint("l21", S),
    "bilevel_l1inf": Constraint("bilevel_l1inf", S),
    "magnitude": Constraint("magnitude", S),
    "random mask": Constraint("random", S),
    "random restart": Constraint("bilevel_l11", S, restart="random"),
    "trained restart": Constraint("bilevel_l11", S, restart="trained"),
    "dense, trained on": Constraint("l1", 0.0, restart="trained"),  # as many steps as what is fine-tuned
    "per layer": Constraint("bilevel_l11", S, radius="per_layer"),
    "coupled, trained": Constraint("bilevel_l11", S, coupled=True, restart="trained"),
    "filters, then l1": Constraint("l1", S, coupled=True, filters=0.23, restart="trained"),
    "filters, then l1, rewound": Constraint("l1", S, coupled=True, filters=0.23),
}
CONSTRAINTS = {"l1": "l1", "bilevel_l11": "l1,1", "l1inf": "l1,inf"}  # ours: the paper's names in Table I
# What the released code does otherwise in a first descent than our presets do, one thing at a time.
RELEASED: dict[str, dict] = {"random start": {"start": "torch"}, "no quantiser": {"quantiser": "none"}}
# Second descents beside `SPARSE`: the first descent they come from, and the constraint. Two are the released code's,
# two stand in Fig. 5, and one prunes the decoder, too.
VARIANTS: dict[str, tuple[str, Constraint]] = {
    "l1inf of taps": ("high", Constraint("l1inf", S, grouping="taps")),
    "bilevel_l11, random start": ("random start", Constraint("bilevel_l11", S)),
    "bilevel_l11, no quantiser": ("no quantiser", Constraint("bilevel_l11", S)),
    "bilevel_l11 at 87.87": ("high", Constraint("bilevel_l11", 0.8787)),
    "l1inf at 86.35": ("high", Constraint("l1inf", 0.8635)),
    "all layers": ("high", Constraint("bilevel_l11", S, layers="all")),
}


def scale_of(preset: str) -> str:
    """How wide the networks of a preset are beside the paper's, and how long they are trained: for verdicts."""
    of = PRESETS[preset]
    place = "" if of.width == Shape().width else f" in place of {Shape().width}"
    return f"width {of.width}{place}, BSDS500 in place of Flickr, {of.descent.steps:,} steps a descent"


# Plans ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DescentPlan(ModelPlan):
    """One descent, and its files at several steps of the latent.

    Parameters
    ----------
    descent : Descent
    shape : Shape
    steps : tuple of int
        To measure at.
    first : Path, optional
        The model of the first descent, for a second one.
    first_key : str, optional
        Its key.
    constraint : Constraint, optional
    coder : {"tables", "contexts"}
        How files are coded.
    """

    descent: Descent
    shape: Shape
    steps: tuple[int, ...]
    first: Path | None = None
    first_key: str | None = None
    constraint: Constraint | None = None
    coder: str = "tables"

    def config(self) -> dict:
        """What it adds to the configuration."""
        return super().config() | {
            "codec": "cae", "descent": as_dict(self.descent), "shape": as_dict(self.shape),
            "constraint": as_dict(self.constraint) if self.constraint else None, "first": self.first_key,
        } | ({"coder": self.coder} if self.coder != "tables" else {})  # fmt: skip

    def cost(self) -> Cost:
        """Encoder, decoder and their optimiser."""
        descent, (macs, weights) = self.descent, _size(self.shape)
        pixels, muon = descent.batch * descent.crop**2, descent.optimiser == "muon"
        return Cost("sparse cae", descent.steps, 3 * pixels * macs, 0.0, 500 + 500 * muon, 12 * weights, 2 * weights)

    def train(self, work: Work) -> dict:
        """Train one model, store it, and say what became of it."""
        found: dict = {}
        masks = None
        if self.first is None or self.constraint is None:
            model = SparseCAE(self.shape, self.seed, self.descent.start)
        else:
            first = network_of(pretrained.load(self.first))
            projected = project(first, self.constraint, self.seed)
            model = second_start(first, projected, self.constraint, self.seed, self.descent.start)
            masks = projected.masks
            found |= {"sparsity": round(projected.sparsity, 5), "radius": projected.radius}
        training = CaeTraining(
            model, pictures(self.train_on), pictures(self.validate_on, self.scored), self.descent, seed=self.seed,
            masks=masks, device=self.device, arithmetic=self.arithmetic,
        )  # fmt: skip
        run(training, checkpoint=work.checkpoints / "training.safetensors", max_seconds=work.seconds_left())
        model.half().float()  # what is stored is what is measured, and what the tables are made for
        score = training.score()
        counts = latents.counts_of(training.prior, training.histogram())
        about = {
            "label": self.label, "seed": self.seed, "finest": self.descent.finest, "coarsest": self.descent.coarsest,
            "lam": self.descent.lam, "steps": self.descent.steps, "sparsity": found.get("sparsity", 0.0),
            "search": self.search, "profile": self.preset,
        }  # fmt: skip
        pretrained.save(self.model_file, model.cpu(), counts, about, self._contexts(training))
        stored = pretrained.load(self.model_file)
        model = network_of(stored)
        weights = dict(model.encoder.state_dict())
        return found | {
            "model": stored.key, "file": self.model_file.stem, "seconds": round(training.seconds, 1),
            **{name: round(value, 4) for name, value in score.items()},
            "macs": encoder_macs(model), "macs_paper": paper_macs(model), "macs_decoder": _decoder_macs(model),
            "encoder_bytes": len(sparse_weights.encode(weights)),
            "dense_bytes": 2 * sum(w.numel() for w in weights.values()),
            **({"macs_paper_decoder": _decoder_macs(model, paper=True)} if self.prunes_decoder else {}),
            "history": history_of(training),
        }  # fmt: skip

    def _contexts(self, training: CaeTraining) -> Contexts | None:
        """A context model of some training pictures at three steps, if files are coded with contexts."""
        if self.coder != "contexts":
            return None
        low, high = (latents.UNIT * delta for delta in (self.descent.finest, self.descent.coarsest))
        steps = (round(low), round(math.sqrt(low * high)), round(high))
        chosen = training.pictures[:: -(-len(training.pictures) // FITTED)]
        with torch.no_grad():
            made = [training.model.encoder(to_input(picture.cpu().numpy(), SCALE, self.device)) for picture in chosen]
        return Contexts.fit(latents.quantise(z, step)[0].cpu().numpy() for z in made for step in steps)

    @property
    def prunes_decoder(self) -> bool:
        """Does the constraint take the decoder's weights, too?"""
        return self.constraint is not None and self.constraint.layers == "all"

    def measure(self, work: Work, piece: str) -> list[dict]:
        """One picture at every step: files, and the reconstruction of a latent that nobody rounded."""
        return files_of(self.stored(work), self.model_file, self.shown()[piece], piece, self.steps)


def files_of(stored: Stored, file: Path, picture: np.ndarray, name: str, steps: tuple[int, ...]) -> list[dict]:
    """Rows of one picture: its files at some steps, each with the error of the unrounded latent's reconstruction."""
    models, rows = Models(file), []
    with torch.inference_mode():
        z = in_strips(stored.model.encoder, to_input(picture, SCALE), scale=SCALE, margin=MARGIN, down=True)
        shown = in_strips(stored.model.decoder, z, scale=SCALE, margin=MARGIN, down=False)[0]
        shown = (shown[:, : picture.shape[0], : picture.shape[1]].clamp(0, 1) * 255).round().permute(1, 2, 0)
    mse = float((shown - torch.from_numpy(picture)).square().double().mean())
    for step in steps:
        measured = evaluate(Cae(model=str(file), models=models, step=step), picture)
        symbols = latents.quantise(z, step)[0].numpy()
        coder, tables = coder_of(stored, step)
        row = row_of(measured, round(coder.bits(symbols, *tables)))
        rows.append({"picture": name, "setting": step} | row | {"mse_unquantised": round(mse, 5)})
    return rows


@functools.cache
def _size(shape: Shape) -> tuple[float, int]:
    """Multiply-accumulates a pixel of a dense network, and its weights."""
    model = SparseCAE(shape)
    return _whole_macs(model.encoder) + _decoder_macs(model), complexity.count_parameters(model)


def network_of(stored: Stored) -> SparseCAE:
    """The network of a stored model; `ValueError` if it is of another kind."""
    if not isinstance(stored.model, SparseCAE):
        raise InputError(f"model {stored.name} is no autoencoder of Sparse CAE")
    return stored.model


def encoder_macs(model: SparseCAE) -> float:
    """Multiply-accumulates a pixel of what surgery leaves of an encoder; with what it computes because leaving it out
    would take longer.
    """
    return _whole_macs(surgery.prune(model.encoder))


def _whole_macs(encoder: nn.Module) -> float:
    """Multiply-accumulates a pixel of an encoder as it is, zeros and all."""
    side = 16 * SCALE
    return complexity.macs_per_pixel(encoder, (1, 3, side, side), pixels=side * side)


def paper_macs(model: SparseCAE) -> float:
    """Multiply-accumulates a pixel of an encoder as the paper counts them."""
    side = 16 * SCALE
    return complexity.macs_paper(model.encoder, (1, 3, side, side)) / side**2


def _decoder_macs(model: SparseCAE, *, paper: bool = False) -> float:
    side = 16
    count = complexity.macs_paper if paper else complexity.count_macs
    return count(model.decoder, (1, model.shape.latent, side, side)) / (side * SCALE) ** 2


def dense_plan(request: Request, label: str, seed: int) -> DescentPlan:
    """A first descent."""
    preset, chosen = PRESETS[request.preset], sets(request)
    released = label in RELEASED
    lr = preset.rates.get(label, preset.descent.lr)
    descent = replace(preset.descent, lr=lr, **(RELEASED if released else MODELS)[label])
    return DescentPlan(
        study="cae_released" if released else "cae", preset=request.preset,
        name=name_of("cae", label, seed, chosen["train_on"], request.preset),
        seed=seed, device=request.device, arithmetic=request.trained_in(preset.arithmetic),
        pictures_of=request.pictures_of or "kodak", count=preset.pictures,
        label=label, out=request.out, search=preset.search and seed == request.seed and not released,
        scored=preset.scored, descent=descent, coder=preset.coder,
        shape=Shape(preset.width), steps=steps_of(preset, descent, every=seed == request.seed), **chosen,
    )  # fmt: skip


def steps_of(preset: Preset, descent: Descent, *, every: bool) -> tuple[int, ...]:
    """Steps to measure at: those that a model was trained for and up to a factor of two beyond; or every second one."""
    if preset.steps is not None:
        return preset.steps
    low, high = (latents.UNIT * delta for delta in (descent.finest / 2, descent.coarsest * 2))
    inside = tuple(step for step in STEPS if low <= step <= high)
    return inside if every else inside[::2]


def dense_plans(request: Request) -> list[DescentPlan]:
    """Dense autoencoders for four ranges of rates, the one for high rates from several seeds: one record each.

    Rows are pictures at a range of steps. The high one is the first descent of all sparse ones.
    """
    seeds = range(request.seed + 1, request.seed + PRESETS[request.preset].seeds)
    plans = [dense_plan(request, label, request.seed) for label in PRESETS[request.preset].models or MODELS]
    return plans + [dense_plan(request, "high", seed) for seed in seeds]


def released_plans(request: Request) -> list[DescentPlan]:
    """Dense autoencoders that are begun or trained as in the released code; none where the preset does so anyway."""
    descent = PRESETS[request.preset].descent
    other = [label for label, of in RELEASED.items() if replace(descent, **of) != descent]
    return [dense_plan(request, label, request.seed) for label in other]


def sparse_plans(request: Request) -> list[DescentPlan]:
    """Second descents near S = 83 % from the dense model for high rates, and the controls: one record each.

    Some are run from all seeds (``several``). The last controls, small dense encoders, have about the
    multiply-accumulates that surgery leaves of `HEADLINE`.
    """
    preset = PRESETS[request.preset]
    plans: list[DescentPlan] = []
    small: dict[str, DescentPlan] = {}
    for label, constraint in SPARSE.items():
        if preset.sparse is not None and label not in preset.sparse:
            continue
        for seed in range(request.seed, request.seed + (preset.seeds if label in preset.several else 1)):
            whole = label in ("l1", "bilevel_l11", "l1inf", "filters, then l1") and seed == request.seed
            plans.append(_second("cae_sparse", request, label, "high", constraint, seed, whole=whole))
            file = plans[-1].first
            unknown = request.planned and file is not None and not file.exists()  # the width of the control
            if label in HEADLINE and seed == request.seed and not unknown:
                control = _small(plans[-1], constraint, preset)
                small[control.label] = control
    return [*plans, *small.values()]


def variant_plans(request: Request) -> list[DescentPlan]:
    """Second descents as in the released code, at the sparsities of Fig. 5, and of all layers: one record each."""
    known = {"high", *(plan.label for plan in released_plans(request))}
    return [_second("cae_variants", request, label, first, constraint, request.seed, whole=True)
            for label, (first, constraint) in VARIANTS.items() if first in known]  # fmt: skip


def _second(
    study: str, request: Request, label: str, first: str, constraint: Constraint, seed: int, *, whole: bool
) -> DescentPlan:
    """A second descent from the model that a first one made; measured at every step, or at every second one."""
    dense = dense_plan(request, first, seed)
    file, key = made_before(dense, request)
    return replace(
        dense, study=study, label=label, first=file, first_key=key, constraint=constraint, search=False,
        name=name_of("cae", label, seed, dense.train_on, request.preset),
        steps=steps_of(PRESETS[request.preset], dense.descent, every=whole),
    )  # fmt: skip


def _small(plan: DescentPlan, constraint: Constraint, preset: Preset) -> DescentPlan:
    """The control of a second descent: a dense encoder as wide as its multiply-accumulates allow, trained once."""
    assert plan.first is not None  # a second descent has one
    if not plan.first.exists():
        raise not_made(plan.first, "cae", plan.preset, recorded=True)
    first = network_of(pretrained.load(plan.first))
    trained = replace(constraint, restart="trained")  # of first values some are zero, and would not be counted
    left = second_start(first, project(first, constraint, plan.seed), trained, plan.seed)
    shapes = [replace(plan.shape, encoder_width=width) for width in range(8, plan.shape.width + 1, 8)]
    shape = min(shapes, key=lambda shape: abs(_whole_macs(SparseCAE(shape).encoder) - encoder_macs(left)))
    label = f"small dense {shape.encoder_width}"
    return replace(
        plan, label=label, name=name_of("cae", label, plan.seed, plan.train_on, plan.preset), shape=shape, first=None,
        first_key=None, constraint=None, steps=steps_of(preset, plan.descent, every=False),
    )  # fmt: skip
