"""Every study on small pictures for a few steps: how it is made tiny, and what it made."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from reproduce import models, pictures, records, runner
from reproduce.papers import baselines, cae_admm, loonie, sparse_cae
from reproduce.records import RunRecord
from reproduce.runner import Plan, Request
from reproduce.studies import STUDIES
from sparsecomp import codecs, data
from sparsecomp.models import pretrained
from sparsecomp.models.pretrained import Models
from sparsecomp.training import loop
from sparsecomp.training.autoencoder import CaeTraining
from sparsecomp.training.configs import CodeDescent, Descent, FitBudget, Pruning
from sparsecomp.training.fit import SirenTraining
from sparsecomp.training.latent_pruning import CodeTraining

HEIGHT, WIDTH = 165, 170  # of no picture a multiple of what a network halves, and more than one patch of SSIM
PICTURES = {
    name: np.ascontiguousarray(data.bundled()[name][top : top + HEIGHT, left : left + WIDTH])
    for name, top, left in (("astronaut", 20, 140), ("chelsea", 60, 130), ("coffee", 60, 150))
}
SHOWN = ("astronaut", "chelsea")  # the two that studies measure
QUICK = FitBudget(steps=30, lr=5e-3, batch_pixels=256, score_every=10)
CAE = Descent(steps=4, warmup=2, batch=2, crop=16, reduce=1, score_every=4)
CODE = CodeDescent(
    steps=5, lr=0.02, warmup=1, batch=2, crop=104, codes=4, mse_steps=1, settle=3, momentum=0.5, score_every=4
)
TINY = {
    loonie: replace(
        loonie.PRESETS["smoke"], pictures=2, few=2, architectures=("2x6", "1x4"), starts={0.6: ("5x20", "5x12")},
        rates=(0.6,),
        **dict.fromkeys(("fit", "file", "gates", "magnitude", "parts", "search"), QUICK),
    ),
    sparse_cae: replace(
        sparse_cae.PRESETS["smoke"], descent=CAE, width=24, pictures=2, steps=(64, 1024), coder="contexts",
        finer=(48,),
    ),
    cae_admm: replace(
        cae_admm.PRESETS["smoke"], descent=replace(CODE, start="dct"), width=8, pictures=2, mixed=2,
        pruning=Pruning(interval=1, balance=True, until=3, then="projection"),
        tuning=replace(CODE, mse_steps=0, settle=0), labels=("unpruned", "tuned", "keep 10", "lambda 400", "released"),
    ),
}  # fmt: skip
FEW = {label: sparse_cae.SPARSE[label] for label in sparse_cae.HEADLINE}
OTHERS = ("l1inf of taps", "bilevel_l11, random start", "all layers")
VARIANTS = {label: sparse_cae.VARIANTS[label] for label in OTHERS}
DENSE = {label: sparse_cae.MODELS[label] for label in ("high", "low")}
# Studies by paper, in the order in which they need each other.
PAPERS = (
    ("coin", "first_values", "gallery", "search", "ingredients", "loonie", "loonie_parts", "loonie_race", "baselines"),
    ("cae", "cae_sparse", "cae_density", "cae_speed", "cae_coders", "cae_fine", "cae_released", "cae_variants"),
    (
        "cae_admm_unpruned", "cae_admm", "cae_admm_schedules", "cae_admm_mixed", "cae_admm_variants",
        "cae_admm_rounding", "cae_admm_steps",
    ),
)
ORDER = tuple(itertools.chain(*PAPERS))
WALL_CLOCK = ("encode_seconds", "decode_seconds", "seconds", "speedup", "lower", "upper")


def other(of: str) -> dict[str, np.ndarray]:
    """What stands in for a set that is not bundled."""
    return {f"{of}{i}": np.roll(picture, 1 + len(of), 1) for i, picture in enumerate(PICTURES.values())}


@contextmanager
def tiny(**changes: Any) -> Iterator[pytest.MonkeyPatch]:
    """Small pictures in place of each set, tiny presets, few descents, models nowhere but with their study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "bundled", lambda: dict(PICTURES))
        patch.setattr(data, "kodak", lambda: other("kodak"))
        patch.setattr(data, "bsds500", other)
        for paper, preset in TINY.items():
            patch.setitem(paper.PRESETS, "smoke", preset)
        patch.setitem(baselines.PICTURES, "smoke", 2)
        for part, (name, few) in itertools.product(
            (sparse_cae, sparse_cae.plans, sparse_cae.measures, sparse_cae.figures),
            {"SPARSE": FEW, "VARIANTS": VARIANTS, "MODELS": DENSE}.items(),
        ):
            patch.setattr(part, name, few, raising=part is sparse_cae.plans)
        patch.setattr(models, "WEIGHTS", Path("no such folder"))
        forget()
        yield patch
    forget()


def forget() -> None:
    """Forget the pictures that were read."""
    pictures.pictures.cache_clear()
    pictures.fingerprint.cache_clear()


def request(out: Path, pictures_of: str | None = "bundled", preset: str = "smoke", **options: Any) -> Request:
    return Request(preset, out, pictures_of=pictures_of, **options)


def plans(study: str, out: Path, *of: Any, **options: Any) -> list[Plan]:
    return list(STUDIES[study](request(out, *of, **options)))


def run(study: str, out: Path, *, seed: int = 0, **options: Any) -> list[Path]:
    """Make the records of a study, within `tiny`."""
    given = {"commit": "abc", "report": lambda line: None} | options
    return runner.run(plans(study, out, seed=seed), out, **given)


@dataclass(frozen=True)
class Made:
    """What the studies of a paper left: a folder, and the paths of the records of each."""

    out: Path
    paths: dict[str, list[Path]]

    def records(self, *studies: str) -> list[RunRecord]:
        return [records.read(path) for study in studies for path in self.paths[study]]

    def labelled(self, study: str, label: str) -> RunRecord:
        (record,) = [r for r in self.records(study) if r.config["label"] == label]
        return record

    def model_of(self, record: RunRecord) -> Path:
        return self.out / "models" / f"{record.result['file']}.safetensors"

    def written(self, record: RunRecord, row: dict, **options: Any) -> tuple[bytes, np.ndarray]:
        """The file of a row by the record's model, made again, and what is decoded from it."""
        models = Models(self.model_of(record))
        codec = codecs.get_codec(record.config["codec"], model=str(self.model_of(record)), models=models, **options)
        content = codec.encode(PICTURES[row["picture"]])
        return content, codecs.decode(content, models=models)

    def trained(self, *studies: str) -> list[tuple[RunRecord, pretrained.Stored]]:
        return [(record, pretrained.load(self.model_of(record))) for record in self.records(*studies)]


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Callable[[str], Made]:
    """All studies of a paper, named by one of them: made once, whichever of pytest's processes comes first."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def of(study: str) -> Made:
        (paper,) = [paper for paper in PAPERS if study in paper]
        out, note = folder / f"made-{paper[0]}", folder / f"made-{paper[0]}.json"
        with FileLock(f"{note}.lock"):
            if not note.exists():
                with tiny():
                    paths = {name: [str(path) for path in run(name, out)] for name in paper}
                note.write_text(json.dumps(paths))
        return Made(out, {name: list(map(Path, paths)) for name, paths in json.loads(note.read_text()).items()})

    return of


def timeless(record: RunRecord) -> dict:
    """A record without what a clock and a machine say."""

    def rest(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: rest(v) for k, v in value.items() if k not in (*WALL_CLOCK, "side_by_side")}
        return value

    return {"name": record.name, "config": record.config, "rows": [*map(rest, record.rows)],
            "result": rest(record.result)}  # fmt: skip


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All files of a folder: when they were written, and what is in them."""
    every = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in every}


def ticking(patch: pytest.MonkeyPatch) -> None:
    """A clock that advances by a second with every look: pauses come after a known number of steps."""
    seconds = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: next(seconds), monotonic=lambda: next(seconds))
    for module in (runner, loop):
        patch.setattr(module, "time", clock)


def steps_taken(patch: pytest.MonkeyPatch) -> list[int]:
    """Every step of a training from now on."""
    taken: list[int] = []
    for training in (SirenTraining, CaeTraining, CodeTraining):

        def step(self, real=training.step):
            taken.append(self.done)
            return real(self)

        patch.setattr(training, "step", step)
    return taken
