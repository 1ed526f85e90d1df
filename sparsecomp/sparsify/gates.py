"""Hard-concrete gates: the L0 norm made differentiable (Louizos, Welling & Kingma 2018), and networks
made smaller by it.

A gate z multiplies a weight, ``theta = theta~ z``. It is a stretched and clipped binary concrete variable: for u
uniform in (0, 1), temperature beta and stretch (gamma, zeta) with gamma < 0 < 1 < zeta ::

    s = sigmoid((log u - log(1 - u) + log_alpha) / beta)
    z = min(1, max(0, s (zeta - gamma) + gamma))                       (Louizos et al. 2018, eqs. 10-11)

so that exactly 0 and exactly 1 have probabilities of their own. That a gate is open has the probability ::

    P(z != 0) = sigmoid(log_alpha - beta log(-gamma / zeta))            (eq. 12)

and its sum over all gates is the expected L0 norm, differentiable in ``log_alpha``. Louizos et al. train on *samples*;
L0onie trains on the *median* (u = 1/2), which has no noise, but no gradient either once it is clipped: a closed median
gate opens again only if something else moves its ``log_alpha``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from sparsecomp.checks import in_range, require
from sparsecomp.models.siren import Architecture


@dataclass(frozen=True)
class HardConcrete:
    """The distribution of one gate, for tensors ``log_alpha`` of any shape.

    Parameters
    ----------
    temperature : float
        beta, in (0, 1]; 2/3 in both papers.
    stretch : (float, float)
        (gamma, zeta) with gamma < 0 and zeta > 1; (-0.1, 1.1) in both papers.
    """

    temperature: float = 2 / 3
    stretch: tuple[float, float] = (-0.1, 1.1)

    def __post_init__(self) -> None:
        in_range("temperature", self.temperature, 0, 1, "(]")
        legal = len(self.stretch) == 2 and self.stretch[0] < 0 and self.stretch[1] > 1
        require(legal, "stretch", "(below 0, above 1)", self.stretch)

    def at(self, log_alpha: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """The gate z in [0, 1] that the uniform numbers ``uniform`` in (0, 1) draw; differentiable in ``log_alpha``."""
        low, high = self.stretch
        s = _sigmoid((uniform.log() - (1 - uniform).log() + log_alpha) / self.temperature)
        return (s * (high - low) + low).clamp(0, 1)

    def sample(self, log_alpha: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """A draw of every gate."""
        uniform = torch.rand(log_alpha.shape, generator=generator, device=log_alpha.device)
        return self.at(log_alpha, uniform.clamp(1e-6, 1 - 1e-6))

    def median(self, log_alpha: torch.Tensor) -> torch.Tensor:
        """The median of every gate: the draw of u = 1/2. `at` is monotone in u, so this is the median exactly."""
        return self.at(log_alpha, torch.full((), 0.5, device=log_alpha.device))

    def open_probability(self, log_alpha: torch.Tensor) -> torch.Tensor:
        """P(z != 0), in (0, 1)."""
        return _sigmoid(log_alpha - self.temperature * math.log(-self.stretch[0] / self.stretch[1]))


def _sigmoid(x: torch.Tensor) -> torch.Tensor:
    """PyTorch's own gives the last elements of a tensor other bits: a fit would depend on what stands beside it."""
    return 1 / (1 + (-x).exp())


def n_gates(architecture: Architecture, structured: bool) -> int:
    """Gates of one network: one a parameter, or (structured) one a sine unit."""
    return architecture.depth * architecture.width if structured else architecture.n_parameters


def spread_units(architecture: Architecture, units: torch.Tensor) -> torch.Tensor:
    """One factor a sine unit, ``(B, depth * width)``, as one factor a parameter, ``(B, P)``.

    A weight has the product of the factors of the two units it joins, a bias that of its unit; positions and colours
    count as units that are always there. For gates this is what is left when a neuron goes: its row *and* its column.
    For independent probabilities it is the probability that a parameter is left.
    """
    fits, width = len(units), architecture.width
    ones = units.new_ones
    factors = [ones(fits, architecture.n_in), *units.split(width, 1), ones(fits, architecture.n_out)]
    parts = []
    for before, after in zip(factors[:-1], factors[1:], strict=True):
        parts += [(after[:, :, None] * before[:, None, :]).flatten(1), after]
    return torch.cat(parts, 1)
