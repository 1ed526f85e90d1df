"""Plans that measure trained models of Sparse CAE in use: operations, coders, finer steps, and seconds."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from reproduce import bench
from reproduce.models import kept, made_before, models_folder
from reproduce.papers.sparse_cae.plans import (
    HEADLINE,
    PRESETS,
    dense_plan,
    dense_plans,
    encoder_macs,
    files_of,
    network_of,
    paper_macs,
    released_plans,
    sparse_plans,
    variant_plans,
)
from reproduce.pictures import PicturePlan
from reproduce.records import Records
from reproduce.runner import Plan, Request, Work
from sparsecomp import data
from sparsecomp.checks import InputError
from sparsecomp.codecs.trained import Cae, latent_of
from sparsecomp.coding import contexts, latents
from sparsecomp.models import pretrained
from sparsecomp.models.inference import to_input
from sparsecomp.models.sparse_cae import SCALE
from sparsecomp.sparsify import surgery
from sparsecomp.sparsify.projections import PROJECTIONS
from sparsecomp.training.double_descent import Constraint, project, second_start


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
        first, rows = network_of(pretrained.load(self.first)), []
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
    first, key = made_before(dense_plan(request, "high", request.seed), request)
    return [DensityPlan(
        study="cae_density", name=f"density-{request.preset}", preset=request.preset, seed=request.seed,
        device=request.device, first=first, key=key, grid=PRESETS[request.preset].grid,
    )]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CodersPlan(PicturePlan):
    """The latents of dense models as bytes, written with one table for each channel and with contexts.

    Parameters
    ----------
    models : dict
        By label the file, the key, and the steps to round at.
    """

    models: dict[str, tuple[Path, str, tuple[int, ...]]]

    def config(self) -> dict:
        """What it adds to the configuration."""
        return super().config() | {
            "codec": "cae", "models": {label: key for label, (_, key, _) in self.models.items()},
            "steps": {label: list(steps) for label, (_, _, steps) in self.models.items()},
        }  # fmt: skip

    def measure(self, work: Work, piece: str) -> list[dict]:
        """A row a model and step."""
        picture, rows = self.shown()[piece], []
        for label, (file, _, steps) in self.models.items():
            stored = pretrained.load(file)
            assert stored.contexts is not None  # see `coders_plans`
            z = latent_of(stored, picture)
            for step in steps:
                symbols = Cae.symbols(z, step)
                rows.append({
                    "picture": piece, "label": label, "setting": step,
                    "tables_bytes": len(latents.encode(symbols, stored.counts, step)),
                    "contexts_bytes": len(contexts.encode(symbols, stored.contexts)),
                })  # fmt: skip
        return rows


def coders_plans(request: Request) -> list[CodersPlan]:
    """One record, of the dense models of the first seed; none where files are coded with tables."""
    preset = PRESETS[request.preset]
    if preset.coder != "contexts":
        return []
    dense = [plan for plan in dense_plans(request) if plan.seed == request.seed]
    models = {plan.label: (*made_before(plan, request), plan.steps) for plan in dense}
    return [CodersPlan(
        study="cae_coders", name=f"coders-{request.preset}", preset=request.preset, seed=request.seed,
        device=request.device, pictures_of=request.pictures_of or "kodak", count=preset.pictures, models=models,
    )]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FinePlan(PicturePlan):
    """Files of a trained model at finer steps than those of its record.

    Parameters
    ----------
    label : str
    model : Path
    key : str
        Of the model.
    steps : tuple of int
    """

    label: str
    model: Path
    key: str
    steps: tuple[int, ...]

    def config(self) -> dict:
        """What it adds to the configuration."""
        return super().config() | {
            "codec": "cae", "label": self.label, "model": self.key, "steps": list(self.steps),
        }  # fmt: skip

    def measure(self, work: Work, piece: str) -> list[dict]:
        """A row a step."""
        return files_of(pretrained.load(self.model), self.model, self.shown()[piece], piece, self.steps)


def fine_plans(request: Request) -> list[FinePlan]:
    """The dense model for high rates and the paper's l1,1, of the first seed: one record each, if the preset has
    ``finer`` steps.
    """
    preset, plans = PRESETS[request.preset], []
    if not preset.finer:
        return []
    of = {"high": dense_plan(request, "high", request.seed)}
    of |= {plan.label: plan for plan in sparse_plans(request) if (plan.label, plan.seed) == (HEADLINE[0], request.seed)}
    for label, plan in of.items():
        file, key = made_before(plan, request)
        plans.append(FinePlan(
            study="cae_fine", name=f"fine-{label}-{request.preset}".replace("_", "-"), preset=request.preset,
            seed=request.seed, device=request.device, pictures_of=plan.pictures_of, count=plan.count, label=label,
            model=file, key=key, steps=preset.finer,
        ))  # fmt: skip
    return plans


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
        whole = surgery.prune(network_of(pretrained.load(self.dense)).encoder).to(self.device)
        for label, (file, key) in self.models.items():
            stored = pretrained.load(file)
            if stored.key != key:
                raise InputError(f"model {stored.name} is not the one of its record: {stored.key}, {key}")
            small = surgery.prune(network_of(stored).encoder).to(self.device)
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
    folder, (dense, _) = models_folder(request.out), made_before(dense_plan(request, "high", request.seed), request)
    models = {r.config["label"]: (kept(folder / f"{r.result['file']}.safetensors"), r.result["model"]) for r in found}
    return [SpeedPlan(
        study="cae_speed", name=f"speed-{request.preset}", preset=request.preset, seed=request.seed,
        device=request.device, pictures_of=of, count=1, dense=dense, models=models,
    )]  # fmt: skip


STUDIES = {
    "cae": dense_plans, "cae_sparse": sparse_plans, "cae_density": density_plans, "cae_speed": speed_plans,
    "cae_coders": coders_plans, "cae_fine": fine_plans, "cae_released": released_plans, "cae_variants": variant_plans,
}  # fmt: skip

