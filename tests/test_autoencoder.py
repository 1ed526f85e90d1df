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
from sparsecomp.training.loop import run
from sparsecomp.training.optimisers import PRIOR, rate_at

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
    """What each step draws, and what it hands to the optimiser."""
    seen, quantised, update = [], training._quantised, training.optimiser.step

    def note(module, arguments):
        if torch.is_grad_enabled():  # no scoring
            seen.append(SimpleNamespace(x=arguments[0].clone()))

    def noted(z, noise, delta):
        seen[-1].noise, seen[-1].delta = noise, delta
        return quantised(z, noise, delta)

    def updated(gradients, lr, clock):
        seen[-1].gradients, seen[-1].lr, seen[-1].clock = gradients, lr, clock
        update(gradients, lr, clock)

    training.model.encoder.register_forward_pre_hook(note)
    training._quantised, training.optimiser.step = noted, updated
    return seen


# What a step draws ----------------------------------------------------------------------------------------------------


def test_step_draws_by_the_seed_and_its_number_alone():
    through, jumped, other = make(seed=2), make(replace(SMALL, lr=0.05, optimiser="adam"), seed=2), make(seed=3)
    seen, there, elsewhere = spied(through), spied(jumped), spied(other)
    steps(through, 5)
    jumped.done = other.done = 4
    with torch.no_grad():
        jumped.model.encoder.conv1.weight.add_(0.01)
    jumped.step(), other.step()
    for name in ("x", "noise", "delta"):
        drawn = getattr(seen[4], name)
        assert torch.equal(getattr(there[0], name), drawn), name
        assert not torch.equal(getattr(elsewhere[0], name), drawn), name
        assert not torch.equal(getattr(seen[3], name), drawn), name


def test_crops_are_of_all_pictures_and_places_flipped_or_not():
    """Of pictures whose every pixel says where it is."""
    sizes = [(66, 81), (50, 40)]
    rows = [np.mgrid[:h, :w].astype(np.uint8) for h, w in sizes]
    pictures = {str(i): np.stack([*at, np.full_like(at[0], i)], -1) for i, at in enumerate(rows)}
    x = (255 * make(replace(SMALL, batch=600), pictures=pictures)._crops(torch.Generator().manual_seed(0))).round()
    assert x.shape == (600, 3, 16, 16)
    y, across = x[:, 0] - x[:, 0, :1, :1], x[:, 1] - x[:, 1, :1, :1]
    flipped = across[:, 0, 1] < 0
    assert torch.equal(y, torch.arange(16.0)[:, None].expand_as(y))
    assert torch.equal(across * (1 - 2 * flipped.float())[:, None, None], torch.arange(16.0).expand_as(across))
    assert (x[:, 2] == x[:, 2, :1, :1]).all()
    assert 250 < int(flipped.sum()) < 350 and 250 < int(x[:, 2, 0, 0].sum()) < 350
    for number, (height, width) in enumerate(sizes):
        of = x[x[:, 2, 0, 0] == number]
        for channel, length in ((0, height), (1, width)):
            first = of[:, channel].amin((1, 2))
            assert (first.min(), first.max()) == (0, length - 16), "all over the picture, to its edge"


def test_deltas_are_log_uniform():
    training = make(replace(SMALL, batch=2000, finest=1 / 64, coarsest=1 / 4))
    drawn = training._deltas(torch.Generator().manual_seed(0)).flatten().log2()
    assert float(drawn.min()) >= -6 and float(drawn.max()) <= -2
    for quarter in (0.25, 0.5, 0.75):
        assert float(drawn.quantile(quarter)) == pytest.approx(-6 + 4 * quarter, abs=0.15)


# The loss -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantiser", ["noise", "straight_through", "none"])
def test_loss_and_its_gradient_are_those_that_are_promised(quantiser):
    """Squared errors and logarithms by hand: Huber's loss of delta 1 is half the square, below 1."""
    training, model, prior = make(replace(SMALL, quantiser=quantiser, lam=5.0)), SparseCAE(SHAPE), FactorizedPrior(3)
    seen = spied(training)
    loss, (drawn,) = training.step(), seen
    x, noise, delta = drawn.x, drawn.noise, drawn.delta
    assert float(noise.abs().max()) <= 0.5 and noise.shape == (2, 3, 4, 4) and delta.shape == (2, 1, 1, 1)
    z = model.encoder(x)
    noisy = z + delta * noise
    straight = z + (delta * torch.round(z / delta) - z).detach()
    heard = {"noise": noisy, "straight_through": straight, "none": z}[quantiser]
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


@pytest.mark.parametrize(
    ("quantiser", "lam"), [("none", 0.0), ("none", 100.0), ("noise", 0.0), ("straight_through", 0.0)]
)
def test_rate_trains_nothing_without_lambda_or_without_a_quantiser(quantiser, lam):
    plain, other = (make(replace(SMALL, quantiser=quantiser, lam=lam)) for _ in range(2))
    with torch.no_grad():
        other.prior.mean.add_(0.3)
    prior = other.prior.mean.clone()
    steps(plain, 5), steps(other, 5)
    assert torch.equal(prior, other.prior.mean), "the prior moved"
    for one, two, first in zip(*(m.parameters() for m in (plain.model, other.model, SparseCAE(SHAPE))), strict=True):
        assert torch.equal(one, two) and not torch.equal(one, first), "the network heard of the prior"


def test_step_goes_by_the_schedule():
    """What the optimiser makes of rates and gradients is tested with the optimiser."""
    training = make(replace(SMALL, schedule="cosine"))
    seen = spied(training)
    steps(training, 8)
    assert [step.clock for step in seen] == list(range(1, 9))
    assert [step.lr for step in seen] == [rate_at(SMALL.lr, n, 8, warmup=3, schedule="cosine") for n in range(8)]


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_masked_weights_begin_at_zero_and_never_move(optimiser):
    start = SparseCAE(SHAPE)
    with torch.no_grad():
        for parameter in start.parameters():
            parameter.add_(0.1)
    first = {name: p.detach().clone() for name, p in start.named_parameters()}
    names, generator = [FREE, "decoder.up1.weight", "encoder.conv1.bias"], torch.Generator().manual_seed(0)
    masks = {name: torch.rand(first[name].shape, generator=generator) < 0.5 for name in names}
    descent = replace(SMALL, optimiser=optimiser, weight_decay=0.2, lr=0.05)
    training = CaeTraining(start, PICTURES, PICTURES, descent, masks=masks)
    for step in range(4):
        named = dict(training.model.named_parameters())
        for name, mask in masks.items():
            assert (named[name][~mask] == 0).all(), (step, name)
            assert torch.equal(named[name][mask], first[name][mask]) == (step == 0), name
        training.step()
    assert all((named[name] != first[name]).any() for name in set(first) - set(masks))


@pytest.mark.parametrize(("optimiser", "lr", "gain"), [("muon", 0.01, 8), ("adam", 3e-3, 4)])
def test_training_learns_a_photograph_in_a_few_dozen_steps(optimiser, lr, gain):
    """From weights that know nothing, whatever `first_values` knows."""
    descent = Descent(steps=60, lr=lr, optimiser=optimiser, warmup=5, batch=4, crop=32, reduce=1, lam=1e-3)
    picture = {"coffee": bundled()["coffee"][:160, :200]}
    training = CaeTraining(tiny_cae.model(width=16, latent=8), picture, picture, descent)
    before = training.score()["psnr"]
    losses = [training.step() for _ in range(descent.steps)]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])
    after = training.score()
    assert after["psnr"] > before + gain and 0.5 < after["estimated_bpp"] < 8, (before, after)


# Pictures in, scores out ----------------------------------------------------------------------------------------------


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


# Errors ---------------------------------------------------------------------------------------------------------------


def test_training_refuses_what_cannot_be_trained():
    for reduce, crop in ((1, 44), (3, 16)):
        with pytest.raises(ValueError, match=rf"crop must be at most the sides of .*chelsea, got {crop}$") as caught:
            make(replace(SMALL, crop=crop, reduce=reduce))
        assert (crop > 66 // reduce) == ("coffee" in str(caught.value)) and "\n" not in str(caught.value)
    make(replace(SMALL, crop=40))  # as large as the smallest is allowed
    for lacking in ("pictures", "validation"):
        with pytest.raises(ValueError, match=f"{lacking} must be at least 1 picture, got 0"):
            make(**{lacking: {}})
    good = torch.ones(dict(SparseCAE(SHAPE).named_parameters())[FREE].shape, dtype=torch.bool)
    make(masks={FREE: good})
    for name, mask in (("encoder.conv9.weight", good), (FREE, good.float()), (FREE, good[:1]), ("prior.mean", good)):
        with pytest.raises(ValueError, match=rf"masks\['{name}'\]"):
            make(masks={name: mask})


def test_loss_that_is_no_number_ends_a_training(tmp_path):
    training, path = make(), tmp_path / "it.safetensors"
    with torch.no_grad():
        training.model.decoder.conv4.bias.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="at step 1: the learning rate is too high$"):
        run(training, checkpoint=path)
    assert not path.exists()
