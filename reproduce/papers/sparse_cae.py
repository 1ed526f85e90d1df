"""Sparse CAE (Gille et al. 2022): presets, plans, measures of claims, and the data of its figures and tables.

Every training is one record, and one model in ``models/`` beside the folder of records. A second descent begins from
the model of a first one, so the study `cae` comes before the others.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from reproduce import bench, sparse_weights
from reproduce.estimates import Cost
from reproduce.figure_data import Entry, FigureData, line
from reproduce.models import VALIDATION, ModelPlan, history_of, kept, made_before, models_folder, name_of, sets
from reproduce.papers import baselines
from reproduce.papers.baselines import TRAINED_ON
from reproduce.pictures import PicturePlan, pictures, row_of
from reproduce.records import Curve, Records, RunRecord, published
from reproduce.runner import Plan, Request, Work
from sparsecomp import complexity, data, metrics
from sparsecomp.checks import InputError
from sparsecomp.codecs import decode, evaluate
from sparsecomp.codecs.trained import Cae, coder_of
from sparsecomp.coding import latents
from sparsecomp.coding.contexts import Contexts
from sparsecomp.metrics import BD
from sparsecomp.models import pretrained
from sparsecomp.models.inference import in_strips, to_input
from sparsecomp.models.pretrained import Models, Stored, default_models
from sparsecomp.models.sparse_cae import MARGIN, SCALE, Shape, SparseCAE
from sparsecomp.options import as_dict
from sparsecomp.sparsify import surgery
from sparsecomp.sparsify.projections import PROJECTIONS
from sparsecomp.training.arithmetic import FLOAT32, Arithmetic
from sparsecomp.training.autoencoder import CaeTraining
from sparsecomp.training.configs import Descent
from sparsecomp.training.double_descent import Constraint, project, second_start
from sparsecomp.training.loop import run

# Presets --------------------------------------------------------------------------------------------------------------


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
        Of the dense model for high rates, and of `SEVERAL`.
    search : bool
        May the codec choose the models by itself?
    scored : int
        Validation pictures that are scored while a model trains.
    models : tuple of str, optional
        Of `MODELS`, the dense ones that are trained; by default all.
    sparse : tuple of str, optional
        Of `SPARSE`, the second descents; by default all.
    steps : tuple of int, optional
        Steps of the latent to measure at, in 1/16384; by default those that a model was trained for (`steps_of`).
    arithmetic : Arithmetic
        In which networks are trained.
    coder : {"tables", "contexts"}
        How files are coded: with one table for each channel, or with contexts (`coding.contexts`).
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
    sparse: tuple[str, ...] | None = None
    steps: tuple[int, ...] | None = None
    arithmetic: Arithmetic = FLOAT32
    coder: str = "tables"
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
    # 17 minutes a training on one core: the paper's three constraints, the controls, and what goes beyond the paper.
    "desktop": Preset(
        descent=replace(DESCENT, steps=6000),
        width=64,
        sparse=(
            "l1",
            "bilevel_l11",
            "l1inf",
            "magnitude",
            "random mask",
            "dense, trained on",
            "filters, then l1, rewound",
        ),
        arithmetic=Arithmetic("bfloat16"),
        coder="contexts",
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
# What goes beyond the paper; fixed before any second descent was measured on Kodak.
BEYOND = "filters, then l1, rewound"
HEADLINE = ("bilevel_l11", BEYOND)  # the paper's, and what goes beyond it: each has a small dense encoder beside it
SEVERAL = (*HEADLINE, "l1", "l1inf", "magnitude", "random mask", "random restart")  # from all seeds
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
            first = _network(pretrained.load(self.first))
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
        model = _network(stored)
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
        picture, models, rows = self.shown()[piece], Models(self.model_file), []
        stored = self.stored(work)
        with torch.inference_mode():
            z = in_strips(stored.model.encoder, to_input(picture, SCALE), scale=SCALE, margin=MARGIN, down=True)
            shown = in_strips(stored.model.decoder, z, scale=SCALE, margin=MARGIN, down=False)[0]
            shown = (shown[:, : picture.shape[0], : picture.shape[1]].clamp(0, 1) * 255).round().permute(1, 2, 0)
        mse = float((shown - torch.from_numpy(picture)).square().double().mean())
        for step in self.steps:
            measured = evaluate(Cae(model=str(self.model_file), models=models, step=step), picture)
            symbols = latents.quantise(z, step)[0].numpy()
            coder, tables = coder_of(stored, step)
            row = row_of(measured, round(coder.bits(symbols, *tables)))
            rows.append({"picture": piece, "setting": step} | row | {"mse_unquantised": round(mse, 5)})
        return rows


@functools.cache
def _size(shape: Shape) -> tuple[float, int]:
    """Multiply-accumulates a pixel of a dense network, and its weights."""
    model = SparseCAE(shape)
    return _whole_macs(model.encoder) + _decoder_macs(model), complexity.count_parameters(model)


def _network(stored: Stored) -> SparseCAE:
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


def _dense(request: Request, label: str, seed: int) -> DescentPlan:
    """A first descent."""
    preset, chosen = PRESETS[request.preset], sets(request)
    released = label in RELEASED
    descent = replace(preset.descent, **(RELEASED if released else MODELS)[label])
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
    plans = [_dense(request, label, request.seed) for label in PRESETS[request.preset].models or MODELS]
    return plans + [_dense(request, "high", seed) for seed in seeds]


def released_plans(request: Request) -> list[DescentPlan]:
    """Dense autoencoders that are begun or trained as in the released code; none where the preset does so anyway."""
    descent = PRESETS[request.preset].descent
    return [_dense(request, label, request.seed) for label, of in RELEASED.items() if replace(descent, **of) != descent]


def sparse_plans(request: Request) -> list[DescentPlan]:
    """Second descents near S = 83 % from the dense model for high rates, and the controls: one record each.

    `SEVERAL` are run from all seeds. The last controls, small dense encoders, have about the multiply-accumulates that
    surgery leaves of `HEADLINE`.
    """
    preset = PRESETS[request.preset]
    plans: list[DescentPlan] = []
    small: dict[str, DescentPlan] = {}
    for label, constraint in SPARSE.items():
        if preset.sparse is not None and label not in preset.sparse:
            continue
        for seed in range(request.seed, request.seed + (preset.seeds if label in SEVERAL else 1)):
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
    dense = _dense(request, first, seed)
    file, key = made_before(dense, request)
    return replace(
        dense, study=study, label=label, first=file, first_key=key, constraint=constraint, search=False,
        name=name_of("cae", label, seed, dense.train_on, request.preset),
        steps=steps_of(PRESETS[request.preset], dense.descent, every=whole),
    )  # fmt: skip


def _small(plan: DescentPlan, constraint: Constraint, preset: Preset) -> DescentPlan:
    """The control of a second descent: a dense encoder as wide as its multiply-accumulates allow, trained once."""
    assert plan.first is not None  # a second descent has one
    first = _network(pretrained.load(plan.first))
    trained = replace(constraint, restart="trained")  # of first values some are zero, and would not be counted
    left = second_start(first, project(first, constraint, plan.seed), trained, plan.seed)
    shapes = [replace(plan.shape, encoder_width=width) for width in range(8, plan.shape.width + 1, 8)]
    shape = min(shapes, key=lambda shape: abs(_whole_macs(SparseCAE(shape).encoder) - encoder_macs(left)))
    label = f"small dense {shape.encoder_width}"
    return replace(
        plan, label=label, name=name_of("cae", label, plan.seed, plan.train_on, plan.preset), shape=shape, first=None,
        first_key=None, constraint=None, steps=steps_of(preset, plan.descent, every=False),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DensityPlan(Plan):
    """Figure 2: what every projection of the trained encoder leaves of its multiply-accumulates, over the density.

    One first descent and no second. Counted as the paper does, and after surgery.
    """

    first: Path
    key: str
    grid: tuple[float, ...]

    def config(self) -> dict:
        """All that decides the result."""
        return {
            "profile": self.preset, "seed": self.seed, "device": torch.device(self.device).type, "data": "none",
            "pictures": 0, "data_sha256": data.fingerprint({}), "codec": "cae", "model": self.key,
            "grid": list(self.grid),
        }  # fmt: skip

    def pieces(self) -> tuple[str, ...]:
        """One."""
        return ("all",)

    def measure(self, work: Work, piece: str) -> list[dict]:
        """A row a projection and density."""
        first, rows = _network(pretrained.load(self.first)), []
        whole = encoder_macs(first)
        ways = [(kind, "common", False) for kind in PROJECTIONS]
        ways += [
            ("bilevel_l11", "per_layer", False),
            ("bilevel_l11", "common", True),
            ("bilevel_l1inf", "common", True),
        ]
        for kind, radius, coupled in ways:
            for sparsity in self.grid:
                constraint = Constraint(kind, sparsity, radius=radius, coupled=coupled)
                projected = project(first, constraint)
                left = second_start(first, projected, replace(constraint, restart="trained"), 0)
                rows.append({
                    "kind": kind, "radius_rule": radius, "coupled": coupled, "asked": sparsity,
                    "sparsity": round(projected.sparsity, 5), "radius": projected.radius,
                    "macs_paper": round(paper_macs(left) / whole, 5), "macs": round(encoder_macs(left) / whole, 5),
                })  # fmt: skip
        return rows


def density_plans(request: Request) -> list[DensityPlan]:
    """One record."""
    first, key = made_before(_dense(request, "high", request.seed), request)
    return [DensityPlan(
        study="cae_density", name=f"density-{request.preset}", preset=request.preset, seed=request.seed,
        device=request.device, first=first, key=key, grid=PRESETS[request.preset].grid,
    )]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SpeedPlan(PicturePlan):
    """Wall-clock of pruned encoders against the dense one, a whole picture, pairs of calls in turn.

    Run it on a machine that has nothing else to do.

    Parameters
    ----------
    dense : Path
    models : dict
        The files and keys of the second descents, by label.
    """

    dense: Path
    models: dict[str, tuple[Path, str]]

    def config(self) -> dict:
        """What it adds to the configuration."""
        keys = {label: key for label, (_, key) in self.models.items()}
        return super().config() | {"codec": "cae", "models": keys, "threads": torch.get_num_threads()}

    def on_device(self, piece: str) -> bool:
        """What is timed there."""
        return self.device != "cpu"

    def measure(self, work: Work, piece: str) -> list[dict]:
        """A row a model."""
        x, rows = to_input(self.shown()[piece], SCALE, self.device), []
        # Through surgery, too, which finds nothing to remove: compared are networks, not two ways of writing them.
        whole = surgery.prune(_network(pretrained.load(self.dense)).encoder).to(self.device)
        for label, (file, key) in self.models.items():
            stored = pretrained.load(file)
            if stored.key != key:
                raise InputError(f"model {stored.name} is not the one of its record: {stored.key}, {key}")
            small = surgery.prune(_network(stored).encoder).to(self.device)
            with torch.inference_mode():
                pair = functools.partial(whole, x), functools.partial(small, x)
                ratio = bench.relative_latency(*pair, repeats=15, warmup=2)
            rows.append({"picture": piece, "label": label, "speedup": round(ratio.median, 4),
                         "lower": round(ratio.lower, 4), "upper": round(ratio.upper, 4)})  # fmt: skip
        return rows


def speed_plans(request: Request) -> list[SpeedPlan]:
    """One record, of every model of `sparse_plans` of the first seed."""
    of = request.pictures_of or "kodak"
    found = Records(request.out, preset=request.preset).find("cae_sparse", data=of, seed=request.seed)
    if not found:
        raise InputError(
            "there are no records of cae_sparse: make them first, with `python -m reproduce study cae_sparse`"
        )
    folder, (dense, _) = models_folder(request.out), made_before(_dense(request, "high", request.seed), request)
    models = {r.config["label"]: (kept(folder / f"{r.result['file']}.safetensors"), r.result["model"]) for r in found}
    return [SpeedPlan(
        study="cae_speed", name=f"speed-{request.preset}", preset=request.preset, seed=request.seed,
        device=request.device, pictures_of=of, count=1, dense=dense, models=models,
    )]  # fmt: skip


STUDIES = {
    "cae": dense_plans, "cae_sparse": sparse_plans, "cae_density": density_plans, "cae_speed": speed_plans,
    "cae_released": released_plans, "cae_variants": variant_plans,
}  # fmt: skip

# Numbers out of records -----------------------------------------------------------------------------------------------


def dense(records: Records, label: str = "high", seed: int = 0) -> RunRecord:
    """The record of a dense autoencoder; `LookupError` where it is missing."""
    return _one(records, "cae_released" if label in RELEASED else "cae", label, seed)


def sparse(records: Records, label: str, seed: int = 0) -> RunRecord:
    """The record of a second descent, or a control."""
    return _one(records, _study_of(label), label, seed)


def _study_of(label: str) -> str:
    return "cae_variants" if label in VARIANTS else "cae_sparse"


def first(records: Records, label: str, seed: int = 0) -> RunRecord:
    """The record of the first descent that a second one comes from."""
    return dense(records, VARIANTS[label][0] if label in VARIANTS else "high", seed)


def made(records: Records, study: str, **where: object) -> list[RunRecord]:
    """The records of a study that count: measured on Kodak, trained on BSDS500, not on a folder of a reader's own."""
    found = records.find(study, data="kodak", **where)
    return [r for r in found if r.config["train"]["data"] == TRAINED_ON]


def _one(records: Records, study: str, label: str, seed: int) -> RunRecord:
    found = made(records, study, label=label, seed=seed)
    if len(found) != 1:
        raise LookupError(
            f"{len(found)} records of {label}, seed {seed}, where one is needed: `python -m reproduce study {study}`"
        )
    return found[0]


def labels(records: Records) -> list[str]:
    """What second descents and controls there are."""
    return sorted({r.config["label"] for r in made(records, "cae_sparse")})


def seeds_of(records: Records, label: str) -> list[int]:
    """From which seeds a label was run."""
    return sorted(r.config["seed"] for r in made(records, _study_of(label), label=label))


def reference(records: Records, label: str, seed: int = 0) -> RunRecord:
    """The dense model that had as many steps: for a fine-tuned model the dense one that was fine-tuned, too."""
    constraint = sparse(records, label, seed).config["constraint"]
    fine_tuned = constraint is not None and constraint["restart"] == "trained" and "dense" not in label
    return sparse(records, "dense, trained on", seed) if fine_tuned else first(records, label, seed)


def relative_loss(records: Records, label: str, seed: int = 0) -> float:
    """The paper's relative loss in dB, no quantiser: mean over pictures of ``10 log10 (MSE_ref / MSE)``.

    Below 0 is a loss, as the paper prints it. Of 8-bit reconstructions; the reference is the dense model of the same
    seed and as many steps. It compares models at whatever rates they have.
    """
    pair = reference(records, label, seed), sparse(records, label, seed)
    theirs, ours = ({row["picture"]: row["mse_unquantised"] for row in record.rows} for record in pair)
    if set(ours) != set(theirs):
        raise LookupError(f"the records of {label} and the dense model are of different pictures")
    return float(np.mean([10 * np.log10(theirs[name] / ours[name]) for name in ours]))


def at_rate(records: Records, label: str, seed: int = 0) -> BD:
    """Mean difference in PSNR to the dense model of as many steps at equal bytes of files (BD-PSNR), and over which
    rates.

    Both curves have the steps that both were measured at. Where the dense model would have to work beyond the steps it
    was trained for, because the other has so few channels that its rates are low, the best of all dense models stands
    in its place.
    """
    ours, theirs = sparse(records, label, seed), reference(records, label, seed)
    shared = {row["setting"] for row in ours.rows} & {row["setting"] for row in theirs.rows}
    ours, theirs = (replace(r, rows=[row for row in r.rows if row["setting"] in shared]) for r in (ours, theirs))
    test, known = rising(ours), theirs.config["descent"]["coarsest"] * 2**14
    low = test.rates[-1] < min(theirs.mean("bpp", setting=s) for s in shared if s <= known)
    try:
        return test.better(hull(records) if low else rising(theirs))
    except LookupError as error:
        raise LookupError(f"the curves of {label} and the dense model: {error}") from error


def loss_at_rate(records: Records, label: str, seed: int = 0) -> float:
    """`at_rate` in dB; below 0 is a loss."""
    return at_rate(records, label, seed).value


def released_over_ours(records: Records, label: str) -> float:
    """Mean difference in PSNR, dB at equal bytes, of a dense model made as the released code does to ours."""
    return rising(dense(records, label)).better(rising(dense(records))).value


def released_longer(records: Records, label: str) -> float:
    """Per cent of bytes that its files have more at equal PSNR."""
    return rising(dense(records, label)).longer(rising(dense(records))).value


def over_seeds(records: Records, label: str, measure: Callable[[Records, str, int], float]) -> tuple[float, float]:
    """Mean over the seeds of a label, and the standard deviation (nan for one)."""
    values = [measure(records, label, seed) for seed in seeds_of(records, label)]
    if not values:
        raise LookupError(f"no records of {label}: make them with `python -m reproduce study cae_sparse`")
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def sparsity(records: Records, label: str, seed: int = 0) -> float:
    """Per cent of the encoder's weights that are zero."""
    return 100 * sparse(records, label, seed).result.get("sparsity", 0)


def macs_saved_paper(records: Records, label: str, seed: int = 0) -> float:
    """`macs_saved` as the paper counts."""
    return macs_saved(records, label, seed, accounting="macs_paper")


def mean_relative_loss(records: Records, label: str) -> float:
    """`relative_loss`, the mean over the seeds there are."""
    return _mean(records, label, relative_loss)


def mean_loss_at_rate(records: Records, label: str) -> float:
    """`loss_at_rate`, the mean over the seeds there are."""
    return over_seeds(records, label, loss_at_rate)[0]


def mean_macs_saved(records: Records, label: str) -> float:
    """`macs_saved` after surgery, the mean over the seeds there are."""
    return over_seeds(records, label, macs_saved)[0]


def macs_saved(records: Records, label: str, seed: int = 0, accounting: str = "macs") -> float:
    """Per cent fewer multiply-accumulates of the encoder: after surgery ("macs"), or as the paper counts."""
    return 100 * (1 - sparse(records, label, seed).result[accounting] / first(records, label, seed).result["macs"])


def decoder_macs_saved(records: Records, label: str = "all layers") -> float:
    """The same of a decoder whose weights were projected, too, as the paper counts."""
    found = sparse(records, label).result
    return 100 * (1 - found["macs_paper_decoder"] / found["macs_decoder"])


def memory_saved(records: Records, label: str, seed: int = 0) -> float:
    """Per cent fewer bytes of the encoder: its sparse file against its dense weights, 16 bits each."""
    ours, whole = sparse(records, label, seed).result, first(records, label, seed).result
    return 100 * (1 - ours["encoder_bytes"] / whole["dense_bytes"])


def speedup(records: Records, label: str) -> dict:
    """The row of `cae_speed`: median and quartiles of dense over pruned."""
    rows = [row for record in records.find("cae_speed", data="kodak") for row in record.rows]
    for row in rows:
        if row["label"] == label:
            return row
    raise LookupError(f"cae_speed has not timed {label}: make it anew with `python -m reproduce study cae_speed`")


def least_speedup(records: Records, label: str) -> float:
    """The lower quartile of `speedup`."""
    return speedup(records, label)["lower"]


def density(records: Records, kind: str, radius: str = "common", coupled: bool = False) -> list[dict]:
    """Rows of Figure 2 for one projection, densest last."""
    rows = records.one("cae_density").rows
    found = [r for r in rows if (r["kind"], r["radius_rule"], r["coupled"]) == (kind, radius, coupled)]
    return sorted(found, key=lambda row: -row["sparsity"])


def macs_at_density(records: Records, kind: str, sparsity: float, accounting: str = "macs_paper") -> float:
    """Per cent fewer multiply-accumulates when ``sparsity`` of the encoder is zero, before any second descent."""
    rows = density(records, kind)
    grid, left = [row["sparsity"] for row in rows][::-1], [row[accounting] for row in rows][::-1]
    if not grid or not grid[0] <= sparsity <= grid[-1]:
        ends = f"from {grid[0]:.2f} to {grid[-1]:.2f}" if grid else "nowhere"
        raise LookupError(f"{kind} was projected {ends}, not to {sparsity}")
    return 100 * (1 - float(np.interp(sparsity, grid, left)))


def rising(*records: RunRecord, metric: str = "psnr") -> Curve:
    """Mean quality over mean rate of files at all steps of some records, without points that a smaller file equals."""
    return Curve.rising(*(record.curve(metric) for record in records))


def hull(records: Records, metric: str = "psnr") -> Curve:
    """The best that the dense models reach together."""
    found = made(records, "cae", seed=0)
    if not found:
        raise LookupError("no dense autoencoders: make them with `python -m reproduce study cae --preset laptop`")
    return rising(*found, metric=metric)


def psnr_near(records: Records, bpp: float, label: str | None = None) -> float:
    """Mean PSNR in dB at a rate of files: of one second descent, or of the dense models together."""
    curve = hull(records) if label is None else rising(sparse(records, label))
    return curve.at(bpp, label or "the dense models")


def over_standard(records: Records, codec: str, bpp: float) -> float:
    """PSNR in dB of the dense models above a standard codec on Kodak at a rate of files."""
    return psnr_near(records, bpp) - baselines.psnr_at(records, codec, bpp)


def macs_over_l1(records: Records, label: str) -> float:
    """Points by which a second descent saves more multiply-accumulates than l1, after surgery."""
    return macs_saved(records, label) - macs_saved(records, "l1")


# Data of figures and tables -------------------------------------------------------------------------------------------

NAMES = {  # of dense models and second descents; what is not here is a small dense encoder
    "dense": "dense",
    "l1": "l1",
    "bilevel_l11": "l1,1 (bilevel)",
    "l1inf": "l1,inf",
    "l21": "l2,1",
    "bilevel_l1inf": "l1,inf (bilevel)",
    "magnitude": "control: the largest weights of all layers",
    "random mask": "control: random weights",
    "random restart": "control: l1,1, from other first values",
    "dense, trained on": "control: dense, fine-tuned as long",
    "trained restart": "l1,1, fine-tuned",
    "per layer": "l1,1, a radius for each layer",
    "coupled, trained": "l1,1, stream coupled, fine-tuned",
    "filters, then l1": "whole filters, then l1, fine-tuned",
    "filters, then l1, rewound": "whole filters, then l1",
    "l1inf of taps": "l1,inf over input taps",
    "bilevel_l11, random start": "l1,1 (bilevel), random first values",
    "bilevel_l11, no quantiser": "l1,1 (bilevel), no quantiser",
    "bilevel_l11 at 87.87": "l1,1 (bilevel) at 87.87 %",
    "l1inf at 86.35": "l1,inf at 86.35 %",
    "all layers": "l1,1 (bilevel), decoder too",
}
RELEASED_NAMES = {"random start": "PyTorch's first values", "no quantiser": "no quantiser in training"}
MIDDLE = 128  # in 1/16384: the step 1/128


def macs_over_density(records: Records) -> FigureData:
    """Figure 2: multiply-accumulates of the projected encoder over the density, relative to the dense one.

    Two panels, as the paper counts and after surgery. One trained encoder, projected; no second descent. The points
    that the paper prints are rows with ``printed``, in the first panel.
    """
    ways = [(kind, False) for kind in PROJECTIONS] + [("bilevel_l11", True), ("bilevel_l1inf", True)]
    rows = []
    for column, panel in (("macs_paper", "as the paper counts"), ("macs", "after surgery")):
        for kind, coupled in ways:
            points = [(1 - row["sparsity"], row[column]) for row in density(records, kind, coupled=coupled)]
            name = f"{NAMES[kind]}, stream coupled" if coupled else NAMES[kind]
            rows.append(line(kind, name, points, panel=panel, coupled=coupled))
    for kind, printed_as in CONSTRAINTS.items():
        for saved in published("sparse_cae", series=printed_as, metric="macc_reduction"):
            where = saved["where"]
            beside = published("sparse_cae", where=where, series=printed_as, metric="sparsity")
            sparsity = saved["x"] if saved["x_name"] == "sparsity" else beside[0]["value"] if beside else None
            if sparsity is not None:  # the abstract and Sec. IV print none
                point = (1 - sparsity / 100, 1 - saved["value"] / 100)
                more = {"panel": "as the paper counts", "coupled": False, "printed": True}
                rows.append(line(kind, f"{printed_as}, printed ({where})", [point], **more))
    return FigureData(rows, [records.one("cae_density")])


def rate_distortion(records: Records, metric: str = "psnr") -> FigureData:
    """Figures 3 (``"psnr"``) and 4 (``"ssim"``): quality over the rate of files, Kodak, S near 83 %.

    One model a line, its step varied, as the paper's lines must have been made; means over 24 pictures. In PSNR also
    what the paper prints for l1,1, and what follows from it for the others if Table I's relative losses hold there.
    """
    used = {"dense": dense(records)} | {kind: sparse(records, kind) for kind in CONSTRAINTS}
    rows = [_course(kind, record, metric) for kind, record in used.items()]
    if metric == "psnr":
        printed = _printed_psnr()
        (bpp,), (psnr,) = printed["x"], printed["y"]
        losses = {r["series"]: r["value"] for r in published("sparse_cae", where="Table I", metric="relative_loss")}
        rows.append(printed)
        for kind, printed_as in {"dense": "dense", "l1": "l1", "l1inf": "l1,inf"}.items():
            more = round(losses.get(printed_as, 0) - losses["l1,1"], 2)
            name = f"{printed_as}, derived: {abs(more):g} dB {'more' if more > 0 else 'less'}"
            rows.append(line(kind, name, [(bpp, psnr + more)], printed=True))
    return FigureData(rows, list(used.values()))


def high_rates(records: Records, metric: str = "psnr") -> FigureData:
    """Figure 6: all dense models together, l1,1, and JPEG and JPEG 2000 as fairly as here, to high rates."""
    ours = [dense(records, label) for label in MODELS] + [sparse(records, "bilevel_l11")]
    best = zip(*hull(records, metric), strict=True)
    rows = [line("dense", "dense models, the best of four", best), _course("bilevel_l11", ours[-1], metric)]
    for codec in ("jpeg", "jpeg2000"):
        points = zip(*baselines.curve(records, codec, metric, high=True), strict=True)
        rows.append(line(codec, baselines.NAMES[codec], points))
        ours += baselines.baselines(records, codec, high=True)
    return FigureData(rows + [_printed_psnr()] * (metric == "psnr"), ours)


def _course(kind: str, record: RunRecord, metric: str) -> dict:
    """Files of one model, over its steps."""
    found = record.result.get("sparsity")
    name = f"{NAMES[kind]}, S = {100 * found:.1f} %" if found else NAMES[kind]
    return line(kind, name, zip(*record.curve(metric), strict=True))


def _printed_psnr() -> dict:
    """The one PSNR that the paper prints with a rate: of "the CAE with low energy consumption", so of l1,1."""
    (found,) = published("sparse_cae", metric="psnr")
    name = f"l1,1, printed: {found['setting']} {found['value']:g} dB at {found['x']:g} bpp"
    return line("bilevel_l11", name, [(found["x"], found["value"])], printed=True)


def training_course(records: Records) -> FigureData:
    """PSNR of validation pictures over the steps of both descents, rounded at the middle step."""
    used = [dense(records), *(sparse(records, label) for label in ("bilevel_l11", "trained restart"))]
    rows = []
    for record, series in zip(used, ("dense", "bilevel_l11", "bilevel_l11"), strict=True):
        history, label = record.result["history"], record.config["label"]
        name = "first descent" if series == "dense" else f"second: {NAMES[label]}"
        points = zip(history["step"], history["psnr"], strict=True)
        rows.append(line(series, name, points, fine_tuned=_fine_tuned(record)))
    return FigureData(rows, used)


FIGURE_5 = ("bilevel_l11 at 87.87", "l1inf at 86.35")


def details(
    records: Records, bpp: float = 2.25, side: int = 128, models: Models | None = None,
    second: tuple[str, ...] = FIGURE_5, kodak: tuple[str, int, int] = ("kodim23", 190, 470),
) -> FigureData:  # fmt: skip
    """Figure 5 (and, near 4.28 bpp and of l1,1 and l1,inf at 83 %, 7): a square of ``side`` pixels from files of the
    dense model and of ``second`` descents at one rate.

    ``kodak`` is a picture of Kodak, and the row and column of the middle of the square; where Kodak is not at hand, it
    is a square of the astronaut.
    """
    name, row, column = kodak if data.available("kodak") else ("astronaut", 128, 228)
    original = (data.kodak() if data.available("kodak") else data.bundled())[name]
    top, left, models = row - side // 2, column - side // 2, models or default_models()
    shown = {f"{name}, original\n24 bpp": original}
    used = {"dense": dense(records)} | {label: sparse(records, label) for label in second}
    for kind, record in used.items():
        if models.find(record.result["file"]).key != record.result["model"]:
            raise LookupError(f"the model {record.result['file']} is not the one of its record")
        file = Cae(model=record.result["file"], models=models).at_bpp(original, bpp)
        decoded = decode(file, models=models)
        rate = 8 * len(file) / original[..., 0].size
        psnr = metrics.psnr(reference=original, reconstruction=decoded)
        saved = "" if kind == "dense" else f", {macs_saved(records, kind):.0f} % fewer MACs"
        shown[f"{NAMES[kind]}{saved}\n{rate:.2f} bpp, {psnr:.2f} dB"] = decoded
    square = np.s_[top : top + side, left : left + side]
    return FigureData([{"title": title, "picture": whole[square]} for title, whole in shown.items()], [*used.values()])


def table_1(records: Records) -> FigureData:
    """Table I: sparsity, MACs, memory and loss of the paper's constraints, with the printed numbers in brackets.

    Means over the seeds; ± is the standard deviation.
    """
    rows, used = [], made(records, "cae")
    for kind, printed_as in CONSTRAINTS.items():
        mean = functools.partial(_mean, records, kind)
        printed = {row["metric"]: row["value"] for row in published("sparse_cae", where="Table I", series=printed_as)}
        loss = _with_spread(*over_seeds(records, kind, relative_loss))
        rows.append({
            "constraint": NAMES[kind],
            "S %": f"{mean(sparsity):.2f} ({printed['sparsity']:g})",
            "fewer MACs %, paper's count": f"{mean(macs_saved_paper):.0f} ({printed['macc_reduction']:g})",
            "after surgery": f"{mean(macs_saved):.0f}",
            "less memory %": f"{mean(memory_saved):.1f} ({printed['memory_reduction']:g})",
            "relative loss dB": f"{loss} ({printed['relative_loss']:g})",
            **_loss_cells(records, kind),
        })  # fmt: skip
        used += made(records, "cae_sparse", label=kind)
    return FigureData(rows, used)


def variants_table(records: Records) -> FigureData:
    """Every second descent and every control: what it saves, and what it loses. ± is the deviation over seeds."""
    records.some("cae_sparse")
    rows = []
    for label in labels(records):
        record = sparse(records, label, seeds_of(records, label)[0])
        try:
            speed = speedup(records, label)
            quicker = f"{speed['speedup']:.2f} ({speed['lower']:.2f} to {speed['upper']:.2f})"
        except LookupError:
            quicker = "–"
        steps = f"{record.config['descent']['steps'] * (1 + _fine_tuned(record)):,}"
        rows.append(_saved_and_lost(records, label, **{"times as fast": quicker, "steps": steps}))
    known = [row for row in rows if row["dB at the same bytes"] != "–"]
    known.sort(key=lambda row: -float(row["dB at the same bytes"].split()[0]))
    rows = known + [row for row in rows if row not in known]
    used = [*made(records, "cae"), *made(records, "cae_sparse"), *records.find("cae_speed", data="kodak")]
    return FigureData(rows, used)


def _saved_and_lost(records: Records, label: str, **more: str) -> dict[str, str]:
    """The cells of a second descent that every table of them has, and more between what is saved and what is lost.

    Means over the seeds.
    """
    mean = functools.partial(_mean, records, label)
    return {
        "second descent": NAMES.get(label, f"control: {label}"),
        "S %": f"{mean(sparsity):.1f}",
        "fewer MACs %": f"{round(mean(macs_saved))}",
        "less memory %": f"{round(mean(memory_saved))}",
        **more,
        "relative loss dB": _with_spread(*over_seeds(records, label, relative_loss)),
        **_loss_cells(records, label),
    }  # fmt: skip


def released_table(records: Records) -> FigureData:
    """First descents as ours and as the released code's, one thing at a time: rounded to the middle step, and not."""
    rows, used = [], []
    for label, name in ({"high": "ours"} | RELEASED_NAMES).items():
        record = dense(records, label)
        used.append(record)
        middle = {"bpp": record.mean("bpp", setting=MIDDLE), "psnr": record.mean("psnr", setting=MIDDLE)}
        unrounded = np.mean([10 * np.log10(255**2 / row["mse_unquantised"]) for row in record.rows])
        longer = "–" if label == "high" else f"{released_longer(records, label):+.0f}"
        rows.append({
            "first descent": name, "PSNR dB, nothing rounded": f"{unrounded:.2f}",
            "bpp at step 1/128": f"{middle['bpp']:.2f}", "PSNR dB": f"{middle['psnr']:.2f}",
            "bytes at the same PSNR %": longer,
        })  # fmt: skip
    return FigureData(rows, used)


def second_table(records: Records) -> FigureData:
    """Second descents beside those of Table I: as the released code, at other sparsities, of all layers."""
    rows = []
    for label in ("bilevel_l11", "l1inf", *VARIANTS):
        row = _saved_and_lost(records, label)
        first_cells = {name: row[name] for name in ("second descent", "S %")}
        counted = f"{round(_mean(records, label, macs_saved_paper))}"
        after = row.pop("fewer MACs %")
        rows.append(first_cells | {"fewer MACs %, paper's count": counted, "after surgery": after} | row)
    used = [*made(records, "cae"), *made(records, "cae_released"), *made(records, "cae_sparse")]
    return FigureData(rows, used + made(records, "cae_variants"))


def _mean(records: Records, label: str, measure: Callable[[Records, str, int], float]) -> float:
    return over_seeds(records, label, measure)[0]


def _fine_tuned(record: RunRecord) -> bool:
    """Did its second descent begin from trained weights?"""
    return record.config["constraint"] is not None and record.config["constraint"]["restart"] == "trained"


def _loss_cells(records: Records, label: str) -> dict[str, str]:
    """The difference at equal bytes over the seeds, and the rates that it is a mean over."""
    try:
        low, high = at_rate(records, label, seeds_of(records, label)[0]).overlap
        text = _with_spread(*over_seeds(records, label, loss_at_rate))
    except LookupError:
        return {"dB at the same bytes": "–", "over bpp": "no rates in common"}
    return {"dB at the same bytes": text, "over bpp": f"{low:.1f} to {high:.1f}"}


def _with_spread(mean: float, deviation: float) -> str:
    return f"{mean:+.2f}" if np.isnan(deviation) else f"{mean:+.2f} ± {deviation:.2f}"


def surgery_table(stored: Stored) -> FigureData:
    """What surgery leaves of an encoder, layer by layer."""
    rows = []
    for row in surgery.report(_network(stored).encoder):
        inputs = "" if "inputs" not in row else f"{row['inputs']:.0f} of {row['all_inputs']:.0f}"
        rows.append({
            "layer": row["layer"], "filters": f"{row['filters']} of {row['all_filters']}", "inputs": inputs,
            "MACs a pixel": f"{row['macs']:,.0f} of {row['all_macs']:,.0f}",
        })  # fmt: skip
    return FigureData(rows, [])


def models_table(models: Models | None = None) -> FigureData:
    """The trained models of Sparse CAE, by default in ``results/models``: what a file can name."""
    models, rows = models or default_models(), []
    for stored in models.of_codec("cae"):
        rows.append({
            "model": stored.name, "key": stored.key, "sparsity": f"{100 * stored.about.get('sparsity', 0):.0f} %",
            "steps": f"1/{1 / stored.about['finest']:.0f} to 1/{1 / stored.about['coarsest']:.0f}",
            "chosen by the codec": "yes" if stored.about.get("search") else "only by name",
            "kB": f"{models.files[stored.name].stat().st_size / 1000:,.0f}",
        })  # fmt: skip
    return FigureData(rows, [])


FIGURES = {
    "cae-density": Entry("MACs over density (Sparse CAE, Fig. 2)", macs_over_density, "cae_density"),
    "cae-rate-distortion": Entry(
        "PSNR and mean SSIM over the rate (Sparse CAE, Figs 3 and 4)", rate_distortion, "cae_sparse"
    ),
    "cae-table": Entry("Sparse CAE, Table I", table_1, "cae_sparse"),
    "cae-pictures": Entry("Details (Sparse CAE, Figs 5 and 7)", details, "cae_variants"),
    "cae-high-rates": Entry("High rates (Sparse CAE, Fig. 6)", high_rates, "cae"),
    "cae-released": Entry("First descents as in the released code", released_table, "cae_released"),
    "cae-second": Entry("Second descents beside those of Table I", second_table, "cae_variants"),
    "cae-variants": Entry("Every second descent, and the controls", variants_table, "cae_sparse"),
    "cae-training": Entry("PSNR over steps of both descents", training_course, "cae_sparse"),
}
