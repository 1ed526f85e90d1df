"""The pictures of a study, by the name of their set, and plans that measure them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from reproduce.runner import Plan
from sparsecomp import data
from sparsecomp.checks import one_of, refuse, whole
from sparsecomp.codecs.base import Measurement


def spread(names: list[str], count: int) -> list[str]:
    """``count`` of the names, evenly spaced and in order: every third of Kodak for 8, all of them for 24 or more."""
    whole("count", count, 1)
    if count >= len(names):
        return list(names)
    return [names[i * len(names) // count] for i in range(count)]


@functools.lru_cache(maxsize=8)
def pictures(name: str, count: int | None = None) -> dict[str, np.ndarray]:
    """A set: "kodak", "bundled", "bsds500/SPLIT" or a folder, or one picture of the first two ("kodak/kodim15").

    ``count`` of it, evenly spread.
    """
    of, _, one = name.partition("/")
    if name.startswith("bsds500/"):
        every = data.bsds500(name.split("/")[1])
    elif of in ("kodak", "bundled"):  # before folders: the current one may hold another kodak/
        every = {"kodak": data.kodak, "bundled": data.bundled}[of]()
        if one:
            one_of("picture", one, every)
            every = {one: every[one]}
    elif "/" in name or Path(name).is_dir():
        every = data.folder(name)
    else:
        refuse("data", "one of kodak, bundled", name)
    return {key: every[key] for key in spread(sorted(every), count or len(every))}


def label_of(name: str) -> str:
    """A set's name as part of a file's: of a folder its last part alone, as its place on one machine says nothing."""
    return name.replace("/", "-") if name.startswith(("bsds500/", "bundled/", "kodak/")) else Path(name).name


@functools.lru_cache(maxsize=8)
def fingerprint(name: str, count: int | None = None) -> str:
    """SHA-256 of `pictures`."""
    return data.fingerprint(pictures(name, count))


@dataclass(frozen=True, kw_only=True)
class PicturePlan(Plan):
    """A plan that measures pictures, each a piece.

    Parameters
    ----------
    pictures_of : str
        A set, see `pictures`.
    count : int
        How many of it.
    """

    pictures_of: str
    count: int

    def shown(self) -> dict[str, np.ndarray]:
        """The pictures by name."""
        return pictures(self.pictures_of, self.count)

    def pieces(self) -> Sequence[str]:
        """The names of the pictures."""
        return tuple(self.shown())

    def config(self) -> dict:
        """What every configuration says: preset, seed, kind of device, and which pixels went in."""
        return {
            "profile": self.preset, "seed": self.seed, "device": torch.device(self.device).type,
            "data": self.pictures_of, "pictures": len(self.shown()),
            "data_sha256": fingerprint(self.pictures_of, self.count),
        }  # fmt: skip


def row_of(measured: Measurement, estimated_bits: int) -> dict:
    """Plain numbers of a measurement, rounded to what is meaningful; the estimate stands beside the file and is no
    rate.
    """
    row = {key: round(v, 5) if isinstance(v, float) else v for key, v in measured.row().items() if key != "codec"}
    return row | {"estimated_bits": estimated_bits}
