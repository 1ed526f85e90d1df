"""Plans that train a model first: one record, and one model beside the records."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reproduce.pictures import PicturePlan, fingerprint, label_of, pictures
from reproduce.records import Records, thin
from reproduce.runner import TRAINING, Request, Work
from sparsecomp.checks import InputError
from sparsecomp.models import pretrained
from sparsecomp.models.pretrained import WEIGHTS, Stored
from sparsecomp.training.loop import Training

VALIDATION = 8  # pictures that are scored while a model trains


@dataclass(frozen=True, kw_only=True)
class ModelPlan(PicturePlan):
    """One training, and what is measured of it.

    Parameters
    ----------
    label : str
    out : Path
        Of the records; the model goes beside them.
    train_on, validate_on : str
        Sets of pictures.
    search : bool
        May the codec choose the model by itself?
    scored : int
        Pictures of ``validate_on`` that are scored while the model trains.
    """

    label: str
    out: Path
    train_on: str
    validate_on: str
    search: bool
    scored: int = VALIDATION

    def config(self) -> dict:
        """What it adds to the configuration: which pictures were trained on and scored."""
        on, scored = pictures(self.train_on), pictures(self.validate_on, self.scored)
        return super().config() | {
            "label": self.label,
            "train": {"data": _said(self.train_on), "pictures": len(on), "sha256": fingerprint(self.train_on)},
            "validation": {
                "data": self.validate_on, "pictures": len(scored), "sha256": fingerprint(self.validate_on, self.scored),
            },
        }  # fmt: skip

    @property
    def model_file(self) -> Path:
        """Where its model goes: ``results/models`` beside ``results/runs``, else ``models`` in the records' folder."""
        how = self.arithmetic
        more = [how.precision] * (how.precision != "float32") + ["compiled"] * how.compiled
        return models_folder(self.out) / f"{'-'.join([self.name, *more])}.safetensors"

    def stored(self, work: Work) -> Stored:
        """The model that this plan trained; `ValueError` if another training has overwritten its file since."""
        found, note = pretrained.load(self.model_file), work.checkpoints / f"{TRAINING}.json"
        if note.exists() and (key := json.loads(note.read_text())["result"]["model"]) != found.key:
            raise InputError(f"model {self.model_file.stem} is {found.key}, not {key}, which this plan trained")
        return found

    def seconds(self, rows: list[dict], trained: dict | None, spent: float) -> float:
        """Of the training, pauses left out."""
        return (trained or {})["seconds"]

    def summary(self, piece: str, rows: list[dict]) -> str:
        """Of the training its scores."""
        known = ("psnr", "ssim", "estimated_bpp", "sparsity", "zeros")
        scores = [f"{key} {rows[0][key]:.4g}" for key in known if "history" in rows[0] and key in rows[0]]
        return f"{self.name} {piece}: {', '.join(scores) or f'{len(rows)} rows'}"


def name_of(family: str, label: str, seed: int, train_on: str, preset: str) -> str:
    """The name of a training's record and model."""
    plain = label.replace(",", "").replace(" ", "-").replace("_", "-")
    trained_on = "" if train_on == "bsds500/train" else f"-{label_of(train_on)}"
    return f"{family}-{plain}-seed-{seed}{trained_on}-{preset}"


def sets(request: Request) -> dict[str, Any]:
    """To train on and to score: BSDS500 where other pictures are measured, the bundled ones where these are."""
    bundled = request.pictures_of == "bundled"
    train_on, validate_on = ("bundled", "bundled") if bundled else ("bsds500/train", "bsds500/val")
    return {"train_on": str(request.train_on or train_on), "validate_on": validate_on}


def _said(name: str) -> str:
    """A set as a record names it."""
    return name if name.startswith("bsds500/") else label_of(name)


def models_folder(out: Path) -> Path:
    """Where the models of records in a folder go."""
    return out.parent / "models" if out.name == "runs" else out / "models"


def kept(path: Path) -> Path:
    """The file of a model that a study made: where it went, or the package's weights if it was moved there."""
    return path if path.exists() else WEIGHTS / path.name


def made_before(plan: ModelPlan, request: Request) -> tuple[Path, str]:
    """Return the model of a plan that another one begins with, and its key; `ValueError` if there is none yet.

    A model that is not kept has its key in the record of its training, which is enough where there is nothing to make.
    """
    path = kept(plan.model_file)
    if path.exists():
        return path, pretrained.load(path).key
    recorded = keys_on_record(path, plan.study, request.out)
    if not recorded and request.planned:
        return path, "not made yet"
    if not recorded:
        raise not_made(path, plan.study, plan.preset)
    return path, recorded[0]


def keys_on_record(path: Path, study: str, out: Path) -> list[str]:
    """The keys that the records of a study give for the model of a file."""
    return [record.result["model"] for record in Records(out).find(study) if record.result["file"] == path.stem]


def not_made(path: Path, study: str, preset: str, *, recorded: bool = False) -> InputError:
    """The error of a plan that needs a model which is not here, or of which only the record is here."""
    command = f"python -m reproduce study {study} --preset {preset}"
    if recorded:  # where the record is, the study would train nothing
        return InputError(f"of model {path.stem} only the record is here: make both again, with `{command} --out DIR`")
    return InputError(f"there is no model {path.stem}: make it first, with `{command}`")


def history_of(training: Training) -> dict:
    """The scorings of a training as columns."""
    names = tuple(training.history[-1])
    return thin([[point[name] for name in names] for point in training.history], names)
