"""What is particular to the Sparse CAE's training: its loss, its draws, its masks, its score, its histogram."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_cae
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsecomp import metrics
from sparsecomp.coding import latents
from sparsecomp.coding.priors import FactorizedPrior
from sparsecomp.data import bundled
from sparsecomp.models.inference import to_input
from sparsecomp.models.sparse_cae import SCALE, Shape, SparseCAE
from sparsecomp.training.autoencoder import CaeTraining, reduced
from sparsecomp.training.configs import Descent
from sparsecomp.training.optimisers import PRIOR

SMALL = Descent(steps=8, warmup=3, batch=2, crop=16, reduce=1, score_every=3, weight_decay=1e-3)
PICTURES = {"coffee": bundled()["coffee"][40:106, 100:181], "chelsea": bundled()["chelsea"][60:110, 80:120]}
SHAPE = Shape(8, 3)
FREE = "encoder.conv1.weight"


def make(descent: Descent = SMALL, *, pictures=PICTURES, validation=PICTURES, **options) -> CaeTraining:
    return CaeTraining(SparseCAE(SHAPE), pictures, validation, descent, **options)


def steps(training: CaeTraining, number: int) -> CaeTraining:
    """Without scoring."""
    for _ in range(number):
        training.step()
    return training


def spied(training: CaeTraining) -> list[SimpleNamespace]:
    """What each step draws, what the networks make of it, and what it hands to the optimiser."""
    seen, bits, update = [], training.prior.bits, training.optimiser.step

    def encoded(module, arguments, z):
        if torch.is_grad_enabled():  # no scoring
            seen.append(SimpleNamespace(x=arguments[0].clone(), z=z.detach().clone()))

    def rated(noisy, delta):
        seen[-1].delta, seen[-1].noise = delta, (noisy.detach() - seen[-1].z) / delta
        return bits(noisy, delta)

    def updated(gradients, lr, clock):
        seen[-1].gradients, seen[-1].lr, seen[-1].clock = gradients, lr, clock
        update(gradients, lr, clock)

    training.model.encoder.register_forward_hook(encoded)
    training.prior.bits, training.optimiser.step = rated, updated
    return seen


def test_step_draws_crops_of_all_places_flipped_or_not_log_uniform_deltas_and_uniform_noise():
    """On many crops of two pictures whose every pixel says where it is."""
    rows = [np.mgrid[:height, :width].astype(np.uint8) for height, width in ((66, 81), (50, 40))]
    pictures = {str(i): np.stack([*at, np.full_like(at[0], i)], -1) for i, at in enumerate(rows)}
    training = make(replace(SMALL, batch=1500, finest=1 / 64, coarsest=1 / 4), pictures=pictures)
    seen = spied(training)
    training.step()
    (drawn,) = seen
    x = (255 * drawn.x).round()
    y, across = x[:, 0] - x[:, 0, :1, :1], x[:, 1] - x[:, 1, :1, :1]
    flipped = across[:, 0, 1] < 0
    assert torch.equal(y, torch.arange(16.0)[:, None].expand_as(y))
    assert torch.equal(across * (1 - 2 * flipped.float())[:, None, None], torch.arange(16.0).expand_as(across))
    assert 680 < int(flipped.sum()) < 820 and 680 < int(x[:, 2, 0, 0].sum()) < 820
    for number, sides in enumerate([(66, 81), (50, 40)]):
        of = x[x[:, 2, 0, 0] == number]
        for channel, length in enumerate(sides):
            first = of[:, channel].amin((1, 2))
            assert (first.min(), first.max()) == (0, length - 16), "all over the picture, to its edge"
    powers = drawn.delta.flatten().log2()
    assert float(powers.min()) >= -6 and float(powers.max()) <= -2
    for quarter in (0.25, 0.5, 0.75):
        assert float(powers.quantile(quarter)) == pytest.approx(-6 + 4 * quarter, abs=0.2)
        assert float(drawn.noise.flatten().quantile(quarter)) == pytest.approx(quarter - 0.5, abs=0.01)


@pytest.mark.parametrize("quantiser", ["noise", "straight_through", "none"])
def test_loss_and_its_gradient_are_those_that_are_promised(quantiser):
    """Squared errors and logarithms by hand: Huber's loss of delta 1 is half the square, below 1."""
    training, model, prior = make(replace(SMALL, quantiser=quantiser, lam=5.0)), SparseCAE(SHAPE), FactorizedPrior(3)
    seen = spied(training)
    loss, (drawn,) = training.step(), seen
    x, z = drawn.x, model.encoder(drawn.x)
    if quantiser == "none":
        heard = z
    else:
        delta = drawn.delta
        assert drawn.noise.shape == (2, 3, 4, 4) and delta.shape == (2, 1, 1, 1)
        noisy = z + delta * drawn.noise
        heard = noisy if quantiser == "noise" else z + (delta * torch.round(z / delta) - z).detach()
    expected = 0.5 * (model.decoder(heard) - x).square().mean()
    if quantiser != "none":

        def cdf(at: torch.Tensor) -> torch.Tensor:
            each = (at[..., None] - prior.mean[:, None, None]) / prior.log_scale.exp()[:, None, None]
            return (prior.weight.softmax(1)[:, None, None] * torch.sigmoid(each)).sum(-1)

        bits = -torch.log2(cdf((noisy + delta / 2).double()) - cdf((noisy - delta / 2).double()))
        expected = expected + (5.0 * delta.flatten() ** 2 * bits.sum((1, 2, 3)) / 16**2).mean()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4)
    named = dict(model.named_parameters()) | {PRIOR + name: p for name, p in prior.named_parameters()}
    gradients = torch.autograd.grad(expected, list(named.values()), allow_unused=True)
    for name, gradient in zip(named, gradients, strict=True):
        if gradient is None:
            assert drawn.gradients[name] is None and name.startswith(PRIOR) and quantiser == "none"
        else:
            torch.testing.assert_close(
                drawn.gradients[name], gradient, atol=1e-3 * float(gradient.abs().max()), rtol=1e-3
            )


def test_training_learns_a_photograph_in_a_few_dozen_steps():
    """From weights that know nothing, whatever `first_values` knows."""
    descent = Descent(steps=40, lr=0.01, optimiser="muon", warmup=5, batch=4, crop=32, reduce=1, lam=1e-3)
    picture = {"coffee": bundled()["coffee"][:160, :200]}
    training = CaeTraining(tiny_cae.model(width=16, latent=8), picture, picture, descent)
    before = training.score()["psnr"]
    losses = [training.step() for _ in range(descent.steps)]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])
    after = training.score()
    assert after["psnr"] > before + 6 and 0.5 < after["estimated_bpp"] < 8, (before, after)


@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(0, 20), st.integers(0, 20))
def test_reduced_is_the_mean_of_squares(by, height, width):
    size = height + by, width + by
    picture = np.random.default_rng(height).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = reduced(picture, by)
    assert found.dtype == torch.uint8 and found.shape == (size[0] // by, size[1] // by, 3)
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            square = picture[by * row : by * (row + 1), by * column : by * (column + 1)].astype(float)
            assert np.abs(found[row, column].numpy() - square.mean((0, 1))).max() <= 0.5


@torch.no_grad()
def test_score_is_that_of_pictures_rounded_at_the_middle_step():
    training = make(replace(SMALL, reduce=2, finest=1 / 64, coarsest=1 / 4))
    for parameter in training.model.decoder.parameters():
        parameter.mul_(3)  # far outside of what a screen shows
    psnrs, rates = [], []
    for picture in PICTURES.values():
        small = reduced(picture, 2).numpy()
        height, width, _ = small.shape
        assert height % 4 or width % 4, "nothing is cut off: nothing is tested"
        symbols = torch.round(training.model.encoder(to_input(small, SCALE)) * 16)
        drawn = training.model.decoder(symbols / 16)[0].permute(1, 2, 0)[:height, :width]
        psnrs.append(metrics.psnr(reference=small, reconstruction=metrics.to_uint8(drawn.numpy())))
        z = symbols.double() / 16
        share = training.prior.cdf(z + 1 / 32) - training.prior.cdf(z - 1 / 32)
        rates.append(float(-share.log2().sum()) / (16 * math.ceil(height / 4) * math.ceil(width / 4)))
    score = training.score()
    assert score["psnr"] == pytest.approx(np.mean(psnrs), abs=1e-3)
    assert score["estimated_bpp"] == pytest.approx(np.mean(rates), rel=1e-3)


@torch.no_grad()
def test_histogram_counts_every_place_of_every_training_picture():
    scored = {"other": bundled()["coffee"][:40, :40]}
    training = CaeTraining(tiny_cae.model(), PICTURES, scored, replace(SMALL, reduce=2))
    found, expected = training.histogram(), np.zeros((3, latents.CELLS), int)
    for picture in PICTURES.values():
        z = training.model.encoder(to_input(reduced(picture, 2).numpy(), SCALE))[0].flatten(1).double().numpy()
        for channel in range(3):
            expected[channel] += np.histogram(z[channel], bins=512, range=(-1, 1))[0]
    assert np.array_equal(found.numpy(), expected) and found.dtype == torch.long
    latents.check_counts(latents.counts_of(training.prior, found), 3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"descent": replace(SMALL, crop=44)}, "crop must be at most the sides of chelsea, got 44$"),
        ({"masks": {FREE: torch.ones(1, 3, 5, 5, dtype=torch.bool)}}, rf"masks\['{FREE}'\]"),
    ],
)
def test_training_refuses_what_cannot_be_trained(wrong, message):
    with pytest.raises(ValueError, match=message):
        make(**wrong)
