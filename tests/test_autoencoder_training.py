"""One descent of an autoencoder: the same bits however often it was stopped, and steps that agree with PyTorch's."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sparsecomp.training.descent import reduced, train
from sparsecomp.training.optim import orthogonalised
from sparsecomp.training.running import Paused
from tiny_cae import model as drawn

from sparsecomp import metrics
from sparsecomp.coding import entropy
from sparsecomp.data import bundled
from sparsecomp.models.inference import to_input
from sparsecomp.models.sparse_cae import SCALE, Shape, SparseCAE
from sparsecomp.profiles import Descent
from sparsecomp.training import descent as descents
from sparsecomp.training import running
from sparsecomp.training.autoencoder import Training

SMALL = Descent(steps=8, warmup=3, batch=2, crop=16, reduce=1, score_every=3, weight_decay=1e-3)
PICTURES = {"coffee": bundled()["coffee"][40:106, 100:181], "chelsea": bundled()["chelsea"][60:110, 80:120]}
SHAPE = Shape(8, 3)


def masks_of(model: SparseCAE, seed: int = 0) -> dict[str, torch.Tensor]:
    """Half of the weights of a few layers, of both kinds, and a whole filter with its bias."""
    generator, named = torch.Generator().manual_seed(seed), dict(model.named_parameters())
    names = ["encoder.conv1.weight", "encoder.blocks.1.conv2.weight", "decoder.up1.weight", "encoder.conv1.bias"]
    masks = {name: torch.rand(named[name].shape, generator=generator) < 0.5 for name in names}
    masks["encoder.conv1.weight"][1], masks["encoder.conv1.bias"][1] = False, False
    return masks


def make(descent: Descent = SMALL, *, model_seed: int = 0, pictures=PICTURES, validation=PICTURES, **options):
    return Training(SparseCAE(SHAPE, model_seed), pictures, validation, descent, **options)


def bits_of(training: Training) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in training.tensors().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def spied(training: Training) -> list[SimpleNamespace]:
    """What each step draws, and its gradients."""
    seen, quantised, update = [], training._quantised, training._update

    def note(module, arguments):
        if torch.is_grad_enabled():  # no scoring
            seen.append(SimpleNamespace(x=arguments[0].clone()))

    def noted(z, noise, delta):
        seen[-1].noise, seen[-1].delta, seen[-1].z = noise, delta, z
        return quantised(z, noise, delta)

    def updated(gradients):
        seen[-1].gradients = gradients
        update(gradients)

    training.model.encoder.register_forward_pre_hook(note)
    training._quantised, training._update = noted, updated
    return seen


@pytest.fixture
def clock(monkeypatch):
    """Time that goes on by one second with every look at it."""
    now = iter(range(10**9))
    monkeypatch.setattr(running, "time", SimpleNamespace(perf_counter=lambda: next(now)))


# Same bits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "masked"),
    [
        ({}, False),
        ({"optimiser": "adam", "schedule": "constant"}, False),
        ({"quantiser": "straight_through", "reduce": 2}, True),
        ({"quantiser": "none", "optimiser": "adam"}, True),
    ],
)
def test_a_training_paused_at_every_step_is_one_never_stopped(tmp_path, changes, masked):
    descent, path = replace(SMALL, **changes), tmp_path / "deeper" / "it.safetensors"

    def anew() -> Training:
        return make(descent, seed=3, masks=masks_of(SparseCAE(SHAPE)) if masked else None)

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
    assert same(bits_of(halting), bits_of(whole))
    assert halting.history == whole.history and halting.step == whole.step == descent.steps
    assert torch.equal(halting.histogram(), whole.histogram()) and halting.score() == whole.score()
    finished, halting_again = path.read_bytes(), anew()
    halting_again.advance = None  # asked again, a finished training takes no step
    train(halting_again, checkpoint=path, max_seconds=0)
    assert same(bits_of(halting_again), bits_of(whole)) and path.read_bytes() == finished


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_a_training_killed_anywhere_goes_on_from_its_checkpoint(tmp_path, stop):
    """Without a word: no pause, the process is gone after a few more steps that nobody kept."""
    whole, killed, path = train(make()), make(), tmp_path / "it.safetensors"
    while killed.step < stop:
        killed.advance()
    killed.save(path)
    killed.advance()
    resumed = make()
    resumed.load(path)
    assert resumed.step == stop
    while resumed.step < SMALL.steps:
        resumed.advance()
    assert same(bits_of(resumed), bits_of(whole))


def test_a_seed_is_a_training():
    one, again, other, other_model = (
        train(make(seed=seed, model_seed=model)) for seed, model in ((4, 0), (4, 0), (5, 0), (4, 1))
    )
    assert same(bits_of(one), bits_of(again)) and one.history == again.history
    for differs in (other, other_model):
        assert not torch.equal(differs.model.encoder.conv1.weight, one.model.encoder.conv1.weight)
        assert not torch.equal(differs.prior.mean, one.prior.mean)


def test_what_a_step_draws_is_of_the_seed_and_its_number_alone():
    through, jumped, other = make(seed=2), make(replace(SMALL, lr=0.05, optimiser="adam"), seed=2), make(seed=3)
    seen, there, elsewhere = spied(through), spied(jumped), spied(other)
    for _ in range(5):
        through.advance()
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    jumped.step = other.step = 4
    with torch.no_grad():
        jumped.model.encoder.conv1.weight.add_(0.01)
    jumped.advance()
    other.advance()
    assert torch.equal(torch.random.get_rng_state(), before), "nothing is drawn from what all share"
    for name in ("x", "noise", "delta"):
        drawn = getattr(seen[4], name)
        assert torch.equal(getattr(there[0], name), drawn), name
        assert not torch.equal(getattr(elsewhere[0], name), drawn), name
        assert not torch.equal(getattr(seen[3], name), drawn), name


def test_crops_are_of_the_pictures_flipped_or_not():
    training = make(replace(SMALL, batch=60))
    generator = torch.Generator().manual_seed(0)
    x = training._crops(generator)
    assert x.shape == (60, 3, 16, 16) and x.dtype == torch.float32
    places, flips, found = set(), 0, {name: 0 for name in PICTURES}
    for crop in np.rint(255 * x.permute(0, 2, 3, 1).numpy()).astype(np.uint8):
        hits = []
        for name, picture in PICTURES.items():
            windows = np.lib.stride_tricks.sliding_window_view(picture, (16, 16), (0, 1)).transpose(0, 1, 3, 4, 2)
            for flipped in (False, True):
                at = np.argwhere((windows == (crop[:, ::-1] if flipped else crop)).all((2, 3, 4)))
                hits += [(name, flipped, *place) for place in at.tolist()]
        assert hits, "it is a part of no picture"
        name, flipped, *place = hits[0]
        found[name] += 1
        flips += flipped
        places.add((name, *place))
    assert 15 < flips < 45 and min(found.values()) > 15 and len(places) > 50


def test_steps_are_log_uniform():
    training = make(replace(SMALL, batch=2000, finest=1 / 64, coarsest=1 / 4))
    drawn = training._deltas(torch.Generator().manual_seed(0)).flatten().log2()
    assert float(drawn.min()) >= -6 and float(drawn.max()) <= -2
    for quarter in (0.25, 0.5, 0.75):
        assert float(drawn.quantile(quarter)) == pytest.approx(-6 + 4 * quarter, abs=0.15)
    assert (make(replace(SMALL, finest=0.1, coarsest=0.1))._deltas(torch.Generator()) - 0.1).abs().max() < 1e-7


# The loss -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantiser", ["noise", "straight_through", "none"])
def test_the_loss_is_the_one_that_is_promised(quantiser):
    """Squared errors and logarithms by hand: Huber's loss of delta 1 is half the square, below 1."""
    training = make(replace(SMALL, quantiser=quantiser, lam=5.0))
    seen, prior = spied(training), {name: p.detach().clone() for name, p in training.prior.named_parameters()}
    before, loss = SparseCAE(SHAPE), training.advance()
    with torch.no_grad():
        x, noise, delta = seen[0].x, seen[0].noise, seen[0].delta
        assert float(noise.abs().max()) <= 0.5 and noise.shape == (2, 3, 4, 4) and delta.shape == (2, 1, 1, 1)
        z = before.encoder(x)
        noisy = z + delta * noise
        heard = {"noise": noisy, "straight_through": delta * torch.round(z / delta), "none": z}[quantiser]
        expected = 0.5 * (before.decoder(heard) - x).square().mean()
        if quantiser != "none":

            def cdf(at):
                parts = torch.sigmoid((at[..., None] - prior["mean"][:, None, None]) /
                                      prior["log_scale"].exp()[:, None, None])  # fmt: skip
                return (prior["weight"].softmax(1)[:, None, None] * parts).sum(-1)

            bits = -torch.log2(cdf((noisy + delta / 2).double()) - cdf((noisy - delta / 2).double()))
            per_pixel = bits.sum((1, 2, 3)) / (16 * 16)
            expected = expected + (5.0 * delta.flatten() ** 2 * per_pixel).mean()
    assert loss == pytest.approx(float(expected), rel=1e-4)


def test_without_a_quantiser_the_rate_trains_nothing():
    free, asked = (make(replace(SMALL, quantiser="none", lam=lam)) for lam in (0.0, 100.0))
    prior = {name: p.detach().clone() for name, p in free.prior.named_parameters()}
    for training in (free, asked):
        train(training)
        assert all(torch.equal(prior[name], p) for name, p in training.prior.named_parameters())
    assert same(bits_of(free), bits_of(asked)) and free.history == asked.history
    assert not torch.equal(free.model.encoder.conv1.weight, SparseCAE(SHAPE).encoder.conv1.weight)


@pytest.mark.parametrize("quantiser", ["noise", "straight_through"])
def test_without_lambda_the_rate_gives_no_gradient(quantiser):
    plain, other = (make(replace(SMALL, quantiser=quantiser, lam=0.0)) for _ in range(2))
    with torch.no_grad():
        other.prior.mean.add_(0.3)
    prior = other.prior.mean.clone()
    for training in (plain, other):
        while training.step < SMALL.steps:
            training.advance()
    assert torch.equal(prior, other.prior.mean), "the prior moved"
    for one, two in zip(plain.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(one, two), "the network heard of the prior"
    heard = make(replace(SMALL, quantiser=quantiser, lam=10.0))
    while heard.step < SMALL.steps:
        heard.advance()
    assert not torch.equal(heard.model.encoder.conv1.weight, plain.model.encoder.conv1.weight)
    assert (heard.prior.mean - make().prior.mean).abs().min() > 1e-4


def test_rounding_passes_the_gradient_straight_through():
    training = make(replace(SMALL, quantiser="straight_through", lam=0.0))
    z, delta = torch.randn(2, 3, 4, 4).requires_grad_(), torch.tensor([0.25, 0.1]).view(2, 1, 1, 1)
    received, rated = training._quantised(z, torch.rand(2, 3, 4, 4) - 0.5, delta)
    torch.testing.assert_close(received, torch.round(z / delta) * delta)
    weight = torch.randn(2, 3, 4, 4)
    assert torch.equal(torch.autograd.grad((weight * received).sum(), z)[0], weight)
    assert ((rated - z).abs() <= delta / 2).all() and not torch.equal(rated, received)
    seen = spied(training)
    training.advance()
    assert seen[0].gradients["encoder.conv1.weight"].abs().max() > 0


# The steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "constant", "warmup": 0, "weight_decay": 0.0, "lr": 1e-3},
        {"schedule": "cosine", "warmup": 5, "weight_decay": 0.1, "lr": 3e-3},
    ],
)
def test_adam_is_that_of_pytorch(changes):
    descent = replace(SMALL, optimiser="adam", steps=25, **changes)
    training, theirs = make(descent), SparseCAE(SHAPE)
    prior = entropy.FactorizedPrior(3)
    optimiser = torch.optim.Adam(
        [{"params": theirs.parameters(), "weight_decay": descent.weight_decay}, {"params": prior.parameters()}]
    )
    seen = spied(training)
    mirror = dict(theirs.named_parameters()) | {f"prior.{name}": p for name, p in prior.named_parameters()}
    for step in range(descent.steps):
        training.advance()
        rate = descent.lr * (min(1, (step + 1) / 5) if descent.warmup else 1)
        if descent.schedule == "cosine":
            rate *= (1 + math.cos(math.pi * step / 25)) / 2
        optimiser.param_groups[0]["lr"], optimiser.param_groups[1]["lr"] = rate, 10 * rate
        for name, parameter in mirror.items():
            parameter.grad = seen[step].gradients[name].clone()
        optimiser.step()
        for name, parameter in training.named.items():
            torch.testing.assert_close(parameter, mirror[name], atol=3e-6, rtol=1e-5)
    moved = [(a - b).abs().max() for a, b in zip(theirs.parameters(), SparseCAE(SHAPE).parameters(), strict=True)]
    assert min(moved) > 1e-4, "hardly anything moved"


def test_muon_is_orthogonalised_nesterov_momentum():
    descent = replace(SMALL, schedule="constant", warmup=0, lr=0.01, weight_decay=0.0)
    training = make(descent)
    seen, momentum = spied(training), {}
    for step in range(3):
        before = {name: p.detach().clone() for name, p in training.named.items()}
        training.advance()
        for name, parameter in training.named.items():
            moved, gradient = before[name] - parameter.detach(), seen[step].gradients[name]
            if parameter.dim() < 4:
                rate = 0.01 if name.startswith("prior") else 1e-3
                if not step:  # Adam's first is of one size, whatever the gradient
                    assert (moved.abs() <= 1.001 * rate).all(), name
                    assert (moved[gradient.abs() > 1e-6].abs() > 0.98 * rate).all(), name
                    assert (moved * gradient >= 0).all(), name
                continue
            momentum[name] = 0.9 * momentum.get(name, 0) + gradient
            update = gradient + 0.9 * momentum[name]
            if ".up" in name:  # a filter of a transposed convolution is along dimension 1
                moved, update = moved.transpose(0, 1), update.transpose(0, 1)
            moved, update = moved.flatten(1).double() / 0.01, update.flatten(1).double()
            rows, columns = moved.shape
            u, s, vh = torch.linalg.svd(update, full_matrices=False)
            inner = u.T @ moved @ vh.T / max(1, rows / columns) ** 0.5  # the same directions, other lengths
            strong = s > 0.05 * s.norm()
            assert not len(s) or s.norm() == 0 or strong.any()
            assert ((inner.diagonal()[strong] > 0.6) & (inner.diagonal()[strong] < 1.25)).all(), name
            assert (inner - inner.diagonal().diag()).abs().max() < 0.01, name


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_masked_weights_begin_at_zero_and_never_move(optimiser):
    descent = replace(SMALL, optimiser=optimiser, weight_decay=0.2, steps=10, lr=0.05)
    start = SparseCAE(SHAPE)
    with torch.no_grad():
        for parameter in start.parameters():
            parameter.add_(0.1)
    masks = masks_of(start)
    first = {name: p.detach().clone() for name, p in start.named_parameters()}
    training = Training(start, PICTURES, PICTURES, descent, masks=masks)
    for step in range(descent.steps + 1):
        for name, mask in masks.items():
            assert (training.named[name][~mask] == 0).all(), (step, name)
            assert step or torch.equal(training.named[name][mask], first[name][mask]), "and the others as they were"
        if step < descent.steps:
            training.advance()
    for name, mask in masks.items():
        assert (training.named[name] != first[name])[mask].all(), f"{name}: what may move does"
    free = set(first) - set(masks)
    assert all((training.named[name] != first[name]).any() for name in free)


@pytest.mark.parametrize(("optimiser", "lr", "gain"), [("muon", 0.01, 8), ("adam", 3e-3, 4)])
def test_a_photograph_is_learnt_in_a_few_dozen_steps(optimiser, lr, gain):
    """From weights that know nothing, whatever `first_values` knows."""
    descent = Descent(steps=60, lr=lr, optimiser=optimiser, warmup=5, batch=4, crop=32, reduce=1, lam=1e-3)
    picture = {"coffee": bundled()["coffee"][:160, :200]}
    training = Training(drawn(width=16, latent=8), picture, picture, descent)
    before = training.score()[0]
    losses = [training.advance() for _ in range(descent.steps)]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])
    after, rate = training.score()
    assert after > before + gain and 0.5 < rate < 8, (before, after)


# Orthogonal updates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(24, 75), (75, 24), (32, 32), (3, 400), (400, 3), (1, 9), (9, 1)])
@pytest.mark.parametrize("weakest", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
def test_singular_values_come_near_one(size, weakest, scale):
    generator, least = torch.Generator().manual_seed(sum(size)), min(size)
    u, v = (torch.linalg.qr(torch.randn(n, least, generator=generator))[0] for n in size)
    matrix = scale * (u * torch.logspace(0, math.log10(weakest), least)) @ v.T
    found = orthogonalised(matrix)
    assert found.shape == matrix.shape
    inner = u.T.double() @ found.double() @ v.double()
    assert (inner - inner.diagonal().diag()).abs().max() < 2e-3, "in other directions than U V^T"
    assert 0.6 < inner.diagonal().min() and inner.diagonal().max() < 1.25
    svd = torch.linalg.svdvals(found)
    assert 0.6 < svd.min() and svd.max() < 1.25
    assert torch.nn.functional.cosine_similarity(found.flatten(), (u @ v.T).flatten(), 0) > 0.95


@pytest.mark.parametrize("size", [(5, 9), (9, 5), (4, 4)])
def test_nothing_and_next_to_nothing_have_no_direction_but_are_numbers(size):
    assert torch.equal(orthogonalised(torch.zeros(size)), torch.zeros(size))
    drawn = torch.randn(size, generator=torch.Generator().manual_seed(0))
    for power in range(-44, -15):  # a momentum that dies away comes by all of them
        found = orthogonalised(drawn * 10.0**power)
        assert found.isfinite().all() and torch.linalg.svdvals(found).max() < 1.25, f"1e{power}"
    lacking = drawn.clone()
    lacking[0] = 0
    assert (orthogonalised(lacking)[0] == 0).all(), "a filter without a gradient stays"


def test_a_taller_matrix_steps_farther():
    drawn = torch.randn(64, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    step = torch.linalg.svdvals(descents._orthogonal_filters(drawn, False).flatten(1))
    plain = torch.linalg.svdvals(orthogonalised(drawn.flatten(1)))
    torch.testing.assert_close(step, plain * (64 / 9) ** 0.5)
    turned = drawn.transpose(0, 1)
    assert torch.equal(
        descents._orthogonal_filters(turned, True), descents._orthogonal_filters(drawn, False).transpose(0, 1)
    )


# Pictures in, scores out ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [1, 2, 3])
@pytest.mark.parametrize("size", [(6, 6), (7, 11), (3, 20)])
def test_reduced_pictures_are_means_of_squares(by, size):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = reduced(picture, by)
    assert found.dtype == torch.uint8 and found.shape == (size[0] // by, size[1] // by, 3)
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            square = picture[by * row : by * (row + 1), by * column : by * (column + 1)].astype(float)
            assert np.abs(found[row, column].numpy() - square.mean((0, 1))).max() <= 0.5
    if by == 1:
        assert np.array_equal(found.numpy(), picture)


@pytest.mark.parametrize("size", [(8, 12), (5, 9), (1, 1), (4, 3)])
def test_an_input_is_the_picture_with_its_edge_repeated(size):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    picture = picture[::-1]  # of negative strides, which PyTorch knows nothing of
    x = to_input(picture, SCALE)
    assert x.shape == (1, 3, 4 * math.ceil(size[0] / 4), 4 * math.ceil(size[1] / 4)) and x.dtype == torch.float32
    expected = np.pad(picture, [(0, -n % 4) for n in size] + [(0, 0)], mode="edge") / 255
    np.testing.assert_allclose(x[0].permute(1, 2, 0).numpy(), expected, atol=1e-7)


@torch.no_grad()
def test_a_score_is_that_of_pictures_rounded_at_the_middle_step():
    descent = replace(SMALL, reduce=2, finest=1 / 64, coarsest=1 / 4)
    training = make(descent)
    for parameter in training.model.decoder.parameters():
        parameter.mul_(3)  # far outside of what a screen shows
    psnrs, rates = [], []
    for picture in PICTURES.values():
        small = reduced(picture, 2).numpy()
        assert small.shape[0] % 4 or small.shape[1] % 4, "nothing is cut off: nothing is tested"
        symbols = torch.round(training.model.encoder(to_input(small, SCALE)) * 16)
        drawn = training.model.decoder(symbols / 16)[0].permute(1, 2, 0)[: small.shape[0], : small.shape[1]]
        shown = metrics.to_uint8(drawn.numpy())
        psnrs.append(metrics.psnr(reference=small, reconstruction=shown))
        z = symbols.double() / 16
        share = training.prior.cdf(z + 1 / 32) - training.prior.cdf(z - 1 / 32)
        rates.append(float(-share.log2().sum()) / (small.shape[0] * small.shape[1]))
    psnr, rate = training.score()
    assert psnr == pytest.approx(np.mean(psnrs), abs=1e-3)
    pixels = [[n // 2 for n in p.shape[:2]] for p in PICTURES.values()]
    padded = [16 * math.ceil(h / 4) * math.ceil(w / 4) / (h * w) for h, w in pixels]
    assert rate == pytest.approx(np.mean([r / p for r, p in zip(rates, padded, strict=True)]), rel=1e-3)


@torch.no_grad()
def test_the_histogram_counts_every_place_of_every_picture():
    training = Training(drawn(), PICTURES, PICTURES, replace(SMALL, reduce=2))
    found = training.histogram()
    assert found.shape == (3, entropy.CELLS) and found.dtype == torch.long
    expected = np.zeros((3, entropy.CELLS), int)
    for picture in PICTURES.values():
        z = training.model.encoder(to_input(reduced(picture, 2).numpy(), SCALE))[0].flatten(1).double().numpy()
        for channel in range(3):
            expected[channel] += np.histogram(z[channel], bins=512, range=(-1, 1))[0]
    places = sum(math.ceil(p.shape[0] // 2 / 4) * math.ceil(p.shape[1] // 2 / 4) for p in PICTURES.values())
    assert found.sum(1).tolist() == [places] * 3
    assert np.array_equal(found.numpy(), expected)
    entropy.check_counts(entropy.counts_of(training.prior, found), 3)


def test_scores_come_when_they_should(tmp_path):
    told, training = [], make()
    train(training, on_score=lambda step, scores: told.append((step, scores[0])))
    assert [step for step, _ in told] == [3, 6, 8] == [point[0] for point in training.history]
    assert [psnr for _, psnr in told] == [point[2] for point in training.history]
    assert training.history[-1][2:] == list(training.score())
    assert training.seconds > 0


def test_checkpoints_are_written_while_a_training_runs(tmp_path, monkeypatch, clock):
    saved, real = [], Training.save
    monkeypatch.setattr(Training, "save", lambda self, path: (saved.append(self.step), real(self, path)))
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 3.0)
    training = train(make(), checkpoint=tmp_path / "it.safetensors")
    assert len(saved) >= 2 and saved[0] < 6 and saved[-1] == SMALL.steps
    assert training.seconds >= SMALL.steps, "by a clock of one second a look"


def test_seconds_are_those_of_all_parts_together(tmp_path, clock):
    path, spent = tmp_path / "it.safetensors", []
    while not spent or spent[-1][0] < SMALL.steps:
        training = make()
        try:
            train(training, checkpoint=path, max_seconds=2.5)
        except Paused:
            pass
        spent.append((training.step, training.seconds))
    assert len(spent) > 2 and all(b[1] > a[1] for a, b in zip(spent, spent[1:], strict=False))
    assert spent[-1][1] >= SMALL.steps


# Errors ---------------------------------------------------------------------------------------------------------------


def one_line(caught) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_trained():
    for reduce, crop in ((1, 44), (3, 16)):
        with pytest.raises(ValueError) as caught:
            make(replace(SMALL, crop=crop, reduce=reduce))
        assert f"crop={crop}" in one_line(caught) and "chelsea" in str(caught.value)
        assert (crop > 66 // reduce) == ("coffee" in str(caught.value))
    make(replace(SMALL, crop=40))  # as large as the smallest is allowed
    with pytest.raises(ValueError, match="at least one of each"):
        make(pictures={})
    with pytest.raises(ValueError, match="at least one of each"):
        make(validation={})
    good = masks_of(SparseCAE(SHAPE))
    for wrong in (
        {"encoder.conv9.weight": torch.ones(1, dtype=torch.bool)},
        {"encoder.conv1.weight": good["encoder.conv1.weight"].float()},
        {"encoder.conv1.weight": good["encoder.conv1.weight"][:1]},
        {"prior.mean": torch.ones(3, 3, dtype=torch.bool)},
    ):
        with pytest.raises(ValueError) as caught:
            make(masks=good | wrong)
        assert f"masks[{next(iter(wrong))!r}]" in one_line(caught)
    with pytest.raises(ValueError, match="max_seconds needs a checkpoint"):
        train(make(), max_seconds=1)


def test_a_loss_that_is_no_number_ends_a_training(tmp_path):
    training, path = make(), tmp_path / "it.safetensors"
    with torch.no_grad():
        training.model.decoder.conv4.bias.fill_(math.nan)
    with pytest.raises(FloatingPointError) as caught:
        train(training, checkpoint=path)
    assert "learning rate" in one_line(caught) and "step 1" in str(caught.value)
    assert not path.exists()


@pytest.fixture
def paused(tmp_path):
    path = tmp_path / "it.safetensors"
    with pytest.raises(Paused):
        train(make(), checkpoint=path, max_seconds=0)
    return path


def test_a_checkpoint_of_another_training(paused):
    others = {
        "descent": lambda: make(replace(SMALL, lam=1.0)),
        "seed": lambda: make(seed=1),
        "first values": lambda: make(model_seed=1),
        "pictures": lambda: make(pictures={"coffee": PICTURES["coffee"]}),
        "masks": lambda: make(masks=masks_of(SparseCAE(SHAPE))),
        "masks of what is zero anyway": lambda: make(masks={"encoder.conv1.bias": torch.zeros(4, dtype=torch.bool)}),
        "shape": lambda: Training(SparseCAE(Shape(8, 4)), PICTURES, PICTURES, SMALL),
    }
    before = paused.read_bytes()
    for what, anew in others.items():
        training = anew()
        held = bits_of(training)
        with pytest.raises(ValueError, match="another configuration") as caught:
            train(training, checkpoint=paused)
        one_line(caught)
        assert paused.read_bytes() == before and same(held, bits_of(training)) and training.step == 0, what


def test_a_broken_checkpoint(paused):
    whole, tensors = paused.read_bytes(), load_file(paused)
    training = make()
    held = bits_of(training)
    for broken in (b"", b"junk", whole[:50], whole[:-1], whole + b"\0"):
        paused.write_bytes(broken)
        with pytest.raises(ValueError, match="cannot be read") as caught:
            train(training, checkpoint=paused)
        one_line(caught)
    for about in (None, {}, {"about": "{"}, {"about": "[]"}, {"about": "{}"}):
        save_file(tensors, paused, metadata=about)
        with pytest.raises(ValueError, match="cannot be read"):
            train(training, checkpoint=paused)
    paused.write_bytes(whole)
    with safe_open(paused, "pt") as file:
        about = file.metadata()
    lacking = {name: tensor for name, tensor in tensors.items() if name != "v.prior.mean"}
    for wrong in (lacking, tensors | {"more": torch.zeros(1)}, tensors | {"prior.mean": torch.zeros(1, 3)}):
        save_file(wrong, paused, metadata=about)
        with pytest.raises(ValueError, match="tensors"):
            train(training, checkpoint=paused)
    assert same(held, bits_of(training)) and training.step == 0, "nothing is changed then"
