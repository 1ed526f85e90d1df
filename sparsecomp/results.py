"""Run records and published figures: the numbers from which the book's figures, tables and verdicts are computed.

A record is one JSON file for one *finished* run, ``results/runs/<study>/<name>-<hash of the configuration>.json``.
Nothing is averaged before it is stored: a record holds one row for each picture and setting, and means are computed
from the rows when they are needed. Published figures are the CSV files of ``results/published/``.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path

import numpy as np

from sparsecomp.checks import InputError
from sparsecomp.data import results_folder as folder
from sparsecomp.files import write_atomic

SCHEMA = 1
HISTORY_POINTS = 200
MAX_ROW_BYTES = 20_000  # a picture; histories are thinned so that a repository of records stays small
PACKAGES = ("sparsecomp", "torch", "numpy", "pillow", "scikit-image", "pytorch-msssim", "imagecodecs")


def cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Run records ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunRecord:
    """One finished run.

    Attributes
    ----------
    study, name : str
        Place: ``runs/<study>/<name>-<key>.json``.
    config : dict
        All that decides the result: profile, codec, its options, seed, set, SHA-256 of the pictures. ``key`` is its
        hash.
    rows : list of dict
        One a picture (and setting): bytes, bpp, estimated_bits, psnr, ssim, ms_ssim, encode_seconds, decode_seconds,
        ...
    wall_seconds : float
    environment : dict
        Commit, whether the tree was clean, versions, device.
    result : dict
        What the run found that belongs to no single picture: the course of a training, what a projection left.
    """

    study: str
    name: str
    config: dict
    rows: list[dict]
    wall_seconds: float
    environment: dict
    schema: int = SCHEMA
    result: dict = field(default_factory=dict)

    @property
    def key(self) -> str:
        return config_key(self.config)

    def mean(self, column: str, **where: object) -> float:
        """Mean of a column over the rows that match; `ValueError` if there are none or a value is missing."""
        values = [row.get(column) for row in self.rows if all(row.get(k) == v for k, v in where.items())]
        if not values or any(v is None for v in values):
            raise InputError(f"record {self.name}: no mean of {column!r} where {where or 'anything'}")
        return float(np.mean(values))

    def only(self, pictures: Sequence[str] | None) -> RunRecord:
        """The same record with the rows of these pictures alone (None: of all)."""
        return self if pictures is None else replace(self, rows=[r for r in self.rows if r["picture"] in pictures])

    def curve(self, column: str, by: str = "setting") -> tuple[list[float], list[float]]:
        """Mean bpp and mean ``column`` at every setting, sorted by rate."""
        points = sorted(
            (self.mean("bpp", **{by: s}), self.mean(column, **{by: s})) for s in {row[by] for row in self.rows}
        )
        return [p[0] for p in points], [p[1] for p in points]


def config_key(config: dict) -> str:
    """Ten hexadecimal digits that name a configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:10]


def path_of(out: Path, study: str, name: str, config: dict) -> Path:
    """Where the record of this configuration lies, or will."""
    return out / study / f"{name}-{config_key(config)}.json"


def write(record: RunRecord, out: Path) -> Path:
    """Write a record, whole or not at all. Raises `ValueError` if a row is over its limit or a number is not finite."""
    for row in record.rows:
        if len(json.dumps(row)) > MAX_ROW_BYTES:
            raise InputError(f"record {record.name}: the row of {row.get('picture')} is over {MAX_ROW_BYTES} bytes")
    path = path_of(out, record.study, record.name, record.config)
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {k: v for k, v in asdict(record).items() if k != "rows"}
    lines = ",\n".join("    " + json.dumps(row, allow_nan=False) for row in record.rows)
    text = json.dumps(head, indent=2, allow_nan=False)[:-2] + ',\n  "rows": [\n' + lines + "\n  ]\n}\n"
    write_atomic(path, text.encode())
    return path


def read(path: Path) -> RunRecord:
    """Read a record; `ValueError` if it is broken, of another schema, or lies under a name that its configuration
    denies.
    """
    try:
        record = RunRecord(**json.loads(Path(path).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"record {path}: cannot be read ({error})") from error
    if record.schema != SCHEMA:
        raise InputError(f"record {path}: schema {record.schema}, this reader knows {SCHEMA}")
    if Path(path).stem != f"{record.name}-{record.key}":
        raise InputError(f"record {path}: its configuration has the key {record.key}; was it edited?")
    return record


def records(study: str, out: Path | None = None, **where: object) -> list[RunRecord]:
    """All records of a study whose configuration matches, sorted by name."""
    found = [read(path) for path in sorted(((out or folder() / "runs") / study).glob("*.json"))]
    return [r for r in found if all(r.config.get(k) == v for k, v in where.items())]


def some(study: str, out: Path | None = None, **where: object) -> list[RunRecord]:
    """`records`, of which there must be one; `LookupError` with the command to make them."""
    found = records(study, out, **where)
    if not found:
        command = f"sparsecomp {'bench' if study == 'bench' else f'study {study}'}"
        raise LookupError(f"no record of study {study!r} with {where}: make it with `{command}`")
    return found


def record(study: str, out: Path | None = None, **where: object) -> RunRecord:
    """The one record that matches; `LookupError` with the command to make it where there is none, `ValueError` for
    several.
    """
    found = records(study, out, **where)
    if not found:
        raise LookupError(f"no record of study {study!r} with {where}: make it with `sparsecomp study {study}`")
    if len(found) > 1:
        raise InputError(f"{len(found)} records of study {study!r} match {where}: {', '.join(r.name for r in found)}")
    return found[0]


def thin(history: list[Sequence[float]], names: tuple[str, ...] = ("step", "psnr")) -> dict:
    """A history as columns of at most 200 points, evenly spaced, the last one always among them.

    A fit that has just collapsed may score -inf dB, which JSON cannot hold; no picture is under 0 dB, so 0 stands
    there.
    """
    keep = sorted({round(i) for i in np.linspace(0, len(history) - 1, min(len(history), HISTORY_POINTS))})
    columns = {name: [history[i][column] for i in keep] for column, name in enumerate(names)}
    if "psnr" in columns:
        columns["psnr"] = [round(max(0.0, value), 3) for value in columns["psnr"]]
    return columns


def environment(device: str, commit: str | None = None) -> dict:
    """Commit, versions and device for a record. ``commit`` is for machines that have the code but no git.

    Without ``commit`` the commit is that of the repository whose top folder holds this package and which tracks it;
    else None. "clean" says whether its tracked files are as committed, None if the commit does not come from git.
    """
    module = Path(__file__).resolve()
    root = module.parents[1]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    head = None
    # git looks for a repository in all folders above, so it may find one that has nothing to do with the package.
    if not commit and (top := git("rev-parse", "--show-toplevel")) and Path(top).resolve() == root:
        if git("ls-files", "--error-unmatch", str(module.relative_to(root))) is not None:
            head = git("rev-parse", "HEAD")
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "commit": commit or head,
        "clean": None if head is None else git("status", "--porcelain", "--untracked-files=no") == "",
        "python": platform.python_version(),
        "versions": versions,
        "device": device,
        "machine": f"{platform.system()} {platform.machine()}, {cores()} cores",
    }


# Published figures ----------------------------------------------------------------------------------------------------


def published(file: str, **where: str) -> list[dict]:
    """Rows of ``results/published/<file>.csv`` that match, with ``x`` and ``value`` as numbers."""
    with (folder() / "published" / f"{file}.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if all(row[k] == v for k, v in where.items())]
    for row in rows:
        row["value"] = float(row["value"])
        row["x"] = float(row["x"]) if row["x"] else None
    return rows
