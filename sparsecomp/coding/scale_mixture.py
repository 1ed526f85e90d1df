"""The entropy estimate of Theis et al. (2017): a Gaussian scale mixture for every channel of an integer code.

Each channel c has a density of its own, a mixture of zero-mean Gaussians, the same at all places::

    q_c(t) = sum_s pi_cs N(t; 0, sigma_cs^2)
    bits   = sum over channels and places of  -log2 q_c(n + u),    u uniform in (-1/2, 1/2)

By Jensen's inequality the mean over u is an upper bound of ``-log2`` of the integral of q_c from n - 1/2 to n + 1/2,
the probability of the integer n. It trains networks and writes nothing: files have tables of counts
(`coding.histograms`).
"""

from __future__ import annotations

import math

import torch
from torch import nn


class ScaleMixture(nn.Module):
    """A Gaussian scale mixture for each channel of a code.

    Parameters
    ----------
    channels : int
    scales : int
        Gaussians in each mixture; the paper's 6. Their deviations begin from 0.25 to 16.
    """

    def __init__(self, channels: int, scales: int = 6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, scales))
        self.log_scale = nn.Parameter(torch.linspace(math.log(0.25), math.log(16), scales).repeat(channels, 1))

    def log_density(self, t: torch.Tensor) -> torch.Tensor:
        """``ln q_c(t)`` of ``t (B, C, h, w)``."""
        parts = []
        for weight, log_scale in zip(self.weight.log_softmax(1).T, self.log_scale.clamp(-4, 10).T, strict=True):
            weight, log_scale = (v.view(1, -1, 1, 1) for v in (weight, log_scale))
            parts.append(weight - log_scale - 0.5 * (t * torch.exp(-log_scale)).square())
        return torch.stack(parts).logsumexp(0) - 0.5 * math.log(2 * math.pi)

    def bits(self, code: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The estimate for every entry of ``code (B, C, h, w)``, integers, with ``noise`` uniform in (-1/2, 1/2).

        An estimate may be below 0 where the density is above 1; in the mean over the noise it is not below the bits.
        """
        return self.log_density(code + noise) / -math.log(2)
