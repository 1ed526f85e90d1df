"""The studies of Sparse CAE: dense autoencoders, sparse second descents and their controls, MACs over density, speed.

Every training is one record, and one model in ``models/`` beside the folder of records. A second descent begins from
the model of a first one, so `cae` comes before the others.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sparsecomp import complexity, results
from sparsecomp.checks import InputError
from sparsecomp.codecs import evaluate
from sparsecomp.codecs.trained import Cae
from sparsecomp.coding import latents, sparse_weights
from sparsecomp.models import pretrained
from sparsecomp.models.inference import in_strips, to_input
from sparsecomp.models.pretrained import Models
from sparsecomp.models.sparse_cae import MARGIN, SCALE, Shape, SparseCAE
from sparsecomp.profiles import Descent, as_dict
from sparsecomp.sparsify import surgery
from sparsecomp.sparsify.projections import PROJECTIONS
from sparsecomp.studies.base import Setup, config_of, finish, missing, pictures_from, row_of
from sparsecomp.studies.trainings import (
    VALIDATION,
    Plan,
    history_of,
    kept,
    make,
    model_path,
    models_folder,
    pictures,
    sets,
)
from sparsecomp.training.autoencoder import CaeTraining
from sparsecomp.training.double_descent import Constraint, project, second_start
from sparsecomp.training.loop import run

# Models for high rates, as the paper's, and for lower ones: what they change in the profile's descent.
MODELS: dict[str, dict] = {
    "high": {},
    "middle": {"lam": 1.2},
    "low": {"lam": 1.0, "finest": 1 / 64, "coarsest": 1 / 24},
    "lowest": {"lam": 4.0, "finest": 1 / 56, "coarsest": 1 / 24},
}
SEEDS = 3  # of the dense model for high rates, and of `HEADLINE`
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
    "dense, trained on": Constraint("l1", 0.0, restart="trained"),  # as many steps as what goes on from trained weights
    "per layer": Constraint("bilevel_l11", S, radius="per_layer"),
    "coupled, trained": Constraint("bilevel_l11", S, coupled=True, restart="trained"),
    "filters, then l1": Constraint("l1", S, coupled=True, filters=0.23, restart="trained"),
    "filters, then l1, rewound": Constraint("l1", S, coupled=True, filters=0.23),
}
HEADLINE = ("bilevel_l11", "filters, then l1, rewound")  # from three seeds: the paper's, and what goes beyond it
STEPS = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072)  # of the latent, in 1/16384: 1/256 .. 1/5


@dataclass(frozen=True)
class CaePlan(Plan):
    """One descent.

    Parameters
    ----------
    descent : Descent
    shape : Shape
    first : Path, optional
        The model of the first descent, for a second one.
    first_key : str, optional
        Its key.
    constraint : Constraint, optional
    """

    descent: Descent
    shape: Shape
    first: Path | None = None
    first_key: str | None = None
    constraint: Constraint | None = None

    def config(self) -> dict:
        """What it adds to the configuration of its record."""
        return super().config() | {
            "codec": "cae", "descent": as_dict(self.descent), "shape": as_dict(self.shape),
            "constraint": as_dict(self.constraint) if self.constraint else None,
            "first": self.first_key,
        }  # fmt: skip


# The studies ----------------------------------------------------------------------------------------------------------


def cae(setup: Setup, pictures_of: str = "kodak") -> list[Path]:
    """Dense autoencoders for four ranges of rates, the one for high rates from three seeds: one record each.

    Rows are pictures of Kodak at a range of steps. The high one is the first descent of all sparse ones.
    """
    plans = [_dense(setup, pictures_of, label, setup.seed) for label in MODELS]
    plans += [_dense(setup, pictures_of, "high", setup.seed + seed) for seed in range(1, _seeds(setup))]
    return make(setup, "cae", pictures_of, plans, _descend, _measure)


def cae_sparse(setup: Setup, pictures_of: str = "kodak") -> list[Path]:
    """Second descents near S = 83 % from the dense model for high rates, and the controls: one record each.

    The paper's constraint and what goes beyond it are run from three seeds. The last controls, small dense encoders,
    have about the multiply-accumulates that surgery leaves of these two.
    """
    plans, small = [], {}
    for label, constraint in SPARSE.items():
        for seed in range(setup.seed, setup.seed + (_seeds(setup) if label in HEADLINE else 1)):
            dense = _dense(setup, pictures_of, "high", seed)
            first, key = _first(setup, pictures_of, seed)
            changes = {"label": label, "first": first, "first_key": key, "constraint": constraint, "search": False}
            plans.append(replace(dense, **changes))
            if label in HEADLINE and seed == setup.seed:
                control = _small(plans[-1])
                small[control.label] = control
    return make(setup, "cae_sparse", pictures_of, [*plans, *small.values()], _descend, _measure)


def _small(plan: CaePlan) -> CaePlan:
    """The control of a second descent: a dense encoder as wide as its multiply-accumulates allow, trained once."""
    first = pretrained.load(plan.first).model
    trained = replace(plan.constraint, restart="trained")  # of first values some are zero, and would not be counted
    left = second_start(first, project(first, plan.constraint, plan.seed), trained, plan.seed)
    shapes = [replace(plan.shape, encoder_width=width) for width in range(8, plan.shape.width + 1, 8)]
    shape = min(shapes, key=lambda shape: abs(_whole_macs(SparseCAE(shape).encoder) - _encoder_macs(left)))
    label = f"small dense {shape.encoder_width}"
    return replace(plan, label=label, shape=shape, first=None, first_key=None, constraint=None)


def cae_density(setup: Setup, pictures_of: str = "kodak") -> list[Path]:
    """Figure 2: what every projection of the trained encoder leaves of its multiply-accumulates, over the density.

    One first descent and no second. Counted as the paper does, and after surgery. One record.
    """
    first = pretrained.load(_first(setup, pictures_of, setup.seed)[0])
    grid = (
        (0.5, 0.83)
        if setup.profile.name == "smoke"
        else (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.83, 0.86, 0.9, 0.95)
    )
    ways = [(kind, "common", False) for kind in PROJECTIONS]
    ways += [("bilevel_l11", "per_layer", False), ("bilevel_l11", "common", True), ("bilevel_l1inf", "common", True)]
    config = config_of(setup, "none", {}) | {"codec": "cae", "model": first.key, "grid": list(grid)}
    path = results.path_of(setup.out, "cae_density", f"density-{setup.profile.name}", config)
    if not missing(setup, path):
        return [path]
    begun, rows = time.perf_counter(), []
    whole = _encoder_macs(first.model)
    for kind, radius, coupled in ways:
        for sparsity in grid:
            constraint = Constraint(kind, sparsity, radius=radius, coupled=coupled)
            projected = project(first.model, constraint)
            left = second_start(first.model, projected, replace(constraint, restart="trained"), 0)
            rows.append({
                "kind": kind, "radius_rule": radius, "coupled": coupled, "asked": sparsity,
                "sparsity": round(projected.sparsity, 5), "radius": projected.radius,
                "macs_paper": round(_paper_macs(left) / whole, 5), "macs": round(_encoder_macs(left) / whole, 5),
            })  # fmt: skip
        setup.report(f"density {kind}, {radius}{', coupled' if coupled else ''}: {len(grid)} densities")
    finish(setup, "cae_density", path, config, rows, time.perf_counter() - begun)
    return [path]


def cae_speed(setup: Setup, pictures_of: str = "kodak") -> list[Path]:
    """Wall-clock of pruned encoders against the dense one, whole pictures, pairs of calls in turn. One record.

    Run it on a machine that has nothing else to do. Every model of `cae_sparse` of the first seed.
    """
    made = [r for r in results.records("cae_sparse", setup.out, profile=setup.profile.name, data=pictures_of)
            if r.config["seed"] == setup.seed]  # fmt: skip
    if not made:
        raise InputError("there are no records of cae_sparse: make them first")
    every = pictures_from(pictures_of, 1)
    picture = next(iter(every.values()))
    dense = pretrained.load(_first(setup, pictures_of, setup.seed)[0])
    config = config_of(setup, pictures_of, every) | {
        "codec": "cae", "models": {r.config["label"]: r.result["model"] for r in made},
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    path = results.path_of(setup.out, "cae_speed", f"speed-{setup.profile.name}", config)
    if not missing(setup, path):
        return [path]
    begun, rows, x = time.perf_counter(), [], to_input(picture, SCALE, setup.device)
    # Through surgery, too, which finds nothing to remove: compared are networks, not two ways of writing them.
    whole = surgery.prune(dense.model.encoder).to(setup.device)
    for record in made:
        stored = pretrained.load(kept(models_folder(setup) / f"{record.result['file']}.safetensors"))
        if stored.key != record.result["model"]:
            raise InputError(
                f"model {stored.name} is not the one of its record: {stored.key}, {record.result['model']}"
            )
        small = surgery.prune(stored.model.encoder).to(setup.device)
        with torch.inference_mode():
            ratio = complexity.relative_latency(lambda: whole(x), lambda small=small: small(x), repeats=15, warmup=2)  # noqa: B023
        rows.append({"picture": next(iter(every)), "label": record.config["label"], "speedup": round(ratio.median, 4),
                     "lower": round(ratio.lower, 4), "upper": round(ratio.upper, 4)})  # fmt: skip
        setup.report(f"speed {record.config['label']}: {ratio.median:.2f} times")
    finish(setup, "cae_speed", path, config, rows, time.perf_counter() - begun)
    return [path]


# How they work --------------------------------------------------------------------------------------------------------


def _first(setup: Setup, pictures_of: str, seed: int) -> tuple[Path, str]:
    """Return the model of a first descent and its key; `ValueError` if there is none yet.

    A model that is not kept has its key in the record of its training, which is enough for a dry run.
    """
    path = kept(model_path(setup, _dense(setup, pictures_of, "high", seed)))
    if path.exists():
        return path, pretrained.load(path).key
    recorded = [r.result["model"] for r in results.records("cae", setup.out) if r.result["file"] == path.stem]
    if not recorded or not setup.dry_run:
        raise InputError(f"there is no model {path.stem}: make it first, with `sparsecomp study cae`")
    return path, recorded[0]


def _seeds(setup: Setup) -> int:
    return 1 if setup.profile.name == "smoke" else SEEDS


def _dense(setup: Setup, pictures_of: str, label: str, seed: int) -> CaePlan:
    """A first descent."""
    descent = replace(setup.profile.cae, **MODELS[label])
    search = seed == setup.seed and setup.profile.name != "smoke"
    return CaePlan(label, seed, *sets(setup, pictures_of), search, descent, Shape(setup.profile.cae_width))


def _steps(setup: Setup, plan: CaePlan) -> list[int]:
    """Steps to measure at: those that the model was trained for and up to a factor of two beyond; fewer of controls."""
    if setup.profile.name == "smoke":
        return list(STEPS[::4])
    low, high = (latents.UNIT * delta for delta in (plan.descent.finest / 2, plan.descent.coarsest * 2))
    steps = [step for step in STEPS if low <= step <= high]
    whole = plan.label in (*MODELS, "l1", "bilevel_l11", "l1inf", "filters, then l1") and plan.seed == setup.seed
    return steps if whole else steps[::2]


def _descend(setup: Setup, plan: CaePlan, model_file: Path, checkpoint: Path) -> dict:
    """Train one model, store it, and say what became of it."""
    found: dict = {}
    masks = None
    if plan.constraint is None:
        model = SparseCAE(plan.shape, plan.seed)
    else:
        first = pretrained.load(plan.first).model
        projected = project(first, plan.constraint, plan.seed)
        model, masks = second_start(first, projected, plan.constraint, plan.seed), projected.masks
        found |= {"sparsity": round(projected.sparsity, 5), "radius": projected.radius}
    scored = pictures(plan.validate_on, VALIDATION)
    training = CaeTraining(
        model, pictures(plan.train_on), scored, plan.descent, seed=plan.seed, masks=masks, device=setup.device
    )
    run(training, checkpoint=checkpoint, max_seconds=setup.seconds_left())
    model.half().float()  # what is stored is what is measured, and what the tables are made for
    score = training.score()
    counts = latents.counts_of(training.prior, training.histogram())
    about = {
        "label": plan.label, "seed": plan.seed, "finest": plan.descent.finest, "coarsest": plan.descent.coarsest,
        "lam": plan.descent.lam, "steps": plan.descent.steps, "sparsity": found.get("sparsity", 0.0),
        "search": plan.search, "profile": setup.profile.name,
    }  # fmt: skip
    pretrained.save(model_file, model.cpu(), counts, about)
    stored = pretrained.load(model_file)
    weights = {name: w for name, w in stored.model.encoder.state_dict().items()}
    dense_bytes = 2 * sum(w.numel() for w in weights.values())
    return found | {
        "model": stored.key, "file": model_file.stem, "seconds": round(training.seconds, 1),
        **{name: round(value, 4) for name, value in score.items()},
        "macs": _encoder_macs(stored.model), "macs_paper": _paper_macs(stored.model),
        "macs_decoder": _decoder_macs(stored.model), "encoder_bytes": len(sparse_weights.encode(weights)),
        "dense_bytes": dense_bytes,
        "history": history_of(training),
    }  # fmt: skip


def _measure(setup: Setup, plan: CaePlan, model_file: Path, name: str, picture: np.ndarray) -> list[dict]:
    """One picture at every step: files, and the reconstruction of a latent that nobody rounded."""
    models, rows = Models(model_file), []
    stored = models.find(model_file)
    with torch.inference_mode():
        z = in_strips(stored.model.encoder, to_input(picture, SCALE), scale=SCALE, margin=MARGIN, down=True)
        shown = in_strips(stored.model.decoder, z, scale=SCALE, margin=MARGIN, down=False)[0]
        shown = (shown[:, : picture.shape[0], : picture.shape[1]].clamp(0, 1) * 255).round().permute(1, 2, 0)
    mse = float((shown - torch.from_numpy(picture)).square().double().mean())
    for step in _steps(setup, plan):
        measured = evaluate(Cae(model=str(model_file), models=models, step=step), picture)
        symbols = latents.quantise(z, step)[0].numpy()
        row = row_of(measured, round(latents.bits(symbols, stored.counts, step)))
        rows.append({"picture": name, "setting": step} | row | {"mse_unquantised": round(mse, 5)})
    return rows


def _encoder_macs(model: SparseCAE) -> float:
    """Multiply-accumulates a pixel of what surgery leaves of an encoder; with what it computes because leaving it out
    would take longer.
    """
    return _whole_macs(surgery.prune(model.encoder))


def _whole_macs(encoder: nn.Module) -> float:
    """Multiply-accumulates a pixel of an encoder as it is, zeros and all."""
    side = 16 * SCALE
    return complexity.macs_per_pixel(encoder, (1, 3, side, side), pixels=side * side)


def _paper_macs(model: SparseCAE) -> float:
    side = 16 * SCALE
    return complexity.macs_paper(model.encoder, (1, 3, side, side)) / side**2


def _decoder_macs(model: SparseCAE) -> float:
    side = 16
    return complexity.macs_per_pixel(model.decoder, (1, model.shape.latent, side, side), pixels=(side * SCALE) ** 2)
