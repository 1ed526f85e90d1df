"""L0onie as a codec: a network larger than the budget is fitted to the picture and brought down to the budget.

The file is that of `coding.weights`: which weights are not zero, and their values, range-coded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from sparsecomp.codecs.base import BudgetError, check_bpp, check_image
from sparsecomp.codecs.inr import MOST_MACS, Coin
from sparsecomp.coding import weights
from sparsecomp.coding.bitstream import BitstreamError, Container, unpack
from sparsecomp.complexity import mlp_macs_per_pixel
from sparsecomp.models.siren import COORDINATES, Architecture, render
from sparsecomp.training.configs import LOONIE, FitBudget, Sparsity, sparsity_at
from sparsecomp.training.constrained_fit import ConstrainedFit, SparseResult
from sparsecomp.training.fit import FitResult, fit

FREQUENCIES = 3  # chosen on astronaut (+0.5 dB), motorcycle (+0.4) and coffee (-0.1) at 0.3 bpp
OVERSIZE = 2.05  # the dense start, at 16 bits a parameter, in budgets: the paper's 5x30, 10x28, 10x40 are about twice


@dataclass(frozen=True)
class Loonie:
    """Fit a network twice too large under a constraint on its rate.

    With ``rate="nonzeros"`` this is L0onie (Ramirez & Gallego-Posada 2022): gates close weights. With ``rate="file"``,
    the default, it is our own method for the file that the paper only counts: no gates, weights quantised in training.

    Parameters
    ----------
    bpp : float
        The budget of `encode`; `at_bpp` has its own.
    rate : {"file", "nonzeros"}
        What the budget counts. ``"file"``: the bytes of the file, which is never over the budget. ``"nonzeros"``: the
        paper's 16 bits a nonzero value. Such a file holds fp16 values and the positions, which the paper does not
        count, so it is *longer* than the budget.
    arch : str, optional
        The network to begin with; by default the COIN of 2.05 budgets, which on Kodak is 10x28 at 0.15 bpp and 10x40 at
        0.3, as in the paper.
    coordinates : {"per_axis", "coin"}
        See `models.siren.spans`.
    frequencies : int, optional
        Positional frequencies beside the coordinates (`models.siren.positions_of`), 0 to 7. By default 3 where a file
        is the aim, and 0, as in the paper, where nonzeros are counted.
    budget : FitBudget
        How long and how it is fitted.
    sparsity : Sparsity, optional
        How the game is played; by default `profiles.sparsity_at`. Its ``rate`` must be `rate`.
    seed : int
    device : str
    on_score : callable, optional
        Called with the step and the scores, for progress bars.
    """

    bpp: float = 0.3
    rate: str = "file"
    arch: str | None = None
    coordinates: str = "per_axis"
    frequencies: int | None = None
    budget: FitBudget = LOONIE
    sparsity: Sparsity | None = None
    seed: int = 0
    device: str = "cpu"
    on_score: Callable[[int, dict], None] | None = None

    name = "loonie"

    def __post_init__(self) -> None:
        check_bpp(self.bpp)
        if self.rate not in ("file", "nonzeros"):
            raise ValueError(f"rate={self.rate!r}: one of file, nonzeros is needed")
        if self.coordinates not in COORDINATES:
            raise ValueError(f"coordinates={self.coordinates!r}: one of {', '.join(COORDINATES)} is needed")
        if self.frequencies is not None and self.frequencies not in range(8):
            raise ValueError(f"frequencies={self.frequencies!r}: a whole number from 0 to 7 is needed")
        if self.sparsity is not None and self.sparsity.rate != self.rate:
            raise ValueError(f"sparsity.rate={self.sparsity.rate!r} beside rate={self.rate!r}: they must agree")
        if self.arch is not None and not isinstance(self.arch, str):
            raise ValueError(f"arch={self.arch!r}: a text such as '10x40' is needed")
        if self.arch is not None:
            Architecture.parse(self.arch)

    def encode(self, image: np.ndarray) -> bytes:
        """Fit under the budget `bpp` and write the file."""
        return self.at_bpp(image, self.bpp)

    def at_bpp(self, image: np.ndarray, bpp: float) -> bytes:
        """Fit under a budget of ``bpp`` and write the file. `BudgetError` where even an empty network is too much."""
        check_image(image, codec=self.name)
        architecture = self.architecture_at(image, bpp)
        game = self.sparsity or sparsity_at(self.rate, bpp, self.budget.steps)
        (result,) = fit(
            [image], architecture, self.budget, seeds=[self.seed], coordinates=self.coordinates, device=self.device,
            on_score=self.on_score,
            method=functools.partial(ConstrainedFit, bpp=bpp, sparsity=game),
        )  # fmt: skip
        return file_of(result, architecture, *image.shape[:2], self.coordinates)

    def architecture_at(self, image: np.ndarray, bpp: float) -> Architecture:
        """The network that `at_bpp` begins with; `BudgetError` names a budget that is enough."""
        try:
            return self._architecture_at(image, bpp)
        except BudgetError as error:
            enough = error.smallest
        while True:  # more bits may mean more layers, and those more bits again
            try:
                self._architecture_at(image, enough)
            except BudgetError as error:
                enough = max(error.smallest, 1.001 * enough)
            else:
                raise BudgetError(self.name, bpp, enough)

    def _architecture_at(self, image: np.ndarray, bpp: float) -> Architecture:
        check_bpp(bpp)
        height, width, _ = image.shape
        if self.arch is None:
            try:
                shape = Coin().architecture_at(image, OVERSIZE * bpp)
            except BudgetError as error:
                raise BudgetError(self.name, bpp, error.smallest / OVERSIZE) from None
        else:
            shape = Architecture.parse(self.arch)
        frequencies = self.frequencies
        if frequencies is None:
            frequencies = FREQUENCIES if self.rate == "file" else 0
        architecture = Architecture(shape.depth, shape.width, n_in=2 + 4 * frequencies)
        empty = weights.Quantised(
            architecture,
            torch.zeros(architecture.n_parameters, dtype=torch.int64),
            torch.zeros(2 * (architecture.depth + 1), dtype=torch.int64),
        )
        smallest = 8 * len(weights.write(empty, height, width)) / (height * width)
        if smallest > bpp:
            raise BudgetError(self.name, bpp, smallest)
        if _too_slow(architecture, height, width):
            raise ValueError(f"arch={architecture} on {height} x {width} pixels: no decoder will draw that")
        return architecture

    def decode(self, data: bytes) -> np.ndarray:
        """Draw the picture of the network in the file; `BitstreamError` if it is not a L0onie file."""
        container = unpack(data)
        if container.codec != self.name:
            raise BitstreamError(f"a {container.codec} file, not {self.name}")
        return decode_loonie(container)

    def macs_per_pixel(self, data: bytes) -> float:
        """Multiply-accumulates to draw one pixel with what is left of the network: neurons that are gone cost nothing,
        a zero within a matrix costs as much as any weight.
        """
        return float(weights.macs_per_pixel(unpack(data).sections))


def file_of(result: FitResult, architecture: Architecture, height: int, width: int, coordinates: str) -> bytes:
    """The ``.spc`` file of a sparse fit: of its quantised network, or of its nonzero values as fp16."""
    network = result.network if isinstance(result, SparseResult) else None
    network = network or weights.Halves(architecture, result.parameters.half(), coordinates)
    return weights.write(network, height, width)


def decode_loonie(container: Container) -> np.ndarray:
    """The picture of a L0onie file, uint8 ``(H, W, 3)``."""
    network = weights.decode(container.sections)
    if _too_slow(network.architecture, container.height, container.width):
        raise BitstreamError(f"absurd size: {container.height} x {container.width} pixels of {network.architecture}")
    try:
        return render(
            network.architecture, network.parameters(), container.height, container.width, network.coordinates
        ).numpy()
    except (RuntimeError, MemoryError) as error:  # torch says RuntimeError where memory ends
        raise BitstreamError(f"no memory to draw {container.height} x {container.width} pixels") from error


def _too_slow(architecture: Architecture, height: int, width: int) -> bool:
    """Is this more work than any decoder should take from a stranger's file?"""
    return mlp_macs_per_pixel(architecture.depth, architecture.width, architecture.n_in) * height * width > MOST_MACS
