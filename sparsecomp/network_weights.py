"""A quantised network as bytes: which weights are not zero, and their values, range-coded with integer tables.

Three sections of an ``.spc`` file:

``tables``
    Header of the network (depth u8, flags u8, width u16, w0 fp16; then, if neurons were removed, one varint a sine
    layer: how many are left), and for every matrix and bias vector what the decoder needs to rebuild its tables, 3
    bytes: the step, the density of nonzeros, shape and scale of the values. The flags are the coordinates (bit 0), the
    number of positional frequencies (bits 1 to 3), and whether neurons were removed (bit 7).
``positions``
    For every weight one binary symbol, zero or not, with the matrix's density.
``values``
    For every nonzero weight its number of steps, from a discretised Gaussian or Laplace distribution without zero,
    whichever is shorter for the matrix. Biases of a sine layer are differences (below).
``weights``
    In place of ``values``, and then ``tables`` have one byte a matrix, the density: every nonzero weight as fp16. This
    is the file that the paper's "16 bits a nonzero value" would need.

A SIREN has symmetries, and the file does not pay for them. The neurons of a layer may stand in any order, and
``sin(-x) = -sin(x)`` lets each change its sign: rows, columns and biases are turned so that biases are not negative,
and sorted by them. A sorted list is written as its differences, which are geometrically distributed: of n neurons that
saves about log2(n!) + n bits, one bit in sixty at 10x40.

Tables are those of `coding.range_coder`. Decoding ends by encoding again with the tables that the file names: a stream
that no encoder writes is refused.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import constriction
import numpy as np
import torch

from sparsecomp.checks import InputError, one_of, refuse, require, whole
from sparsecomp.coding import quantize
from sparsecomp.coding.container import BitstreamError, Container, pack, read_varint, varint
from sparsecomp.coding.range_coder import (
    EVEN,
    binary,
    categorical,
    cheapest,
    density_near,
    differences,
    magnitudes,
    reader,
    words,
)
from sparsecomp.models.siren import COORDINATES, Architecture, tensor_of
from sparsecomp.sparsify.surgery import assemble, remove_dead

_HEADER = struct.Struct("<BBHe")
CODEC = 17  # of L0onie, in a container
MOST = 100_000  # of steps in one value; encoders clip, and no table is longer than is needed for it
SHAPES = ("gaussian", "laplace")
# A forged file must not ask for much memory: each byte of the streams tells of at most so many weights, and the
# network, filled up to the width of its widest layer, has at most so many.
PARAMETERS_PER_BYTE, MOST_PARAMETERS = 512, 2**22


@dataclass(frozen=True)
class Quantised:
    """A network as the file holds it.

    Attributes
    ----------
    architecture : Architecture
    symbols : int64 tensor ``(P,)``
        Numbers of steps.
    steps : int64 tensor ``(2 (depth + 1),)``
        `quantize.step_of` indices of W_0, b_0, W_1, ...
    coordinates : {"per_axis", "coin"}
    """

    architecture: Architecture
    symbols: torch.Tensor
    steps: torch.Tensor
    coordinates: str = "per_axis"

    def parameters(self) -> torch.Tensor:
        """What the decoder draws with: float32 ``(P,)``."""
        return self.symbols * quantize.step_of(self.steps)[tensor_of(self.architecture)]


@dataclass(frozen=True)
class Halves:
    """A sparse network of 16-bit floats: what the paper's 16 bits a nonzero value come to as a file.

    Attributes
    ----------
    architecture : Architecture
    values : float16 tensor ``(P,)``
    coordinates : {"per_axis", "coin"}
    """

    architecture: Architecture
    values: torch.Tensor
    coordinates: str = "per_axis"

    def parameters(self) -> torch.Tensor:
        """What the decoder draws with: float32 ``(P,)``."""
        return self.values.float()


# Symmetries -----------------------------------------------------------------------------------------------------------


def _canonical(
    matrices: list[tuple[torch.Tensor, torch.Tensor]],
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The same network with every bias of a sine layer at least 0, and its neurons in ascending order of it."""
    done = [(weight.clone(), bias.clone()) for weight, bias in matrices]
    for layer in range(len(done) - 1):
        (weight, bias), (after, after_bias) = done[layer], done[layer + 1]
        sign = torch.where(bias < 0, -1, 1)
        order = (sign * bias).argsort(stable=True)
        sign = sign[order]
        done[layer] = (weight[order] * sign[:, None], bias[order] * sign)
        done[layer + 1] = (after[:, order] * sign, after_bias)
    return done


# Writing and reading --------------------------------------------------------------------------------------------------


def write(network: Quantised | Halves, height: int, width: int) -> bytes:
    """The whole ``.spc`` file of a network that draws a picture of this size."""
    return pack(Container(CODEC, height, width, encode(network)))


def encode(network: Quantised | Halves, choices: list[bytes] | None = None) -> dict[str, bytes]:
    """The three sections. Dead neurons are left out; symbols beyond `MOST` are clipped, so what a file shows is what
    `decode` gives, and only that.

    Parameters
    ----------
    choices : list of bytes, optional
        The tables to use, as they stand in another file's ``tables``; by default those that are shortest.

    Raises
    ------
    ValueError
        If there are not ``P`` values, a step is not in 0 .. 255, a value is not finite, or the network is none that the
        header can hold.
    """
    architecture = network.architecture
    coder = _Coder(network, choices)
    if isinstance(network, Halves):
        if network.values.shape != (architecture.n_parameters,) or not bool(network.values.isfinite().all()):
            raise InputError(f"{architecture.n_parameters} finite values are needed for a {architecture}")
        matrices, alive = remove_dead(architecture, network.values.float(), fold=False)
        coder.header(alive)
        raw = b""
        for vector, _ in _vectors(matrices):
            density, kept = coder.mask(vector, next(coder.choices)[0] if coder.choices else None)
            coder.tables.append(density)
            raw += kept.astype("<f2").tobytes()
        return coder.sections({"weights": raw})
    steps = network.steps
    if network.symbols.shape != (architecture.n_parameters,) or steps.shape != (2 * (architecture.depth + 1),):
        raise InputError(f"{len(network.symbols)} symbols and {len(steps)} steps do not make a {architecture}")
    if int(steps.min()) < 0 or int(steps.max()) > quantize.FINEST:
        refuse("steps", f"in 0 .. {quantize.FINEST}", steps.tolist())
    matrices, alive = remove_dead(architecture, network.symbols.long().clamp(-MOST, MOST), fold=False)
    coder.header(alive)
    for step, (vector, ascending) in zip(steps.tolist(), _vectors(_canonical(matrices)), strict=True):
        choice = next(coder.choices) if coder.choices else None
        coder.tables += bytes([step, *(coder.ascending if ascending else coder.plain)(vector, choice)])
    return coder.sections({"values": words(coder.values)})


def _vectors(matrices: list[tuple[torch.Tensor, torch.Tensor]]) -> list[tuple[np.ndarray, bool]]:
    """W_0, b_0, W_1, ... as flat arrays, and whether each is the biases of a sine layer."""
    last = len(matrices) - 1
    pairs = [((w.flatten(), False), (b, layer < last)) for layer, (w, b) in enumerate(matrices)]
    return [(vector.numpy(), of_sines) for pair in pairs for vector, of_sines in pair]


class _Coder:
    """What is written, in three growing pieces."""

    def __init__(self, network: Quantised | Halves, choices: list[bytes] | None) -> None:
        architecture = network.architecture
        one_of("coordinates", network.coordinates, COORDINATES)
        require(architecture.n_in in range(2, 31, 4), "n_in", "2 + 4 K with K up to 7", architecture.n_in)
        require(architecture.n_out == 3, "n_out", "3", architecture.n_out)
        half = 0 < float(np.float16(architecture.w0)) == architecture.w0
        require(half, "w0", "a 16-bit float above 0", architecture.w0)
        self.coordinates, self.architecture, self.tables = network.coordinates, architecture, bytearray()
        self.choices = iter(choices) if choices is not None else None
        self.positions, self.values = (constriction.stream.queue.RangeEncoder() for _ in range(2))
        self.widths: list[int] = []

    def header(self, alive: list[torch.Tensor]) -> None:
        self.widths = [int(left.sum()) for left in alive]
        width, frequencies = max(1, *self.widths), (self.architecture.n_in - 2) // 4
        some_dead = min(self.widths) < width
        flags = COORDINATES.index(self.coordinates) | frequencies << 1 | some_dead << 7
        self.tables += _HEADER.pack(self.architecture.depth, flags, width, self.architecture.w0)
        if some_dead:
            self.tables += b"".join(varint(left) for left in self.widths)

    def mask(self, vector: np.ndarray, density: int | None) -> tuple[int, np.ndarray]:
        """Writes which entries are not zero; gives the byte of their density, and those entries."""
        present = vector != 0
        if not present.any():
            return 0, vector[:0]
        if present.all():
            return 255, vector
        if density is None or density not in range(1, 255):
            density = density_near(present.mean())
        self.positions.encode(present.astype(np.int32), binary(density))
        return density, vector[present]

    def plain(self, symbols: np.ndarray, choice: bytes | None) -> tuple[int, int]:
        """Zero or not, then signs and magnitudes of what is not; gives the two bytes that name the tables."""
        density, kept = self.mask(symbols, choice[1] if choice else None)
        if not len(kept):
            return 0, 0
        size = np.abs(kept) - 1
        which = choice[2] if choice else min(self._shortest(kept, size))[1]
        self.values.encode((kept < 0).astype(np.int32), EVEN)
        self.values.encode(size.astype(np.int32), categorical(magnitudes(SHAPES[which >> 7], which & 127)))
        return density, which

    @staticmethod
    def _shortest(kept: np.ndarray, size: np.ndarray) -> Iterator[tuple[float, int]]:
        for number, shape in enumerate(SHAPES):
            scale = np.sqrt((kept * kept).mean()) if shape == "gaussian" else np.abs(kept).mean()
            bits, index = cheapest(functools.partial(magnitudes, shape), size, scale)
            yield bits, number << 7 | index

    def ascending(self, symbols: np.ndarray, choice: bytes | None) -> tuple[int, int]:
        """Differences of an ascending list that begins at 0 or above; gives the two bytes that name the table."""
        if not symbols.any():
            return 0, 0
        rises = np.diff(symbols, prepend=0)
        which = choice[2] & 127 if choice else cheapest(differences, rises, rises.mean())[1]
        self.values.encode(rises.astype(np.int32), categorical(differences(which)))
        return 255, which

    def sections(self, stream: dict[str, bytes]) -> dict[str, bytes]:
        written = {"tables": bytes(self.tables), "positions": words(self.positions)} | stream
        streams = sum(map(len, written.values())) - len(written["tables"])
        left = replace(self.architecture, width=max(1, *self.widths))
        if problem := _absurd(left, self.widths, streams):
            raise InputError(problem)
        return written


def decode(sections: dict[str, bytes]) -> Quantised | Halves:
    """The network of the sections, no wider than its widest layer; `BitstreamError` if they are not what `encode`
    writes.
    """
    names = set(sections)
    if names not in ({"tables", "positions", "values"}, {"tables", "positions", "weights"}):
        raise BitstreamError("a sparse network has the sections tables, positions, and values or weights; no other")
    halves = "weights" in names
    stream = sections["weights" if halves else "values"]
    architecture, widths, coordinates, at = _read_header(sections["tables"], len(sections["positions"]) + len(stream))
    each = 1 if halves else 3
    own = [sections["tables"][i : i + each] for i in range(at, len(sections["tables"]), each)]
    if len(sections["tables"]) - at != 2 * each * (architecture.depth + 1):
        raise BitstreamError(
            f"tables of {len(sections['tables'])} bytes, not {at + 2 * each * (architecture.depth + 1)}"
        )
    reader = _Reader(sections["positions"], stream)
    dims = [architecture.n_in, *widths, architecture.n_out]
    matrices = []
    try:
        for layer, (before, after) in enumerate(zip(dims[:-1], dims[1:], strict=True)):
            of_weight, of_bias = own[2 * layer : 2 * layer + 2]
            if halves:
                weight, bias = reader.raw(after * before, of_weight[0]), reader.raw(after, of_bias[0])
            else:
                weight = reader.plain(after * before, *of_weight[1:])
                bias = (reader.ascending if layer < architecture.depth else reader.plain)(after, *of_bias[1:])
            matrices.append((torch.from_numpy(weight).view(after, before), torch.from_numpy(bias)))
        architecture, values = assemble(matrices, architecture.w0, architecture.width)
        if halves:
            found: Quantised | Halves = Halves(architecture, values.half(), coordinates)
        else:
            found = Quantised(architecture, values, torch.tensor([entry[0] for entry in own]), coordinates)
        same = encode(found, own) == sections
    except (AssertionError, ValueError) as error:  # AssertionError: constriction knows no symbol of this code
        raise BitstreamError(f"the weights are damaged: {error}") from error
    if not same:
        raise BitstreamError("the weights are damaged: no encoder writes these bytes")
    return found


def macs_per_pixel(sections: dict[str, bytes]) -> int:
    """Multiply-accumulates of the matrices that are left, at one pixel."""
    architecture, widths, _, _ = _read_header(sections["tables"], 2**40)
    dims = [architecture.n_in, *widths, architecture.n_out]
    return sum(before * after for before, after in zip(dims[:-1], dims[1:], strict=True))


def _read_header(tables: bytes, streams: int) -> tuple[Architecture, list[int], str, int]:
    """Architecture, neurons left in each sine layer, coordinates, and where the header ends; all checked."""
    if len(tables) < _HEADER.size:
        raise BitstreamError(f"tables of {len(tables)} bytes are too short for their header")
    depth, flags, width, w0 = _HEADER.unpack_from(tables)
    if flags & 0x70:
        raise BitstreamError(f"unknown flags {flags:#04x} of a network")
    try:
        architecture = Architecture(depth, width, w0=w0, n_in=2 + 4 * (flags >> 1 & 7))
    except ValueError as error:
        raise BitstreamError(f"impossible network: {error}") from error
    at, widths = _HEADER.size, [width] * depth
    if flags >> 7:
        for layer in range(depth):
            widths[layer], at = read_varint(tables, at)
        if max(widths) > width:
            raise BitstreamError(f"a layer has {max(widths)} neurons left of {width}")
    if problem := _absurd(architecture, widths, streams):
        raise BitstreamError(problem)
    return architecture, widths, COORDINATES[flags & 1], at


def _absurd(architecture: Architecture, widths: list[int], streams: int) -> str:
    """Return why no legal file of so many bytes can hold a network with layers of these widths, or an empty text."""
    dims = [architecture.n_in, *widths, architecture.n_out]
    there = sum(after * (before + 1) for before, after in zip(dims[:-1], dims[1:], strict=True))
    if there > PARAMETERS_PER_BYTE * (streams + 64):
        return f"absurd size: {there} weights from {streams} bytes"
    if architecture.n_parameters > MOST_PARAMETERS:
        return f"absurd size: a {architecture} network has more than {MOST_PARAMETERS} weights"
    return ""


class _Reader:
    """The two streams of a network; every method is the way back of one of `_Coder`."""

    def __init__(self, positions: bytes, stream: bytes) -> None:
        self.positions, self.values = reader(positions), reader(stream)
        self.stream, self.at = stream, 0

    def mask(self, count: int, density: int) -> np.ndarray:
        if density in (0, 255) or count == 0:
            return np.full(count, density == 255)
        return self.positions.decode(binary(density), count).astype(bool)

    def raw(self, count: int, density: int) -> np.ndarray:
        present, values = self.mask(count, density), np.zeros(count, np.float32)
        there = self.stream[self.at : self.at + 2 * int(present.sum())]
        values[present] = np.frombuffer(there, "<f2")  # a ValueError if the stream is short
        self.at += len(there)
        return values

    def plain(self, count: int, density: int, which: int) -> np.ndarray:
        present, symbols = self.mask(count, density), np.zeros(count, np.int64)
        if kept := int(present.sum()):
            negative = self.values.decode(EVEN, kept)
            size = self.values.decode(categorical(magnitudes(SHAPES[which >> 7], which & 127)), kept)
            symbols[present] = np.where(negative, -1, 1) * (size.astype(np.int64) + 1)
        return symbols

    def ascending(self, count: int, density: int, which: int) -> np.ndarray:
        if density == 0 or count == 0:
            return np.zeros(count, np.int64)
        return np.cumsum(self.values.decode(categorical(differences(which & 127)), count).astype(np.int64))


# What quantisation in training is compared with -----------------------------------------------------------------------


def rounded(architecture: Architecture, theta: torch.Tensor, bits: int) -> torch.Tensor:
    """A trained network ``(P,)`` rounded afterwards, without training: each matrix to ``2^bits - 1`` values between its
    largest and its negative. What quantisation in training is compared with.
    """
    whole("bits", bits, 2, 16)
    of = tensor_of(architecture)
    largest = torch.zeros(int(of.max()) + 1).scatter_reduce(0, of, theta.abs(), "amax")
    step = (largest / (2 ** (bits - 1) - 1)).clamp(min=1e-12)[of]
    return (theta / step).round() * step
