"""Crops of training pictures, and which part of Z and U belongs to the code of each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from sparsecomp.checks import require
from sparsecomp.models.cae_admm import SCALE
from sparsecomp.training.configs import CodeDescent


class Place(NamedTuple):
    """Which part of Z and U belongs to a fresh crop: the place ``part`` in the pair ``group``, one for each size."""

    group: int
    part: tuple[int, slice, slice, slice]


Places = torch.Tensor | list[Place]


class FixedCrops:
    """A list of crops, drawn once: from every picture in turn, at random places, flipped or not.

    Attributes
    ----------
    crops : uint8 ``(codes, 3, crop, crop)``
    count : int
        Of an epoch.
    codes : list of (count, h, w)
        The codes that are pruned: how many of each size.
    order_on : torch.device
        Where the order of an epoch is needed.
    """

    def __init__(self, pictures: list[np.ndarray], descent: CodeDescent, seed: int, device: torch.device) -> None:
        side, drawn = descent.crop, []
        generator = torch.Generator().manual_seed(seed)
        for number in range(descent.codes):
            picture = pictures[number % len(pictures)]
            top, left = (int(torch.randint(n - side + 1, (), generator=generator)) for n in picture.shape[:2])
            crop = torch.from_numpy(picture[top : top + side, left : left + side].copy()).permute(2, 0, 1)
            flips = [axis for axis in (1, 2) if torch.rand((), generator=generator) < 0.5]
            drawn.append(crop.flip(flips))
        self.crops = torch.stack(drawn).to(device)
        self.count, self.order_on = descent.codes, device
        self.codes = [(self.count, side // SCALE, side // SCALE)]

    def drawn(self, which: torch.Tensor, host: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the crops of a step, uint8 ``(batch, 3, crop, crop)``, and where their codes lie."""
        return self.crops[which], which

    def whole(self) -> list[Iterable[torch.Tensor]]:
        """Give what Z and U are of, in parts that fit into memory, for each of `codes`."""
        return [self.crops.split(16)]

    def one_of_each(self, host: torch.Generator) -> Iterable[torch.Tensor]:
        """Give what the mean code is of."""
        return self.crops.split(16)


class FreshCrops:
    """A new crop of every picture in each epoch, at a random multiple of 8 pixels. Attributes as of `FixedCrops`."""

    def __init__(self, pictures: list[np.ndarray], descent: CodeDescent, seed: int, device: torch.device) -> None:
        most = len(pictures)
        require(descent.batch <= most, "batch", f"at most {most}, the number of pictures", descent.batch)
        self.side = descent.crop
        self.pictures = [torch.from_numpy(np.ascontiguousarray(_whole_codes(p))).permute(2, 0, 1).to(device)
                         for p in pictures]  # fmt: skip
        self.sizes = sorted({picture.shape[1:] for picture in self.pictures})
        self.members = [[n for n, p in enumerate(self.pictures) if p.shape[1:] == size] for size in self.sizes]
        self.row = {n: (group, row) for group, of in enumerate(self.members) for row, n in enumerate(of)}
        self.count, self.order_on = len(pictures), torch.device("cpu")  # the host cuts the crops out
        self.codes = [(len(of), height // SCALE, width // SCALE)
                      for of, (height, width) in zip(self.members, self.sizes, strict=True)]  # fmt: skip

    def drawn(self, which: torch.Tensor, host: torch.Generator) -> tuple[torch.Tensor, list[Place]]:
        """Give the crops of a step, uint8 ``(batch, 3, crop, crop)``, and where their codes lie."""
        found, places = [], []
        for number in which.tolist():
            picture, long = self.pictures[number], self.side // SCALE
            free = [(n - self.side) // SCALE + 1 for n in picture.shape[1:]]
            top, left = (int(torch.randint(n, (), generator=host)) for n in free)
            y, x = top * SCALE, left * SCALE
            found.append(picture[:, y : y + self.side, x : x + self.side])
            group, row = self.row[number]
            places.append(Place(group, (row, slice(None), slice(top, top + long), slice(left, left + long))))
        return torch.stack(found), places

    def whole(self) -> list[Iterable[torch.Tensor]]:
        """Give what Z and U are of, picture by picture, for each of `codes`."""
        return [(self.pictures[number][None] for number in of) for of in self.members]

    def one_of_each(self, host: torch.Generator) -> Iterable[torch.Tensor]:
        """Give what the mean code is of: a crop of every picture."""
        return (self.drawn(part, host)[0] for part in torch.arange(self.count).split(16))


def _whole_codes(picture: np.ndarray) -> np.ndarray:
    """The part of a picture that whole blocks of 8x8 pixels cover."""
    height, width = (n // SCALE * SCALE for n in picture.shape[:2])
    return picture[:height, :width]
