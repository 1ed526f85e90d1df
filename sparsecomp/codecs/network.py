"""Codecs whose file is a network, and the network's picture the decoded one: COIN and L0onie.

COIN's file has two sections: ``network`` (depth u8, width u16, coordinates u8, w0 fp16; little endian, 6 bytes) and
``weights`` (every parameter as fp16, in the order of `models.siren`). Header, sections and checksum cost 26 bytes (27
above 8,191 parameters) more than the 16 bits a parameter that the paper counts: 0.0005 bpp on a Kodak picture. L0onie's
file is that of `network_weights`: which weights are not zero, and their values, range-coded.
"""

from __future__ import annotations

import functools
import math
import struct
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from sparsecomp import network_weights
from sparsecomp.checks import InputError, in_range, one_of, require, whole
from sparsecomp.codecs.base import BudgetError, Codec, check_bpp, check_image, memory_for, register
from sparsecomp.coding.container import BitstreamError, Container, pack
from sparsecomp.complexity import mlp_macs_per_pixel
from sparsecomp.models.siren import COORDINATES, MAX_WIDTH, Architecture, render
from sparsecomp.training.configs import COIN_BUDGETS, FAST, LOONIE, LOONIE_BUDGETS, FitBudget, Sparsity, sparsity_at
from sparsecomp.training.constrained_fit import ConstrainedFit, SparseResult
from sparsecomp.training.fit import FitResult, Method, SirenTraining, fit

_NETWORK = struct.Struct("<BHBe")
# The paper's depth at each of its rates (Dupont et al. 2021, sec. 4): bits per pixel of a Kodak picture, sine layers.
PAPER_DEPTHS = ((0.07, 5), (0.15, 5), (0.3, 10), (0.6, 10), (1.2, 13))
# A forged file must not ask for hours of work. A network of COIN has at least so many bits for a pixel of its picture,
# and a picture takes at most so many multiply-accumulates (13x49 on 2^26 pixels is within; minutes on one core).
LEAST_BPP = 2**-9
MOST_MACS = 2**41
FREQUENCIES = 3  # chosen on astronaut (+0.5 dB), motorcycle (+0.4) and coffee (-0.1) at 0.3 bpp
OVERSIZE = 2.05  # the dense start, at 16 bits a parameter, in budgets: the paper's 5x30, 10x28, 10x40 are about twice


@dataclass(frozen=True, kw_only=True)
class Network(Codec):
    """What the two share: how a network is fitted, and how it is drawn.

    Parameters
    ----------
    coordinates : {"per_axis", "coin"}
        See `models.siren.spans`.
    budget : FitBudget
        How long and how it is fitted.
    seed : int
        First values and order of the pixels: the same seed on the same machine gives the same file.
    device : str
    on_score : callable, optional
        Called with the step and the scores, for progress bars.
    """

    coordinates: str = "per_axis"
    budget: FitBudget = FAST
    seed: int = 0
    device: str = "cpu"
    on_score: Callable[[int, dict], None] | None = None

    def __post_init__(self) -> None:
        one_of("coordinates", self.coordinates, COORDINATES)

    def architecture_at(self, image: np.ndarray, bpp: float) -> Architecture:
        """The network that `at_bpp` fits, or begins with; `BudgetError` names a budget that is enough."""
        check_image(image, codec=self.name)
        check_bpp(bpp)
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

    @abstractmethod
    def _architecture_at(self, image: np.ndarray, bpp: float) -> Architecture:
        """`architecture_at` of legal arguments, whose `BudgetError` names a budget that may still be too small."""

    def _fitted(
        self, image: np.ndarray, architecture: Architecture, method: Callable[[SirenTraining], Method] = Method
    ) -> FitResult:
        (result,) = fit(
            [image], architecture, self.budget, seeds=[self.seed], coordinates=self.coordinates, device=self.device,
            on_score=self.on_score, method=method,
        )  # fmt: skip
        return result


def _drawn(container: Container, architecture: Architecture, parameters: torch.Tensor, coordinates: str) -> np.ndarray:
    with memory_for(container):
        return render(architecture, parameters, container.height, container.width, coordinates).numpy()


@register
@dataclass(frozen=True, kw_only=True)
class Coin(Network):
    """COIN (Dupont et al. 2021): fit a SIREN to the picture, store its parameters as fp16.

    Parameters
    ----------
    arch : str
        ``"10x28"``: 10 sine layers of 28 units. `at_bpp` chooses its own.
    w0 : float
        Frequency of the sines.
    coordinates, budget, seed, device, on_score
        As `Network`.
    """

    arch: str = "10x28"
    w0: float = 30.0

    name: ClassVar[str] = "coin"
    number: ClassVar[int] = 16
    budgets: ClassVar[dict[str, FitBudget]] = COIN_BUDGETS

    def __post_init__(self) -> None:
        require(isinstance(self.arch, str), "arch", "a text such as '10x28'", self.arch)
        in_range("w0", self.w0, 0, 1000, "(]")
        self.architecture  # noqa: B018 (raises what is wrong with it)
        super().__post_init__()

    @property
    def architecture(self) -> Architecture:
        """`arch` and `w0` as the model takes them; w0 as the file stores it."""
        parsed = Architecture.parse(self.arch)
        return Architecture(parsed.depth, parsed.width, w0=float(np.float16(self.w0)))

    def encode(self, image: np.ndarray) -> bytes:
        """Fit `arch` to the picture and write the file."""
        return self._encode(image, self.architecture)

    def at_bpp(self, image: np.ndarray, bpp: float) -> bytes:
        """The paper's depth for this rate, with the widest layers whose file is not over ``bpp``.

        At the rates that COIN published on Kodak (0.074, 0.160, 0.307, 0.611, 1.209) this is the paper's architecture.
        Raises `BudgetError` where even one unit a layer is too much.
        """
        return self._encode(image, self.architecture_at(image, bpp))

    def _architecture_at(self, image: np.ndarray, bpp: float) -> Architecture:
        height, width, _ = image.shape
        depth = min(PAPER_DEPTHS, key=lambda pair: abs(math.log(pair[0] / bpp)))[1]
        return self.widest(depth, height, width, bpp, w0=self.architecture.w0)

    @staticmethod
    def widest(depth: int, height: int, width: int, bpp: float, w0: float = 30.0) -> Architecture:
        """The widest SIREN of this depth whose file is not over ``bpp`` on a picture of this size; `BudgetError` if
        there is none.
        """
        best = None
        for units in range(1, MAX_WIDTH + 1):
            candidate = Architecture(depth, units, w0=w0)
            size = Coin.file_bytes(candidate, height, width)
            if _absurd(candidate, height, width):
                continue
            if 8 * size / (height * width) > bpp:
                break
            best = candidate
        if best is None:
            raise BudgetError("coin", bpp, 8 * size / (height * width))
        return best

    @staticmethod
    def file_bytes(architecture: Architecture, height: int, width: int) -> int:
        """Length of the file, which depends on nothing but the architecture and the size of the picture."""
        return len(Coin.write(architecture, torch.zeros(architecture.n_parameters), height, width))

    @staticmethod
    def write(
        architecture: Architecture, parameters: torch.Tensor, height: int, width: int, coordinates: str = "per_axis"
    ) -> bytes:
        """The ``.spc`` file of a network ``parameters (P,)``; fp16 values are written as they are."""
        network = _NETWORK.pack(architecture.depth, architecture.width, COORDINATES.index(coordinates), architecture.w0)
        values = parameters.to(torch.float16).cpu().numpy().astype("<f2").tobytes()
        return pack(Container(Coin.number, height, width, {"network": network, "weights": values}))

    @staticmethod
    def read_network(container: Container) -> tuple[Architecture, str]:
        """Architecture and coordinates of a COIN file, checked; `BitstreamError` on anything that cannot be."""
        if set(container.sections) != {"network", "weights"} or len(container.sections["network"]) != _NETWORK.size:
            raise BitstreamError(
                f"a coin file has a network section of {_NETWORK.size} bytes and weights, nothing else"
            )
        depth, width, coordinates, w0 = _NETWORK.unpack(container.sections["network"])
        if coordinates >= len(COORDINATES):
            raise BitstreamError(f"unknown coordinates number {coordinates}")
        try:
            architecture = Architecture(depth, width, w0=w0)
        except ValueError as error:
            raise BitstreamError(f"impossible network: {error}") from error
        there, needed = len(container.sections["weights"]), 2 * architecture.n_parameters
        if there != needed:
            raise BitstreamError(f"a {architecture} network has {needed} bytes of weights, the file has {there}")
        size = container.height, container.width
        if _absurd(architecture, *size):
            raise BitstreamError(f"absurd size: {size[0]} x {size[1]} pixels from {there} bytes of weights")
        return architecture, COORDINATES[coordinates]

    @classmethod
    def read(cls, container: Container, models: object = None) -> np.ndarray:
        """Draw the picture of the network."""
        architecture, coordinates = cls.read_network(container)
        values = np.frombuffer(container.sections["weights"], "<f2").astype(np.float32)
        if not np.isfinite(values).all():
            raise BitstreamError("a weight is not a finite number")
        return _drawn(container, architecture, torch.from_numpy(values), coordinates)

    @classmethod
    def describe(cls, container: Container, models: object = None) -> list[tuple[str, str]]:
        """The network and its coordinates."""
        network, coordinates = cls.read_network(container)
        text = f"{network}, {network.n_parameters:,} parameters, w0 {network.w0:g}"
        return [("network", text), ("coordinates", coordinates)]

    @classmethod
    def macs_per_pixel(cls, container: Container, models: object = None) -> float:
        """Multiply-accumulates to draw one pixel of the file."""
        architecture, _ = cls.read_network(container)
        return float(mlp_macs_per_pixel(architecture.depth, architecture.width))

    def _encode(self, image: np.ndarray, architecture: Architecture) -> bytes:
        check_image(image, codec=self.name)
        height, width, _ = image.shape
        if _absurd(architecture, height, width):
            raise InputError(f"arch={architecture} does not go with {height} x {width} pixels: no decoder will draw it")
        result = self._fitted(image, architecture)
        return self.write(architecture, result.parameters, height, width, self.coordinates)


def _absurd(architecture: Architecture, height: int, width: int) -> bool:
    """Is the picture too large for this network of COIN? Such a file is neither written nor read."""
    sparse = 16 * architecture.n_parameters < LEAST_BPP * height * width
    return sparse or _too_slow(architecture, height, width)


def _too_slow(architecture: Architecture, height: int, width: int) -> bool:
    """Is this more work than any decoder should take from a stranger's file?"""
    return mlp_macs_per_pixel(architecture.depth, architecture.width, architecture.n_in) * height * width > MOST_MACS


@register
@dataclass(frozen=True, kw_only=True)
class Loonie(Network):
    """Fit a network twice too large under a constraint on its rate, which brings it down to the budget.

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
    frequencies : int, optional
        Positional frequencies beside the coordinates (`models.siren.positions_of`), 0 to 7. By default 3 where a file
        is the aim, and 0, as in the paper, where nonzeros are counted.
    sparsity : Sparsity, optional
        How the constraint is enforced; by default `training.configs.sparsity_at`. Its ``rate`` must be `rate`.
    coordinates, budget, seed, device, on_score
        As `Network`.
    """

    bpp: float = 0.3
    rate: str = "file"
    arch: str | None = None
    frequencies: int | None = None
    sparsity: Sparsity | None = None
    budget: FitBudget = LOONIE

    name: ClassVar[str] = "loonie"
    number: ClassVar[int] = network_weights.CODEC
    note: ClassVar[str] = "our files, weights quantised in training; not the paper's gates"
    budgets: ClassVar[dict[str, FitBudget]] = LOONIE_BUDGETS

    def __post_init__(self) -> None:
        check_bpp(self.bpp)
        one_of("rate", self.rate, ("file", "nonzeros"))
        super().__post_init__()
        if self.frequencies is not None:
            whole("frequencies", self.frequencies, 0, 7)
        if self.sparsity is not None:
            require(self.sparsity.rate == self.rate, "sparsity.rate", f"rate={self.rate!r}", self.sparsity.rate)
        require(self.arch is None or isinstance(self.arch, str), "arch", "a text such as '10x40'", self.arch)
        if self.arch is not None:
            Architecture.parse(self.arch)

    def encode(self, image: np.ndarray) -> bytes:
        """Fit under the budget `bpp` and write the file."""
        return self.at_bpp(image, self.bpp)

    def at_bpp(self, image: np.ndarray, bpp: float) -> bytes:
        """Fit under a budget of ``bpp`` and write the file. `BudgetError` where even an empty network is too much."""
        architecture = self.architecture_at(image, bpp)
        sparsity = self.sparsity or sparsity_at(self.rate, bpp, self.budget.steps)
        result = self._fitted(image, architecture, functools.partial(ConstrainedFit, bpp=bpp, sparsity=sparsity))
        return self.file_of(result, architecture, image.shape[0], image.shape[1], self.coordinates)

    def _architecture_at(self, image: np.ndarray, bpp: float) -> Architecture:
        height, width, _ = image.shape
        if self.arch is None:
            try:
                shape = Coin()._architecture_at(image, OVERSIZE * bpp)
            except BudgetError as error:
                raise BudgetError(self.name, bpp, error.smallest / OVERSIZE) from None
        else:
            shape = Architecture.parse(self.arch)
        frequencies = self.frequencies
        if frequencies is None:
            frequencies = FREQUENCIES if self.rate == "file" else 0
        architecture = Architecture(shape.depth, shape.width, n_in=2 + 4 * frequencies)
        empty = network_weights.Quantised(
            architecture,
            torch.zeros(architecture.n_parameters, dtype=torch.int64),
            torch.zeros(2 * (architecture.depth + 1), dtype=torch.int64),
        )
        smallest = 8 * len(network_weights.write(empty, height, width)) / (height * width)
        if smallest > bpp:
            raise BudgetError(self.name, bpp, smallest)
        if _too_slow(architecture, height, width):
            raise InputError(f"arch={architecture} on {height} x {width} pixels: no decoder will draw that")
        return architecture

    @staticmethod
    def file_of(result: FitResult, architecture: Architecture, height: int, width: int, coordinates: str) -> bytes:
        """The ``.spc`` file of a sparse fit: of its quantised network, or of its nonzero values as fp16."""
        network = result.network if isinstance(result, SparseResult) else None
        halves = network_weights.Halves(architecture, result.parameters.half(), coordinates)
        return network_weights.write(network or halves, height, width)

    @classmethod
    def read(cls, container: Container, models: object = None) -> np.ndarray:
        """Draw the picture of the network."""
        network, size = network_weights.decode(container.sections), (container.height, container.width)
        if _too_slow(network.architecture, *size):
            raise BitstreamError(f"absurd size: {size[0]} x {size[1]} pixels of {network.architecture}")
        return _drawn(container, network.architecture, network.parameters(), network.coordinates)

    @classmethod
    def describe(cls, container: Container, models: object = None) -> list[tuple[str, str]]:
        """The network, how many of its parameters are not zero, and its inputs."""
        sparse = network_weights.decode(container.sections)
        network, alive = sparse.architecture, int((sparse.parameters() != 0).sum())
        return [
            ("network", f"{network}, {alive:,} of {network.n_parameters:,} parameters not zero"),
            ("inputs", f"{sparse.coordinates}, {(network.n_in - 2) // 4} frequencies"),
        ]

    @classmethod
    def macs_per_pixel(cls, container: Container, models: object = None) -> float:
        """Multiply-accumulates to draw one pixel with what is left of the network: neurons that are gone cost nothing,
        a zero within a matrix costs as much as any weight.
        """
        if "tables" not in container.sections:
            raise BitstreamError("a loonie file has sections tables, positions and values or weights")
        return float(network_weights.macs_per_pixel(container.sections))
