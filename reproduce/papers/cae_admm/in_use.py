"""Plans that measure trained models of CAE-ADMM in use: Tables 1 and 2, random rounding, and a coarser step."""

from __future__ import annotations

import copy
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reproduce.models import VALIDATION, kept, keys_on_record, not_made, sets
from reproduce.papers.cae_admm.plans import (
    AFTER,
    BEFORE,
    ESTIMATED,
    NEAR,
    PRESETS,
    PRUNED,
    STEPS,
    TUNED,
    CodePlan,
    code_plans,
    schedule_plans,
    unpruned_plans,
    variant_plans,
)
from reproduce.papers.cae_admm.released import by_patches, of_code
from reproduce.pictures import PicturePlan, pictures, row_of
from reproduce.runner import Plan, Request, Work
from sparsecomp import data, metrics
from sparsecomp.codecs import evaluate, get_codec
from sparsecomp.codecs.trained import CaeTheis, latent_of, pruned, read_symbols
from sparsecomp.coding import integer_latents
from sparsecomp.coding.container import unpack
from sparsecomp.models import pretrained
from sparsecomp.models.cae_admm import CaeAdmm
from sparsecomp.models.pretrained import Models, Stored


def seconds(row: dict) -> float:
    """From picture to file to picture."""
    return row["encode_seconds"] + row["decode_seconds"]


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
                row |= of_code(read_symbols(unpack(measured.data), models)[1])
            rows.append(row | by_patches(picture, measured.reconstruction))
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
    plain = {label: path for label, (_, path) in _compared(request, (BEFORE, *PRUNED, *ESTIMATED)).items()}
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


def _compared(request: Request, labels: Sequence[str]) -> dict[str, tuple[CodePlan, Path]]:
    """Of these labels the first seed's trainings, and their models; `ValueError` where one is not there.

    `BEFORE` is the one that was trained for as many steps as the others.
    """
    plans = {plan.label: plan for plan in (*unpruned_plans(request), *code_plans(request)) if plan.seed == request.seed}
    plans |= {BEFORE: plans[TUNED]} if TUNED in plans else {}
    found = {label: (plan, kept(plan.model_file)) for label, plan in plans.items() if label in labels}
    for plan, path in found.values():
        if not path.exists():
            recorded = keys_on_record(path, plan.study, request.out)
            raise not_made(path, plan.study, plan.preset, recorded=bool(recorded))
    return found


def _near(model: str, scored: list[np.ndarray]) -> tuple[float, dict]:
    """The setting of a model whose files are nearest to 0.6 bpp in the mean; SSIM, and the codec's options.

    Of a pruned model the setting is the share of its code that is kept, of an estimated one the step. A model that does
    not come within 10 % counts as the worst.
    """
    stored, pixels = pretrained.load(Path(model)), [picture.shape[0] * picture.shape[1] for picture in scored]
    estimated, counts = stored.codec == "cae-theis", stored.counts
    codes = [stored.encode(picture).numpy() if estimated else latent_of(stored, picture) for picture in scored]

    def symbols(setting: float) -> list[np.ndarray]:
        return [CaeTheis.symbols(code, round(setting)) if estimated else pruned(code, setting) for code in codes]

    def rate(setting: float) -> float:
        own = integer_latents.coarser(counts, round(setting)) if estimated else counts
        return float(np.mean([integer_latents.bits(code, own, integer_latents.threshold_of(code)) / n
                              for code, n in zip(symbols(setting), pixels, strict=True)]))  # fmt: skip

    first = integer_latents.STEP if estimated else 1.0
    setting = _nearest([round(first * 1.05**k) if estimated else round(0.9**k, 5) for k in range(40)], rate)
    options = {"model": model} | ({} if setting == first else {"step" if estimated else "keep": setting})
    if abs(rate(setting) / NEAR - 1) > 0.1:
        return 0.0, options
    unit = setting / first if estimated else 1.0
    pairs = [(picture, stored.decode(code, *picture.shape[:2], unit=unit))
             for code, picture in zip(symbols(setting), scored, strict=True)]  # fmt: skip
    return float(np.mean([metrics.ssim(reference=a, reconstruction=b) for a, b in pairs])), options


def _nearest(settings: Sequence[float], rate: Callable[[float], float]) -> float:
    """The setting whose rate is nearest to 0.6 bpp; rates fall along the settings."""
    below = bisect_left(settings, True, key=lambda setting: rate(setting) <= NEAR)
    return min(settings[max(0, below - 1) : below + 1], key=lambda setting: abs(rate(setting) - NEAR))


def _mean_bpp(codec: str, options: dict, scored: list[np.ndarray]) -> float:
    own = get_codec(codec, **options)
    return float(np.mean([8 * len(own.encode(picture)) / (picture.shape[0] * picture.shape[1]) for picture in scored]))


@dataclass(frozen=True, kw_only=True)
class UsePlan(PicturePlan):
    """One trained model on every picture, its codes rounded in other ways than in training.

    Parameters
    ----------
    label : str
    model : Path
    key : str
    """

    label: str
    model: Path
    key: str

    def config(self) -> dict:
        """What it adds to the configuration."""
        return super().config() | {"codec": self.codec, "label": self.label, "model": self.key}

    @property
    def codec(self) -> str:
        """The one that the model is for."""
        return pretrained.load(self.model).codec

    def row(self, picture: np.ndarray, model: Path, **options: Any) -> dict:
        """A picture's file by a model, and what is in it."""
        models = Models(model)
        measured = evaluate(get_codec(self.codec, model=str(model), models=models, **options), picture)
        symbols = read_symbols(unpack(measured.data), models)[1]
        counts = models.find(model).counts
        estimate = integer_latents.bits(symbols, counts, integer_latents.threshold_of(symbols))
        return row_of(measured, round(estimate)) | of_code(symbols)


@dataclass(frozen=True, kw_only=True)
class RoundingPlan(UsePlan):
    """What a trained model loses where its code is rounded at random in use, too, as the released code does.

    Parameters
    ----------
    draws : tuple of int
        Seeds of the random rounding.
    """

    draws: tuple[int, ...] = (0, 1, 2)

    def config(self) -> dict:
        """What it adds to the configuration."""
        return super().config() | {"draws": list(self.draws)}

    def measure(self, work: Work, piece: str) -> list[dict]:
        """One picture: to the nearest, and at random for each seed."""
        ways = {"nearest": None} | {f"random {seed}": seed for seed in self.draws}
        return [{"picture": piece, "setting": setting} | self.row(self.shown()[piece], self.model, draws=draws)
                for setting, draws in ways.items()]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class StepPlan(UsePlan):
    """A trained model whose codes are rounded to multiples of a step in use: `coarser`.

    Parameters
    ----------
    steps : tuple of int
        Powers of two.
    """

    steps: tuple[int, ...] = STEPS

    def config(self) -> dict:
        """What it adds to the configuration."""
        return super().config() | {"steps": list(self.steps)}

    def measure(self, work: Work, piece: str) -> list[dict]:
        """One picture with every step."""
        rows, stored = [], pretrained.load(self.model)
        with tempfile.TemporaryDirectory() as folder:
            for step in self.steps:
                path = Path(folder) / f"by-{step}.safetensors"
                coarser(stored, step, path)
                rows.append({"picture": piece, "setting": step} | self.row(self.shown()[piece], path))
        return rows


def coarser(stored: Stored, step: int, path: Path) -> None:
    """Write the model whose code is ``round(z / step)``, and whose decoder receives ``step`` times that.

    Its weights are those of ``stored``, but for two layers that are scaled; a power of two leaves fp16 exact. The
    counts of its tables are the model's, added up over the values that become one.
    """
    model = copy.deepcopy(stored.model)
    assert isinstance(model, CaeAdmm)
    with torch.no_grad():
        *_, normalisation = model.encoder[-1].children()
        for tensor in normalisation.parameters():  # of its output
            tensor.div_(step)
        next(model.decoder[0].parameters()).mul_(step)  # the first convolution has no bias
    values = np.arange(-integer_latents.LARGEST, integer_latents.LARGEST + 1)
    columns = np.append(np.rint(values / step).astype(int) + integer_latents.ZERO, integer_latents.ESCAPE)
    histogram = np.zeros_like(stored.counts, dtype=np.int64)
    np.add.at(histogram.T, columns, stored.counts.T)
    pretrained.save(path, model, integer_latents.counts_of(torch.from_numpy(histogram)), stored.about)


def _in_use(study: str, kind: type[UsePlan], request: Request, labels: Sequence[str]) -> list[UsePlan]:
    return [
        kind(
            study=study, name=f"{study.split('_')[-1]}-{label}-{request.preset}".replace(" ", "-"),
            preset=request.preset, seed=request.seed, device=request.device, pictures_of=plan.pictures_of,
            count=plan.count, label=label, model=path, key=pretrained.load(path).key,
        )
        for label, (plan, path) in _compared(request, labels).items()
    ]  # fmt: skip


def rounding_plans(request: Request) -> list[UsePlan]:
    """The unpruned model and the one pruned to the paper's share; one record each."""
    return _in_use("cae_admm_rounding", RoundingPlan, request, (BEFORE, AFTER))


def step_plans(request: Request) -> list[UsePlan]:
    """All that were pruned or estimated; one record each."""
    return _in_use("cae_admm_steps", StepPlan, request, (*PRUNED, *ESTIMATED))


STUDIES = {
    "cae_admm": code_plans, "cae_admm_mixed": mixed_plans, "cae_admm_variants": variant_plans,
    "cae_admm_rounding": rounding_plans, "cae_admm_unpruned": unpruned_plans, "cae_admm_schedules": schedule_plans,
    "cae_admm_steps": step_plans,
}  # fmt: skip
