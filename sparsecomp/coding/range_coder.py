"""The range coder and its integer tables, which decode alike on every machine.

A table holds whole numbers that sum to 2^24, one a symbol. All of them come from additions, multiplications and
divisions of IEEE doubles alone, which round the same everywhere; no ``exp`` does. The coder is constriction's. It
decodes any bytes, so every decoding ends by encoding again (`checked`): a stream that no encoder writes is refused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import constriction
import numpy as np

from sparsecomp.coding.container import BitstreamError

TOTAL = 2**24  # every table sums to this
SCALES = 128  # scale 2^(index / 8 - 3) steps: 1/8 to 7,500
T = TypeVar("T")


# The coder ------------------------------------------------------------------------------------------------------------


def categorical(counts: np.ndarray) -> constriction.stream.model.Categorical:
    """The coder's model of integer counts that sum to 2^24."""
    return constriction.stream.model.Categorical(counts / TOTAL, perfect=False)


def words(encoder: constriction.stream.queue.RangeEncoder) -> bytes:
    """The range coder's 32-bit words, little endian, without the zero bytes at the end (the reader adds them again)."""
    return encoder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


def reader(data: bytes) -> constriction.stream.queue.RangeDecoder:
    """A decoder of what `words` gave. It runs past the end without an error, so the caller must check."""
    return constriction.stream.queue.RangeDecoder(np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32))


def checked(read: Callable[[], np.ndarray], write: Callable[[np.ndarray], bytes], data: bytes) -> np.ndarray:
    """What ``read()`` makes of the code, if ``write`` of it gives ``data`` again; else `BitstreamError`.

    The coder decodes anything; that its own encoder writes the same bytes is the proof that they are a code.
    """
    try:
        symbols = read()
        same = write(symbols) == data
    except (AssertionError, ValueError) as error:  # AssertionError: constriction knows no symbol of this code
        raise BitstreamError(f"the code is damaged: {error}") from error
    if not same:
        raise BitstreamError("the code is damaged: no encoder writes these bytes")
    return symbols


# Tables of distributions ----------------------------------------------------------------------------------------------


def _power(base: float, count: int) -> np.ndarray:
    """1, base, base^2, ...: multiplied up one by one, so that every machine has the same bits."""
    return np.concatenate([[1.0], np.multiply.accumulate(np.full(count - 1, base))]) if count > 1 else np.ones(1)


@functools.cache
def _octave() -> tuple[float, ...]:
    """2^(k/8) for k = 0 .. 7 from square roots, which IEEE rounds correctly."""
    half = np.sqrt(2.0)
    quarter, eighth = np.sqrt(half), np.sqrt(np.sqrt(half))
    return tuple(float(a * b * c) for a in (1.0, half) for b in (1.0, quarter) for c in (1.0, eighth))


def scale_of(index: int) -> float:
    """Scale number ``index`` in steps, ``2^(index / 8 - 3)``."""
    return float(np.ldexp(_octave()[index % 8], index // 8 - 3))


def _counts(weights: np.ndarray) -> np.ndarray:
    """Integers of at least 1 in proportion to ``weights``, summing to `TOTAL`; the first takes what rounding leaves."""
    room = TOTAL - len(weights)
    counts = 1 + np.floor(weights * (room / weights.sum())).astype(np.int64)
    counts[0] += TOTAL - counts.sum()
    return counts


@functools.cache
def magnitudes(shape: str, index: int) -> np.ndarray:
    """Table of ``|q|`` = 1, 2, ... of a distribution of this shape and scale; what lies past its end cannot be written.

    Gaussian: ``p(q) ~ r^(q^2)`` with ``r = exp(-1 / (2 s^2))``; Laplace: ``p(q) ~ r^q`` with ``r = exp(-1 / s)``. The
    exponential is replaced by the rational ``(1 - x/2) / (1 + x/2)`` (r only has to be near, and the same everywhere).
    """
    scale = scale_of(index)
    most = int((7 if shape == "gaussian" else 20) * scale) + 2
    x = 1 / (2 * scale * scale) if shape == "gaussian" else 1 / scale
    halvings = 6  # r(x) = r(x / 64)^64: near enough for the smallest scale, too
    ratio = (1 - x / 2 ** (halvings + 1)) / (1 + x / 2 ** (halvings + 1))
    for _ in range(halvings):
        ratio = ratio * ratio
    if shape == "laplace":
        return _counts(_power(ratio, most))
    growth = ratio * _power(ratio * ratio, most)  # r^(2q+1), so that their products are r^(q^2)
    return _counts(np.multiply.accumulate(growth))


@functools.cache
def differences(index: int) -> np.ndarray:
    """Table of 0, 1, 2, ...: geometric with mean `scale_of`, for the differences of sorted biases."""
    mean = scale_of(index)
    return _counts(_power(mean / (1 + mean), int(20 * mean) + 8))


def density_of(index: int) -> float:
    """Share of nonzeros number ``index``: 0 is 0, 255 is 1, between them steps that are finer near both ends."""
    x = index / 255
    return x * x * (3 - 2 * x)


def density_near(share: float) -> int:
    """The density, of those strictly between 0 and 1, that is nearest to a share of nonzeros."""
    return min(range(1, 255), key=lambda index: abs(density_of(index) - share))


def binary(index: int) -> constriction.stream.model.Categorical:
    """The coder's model of zero or not, at a density."""
    ones = min(TOTAL - 1, max(1, round(density_of(index) * TOTAL)))
    return categorical(np.array([TOTAL - ones, ones]))


def bits_of(counts: np.ndarray, symbols: np.ndarray) -> float:
    """Length of the symbols under a table; infinite if it does not reach them."""
    if len(symbols) and symbols.max() >= len(counts):
        return np.inf
    return float(-np.log2(counts[symbols] / TOTAL).sum())


def cheapest(tables: Callable[[int], np.ndarray], symbols: np.ndarray, size: float) -> tuple[float, int]:
    """Bits and number of the table that writes the symbols shortest, among those near the scale ``size``, or else the
    first that reaches the largest of them.
    """
    guess = int(np.clip(round(8 * (np.log2(max(size, 1e-3)) + 3)), 0, SCALES - 1))
    found = min((bits_of(tables(index), symbols), index) for index in range(max(0, guess - 8), min(SCALES, guess + 12)))
    while np.isinf(found[0]) and guess < SCALES - 1:
        guess += 1
        found = bits_of(tables(guess), symbols), guess
    return found


EVEN = categorical(np.array([TOTAL // 2, TOTAL // 2]))  # a fair coin
