"""What all studies share: how one is set up, what its records say, where they go."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from sparsecomp import data, profiles, results
from sparsecomp.checks import InputError
from sparsecomp.files import write_atomic
from sparsecomp.profiles import Profile
from sparsecomp.training import kernel

PART_BYTES = 16 * 2**20  # an archive of records travels in parts of at most this size


@dataclass(frozen=True)
class Setup:
    """How a study is run: where, how long, and what it says of itself.

    Parameters
    ----------
    profile : Profile
    out : Path
        Records go to ``out/<study>/``.
    device : str
        ``"cpu"`` or ``"cuda"``.
    max_minutes : float, optional
        Pause after so much wall time.
    seed : int
    workers : int
        Processes on a CPU; one thread each.
    commit : str, optional
        For machines that have the code but no git.
    report : callable
        Gets one line a picture.
    train_on : Path, optional
        A folder of pictures to train autoencoders on, in place of BSDS500.
    dry_run : bool
        Say which records would be made, and make none.
    """

    profile: Profile
    out: Path
    device: str = "cpu"
    max_minutes: float | None = None
    seed: int = 0
    workers: int = 1
    commit: str | None = None
    report: Callable[[str], None] = print
    train_on: Path | None = None
    dry_run: bool = False
    started: float = field(default_factory=time.monotonic)

    def seconds_left(self) -> float | None:
        return None if self.max_minutes is None else max(0.0, 60 * self.max_minutes - (time.monotonic() - self.started))


def missing(setup: Setup, path: Path) -> bool:
    """Report whether a record is there; return True if it is to be made now, which a dry run never asks for."""
    name, there = path.stem.rsplit("-", 1)[0], path.exists()
    if there or setup.dry_run:
        setup.report(f"{name}: the record is {'there' if there else 'to be made'}")
    return not there and not setup.dry_run


def pictures_from(name: str, count: int) -> dict[str, np.ndarray]:
    sets = {"kodak": data.kodak, "bundled": data.bundled}
    if name not in sets:
        raise InputError(f"data={name!r}: one of {', '.join(sets)} is needed")
    every = sets[name]()
    return {picture: every[picture] for picture in profiles.spread(sorted(every), count)}


def config_of(setup: Setup, pictures_of: str, pictures: Mapping[str, np.ndarray]) -> dict:
    """What every configuration says: profile, seed, kind of device, and which pixels went in."""
    return {
        "profile": setup.profile.name, "seed": setup.seed, "device": torch.device(setup.device).type,
        "data": pictures_of, "pictures": len(pictures), "data_sha256": data.fingerprint(pictures),
    }  # fmt: skip


def row_of(measured: object, estimated_bits: int) -> dict:
    """Plain numbers of a measurement, rounded to what is meaningful; the estimate stands beside the file and is no
    rate.
    """
    row = {key: round(v, 5) if isinstance(v, float) else v for key, v in measured.row().items() if key != "codec"}
    return row | {"estimated_bits": estimated_bits}


def finish(
    setup: Setup, study: str, path: Path, config: dict, rows: list[dict], seconds: float, result: dict | None = None
) -> None:
    """Write the record of a finished run."""
    name = path.stem.rsplit("-", 1)[0]
    environment = results.environment(setup.device, setup.commit)
    environment["backend"] = kernel.resolve("auto", setup.device)
    record = results.RunRecord(study, name, config, rows, round(seconds, 1), environment, result=result or {})
    results.write(record, setup.out)
    setup.report(f"{name}: record written")


def keep_file(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all, and make its folder if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)


def pack(out: Path, studies: tuple[str, ...]) -> list[Path]:
    """Everything the studies made, half-done work too, as ``out/records.tar.gz.NN`` of at most 16 MiB each (join with
    ``cat``).
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for study in studies:
            if (out / study).is_dir():
                archive.add(out / study, arcname=study)
    for stale in out.glob("records.tar.gz.*"):  # of a larger archive there would be parts too many
        stale.unlink()
    whole, parts = buffer.getvalue(), []
    for number, start in enumerate(range(0, len(whole), PART_BYTES)):
        parts.append(out / f"records.tar.gz.{number:02d}")
        parts[-1].write_bytes(whole[start : start + PART_BYTES])
    return parts
