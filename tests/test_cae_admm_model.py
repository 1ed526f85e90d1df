"""The network of CAE-ADMM: its size, its cost, and what it begins with."""

from __future__ import annotations

import pytest
import torch

from sparsecomp import complexity
from sparsecomp.models import cae_admm
from sparsecomp.models.cae_admm import CaeAdmm, PReLU, Shape
from sparsecomp.models.transform import dct


def noise(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_cae_admm_has_the_papers_size_and_cost():
    model = CaeAdmm(Shape())
    assert complexity.count_parameters(model.encoder) == 3_106_640
    assert complexity.count_parameters(model.decoder) == 2_775_382
    for encoder, macs in ((model.encoder, 721_680), (CaeAdmm(Shape(latent=16)).encoder, 721_608)):
        assert complexity.macs_per_pixel(encoder, (1, 3, 32, 32), pixels=32 * 32) == macs
    small = CaeAdmm(Shape(64, 16, 2)).eval()
    z = small.encoder(noise(2, 3, 128, 64))
    picture = small.decoder(100 * z)
    assert z.shape == (2, 16, 16, 8) and picture.shape == (2, 3, 128, 64)
    assert picture.min() >= 0 and picture.max() <= 1 and picture.min() < 0.1 and picture.max() > 0.9
    least = CaeAdmm(Shape(8, 1, 0)).eval()
    assert least.decoder(least.encoder(noise(1, 3, 8, 8))).shape == (1, 3, 8, 8)


@torch.no_grad()
def test_cae_admm_first_values_are_the_seeds():
    state = torch.random.get_rng_state()
    a, b, c = (CaeAdmm(Shape(8, 2, 1), seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was touched"
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not any(torch.equal(a[name], c[name]) for name in ("encoder.0.0.weight", "decoder.4.body.0.0.weight"))
    block, x = cae_admm.Block(8), noise(1, 8, 4, 5) - 0.5
    assert torch.equal(block(x), x), "a block begins as the identity"
    model = CaeAdmm(Shape(8, 2, 1)).eval()
    for network, x in ((model.encoder, noise(1, 3, 16, 16)), (torch.nn.Sequential(*model.decoder), noise(1, 2, 3, 3))):
        torch.testing.assert_close(network(-2 * x), -2 * network(x), msg="the network begins linear")


@torch.no_grad()
def test_residual_blocks_pad_as_they_are_asked_to():
    """Of a constant picture a reflecting block makes a constant; zeros beyond the border show at the border alone."""
    flat = torch.full((1, 8, 5, 6), 0.5)
    for padding, alike in (("zeros", False), ("reflect", True)):
        block = cae_admm.Block(8, padding)
        block.body[-1][1].weight.fill_(1)  # else the block is the identity
        shown = block(flat)
        torch.testing.assert_close(shown[..., 1:-1, 1:-1], shown[..., 2:3, 2:3].expand(-1, -1, 3, 4))
        assert torch.allclose(shown, shown[..., 2:3, 2:3].expand_as(shown), atol=1e-5) == alike
    reflecting, plain = (CaeAdmm(Shape(8, 2, 1, padding)).eval() for padding in ("reflect", "zeros"))
    modes = {m.padding_mode for m in reflecting.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)}
    assert modes == {"zeros", "reflect"}, "the outer convolutions pad with zeros"
    assert torch.equal(reflecting.state_dict()["encoder.0.0.weight"], plain.state_dict()["encoder.0.0.weight"])
    assert reflecting.decoder(reflecting.encoder(noise(1, 3, 8, 8))).shape == (1, 3, 8, 8), "the smallest picture"


@torch.no_grad()
def test_outer_layers_may_be_wider_than_the_residual_blocks():
    """At 128 they are the paper's, whatever the width; a plain width of 64 leaves the code 16 numbers a place."""
    model, paper = CaeAdmm(Shape(64, 32, 2, outer=128)), CaeAdmm(Shape(128, 32, 2))
    filters = [[layer[0].out_channels for layer in part if isinstance(layer, torch.nn.Sequential)]
               for part in (model.encoder, model.decoder)]  # fmt: skip
    assert filters == [[32, 64, 64, 64, 32, 32], [32, 256, 256, 64, 128, 3]]
    for name in ("encoder.0.0.weight", "encoder.2.0.weight", "encoder.9.0.weight", "decoder.0.0.weight"):
        assert model.state_dict()[name].shape == paper.state_dict()[name].shape, name
    assert model.decoder(model.encoder(noise(1, 3, 16, 24))).shape == (1, 3, 16, 24)


@pytest.mark.parametrize(("shape", "held"), [(Shape(16, 200, 1, outer=384), 96), (Shape(64, 32, 2, outer=128), 32)])
@torch.no_grad()
def test_transform_as_first_values_is_the_dct_of_blocks(shape, held):
    """The code is the DCT, less its mean, of as many frequencies as the layers hold; and the decoder is its inverse."""
    model, x = CaeAdmm(shape, 3, start="dct"), noise(2, 3, 32, 40)
    cae_admm.calibrate(model, x)
    basis = dct(8)[: min(held, shape.latent)]
    expected = cae_admm.GAIN * torch.nn.functional.conv2d(x, basis, stride=8)
    code = model.encoder(x)
    torch.testing.assert_close(code[:, : len(basis)], expected - expected.mean((0, 2, 3), True), atol=1e-3, rtol=1e-3)
    assert (code[:, len(basis) :].abs() < 1e-3).all(), "what the layers before hold no numbers for"
    lowest = torch.nn.functional.conv_transpose2d(expected / cae_admm.GAIN, basis, stride=8)
    mean = torch.nn.functional.conv_transpose2d(
        (expected / cae_admm.GAIN).mean((0, 2, 3), True).expand_as(expected), basis, stride=8
    )
    drawn = torch.nn.Sequential(*model.decoder)(code)
    centred = 2 * (lowest - mean + x.mean((0, 2, 3), True)) - 1
    torch.testing.assert_close(drawn, centred, atol=2e-3, rtol=1e-3)
    state = torch.random.get_rng_state()
    again, other = CaeAdmm(shape, 3, start="dct"), CaeAdmm(shape, 4, start="dct")
    cae_admm.calibrate(again, x), cae_admm.calibrate(other, x)
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was touched"
    assert torch.equal(again.encoder(x), code) and not torch.equal(
        model.encoder[0][0].weight, other.encoder[0][0].weight
    )
    torch.testing.assert_close(other.encoder(x), code, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("slope", [-0.5, 0.25, 1.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_prelu_has_the_gradients_of_pytorch(slope, dtype):
    generator = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(2, 8, 5, 7, generator=generator).to(dtype) for _ in range(2))
    x[0, 0, 0] = 0
    found = []
    for layer in (PReLU(slope), torch.nn.PReLU(init=slope)):
        layer.to(dtype)
        put_in = x.clone().requires_grad_()
        result = layer(put_in)
        found.append((result, *torch.autograd.grad(result, (put_in, layer.weight), gradient)))
    (ours, to_x, to_slope), (theirs, to_x_too, to_slope_too) = found
    assert torch.equal(ours, theirs) and torch.equal(to_x, to_x_too)
    assert torch.allclose(to_slope, to_slope_too, rtol=1e-5 if dtype == torch.float32 else 1e-2)
    assert to_slope.dtype == dtype and to_slope.shape == (1,)


def test_prelu_has_the_gradients_of_pytorch_in_a_training_in_bfloat16():
    """There x is rounded, and the slope is not: gradients agree to about a last bit."""
    x = torch.randn(2, 8, 5, 7, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = []
    for layer in (PReLU(0.3), torch.nn.PReLU(init=0.3)):
        put_in = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            loss = layer(put_in).float().square().sum()
        found.append((loss, *torch.autograd.grad(loss, (put_in, layer.weight))))
    for ours, theirs in zip(*found, strict=True):
        assert ours.dtype == theirs.dtype and torch.allclose(ours.float(), theirs.float(), rtol=1e-2)


def test_prelus_begin_with_the_slope_that_is_asked_for():
    for slope in (1.0, 0.25):
        prelus = [m for m in CaeAdmm(Shape(8, 2, 1), 0, slope).modules() if isinstance(m, torch.nn.PReLU)]
        assert {m.weight.item() for m in prelus} == {slope}


WRONG = [
    ("width", 7), ("width", 520), ("latent", 0), ("latent", 257), ("depth", -1), ("depth", 33), ("padding", "same"),
    ("outer", 12), ("outer", 520),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "value"), WRONG)
def test_cae_admm_shape_refuses(wrong, value):
    with pytest.raises(ValueError, match=rf"\b{wrong}\b"):
        Shape(**{"width": 8, "latent": 4, "depth": 1} | {wrong: value})
