"""Estimates of a latent's entropy, which train networks and write nothing: files have integer tables.

Both give each channel c a density of its own, the same at all places. `FactorizedPrior` is for a latent in (-1, 1) that
is rounded at any step; its density is a mixture of logistic distributions::

    F_c(z) = sum_k w_ck sigmoid((z - mu_ck) / s_ck)
    H(Z)   = sum over channels and places of  -log2 ( F_c(z + Delta/2) - F_c(z - Delta/2) )

With noise of the width Delta added to z, this stands in for the length of the code of z rounded to multiples of Delta
(Ballé et al. 2017). `ScaleMixture` (Theis et al. 2017) is for integers, a mixture of zero-mean Gaussians::

    q_c(t) = sum_s pi_cs N(t; 0, sigma_cs^2)
    bits   = sum over channels and places of  -log2 q_c(n + u),    u uniform in (-1/2, 1/2)

By Jensen's inequality the mean over u is an upper bound of ``-log2`` of the integral of q_c from n - 1/2 to n + 1/2,
the probability of the integer n.
"""

from __future__ import annotations

import math

import torch
from torch import nn


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
            w, mean, scale = (t[:, k].view(1, -1, 1, 1) for t in (share, self.mean, self.log_scale.clamp(-9, 3).exp()))
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
