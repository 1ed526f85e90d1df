"""Integer codes without bound as bytes: one histogram a channel, an escape for what it does not know, a range coder.

Zhao & Liao (2019) train without an estimate of the rate. What their coder needs is counted afterwards: how often each
value occurs in each channel of the codes of the training pictures. Such a histogram, smoothed, is stored with the model
as integer counts ``(C, 512)``: one column for each of the values -255 .. 255, and the last one for the escape. A value
beyond is written as the escape, and with 16 bits of its own behind the symbols of its channel: none is lost.

A code that is pruned where it is used has more zeros than those that were counted. So a file says a *threshold*, the
smallest magnitude of its nonzero values; each channel says how much larger its own is, and one of 37 shares of zeros.
From these and the counts its table follows (`table`), in whole numbers. So one set of counts serves all shares of a
code that are kept, and pictures with more in them than others; a channel of nothing but zeros costs nothing.
"""

from __future__ import annotations

import constriction
import numpy as np
import torch

from sparsecomp.checks import InputError, refuse, require, whole
from sparsecomp.coding.latents import CELLS, LEAST
from sparsecomp.coding.range_coder import TOTAL, categorical, checked, reader, words

LARGEST = CELLS // 2 - 1  # magnitude of a value that has a column of its own
ZERO, ESCAPE = LARGEST, CELLS - 1  # columns
MOST = 2**15 - 1  # magnitude of any value, and the largest threshold
ESCAPE_BITS = 16
STEP, COARSEST = 16, 4096  # steps in 1/16: the training's own, and the largest
PSEUDO = 1024.0  # symbols of the smooth part of a table, beside those that were counted
# Odds of the zero, 2^-6 to 2^12 by steps of about sqrt(2), as fractions. Whole numbers: a table is the same everywhere.
ODDS = [(n * 2 ** max(0, k), d * 2 ** max(0, -k)) for k in range(-6, 13) for n, d in ((1, 1), (17, 12))][:-1]
_uniform = constriction.stream.model.Uniform
_MAGNITUDES = np.abs(np.arange(-LARGEST, LARGEST + 2))  # of the columns; the escape's at least


# Integer tables -------------------------------------------------------------------------------------------------------


def histogram_of(codes: np.ndarray | torch.Tensor) -> torch.Tensor:
    """How often each value occurs in each channel of a code; of several codes, add up theirs.

    Parameters
    ----------
    codes : whole numbers ``(C, h, w)`` or ``(B, C, h, w)``, of an integer or a floating-point type

    Returns
    -------
    int64 ``(C, 512)``: column ``v + 255`` for the value v, column 511 for all beyond 255.

    Raises
    ------
    ValueError
        If the codes have another shape, or an entry is not a whole number.
    """
    codes = torch.as_tensor(codes).detach().cpu()
    require(codes.dim() in (3, 4), "codes", "(C, h, w) or (B, C, h, w)", tuple(codes.shape))
    integers = not codes.is_floating_point() or bool((codes == codes.round()).all())
    require(integers, "codes", "whole numbers", "others among them")
    channels = codes.shape[-3]
    columns = torch.where(codes.abs() > LARGEST, ESCAPE, codes.clamp(-LARGEST, LARGEST) + ZERO).long()
    columns = columns.transpose(0, -3).reshape(channels, -1) + CELLS * torch.arange(channels)[:, None]
    return torch.bincount(columns.flatten(), minlength=CELLS * channels).view(channels, CELLS)


def counts_of(histogram: torch.Tensor, pseudo: float = PSEUDO) -> torch.Tensor:
    """Integer counts ``(C, 512)`` of at least 4 that sum to 2^24 in each channel, from ``histogram (C, 512)``.

    To the n symbols of a channel as many as ``pseudo`` are added in the shape of a two-sided geometric distribution::

        g(v) = (1 - r) / (1 + r) r^|v|,    r = m / (1 + sqrt(1 + m^2)),    m = (sum |v| + 1) / (n + 1)

    whose mean magnitude is m, the channel's own (a Dirichlet prior with mean g). A histogram gives up the share
    ``pseudo / (n + pseudo)`` for values that it has not met: much where it counted little, next to nothing where it
    counted millions. The symbols of one picture are alike, so that they count for fewer than they are: with 1024, codes
    were up to 7 % shorter than with 64 where the histogram was of a single picture, and the same, to 0.1 %, where it
    was of 60. The 1 in m is for a channel that was nothing but zeros: it says of other values that they are rare, not
    that there are none.

    Raises
    ------
    ValueError
        If the histogram has not 512 columns, or a number in it is negative.
    """
    histogram = torch.as_tensor(histogram).double().cpu()
    legal = histogram.dim() == 2 and histogram.shape[1] == CELLS and bool((histogram >= 0).all())
    require(legal, "histogram", f"(C, {CELLS}) with nothing below 0", tuple(histogram.shape))
    magnitudes = torch.from_numpy(_MAGNITUDES).double()
    seen = histogram.sum(1, keepdim=True)
    mean = ((histogram * magnitudes).sum(1, keepdim=True) + 1) / (seen + 1)
    r = mean / (1 + (1 + mean * mean).sqrt())
    smooth = (1 - r) / (1 + r) * r**magnitudes
    smooth[:, ESCAPE] *= 2 / (1 - r[:, 0])  # all beyond the columns, on both sides
    mixed = (histogram + pseudo * smooth) / (seen + pseudo)
    counts = LEAST + torch.floor((TOTAL - LEAST * CELLS) * mixed / mixed.sum(1, keepdim=True)).long()
    counts[:, ZERO] += TOTAL - counts.sum(1)  # what rounding leaves
    return counts


def check_threshold(threshold: int) -> None:
    """Refuse a threshold that no file can name (`ValueError`)."""
    whole("threshold", threshold, 1, MOST)


def threshold_of(symbols: np.ndarray) -> int:
    """The smallest magnitude of a nonzero symbol; of a code that is nothing but zeros 32767, the largest there is.

    No other threshold makes a shorter code: the larger it is, the more of the table is the zero's.
    """
    magnitudes = np.abs(symbols[symbols != 0])
    return int(magnitudes.min()) if magnitudes.size else MOST


def table(counts: np.ndarray, threshold: int, level: int | None = None) -> np.ndarray:
    """Counts int64 ``(512,)`` of a channel where every nonzero value has at least the magnitude ``threshold``.

    The counts of ``0 < |v| < threshold`` go to the zero, so that they still sum to 2^24; a column that is left
    without one cannot occur. The escape always can. With a ``level``, whose odds are a : b, the others are then scaled
    by one factor, so that the zero has a share ``a / (a + b)``, but for rounding. Threshold 1 and no level change
    nothing.
    """
    left = np.where(_MAGNITUDES >= threshold, counts, 0)
    left[ESCAPE], left[ZERO] = counts[ESCAPE], 0
    if level is not None:
        zero, other = ODDS[level]
        left = np.where(left > 0, np.maximum(1, left * (TOTAL * other // (zero + other)) // left.sum()), 0)
    left[ZERO] = TOTAL - left.sum()
    return left


def level_of(channel: np.ndarray) -> int:
    """The place in `ODDS` that fits best to the zeros of a channel."""
    zeros = int((channel == 0).sum())
    # 19/16 is about 2^(1/4), half a step.
    return sum(16 * zeros * other > 19 * zero * (channel.size - zeros) for zero, other in ODDS[:-1])


def check_step(step: int) -> None:
    """Refuse a step that no file can name (`ValueError`)."""
    whole("step", step, STEP, COARSEST)


def coarser(counts: np.ndarray, step: int) -> np.ndarray:
    """Counts int64 ``(C, 512)`` of symbols that are multiples of ``step / 16``, from those of whole numbers.

    A whole number v is taken as spread evenly from v - 1/2 to v + 1/2. A symbol k then has what lies from
    (k - 1/2) step / 16 to (k + 1/2) step / 16, found in whole numbers of 1/32, so that a table is the same everywhere.
    Every column keeps at least 4; the escape has what it had.
    """
    check_step(step)
    if step == STEP:
        return counts
    half, cell = (2 * LARGEST + 1) * STEP, 2 * STEP  # in 1/32: all values on one side of 0, and one value
    edges = np.clip((2 * np.arange(-LARGEST, LARGEST + 2) - 1) * step, -half, half) + half
    at, part = edges // cell, edges % cell
    values = np.pad(counts[:, :ESCAPE], ((0, 0), (0, 1)))
    below = np.pad(np.cumsum(values, 1), ((0, 0), (1, 0)))
    mass = np.diff(cell * below[:, at] + part * values[:, at])
    mass = np.append(mass, cell * counts[:, ESCAPE:], 1)
    found = LEAST + mass * (TOTAL - LEAST * CELLS) // (cell * TOTAL)
    found[:, ZERO] += TOTAL - found.sum(1)
    return found


def own_thresholds(symbols: np.ndarray, threshold: int) -> np.ndarray:
    """What each channel of symbols ``(C, h, w)`` says: its own smallest magnitude, int64 ``(C,)``, at most 256.

    256 says that there are only zeros and escapes; with a larger threshold that is known already.
    """
    most = max(LARGEST + 1, threshold)
    return np.array([min(most, threshold_of(channel)) for channel in symbols])


def _said(threshold: int) -> np.ndarray:
    """Counts of a channel's own threshold: half are for ``threshold``, a quarter for 256, the rest lie between."""
    counts = np.maximum(LEAST, 2**22 >> np.minimum(np.arange(LARGEST + 2 - threshold), 22))
    counts[-1] = 2**22
    counts[0] += TOTAL - counts.sum()
    return counts


# Codes as bytes -------------------------------------------------------------------------------------------------------


def bits(symbols: np.ndarray, counts: np.ndarray, threshold: int) -> float:
    """What the tables make of symbols ``(C, h, w)``, in bits: an estimate, right to a few bytes of the file.

    Raises
    ------
    ValueError
        As `encode`.
    """
    _check(symbols, counts, threshold)
    own, levels = _of_channels(symbols, threshold)
    total = 0.0 if threshold > LARGEST else -float(np.log2(_said(threshold)[own - threshold] / TOTAL).sum())
    for occurs, channel, least, level in zip(histogram_of(symbols).numpy(), counts, own, levels, strict=True):
        there = np.flatnonzero(occurs)
        total -= float(occurs[there] @ np.log2(table(channel, least, level)[there] / TOTAL))
        total += ESCAPE_BITS * float(occurs[ESCAPE]) + (0 if level is None else np.log2(len(ODDS)))
    return float(total)


def encode(symbols: np.ndarray, counts: np.ndarray, threshold: int) -> bytes:
    """Symbols as bytes: the channels' thresholds, then of each channel its share of zeros, its symbols, its escapes.

    Parameters
    ----------
    symbols : int32 ``(C, h, w)``
        0, or at least ``threshold`` and at most 32767 in magnitude.
    counts : int64 ``(C, 512)``
    threshold : int
        1 .. 32767.

    Raises
    ------
    ValueError
        If the symbols are not of that type, shape and magnitude, or no file can name the threshold.
    """
    _check(symbols, counts, threshold)
    encoder, (own, levels) = constriction.stream.queue.RangeEncoder(), _of_channels(symbols, threshold)
    if threshold <= LARGEST:
        encoder.encode((own - threshold).astype(np.int32), categorical(_said(threshold)))
    for channel, of_channel, least, level in zip(symbols, counts, own, levels, strict=True):
        if level is not None:
            encoder.encode(np.array([level], np.int32), _uniform(len(ODDS)))
        tabled = table(of_channel, least, level)
        rank = np.cumsum(tabled > 0, dtype=np.int32) - 1  # of a column among those that can occur
        values = channel.ravel()
        beyond = np.abs(values) > LARGEST
        encoder.encode(rank[np.where(beyond, ESCAPE, values + ZERO)], categorical(tabled[tabled > 0]))
        if beyond.any():
            encoder.encode((values[beyond] + 2**15).astype(np.int32), _uniform(2**ESCAPE_BITS))
    return words(encoder)


def decode(data: bytes, shape: tuple[int, int, int], counts: np.ndarray, threshold: int) -> np.ndarray:
    """The symbols int32 ``(C, h, w)`` that `encode` wrote; `BitstreamError` if it never writes these bytes."""
    decoder = reader(data)

    def read() -> np.ndarray:
        symbols, own = np.zeros(shape, np.int32), np.full(shape[0], threshold)
        if threshold <= LARGEST:
            own = threshold + decoder.decode(categorical(_said(threshold)), shape[0])
        for channel, of_channel, least in zip(symbols, counts, own, strict=True):
            level = None if least > LARGEST else int(decoder.decode(_uniform(len(ODDS)), 1)[0])
            tabled = table(of_channel, least, level)
            columns = np.flatnonzero(tabled)[decoder.decode(categorical(tabled[tabled > 0]), channel.size)]
            values, beyond = columns - ZERO, columns == ESCAPE
            if beyond.any():
                values[beyond] = decoder.decode(_uniform(2**ESCAPE_BITS), int(beyond.sum())).astype(np.int64) - 2**15
            channel[:] = values.reshape(shape[1:])
        return symbols

    return checked(read, lambda symbols: encode(symbols, counts, threshold), data)


def _of_channels(symbols: np.ndarray, threshold: int) -> tuple[np.ndarray, list[int | None]]:
    """What the channels say of themselves; no level where there are only zeros and escapes."""
    own = own_thresholds(symbols, threshold)
    return own, [None if least > LARGEST else level_of(channel) for channel, least in zip(symbols, own, strict=True)]


def _check(symbols: np.ndarray, counts: np.ndarray, threshold: int) -> None:
    check_threshold(threshold)
    legal = symbols.dtype == np.int32 and symbols.ndim == 3 and len(symbols) == len(counts)
    require(legal, "symbols", f"int32 ({len(counts)}, h, w)", (symbols.dtype, symbols.shape))
    largest = max(int(symbols.max()), -int(symbols.min())) if symbols.size else 0
    if largest > MOST:
        raise InputError(f"a symbol of magnitude {largest}: at most {MOST} can be written")
    if threshold_of(symbols) < threshold:
        refuse("threshold", f"at most {threshold_of(symbols)}, the smallest magnitude", threshold)
