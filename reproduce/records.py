"""Run records and published numbers: everything that the book's figures, tables and claims are computed from.

A record is one JSON file for one *finished* run, ``results/runs/<study>/<name>-<hash of the configuration>.json``.
Nothing is averaged before it is stored: a record holds one row for each picture and setting, and means are computed
from the rows when they are needed. `Records` reads a folder of them once. Published numbers are the CSV files of
``results/published/``.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import platform
import tarfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from reproduce import revision
from reproduce.cluster import cores
from sparsecomp import metrics
from sparsecomp.checks import InputError
from sparsecomp.files import write_atomic
from sparsecomp.metrics import BD

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
HISTORY_POINTS = 200
PARTS = "records.tar.gz.*"
PART_BYTES = 15 * 2**20  # an archive of records travels in parts of at most this size
MAX_ROW_BYTES = 20_000  # a picture; histories are thinned so that a repository of records stays small
PACKAGES = ("sparsecomp", "torch", "numpy", "pillow", "scikit-image", "pytorch-msssim", "imagecodecs")


RESULTS = Path(__file__).resolve().parents[1] / "results"


def runs_folder() -> Path:
    """Where the records of this clone are."""
    return RESULTS / "runs"


# Run records ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunRecord:
    """One finished run.

    Attributes
    ----------
    study, name : str
        Place: ``runs/<study>/<name>-<key>.json``.
    config : dict
        All that decides the result: preset, codec, its options, seed, set, SHA-256 of the pictures. ``key`` is its
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
        values: list[Any] = [row.get(column) for row in self.rows if all(row.get(k) == v for k, v in where.items())]
        if not values or None in values:
            raise InputError(f"record {self.name}: no mean of {column!r} where {where or 'anything'}")
        return float(np.mean(values))

    def only(self, pictures: Sequence[str] | None) -> RunRecord:
        """The same record with the rows of these pictures alone (None: of all)."""
        return self if pictures is None else replace(self, rows=[r for r in self.rows if r["picture"] in pictures])

    def curve(self, column: str = "psnr") -> Curve:
        """Mean rate of files and mean ``column`` at every setting, sorted by rate."""
        settings = {row["setting"] for row in self.rows}
        return Curve.of((self.mean("bpp", setting=s), self.mean(column, setting=s)) for s in settings)


VALUES = ("bpp", "psnr", "ssim", "ms_ssim", "encode_seconds", "macs_per_pixel")


def values_of(records: Sequence[RunRecord]) -> dict[str, float]:
    """What a sweep keeps of some records: the means of `VALUES` over pictures.

    The record's name stands before the column if there are several records, its setting behind it if it has several.
    """
    values = {}
    for record in records:
        head = f"{record.name} " if len(records) > 1 else ""
        settings: list[Any] = sorted({row["setting"] for row in record.rows if "setting" in row})
        for setting in settings if len(settings) > 1 else [None]:
            where = {} if setting is None else {"setting": setting}
            tail = "" if setting is None else f", {setting:g}"
            for column in VALUES:
                if all(row.get(column) is not None for row in record.rows):
                    values[f"{head}{column}{tail}"] = record.mean(column, **where)
    return values


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


class Records:
    """The records of a folder. A study is read at the first question about it, and once.

    Parameters
    ----------
    folder : Path, optional
        Of the studies; ``results/runs`` by default.
    preset : str, optional
        Find records of this preset only, unless a question names another.
    """

    def __init__(self, folder: Path | None = None, *, preset: str | None = None) -> None:
        self.folder = runs_folder() if folder is None else folder
        self.preset = preset
        self.asked: set[str] = set()  # studies that this view found records of
        self._studies: dict[str, list[RunRecord]] = {}

    def at(self, preset: str | None) -> Records:
        """Narrow the view to one preset, or widen it to all (None); what was read is shared."""
        view = Records(self.folder, preset=preset)
        view._studies, view.asked = self._studies, self.asked if preset is None else set()
        return view

    @property
    def studies(self) -> list[str]:
        """The studies that have a folder, by name."""
        return sorted(path.name for path in self.folder.glob("[!.]*") if path.is_dir())

    def find(self, study: str, **where: object) -> list[RunRecord]:
        """List the records of a study whose configuration matches, sorted by the names of their files."""
        if study not in self._studies:
            self._studies[study] = [read(path) for path in sorted((self.folder / study).glob("*.json"))]
        if self.preset is not None:
            where = {"profile": self.preset} | where
        found = [r for r in self._studies[study] if all(r.config.get(k) == v for k, v in where.items())]
        if found:
            self.asked.add(study)
        return found

    def some(self, study: str, **where: object) -> list[RunRecord]:
        """`find`, of which there must be one; `LookupError` with the command that makes them."""
        if found := self.find(study, **where):
            return found
        preset = f" --preset {self.preset}" if self.preset else ""
        command = f"python -m reproduce {'bench' if study == 'bench' else f'study {study}{preset}'}"
        raise LookupError(f"no record of study {study!r}{_said(where)}: make it with `{command}`")

    def one(self, study: str, **where: object) -> RunRecord:
        """The one record that matches; `LookupError` where there is none, `ValueError` for several."""
        found = self.some(study, **where)
        if len(found) > 1:
            names = ", ".join(r.name for r in found)
            raise InputError(f"{len(found)} records of study {study!r}{_said(where)}: {names}")
        return found[0]

    def table(self) -> pd.DataFrame:
        """Every row of every record: study and record, the plain values of its configuration, and its own values.

        Columns of the configuration begin with ``config.``. Lists (histories) are left out.
        """
        import pandas as pd  # a machine that only computes need not have it

        rows = []
        for study in self.studies:
            for record in self.at(None).find(study):
                head = {"study": study, "record": f"{record.name}-{record.key}"}
                head |= {f"config.{k}": v for k, v in record.config.items() if not isinstance(v, dict | list)}
                rows += [head | {k: v for k, v in row.items() if not isinstance(v, dict | list)} for row in record.rows]
        return pd.DataFrame(rows)


def _said(where: dict) -> str:
    return f" with {where}" if where else ""


# Curves ---------------------------------------------------------------------------------------------------------------


class Curve(NamedTuple):
    """Quality over rate, both sorted by rate; rates in bits per pixel."""

    rates: list[float]
    qualities: list[float]

    @classmethod
    def of(cls, points: Iterable[tuple[float, float]]) -> Curve:
        """The curve through points (rate, quality), in the order of their rates."""
        ordered = sorted(points)
        return cls([rate for rate, _ in ordered], [quality for _, quality in ordered])

    @classmethod
    def rising(cls, *curves: Curve) -> Curve:
        """The best of several curves: all their points without those that a smaller file equals."""
        best = cls([], [])
        points = [point for curve in curves for point in zip(*curve, strict=True)]
        for rate, quality in sorted(points, key=lambda point: (point[0], -point[1])):  # at one rate the better first
            if not best.rates or (quality > best.qualities[-1] and rate > best.rates[-1]):
                best.rates.append(rate)
                best.qualities.append(quality)
        return best

    def at(self, rate: float, of: str = "the curve", beyond: float = 0.0) -> float:
        """Quality at a rate, linear over the logarithm of the rate; `LookupError` beyond the ends.

        The first and the last line are continued by a share ``beyond`` of the rate at the end.
        """
        rates, qualities = self
        if not rates or not rates[0] / (1 + beyond) <= rate <= rates[-1] * (1 + beyond):
            ends = f"from {rates[0]:.3f} to {rates[-1]:.3f} bpp" if rates else "nowhere"
            raise LookupError(f"{of} is known {ends}, not at {rate:.3f}")
        if len(rates) > 1 and not rates[0] <= rate <= rates[-1]:
            (near, next_), (here, there) = (pair[:2] if rate < rates[0] else pair[:-3:-1] for pair in self)
            return float(here + (there - here) * np.log(rate / near) / np.log(next_ / near))
        return float(np.interp(np.log(rate), np.log(rates), qualities))

    def better(self, than: Curve) -> BD:
        """Mean difference in quality at equal rate (`metrics.bd_psnr`), above 0 where this curve is better."""
        return self._over(metrics.bd_psnr, than)

    def longer(self, than: Curve) -> BD:
        """Mean difference in rate at equal quality, per cent (`metrics.bd_rate`), above 0 where this one is longer."""
        return self._over(metrics.bd_rate, than)

    def _over(self, measure: Callable[..., BD], than: Curve) -> BD:
        try:
            return measure(rate_anchor=than.rates, quality_anchor=than.qualities, rate_test=self.rates,
                           quality_test=self.qualities)  # fmt: skip
        except InputError as error:  # too few points, or none in common
            raise LookupError(str(error)) from error


# Writing --------------------------------------------------------------------------------------------------------------


def thin(history: Sequence[Sequence[float]], names: tuple[str, ...] = ("step", "psnr")) -> dict:
    """A history as columns of at most 200 points, evenly spaced, the last one always among them.

    A fit that has just collapsed may score -inf dB, which JSON cannot hold; no picture is under 0 dB, so 0 stands
    there.
    """
    keep = sorted({round(i) for i in np.linspace(0, len(history) - 1, min(len(history), HISTORY_POINTS))})
    columns = {name: [history[i][column] for i in keep] for column, name in enumerate(names)}
    if "psnr" in columns:
        columns["psnr"] = [round(max(0.0, value), 3) for value in columns["psnr"]]
    return columns


def device_name(device: str) -> str:
    """The name of a device: of a GPU its model, of a CPU its processor, as far as the system names it."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def environment(device: str, commit: str | None = None, precision: str = "float32") -> dict:
    """Commit (`revision.of_clone`), versions, device and precision for a record."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return revision.of_clone(commit) | {
        "python": platform.python_version(),
        "versions": versions,
        "device": device,
        "device_name": device_name(device),
        "precision": precision,
        "machine": f"{platform.system()} {platform.machine()}, {cores()} cores",
    }


# Packing ----------------------------------------------------------------------------------------------------------


def pack(out: Path, studies: tuple[str, ...]) -> list[Path]:
    """Everything the studies made, half-done work too, as ``out/records.tar.gz.NN`` (`pack_into`)."""
    return pack_into(out, out, [out / study for study in studies])


def pack_into(folder: Path, base: Path, paths: Iterable[Path]) -> list[Path]:
    """Pack files and folders, named from ``base``, as ``folder/records.tar.gz.NN`` of at most 15 MiB each.

    `unpack` puts them back, as do ``cat`` and ``tar``. What is not there is left out. Older parts stay until all new
    ones are written.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:  # weights hardly shrink anyway
        for path in dict.fromkeys(paths):
            if path.exists():
                archive.add(path, arcname=str(path.relative_to(base)))
    folder.mkdir(parents=True, exist_ok=True)
    whole, parts = buffer.getvalue(), []
    for number, start in enumerate(range(0, len(whole), PART_BYTES)):
        parts.append(folder / PARTS.replace("*", f"{number:02d}"))
        parts[-1].with_name(f"new-{parts[-1].name}").write_bytes(whole[start : start + PART_BYTES])
    for part in parts:
        part.with_name(f"new-{part.name}").replace(part)
    for stale in set(folder.glob(PARTS)) - set(parts):  # of a larger archive there were more
        stale.unlink()
    return parts


def unpack(folder: Path, base: Path) -> list[Path]:
    """Put back what `pack_into` packed, but for files that are there and no older; give those that were written.

    Raises
    ------
    ValueError
        If the parts are no whole archive, or one of its names leads out of ``base``; nothing is written then.
    """
    whole, written = b"".join(path.read_bytes() for path in sorted(folder.glob(PARTS))), []
    try:
        with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
            files = [m for m in (tarfile.data_filter(m, str(base)) for m in archive) if m.isfile()]
            for member in files:
                path = base / member.name
                if not path.exists() or path.stat().st_mtime < member.mtime:
                    archive.extract(member, base, filter="data")
                    written.append(path)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"the parts in {str(folder)!r} are no whole archive: {error}") from error
    return written


# Published numbers ----------------------------------------------------------------------------------------------------


def published(file: str, **where: str) -> list[dict]:
    """Rows of ``results/published/<file>.csv`` that match, with ``x`` and ``value`` as numbers."""
    with (RESULTS / "published" / f"{file}.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if all(row[k] == v for k, v in where.items())]
    for row in rows:
        row["value"] = float(row["value"])
        row["x"] = float(row["x"]) if row["x"] else None
    return rows
