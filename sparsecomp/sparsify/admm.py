"""Pruning by ADMM, the alternating direction method of multipliers, in its scaled form (Boyd et al. 2011, chap. 3, 9).

To minimise ``d(w) + g(Z)`` so that ``c(w) = Z`` (Zhao & Liao 2019, eq. 6 and 7), where w is whatever is trained, c its
code, and g a function whose proximal operator is known, three updates take turns::

    w <- argmin  d(w) + rho/2 ||c(w) - Z + U||_F^2        by gradient descent, `Admm.penalty`          (eq. 8)
    Z <- argmin  g(Z) + rho/2 ||c(w) - Z + U||_F^2        = prox(c(w) + U), `Admm.update`              (eq. 9, 10)
    U <- U + c(w) - Z                                     likewise                                     (eq. 11)

For pruning, g is 0 on the set S of codes with at most l entries that are not zero and infinite elsewhere, so that the
second update is the Euclidean projection onto S: keep the l entries of largest magnitude (`top_l`). S is not convex:
there is no promise that this converges, or to what. For a convex g, and w-updates carried far enough, there is.

Two remedies are common practice. rho may follow the residuals (`balancing`). And ADMM may end before training does: Z
and U rest, the projection goes into the forward pass, and what is trained is trained on through it
(`projected`), as in progressive ADMM (Ye et al. 2018, arXiv:1810.07378).

(The paper's Algorithm 1 prints l/2 where equation 8 has rho/2.)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from sparsecomp.checks import InputError, in_range, require


def kept(keep: float, entries: int) -> int:
    """The l that is a share ``keep``, in (0, 1], of so many entries: the nearest whole number, at least 1."""
    in_range("keep", keep, 0, 1, "(]")
    return max(1, round(keep * entries))


def top_l(v: torch.Tensor, keep: float) -> torch.Tensor:
    """The Euclidean projection onto ``{Z : card(Z) <= l}``, for each code (first dimension) by itself (eq. 10).

    The l entries of largest magnitude stay as they are, the others become 0. Of entries of one magnitude those that
    come first stay, so that the same code always gives the same answer. A NaN counts as larger than everything, and
    stays where it can be seen.

    Parameters
    ----------
    v : ``(N, ...)``
    keep : float
        l as a share of a code's entries, in (0, 1].

    Raises
    ------
    ValueError
        The share is out of range, or ``v`` has fewer than two dimensions.
    """
    flat = _rows(v)
    order = flat.abs().argsort(dim=1, descending=True, stable=True)[:, : kept(keep, flat.shape[1])]
    return torch.zeros_like(flat).scatter(1, order, flat.gather(1, order)).view_as(v)


def released(v: torch.Tensor, keep: float) -> torch.Tensor:
    """What the released code does in place of `top_l`: the entries that stay are about a random choice.

    It sorts the entries, signed and ascending, takes ``argsort`` for their ranks, and keeps entry i where
    ``argsort(v)[i] < l``. But ``argsort(v)[i]`` is the *place* of the i-th smallest entry, so that whether i stays
    depends on where some other entry stands. Arguments and errors as in `top_l`.
    """
    flat = _rows(v)
    stays = flat.argsort(dim=1, stable=True) < kept(keep, flat.shape[1])
    return torch.where(stays, flat, torch.zeros_like(flat)).view_as(v)


def projected(code: torch.Tensor, keep: float) -> torch.Tensor:
    """`top_l` of codes ``(N, ...)``, with the gradient of a mask: 1 where an entry stays, and 0 where it goes."""
    return code * top_l(code.detach(), keep).ne(0)


BALANCED = 10.0  # mu of Boyd et al.: by how much one residual may exceed the other
FACTOR = 2.0  # their tau


def balancing(primal: float, dual: float) -> float:
    """By what to multiply rho so that the residuals come nearer to each other (Boyd et al. 2011, eq. 3.13).

    2 where the primal residual is over ten times the dual one, 1/2 where it is the other way round, else 1. A larger
    rho pulls codes harder to their copies, and lets the copies move less for as much of a move of U.
    """
    if primal > BALANCED * dual:
        return FACTOR
    return 1 / FACTOR if dual > BALANCED * primal else 1.0


def _rows(v: torch.Tensor) -> torch.Tensor:
    require(v.dim() >= 2, "v", "codes (N, ...)", tuple(v.shape))
    return v.flatten(1)


Which = torch.Tensor | slice | tuple[int | slice, ...]
Z_UPDATES = {"top_l": top_l, "released": released}


class Admm:
    """Z, U and the two updates that need no gradient; what is trained stands outside.

    Parameters
    ----------
    shape : tuple of int
        Of the codes, ``(N, ...)``. Z and U begin as zeros, as in the paper.
    rho : float
        Penalty, above 0.
    prox : callable
        ``v -> argmin_Z g(Z) + rho/2 ||v - Z||^2``; a projection, where g is the indicator of a set.
    device : str
    dtype : torch.dtype
        Of Z and U. Where codes are integers, and g keeps entries or clears them, Z and U are integers, too: as
        ``torch.int16`` they take half the memory, and U stops at its ends.

    Attributes
    ----------
    z, u : tensors of that shape
    history : list of (float, float)
        After each update the primal residual ``||c - Z||`` and the dual one ``rho ||Z - Z_before||`` (Boyd et al.,
        sec. 3.3), both divided by the root of the number of entries. Where ADMM converges both go to 0.

    Raises
    ------
    ValueError
        rho is not a finite number above 0; and wherever codes have another shape than Z (than its chosen places).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        rho: float,
        prox: Callable[[torch.Tensor], torch.Tensor],
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        in_range("rho", rho, 0, ends="(]")
        self.rho, self.prox = rho, prox
        self.z, self.u = (torch.zeros(shape, device=device, dtype=dtype) for _ in range(2))
        self.history: list[tuple[float, float]] = []

    def penalty(self, code: torch.Tensor, which: Which = slice(None)) -> torch.Tensor:
        """``rho/2 ||c - Z + U||_F^2`` of each code (eq. 8): ``(N,)``, with a gradient in ``code (N, ...)``.

        ``which`` says whose codes they are: places of the first dimension of Z and U, or any other index into them.
        """
        return self.rho / 2 * self._gap(code, which).square().sum(1)

    def penalty_norm(self, code: torch.Tensor, which: Which = slice(None)) -> torch.Tensor:
        """The released code's penalty, the norm of the whole batch and not its square: ``rho/2 ||c - Z + U||_F``."""
        return self.rho / 2 * self._gap(code, which).norm()

    def rescale(self, factor: float) -> None:
        """Multiply rho, and divide U, which is a price over rho, so that the price stays what it was.

        ``ValueError`` where U is stored as integers, which cannot be divided.
        """
        require(self.u.dtype.is_floating_point or factor == 1, "dtype", "a float to rescale U", self.u.dtype)
        self.rho *= factor
        self.u = self.u / factor

    def _gap(self, code: torch.Tensor, which: Which) -> torch.Tensor:
        copy = self.z[which]
        if code.shape != copy.shape:  # a lone code would be broadcast in silence
            raise InputError(f"code: shape {tuple(code.shape)}, where Z has {tuple(copy.shape)}")
        return (code - copy + self.u[which]).flatten(1)

    @torch.no_grad()
    def update(self, code: torch.Tensor) -> tuple[float, float]:
        """Both updates (eq. 10 and 11) for codes of the shape of Z; returns the two residuals."""
        if code.shape != self.z.shape:
            raise InputError(f"code: shape {tuple(code.shape)}, where Z has {tuple(self.z.shape)}")
        before, self.z = self.z, self._stored(self.prox(code + self.u))
        gap = code - self.z
        self.u = self._stored(self.u + gap)
        root = math.sqrt(code.numel())
        self.history.append((float(gap.norm()) / root, self.rho * float((self.z - before).float().norm()) / root))
        return self.history[-1]

    def _stored(self, values: torch.Tensor) -> torch.Tensor:
        if self.z.dtype.is_floating_point:
            return values
        ends = torch.iinfo(self.z.dtype)
        return values.clamp(ends.min, ends.max).to(self.z.dtype)
