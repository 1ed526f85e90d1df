"""Whole numbers on a grid, coded with contexts: what is known around a symbol says how large it will be.

With one table for each channel, symbols are coded as if they were independent. They are not: where a latent is large,
the latents around it are large, too. The coder of JPEG 2000 (EBCOT) uses this, and so do learned context models.

Symbols are written in passes, from a coarse grid to the finest, as those of interlaced pictures are::

    first    every 32nd row and column
    B        with stride s = 16, 8, 4, 2, 1: places between four that are known, the diagonal neighbours at distance s
    C        with the same stride: places between four that are known, the neighbours at distance s in row and column

Of a symbol q, ``n_1 .. n_4`` are the four neighbours of its pass, and ``q_j`` the symbols of the channels before at the
same place. Its prediction and the expected size of what is left are ::

    mu = round(a (n_1 + n_2 + n_3 + n_4) / 4)
    sigma = b + c (|n_1 - mu| + .. + |n_4 - mu|) + sum_j d_j |q_j|

with a, b, c, d >= 0 of the channel and kind of pass, fitted on training pictures (`Contexts.fit`). The residual q - mu
has the table of the class that sigma falls into, three eighths of an octave wide; the classes are common to all
channels. Chrysafis & Ortega (1997) chose classes by such a sum. He et al. (2021) learn a context model with two passes,
the squares of a checkerboard.

a, b, c and d are multiples of 1/1024, and all numbers that a class depends on are whole numbers of that unit. So every
machine finds the same classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import constriction
import numpy as np

from sparsecomp.checks import InputError, require
from sparsecomp.coding.range_coder import EVEN, TOTAL, categorical, checked, reader, scale_of, words

STRIDES = (16, 8, 4, 2, 1)
FIRST, B, C = range(3)  # the kinds of passes
DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
DIRECT = ((-1, 0), (1, 0), (0, -1), (0, 1))
ONE = 1024  # of the weights
# Edges of the classes of sigma, in 1/1024: 1, 1.3, 1.7, ... 80,000. (`scale_of` has the same bits everywhere.)
EDGES = np.array([int(8 * scale_of(index)) for index in range(0, 128, 3)])
CLASSES = len(EDGES) + 1
ESCAPE = 64  # magnitudes from here on are written with 16 more bits
BITS = 16
UNIFORM = constriction.stream.model.Uniform(2**BITS)
MOST = 2**15 - 1  # the largest magnitude of a symbol
PSEUDO = 32  # symbols that a class has seen before it sees any
AT_ONCE = 2**18  # places of a pass, in some channels, that are computed together: a bound on memory


@dataclass(frozen=True)
class Pass:
    """One pass: its kind, the distance of the neighbours, and which rows and columns."""

    kind: int
    stride: int
    top: int
    left: int

    @property
    def places(self) -> tuple[slice, slice]:
        """Of a plane ``(h, w)``."""
        step = self.stride if self.kind == FIRST else 2 * self.stride
        return slice(self.top, None, step), slice(self.left, None, step)

    def neighbours(self, planes: np.ndarray) -> np.ndarray:
        """The four known neighbours int64 ``(4, ..., n, m)``; beyond a border the one opposite, or else 0."""
        stride, size, found = self.stride, planes.shape[-2:], []
        rows, columns = (np.arange(n)[of] for n, of in zip(size, self.places, strict=True))
        for down, right in DIAGONAL if self.kind == B else DIRECT:
            row, by_row = _inside(rows, down * stride, size[0])
            column, by_column = _inside(columns, right * stride, size[1])
            found.append(planes[..., row[:, None], column] * np.outer(by_row, by_column))
        return np.stack(found).astype(np.int64)


def _inside(places: np.ndarray, by: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Places moved by some distance, or the other way where that leads out; and 1 where one of both exists, else 0."""
    moved = np.where((places + by < 0) | (places + by >= size), places - by, places + by)
    return moved.clip(0, size - 1), (moved >= 0) & (moved < size)


def passes(height: int, width: int) -> Iterator[Pass]:
    """Every pass that has a place in a plane of this size, in order."""
    every = [Pass(FIRST, 2 * STRIDES[0], 0, 0)]
    for s in STRIDES:
        every += [Pass(B, s, s, s), Pass(C, s, 0, s), Pass(C, s, s, 0)]
    return (one for one in every if one.top < height and one.left < width)


@dataclass(frozen=True, eq=False)
class Contexts:
    """A context model of ``C`` channels.

    Parameters
    ----------
    weights : int32 (C, 3, C + 3)
        For each channel and kind of pass a, b, c and d, in 1/1024, 0 .. 2^20; a at most 1; d of the channels
        from its own on is 0.
    tables : int32 (44, 65)
        For each class counts of the magnitudes 0 .. 63 and of the escape, at least 1, in sum 2^24.

    Raises
    ------
    ValueError
        If they are not of these shapes and ranges.
    """

    weights: np.ndarray
    tables: np.ndarray

    def __post_init__(self) -> None:
        weights, tables = self.weights, self.tables
        channels = len(weights) if weights.ndim else 0
        legal = weights.shape == (channels, 3, channels + 3) and weights.min() >= 0 and weights.max() <= 2**20
        require(legal, "weights", "(C, 3, C + 3) whole numbers from 0 to 2^20", weights.shape)
        # A prediction is then never larger than a symbol, and `BITS` reach any residual.
        require(weights[:, :, 0].max() <= ONE, "weights", "an a of at most 1", int(weights[:, :, 0].max()) / ONE)
        known = all(not weights[channel, :, 3 + channel :].any() for channel in range(channels))
        require(known, "weights", "no d of a channel that is coded later", "another")
        legal = tables.shape == (CLASSES, ESCAPE + 1) and tables.min() >= 1 and bool((tables.sum(1) == TOTAL).all())
        require(legal, "tables", f"({CLASSES}, {ESCAPE + 1}) whole numbers of at least 1, in sum 2^24", tables.shape)

    # What a symbol's surroundings say ---------------------------------------------------------------------------------

    def around(self, symbols: np.ndarray, channels: slice, of: Pass) -> tuple[np.ndarray, np.ndarray]:
        """Prediction mu and class of sigma, both ``(k, n, m)``, of the places of a pass in k channels.

        Of these channels what earlier passes wrote is taken, and of those before them what this pass wrote, too.
        """
        own, at = symbols[channels], (slice(channels.stop), *of.places)
        a, b, c = self.weights[channels, of.kind, :3, None, None].swapaxes(0, 1).astype(np.int64)
        d = self.weights[channels, of.kind, 3 : 3 + channels.stop]
        # Whole numbers below 2^53, so that float64 adds them up exactly, in whatever order.
        sigma = b + np.tensordot(d.astype(float), np.abs(symbols[at]).astype(float), 1)
        mu = np.zeros(sigma.shape, np.int64)
        if of.kind != FIRST:
            near = of.neighbours(own)
            mu = (a * near.sum(0) + 2 * ONE) // (4 * ONE)
            sigma += c * np.abs(near - mu).sum(0)
        return mu, np.searchsorted(EDGES, sigma, side="right")

    def residuals(self, symbols: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Residuals and classes of some channels of a pass, both ``(k, n m)``, in the order of the file."""
        for of in passes(*symbols.shape[1:]):
            some = max(1, AT_ONCE // symbols[0, *of.places].size)
            for first in range(0, len(symbols), some):
                channels = slice(first, min(first + some, len(symbols)))
                mu, classes = self.around(symbols, channels, of)
                left = symbols[channels, *of.places] - mu
                yield left.reshape(len(left), -1), classes.reshape(len(left), -1)

    def seen(self, symbols: np.ndarray) -> np.ndarray:
        """How often each class has each magnitude, int64 (44, 65); the last column is the escape's."""
        found = np.zeros(CLASSES * (ESCAPE + 1), np.int64)
        for residuals, classes in self.residuals(symbols):
            both = (ESCAPE + 1) * classes + np.minimum(np.abs(residuals), ESCAPE)
            found += np.bincount(both.ravel(), minlength=len(found))
        return found.reshape(CLASSES, ESCAPE + 1)

    @classmethod
    def fit(cls, codes: Iterable[np.ndarray]) -> Contexts:
        """Fit a context model to the symbols int32 ``(C, h, w)`` of training pictures.

        a is a regression of symbols on the mean of their neighbours; below 0.3 it is taken as 0. b, c and d are a
        regression of ``|q - mu|`` with no negative weight, whose errors are weighed by 1 / sigma^2 of the round before:
        where little is expected, small errors count.

        Raises
        ------
        ValueError
            If there are no codes, or one has fewer than 2 rows or columns or another number of channels.
        """
        codes = list(codes)
        channels = len(codes[0]) if codes else 0
        legal = channels > 0 and all(len(code) == channels and min(code.shape[1:]) >= 2 for code in codes)
        require(legal, "codes", "arrays (C, h, w) of one C, h and w at least 2", [code.shape for code in codes][:3])
        weights = np.zeros((channels, 3, channels + 3), np.int32)
        for channel in range(channels):
            for kind in (FIRST, B, C):
                weights[channel, kind] = _fitted(codes, channel, kind)
        nothing = np.zeros((CLASSES, ESCAPE + 1), np.int64)
        plain = cls(weights, _tables(nothing))
        return cls(weights, _tables(sum((plain.seen(symbols) for symbols in codes), nothing)))


# Symbols as bytes -----------------------------------------------------------------------------------------------------


def bits(symbols: np.ndarray, model: Contexts) -> float:
    """What the tables make of symbols ``(C, h, w)``, in bits: an estimate, right to a few bytes of the file."""
    _check(symbols, model)
    seen = model.seen(symbols)
    signs, beyond = seen[:, 1:].sum(), seen[:, ESCAPE].sum()
    return float(-(seen * np.log2(model.tables / TOTAL)).sum() + signs + BITS * beyond)


def encode(symbols: np.ndarray, model: Contexts) -> bytes:
    """Symbols int32 ``(C, h, w)``, at most 32767 in size, as bytes: pass after pass, channel after channel.

    Of each channel's part of a pass the magnitudes of the residuals, class by class; then the signs of those that are
    not 0; then what the tables do not reach.
    """
    _check(symbols, model)
    encoder = constriction.stream.queue.RangeEncoder()
    models = [categorical(table) for table in model.tables]
    for of_channels in model.residuals(symbols):
        for residuals, classes in zip(*of_channels, strict=True):
            magnitudes = np.abs(residuals).astype(np.int32)
            for one in np.unique(classes):
                encoder.encode(np.minimum(magnitudes[classes == one], ESCAPE), models[one])
            encoder.encode((residuals[residuals != 0] < 0).astype(np.int32), EVEN)
            encoder.encode(magnitudes[magnitudes >= ESCAPE] - ESCAPE, UNIFORM)
    return words(encoder)


def decode(data: bytes, shape: tuple[int, int, int], model: Contexts) -> np.ndarray:
    """The symbols ``(C, h, w)`` that `encode` wrote; `BitstreamError` if it never writes these bytes."""
    decoder, models = reader(data), [categorical(table) for table in model.tables]

    def read() -> np.ndarray:
        symbols = np.zeros(shape, np.int32)
        for of in passes(*shape[1:]):
            for channel in range(shape[0]):
                mu, classes = model.around(symbols, slice(channel, channel + 1), of)
                residuals = np.zeros(classes.shape, np.int64)
                for one in np.unique(classes):
                    there = classes == one
                    residuals[there] = decoder.decode(models[one], int(there.sum()))
                signed, beyond = residuals != 0, residuals == ESCAPE
                signs = 1 - 2 * decoder.decode(EVEN, int(signed.sum())).astype(np.int64)
                residuals[beyond] += decoder.decode(UNIFORM, int(beyond.sum()))
                residuals[signed] *= signs
                symbols[channel, *of.places] = (mu + residuals)[0].clip(-MOST, MOST)  # no encoder needs the clipping
        return symbols

    return checked(read, lambda symbols: encode(symbols, model), data)


def _check(symbols: np.ndarray, model: Contexts) -> None:
    legal = symbols.dtype == np.int32 and symbols.ndim == 3 and len(symbols) == len(model.weights)
    require(legal, "symbols", f"int32 ({len(model.weights)}, h, w)", (symbols.dtype, symbols.shape))
    largest = max(int(symbols.max()), -int(symbols.min())) if symbols.size else 0
    if largest > MOST:
        raise InputError(f"a symbol of magnitude {largest}: at most {MOST} can be written")


# Fitting --------------------------------------------------------------------------------------------------------------


def _fitted(codes: list[np.ndarray], channel: int, kind: int) -> np.ndarray:
    """The weights of one channel and kind of pass: a, b, c and d in 1/1024."""
    near, before, own = [], [], []
    for symbols in codes:
        for of in passes(*symbols.shape[1:]):
            if of.kind == kind:
                own.append(symbols[channel][of.places].ravel())
                before.append(np.abs(symbols[(slice(channel), *of.places)]).reshape(channel, own[-1].size))
                near.append(of.neighbours(symbols[channel]).reshape(4, -1))
    symbols, others, known = np.concatenate(own), np.concatenate(before, 1), np.concatenate(near, 1)
    a, mu = 0.0, np.zeros(len(symbols))
    features = [np.ones((1, len(symbols))), np.zeros((1, len(symbols))), others]
    if kind != FIRST:
        mean = known.mean(0)
        a = float(mean @ symbols / max(1e-9, float(mean @ mean)))
        a = min(1.0, a) if a > 0.3 else 0.0
        mu = np.floor(a * mean + 0.5)
        features[1] = np.abs(known - mu).sum(0, keepdims=True)
    x, left = np.concatenate(features), np.abs(symbols - mu)
    trust = np.ones(len(left))
    for _ in range(4):
        square, target = (x * trust) @ x.T, (x * trust) @ left
        w = np.full(len(x), 0.1)
        for _ in range(300):  # Lee & Seung's multiplicative updates: no weight turns negative
            w *= target / np.maximum(square @ w, 1e-12)
        trust = 1 / np.maximum(w @ x, 0.02) ** 2
    found = np.zeros(len(codes[0]) + 3)
    found[0], found[1 : len(w) + 1] = a, w
    found[1] = max(found[1], 1 / ONE)  # so that sigma is never 0
    return np.minimum(np.round(ONE * found), 2**20).astype(np.int32)


def _tables(seen: np.ndarray) -> np.ndarray:
    """Counts int32 from how often each class had each magnitude, mixed with a geometric distribution of its size."""
    size = np.concatenate([[0.5], EDGES]) * 1.15 / ONE  # about the middle of a class
    r = (size / (1 + size))[:, None] ** np.arange(ESCAPE + 1)
    smooth = r * (1 - r[:, 1:2])
    smooth[:, ESCAPE] = r[:, ESCAPE]
    mixed = seen + PSEUDO * smooth
    counts = 1 + np.floor((TOTAL - ESCAPE - 1) * mixed / mixed.sum(1, keepdims=True)).astype(np.int64)
    counts[:, 0] += TOTAL - counts.sum(1)
    return counts.astype(np.int32)
