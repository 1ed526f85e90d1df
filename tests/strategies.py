"""Hypothesis strategies that several tests share, and the profile under which they run.

The profile is reproducible: the same code draws the same examples on every machine, and no example is stored.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

settings.register_profile(
    "sparsecomp",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("sparsecomp")
FEW = settings(max_examples=12)  # for what takes a tenth of a second

seeds = st.integers(0, 2**31 - 1)
shares = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1e-12, 1e-6, 0.5, 1 - 1e-6, 1.0]))


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@st.composite
def tensors(
    draw: st.DrawFn, min_dims: int = 1, max_dims: int = 3, side: int = 8, dtypes: tuple = (torch.float64, torch.float32)
) -> torch.Tensor:
    """Tensors with what breaks thresholds: ties, zeros, one element, heavy tails, huge and tiny scales."""
    shape = draw(array_shapes(min_dims=min_dims, max_dims=max_dims, max_side=side))
    kind = draw(st.sampled_from(["drawn", "integers", "normal", "heavy tails", "one giant", "powers of two"]))
    if kind == "drawn":
        values = torch.from_numpy(draw(arrays(float, shape, elements=st.floats(-100, 100, allow_subnormal=False))))
    elif kind == "integers":
        values = torch.from_numpy(draw(arrays(np.int64, shape, elements=st.integers(-3, 3)))).double()
    elif kind == "powers of two":
        values = torch.exp2(-torch.arange(math.prod(shape)).double() % draw(st.integers(1, 60))).view(shape)
    else:
        values = normal(*shape, seed=draw(seeds)) ** (15 if kind == "heavy tails" else 1)
        if kind == "one giant":
            values.view(-1)[draw(st.integers(0, values.numel() - 1))] = 1e20
    return (values * 10.0 ** draw(st.sampled_from([-15, -3, 0, 0, 0, 0, 3, 15]))).to(draw(st.sampled_from(dtypes)))
