"""The learnt prior of a latent, and the integer tables and range coder that turn a latent into bytes.

Training follows an estimate with a gradient. Every channel has a density of its own, a mixture of logistic
distributions, the same at all places (a factorised prior)::

    F_c(z) = sum_k w_ck sigmoid((z - mu_ck) / s_ck)
    H(Z)   = sum over channels and places of  -log2 ( F_c(z + Delta/2) - F_c(z - Delta/2) )

With noise of the width Delta added to z, this stands in for the length of the code of z rounded to multiples of Delta
(Ballé et al. 2017). Symbols decode alike on every machine only from integers, so a trained model stores counts:
`counts_of` mixes a histogram of training codes, in cells of 1/256 from -1 to 1, with the prior. The table of any step
is summed up from them in integer arithmetic (`table`): one set of counts serves all steps.
"""

from __future__ import annotations

from collections.abc import Callable

import constriction
import numpy as np
import torch
from torch import nn

from sparsecomp.coding.bitstream import BitstreamError

TOTAL = 2**24  # every table sums to this
CELLS = 512  # of the counts, from -1 to 1
UNIT = 2**14  # a step is stored as a whole number of 1/16384
FINEST, COARSEST = 64, 2**16 - 1  # steps, in those units: 1/256 to 4
LEAST = 4  # counts of a cell, so that no symbol of any step is left without one
PIXELS_PER_BYTE = 2**12  # a forged file must not ask for hours of work: so many pixels at most for one byte of code


class FactorizedPrior(nn.Module):
    """A mixture of three logistic distributions for each channel of a latent in (-1, 1).

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int, mixture: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, mixture))
        self.mean = nn.Parameter(torch.linspace(-0.1, 0.1, mixture).repeat(channels, 1))
        self.log_scale = nn.Parameter(torch.full((channels, mixture), -2.0))

    def cdf(self, z: torch.Tensor) -> torch.Tensor:
        """``F_c(z)`` of a ``(B, C, h, w)`` tensor."""
        return self._mixed(z, torch.ones_like(z))

    def _mixed(self, z: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
        total, share = torch.zeros_like(z), self.weight.softmax(1)
        for k in range(self.weight.shape[1]):
            w, mean, scale = (
                t[:, k].view(1, -1, 1, 1) for t in (share, self.mean, self.log_scale.clamp(-9, 3).exp())
            )
            total = total + w * torch.sigmoid(sign * (z - mean) / scale)
        return total

    def bits(self, z: torch.Tensor, step: torch.Tensor | float) -> torch.Tensor:
        """Estimated bits of every entry of ``z (B, C, h, w)`` at the step(s), which broadcast; at least 0.

        The difference of two values of F is taken on the side where both are small (F(x) = 1 - F(-x)), so that
        it keeps its digits in the tails.
        """
        middle = (self.weight.softmax(1) * self.mean).sum(1).view(1, -1, 1, 1)
        sign = torch.where(z > middle, -1.0, 1.0)
        upper, lower = self._mixed(z + step / 2, sign), self._mixed(z - step / 2, sign)
        return -torch.log2((upper - lower).abs().clamp(min=1e-9))


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
        raise ValueError(f"counts must be ({channels}, {CELLS}) whole numbers of at least {LEAST}, in sum {TOTAL}")


def check_step(step: int) -> None:
    """Refuse a step that no file can name (`ValueError`)."""
    if not isinstance(step, int) or isinstance(step, bool) or not FINEST <= step <= COARSEST:
        raise ValueError(f"step={step!r}: a whole number of 1/{UNIT} from {FINEST} to {COARSEST} is needed")


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


def categorical(counts: np.ndarray) -> constriction.stream.model.Categorical:
    """The coder's model of integer counts that sum to 2^24."""
    return constriction.stream.model.Categorical(counts / TOTAL, perfect=False)


def words(encoder: constriction.stream.queue.RangeEncoder) -> bytes:
    """The range coder's 32-bit words, little endian, without the zero bytes at the end (the reader adds them again)."""
    return encoder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


def reader(data: bytes) -> constriction.stream.queue.RangeDecoder:
    """A decoder of what `words` gave. It runs past the end in silence; whoever reads must check."""
    return constriction.stream.queue.RangeDecoder(np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32))


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
        In 1/16384, 64 .. 65535.
    """
    check_step(step)
    most, encoder = largest_symbol(step), constriction.stream.queue.RangeEncoder()
    largest = max(int(symbols.max()), -int(symbols.min())) if symbols.size else 0
    if largest > most:
        raise ValueError(f"a symbol of {largest} steps: at most {most} can be written at this step")
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
