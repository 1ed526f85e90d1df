"""Every study on three tiny pictures for a few steps: how it is set up, what it made, and how it is stopped."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sparsecomp import codecs, data, results, studies
from sparsecomp.models.pretrained import Models, Stored, load
from sparsecomp.profiles import CodeDescent, Descent, FitBudget, Profile, Pruning
from sparsecomp.results import RunRecord
from sparsecomp.studies import autoencoders, networks, trainings
from sparsecomp.training import processes
from sparsecomp.training.autoencoder import CaeTraining
from sparsecomp.training.latent_pruning import CodeTraining

QUICK = FitBudget(steps=30, lr=5e-3, batch_pixels=256, score_every=10)
CAE = Descent(steps=6, warmup=2, batch=2, crop=16, reduce=1, score_every=1)
CODE = CodeDescent(
    steps=5, lr=0.02, warmup=1, batch=2, crop=104, codes=4, mse_steps=1, settle=3, momentum=0.5, score_every=1
)
PRUNING = Pruning(interval=2)
# Named smoke: a study knows by the name that it has to be short.
TINY = Profile(
    "smoke", QUICK, ("2x6", "1x4"), 2, QUICK, QUICK, QUICK, cae=CAE, cae_width=24, code=CODE, pruning=PRUNING,
    code_width=8, code_depth=1,
)  # fmt: skip
STUDIED = dict(autoencoders.SPARSE)
FEW = {label: STUDIED[label] for label in ("l1", *autoencoders.HEADLINE)}
POINTS = 4  # of a history
WALL_CLOCK = ("encode_seconds", "decode_seconds", "seconds", "speedup", "lower", "upper")


def waves(seed: int) -> np.ndarray:
    y, x = np.mgrid[:112, :144]
    return np.stack([127 + 100 * np.sin(x / 9 + y / 7 + c + seed) for c in range(3)], -1).round().astype(np.uint8)


def crops(height: int, width: int, **places: tuple[int, int]) -> dict[str, np.ndarray]:
    every = data.bundled()
    return {name: np.ascontiguousarray(every[name][top : top + height, left : left + width])
            for name, (top, left) in places.items()}  # fmt: skip


@dataclass(frozen=True)
class Paper:
    """Studies in the order in which they need each other, and the pictures that stand in for every set."""

    studies: tuple[str, ...]
    pictures: dict[str, np.ndarray]


PAPERS = {
    "networks": Paper(
        ("coin", "gallery", "search", "ingredients", "loonie", "loonie_parts", "loonie_race", "baselines"),
        {name: waves(seed) for seed, name in enumerate(("astronaut", "chelsea", "coffee"))},
    ),
    "sparse_cae": Paper(
        ("cae", "cae_sparse", "cae_density", "cae_speed"),
        crops(41, 50, astronaut=(60, 80), chelsea=(60, 80), coffee=(60, 80)),
    ),
    "cae_admm": Paper(
        ("cae_admm", "cae_admm_mixed"), crops(165, 170, astronaut=(20, 140), chelsea=(60, 130), coffee=(60, 150))
    ),
}
ORDER = [study for paper in PAPERS.values() for study in paper.studies]


def paper_of(study: str) -> Paper:
    return next(paper for paper in PAPERS.values() if study in paper.studies)


def kodak(pictures: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"kodim{i}": p[::-1].copy() for i, p in enumerate(pictures.values())}


def bsds500(pictures: dict[str, np.ndarray], split: str) -> dict[str, np.ndarray]:
    return {f"{split}{i}": np.roll(p, 1 + len(split), 1) for i, p in enumerate(pictures.values())}


class HereAndNow:
    """Stands in for a pool of processes and does the work at once."""

    def __init__(self, workers: int, **options: object) -> None:
        pass

    def __enter__(self) -> HereAndNow:
        return self

    def __exit__(self, *error: object) -> bool:
        return False

    def submit(self, function: Callable, *arguments: object) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def tiny(pictures: dict[str, np.ndarray]) -> Iterator[pytest.MonkeyPatch]:
    """Small pictures in place of each set, few second descents, models nowhere but with their study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "bundled", lambda: dict(pictures))
        patch.setattr(data, "kodak", lambda: kodak(pictures))
        patch.setattr(data, "bsds500", lambda split: bsds500(pictures, split))
        patch.setattr(results, "HISTORY_POINTS", POINTS)
        patch.setattr(trainings, "WEIGHTS", Path("no such folder"))
        patch.setattr(autoencoders, "SPARSE", FEW)
        patch.setattr(networks, "_starts", lambda setup: {0.6: ("5x20", "5x12")})  # a rate for pictures so small
        patch.setattr(processes, "ProcessPoolExecutor", HereAndNow)
        trainings.pictures.cache_clear()
        yield patch
    trainings.pictures.cache_clear()


# How models are found: what depends on it in these tests stands here.


def stored(path: Path) -> Stored:
    return load(path)


def with_model(codec: str, path: Path, picture: np.ndarray, **options: object) -> tuple[bytes, np.ndarray]:
    """A picture's file by the model in a file, and what is decoded from it."""
    models = Models(path.parent)
    written = codecs.get_codec(codec, model=str(path), models=models, **options).encode(picture)
    return written, codecs.decode(written, models=models)


def setup(out: Path, **options) -> studies.Setup:
    return studies.Setup(**({"profile": TINY, "out": out, "report": lambda line: None} | options))


def takes_a_set(study: str) -> bool:
    return "pictures_of" in inspect.signature(studies.STUDIES[study]).parameters


def run(study: str, out: Path, pictures_of: str = "bundled", **options) -> list[Path]:
    """The study itself, to be called within `tiny`."""
    return studies.STUDIES[study](setup(out, **options), *([pictures_of] if takes_a_set(study) else []))


@dataclass(frozen=True)
class Made:
    """What the studies of a paper left: a folder, and the paths and records of each."""

    out: Path
    paths: dict[str, list[Path]]

    def records(self, *names: str) -> list[RunRecord]:
        return [results.read(path) for name in names for path in self.paths[name]]

    def labelled(self, study: str, label: str) -> RunRecord:
        (record,) = [r for r in self.records(study) if r.config["label"] == label]
        return record

    def model_of(self, record: RunRecord) -> Path:
        return self.out / "models" / f"{record.result['file']}.safetensors"


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Callable[[str], Made]:
    """All studies of a paper, named by one of them, once."""
    there: dict[str, Made] = {}

    def of(study: str) -> Made:
        paper = paper_of(study)
        if study not in there:
            out = tmp_path_factory.mktemp("out")
            with tiny(paper.pictures):
                paths = {name: run(name, out, commit="abc") for name in paper.studies}
            there.update(dict.fromkeys(paper.studies, Made(out, paths)))
        return there[study]

    return of


def timeless(record: RunRecord) -> tuple:
    """A record without its wall-clock times."""
    rows = [{key: value for key, value in row.items() if key not in WALL_CLOCK} for row in record.rows]
    return record.config, rows, {key: value for key, value in record.result.items() if key not in WALL_CLOCK}


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All files of a folder: when they were written, and what is in them."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def steps_taken(patch: pytest.MonkeyPatch) -> list[tuple[type, int]]:
    """Of autoencoders: every step from now on."""
    taken = []
    for training in (CaeTraining, CodeTraining):

        def step(self, real=training.step):
            taken.append((type(self), self.done))
            return real(self)

        patch.setattr(training, "step", step)
    return taken
