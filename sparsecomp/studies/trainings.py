"""What studies share that train models for many pictures: a plan becomes one record, and one model beside the records.

Plans are trained side by side, a process each on a CPU; then each model is measured, a process a picture.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sparsecomp import data, profiles, results
from sparsecomp.models.pretrained import WEIGHTS
from sparsecomp.studies.base import Setup, config_of, finish, missing, pictures_from
from sparsecomp.training.loop import Training
from sparsecomp.training.processes import side_by_side

VALIDATION = 8  # pictures that are scored while a model trains


@dataclass(frozen=True)
class Plan:
    """One training and what is measured of it; all that a process needs.

    Parameters
    ----------
    label : str
    seed : int
    train_on, validate_on : str
        Sets of pictures.
    search : bool
        May the codec choose the model by itself?
    """

    label: str
    seed: int
    train_on: str
    validate_on: str
    search: bool

    family = "cae"  # what the names of its models begin with

    def name(self, profile: str) -> str:
        """Of its record and of its model."""
        label = self.label.replace(",", "").replace(" ", "-").replace("_", "-")
        trained_on = "" if self.train_on.startswith("bsds500/") else f"-{_said(self.train_on)}"
        return f"{self.family}-{label}-seed-{self.seed}{trained_on}-{profile}"

    def config(self) -> dict:
        """What it adds to the configuration of its record: here, which pictures were trained on and scored."""
        train_on, scored = pictures(self.train_on), pictures(self.validate_on, VALIDATION)
        return {
            "label": self.label,
            "train": {"data": _said(self.train_on), "pictures": len(train_on), "sha256": data.fingerprint(train_on)},
            "validation": {
                "data": self.validate_on, "pictures": len(scored), "sha256": data.fingerprint(scored),
            },
        }  # fmt: skip


def sets(setup: Setup, pictures_of: str) -> tuple[str, str]:
    """To train on and to score: BSDS500 where other pictures are measured, the bundled ones where these are."""
    train_on, validate_on = ("bundled", "bundled") if pictures_of == "bundled" else ("bsds500/train", "bsds500/val")
    return train_on if setup.train_on is None else str(setup.train_on), validate_on


def _said(name: str) -> str:
    """A set's name; of a folder its last part alone, because its place on one machine says nothing."""
    return name if name.startswith("bsds500/") else Path(name).name


@functools.lru_cache(maxsize=4)
def pictures(name: str, count: int | None = None) -> dict[str, np.ndarray]:
    """A set by name, ``bsds500/train`` too; ``count`` of it, evenly spread."""
    if name.startswith("bsds500/"):
        every = data.bsds500(name.split("/")[1])
    else:
        every = pictures_from(name, 10**6) if name in ("kodak", "bundled") else data.folder(name)
    return {key: every[key] for key in profiles.spread(sorted(every), count or len(every))}


def models_folder(setup: Setup) -> Path:
    """Where models go: ``results/models`` beside ``results/runs``, else ``models`` in the folder of records."""
    return setup.out.parent / "models" if setup.out.name == "runs" else setup.out / "models"


def model_path(setup: Setup, plan: Plan) -> Path:
    """The file that a plan's model goes to."""
    return models_folder(setup) / f"{plan.name(setup.profile.name)}.safetensors"


def kept(path: Path) -> Path:
    """The file of a model that a study made: where it went, or the package's weights if it was moved there."""
    return path if path.exists() else WEIGHTS / path.name


def make(
    setup: Setup,
    study: str,
    pictures_of: str,
    plans: Sequence[Plan],
    descend: Callable[[Setup, Plan, Path, Path], dict],
    measure: Callable[[Setup, Plan, Path, str, np.ndarray], list[dict]],
) -> list[Path]:
    """One record and one model a plan: trained side by side on a CPU, then measured picture by picture.

    Parameters
    ----------
    descend : callable
        ``descend(setup, plan, model_file, checkpoint)`` trains one model, stores it, and gives the record's ``result``.
    measure : callable
        ``measure(setup, plan, model_file, name, picture)`` gives the rows of one picture.
    """
    shown = pictures_from(pictures_of, setup.profile.pictures)
    paths, left, of_seed = {}, [], {}
    for plan in plans:
        of_seed[plan] = replace(setup, seed=plan.seed, started=setup.started)
        config = config_of(of_seed[plan], pictures_of, shown) | plan.config()
        name = plan.name(setup.profile.name)
        paths[plan] = results.path_of(setup.out, study, name, config), config
        if missing(setup, paths[plan][0]):
            left.append(plan)
    found: dict[Plan, dict] = {}

    def trained(plan: Plan, result: dict) -> None:
        found[plan] = result
        known = ("psnr", "ssim", "estimated_bpp", "sparsity", "zeros")
        said = ", ".join(f"{key} {result[key]:.4g}" for key in known if key in result)
        setup.report(f"{plan.name(setup.profile.name)}: trained, {result['seconds']:.0f} s; {said}")

    checkpoints = {
        plan: setup.out / study / ".partial" / f"{plan.name(setup.profile.name)}.safetensors" for plan in left
    }
    tasks = [(plan, (plan, model_path(setup, plan), checkpoints[plan])) for plan in left]
    # On a GPU trainings take turns; measuring needs none.
    run(setup, descend, tasks, trained, in_turn=setup.device != "cpu")
    for plan in left:
        path, config = paths[plan]
        rows: dict[str, list[dict]] = {}

        def measured(picture: str, of_picture: list[dict], rows: dict = rows) -> None:
            rows[picture] = of_picture

        tasks = [(name, (plan, model_path(setup, plan), name, picture)) for name, picture in shown.items()]
        run(setup, measure, tasks, measured)
        ordered = [row for name in shown for row in rows[name]]
        finish(of_seed[plan], study, path, config, ordered, found[plan]["seconds"], found[plan])
        checkpoints[plan].unlink(missing_ok=True)
    return [path for path, _ in paths.values()]


def history_of(training: Training) -> dict:
    """The scorings of a training as columns."""
    names = tuple(training.history[-1])
    return results.thin([[point[name] for name in names] for point in training.history], names)


def run(
    setup: Setup,
    function: Callable[..., object],
    tasks: list[tuple],
    on_done: Callable[[object, object], None],
    in_turn: bool = False,
) -> None:
    """``function(setup, *arguments)`` for every ``(key, arguments)``, in processes; or in turn, here."""
    quiet = replace(setup, report=_say_nothing, started=setup.started)
    bound = [(key, functools.partial(function, quiet, *arguments)) for key, arguments in tasks]
    side_by_side(bound, 0 if in_turn or setup.workers == 1 else setup.workers, on_done)


def _say_nothing(line: str) -> None:
    """A worker's report: the study says what is done."""
