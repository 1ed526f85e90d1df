"""Training of a short code: the loss that is promised, ADMM crop by crop, the same bits however often it stopped."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim
from skimage.metrics import structural_similarity
from sparsecomp.coding.scale_mixture import ScaleMixture
from sparsecomp.training.cae_admm import CodeTraining, entropy_of, mix, stochastic_round
from sparsecomp.training.descent import train
from sparsecomp.training.running import Paused
from torch.distributions import Categorical, MixtureSameFamily, Normal

from sparsecomp import metrics
from sparsecomp.data import bundled
from sparsecomp.models.cae_admm import CaeAdmm, Shape
from sparsecomp.models.inference import to_input
from sparsecomp.profiles import CodeDescent, Pruning
from sparsecomp.sparsify.admm import released, top_l
from sparsecomp.training import cae_admm

# Neither height nor width of the second one is a multiple of 8.
PICTURES = {"coffee": bundled()["coffee"][40:208, 100:284], "chelsea": bundled()["chelsea"][60:222, 80:241]}
SMALL = CodeDescent(
    steps=9, lr=0.01, warmup=2, batch=2, crop=104, codes=4, mse_steps=2, settle=5, score_every=4, weight_decay=1e-3
)
PRUNED = Pruning(keep=0.2, interval=3)
RELEASED = Pruning(keep=0.2, interval=3, z_update="released", state="data_set", penalty="norm")
SHAPE = Shape(8, 3, 1)


def make(descent: CodeDescent = SMALL, *, model_seed=0, shape=SHAPE, pictures=PICTURES, validation=PICTURES, **options):
    return CodeTraining(CaeAdmm(shape, model_seed), pictures, validation, descent, **options)


def bits_of(training: CodeTraining) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in training.tensors().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def state_of(training: CodeTraining) -> tuple:
    told = [[point[0], *point[2:]] for point in training.history]
    return training.step, told, training.residuals, training.skipped, training.plateau


def to_step(training: CodeTraining, step: int) -> CodeTraining:
    while training.step < step:
        training.advance()
    return training


def spied(training: CodeTraining) -> list[SimpleNamespace]:
    """What each step shows the networks and gets from them; nothing of scorings and of ADMM's updates."""
    seen = []

    def encoded(module, arguments, z):
        if torch.is_grad_enabled():
            flags = {layer.training for layer in training.normalisations}
            seen.append(SimpleNamespace(x=arguments[0].clone(), z=z.detach().clone(), batch_statistics=flags))

    def decoded(module, arguments, reconstruction):
        if torch.is_grad_enabled():
            seen[-1].code = arguments[0].detach().clone()
            seen[-1].reconstruction = reconstruction.detach().clone()

    training.model.encoder.register_forward_hook(encoded)
    training.model.decoder.register_forward_hook(decoded)
    return seen


def one_line(caught) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The quantiser --------------------------------------------------------------------------------------------------------


def test_rounding_goes_up_or_down_and_is_right_in_the_mean():
    t, draws = torch.tensor([-3.75, -1.5, -0.9, -0.01, 0.02, 0.3, 0.5, 2.875, 17.25]), 40_000
    uniform = torch.rand(draws, len(t), generator=torch.Generator().manual_seed(0))
    found = stochastic_round(t.expand(draws, -1), uniform)
    torch.testing.assert_close(found, found.round(), atol=1e-6, rtol=0)
    up = found.round() == t.ceil()
    assert (up | (found.round() == t.floor())).all()
    share = t - t.floor()
    deviation = (share * (1 - share) / draws).sqrt()
    assert ((up.float().mean(0) - share).abs() < 5 * deviation).all()
    assert (found.mean(0) - t).abs().max() < 5 * float(deviation.max())
    assert torch.equal(found, stochastic_round(t.expand(draws, -1), uniform)), "all that is random is handed in"


def test_rounding_leaves_whole_numbers_and_goes_by_the_draw():
    t = torch.tensor([-2.0, -1.0, 0.0, 1.0, 5.0])
    for uniform in (0.0, 0.5, 0.999):
        assert torch.equal(stochastic_round(t, torch.full_like(t, uniform)), t)
    half = torch.tensor([0.25, -0.25])
    assert stochastic_round(half, torch.tensor([0.74, 0.24])).tolist() == [0.0, -1.0]
    assert stochastic_round(half, torch.tensor([0.76, 0.26])).tolist() == [1.0, 0.0]


def test_rounding_has_the_gradient_of_its_mean():
    generator = torch.Generator().manual_seed(1)
    t, uniform, weight = (torch.randn(4, 3, 5, generator=generator) for _ in range(3))
    t.requires_grad_()
    assert torch.equal(torch.autograd.grad((weight * stochastic_round(t, uniform.sigmoid())).sum(), t)[0], weight)


# The distortion -------------------------------------------------------------------------------------------------------


def pairs(side: int = 104) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.cat([to_input(picture[:side, : side + 8], 8) for picture in PICTURES.values()])
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return x, (x + noise * torch.tensor([0.02, 0.1]).view(2, 1, 1, 1)).clamp(0, 1)


def test_the_mix_is_its_formula():
    x, y = pairs()
    expected = []
    for a, b in zip(x.double(), y.double(), strict=True):
        ssim = structural_similarity(
            a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy(), channel_axis=-1, data_range=1,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )  # fmt: skip
        scales = float(ms_ssim(a[None], b[None], data_range=1, win_size=7))
        mse = float((a - b).square().mean())
        expected.append(1000 * (1 - scales) + 1000 * (1 - ssim) + 1e4 * mse + 45 + 10 * math.log10(mse))
    found = [float(mix(a[None], b[None])) for a, b in zip(x, y, strict=True)]
    assert found == pytest.approx(expected, rel=1e-4) and expected[1] > 2 * expected[0]
    assert float(mix(x, y)) == pytest.approx(np.mean(expected), rel=1e-4), "PSNR of each picture, then the mean"


def test_of_equal_pictures_nothing_is_left_but_the_psnr():
    x, y = pairs()
    again = x.clone().requires_grad_()
    value = mix(x, again)
    assert float(value.detach()) == pytest.approx(45 - 100, abs=1e-2), "which ends at 100 dB"
    assert torch.autograd.grad(value, again)[0].isfinite().all()
    mixed = torch.stack([x[0], y[1]]).requires_grad_()
    gradient = torch.autograd.grad(mix(x, mixed), mixed)[0]
    assert gradient.isfinite().all() and gradient[1].abs().max() > 100 * gradient[0].abs().max()


# The estimate of the entropy ------------------------------------------------------------------------------------------


def mixture(channels: int = 3, scales: int = 6, seed: int = 0) -> ScaleMixture:
    """Of drawn weights and deviations."""
    made, generator = ScaleMixture(channels, scales), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.7 * torch.randn(parameter.shape, generator=generator))
    return made


def by_torch(of: ScaleMixture, channel: int) -> MixtureSameFamily:
    deviations = of.log_scale[channel].detach().double().exp()
    parts = Normal(torch.zeros_like(deviations), deviations)
    return MixtureSameFamily(Categorical(logits=of.weight[channel].detach().double()), parts)


@torch.no_grad()
def test_the_density_is_a_mixture_of_gaussians_and_integrates_to_one():
    of, step = mixture(), 0.01
    t = torch.arange(-400, 400, step)
    found = of.log_density(t.expand(1, 3, 1, -1))[0, :, 0]
    for channel in range(3):
        assert float(found[channel].double().exp().sum()) * step == pytest.approx(1, abs=1e-3)
        near = t.abs() < 30
        expected = by_torch(of, channel).log_prob(t[near].double()).float()
        torch.testing.assert_close(found[channel, near], expected, atol=1e-4, rtol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=0.01), "each channel has its own"


def test_mixtures_begin_alike_from_a_quarter_to_sixteen():
    begun = ScaleMixture(2)
    assert begun.weight.shape == begun.log_scale.shape == (2, 6) and (begun.weight == 0).all()
    torch.testing.assert_close(begun.log_scale.exp()[1], torch.tensor([4.0 ** (-1 + 0.6 * k) for k in range(6)]))


@torch.no_grad()
def test_the_estimate_is_not_below_the_bits_in_the_mean_over_the_noise():
    """Jensen: the mean of -log2 q(n + u) is at least -log2 of the mean of q(n + u), the mass of the integer."""
    of, count = mixture(), 4000
    noise = ((torch.arange(count) + 0.5) / count - 0.5).view(-1, 1, 1, 1).expand(-1, 3, 1, -1)
    gaps = []
    for n in range(-9, 10):
        estimate = of.bits(torch.full((count, 3, 1, 1), float(n)), noise).double().mean(0).flatten()
        for channel in range(3):
            parts, weights = by_torch(of, channel).component_distribution, of.weight[channel].double().softmax(0)
            mass = weights @ (parts.cdf(torch.tensor(n + 0.5).double()) - parts.cdf(torch.tensor(n - 0.5).double()))
            gaps.append(float(estimate[channel] + mass.log2()))
    assert min(gaps) > -1e-4 and 0.01 < max(gaps) < 1


def test_a_known_source_is_learnt_to_nearly_its_entropy():
    """Two channels, each of two Gaussians: many small values and some large ones."""
    drawn = np.random.default_rng(0)
    source = [np.where(drawn.random(8000) < 0.7, drawn.normal(0, a, 8000), drawn.normal(0, b, 8000)).round()
              for a, b in ((2, 20), (1, 6))]  # fmt: skip
    code = torch.tensor(np.stack(source), dtype=torch.float32).view(1, 2, 80, 100)
    entropy = entropy_of(code[0].flatten(1)) / code.numel()
    of, generator = ScaleMixture(2), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(of.parameters(), 0.03)
    rates = []
    for _ in range(150):
        rate = of.bits(code, torch.rand(code.shape, generator=generator) - 0.5).mean()
        optimiser.zero_grad()
        rate.backward()
        optimiser.step()
        rates.append(float(rate.detach()))
    learnt = float(np.mean(rates[-20:]))
    assert entropy - 0.01 < learnt < 1.03 * entropy and rates[0] > learnt + 0.1, (entropy, rates[0], learnt)


@pytest.mark.parametrize("log_scale", [-1e4, -20.0, 0.0, 20.0, 1e4])
@pytest.mark.parametrize("weight", [-1e4, 0.0, 1e4])
def test_estimates_are_numbers_whatever_the_parameters(weight, log_scale):
    of = ScaleMixture(1, 3)
    with torch.no_grad():
        of.weight[0, 0], of.log_scale[:] = weight, log_scale
    code = torch.tensor([0.0, 1, -40, 32767]).view(1, 1, 2, 2).requires_grad_()
    bits = of.bits(code, torch.full((1, 1, 2, 2), 0.25))
    gradients = torch.autograd.grad(bits.sum(), [code, *of.parameters()])
    assert bits.isfinite().all() and all(gradient.isfinite().all() for gradient in gradients)
    assert bits[0, 0, 1, 1] >= bits[0, 0, 0, 0]


# Crops ----------------------------------------------------------------------------------------------------------------


def places(height: int, width: int, number: int) -> np.ndarray:
    """A picture whose every pixel says where it is."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, np.full_like(rows, number)], -1)


def test_crops_are_of_every_picture_in_turn_flipped_or_not_along_both_sides():
    pictures = {str(i): places(104 + 40 * i, 144 - 20 * i, i) for i in range(3)}
    training = make(replace(SMALL, codes=90), pictures=pictures)
    assert training.crops.shape == (90, 3, 104, 104) and training.crops.dtype == torch.uint8
    flips, seen = {}, set()
    for number, crop in enumerate(training.crops.permute(0, 2, 3, 1).numpy()):
        picture = pictures[str(number % 3)]
        assert (crop[..., 2] == number % 3).all(), "in turn"
        top, left = int(crop[..., 0].min()), int(crop[..., 1].min())
        turned = bool(crop[0, 0, 0] > crop[-1, 0, 0]), bool(crop[0, 0, 1] > crop[0, -1, 1])
        window = picture[top : top + 104, left : left + 104]
        assert np.array_equal(crop, window[:: -1 if turned[0] else 1, :: -1 if turned[1] else 1])
        flips[turned] = flips.get(turned, 0) + 1
        seen.add((number % 3, top, left))
    assert len(flips) == 4 and min(flips.values()) > 10
    assert {0, 40} >= {top for i, top, _ in seen if i == 0} and len(seen) > 75
    last = [[place[axis] for place in seen if place[0] == 2] for axis in (1, 2)]
    assert min(last[0]) < 16 and max(last[0]) > 64 and set(last[1]) == {0}, "all over the picture"


def test_crops_are_of_the_seed_alone():
    one, again, other = make(seed=4), make(replace(SMALL, lr=0.5), model_seed=1, seed=4, lam=3.0), make(seed=5)
    pruned = make(seed=4, pruning=PRUNED)
    assert torch.equal(one.crops, again.crops) and torch.equal(one.crops, pruned.crops)
    assert not torch.equal(one.crops, other.crops)


def test_an_epoch_is_once_through_all_crops_in_a_new_order():
    training, seen = make(replace(SMALL, codes=12, batch=3), seed=2), []
    for step in range(12):
        training.step = step
        seen.append(training._which().tolist())
    epochs = [sum(seen[i : i + 4], []) for i in (0, 4, 8)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs) and len({tuple(e) for e in epochs}) == 3
    other = make(replace(SMALL, codes=12, batch=3), seed=3)
    assert other._which().tolist() != seen[0]
    uneven = make(replace(SMALL, codes=5, batch=2))
    for first in range(0, 12, 2):
        found = []
        for uneven.step in (first, first + 1):
            found.append(uneven._which().tolist())
        assert [len(which) for which in found] == [2, 2] and len(set(sum(found, []))) == 4


def test_a_step_takes_its_crops_and_draws_by_its_number_alone():
    through, jumped = make(seed=2), make(replace(SMALL, lr=0.05, optimiser="adam"), seed=2)
    seen, there = spied(through), spied(jumped)
    to_step(through, 4)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    jumped.step = 3
    which = jumped._which()
    jumped.advance()
    assert torch.equal(torch.random.get_rng_state(), before), "nothing is drawn from what all share"
    assert torch.equal(there[0].x, seen[3].x) and torch.equal(there[0].x, jumped.crops[which].float() / 255)
    for step in seen:
        up = step.code > step.z
        torch.testing.assert_close(step.code, torch.where(up, step.z.ceil(), step.z.floor()), atol=1e-5, rtol=0)
        assert 0.2 < float(up.float().mean()) < 0.8
    one, two, other = make(seed=2), make(seed=2, pruning=PRUNED), make(seed=3)
    shown = [spied(training) for training in (one, two, other)]
    for training in (one, two, other):
        training.crops = one.crops
        training.step = 5
        training._which = lambda: torch.arange(2)
        training.advance()
    codes = [steps[0].code for steps in shown]
    assert torch.equal(codes[0], codes[1]) and not torch.equal(codes[0], codes[2])


def test_every_step_draws_anew(monkeypatch):
    drawn = []

    def note(t, uniform):
        drawn.append(uniform)
        return stochastic_round(t, uniform)

    monkeypatch.setattr(cae_admm, "stochastic_round", note)
    for training in (make(), make(lam=1.0), make(seed=1)):
        to_step(training, 3)
    for uniform in drawn:
        assert uniform.shape == (2, 3, 13, 13) and uniform.min() >= 0 and uniform.max() < 1
        assert float(uniform.mean()) == pytest.approx(0.5, abs=0.05)
    assert len({uniform.numpy().tobytes() for uniform in drawn}) == 6, "of each step, whatever asks codes to be short"
    assert all(torch.equal(drawn[i], drawn[3 + i]) for i in range(3))


# The loss -------------------------------------------------------------------------------------------------------------


def disturbed(training: CodeTraining) -> CodeTraining:
    """With Z and U that are not zero."""
    if training.admm is not None:
        generator = torch.Generator().manual_seed(7)
        for tensor in (training.admm.z, training.admm.u):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return training


@pytest.mark.parametrize(
    ("state", "penalty"), [("per_code", "square"), ("per_code", "norm"), ("data_set", "square"), ("data_set", "norm")]
)
def test_the_penalty_is_the_one_that_is_asked_for(state, penalty):
    pruning = Pruning(rho=0.7, interval=100, state=state, penalty=penalty)
    training = disturbed(make(pruning=pruning, seed=3))
    seen = spied(training)
    training.step = SMALL.mse_steps
    which, loss = training._which(), training.advance()
    z, u = ((t[which] if state == "per_code" else t[:1]) for t in (training.admm.z, training.admm.u))
    gap = (seen[0].code - z + u).double()
    own = {"square": 0.35 * gap.square().sum((1, 2, 3)).mean(), "norm": 0.35 * gap.square().sum().sqrt()}[penalty]
    assert loss == pytest.approx(float(mix(seen[0].x, seen[0].reconstruction)) + float(own), rel=1e-5)
    assert float(own) > 1 and training.admm.z.shape == (4 if state == "per_code" else 1, 3, 13, 13)


def test_the_estimate_is_priced_by_the_pixel():
    training = make(lam=40.0, seed=3)
    seen, rated, bits = spied(training), [], training.prior.bits
    training.prior.bits = lambda code, noise: rated.append((code.detach().clone(), noise)) or bits(code, noise)
    for step in (SMALL.mse_steps, 0):
        prior = copy.deepcopy(training.prior)
        training.step = step
        loss = training.advance()
        (code, noise), shown = rated[-1], seen[-1]
        assert torch.equal(code, shown.code) and noise.shape == code.shape
        assert noise.min() >= -0.5 and noise.max() < 0.5 and noise.std() == pytest.approx(12**-0.5, abs=0.02)
        density = [by_torch(prior, c).log_prob((code + noise)[:, c].double()).sum() for c in range(3)]
        price = 40 * float(sum(density)) / -math.log(2) / (2 * 104 * 104)
        squared = 1e5 * float((shown.reconstruction - shown.x).square().mean())
        distortion = float(mix(shown.x, shown.reconstruction)) if step else squared
        assert loss == pytest.approx(distortion + price, rel=1e-5) and price > 1


def test_neither_is_the_distortion_alone_and_first_the_squared_error():
    training = make()
    seen = spied(training)
    for step in range(4):
        loss, shown = training.advance(), seen[step]
        squared = float((shown.reconstruction - shown.x).square().mean())
        expected = 1e5 * squared if step < SMALL.mse_steps else float(mix(shown.x, shown.reconstruction))
        assert loss == pytest.approx(expected, rel=1e-5), step
    assert training.admm is None and training.prior is None and training.residuals == []


def test_while_the_squared_error_is_all_pruning_changes_nothing():
    """From one start: the same crops, the same draws; what is pruned goes another way with the first penalty."""
    descent = replace(SMALL, mse_steps=4)
    plain, pruned = make(descent), make(descent, pruning=replace(PRUNED, interval=1, rho=5.0))
    seen, there = spied(plain), spied(pruned)
    for step in range(6):
        losses = plain.advance(), pruned.advance()
        alike = all(torch.equal(p, plain.named[name]) for name, p in pruned.named.items())
        assert alike == (step < 4) == (losses[0] == losses[1]), step
        assert torch.equal(seen[step].x, there[step].x)
    assert len(pruned.residuals) == 6, "while Z and U follow from the beginning"


# ADMM -----------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_each_crop_has_its_own_z_and_u():
    """Another Z or U of one crop is heard where this crop is in the batch, and nowhere else."""
    training = disturbed(make(replace(SMALL, codes=6), pruning=PRUNED))
    code = torch.randn(2, 3, 13, 13, generator=torch.Generator().manual_seed(0))
    for which in (torch.tensor([0, 1]), torch.tensor([5, 2]), torch.tensor([3, 4])):
        before = training._penalty(code, which)
        for tensor in (training.admm.z, training.admm.u):
            for crop in range(6):
                kept = tensor[crop].clone()
                tensor[crop] += 1.0
                assert (training._penalty(code, which) != before) == (crop in which), (which, crop)
                tensor[crop] = kept


def test_another_z_changes_the_loss_of_its_own_step():
    one, two = (disturbed(make(pruning=replace(PRUNED, interval=99))) for _ in range(2))
    one.step = two.step = 2
    which, seen = one._which().tolist(), spied(one)
    other = next(crop for crop in range(4) if crop not in which)
    two.admm.z[other] += 3.0
    assert one.advance() == two.advance(), "of a crop that is not in the batch"
    again, changed = (disturbed(make(pruning=replace(PRUNED, interval=99))) for _ in range(2))
    again.step = changed.step = 2
    before = changed.admm.z[which[1]].clone()
    changed.admm.z[which[1]] += 3.0
    gap = seen[0].code[1] - before + changed.admm.u[which[1]]
    expected = 0.05 * float(((gap - 3).square() - gap.square()).sum()) / 2
    assert changed.advance() - again.advance() == pytest.approx(expected, rel=1e-3)


@torch.no_grad()
def codes_in_use(model: CaeAdmm, crops: torch.Tensor) -> torch.Tensor:
    """One crop at a time, nothing of the others."""
    model = copy.deepcopy(model).eval()
    return torch.cat([model.encoder(crop[None].float() / 255).round() for crop in crops])


@pytest.mark.parametrize(
    ("state", "z_update", "divisor"),
    [("per_code", "top_l", 1), ("per_code", "released", 1), ("data_set", "top_l", 1), ("data_set", "released", 20)],
)
def test_updates_are_of_all_codes_as_they_are_in_use(state, z_update, divisor):
    """More crops than fit into one pass; of the data set it is the mean code, by 20 where the released code is."""
    pruning = Pruning(keep=0.2, rho=0.5, interval=2, state=state, z_update=z_update)
    training = make(replace(SMALL, codes=18), pruning=pruning)
    taken, update = [], training.admm.update
    training.admm.update = lambda code: taken.append(code.clone()) or update(code)
    project, z, u = {"top_l": top_l, "released": released}[z_update], 0, 0
    for number in range(2):
        to_step(training, 2 * (number + 1))
        codes = codes_in_use(training.model, training.crops)
        expected = codes if state == "per_code" else codes.mean(0, keepdim=True) / divisor
        assert int(((taken[-1] - expected).abs() > 1e-4).sum()) <= 2, "one is on the edge of rounding, perhaps"
        before, z = z, project(taken[-1] + u, 0.2)
        u = u + (taken[-1] - z)
        assert torch.equal(training.admm.z, z) and torch.equal(training.admm.u, u)
        step, primal, dual, zeros = training.residuals[-1]
        assert step == 2 * (number + 1) and zeros == pytest.approx(float((codes == 0).float().mean()), abs=1e-3)
        assert primal == pytest.approx(float((taken[-1] - z).square().mean().sqrt()), abs=1e-5)
        assert dual == pytest.approx(0.5 * float((z - before).square().mean().sqrt()), abs=1e-5)
        kept = (z.flatten(1) != 0).sum(1)
        assert (kept <= round(0.2 * 3 * 13 * 13)).all() and kept.max() > 0


@pytest.mark.parametrize(("interval", "codes"), [(1, 4), (2, 8), (4, 4), (5, 2), (10, 4)])
def test_updates_are_counted_in_steps_of_the_optimiser(interval, codes):
    training = train(make(replace(SMALL, codes=codes), pruning=replace(PRUNED, interval=interval)))
    assert [told[0] for told in training.residuals] == list(range(interval, SMALL.steps + 1, interval))
    assert bool((training.admm.u != 0).any()) == (interval <= SMALL.steps)


# Batch normalisation --------------------------------------------------------------------------------------------------


def test_normalisations_settle_and_then_stay():
    training = make(replace(SMALL, momentum=0.3))
    seen, start = spied(training), {name: t.clone() for name, t in training.model.named_buffers()}
    assert start and all(name.split(".")[-1] in ("running_mean", "running_var") for name in start)
    for step in range(SMALL.steps):
        before = {name: t.clone() for name, t in training.model.named_buffers()}
        training.advance()
        moved = [not torch.equal(t, before[name]) for name, t in training.model.named_buffers()]
        assert seen[-1].batch_statistics == {step < SMALL.settle}
        assert all(moved) if step < SMALL.settle else not any(moved), step
        training.score()  # which looks through other eyes, and leaves nothing behind
        if not step:
            layer = training.model.encoder[0]
            with torch.no_grad():
                inside = torch.nn.functional.conv2d(seen[0].x, CaeAdmm(SHAPE).encoder[0][0].weight, padding=1)
            torch.testing.assert_close(layer[1].running_mean, 0.3 * inside.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    assert {layer.momentum for layer in training.normalisations} == {0.3}


@pytest.mark.parametrize("step", [SMALL.settle - 1, SMALL.settle])
def test_a_neighbour_changes_a_code_until_they_have_settled(step):
    one, two = (to_step(make(), step) for _ in range(2))
    crop, neighbour = one._which().tolist()
    two.crops[neighbour] = 40
    seen, there = spied(one), spied(two)
    one.advance(), two.advance()
    assert not torch.allclose(seen[0].z[1], there[0].z[1], atol=0.1), "the neighbour itself is another"
    assert torch.allclose(seen[0].z[0], there[0].z[0], atol=1e-4) == (step >= SMALL.settle)


# Steps that are left out ----------------------------------------------------------------------------------------------


def test_a_gradient_that_is_no_number_is_skipped(monkeypatch, tmp_path):
    def bad(x, reconstruction):  # a finite value whose gradient is 0 times infinity
        return mix(x, reconstruction) + (0 * reconstruction).sqrt().sum()

    training = to_step(make(), 3)
    names, held = list(training.named), bits_of(training)
    monkeypatch.setattr(cae_admm, "mix", bad)
    assert math.isfinite(training.advance()) and (training.skipped, training.step) == (1, 4)
    for name, tensor in training.tensors().items():
        if name in names or name.startswith(("m.", "v.")):
            assert torch.equal(tensor, held[name]), name
    training.advance()
    monkeypatch.setattr(cae_admm, "mix", mix)
    path = tmp_path / "it.safetensors"
    training.save(path)
    resumed = make()
    resumed.load(path)
    assert resumed.skipped == 2
    resumed.advance()
    assert resumed.skipped == 2 and not torch.equal(resumed.named[names[0]], held[names[0]]), "and goes on"


def test_a_loss_that_is_no_number_ends_a_training(tmp_path):
    training, path = make(), tmp_path / "it.safetensors"
    with torch.no_grad():
        training.model.decoder[-1][1].bias.fill_(math.nan)
    with pytest.raises(FloatingPointError) as caught:
        train(training, checkpoint=path)
    assert "learning rate" in one_line(caught) and not path.exists()


# What it is for -------------------------------------------------------------------------------------------------------

LONGER = CodeDescent(steps=90, lr=0.04, warmup=2, batch=2, crop=104, codes=2, mse_steps=20, settle=30, score_every=90)


def trained(**options) -> CodeTraining:
    coffee = {"coffee": PICTURES["coffee"]}
    return train(make(LONGER, shape=Shape(16, 8, 1), pictures=coffee, validation=coffee, **options))


@pytest.fixture(scope="module")
def plain() -> tuple[float, ...]:
    training = trained()
    assert training.skipped == 0
    return training.score()


def test_a_photograph_is_learnt_in_a_few_dozen_steps(plain):
    psnr, rate, ssim, scales, zeros = plain
    assert psnr > 16 and ssim > 0.45 and scales > 0.7, plain
    assert 0.2 < rate < 0.6 and zeros < 0.4


def test_pruning_makes_zeros(plain):
    training = trained(pruning=Pruning(keep=0.1, rho=0.5, interval=5))
    pruned = training.score()
    assert pruned[4] > plain[4] + 0.35 and pruned[1] < 0.5 * plain[1], (pruned, plain)
    assert pruned[0] > plain[0] - 2.5 and pruned[3] > plain[3] - 0.15, "and the picture is still there"
    assert training.residuals[-1][3] > training.residuals[3][3] + 0.25, "told as it goes"


def test_a_price_of_bits_lowers_their_number(plain):
    cheap, dear = (trained(lam=lam).score() for lam in (10.0, 1000.0))
    assert dear[1] < 0.75 * min(cheap[1], plain[1]) and dear[4] > cheap[4] + 0.1, (cheap, dear, plain)
    assert dear[0] > 16 and dear[3] > 0.7, "and the picture is still there"


# The schedule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batches", [1, 3])
def test_the_plateau_is_that_of_pytorch(batches):
    descent = replace(SMALL, schedule="plateau", codes=2 * batches, warmup=0, lr=0.5)
    training = make(descent)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], 0.5)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=10, threshold=0)
    drawn, rates = np.random.default_rng(0), []
    for epoch in range(120):
        losses = 100 / (1 + epoch) ** 0.3 * (1 + 0.3 * drawn.random(batches)) if epoch < 60 else np.full(batches, 77.0)
        for loss in losses:
            assert training._rate() == optimiser.param_groups[0]["lr"], epoch
            training.step += 1
            training._end_of_epoch(float(loss))
        theirs.step(float(np.mean(losses)))
        rates.append(training._rate())
    assert len(set(rates)) >= 4 and rates[70] > rates[-1]


def test_ten_epochs_of_patience():
    training = make(replace(SMALL, schedule="plateau", codes=2, warmup=0, lr=0.5))
    rates = []
    for loss in [5.0] + [5.0] * 11 + [4.0] + [4.5] * 11 + [3.0]:
        rates.append(training._rate())
        training.step += 1
        training._end_of_epoch(loss)
    assert rates == [0.5] * 12 + [0.25] * 12 + [0.125], "not after ten, but after more"


def test_other_schedules_know_no_plateau():
    for schedule, expected in (("constant", 0.01), ("cosine", 0.01 * (1 + math.cos(math.pi * 4 / 9)) / 2)):
        training = make(replace(SMALL, schedule=schedule))
        training.step, training.plateau[3] = 4, 0.125
        assert training._rate() == pytest.approx(expected)
    training = make(replace(SMALL, schedule="plateau", warmup=8))
    training.step, training.plateau[3] = 3, 0.25
    assert training._rate() == pytest.approx(0.01 * 0.5 * 0.25), "warmed up all the same"


def test_steps_go_by_the_rate_of_the_plateau():
    descent = replace(SMALL, schedule="plateau", optimiser="adam", warmup=0, weight_decay=0.0)
    moved = []
    for factor in (1.0, 0.25):
        training = make(descent)
        training.plateau[3] = factor
        before = training.named["encoder.0.0.weight"].detach().clone()
        training.advance()
        moved.append(training.named["encoder.0.0.weight"].detach() - before)
    torch.testing.assert_close(moved[1], 0.25 * moved[0], atol=1e-8, rtol=1e-3)


# Scores ---------------------------------------------------------------------------------------------------------------


def by_hand(code: np.ndarray) -> float:
    """Bits of ``(C, n)`` by the counts of each channel's own symbols."""
    total = 0.0
    for channel in code.astype(int):
        for symbol in set(channel.tolist()):
            count = int((channel == symbol).sum())
            total -= count * math.log2(count / channel.size)
    return total


def test_the_entropy_of_symbols():
    code = torch.tensor([[0.0, 0, 1, 1, 2, -2, 2, -2], [5.0] * 8, [0.0] * 7 + [1]])
    expected = 8 * 2 + 0 + (7 * math.log2(8 / 7) + 3)
    assert entropy_of(code) == pytest.approx(expected) == pytest.approx(by_hand(code.numpy()))


def test_a_score_is_of_whole_pictures_and_rounded_codes():
    training = to_step(make(), 5)
    model = copy.deepcopy(training.model).eval()
    measured, codes = [], []
    for picture in PICTURES.values():
        height, width, _ = picture.shape
        padded = np.pad(picture, [(0, -height % 8), (0, -width % 8), (0, 0)], mode="edge")
        with torch.no_grad():
            code = model.encoder(torch.from_numpy(padded / 255).float().permute(2, 0, 1)[None]).round()
            drawn = model.decoder(code)[0].permute(1, 2, 0)[:height, :width]
        pair = {"reference": picture, "reconstruction": metrics.to_uint8(drawn.numpy())}
        measured.append([metrics.psnr(**pair), metrics.ssim(**pair), metrics.ms_ssim(**pair)])
        codes.append(code[0].flatten(1).numpy())
    code, pixels = np.concatenate(codes, 1), 168 * 184 + 162 * 161
    psnr, rate, ssim, scales, zeros = training.score()
    assert [psnr, ssim, scales] == pytest.approx(np.mean(measured, 0), rel=1e-3)
    assert rate == pytest.approx(by_hand(code) / pixels, rel=1e-3)
    assert zeros == pytest.approx((code == 0).mean(), abs=1e-3) and 0 < zeros < 1
    own = training.codes()
    assert [c.dtype for c in own] == [torch.int32] * 2 and [c.shape for c in own] == [(3, 21, 23), (3, 21, 21)]
    differs = sum(int((o.flatten(1).numpy() != c).sum()) for o, c in zip(own, codes, strict=True))
    assert differs <= 2, "here training pictures are those of the validation"


def test_scores_come_when_they_should():
    told, training = [], make(pruning=PRUNED)
    train(training, on_score=lambda step, scores: told.append((step, scores)))
    assert [step for step, _ in told] == [4, 8, 9] == [point[0] for point in training.history]
    assert [scores for _, scores in told] == [[point[2]] for point in training.history]
    assert training.history[-1][2:] == list(training.score()) and len(training.history[-1]) == 7
    assert training.seconds > 0


# Same bits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {}),
        ({}, {"pruning": PRUNED}),
        ({"optimiser": "adam", "schedule": "constant"}, {"pruning": RELEASED}),
        ({"codes": 5}, {"lam": 100.0}),
        ({"schedule": "plateau", "optimiser": "adam", "lr": 0.1, "codes": 2}, {"pruning": replace(PRUNED, interval=1)}),
    ],
)
def test_a_training_paused_at_every_step_is_one_never_stopped(tmp_path, monkeypatch, changes, options):
    monkeypatch.setattr(cae_admm, "PATIENCE", 1)
    descent, path = replace(SMALL, **changes), tmp_path / "deeper" / "it.safetensors"

    def anew() -> CodeTraining:
        return make(descent, seed=3, **options)

    whole, pauses = train(anew()), 0
    while True:
        torch.manual_seed(pauses)  # what else was drawn in the meantime must not matter
        try:
            halting = train(anew(), checkpoint=path, max_seconds=0)
            break
        except Paused as paused:
            pauses += 1
            assert f"step {pauses} of {descent.steps}" in str(paused)
    assert pauses == descent.steps - 1
    assert same(bits_of(halting), bits_of(whole)) and state_of(halting) == state_of(whole)
    assert halting.history == whole.history and halting.score() == whole.score()
    assert all(torch.equal(a, b) for a, b in zip(halting.codes(), whole.codes(), strict=True))
    if descent.schedule == "plateau":
        assert whole.plateau[3] < 1, "nothing was halved: nothing is tested"
    finished, again = path.read_bytes(), anew()
    again.advance = None  # asked again, a finished training takes no step
    train(again, checkpoint=path, max_seconds=0)
    assert same(bits_of(again), bits_of(whole)) and path.read_bytes() == finished


@pytest.fixture(scope="module")
def never_stopped() -> CodeTraining:
    return train(make(pruning=PRUNED))


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5, 6, 8])
def test_a_training_killed_anywhere_goes_on_from_its_checkpoint(tmp_path, never_stopped, stop):
    """Before and after an update of Z and U, the first penalty, the last batch statistics; no pause, no word."""
    killed, path = to_step(make(pruning=PRUNED), stop), tmp_path / "it.safetensors"
    killed.save(path)
    kept = bits_of(killed), [*killed.residuals]
    killed.advance()
    resumed = make(pruning=PRUNED)
    resumed.load(path)
    assert resumed.step == stop and same(bits_of(resumed), kept[0]) and resumed.residuals == kept[1]
    to_step(resumed, SMALL.steps)
    assert same(bits_of(resumed), bits_of(never_stopped)) and resumed.residuals == never_stopped.residuals


def test_a_seed_is_a_training(never_stopped):
    again, other, model = (train(make(pruning=PRUNED, seed=s, model_seed=m)) for s, m in ((0, 0), (1, 0), (0, 1)))
    assert same(bits_of(again), bits_of(never_stopped)) and again.history == never_stopped.history
    for differs in (other, model):
        assert not torch.equal(differs.model.encoder[0][0].weight, again.model.encoder[0][0].weight)


def test_the_device_is_an_argument():
    one, two = make(device="cpu"), make(device=torch.device("cpu"))
    assert one.device == torch.device("cpu") and one.identity == two.identity and one.identity["device"] == "cpu"
    pruned = make(pruning=PRUNED, device="cpu")
    assert {t.device.type for t in pruned.tensors().values()} == {"cpu"}


# Errors ---------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_training(tmp_path):
    path = tmp_path / "it.safetensors"
    with pytest.raises(Paused):
        train(make(pruning=PRUNED), checkpoint=path, max_seconds=0)
    others = {
        "descent": lambda: make(replace(SMALL, momentum=0.2), pruning=PRUNED),
        "pruning": lambda: make(pruning=replace(PRUNED, keep=0.3)),
        "no pruning": lambda: make(),
        "lam": lambda: make(lam=1.0),
        "seed": lambda: make(pruning=PRUNED, seed=1),
        "first values": lambda: make(pruning=PRUNED, model_seed=1),
        "pictures": lambda: make(pruning=PRUNED, pictures={"coffee": PICTURES["coffee"]}),
        "shape": lambda: make(pruning=PRUNED, shape=Shape(8, 4, 1)),
    }
    before = path.read_bytes()
    for what, anew in others.items():
        training = anew()
        held = bits_of(training)
        with pytest.raises(ValueError, match="another configuration") as caught:
            train(training, checkpoint=path)
        one_line(caught)
        assert path.read_bytes() == before and same(held, bits_of(training)) and training.step == 0, what
    priced = tmp_path / "priced.safetensors"
    make(lam=1.0).save(priced)
    for lam in (0.0, 2.0):
        with pytest.raises(ValueError, match="another configuration"):
            make(lam=lam).load(priced)
    make(lam=1.0).load(priced)


def test_what_cannot_be_trained():
    for options in ({"pruning": PRUNED, "lam": 1.0}, {"lam": -1.0}, {"lam": math.nan}, {"lam": math.inf}):
        with pytest.raises(ValueError) as caught:
            make(**options)
        assert f"lam={options['lam']!r}" in one_line(caught)
    with pytest.raises(ValueError) as caught:
        make(replace(SMALL, crop=168))
    assert "crop=168" in one_line(caught) and "chelsea" in str(caught.value) and "coffee" not in str(caught.value)
    make(replace(SMALL, crop=160))
    for lacking in ({"pictures": {}}, {"validation": {}}):
        with pytest.raises(ValueError, match="at least one of each"):
            make(**lacking)
    with pytest.raises(ValueError) as caught:
        make(validation=PICTURES | {"small": PICTURES["coffee"][:160]})
    assert "161" in one_line(caught) and "small" in str(caught.value) and "coffee" not in str(caught.value)
    with pytest.raises(ValueError, match="max_seconds needs a checkpoint"):
        train(make(), max_seconds=1)
