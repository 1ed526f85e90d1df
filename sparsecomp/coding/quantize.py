"""Uniform scalar quantisation of a network's weights, one step a matrix.

``q = round(theta / Delta)`` is what the file holds and ``theta^ = Delta q`` what the decoder draws with. A SIREN is
quantised *while* it is trained: first uniform noise of the width of a step stands in for the rounding, ::

    theta^ = theta + Delta u,      u uniform in (-1/2, 1/2)                        (Balle et al. 2017)

which has a gradient in theta and in Delta; later the rounding itself, its gradient passed straight through (Bengio et
al. 2013), while the steps stay. Steps are powers of 2^(1/16), so that one byte writes one.
"""

from __future__ import annotations

import torch

PER_OCTAVE = 16
FINEST = 255  # step 2^(-255/16), about 1.6e-5


def step_of(index: torch.Tensor) -> torch.Tensor:
    """The step ``2^(-index / 16)`` of indices 0 to 255: float32 from 1 down to 1.6e-5."""
    return torch.exp2(-index.double() / PER_OCTAVE).float()


def index_of(step: torch.Tensor) -> torch.Tensor:
    """The index whose step is nearest (in ratio); int64, clipped to 0 .. 255."""
    return (-PER_OCTAVE * torch.log2(step.double())).round().clamp(0, FINEST).long()


def round_through(theta: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """``Delta round(theta / Delta)``, with a gradient of 1 in ``theta`` and none in ``step``."""
    return theta + (step * (theta / step).round() - theta).detach()
