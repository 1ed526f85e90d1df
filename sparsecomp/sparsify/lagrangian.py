"""Constrained optimisation by a game of two players: one descends in the weights, the other ascends in the multiplier.

The problem ``min_theta L(theta)  subject to  g(theta) <= 0`` has the Lagrangian and the saddle point ::

    Lag(theta, lambda) = L(theta) + lambda g(theta)          min over theta, max over lambda >= 0

Each step, gradient descent moves theta, and projected gradient ascent moves the multiplier ::

    lambda <- max(0, lambda + eta_dual g(theta))

While the constraint is violated the multiplier grows; once it holds strictly the multiplier falls. L0onie uses two
refinements:

* *Dual restarts* (Gallego-Posada et al. 2022). As soon as the constraint holds, lambda <- 0: what was piled up while it
  was violated would otherwise push far beyond the budget before it melted away.
* A *proxy constraint* (Cotter et al. 2019). What the budget bounds (a number of bytes) has no gradient. The descent
  follows a differentiable stand-in, the ascent the true value: the players no longer share one function, but the
  constraint that is met in the end is the true one.
"""

from __future__ import annotations

import torch

from sparsecomp.checks import in_range


class Multipliers:
    """One multiplier lambda >= 0 for each fit of a batch.

    Parameters
    ----------
    fits : int
    lr : float
        eta_dual, above 0: how far a violation of 1 moves lambda in one step.
    restarts : bool
        Whether lambda falls to 0 as soon as a fit's constraint holds.
    start : float
        First value, at least 0.

    Examples
    --------
    The smallest x^2 with x >= 1, so g = 1 - x: x = 1, lambda = 2.

    >>> x = torch.tensor([3.0])
    >>> game = Multipliers(1, lr=0.1, restarts=False)
    >>> for _ in range(400):
    ...     leaf = x.requires_grad_()
    ...     (gradient,) = torch.autograd.grad((leaf**2 + game.weigh(1 - leaf)).sum(), leaf)
    ...     x = (x - 0.1 * gradient).detach()
    ...     game.ascend(1 - x)
    >>> [round(float(v), 3) for v in (x, game.value)]
    [1.0, 2.0]
    """

    def __init__(
        self, fits: int, lr: float, *, restarts: bool = True, start: float = 0.0, device: str | torch.device = "cpu"
    ) -> None:
        in_range("lr", lr, 0, ends="(]")
        in_range("start", start, 0)
        self.lr, self.restarts = lr, restarts
        self.value = torch.full((fits,), float(start), device=device)

    def weigh(self, violation: torch.Tensor) -> torch.Tensor:
        """``lambda g`` of every fit, ``(B,)``: what the descent adds to the loss. Differentiable in ``violation``."""
        return self.value.detach() * violation

    @torch.no_grad()
    def ascend(self, violation: torch.Tensor) -> None:
        """Take one step of dual ascent. ``violation``, shape (fits,), is rate less budget: at most 0 if it holds."""
        self.value.add_(self.lr * violation).clamp_(min=0)
        if self.restarts:
            self.value.masked_fill_(violation <= 0, 0.0)
