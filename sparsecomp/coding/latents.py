"""A latent in (-1, 1), rounded at any step, as bytes.

A trained model stores counts: `counts_of` mixes a histogram of training latents, in cells of 1/256 from -1 to 1, with
the learnt prior (`coding.priors.FactorizedPrior`). The table of any step is summed up from them in integer arithmetic
(`table`): one set of counts serves all steps.
"""

from __future__ import annotations

import constriction
import numpy as np
import torch

from sparsecomp.checks import InputError, whole
from sparsecomp.coding.priors import FactorizedPrior
from sparsecomp.coding.range_coder import TOTAL, categorical, checked, reader, words

CELLS = 512  # of the counts, from -1 to 1
UNIT = 2**14  # a step is stored as a whole number of 1/16384
FINEST, COARSEST = 32, 2**16 - 1  # steps, in those units: 1/512 to 4
LEAST = 4  # counts of a cell, so that no symbol of any step is left without one
PIXELS_PER_BYTE = 2**12  # a forged file must not ask for hours of work: so many pixels at most for one byte of code


# Integer tables -------------------------------------------------------------------------------------------------------


def cells_of(z: torch.Tensor) -> torch.Tensor:
    """The cell, 0 .. 511, that each entry of a latent in [-1, 1] falls into."""
    return ((z + 1) * (CELLS / 2)).long().clamp_(0, CELLS - 1)


@torch.no_grad()
def counts_of(prior: FactorizedPrior, histogram: torch.Tensor, share: float = 0.02) -> torch.Tensor:
    """Integer counts ``(C, 512)`` of at least 4 that sum to 2^24 in each channel, from ``histogram (C, 512)``.

    ``share`` of the probability is the learnt prior's, which is smooth where the histogram has gaps.
    """
    edges = torch.linspace(-1, 1, CELLS + 1).expand(1, len(histogram), 1, -1)
    smooth = prior.cdf(edges.to(prior.mean.device)).double().cpu()[0, :, 0].diff(dim=1).clamp(min=0)
    smooth = smooth / smooth.sum(1, keepdim=True).clamp(min=1e-12)
    drawn = histogram.double().cpu()
    mixed = (1 - share) * drawn / drawn.sum(1, keepdim=True).clamp(min=1) + share * smooth
    room = TOTAL - LEAST * CELLS
    counts = LEAST + torch.floor(room * mixed / mixed.sum(1, keepdim=True).clamp(min=1e-12)).long()
    counts[:, CELLS // 2] += TOTAL - counts.sum(1)  # what rounding leaves goes to the middle
    return counts


def check_counts(counts: torch.Tensor, channels: int) -> None:
    """Refuse counts that make no tables (`ValueError`)."""
    if counts.shape != (channels, CELLS) or int(counts.min()) < LEAST or bool((counts.sum(1) != TOTAL).any()):
        raise InputError(f"counts must be ({channels}, {CELLS}) whole numbers of at least {LEAST}, in sum {TOTAL}")


def check_step(step: int) -> None:
    """Refuse a step that no file can name (`ValueError`)."""
    whole("step", step, FINEST, COARSEST)


def largest_symbol(step: int) -> int:
    """The largest number of steps that is written; its interval begins at least one cell below 1."""
    return max(0, (2 * UNIT - 4 * UNIT // CELLS + step) // (2 * step))


def table(counts: np.ndarray, step: int) -> np.ndarray:
    """Counts of the symbols ``-q .. q`` of one channel at a step, ``q = largest_symbol(step)``; they sum to 2^24.

    A symbol's count is that of its interval, ``(q - 1/2) Delta`` to ``(q + 1/2) Delta``, with cells cut in proportion;
    the outermost reach to -1 and 1. Whole numbers only.
    """
    most = largest_symbol(step)
    below = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    edges = (2 * np.arange(-most, most, dtype=np.int64) + 1) * step + 2 * UNIT  # from -1, in 1/32768
    cell, rest = np.divmod(edges, 4 * UNIT // CELLS)
    inner = below[cell] + counts[cell] * rest // (4 * UNIT // CELLS)
    return np.diff(np.concatenate([[0], inner, [TOTAL]]))


# Latents as bytes -----------------------------------------------------------------------------------------------------


def quantise(z: torch.Tensor, step: int) -> torch.Tensor:
    """``round(z / Delta)`` as int32, within the largest symbol."""
    most = largest_symbol(step)
    return torch.round(z * (UNIT / step)).clamp_(-most, most).to(torch.int32)


def bits(symbols: np.ndarray, counts: np.ndarray, step: int) -> float:
    """What the tables make of symbols ``(C, h, w)``, in bits: an estimate, right to a few bytes of the file."""
    most, total = largest_symbol(step), 0.0
    for channel, own in zip(symbols, counts, strict=True):
        occurs = np.bincount(channel.ravel() + most, minlength=2 * most + 1)
        total -= float(occurs @ np.log2(table(own, step) / TOTAL))
    return total


def encode(symbols: np.ndarray, counts: np.ndarray, step: int) -> bytes:
    """Symbols int32 ``(C, h, w)``, at most `largest_symbol` in size, as bytes: channel after channel.

    Parameters
    ----------
    symbols : int32 ``(C, h, w)``
    counts : int64 ``(C, 512)``
    step : int
        In 1/16384, 32 .. 65535.
    """
    check_step(step)
    most, encoder = largest_symbol(step), constriction.stream.queue.RangeEncoder()
    largest = max(int(symbols.max()), -int(symbols.min())) if symbols.size else 0
    if largest > most:
        raise InputError(f"a symbol of {largest} steps: at most {most} can be written at this step")
    if most:
        for channel, own in zip(symbols, counts, strict=True):
            encoder.encode((channel.ravel() + most).astype(np.int32), categorical(table(own, step)))
    return words(encoder)


def decode(data: bytes, shape: tuple[int, int, int], counts: np.ndarray, step: int) -> np.ndarray:
    """The symbols ``(C, h, w)`` that `encode` wrote; `BitstreamError` if it never writes these bytes."""
    most, decoder = largest_symbol(step), reader(data)

    def read() -> np.ndarray:
        symbols = np.zeros(shape, np.int32)
        if most:
            for channel, own in zip(symbols, counts, strict=True):
                channel[:] = decoder.decode(categorical(table(own, step)), channel.size).reshape(shape[1:]) - most
        return symbols

    return checked(read, lambda symbols: encode(symbols, counts, step), data)
