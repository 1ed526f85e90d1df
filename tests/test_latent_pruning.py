"""What is particular to the training of CAE-ADMM: its quantiser, distortion, crops, ADMM, normalisations, scores."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_msssim import ms_ssim
from skimage.metrics import structural_similarity
from torch.distributions import Categorical, MixtureSameFamily, Normal

from sparsecomp import metrics
from sparsecomp.data import bundled
from sparsecomp.models.cae_admm import CaeAdmm, Shape, calibrate
from sparsecomp.models.inference import to_input
from sparsecomp.sparsify.admm import Z_UPDATES, Admm, kept, top_l
from sparsecomp.training import latent_pruning
from sparsecomp.training.configs import CodeDescent, Pruning
from sparsecomp.training.latent_pruning import CodeTraining, entropy_of, mix, stochastic_round

# Neither height nor width of the second one is a multiple of 8.
PICTURES = {"coffee": bundled()["coffee"][40:208, 100:284], "chelsea": bundled()["chelsea"][60:222, 80:241]}
SMALL = CodeDescent(
    steps=9, lr=0.01, warmup=2, batch=2, crop=104, codes=4, mse_steps=2, settle=5, score_every=4, weight_decay=1e-3
)
PRUNED = Pruning(keep=0.2, interval=3)
SHAPE = Shape(8, 3, 1)


def make(descent: CodeDescent = SMALL, *, shape=SHAPE, pictures=PICTURES, validation=PICTURES, **options):
    return CodeTraining(CaeAdmm(shape), pictures, validation, descent, **options)


def to_step(training: CodeTraining, step: int) -> CodeTraining:
    """Without scoring."""
    while training.done < step:
        training.step()
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


# The quantiser --------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=20), st.integers(0, 2**31))
def test_stochastic_round_goes_up_with_the_probability_of_the_remainder(values, seed):
    """By as many evenly spread draws as there are chances, and with the gradient of its mean."""
    t, draws = torch.tensor(values), 1000
    uniform = ((torch.arange(draws) + 0.5) / draws)[:, None].expand(-1, len(t))
    found = stochastic_round(t.expand(draws, -1), uniform)
    assert ((found - t.floor()).abs() < 1e-4).logical_or((found - t.floor() - 1).abs() < 1e-4).all()
    assert ((found.double().mean(0) - t.double()).abs() <= 1.01 / draws + 1e-4).all()
    whole = t.round()
    assert torch.equal(stochastic_round(whole, uniform[-1]), whole), "whole numbers stay"
    weight = torch.randn(len(t), generator=torch.Generator().manual_seed(seed))
    leaf = t.clone().requires_grad_()
    assert torch.equal(
        torch.autograd.grad((weight * stochastic_round(leaf, uniform[seed % 1000])).sum(), leaf)[0], weight
    )


# The distortion -------------------------------------------------------------------------------------------------------


def pairs(side: int = 104) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.cat([to_input(picture[:side, : side + 8], 8) for picture in PICTURES.values()])
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return x, (x + noise * torch.tensor([0.02, 0.1]).view(2, 1, 1, 1)).clamp(0, 1)


def test_mix_is_its_formula():
    (x, y), expected = pairs(), []
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


def test_mix_of_equal_pictures_is_the_psnr_alone_and_has_a_finite_gradient():
    x, y = pairs()
    mixed = torch.stack([x[0], y[1]]).requires_grad_()
    assert torch.autograd.grad(mix(x, mixed), mixed)[0].isfinite().all()
    assert float(mix(x, x)) == pytest.approx(45 - 100, abs=1e-2), "which ends at 100 dB"


# Crops ----------------------------------------------------------------------------------------------------------------


def places(height: int, width: int, number: int) -> np.ndarray:
    """A picture whose every pixel says where it is."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, np.full_like(rows, number)], -1)


def test_crops_are_of_every_picture_in_turn_flipped_or_not_along_both_sides():
    pictures = {str(i): places(104 + 40 * i, 144 - 20 * i, i) for i in range(3)}
    descent = replace(SMALL, codes=90)
    training, other = (make(descent, pictures=pictures, seed=seed) for seed in (0, 5))
    again = make(replace(descent, lr=0.5), pictures=pictures, pruning=PRUNED)
    assert torch.equal(training.crops.crops, again.crops.crops)
    assert not torch.equal(training.crops.crops, other.crops.crops)
    flips, seen = {}, set()
    for number, crop in enumerate(training.crops.crops.permute(0, 2, 3, 1).numpy()):
        picture = pictures[str(number % 3)]
        top, left = int(crop[..., 0].min()), int(crop[..., 1].min())
        turned = bool(crop[0, 0, 0] > crop[-1, 0, 0]), bool(crop[0, 0, 1] > crop[0, -1, 1])
        window = picture[top : top + 104, left : left + 104]
        assert np.array_equal(crop, window[:: -1 if turned[0] else 1, :: -1 if turned[1] else 1])
        flips[turned] = flips.get(turned, 0) + 1
        seen.add((number % 3, top, left))
    assert len(flips) == 4 and min(flips.values()) > 10 and len(seen) > 75, "all over the pictures"


def crops_in(training: CodeTraining, x: torch.Tensor) -> list[int]:
    """The numbers of the crops that a batch consists of."""
    return [int((training.crops.crops.float() / 255 == crop).flatten(1).all(1).nonzero()) for crop in x]


def test_fresh_crops_are_one_of_every_picture_in_an_epoch_at_places_of_its_code():
    """And each returns to its own part of the Z and U of the whole picture."""
    pictures = {str(i): places(*size, i) for i, size in enumerate([(112, 144), (144, 112), (118, 150), (120, 128)])}
    descent = replace(SMALL, crops="fresh", codes=2, steps=8)
    training, again = (make(descent, pictures=pictures, pruning=replace(PRUNED, interval=2)) for _ in range(2))
    assert [tuple(admm.z.shape) for admm in training.admms] == [
        (2, 3, 14, 18), (1, 3, 15, 16), (1, 3, 18, 14)], "two pictures make as many whole codes"  # fmt: skip
    for number, admm in enumerate(training.admms):
        for held in (admm.z, admm.u):
            held.random_(-3, 4, generator=torch.Generator().manual_seed(number))
    seen, corners = [], set()
    for step in range(40):
        which = training._which()
        crops, parts = training.crops.drawn(which, torch.Generator().manual_seed(step))
        for number, crop, part in zip(which.tolist(), crops, parts, strict=True):
            top, left, of = (int(plane.min()) for plane in crop)
            assert of == number and (top % 8, left % 8) == (0, 0)
            window = pictures[str(of)][top : top + 104, left : left + 104]
            assert np.array_equal(crop.permute(1, 2, 0).numpy(), window)
            z = training.admms[part.group].z
            whole = z[1 if of == 2 else 0]  # the second one of its size
            assert torch.equal(z[part.part], whole[:, top // 8 : top // 8 + 13, left // 8 : left // 8 + 13])
            corners.add((of, top, left))
        seen.append(which.tolist())
        training.done += 1
    assert all(sorted(one + other) == [0, 1, 2, 3] for one, other in zip(seen[::2], seen[1::2], strict=True))
    assert len(corners) > 20
    code = torch.randn(2, 3, 13, 13, generator=torch.Generator().manual_seed(3))
    gaps = [own - training.admms[p.group].z[p.part] + training.admms[p.group].u[p.part]
            for own, p in zip(code, parts, strict=True)]  # fmt: skip
    penalty = 0.5 * training.pruning.rho * sum(float(gap.square().sum()) for gap in gaps) / 2
    assert float(training._penalty(code, parts)) == pytest.approx(penalty, rel=1e-5)
    to_step(again, 2)
    whole = torch.from_numpy(pictures["3"]).permute(2, 0, 1)[None]
    (expected,) = Z_UPDATES["top_l"](codes_in_use(again.model, whole), again.pruning.keep)
    assert int((again.admms[1].z[0] != expected).sum()) <= 2 and len(again.residuals) == 1


def test_fresh_crops_may_share_the_z_of_a_mean_code():
    """As in the released code; of a crop of every picture at each update."""
    pruning = Pruning(keep=0.2, interval=2, z_update="released", state="data_set", penalty="norm")
    training = make(replace(SMALL, crops="fresh"), pruning=pruning)
    taken, update = [], training.admm.update
    training.admm.update = lambda code: taken.append(code.clone()) or update(code)
    to_step(training, 2)
    drawn = training.crops.one_of_each(torch.Generator().manual_seed(training.seed * 5_000_011 + 2))
    expected = codes_in_use(training.model, torch.cat(list(drawn))).mean(0, keepdim=True) / 20
    assert taken[0].shape == training.admm.z.shape == (1, 3, 13, 13) and len(training.residuals) == 1
    assert int(((taken[0] - expected).abs() > 1e-4).sum()) <= 2
    with pytest.raises(ValueError, match="penalty must be square where fresh crops have Z of their own, got 'norm'"):
        make(replace(SMALL, crops="fresh"), pruning=replace(PRUNED, penalty="norm"))


# The loss -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["per_code", "data_set"])
@pytest.mark.parametrize("penalty", ["square", "norm"])
def test_loss_has_the_penalty_that_is_asked_for(state, penalty):
    """With Z and U of the crops in the batch, and of no other."""
    training = make(pruning=Pruning(rho=0.7, interval=100, state=state, penalty=penalty), seed=3)
    for number, held in enumerate((training.admm.z, training.admm.u)):
        held.random_(-3, 4, generator=torch.Generator().manual_seed(number))
    assert training.admm.z.shape == (4 if state == "per_code" else 1, 3, 13, 13)
    seen, training.done = spied(training), SMALL.mse_steps
    loss = training.step()
    which = crops_in(training, seen[0].x)
    z, u = ((t[which] if state == "per_code" else t[:1]) for t in (training.admm.z, training.admm.u))
    gap = (seen[0].code - z + u).double()
    own = {"square": 0.35 * gap.square().sum((1, 2, 3)).mean(), "norm": 0.35 * gap.square().sum().sqrt()}[penalty]
    assert loss == pytest.approx(float(mix(seen[0].x, seen[0].reconstruction)) + float(own), rel=1e-5)
    assert float(own) > 1


def test_loss_has_the_estimate_priced_by_the_pixel():
    training = make(lam=40.0, seed=3)
    seen, rated, bits = spied(training), [], training.prior.bits
    training.prior.bits = lambda code, noise: rated.append((code.detach().clone(), noise)) or bits(code, noise)
    for step in (SMALL.mse_steps, 0):
        prior = copy.deepcopy(training.prior)
        training.done = step
        loss = training.step()
        (code, noise), shown = rated[-1], seen[-1]
        assert torch.equal(code, shown.code) and noise.shape == code.shape
        density = 0.0
        for c in range(3):
            parts = Normal(torch.zeros(6, dtype=torch.float64), prior.log_scale[c].detach().double().exp())
            mixture = MixtureSameFamily(Categorical(logits=prior.weight[c].detach().double()), parts)
            density += float(mixture.log_prob((code + noise)[:, c].double()).sum())
        price = 40 * density / -math.log(2) / (2 * 104 * 104)
        squared = 1e5 * float((shown.reconstruction - shown.x).square().mean())
        distortion = float(mix(shown.x, shown.reconstruction)) if step else squared
        assert loss == pytest.approx(distortion + price, rel=1e-5) and price > 1


def test_loss_is_first_the_squared_error_and_then_the_distortion():
    """While the squared error is all, pruning changes nothing; Z and U follow the codes from the beginning."""
    plain, pruned = make(), make(pruning=replace(PRUNED, interval=1, rho=5.0))
    seen, there = spied(plain), spied(pruned)
    for step in range(4):
        losses, shown = (plain.step(), pruned.step()), seen[step]
        squared = float((shown.reconstruction - shown.x).square().mean())
        expected = 1e5 * squared if step < SMALL.mse_steps else float(mix(shown.x, shown.reconstruction))
        assert losses[0] == pytest.approx(expected, rel=1e-5), step
        named = zip(plain.model.parameters(), pruned.model.parameters(), strict=True)
        assert all(torch.equal(*pair) for pair in named) == (step < SMALL.mse_steps) == (losses[0] == losses[1])
        assert torch.equal(shown.x, there[step].x)
    for epoch in (seen[:2], seen[2:]):
        assert sorted(crops_in(plain, torch.cat([step.x for step in epoch]))) == [0, 1, 2, 3], "each crop once"
    assert len(pruned.residuals) == 4 and plain.admm is None and plain.prior is None and plain.residuals == []


# ADMM -----------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def codes_in_use(model: CaeAdmm, crops: torch.Tensor) -> torch.Tensor:
    """One crop at a time, nothing of the others."""
    model = copy.deepcopy(model).eval()
    return torch.cat([model.encoder(crop[None].float() / 255).round() for crop in crops])


@pytest.mark.parametrize(
    ("state", "z_update", "divisor"),
    [("per_code", "top_l", 1), ("data_set", "top_l", 1), ("data_set", "released", 20)],
)
def test_updates_are_of_all_codes_as_they_are_in_use(state, z_update, divisor):
    """More crops than fit into one pass; of the data set it is the mean code, by 20 where the released code is."""
    pruning = Pruning(keep=0.2, rho=0.5, interval=2, state=state, z_update=z_update)
    training = make(replace(SMALL, codes=18), pruning=pruning)
    taken, update = [], training.admm.update
    training.admm.update = lambda code: taken.append(code.clone()) or update(code)
    project, z, u = Z_UPDATES[z_update], 0, 0
    for number in range(2):
        to_step(training, 2 * (number + 1))
        codes = codes_in_use(training.model, training.crops.crops)
        expected = codes if state == "per_code" else codes.mean(0, keepdim=True) / divisor
        assert int(((taken[-1] - expected).abs() > 1e-4).sum()) <= 2, "one is on the edge of rounding, perhaps"
        before, z = z, project(taken[-1] + u, 0.2)
        u = u + (taken[-1] - z)
        assert torch.equal(training.admm.z.float(), z) and torch.equal(training.admm.u.float(), u)
        assert training.admm.z.dtype == (torch.int16 if state == "per_code" else torch.float32)
        step, primal, dual, zeros, rho = training.residuals[-1]
        assert step == 2 * (number + 1) and zeros == pytest.approx(float((codes == 0).float().mean()), abs=1e-3)
        assert primal == pytest.approx(float((taken[-1] - z).square().mean().sqrt()), abs=1e-5)
        assert dual == pytest.approx(0.5 * float((z - before).square().mean().sqrt()), abs=1e-5)


def test_rho_follows_the_residuals_within_its_span(monkeypatch):
    """U is rescaled with it, for all of Z and U alike, and the penalty has the new rho."""
    training = make(replace(SMALL, steps=30), pruning=Pruning(keep=0.2, rho=0.5, interval=1, balance=True))
    factors, given = iter([2.0] * 9 + [1.0] + [0.5] * 15), []
    monkeypatch.setattr(latent_pruning, "balancing", lambda *r: given.append(r) or next(factors))
    admm = training.admm
    assert admm.z.dtype == admm.u.dtype == torch.float32
    for step in range(1, 26):
        taken, update = [], Admm.update
        admm.update = lambda code, update=update, taken=taken: taken.extend([update(admm, code), admm.u]) or taken[0]
        before = admm.rho
        training.step()
        assert given[-1] == taken[0] and training.residuals[-1][4] == before
        assert torch.equal(admm.u * training.rho, taken[1] * before) and admm.u.any(), "the price stays"
        expected = {1: 1.0, 6: 32.0, 7: 32.0, 9: 32.0, 10: 32.0, 11: 16.0, 22: 0.5 / 64, 25: 0.5 / 64}.get(step)
        assert expected is None or training.rho == admm.rho == expected, step


@pytest.mark.parametrize("until", [0, 4])
def test_z_and_u_rest_and_the_penalty_goes_on(until):
    training = make(pruning=Pruning(keep=0.2, interval=2, until=until, penalty="norm"))
    to_step(training, until)
    z, u = training.admm.z.clone(), training.admm.u.clone()
    assert bool(z.any()) == bool(until), "from the first step on: a price on the size of the code"
    seen, of = spied(training), []
    training.admm.penalty_norm = lambda code, which: of.append((code, which)) or 0.05 * code.norm()
    to_step(training, 8)
    assert torch.equal(training.admm.z, z) and torch.equal(training.admm.u, u)
    assert len(of) == 8 - max(until, SMALL.mse_steps) and all(torch.equal(c, s.code) for (c, _), s in zip(
        of, seen[-len(of):], strict=True))  # fmt: skip
    step, primal, dual, *_ = training.residuals[-1]
    codes = codes_in_use(training.model, training.crops.crops)
    assert step == 8 and dual == 0 and primal == pytest.approx(float((codes - z).square().mean().sqrt()), abs=2e-2)


def test_codes_are_projected_in_training_in_scores_and_in_what_is_stored():
    """After so many steps of ADMM; what is cut has no gradient, and there is no penalty any more."""
    pruning = Pruning(keep=0.25, interval=2, until=4, then="projection")
    training = make(pruning=pruning)
    seen = spied(training)
    training._penalty = lambda code, places, real=training._penalty: seen[-1].__dict__.update(penalised=1) or real(
        code, places)  # fmt: skip
    to_step(training, 7)
    most = kept(0.25, 3 * 13 * 13)
    for number, step in enumerate(seen):
        nonzero = step.code.ne(0).flatten(1).sum(1)
        assert (nonzero <= most).all() == (number >= 4), number
        assert hasattr(step, "penalised") == (SMALL.mse_steps <= number < 4)
        assert ((step.code - step.z)[step.code != 0].abs() < 1).all(), "what stays is the rounded code"
    assert [row[0] for row in training.residuals] == [2, 4]
    x = to_input(PICTURES["coffee"], 8)
    with torch.no_grad():
        code = training.model.eval().encoder(x).round()
        assert training.score()["zeros"] >= 0.75 > float(code.eq(0).float().mean())
    stays = top_l(code, 0.25)[0]
    assert int((training.codes()[0] != stays).sum()) <= 4, "a share of the whole picture's"


def test_training_begins_with_a_transform_that_its_first_crops_calibrate():
    descent = replace(SMALL, start="dct")
    training = CodeTraining(CaeAdmm(SHAPE, 0, start="dct"), PICTURES, PICTURES, descent)
    model = CaeAdmm(SHAPE, 0, start="dct")
    calibrate(model, training.crops.crops.float() / 255)
    state = model.state_dict()
    assert all(torch.allclose(t, state[name], atol=1e-5) for name, t in training.model.state_dict().items())
    assert training.score()["psnr"] > 3 + make().score()["psnr"]


# Batch normalisation --------------------------------------------------------------------------------------------------


def test_normalisations_settle_and_then_stay():
    training = make(replace(SMALL, momentum=0.3), validation={"chelsea": PICTURES["chelsea"]})
    seen = spied(training)
    for step in range(7):
        before = {name: t.clone() for name, t in training.model.named_buffers()}
        assert before and all(name.split(".")[-1] in ("running_mean", "running_var") for name in before)
        training.step()
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


# Gradients that are no numbers, and the schedule ----------------------------------------------------------------------


def test_step_is_left_out_and_counted_if_its_gradient_is_no_number(monkeypatch):
    def bad(x, reconstruction):  # a finite value whose gradient is 0 times infinity
        return mix(x, reconstruction) + (0 * reconstruction).sqrt().sum()

    training = to_step(make(), 3)
    held = {name: t.clone() for name, t in training.optimiser.state().items()}
    monkeypatch.setattr(latent_pruning, "mix", bad)
    assert math.isfinite(training.step()) and training.done == 4
    assert training.skipped == training.plain()["skipped"] == 1
    assert all(torch.equal(tensor, held[name]) for name, tensor in training.optimiser.state().items())
    monkeypatch.setattr(latent_pruning, "mix", mix)
    training.step()
    assert any(not torch.equal(tensor, held[name]) for name, tensor in training.optimiser.state().items())


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
def test_step_follows_its_schedule_and_gives_the_plateau_its_loss(schedule):
    training, rates, given_ = make(replace(SMALL, schedule=schedule, warmup=4)), [], []
    training.plateau = SimpleNamespace(add=lambda *loss: given_.append(loss))
    training.optimiser.step = lambda gradients, lr, clock, allowed: rates.append(lr)
    losses, factors = [], (1.0, 0.5, 0.5, 0.25, 0.125, 0.125)
    for training.plateau.factor in factors:
        losses.append(training.step())
    assert given_ == ([(loss, number) for number, loss in enumerate(losses, 1)] if schedule == "plateau" else [])
    shares = factors if schedule == "plateau" else [(1 + math.cos(math.pi * step / 9)) / 2 for step in range(6)]
    assert rates == pytest.approx([0.01 * min(1, (step + 1) / 4) * share for step, share in enumerate(shares)])


# What it is for -------------------------------------------------------------------------------------------------------


def trained(**options) -> CodeTraining:
    descent = CodeDescent(steps=45, lr=0.04, warmup=2, batch=1, crop=104, codes=2, mse_steps=15, settle=15)
    coffee = {"coffee": PICTURES["coffee"]}
    return to_step(make(descent, shape=Shape(8, 8, 1), pictures=coffee, validation=coffee, **options), descent.steps)


def test_training_learns_a_photograph_and_pruning_or_a_price_makes_zeros():
    plain, pruned, dear = (
        trained(**options).score() for options in ({}, {"pruning": Pruning(0.1, 0.5, 5)}, {"lam": 1000.0})
    )
    for score in (plain, pruned, dear):
        assert score["psnr"] > 13 and score["ms_ssim"] > 0.6, score
    assert pruned["zeros"] > plain["zeros"] + 0.25 and pruned["estimated_bpp"] < 0.6 * plain["estimated_bpp"]
    assert dear["zeros"] > plain["zeros"] + 0.1 and dear["estimated_bpp"] < 0.85 * plain["estimated_bpp"]


# Scores and errors ----------------------------------------------------------------------------------------------------


def test_score_is_of_whole_pictures_and_rounded_codes():
    training = to_step(make(validation=dict(reversed(PICTURES.items()))), 5)
    model, measured, codes = copy.deepcopy(training.model).eval(), [], []
    for picture in PICTURES.values():
        height, width, _ = picture.shape
        padded = np.pad(picture, [(0, -height % 8), (0, -width % 8), (0, 0)], mode="edge")
        with torch.no_grad():
            code = model.encoder(torch.from_numpy(padded / 255).float().permute(2, 0, 1)[None]).round()
            drawn = model.decoder(code)[0].permute(1, 2, 0)[:height, :width]
        pair = {"reference": picture, "reconstruction": metrics.to_uint8(drawn.numpy())}
        measured.append([metrics.psnr(**pair), metrics.ssim(**pair), metrics.ms_ssim(**pair)])
        codes.append(code[0].flatten(1))
    code, score, pixels = torch.cat(codes, 1), training.score(), 168 * 184 + 162 * 161
    assert [score[name] for name in ("psnr", "ssim", "ms_ssim")] == pytest.approx(np.mean(measured, 0), rel=1e-3)
    assert score["estimated_bpp"] == pytest.approx(entropy_of(code) / pixels, rel=1e-3)
    assert score["zeros"] == pytest.approx(float((code == 0).float().mean()), abs=1e-3) and 0 < score["zeros"] < 1
    own = training.codes()
    assert [c.dtype for c in own] == [torch.int32] * 2 and [c.shape for c in own] == [(3, 21, 23), (3, 21, 21)]
    differs = sum(int((o.flatten(1) != c).sum()) for o, c in zip(own, codes, strict=True))
    assert differs <= 2, "of the training pictures, in their order"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pruning": PRUNED, "lam": 1.0}, "^lam must be 0 where codes are pruned, got 1.0$"),
        ({"descent": replace(SMALL, crop=168)}, "^crop must be at most the sides of chelsea, got 168$"),
        ({"validation": {"small": PICTURES["coffee"][:160]}}, "at least 161 pixels a side, got 'small'$"),
    ],
)
def test_training_refuses_what_cannot_be_trained(wrong, message):
    with pytest.raises(ValueError, match=message):
        make(**wrong)
