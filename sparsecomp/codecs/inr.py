"""Codecs whose file is a network: COIN (Dupont et al. 2021). The decoder draws the network's picture; it needs nothing
else.

Sections of the file: ``network`` (depth u8, width u16, coordinates u8, w0 fp16; little endian, 6 bytes) and ``weights``
(every parameter as fp16, in the order of `models.siren`). Header, sections and checksum cost 26 bytes (27 above
8,191 parameters) more than the 16 bits a parameter that the paper counts: 0.0005 bpp on a Kodak picture.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from sparsecomp.codecs.base import BudgetError, check_bpp, check_image
from sparsecomp.coding.bitstream import BitstreamError, Container, pack, unpack
from sparsecomp.complexity import mlp_macs_per_pixel
from sparsecomp.models.siren import COORDINATES, MAX_WIDTH, Architecture, render
from sparsecomp.training.configs import FAST, FitBudget
from sparsecomp.training.fit import fit

_NETWORK = struct.Struct("<BHBe")
# The paper's depth at each of its rates (Dupont et al. 2021, sec. 4): bits per pixel of a Kodak picture, sine layers.
PAPER_DEPTHS = ((0.07, 5), (0.15, 5), (0.3, 10), (0.6, 10), (1.2, 13))
# A forged file must not ask for hours of work: a network has at least so many bits for a pixel of its picture, and
# drawing the whole takes at most so many multiply-accumulates (13x49 on 2^26 pixels is within; minutes on one core).
LEAST_BPP = 2**-9
MOST_MACS = 2**41


@dataclass(frozen=True)
class Coin:
    """COIN: fit a SIREN to the picture, store its parameters as fp16.

    Parameters
    ----------
    arch : str
        ``"10x28"``: 10 sine layers of 28 units. `at_bpp` chooses its own.
    coordinates : {"per_axis", "coin"}
        See `models.siren.spans`.
    w0 : float
        Frequency of the sines.
    budget : FitBudget
        How long and how it is fitted.
    seed : int
        First values and order of the pixels: the same seed on the same machine gives the same file.
    device : str
    on_score : callable, optional
        Called with the step and the scores, for progress bars.
    """

    arch: str = "10x28"
    coordinates: str = "per_axis"
    w0: float = 30.0
    budget: FitBudget = FAST
    seed: int = 0
    device: str = "cpu"
    on_score: Callable[[int, dict], None] | None = None

    name = "coin"

    def __post_init__(self) -> None:
        if not isinstance(self.arch, str) or not 0 < self.w0 <= 1000:
            raise ValueError(f"arch={self.arch!r}, w0={self.w0!r}: a text such as '10x28', and a number in (0, 1000]")
        self.architecture  # noqa: B018 (raises what is wrong with it)
        if self.coordinates not in COORDINATES:
            raise ValueError(f"coordinates={self.coordinates!r}: one of {', '.join(COORDINATES)} is needed")

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

    def architecture_at(self, image: np.ndarray, bpp: float) -> Architecture:
        """What `at_bpp` will fit."""
        check_image(image, codec=self.name)
        check_bpp(bpp)
        height, width, _ = image.shape
        depth = min(PAPER_DEPTHS, key=lambda pair: abs(math.log(pair[0] / bpp)))[1]
        return widest(depth, height, width, bpp, w0=self.architecture.w0)

    def decode(self, data: bytes) -> np.ndarray:
        """Draw the picture of the network in the file; `BitstreamError` if it is not a COIN file."""
        container = unpack(data)
        if container.codec != self.name:
            raise BitstreamError(f"a {container.codec} file, not {self.name}")
        return decode_coin(container)

    def macs_per_pixel(self, data: bytes) -> float:
        """Multiply-accumulates to draw one pixel of the file."""
        architecture = read_network(unpack(data))[0]
        return float(mlp_macs_per_pixel(architecture.depth, architecture.width))

    def _encode(self, image: np.ndarray, architecture: Architecture) -> bytes:
        check_image(image, codec=self.name)
        if _absurd(architecture, *image.shape[:2]):
            height, width, _ = image.shape
            raise ValueError(f"arch={architecture} does not go with {height} x {width} pixels: no decoder will draw it")
        (result,) = fit(
            [image], architecture, self.budget, seeds=[self.seed], coordinates=self.coordinates, device=self.device,
            on_score=self.on_score,
        )  # fmt: skip
        return write(architecture, result.parameters, *image.shape[:2], self.coordinates)


def widest(depth: int, height: int, width: int, bpp: float, w0: float = 30.0) -> Architecture:
    """The widest SIREN of this depth whose file is not over ``bpp`` on a picture of this size; `BudgetError` if there
    is none.
    """
    best = None
    for units in range(1, MAX_WIDTH + 1):
        candidate = Architecture(depth, units, w0=w0)
        size = file_bytes(candidate, height, width)
        if _absurd(candidate, height, width):
            continue
        if 8 * size / (height * width) > bpp:
            break
        best = candidate
    if best is None:
        raise BudgetError("coin", bpp, 8 * size / (height * width))
    return best


def _absurd(architecture: Architecture, height: int, width: int) -> bool:
    """Is the picture too large for this network? Such a file is neither written nor read."""
    macs = mlp_macs_per_pixel(architecture.depth, architecture.width) * height * width
    return 16 * architecture.n_parameters < LEAST_BPP * height * width or macs > MOST_MACS


def file_bytes(architecture: Architecture, height: int, width: int) -> int:
    """Length of the file, which depends on nothing but the architecture and the size of the picture."""
    return len(write(architecture, torch.zeros(architecture.n_parameters), height, width))


def write(
    architecture: Architecture,
    parameters: torch.Tensor,
    height: int,
    width: int,
    coordinates: str = "per_axis",
) -> bytes:
    """The ``.spc`` file of a network ``parameters (P,)``; fp16 values are written as they are."""
    network = _NETWORK.pack(architecture.depth, architecture.width, COORDINATES.index(coordinates), architecture.w0)
    weights = parameters.to(torch.float16).cpu().numpy().astype("<f2").tobytes()
    return pack(Container("coin", height, width, {"network": network, "weights": weights}))


def read_network(container: Container) -> tuple[Architecture, str]:
    """Architecture and coordinates of a COIN file, checked; `BitstreamError` on anything that cannot be."""
    if set(container.sections) != {"network", "weights"} or len(container.sections["network"]) != _NETWORK.size:
        raise BitstreamError(f"a coin file has a network section of {_NETWORK.size} bytes and weights, nothing else")
    depth, width, coordinates, w0 = _NETWORK.unpack(container.sections["network"])
    if coordinates >= len(COORDINATES):
        raise BitstreamError(f"unknown coordinates number {coordinates}")
    try:
        architecture = Architecture(depth, width, w0=w0)
    except ValueError as error:
        raise BitstreamError(f"impossible network: {error}") from error
    there = len(container.sections["weights"])
    if there != 2 * architecture.n_parameters:
        raise BitstreamError(
            f"a {architecture} network has {2 * architecture.n_parameters} bytes of weights, the file has {there}"
        )
    if _absurd(architecture, container.height, container.width):
        raise BitstreamError(
            f"absurd size: {container.height} x {container.width} pixels from {there} bytes of weights"
        )
    return architecture, COORDINATES[coordinates]


def decode_coin(container: Container) -> np.ndarray:
    """The picture of a COIN file, uint8 ``(H, W, 3)``."""
    architecture, coordinates = read_network(container)
    weights = np.frombuffer(container.sections["weights"], "<f2").astype(np.float32)
    if not np.isfinite(weights).all():
        raise BitstreamError("a weight is not a finite number")
    try:
        return render(architecture, torch.from_numpy(weights), container.height, container.width, coordinates).numpy()
    except (RuntimeError, MemoryError) as error:  # torch says RuntimeError where memory ends
        raise BitstreamError(f"no memory to draw {container.height} x {container.width} pixels") from error
