"""Pictures of any size through both families of autoencoders: padding, strips, and how far the networks look."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_cae
import tiny_cae_admm
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from sparsecomp.models import cae_admm, sparse_cae
from sparsecomp.models.inference import in_strips, pad, to_input, to_tensor


def noise(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([4, 8]))
def test_to_input_repeats_the_edge(height, width, scale):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)[::-1]
    x, sides = to_input(picture, scale), [scale * math.ceil(n / scale) for n in (height, width)]
    margins = [(0, side - n) for side, n in zip(sides, (height, width), strict=True)]
    wanted = np.pad(picture, [*margins, (0, 0)], mode="edge")
    assert x.shape == (1, 3, *sides) and x.dtype == torch.float32
    np.testing.assert_allclose(x[0].permute(1, 2, 0).numpy(), wanted / 255, atol=1e-7)
    same = pad(to_tensor(picture), scale)
    assert same.dtype == torch.uint8 and np.array_equal(same[0].permute(1, 2, 0).numpy(), wanted)


@pytest.fixture(scope="module", params=[(tiny_cae, sparse_cae), (tiny_cae_admm, cae_admm)], ids=["cae", "admm"])
def family(request) -> SimpleNamespace:
    tiny, module = request.param
    model = tiny.model(seed=3).requires_grad_(False)
    return SimpleNamespace(model=model, scale=module.SCALE, margin=model.shape.margin)


@settings(max_examples=6)
@given(rows=st.integers(1, 50), columns=st.integers(1, 50), places=st.sampled_from([1, 20, 128, 2**16]))
@example(rows=41, columns=7, places=1)
@example(rows=7, columns=50, places=20)
def test_in_strips_has_no_seam(family, rows, columns, places):
    scale = family.scale
    picture, code = noise(1, 3, scale * rows, scale * columns), 4 * noise(1, 3, rows, columns) - 2
    for network, x, down in ((family.model.encoder, picture, True), (family.model.decoder, code, False)):
        whole = network(x)
        strips = in_strips(network, x, scale=scale, margin=family.margin, pixels=scale**2 * places, down=down)
        assert strips.shape == whole.shape and not strips.requires_grad
        torch.testing.assert_close(strips, whole, rtol=0, atol=1e-4 * max(1, float(whole.abs().max())))


@pytest.mark.parametrize("size", [(400, 2), (50, 60)])
@pytest.mark.parametrize("down", [True, False])
def test_in_strips_bounds_memory_whatever_the_shape(family, size, down):
    """Also of a picture that is one row high and very wide: memory is what strips are for."""
    seen, into = [], family.scale if down else 1

    def watched(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape[2] * x.shape[3] // into**2)
        return (family.model.encoder if down else family.model.decoder)(x)

    options = {"scale": family.scale, "margin": family.margin, "pixels": 100 * family.scale**2}
    in_strips(watched, noise(1, 3, into * size[0], into * size[1]), **options, down=down)
    assert len(seen) > 1 and max(seen) <= 100 + 2 * family.margin * min(size)
    assert len(seen) == math.ceil(max(size) / (100 // min(size))), "and no smaller than they need to be"


def positive(model: nn.Module) -> nn.Module:
    """No weight below zero, and no normalisation that does anything: whatever an output looks at moves it."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            parameter.data.fill_(1 / parameter[0].numel())
        elif name.endswith("bias"):
            parameter.data.fill_(0)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.data.fill_(1)
    return model.double().eval().requires_grad_(False)


def reach(network, grey: float, channels: int, into: int, out: int) -> int:
    """How many places of the code away from a changed place the output changes, at most."""
    place = 32
    x = torch.full((1, channels, into, 64 * into), grey, dtype=torch.float64)
    moved = x.clone()
    moved[..., place * into : (place + 1) * into] += 1e-3
    columns = (network(moved) != network(x)).any((0, 1, 2)).nonzero().flatten()
    return max(place - int(columns.min()) // out, int(columns.max()) // out - place)


def test_margin_of_sparse_cae_is_enough_and_not_far_too_much():
    model = positive(sparse_cae.SparseCAE(sparse_cae.Shape(8, 2)))
    encoder, decoder = reach(model.encoder, 0.6, 3, 4, 1), reach(model.decoder, 0, 2, 1, 4)
    assert 4 < decoder < encoder <= model.shape.margin < 2 * encoder


@pytest.mark.parametrize("depth", [0, 1, 4, 15])
def test_margin_of_cae_admm_is_what_the_kernels_say(depth):
    model = positive(cae_admm.CaeAdmm(cae_admm.Shape(8, 2, depth)))
    before_tanh = nn.Sequential(*model.decoder)  # which would hide what is small
    encoder, decoder = reach(model.encoder, 0, 3, 8, 1), reach(before_tanh, 0, 2, 1, 8)
    assert decoder <= encoder <= model.shape.margin <= encoder + 2
    assert encoder == math.ceil((2 * depth + 25) / 8)
